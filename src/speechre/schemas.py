"""The schemas of the published SpeechRE data sets, and how to load one by name or from a YAML file.

The order of types is the order of the data sets' own ``dataset_info.json`` where there is one: relation heads
are indexed by it.

Each schema says in ``ner_labels`` what the labels of the two usual families of named entity recognizers may stand for:
OntoNotes 5 (spaCy's English pipelines: PERSON, NORP, FAC, ORG, GPE, LOC, PRODUCT, EVENT, WORK_OF_ART, LAW, LANGUAGE)
and CoNLL-2003 (PER, LOC, ORG, MISC). "LOC" means natural places in the first and all places in the second. Dates,
numbers and amounts are listed where a schema has a type for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from speechre.errors import SchemaError, UnknownSchemaError
from speechre.schema import Schema
from speechre.strict_yaml import load_yaml

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
    ner_labels={
        **dict.fromkeys(("PERSON", "PER"), ("Peop",)),
        "ORG": ("Org",),
        "GPE": ("Loc",),
        "LOC": ("Loc",),
        "FAC": ("Loc", "Other"),
        **dict.fromkeys(("NORP", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW", "LANGUAGE", "MISC"), ("Other",)),
    },
)
"""Speech-CoNLL04. All 1,626 relations of its train and dev splits keep to these pairs."""

_ACE_ENTITIES = ("PER", "ORG", "GPE", "LOC", "FAC", "VEH", "WEA")

_ACE_ENTITY_WORDS = {
    "PER": "person",
    "ORG": "organization",
    "GPE": "geopolitical entity",
    "LOC": "location",
    "FAC": "facility",
    "VEH": "vehicle",
    "WEA": "weapon",
}

# "LOC" of CoNLL-2003's tag set is a city or country as often as a river. ACE tags "the French" as PER, "French" in
# "French troops" as GPE, "Democratic" as ORG. OntoNotes' PRODUCT holds cars and guns among much else.
_ACE_NER_LABELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("PERSON", "PER"), ("PER",)),
    "ORG": ("ORG",),
    "GPE": ("GPE",),
    "LOC": ("LOC", "GPE", "FAC"),
    "FAC": ("FAC",),
    "NORP": ("GPE", "PER", "ORG"),
    "PRODUCT": ("VEH", "WEA"),
    "MISC": ("GPE", "PER"),
}

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
    **_ACE_ENTITY_WORDS,
    "PHYS": "physically located near",
    "PART-WHOLE": "part of whole",
    "PER-SOC": "personal social relation",
    "ORG-AFF": "affiliated with organization",
    "ART": "agent of artifact",
    "GEN-AFF": "general affiliation",
}


def _merged(subtype_pairs: Mapping[str, _Pairs], relation: str) -> _Pairs:
    """What any subtype of ``relation`` allows."""
    return frozenset().union(*(p for name, p in subtype_pairs.items() if name.split(":")[0] == relation))


ACE05 = Schema(
    name="ace05",
    entity_types=_ACE_ENTITIES,
    relation_types=_ACE05_RELATIONS,
    pairs={relation: _merged(_ACE05_SUBTYPE_PAIRS, relation) for relation in _ACE05_RELATIONS},
    words=_ACE05_WORDS,
    ner_labels=_ACE_NER_LABELS,
)
"""ACE 2005: the six main relations (METONYMY has no role in extraction and is left out, as everywhere).

