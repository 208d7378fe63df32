"""Agreement: figures worked out by hand and in papers, and what the merge makes of disagreements."""

from __future__ import annotations

import doctest
import json
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.data.kappa
from speechre.data.adjudicate import apply_decisions, merge_annotators, worklist_tasks
from speechre.data.agreement import item_text, measure_agreement, words_of
from speechre.data.kappa import cohen_kappa, fleiss_kappa
from speechre.data.label_studio_export import ExportedTask, from_export
from speechre.data.store import to_dict
from speechre.errors import DataError, UsageError
from speechre.types import Entity, Relation, Utterance
from tests.data.annotated import hard_utterances

TEXT = "Ann Lee lives in Oslo, works for Acme."
HARD = {utterance.id: utterance for utterance in hard_utterances()}
ANN, OSLO, ACME = ("Ann Lee", "Peop"), ("Oslo", "Loc"), ("Acme", "Org")


def utterance(
    *said: tuple[str, str], links: tuple[tuple[int, str, int], ...] = (), name: str = "u", text: str = TEXT
) -> Utterance:
    entities = tuple(
        Entity(words, kind, f"e{n}", text.index(words), text.index(words) + len(words))
        for n, (words, kind) in enumerate(said)
    )
    relations = tuple(Relation(f"e{head}", f"e{tail}", kind) for head, kind, tail in links)
    return Utterance(name, None, text, entities, relations)


def annotators(*versions: Utterance | list[Utterance]) -> dict[str, dict[str, Utterance]]:
    lists = [[version] if isinstance(version, Utterance) else version for version in versions]
    return {name: {u.id: u for u in some} for name, some in zip(("ann", "ben", "cem"), lists, strict=False)}


# --- kappa ---


def test_the_docstrings_are_true() -> None:
    result = doctest.testmod(speechre.data.kappa)
    assert result.attempted
    assert not result.failed


def test_cohen_as_worked_out_by_hand() -> None:
    """Of 200 units 140 alike; by chance 120 x 100, 60 x 60 and 20 x 40 of 200 x 200."""
    joint = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    pairs = [(i, j) for i, row in enumerate(joint) for j, count in enumerate(row) for _ in range(count)]
    assert cohen_kappa(pairs) == pytest.approx((0.70 - 0.41) / (1 - 0.41), abs=1e-12)


