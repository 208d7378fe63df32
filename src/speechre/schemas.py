"""The schemas of the published SpeechRE data sets, and how to load one by name or from a YAML file.

The order of types is the order of the data sets' own ``dataset_info.json`` where there is one: relation heads
are indexed by it.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

from speechre.errors import SchemaError
from speechre.schema import Schema

_Pairs = frozenset[tuple[str, str]]


def _pairs(heads: str, tails: str) -> _Pairs:
    """Every head type of ``heads`` with every tail type of ``tails``, both separated by spaces."""
    return frozenset(product(heads.split(), tails.split()))


CONLL04 = Schema(
    name="conll04",
    entity_types=("Loc", "Org", "Other", "Peop"),
    relation_types=("OrgBased_In", "Work_For", "Located_In", "Live_In", "Kill"),
    pairs={
        "OrgBased_In": _pairs("Org", "Loc"),
        "Work_For": _pairs("Peop", "Org"),
        "Located_In": _pairs("Loc", "Loc"),
        "Live_In": _pairs("Peop", "Loc"),
        "Kill": _pairs("Peop", "Peop"),
    },
    words={
        "Loc": "location",
        "Org": "organization",
        "Other": "other",
        "Peop": "person",
        "OrgBased_In": "organization based in",
        "Work_For": "work for",
        "Located_In": "located in",
        "Live_In": "live in",
        "Kill": "kill",
    },
)
"""Speech-CoNLL04. All 1,626 relations of its train and dev splits keep to these pairs."""

_ACE05_ENTITIES = ("PER", "ORG", "GPE", "LOC", "FAC", "VEH", "WEA")

_ACE05_SUBTYPE_PAIRS: dict[str, _Pairs] = {
    "PHYS:Located": _pairs("PER", "FAC LOC GPE"),
    "PHYS:Near": _pairs("PER FAC GPE LOC", "FAC GPE LOC"),
    "PART-WHOLE:Geographical": _pairs("FAC LOC GPE", "FAC LOC GPE"),
    "PART-WHOLE:Subsidiary": _pairs("ORG", "ORG GPE"),
    "PART-WHOLE:Artifact": _pairs("VEH", "VEH") | _pairs("WEA", "WEA"),
    "PER-SOC:Business": _pairs("PER", "PER"),
    "PER-SOC:Family": _pairs("PER", "PER"),
    "PER-SOC:Lasting-Personal": _pairs("PER", "PER"),
    "ORG-AFF:Employment": _pairs("PER", "ORG GPE"),
    "ORG-AFF:Ownership": _pairs("PER", "ORG"),
    "ORG-AFF:Founder": _pairs("PER ORG", "ORG GPE"),
    "ORG-AFF:Student-Alum": _pairs("PER", "ORG"),
    "ORG-AFF:Sports-Affiliation": _pairs("PER", "ORG"),
    "ORG-AFF:Investor-Shareholder": _pairs("PER ORG GPE", "ORG GPE"),
    "ORG-AFF:Membership": _pairs("PER ORG GPE", "ORG"),
    "ART:User-Owner-Inventor-Manufacturer": _pairs("PER ORG GPE", "WEA VEH FAC"),
    "GEN-AFF:Citizen-Resident-Religion-Ethnicity": _pairs("PER", "PER LOC GPE ORG"),
    "GEN-AFF:Org-Location": _pairs("ORG", "LOC GPE"),
}

_ACE05_RELATIONS = ("PHYS", "PART-WHOLE", "PER-SOC", "ORG-AFF", "ART", "GEN-AFF")

_ACE05_WORDS = {
    "PER": "person",
    "ORG": "organization",
    "GPE": "geopolitical entity",
    "LOC": "location",
    "FAC": "facility",
    "VEH": "vehicle",
    "WEA": "weapon",
    "PHYS": "physically located near",
    "PART-WHOLE": "part of whole",
    "PER-SOC": "personal social relation",
    "ORG-AFF": "affiliated with organization",
    "ART": "agent of artifact",
    "GEN-AFF": "general affiliation",
}


def _merged(relation: str) -> _Pairs:
    """What any subtype of ``relation`` allows."""
    return frozenset().union(*(p for name, p in _ACE05_SUBTYPE_PAIRS.items() if name.split(":")[0] == relation))


ACE05 = Schema(
    name="ace05",
    entity_types=_ACE05_ENTITIES,
    relation_types=_ACE05_RELATIONS,
    pairs={relation: _merged(relation) for relation in _ACE05_RELATIONS},
    words=_ACE05_WORDS,
)
"""ACE 2005: the six main relations (METONYMY has no role in extraction and is left out, as everywhere)."""

ACE05_SUBTYPES = Schema(
    name="ace05-subtypes",
    entity_types=_ACE05_ENTITIES,
    relation_types=tuple(_ACE05_SUBTYPE_PAIRS),
    pairs=_ACE05_SUBTYPE_PAIRS,
    words={
        **{name: words for name, words in _ACE05_WORDS.items() if name in _ACE05_ENTITIES},
        **{name: name.split(":")[1].replace("-", " ").lower() for name in _ACE05_SUBTYPE_PAIRS},
        "PHYS:Located": "located in",
        "PHYS:Near": "near",
        "ORG-AFF:Employment": "employed by",
        "GEN-AFF:Org-Location": "organization located in",
    },
)
"""ACE 2005 with its eighteen subtypes as relations."""

_RETACRED_WORDS = {
    "org:alternate_names": "organization also known as",
    "org:city_of_branch": "organization has branch in city",
    "org:country_of_branch": "organization has branch in country",
    "org:dissolved": "organization dissolved on",
    "org:founded": "organization founded on",
    "org:founded_by": "organization founded by",
    "org:member_of": "organization is member of",
    "org:members": "organization has member",
    "org:number_of_employees/members": "organization has number of employees or members",
    "org:political/religious_affiliation": "organization has political or religious affiliation",
    "org:shareholders": "organization has shareholder",
    "org:stateorprovince_of_branch": "organization has branch in state or province",
    "org:top_members/employees": "organization has top member or employee",
    "org:website": "organization has website",
    "per:age": "person has age",
    "per:cause_of_death": "person died of",
    "per:charges": "person charged with",
    "per:children": "person has child",
    "per:cities_of_residence": "person lives in city",
    "per:city_of_birth": "person born in city",
    "per:city_of_death": "person died in city",
    "per:countries_of_residence": "person lives in country",
    "per:country_of_birth": "person born in country",
    "per:country_of_death": "person died in country",
    "per:date_of_birth": "person born on",
    "per:date_of_death": "person died on",
    "per:employee_of": "person is employee of",
    "per:identity": "person is the same as",
    "per:origin": "person has origin",
    "per:other_family": "person has other family",
    "per:parents": "person has parent",
    "per:religion": "person has religion",
    "per:schools_attended": "person attended school",
    "per:siblings": "person has sibling",
    "per:spouse": "person married to",
    "per:stateorprovince_of_birth": "person born in state or province",
    "per:stateorprovince_of_death": "person died in state or province",
    "per:stateorprovinces_of_residence": "person lives in state or province",
    "per:title": "person has title",
}

_RETACRED_ENTITIES = (
    "PERSON",
    "ORGANIZATION",
    "LOCATION",
    "CITY",
    "STATE_OR_PROVINCE",
    "COUNTRY",
    "NATIONALITY",
    "DATE",
    "DURATION",
    "NUMBER",
    "TITLE",
    "CAUSE_OF_DEATH",
    "CRIMINAL_CHARGE",
    "RELIGION",
    "IDEOLOGY",
    "URL",
    "MISC",
)

RETACRED = Schema(
    name="retacred",
    entity_types=_RETACRED_ENTITIES,
    relation_types=tuple(_RETACRED_WORDS),
    # The guidelines fix the head; the tail's type comes from a tagger and is not constrained.
    pairs={
        relation: _pairs("PERSON" if relation.startswith("per:") else "ORGANIZATION", " ".join(_RETACRED_ENTITIES))
        for relation in _RETACRED_WORDS
    },
    words={**_RETACRED_WORDS, "MISC": "miscellaneous", "URL": "web address"},
)
"""Re-TACRED: 39 relations (40 labels with ``no_relation``, which is the absence of a triplet here)."""

SCHEMAS: dict[str, Schema] = {schema.name: schema for schema in (CONLL04, ACE05, ACE05_SUBTYPES, RETACRED)}


def load_schema(name_or_path: str | os.PathLike[str]) -> Schema:
    """A built-in schema by its name (``conll04``), or one from a YAML file.

    The file holds ``name``, ``entity_types``, ``relation_types`` and, optionally, ``pairs`` (relation: [[head
    type, tail type], ...]) and ``words``. Raises :class:`SchemaError` on an unknown name and on a missing or
    malformed file.
    """
    text = os.fspath(name_or_path)
    if text in SCHEMAS:
        return SCHEMAS[text]
    path = Path(text)
    if not path.is_file():
        raise SchemaError(
            f'no schema "{text}": it is neither a file nor one of {", ".join(SCHEMAS)}; give one of these '
            "names or a YAML file with name, entity_types and relation_types"
        )
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SchemaError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(data, dict):
        raise SchemaError(
            f"{path}: a {type(data).__name__}; expected a mapping with name, entity_types and relation_types"
        )
    unknown = sorted(map(str, set(data) - {"name", "entity_types", "relation_types", "pairs", "words"}))
    if unknown:
        raise SchemaError(
            f'{path}: unknown key "{unknown[0]}"; expected name, entity_types, relation_types, pairs, words'
        )
    for key in ("entity_types", "relation_types"):
        names = data.get(key)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise SchemaError(f'{path}: "{key}" is {names!r}; expected a list of one or more names')
    for key in ("pairs", "words"):
        if not isinstance(data.get(key) or {}, dict):
            raise SchemaError(f'{path}: "{key}" is {data[key]!r}; expected a mapping')
    try:
        return Schema.from_dict({"name": path.stem, **data})
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
