"""The built-in schemas and their loader."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from speechre.errors import SchemaError
from speechre.schema import Schema, strip_brackets
from speechre.schemas import ACE04, ACE04_SUBTYPES, ACE05, ACE05_SUBTYPES, CONLL04, RETACRED, SCHEMAS, load_schema

CORPUS = Path(os.environ.get("SPEECHRE_CONLL04", Path(__file__).parents[2] / "shared" / "data" / "conll04"))


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))
def test_every_schema_is_complete(schema: Schema) -> None:
    assert set(schema.pairs) == set(schema.relation_types)
    assert all(schema.pairs.values())
    assert Schema.from_dict(schema.to_dict()) == schema
    assert set(schema.words) <= {*schema.entity_types, *schema.relation_types}
    words = [schema.words_of(name) for name in (*schema.entity_types, *schema.relation_types)]
    assert all(word == word.lower() and word.replace(" ", "").isalpha() for word in words)
    assert len(set(words)) == len(words)  # or two new tokens would start as the same vector


def test_counts() -> None:
    assert len(ACE05.entity_types) == 7
    assert len(ACE05.relation_types) == 6
    assert len(ACE05_SUBTYPES.relation_types) == 18
    assert ACE04.entity_types == ACE05.entity_types == ACE04_SUBTYPES.entity_types
    assert len(ACE04.relation_types) == 7
    assert len(ACE04_SUBTYPES.relation_types) == 23
    assert len(RETACRED.relation_types) == 39
    assert "no_relation" not in RETACRED.relation_types


def test_allowed_pairs() -> None:
    assert CONLL04.allows("Peop", "Kill", "Peop")
    assert not CONLL04.allows("Org", "Work_For", "Peop")
    assert ACE05.allows("GPE", "ORG-AFF", "ORG")
    assert not ACE05.allows("PER", "PER-SOC", "ORG")
    assert ACE05.allows("VEH", "PART-WHOLE", "VEH")
    assert not ACE05.allows("VEH", "PART-WHOLE", "WEA")
    assert not RETACRED.allows("ORGANIZATION", "per:title", "TITLE")
    assert ACE04.allows("FAC", "PHYS", "LOC")
    assert not ACE04.allows("PER", "PER-SOC", "ORG")
    assert not ACE04_SUBTYPES.allows("PER", "EMP-ORG:Subsidiary", "ORG")


@pytest.mark.parametrize(("whole", "parts"), [(ACE04, ACE04_SUBTYPES), (ACE05, ACE05_SUBTYPES)])
def test_a_main_relation_allows_what_its_subtypes_allow(whole: Schema, parts: Schema) -> None:
    merged: dict[str, set[tuple[str, str]]] = {}
    for name, pairs in parts.pairs.items():
        merged.setdefault(name.split(":")[0], set()).update(pairs)
    assert merged == {name: set(pairs) for name, pairs in whole.pairs.items()}


def test_relations_between_two_types() -> None:
    assert CONLL04.relations_between("Peop", "Loc") == ("Live_In",)
    assert CONLL04.relations_between("Loc", "Peop") == ()
    assert Schema("open", ("A",), ("r", "s")).relations_between("A", "A") == ("r", "s")
    assert ACE05.relations_between("PER", "none") == ()


ONTONOTES = "PERSON NORP FAC ORG GPE LOC PRODUCT"
CONLL2003 = "PER ORG LOC MISC"


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))
def test_every_schema_knows_the_usual_labels(schema: Schema) -> None:
    for label in f"{ONTONOTES} {CONLL2003}".split():
        assert schema.types_of_ner_label(label), label
        assert set(schema.types_of_ner_label(label)) <= set(schema.entity_types)
    person, place = schema.types_of_ner_label("PERSON")[0], schema.types_of_ner_label("GPE")[0]
    assert schema.relations_between(person, place)


def test_what_a_label_stands_for() -> None:
    assert CONLL04.types_of_ner_label("PERSON") == ("Peop",)
    assert ACE05.types_of_ner_label("NORP") == ("GPE", "PER", "ORG")
    assert ACE05.types_of_ner_label("VEH") == ("VEH",)  # a recognizer that was trained on ACE itself
    assert CONLL04.types_of_ner_label("<Peop>") == ("Peop",)
    assert ACE05.types_of_ner_label("DATE") == ()
    assert Schema("s", ("A", "B"), ("r",), {}, {}, {"A": ("B",)}).types_of_ner_label("A") == ("B",)


def test_labels_take_no_part_in_comparison_and_survive_the_way_to_disk() -> None:
    bare = Schema(CONLL04.name, CONLL04.entity_types, CONLL04.relation_types, CONLL04.pairs, CONLL04.words)
    assert bare == CONLL04
    assert "ner_labels" not in bare.to_dict()
    assert Schema.from_dict(json.loads(json.dumps(CONLL04.to_dict()))).ner_labels == CONLL04.ner_labels


def test_a_file_that_extends_a_schema_says_only_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: ace05\npairs: {PER-SOC: [[PER, ORG]]}\nner_labels: {GPE: [LOC, GPE], Ship: VEH}\nwords: {VEH: ship}\n"
    )
    mine = load_schema(path)
    assert (mine.name, mine.entity_types, mine.relation_types) == ("mine", ACE05.entity_types, ACE05.relation_types)
    assert mine.allows("PER", "PER-SOC", "ORG")
    assert not mine.allows("PER", "PER-SOC", "PER")
    assert mine.pairs["PHYS"] == ACE05.pairs["PHYS"]
    assert (mine.types_of_ner_label("GPE"), mine.types_of_ner_label("Ship")) == (("LOC", "GPE"), ("VEH",))
    assert mine.types_of_ner_label("PERSON") == ("PER",)
    assert (mine.words_of("VEH"), mine.words_of("WEA")) == ("ship", "weapon")


def test_load_by_name_and_from_yaml(tmp_path: Path) -> None:
    assert load_schema("conll04") is CONLL04
    path = tmp_path / "shop.yaml"
    path.write_text(
        "entity_types: [Seller, <Ware>]\nrelation_types: [Sells]\npairs: {Sells: [[Seller, Ware]]}\nwords: "
        "{Ware: good}\n"
    )
    schema = load_schema(path)
    assert schema.name == "shop"
    assert schema.entity_types == ("Seller", "Ware")
    assert not schema.allows("Ware", "Sells", "Seller")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a mapping"),
        ("- a", "a list; expected a mapping"),
        ("entity_types: [a", "cannot be read as YAML"),
        ("entity_types: [A]\nrelation_types: [R]\nrelations: [R]", 'unknown key "relations"'),
        ("entity_types: [A]", '"relation_types" is None'),
        ("entity_types: A\nrelation_types: [R]", "\"entity_types\" is 'A'"),
        ("entity_types: [1]\nrelation_types: [R]", "expected a list of one or more names"),
        ("entity_types: [A]\nrelation_types: [R]\npairs: [A]", '"pairs" is'),
        ("entity_types: [A]\nrelation_types: [R]\npairs: {R: [[A]]}", "pairs of R: got ['A']; expected pairs such as"),
        (
            "entity_types: [A, B]\nrelation_types: [R]\npairs: {R: [A, B]}",
            "pairs of R: got 'A'; expected pairs such as [[",
        ),
        ("entity_types: [A, B]\nrelation_types: [R]\npairs: {R: [AB, BA]}", "pairs of R: got 'AB'; expected pairs"),
        ("entity_types: [A, B]\nrelation_types: [R]\npairs: {R: AB}", "pairs of R: got 'AB'; expected pairs"),
        ("entity_types: [A, B]\nrelation_types: [R]\npairs: {R: }", "pairs of R: got None; expected pairs"),
        ("entity_types: [A]\nrelation_types: [R]\npairs: {R: [[A, B]]}", 'unknown entity type "B"'),
        ("entity_types: [A, A]\nrelation_types: [R]", "an entity type stands twice"),
        ("entity_types: [A]\nrelation_types: [R, R]", "a relation type stands twice"),
        ("entity_types: [A b]\nrelation_types: [R]", 'an entity type is called "A b", which is no valid name'),
        ("entity_types: [tail_entity]\nrelation_types: [R]", '"tail_entity", which is a token of every model'),
        ("entity_types: [A]\nrelation_types: [relation_type]", '"relation_type", which is a token of every model'),
        ("entity_types: [A]\nrelation_types: [R]\nwords: {A: }", 'words of "A" are None; expected plain words'),
        ("entity_types: [A]\nrelation_types: [R]\nwords: {R: yes}", 'words of "R" are True; expected plain words'),
        ("entity_types: [A]\nrelation_types: [R]\nwords: {A: ' '}", "words of \"A\" are ' '; expected plain words"),
        ("entity_types: [A]\nrelation_types: [R]\nner_labels: [A]", '"ner_labels" is'),
        ("entity_types: [A]\nrelation_types: [R]\nner_labels: {X: 1}", 'NER label "X" stands for 1'),
        ("entity_types: [A]\nrelation_types: [R]\nner_labels: {X: [A, 1]}", 'NER label "X" stands for'),
        ("entity_types: [A]\nrelation_types: [R]\nner_labels: {X: []}", 'NER label "X" stands for no type'),
        ("entity_types: [A]\nrelation_types: [R]\nner_labels: {X: B}", 'unknown entity type "B"'),
        ("extends: ace06", "\"extends\" is 'ace06'; expected one of conll04, "),
        ("extends: [ace05]", '"extends" is'),
        ("extends: ace05\nentity_types: [A]", '"entity_types" stands beside "extends"'),
        ("extends: ace05\npairs: {None: [[PER, PER]]}", 'unknown relation type "None"'),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


def test_a_key_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("entity_types: [Peop]\nrelation_types: [Kill]\nrelation_types: [Live_In]\n")
    with pytest.raises(SchemaError, match='the key "relation_types" is given twice'):
        load_schema(str(file))
    # An anchor's keys may be laid over.
    file.write_text("entity_types: &types [Peop]\nrelation_types: [Kill]\nwords: {<<: {Kill: kills}, Kill: murders}\n")
    assert load_schema(str(file)).words["Kill"] == "murders"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(SchemaError, match=r'no schema "conll03".*conll04, ace05'):
        load_schema("conll03")


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="needs Speech-CoNLL04")
def test_conll04_keeps_to_the_schema() -> None:
    info = json.loads((CORPUS / "dataset_info.json").read_text())
    assert tuple(strip_brackets(name) for name in info["entities_type"]) == CONLL04.entity_types
    assert tuple(info["relations_type"]) == CONLL04.relation_types
    for split in ("train", "dev"):
        for item in json.loads((CORPUS / f"{split}.json").read_text()):
            types = {a["id"]: strip_brackets(a["value"]["labels"]) for a in item["data_annotation"] if "id" in a}
            for link in (a for a in item["data_annotation"] if a["type"] == "relation"):
                head, tail = types[str(link["from_id"])], types[str(link["to_id"])]
                assert all(CONLL04.allows(head, label, tail) for label in link["labels"]), item["audio_id"]