def test_fleiss_as_worked_out_by_hand() -> None:
    """Ten subjects, fourteen raters, five categories: the table that most textbooks use; kappa 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    units = [[label for label, count in enumerate(row) for _ in range(count)] for row in table]
    assert round(fleiss_kappa(units) or 0, 3) == 0.210


def test_where_kappa_is_not_defined() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([("a", "a")] * 3) is None
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([("a", "a")] * 3) is None
    assert cohen_kappa([("a", "b")] * 3) == 0.0
    for units in ([("a",)], [("a", "b"), ("a", "b", "c")]):
        with pytest.raises(ValueError, match="same two or more"):
            fleiss_kappa(units)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_of_two_is_between_its_bounds(pairs: list[tuple[str, str]]) -> None:
    for kappa in (cohen_kappa(pairs), fleiss_kappa(pairs)):
        if kappa is not None:
            assert -1.0 - 1e-9 <= kappa <= 1.0
            assert (kappa == 1.0) == all(one == other for one, other in pairs)
    swapped = cohen_kappa([(other, one) for one, other in pairs])
    assert swapped == cohen_kappa(pairs)
    # Scott's pi (1955), written out: chance from the labels of both together.
    labels = Counter(label for pair in pairs for label in pair)
    chance = sum((n / (2 * len(pairs))) ** 2 for n in labels.values())
    if len(labels) > 1:
        observed = sum(one == other for one, other in pairs) / len(pairs)
        assert math.isclose(fleiss_kappa(pairs) or 0.0, (observed - chance) / (1 - chance), abs_tol=1e-9)


def test_chance_labels_have_a_kappa_near_zero() -> None:
    source = random.Random(3)
    units = [tuple(source.choice("aaab") for _ in range(3)) for _ in range(5000)]
    assert abs(fleiss_kappa(units) or 1) < 0.03
    assert abs(cohen_kappa([(a, b) for a, b, _ in units]) or 1) < 0.03


# --- figures ---


def test_figures_made_by_hand() -> None:
    ann = utterance(ANN, OSLO, ACME, links=((0, "Live_In", 1), (0, "Work_For", 2)))
    ben = utterance(("Ann Lee", "Peop"), ("Oslo,", "Org"), ACME, links=((0, "Live_In", 1),))
    agreement = measure_agreement(annotators(ann, ben))
    (pair,) = agreement.pairs
    assert (agreement.num_utterances, agreement.num_shared, agreement.num_by_all) == (1, 1, 1)
    # Triplets: ann 2, ben 1; strict none (Oslo's type), boundary one.
    assert pair.triplet["strict"].f1 == 0.0
    assert pair.triplet["boundary"].f1 == pytest.approx(2 / 3)
    # Entities: all three by text, two with their type.
    assert pair.entity["boundary"].f1 == 1.0
    assert pair.entity["strict"].f1 == pytest.approx(4 / 6)
    assert {kind: counts.f1 for kind, counts in pair.per_entity_type.items()} == {"Loc": 0.0, "Org": 2 / 3, "Peop": 1.0}
    assert pair.per_relation["boundary"]["Work_For"].f1 == 0.0
    # Eight words, seven alike; by chance: Peop 2x2, nothing 4x4, Loc 1x0, Org 1x2 of 64.
    assert pair.kappa["words"].num_units == 8
    assert pair.kappa["words"].value == pytest.approx((7 / 8 - 22 / 64) / (1 - 22 / 64))
    assert pair.kappa["words"].per_type["Peop"] == 1.0
    # Three places that both marked: two types alike; chance: Peop 1x1, Loc 1x0, Org 1x2 of 9.
    assert pair.kappa["entity_types"].num_units == 3
    assert pair.kappa["entity_types"].value == pytest.approx((2 / 3 - 3 / 9) / (1 - 3 / 9))
    # Six ordered pairs of them: five alike; chance: nothing 4x5, Live_In 1x1 of 36.
    assert pair.kappa["relations"].num_units == 6
    assert pair.kappa["relations"].value == pytest.approx((5 / 6 - 21 / 36) / (1 - 21 / 36))
    (one,) = agreement.disagreements
    assert [(item_text(item, TEXT), names) for item, names in one.items.items()] == [
        ("Oslo (Loc)", ("ann",)),
        ("Oslo (Org)", ("ben",)),
        ("Ann Lee Work_For Acme", ("ann",)),
    ]
    assert one.share == pytest.approx(1 - 3 / 6)
    json.dumps(agreement.to_dict(), allow_nan=False)


def test_punctuation_at_the_ends_is_no_disagreement_but_another_place_is() -> None:
    text = "Oslo , yes, Oslo."
    first, second = Entity("Oslo ,", "Loc", "e0", 0, 6), Entity("Oslo", "Loc", "x", 0, 4)
    elsewhere = Entity("Oslo", "Loc", "e0", 12, 16)
    versions = [Utterance("u", None, text, (entity,)) for entity in (first, second, elsewhere)]
    assert measure_agreement(annotators(*versions[:2])).disagreements == ()
    agreement = measure_agreement(annotators(versions[0], versions[2]))
    assert len(agreement.disagreements) == 1
    assert agreement.mean_f1("entity", "strict") == 1.0  # the scores go by text


def test_words_are_more_than_punctuation() -> None:
    assert [TEXT[slice(*span)] for span in words_of(TEXT)] == [
        "Ann",
        "Lee",
        "lives",
        "in",
        "Oslo,",
        "works",
        "for",
        "Acme.",
    ]
    assert words_of("a - b ...") == [(0, 1), (4, 5)]


def test_full_agreement_and_nothing_marked() -> None:
    everything = list(HARD.values())
    agreement = measure_agreement(annotators(everything, everything, everything))
    assert agreement.disagreements == ()
    assert agreement.mean_f1("triplet", "strict") == 1.0
    assert {kappa.value for kappa in agreement.fleiss.values()} == {1.0}
    empty = measure_agreement(annotators(utterance(), utterance()))
    assert empty.mean_f1("entity", "strict") == 1.0
    assert {kappa.value for kappa in empty.fleiss.values()} == {None}


def test_only_what_is_shared_is_compared() -> None:
    first, second = utterance(ANN, name="a"), utterance(OSLO, name="b")
    agreement = measure_agreement(annotators([first, second], [second], [second]))
    assert (agreement.num_utterances, agreement.num_shared, agreement.num_by_all) == (2, 1, 1)
    assert [pair.num_utterances for pair in agreement.pairs] == [1, 1, 1]
    apart = measure_agreement(annotators([first, second], [first], [second]))
    assert [(pair.a, pair.b) for pair in apart.pairs] == [("ann", "ben"), ("ann", "cem")]
    assert apart.num_by_all == 0
    with pytest.raises(DataError, match="no id is in two"):
        measure_agreement(annotators(first, second))


def test_faults() -> None:
    with pytest.raises(UsageError, match="two annotators or more"):
        measure_agreement(annotators(utterance()))
    with pytest.raises(DataError, match=r'"u": the texts differ: ann has "Ann .*", ben has "Bo"'):
        measure_agreement(annotators(utterance(), utterance(text="Bo")))


# --- merge ---


def test_a_merge_of_the_same_is_the_same() -> None:
    everything = list(HARD.values())
    for merged, before in zip(merge_annotators(annotators(everything, everything)), everything, strict=True):
        extra = dict(merged.utterance.extra)
        provenance = extra.pop("agreement")
        once = tuple(dict.fromkeys(before.relations))
        assert to_dict(replace(merged.utterance, extra=extra)) == to_dict(replace(before, relations=once))
        assert provenance["rejected"] == []
        assert set(map(tuple, provenance["entities"].values())) <= {("ann", "ben")}


def test_more_than_half_must_have_marked_it() -> None:
    live, work = (0, "Live_In", 1), (0, "Work_For", 2)
    first = utterance(ANN, OSLO, ACME, links=(live, work))
    second = utterance(ACME, ANN, OSLO, links=((1, "Live_In", 2),))
    third = utterance(ANN, ("Oslo", "Org"), links=(live,))
    (merged,) = merge_annotators(annotators(first, second, third))
    assert [(e.id, e.text, e.type) for e in merged.utterance.entities] == [
        ("e0", "Ann Lee", "Peop"),
        ("e1", "Oslo", "Loc"),
        ("e2", "Acme", "Org"),
    ]
    assert merged.utterance.relations == (Relation("e0", "e1", "Live_In"),)
    provenance = merged.utterance.extra["agreement"]
    assert provenance["annotators"] == ["ann", "ben", "cem"]
    assert provenance["entities"] == {"e0": ["ann", "ben", "cem"], "e1": ["ann", "ben"], "e2": ["ann", "ben"]}
    assert provenance["relations"] == [["ann", "ben", "cem"]]
    assert provenance["rejected"] == [
        {"entity": {"text": "Oslo", "start": 17, "end": 21, "type": "Org"}, "annotators": ["cem"]},
        {
            "relation": {
                "head": {"text": "Ann Lee", "start": 0, "end": 7},
                "type": "Work_For",
                "tail": {"text": "Acme", "start": 33, "end": 37},
            },
            "annotators": ["ann"],
        },
    ]
    # Of two, one is not more than half.
    (pair,) = merge_annotators(annotators(first, third))
    assert [e.text for e in pair.utterance.entities] == ["Ann Lee"]
    assert len(pair.rejected) == 5


def test_a_relation_whose_end_has_no_type_of_a_majority_is_rejected() -> None:
    versions = [utterance(ANN, ("Oslo", kind), links=((0, "Live_In", 1),)) for kind in ("Loc", "Org", "Other")]
    (merged,) = merge_annotators(annotators(*versions))
    assert merged.utterance.relations == ()
    assert merged.utterance.extra["agreement"]["rejected"][-1]["annotators"] == ["ann", "ben", "cem"]


OSLO_ORG = ("Oslo", "Org")  # another type at the place of OSLO


def test_a_relation_stays_with_the_entity_that_it_links_where_a_place_has_two() -> None:
    """Unanimous, so nothing may change: not to the place's first entity, nor two relations made one."""
    for links in (((0, "Work_For", 2),), ((0, "Work_For", 2), (0, "Work_For", 1), (2, "Based_In", 1))):
        version = utterance(ANN, OSLO, OSLO_ORG, links=links)
        (merged,) = merge_annotators(annotators(version, version))
        assert merged.utterance.relations == version.relations
        assert merged.utterance.entities == version.entities
        provenance = merged.utterance.extra["agreement"]
        assert provenance["relations"] == [["ann", "ben"]] * len(links)
        assert provenance["rejected"] == []
        assert measure_agreement(annotators(version, version)).disagreements == ()