Pairs: the union of the subtypes', from the table of relation types and permitted arguments of the LDC's "ACE English
Annotation Guidelines for Relations", version 5.8.3 (2005-07-01). Two limits of it: the table asks for subtypes of
entities in two places (PER.Group as tail of Citizen-Resident-Religion-Ethnicity, ORG.Educational as tail of
Student-Alum), which a schema of types cannot say, so any PER or ORG passes; and the corpus itself was annotated by
people, so a few of its relations may stand outside the table ("speechre data validate" lists them).
"""

ACE05_SUBTYPES = Schema(
    name="ace05-subtypes",
    entity_types=_ACE_ENTITIES,
    relation_types=tuple(_ACE05_SUBTYPE_PAIRS),
    pairs=_ACE05_SUBTYPE_PAIRS,
    words={
        **_ACE_ENTITY_WORDS,
        **{name: name.split(":")[1].replace("-", " ").lower() for name in _ACE05_SUBTYPE_PAIRS},
        "PHYS:Located": "located in",
        "PHYS:Near": "near",
        "ORG-AFF:Employment": "employed by",
        "GEN-AFF:Org-Location": "organization located in",
    },
    ner_labels=_ACE_NER_LABELS,
)
"""ACE 2005 with its eighteen subtypes as relations, named as in the corpus (the guidelines' "Org-Location-Origin" is
"Org-Location" there). Pairs as in the table named at :data:`ACE05`."""

_AGENTS = "PER ORG GPE"
_PLACES = "FAC GPE LOC"
_ACE04_SUBTYPE_PAIRS: dict[str, _Pairs] = {
    "PHYS:Located": _pairs(" ".join(_ACE_ENTITIES), _PLACES),
    "PHYS:Near": _pairs(" ".join(_ACE_ENTITIES), _PLACES),
    "PHYS:Part-Whole": _pairs(_PLACES, _PLACES) | _pairs("VEH WEA", "VEH WEA"),
    "PER-SOC:Business": _pairs("PER", "PER"),
    "PER-SOC:Family": _pairs("PER", "PER"),
    "PER-SOC:Other": _pairs("PER", "PER"),
    "EMP-ORG:Employ-Executive": _pairs("PER", "ORG GPE"),
    "EMP-ORG:Employ-Staff": _pairs("PER", "ORG GPE"),
    "EMP-ORG:Employ-Undetermined": _pairs("PER", "ORG GPE"),
    "EMP-ORG:Member-of-Group": _pairs(_AGENTS, "ORG"),
    "EMP-ORG:Subsidiary": _pairs("ORG", "ORG GPE"),
    "EMP-ORG:Partner": _pairs("ORG GPE", "ORG GPE"),
    "EMP-ORG:Other": _pairs(_AGENTS, _AGENTS),
    "ART:User-or-Owner": _pairs(_AGENTS, "VEH WEA FAC"),
    "ART:Inventor-or-Manufacturer": _pairs(_AGENTS, "VEH WEA FAC"),
    "ART:Other": _pairs(_AGENTS, "VEH WEA FAC GPE"),
    "OTHER-AFF:Ethnic": _pairs(_AGENTS, f"{_AGENTS} LOC"),
    "OTHER-AFF:Ideology": _pairs(_AGENTS, f"{_AGENTS} LOC"),
    "OTHER-AFF:Other": _pairs(_AGENTS, f"{_AGENTS} LOC"),
    "GPE-AFF:Citizen-or-Resident": _pairs("PER", "GPE LOC"),
    "GPE-AFF:Based-In": _pairs("ORG", "GPE LOC"),
    "GPE-AFF:Other": _pairs(_AGENTS, "GPE LOC"),
    "DISC": frozenset((name, name) for name in _ACE_ENTITIES),
}

_ACE04_RELATIONS = ("PHYS", "PER-SOC", "EMP-ORG", "ART", "OTHER-AFF", "GPE-AFF", "DISC")

_ACE04_WORDS = {
    "PHYS": "physically located near or part of",
    "PER-SOC": "personal social relation",
    "EMP-ORG": "employed by or member of organization",
    "ART": "agent of artifact",
    "OTHER-AFF": "ethnic or ideological affiliation",
    "GPE-AFF": "affiliated with geopolitical entity",
    "DISC": "discourse",
}

ACE04 = Schema(
    name="ace04",
    entity_types=_ACE_ENTITIES,
    relation_types=_ACE04_RELATIONS,
    pairs={relation: _merged(_ACE04_SUBTYPE_PAIRS, relation) for relation in _ACE04_RELATIONS},
    words={**_ACE_ENTITY_WORDS, **_ACE04_WORDS},
    ner_labels=_ACE_NER_LABELS,
)
"""ACE 2004: seven relations. (DISC holds between two mentions in a partitive phrase, "many of these people"; work on
relation extraction often leaves it out.)

