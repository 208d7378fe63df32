"""Manifests as Label Studio projects: the config, the tasks, and what stands in neither."""

from __future__ import annotations

import doctest
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.data.label_studio
import speechre.data.spans
import speechre.data.suggest
from speechre.data.label_studio import (
    Suggestion,
    allowed_types,
    check_types,
    from_region_id,
    labeling_config,
    schema_of,
    to_region_id,
    to_task,
)
from speechre.data.predictions import Prediction
from speechre.data.spans import find_span, place_entity, trim_span
from speechre.data.suggest import suggest, uncertainty
from speechre.errors import DataError, SchemaError
from speechre.schema import Schema
from speechre.schemas import CONLL04, SCHEMAS
from speechre.types import Entity, Relation, Triplet, Utterance
from tests.data.annotated import hard_utterances

HARD = {utterance.id: utterance for utterance in hard_utterances()}


def test_the_docstrings_are_true() -> None:
    for module in (speechre.data.label_studio, speechre.data.spans, speechre.data.suggest):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


# --- config ---


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_config_has_every_type_once_and_shows_what_is_allowed(name: str) -> None:
    schema = SCHEMAS[name]
    view = ElementTree.fromstring(labeling_config(schema))
    assert [label.get("value") for label in view.iter("Label")] == list(schema.entity_types)
    assert [relation.get("value") for relation in view.iter("Relation")] == list(schema.relation_types)
    assert [header.get("value") for header in view.iter("Header")] == [
        f"{relation}: {allowed_types(schema, relation)}" for relation in schema.relation_types
    ]
    hotkeys = [label.get("hotkey") for label in view.iter("Label") if label.get("hotkey")]
    assert len(set(hotkeys)) == len(hotkeys) == min(9, len(schema.entity_types))
    (labels,), (text,), (audio,) = view.iter("Labels"), view.iter("Text"), view.iter("Audio")
    assert (labels.get("toName"), text.get("value"), audio.get("value")) == (text.get("name"), "$text", "$audio")
    (relations,) = view.iter("Relations")
    assert relations.get("choice") == "multiple"


def test_what_a_project_lacks_is_not_in_its_config() -> None:
    view = ElementTree.fromstring(labeling_config(Schema("s", ("A",), ()), has_audio=False))
    assert {element.tag for element in view.iter()} == {"View", "Labels", "Label", "Text"}
    noted = ElementTree.fromstring(labeling_config(CONLL04, has_note=True))
    assert next(header.get("value") for header in noted.iter("Header")) == "$note"
    with pytest.raises(SchemaError, match="nothing to annotate"):
        labeling_config(Schema("s", (), ("R",)))


def test_names_that_xml_would_take_for_its_own() -> None:
    view = ElementTree.fromstring(labeling_config(Schema("s", ('A&"B', "C'"), ("r&d",))))
    assert [label.get("value") for label in view.iter("Label")] == ['A&"B', "C'"]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (None, "any → any"),
        ({("A", "A"), ("A", "B"), ("B", "A"), ("B", "B")}, "any → any"),
        ({("A", "B")}, "A → B"),
        ({("A", "A"), ("A", "B")}, "A → any"),
        ({("A", "A"), ("B", "B")}, "A → A; B → B"),
    ],
)
def test_allowed_types_in_words(pairs: set[tuple[str, str]] | None, expected: str) -> None:
    schema = Schema("s", ("A", "B"), ("R",), {} if pairs is None else {"R": frozenset(pairs)})
    assert allowed_types(schema, "R") == expected


def test_a_schema_of_what_is_in_use() -> None:
    suggestion = Suggestion("m", (Entity("x", "Z", "m0", 0, 1),), (Relation("m0", "m0", "Y"),))
    schema = schema_of([HARD["plain"], suggestion])
    assert (schema.entity_types, schema.relation_types) == (("Loc", "Org", "Peop", "Z"), ("Live_In", "Work_For", "Y"))


def test_a_type_outside_the_schema_is_named() -> None:
    wrong = replace(HARD["plain"], entities=(replace(HARD["plain"].entities[0], type="Dog"),), relations=())
    with pytest.raises(DataError, match=r'"plain": it has the type "Dog".*\(1 such faults'):
        check_types([wrong, HARD["many"]], [[], []], CONLL04)
    model = Suggestion("tiny", (), (Relation("a", "b", "Bites"),))
    with pytest.raises(DataError, match='the prediction of "tiny" has the type "Bites"'):
        check_types([HARD["many"]], [[model]], CONLL04)


# --- tasks ---


def test_a_task() -> None:
    task = to_task(HARD["plain"], "/a.wav")
    assert list(task["data"]) == ["audio", "text", "speechre"]
    assert task["data"]["speechre"]["utterance"]["extra"] == HARD["plain"].extra
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "manifest"
    assert [item["value"] for item in prediction["result"][:2]] == [
        {"start": 0, "end": 7, "text": "Ann Lee", "labels": ["Peop"]},
        {"start": 17, "end": 21, "text": "Oslo", "labels": ["Loc"]},
    ]
    assert prediction["result"][3] == {
        "type": "relation", "from_id": "e0", "to_id": "e2", "direction": "right", "labels": ["Work_For"],
    }  # fmt: skip


def test_offsets_are_code_points() -> None:
    (prediction,) = to_task(HARD["emoji"])["predictions"]
    for item in prediction["result"][:3]:
        value = item["value"]
        assert HARD["emoji"].text[value["start"] : value["end"]] == value["text"]