def test_whom_one_of_two_types_at_a_place_separates() -> None:
    """Both know the city and the club of that name; that they link different ones is theirs to settle."""
    city = utterance(ANN, OSLO, OSLO_ORG, links=((0, "Work_For", 1),))
    club = utterance(ANN, OSLO, OSLO_ORG, links=((0, "Work_For", 2),))
    (one,) = measure_agreement(annotators(city, club)).disagreements
    assert {item_text(item, TEXT): names for item, names in one.items.items()} == {
        "Ann Lee Work_For Oslo (Loc)": ("ann",),
        "Ann Lee Work_For Oslo (Org)": ("ben",),
    }
    (merged,) = merge_annotators(annotators(city, club))
    assert merged.utterance.relations == ()
    head, oslo = {"text": "Ann Lee", "start": 0, "end": 7}, {"text": "Oslo", "start": 17, "end": 21}
    assert merged.utterance.extra["agreement"]["rejected"] == [
        {"relation": {"head": head, "type": "Work_For", "tail": {**oslo, "type": kind}}, "annotators": [name]}
        for kind, name in (("Loc", "ann"), ("Org", "ben"))
    ]
    # Of three, two decide; one of them knows the club only.
    (merged,) = merge_annotators(annotators(city, club, utterance(ANN, OSLO_ORG, links=((0, "Work_For", 1),))))
    assert [(t.tail.text, t.tail.type) for t in merged.utterance.triplets] == [OSLO_ORG]
    # Without two types at the place, a relation goes from place to place, whatever its ends are called.
    versions = annotators(utterance(ANN, OSLO, links=((0, "R", 1),)), utterance(ANN, OSLO_ORG, links=((0, "R", 1),)))
    (one,) = measure_agreement(versions).disagreements
    assert [item_text(item, TEXT) for item in one.items] == ["Oslo (Loc)", "Oslo (Org)"]