Types and subtypes as in the LDC's "Annotation Guidelines for Relation Detection and Characterization (RDC)", version
4.3.2 (2004-04-01), named as in the corpus. Sure of the pairs, because the guidelines spell them out: PER-SOC (persons
only), Employ-* (PER with ORG or GPE), Subsidiary (ORG with ORG or GPE) and Member-of-Group (PER, ORG or GPE with ORG).
Unsure of the others, as these guidelines have no table like that of 2005; there the pairs are as wide as published
systems for ACE 2004 take them, or wider: a relation too many is allowed rather than one too few. Wide on purpose are
the heads of PHYS, everything in OTHER-AFF and EMP-ORG:Other, and DISC (any type with itself). Check your copy with
"speechre data validate", and narrow the pairs in a YAML file that ``extends: ace04`` where they are too wide.
"""

ACE04_SUBTYPES = Schema(
    name="ace04-subtypes",
    entity_types=_ACE_ENTITIES,
    relation_types=tuple(_ACE04_SUBTYPE_PAIRS),
    pairs=_ACE04_SUBTYPE_PAIRS,
    words={
        **_ACE_ENTITY_WORDS,
        **{
            name: (f"{_ACE04_WORDS[name.split(':')[0]]} other" if name.endswith(":Other") else name.split(":")[1])
            .replace("-", " ")
            .lower()
            for name in _ACE04_SUBTYPE_PAIRS
            if ":" in name
        },
        "DISC": _ACE04_WORDS["DISC"],
    },
    ner_labels=_ACE_NER_LABELS,
)
"""ACE 2004 with its 23 subtypes as relations (DISC has none and counts as one). Pairs: see :data:`ACE04`."""

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
    # A recognizer's GPE is a city, a country or a state; who annotates says which.
    ner_labels={
        **dict.fromkeys(("PERSON", "PER"), ("PERSON",)),
        "ORG": ("ORGANIZATION",),
        "GPE": ("CITY", "COUNTRY", "STATE_OR_PROVINCE", "LOCATION"),
        "LOC": ("LOCATION", "CITY", "COUNTRY", "STATE_OR_PROVINCE"),
        "FAC": ("LOCATION",),
        "NORP": ("NATIONALITY", "RELIGION", "IDEOLOGY"),
        "DATE": ("DATE", "DURATION"),
        "TIME": ("DURATION",),
        "CARDINAL": ("NUMBER",),
        **dict.fromkeys(("PRODUCT", "EVENT", "WORK_OF_ART", "LAW", "LANGUAGE", "MISC"), ("MISC",)),
    },
)
"""Re-TACRED: 39 relations (40 labels with ``no_relation``, which is the absence of a triplet here)."""

SCHEMAS: dict[str, Schema] = {
    schema.name: schema for schema in (CONLL04, ACE05, ACE05_SUBTYPES, ACE04, ACE04_SUBTYPES, RETACRED)
}


_KEYS = ("name", "extends", "entity_types", "relation_types", "pairs", "words", "ner_labels")


def load_schema(name_or_path: str | os.PathLike[str]) -> Schema:
    """A built-in schema by its name (``conll04``), or one from a YAML file.

    The file holds ``name``, ``entity_types``, ``relation_types`` and, optionally, ``pairs`` (relation: [[head
    type, tail type], ...]), ``words`` and ``ner_labels`` (label: a type, or a list with the likeliest first). With
    ``extends: ace05`` it has the built-in schema's types, and its entries of ``pairs``, ``words`` and ``ner_labels``
    are added to those there or replace them. Raises :class:`SchemaError` on an unknown name and on a missing or
    malformed file.
    """
    text = os.fspath(name_or_path)
    if text in SCHEMAS:
        return SCHEMAS[text]
    path = Path(text)
    if not os.path.isfile(path):
        raise UnknownSchemaError(
            f'no schema "{text}": it is neither a file nor one of {", ".join(SCHEMAS)}; give one of these '
            "names or a YAML file with name, entity_types and relation_types"
        )
    data = _extended(_read_yaml(path), path)
    for key in ("entity_types", "relation_types"):
        names = data.get(key)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise SchemaError(f'{path}: "{key}" is {names!r}; expected a list of one or more names')
    try:
        return Schema.from_dict({"name": path.stem, **data})
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SchemaError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(data, dict):
        raise SchemaError(
            f"{path}: a {type(data).__name__}; expected a mapping with name, entity_types and relation_types"
        )
    unknown = sorted(map(str, set(data) - set(_KEYS)))
    if unknown:
        raise SchemaError(f'{path}: unknown key "{unknown[0]}"; expected {", ".join(_KEYS)}')
    for key in ("pairs", "words", "ner_labels"):
        if not isinstance(data.get(key) or {}, dict):
            raise SchemaError(f'{path}: "{key}" is {data[key]!r}; expected a mapping')
    for label, types in (data.get("ner_labels") or {}).items():
        if not isinstance(types, str) and not (isinstance(types, list) and all(isinstance(x, str) for x in types)):
            raise SchemaError(f'{path}: NER label "{label}" stands for {types!r}; expected a type or a list of types')
    return data


def _extended(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """``data`` over the built-in schema that it ``extends``; as it is if it extends none."""
    if "extends" not in data:
        return data
    name = data["extends"]
    if not isinstance(name, str) or name not in SCHEMAS:
        raise SchemaError(f'{path}: "extends" is {name!r}; expected one of {", ".join(SCHEMAS)}')
    for key in ("entity_types", "relation_types"):
        if key in data:
            raise SchemaError(f'{path}: "{key}" stands beside "extends"; write a schema of its own to change the types')
    base = SCHEMAS[name].to_dict()
    changed = {key: {**base.get(key, {}), **(data.get(key) or {})} for key in ("pairs", "words", "ner_labels")}
    return {**base, **changed, "name": data.get("name", path.stem)}