def test_types_between_the_same_two_are_one_relation() -> None:
    """The editor loses a second relation from one region to another."""
    (prediction,) = to_task(HARD["many"])["predictions"]
    relations = [item for item in prediction["result"] if item["type"] == "relation"]
    pairs = [(item["from_id"], item["to_id"]) for item in relations]
    assert len(set(pairs)) == len(pairs) == 3
    assert relations[0]["labels"] == ["Live_In", "Kill"]


def test_an_entity_without_a_place_is_listed() -> None:
    task = to_task(HARD["unplaced"])
    assert task["data"]["speechre"]["unplaced"] == ["e1", "e2"]
    (prediction,) = task["predictions"]
    assert [item["id"] for item in prediction["result"]] == ["e0"]
    assert to_task(HARD["nothing"])["predictions"] == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_ids_survive_and_are_never_cut(entity_id: str) -> None:
    region_id = to_region_id(entity_id)
    assert "#" not in region_id
    assert from_region_id(region_id) == entity_id


@pytest.mark.parametrize("region_id", ["Xk3-hd9_aB", "x-", "x-zz", "x-f", "x-ff"])
def test_ids_of_label_studio_stay(region_id: str) -> None:
    assert from_region_id(region_id) == region_id


# --- a model's triplets on the manifest's text ---


def triplet(head: str, relation: str, tail: str, confidence: float | None = None) -> Triplet:
    return Triplet(Entity(head, "Peop"), relation, Entity(tail, "Loc"), confidence)


def test_predicted_entities_take_the_ids_of_annotated_ones() -> None:
    found = suggest(HARD["plain"], Prediction((triplet("ANN LEE", "Live_In", "oslo.", 0.5),), model="m@1"))
    suggestion = found.suggestion
    assert [(e.id, e.text, e.start) for e in suggestion.entities] == [("e0", "Ann Lee", 0), ("e1", "Oslo", 17)]
    assert suggestion.relations == (Relation("e0", "e1", "Live_In"),)
    assert (suggestion.name, suggestion.score) == ("m@1", 0.0)
    assert suggestion.entity_scores == {"e0": 0.5, "e1": 0.5}
    assert suggestion.relation_scores == {("e0", "e1"): 0.5}


def test_new_entities_get_ids_that_are_free() -> None:
    utterance = Utterance("u", None, "Bo met Ann in Rio.", (Entity("Rio", "Org", "m0", 14, 17),))
    found = suggest(utterance, Prediction((triplet("Ann", "Live_In", "Rio"), triplet("Bo", "Live_In", "Rio"))))
    assert [(e.id, e.text, e.type) for e in found.suggestion.entities] == [
        ("m1", "Ann", "Peop"),
        ("m2", "Rio", "Loc"),
        ("m3", "Bo", "Peop"),
    ]
    assert found.suggestion.score is None
    assert found.suggestion.relation_scores == {}


def test_what_does_not_stand_in_the_text_is_kept_aside() -> None:
    lost = triplet("Anne Leigh", "Live_In", "Oslo", 0.9)
    found = suggest(HARD["plain"], Prediction((lost, triplet("Ann Lee", "Live_In", "Oslo", 0.4))))
    assert found.not_shown == (lost,)
    assert len(found.suggestion.relations) == 1


def test_the_same_triplet_twice_counts_once_with_the_higher_confidence() -> None:
    found = suggest(
        HARD["plain"],
        Prediction((triplet("Ann Lee", "Live_In", "Oslo", 0.4), triplet("ann lee", "Live_In", "Oslo", 0.7))),
    )
    assert found.suggestion.relation_scores == {("e0", "e1"): 0.7}
    assert len(found.suggestion.relations) == 1


@pytest.mark.parametrize(
    ("confidences", "probabilities", "expected"),
    [
        ([0.5], {}, 1.0),
        ([0.99, 0.11], {"Kill": 0.5}, 0.49992),
        ([1.0], {}, 0.0),
        ([], {"Kill": 0.5, "Live_In": 0.0}, 1.0),
        ([None], {"Kill": 0.11}, 0.49992),
        ([], {}, None),
    ],
)
def test_uncertainty(confidences: list[float | None], probabilities: dict[str, float], expected: float | None) -> None:
    some = tuple(triplet("a", "r", "b", c) for c in confidences)
    got = uncertainty(Prediction(some, relation_probabilities=probabilities))
    assert got == expected if expected is None else got == pytest.approx(expected, abs=1e-4)


# --- places ---


@pytest.mark.parametrize(
    ("needle", "text", "expected"),
    [
        ("U.S.", "the US army", "US"),
        ("Calif .", "in Calif. today", "Calif"),
        ("o'brien", "said (O’Brien)!", "O’Brien"),
        ("New York", "New. York, New Jersey", "New. York"),
        ("Lee", "Leeds", None),
        ("...", "a ... b", None),
        ("b", "", None),
        ("x y", "x - y z", "x - y"),
    ],
)
def test_find_span(needle: str, text: str, expected: str | None) -> None:
    span = find_span(needle, text)
    assert (None if span is None else text[slice(*span)]) == expected


def test_trim_span_keeps_what_is_only_punctuation() -> None:
    assert trim_span(0, 5, " (a),") == (2, 3)
    assert trim_span(0, 3, "...") == (0, 3)


def test_place_entity_believes_no_span_that_is_wrong() -> None:
    assert place_entity(Entity("Oslo", "Loc", "e0", 0, 4), "In Oslo") is None
    placed = place_entity(Entity("Oslo", "Loc", "e0"), "In Oslo")
    assert placed is not None
    assert (placed.start, placed.end) == (3, 7)