def test_ids_that_clash_get_new_ones() -> None:
    first, second, third = utterance(ANN), utterance(OSLO, ANN), utterance(OSLO, ANN)
    (merged,) = merge_annotators(annotators(first, second, third))
    assert [(e.id, e.text) for e in merged.utterance.entities] == [("e0", "Ann Lee"), ("e1", "Oslo")]


def test_extras_that_differ_are_kept_by_annotator() -> None:
    first = replace(utterance(ANN), extra={"source": 1, "label_studio": {"a": 1}})
    second = replace(utterance(ANN), extra={"source": 1, "label_studio": {"a": 2}, "more": True})
    (merged,) = merge_annotators(annotators(first, second))
    assert merged.utterance.extra["source"] == 1
    assert merged.utterance.extra["agreement"]["extra"] == {
        "ann": {"label_studio": {"a": 1}},
        "ben": {"label_studio": {"a": 2}, "more": True},
    }


def test_decisions_take_the_place_of_the_majority() -> None:
    """What was accepted is no longer rejected; who marked what is said by the decided utterance's own ids."""
    live, work = ((0, "Live_In", 1),), ((0, "Work_For", 2), (0, "Live_In", 1))
    people = annotators(utterance(ANN, OSLO, links=live), utterance(OSLO, ACME))
    merged = [m.utterance for m in merge_annotators(people)]
    assert [e.text for e in merged[0].entities] == ["Oslo"]
    (decided,) = apply_decisions(merged, [utterance(ANN, OSLO, ACME, links=work)], people)
    assert [e.text for e in decided.entities] == ["Ann Lee", "Oslo", "Acme"]
    assert decided.extra["agreement"] == {
        "annotators": ["ann", "ben"],
        "entities": {"e0": ["ann"], "e1": ["ann", "ben"], "e2": ["ben"]},
        "relations": [[], ["ann"]],
        "rejected": [],
        "decided": True,
    }
    (decided,) = apply_decisions(merged, [utterance(("Lee", "Peop"))], people)
    said = decided.extra["agreement"]
    assert (said["entities"], said["relations"]) == ({"e0": []}, [])
    assert [item.get("entity", {}).get("text") for item in said["rejected"]] == ["Ann Lee", "Oslo", "Acme", None]
    assert [item["annotators"] for item in said["rejected"]] == [["ann"], ["ann", "ben"], ["ben"], ["ann"]]
    with pytest.raises(DataError, match='decided about "other"'):
        apply_decisions(merged, [utterance(name="other")], people)
    with pytest.raises(DataError, match='decided about "Bo"'):
        apply_decisions(merged, [utterance(text="Bo")], people)


