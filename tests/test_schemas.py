"""The built-in schemas and their loader."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from speechre.errors import SchemaError
from speechre.schema import Schema, strip_brackets
from speechre.schemas import ACE05, ACE05_SUBTYPES, CONLL04, RETACRED, SCHEMAS, load_schema

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
        ("entity_types: [A]\nrelation_types: [R]\npairs: {R: [[A]]}", "malformed schema"),
        ("entity_types: [A]\nrelation_types: [R]\npairs: {R: [[A, B]]}", 'unknown entity type "B"'),
        ("entity_types: [A, A]\nrelation_types: [R]", "stands twice"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


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