def test_a_decision_may_tell_two_types_at_a_place_apart() -> None:
    people = annotators(utterance(ANN, OSLO, links=((0, "Live_In", 1),)), utterance(ANN))
    merged = [m.utterance for m in merge_annotators(people)]
    two = utterance(ANN, OSLO, ("Oslo", "Org"), links=((0, "Live_In", 2),))
    (decided,) = apply_decisions(merged, [two], people)
    said = decided.extra["agreement"]
    assert said["entities"] == {"e0": ["ann", "ben"], "e1": ["ann"], "e2": []}
    assert said["relations"] == [[]]  # Ann's links the place
    (rejected,) = said["rejected"]
    assert rejected["relation"]["tail"] == {"text": "Oslo", "start": 17, "end": 21, "type": "Loc"}


def test_a_worklist_gives_every_version_back() -> None:
    """Whatever version a person chooses, reading it back gives that annotator's items."""
    live = ((0, "Live_In", 1),)
    versions = annotators(utterance(ANN, OSLO, links=live), utterance(OSLO, ANN), utterance(ANN, ACME))
    agreement = measure_agreement(versions)
    merged = {m.utterance.id: m.utterance for m in merge_annotators(versions)}
    (task,) = worklist_tasks(agreement, versions, merged, {"u": "/u.wav"})
    assert task["data"]["note"] == "Oslo (Loc): ann, ben; Acme (Org): cem; Ann Lee Live_In Oslo: ann"
    assert [p["model_version"] for p in task["predictions"]] == ["majority", "ann", "ben", "cem"]
    assert task["predictions"][0]["score"] == pytest.approx(0.25)
    for prediction in task["predictions"][1:]:
        done = ExportedTask("task 1", task["data"], ({"result": prediction["result"]},), 0, {}, False)
        (back,) = from_export("x", [done]).utterances
        version = versions[prediction["model_version"]]["u"]
        assert {(e.text, e.type, e.start) for e in back.entities} == {
            (e.text, e.type, e.start) for e in version.entities
        }
        assert set(back.triplets) == set(version.triplets)


kinds = st.sampled_from([ANN, OSLO, ACME, ("Oslo", "Org"), ("lives", "Other")])
links = st.tuples(st.integers(0, 2), st.sampled_from(["R", "S"]), st.integers(0, 2))


@given(
    st.lists(
        st.tuples(st.lists(kinds, min_size=3, max_size=5, unique=True), st.lists(links, max_size=3)),
        min_size=2,
        max_size=3,
    )
)
def test_nothing_is_lost_in_a_merge(drawn: list[tuple[list[tuple[str, str]], list[tuple[int, str, int]]]]) -> None:
    versions = annotators(*(utterance(*said, links=tuple(some)) for said, some in drawn))
    (merged,) = merge_annotators(versions)
    agreement = measure_agreement(versions)
    provenance = merged.utterance.extra["agreement"]
    votes = Counter(len(item["annotators"]) for item in provenance["rejected"])
    kept = [*provenance["entities"].values(), *provenance["relations"]]
    assert all(2 * len(names) > len(versions) for names in kept)
    open_items = sum(len(one.items) for one in agreement.disagreements)
    unanimous = sum(len(names) == len(versions) for names in kept) + votes[len(versions)]
    assert len(kept) + sum(votes.values()) == open_items + unanimous
    assert len(merged.utterance.relations) == len(set(merged.utterance.relations)) == len(provenance["relations"])
    assert [e.id for e in merged.utterance.entities] == list(provenance["entities"])


@given(st.lists(kinds, min_size=3, max_size=5, unique=True), st.lists(links, max_size=3, unique=True))
def test_a_unanimous_merge_changes_nothing(said: list[tuple[str, str]], some: list[tuple[int, str, int]]) -> None:
    version = utterance(*said, links=tuple(some))
    (merged,) = merge_annotators(annotators(version, version))
    assert merged.utterance.relations == version.relations
    assert [(e.id, e.type) for e in merged.utterance.entities] == [(e.id, e.type) for e in version.entities]
