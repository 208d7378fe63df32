from __future__ import annotations

import doctest
import json
import random
import string
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.metrics
from speechre.errors import DataError, UsageError
from speechre.metrics import (
    PROTOCOLS,
    Counts,
    UtteranceCounts,
    edit_distance,
    normalize_text,
    normalize_text_as_released,
    per_relation,
    per_utterance,
    per_utterance_relation,
    score,
    triplet_key,
)
from speechre.types import Entity, Triplet

ROOT = Path(__file__).parents[1]
FRACTIONS = ("precision", "recall", "f1")

# Few names, so that hits, near hits (case, points, blanks) and duplicates are common.
texts = st.sampled_from(["Anna Berg", "anna berg", "Anna  Berg.", "Lima", "LIMA ", "O'Brien", "O’Brien", "...", ""])
entities = st.builds(Entity, texts, st.sampled_from(["Peop", "Loc", "Org"]))
triplets = st.builds(Triplet, entities, st.sampled_from(["Live_In", "LIVE_IN", "Kill"]), entities)
sides = st.lists(st.tuples(st.lists(triplets, max_size=4), st.lists(triplets, max_size=4)), max_size=5)
protocols = st.sampled_from(PROTOCOLS)

Side = Mapping[str, Sequence[Triplet]]


def split_sides(pairs: list[tuple[list[Triplet], list[Triplet]]]) -> tuple[Side, Side]:
    return {f"u{i}": g for i, (g, _) in enumerate(pairs)}, {f"u{i}": p for i, (_, p) in enumerate(pairs)}


def triplet(head: str, relation: str, tail: str, types: str = "Peop Loc") -> Triplet:
    head_type, tail_type = types.split()
    return Triplet(Entity(head, head_type), relation, Entity(tail, tail_type))


ANNA = triplet("Anna Berg", "Live_In", "Lima")


# -- text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Bruno Pusterla", "bruno pusterla"),
        ("  Calif . ", "calif"),
        ("O'Brien", "obrien"),
        ("O’Brien", "obrien"),
        ("O `` Neill ''", "o neill"),
        ("U.S.-based", "usbased"),
        ("AT&T", "att"),
        ("$5 <b>", "5 b"),  # "$", "<" and ">" are Unicode symbols, not punctuation, but ASCII punctuation
        ("ﬁfth　Avenue", "fifth avenue"),  # ligature and ideographic space: NFKC
        ("ÀÉ", "àé"),
        ("«x»—¿y?", "xy"),
        ("\t a\n b ", "a b"),
        ("...", ""),
        ("€", "€"),  # a currency sign outside ASCII stays: category Sc
    ],
)
def test_normalize_text(raw: str, expected: str) -> None:
    assert normalize_text(raw) == expected


@given(st.text())
def test_normalized_text_holds_no_punctuation_and_no_outer_blank(text: str) -> None:
    result = normalize_text(text)
    assert result == " ".join(result.split())
    assert not any(c in string.punctuation or unicodedata.category(c)[0] == "P" for c in result)


@given(st.text(alphabet=string.printable))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("Calif .", "calif "), (" A  b", " a  b"), ("O’Brien", "o’brien"), ("Work_For", "workfor")],
)
def test_normalize_text_as_released(raw: str, expected: str) -> None:
    assert normalize_text_as_released(raw) == expected


# -- protocols by hand


def test_strict_wants_the_types_and_boundary_does_not() -> None:
    gold = {"a": [ANNA]}
    predicted = {"a": [triplet("anna berg", "Live_In", "LIMA", "Peop Org")]}
    assert score(gold, predicted, "strict").triplet == Counts(0, 1, 1)
    assert score(gold, predicted, "boundary").triplet == Counts(1, 1, 1)
    # The head's type is right, the tail's is not.
    assert score(gold, predicted, "strict").entity == Counts(1, 2, 2)
    assert score(gold, predicted, "boundary").entity == Counts(2, 2, 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_head_and_tail_do_not_swap(protocol: str) -> None:
    swapped = triplet("Lima", "Live_In", "Anna Berg", "Loc Peop")
    report = score({"a": [ANNA]}, {"a": [swapped]}, protocol)
    assert report.triplet.num_hits == 0
    assert report.entity.f1 == report.relation.f1 == 1.0


def test_items_of_one_utterance_do_not_hit_in_another() -> None:
    gold: Side = {"a": [ANNA], "b": []}
    predicted: Side = {"a": [], "b": [ANNA]}
    for protocol in PROTOCOLS:
        assert score(gold, predicted, protocol).triplet == Counts(0, 1, 1)


def test_strict_and_boundary_count_sets() -> None:
    for protocol in ("strict", "boundary"):
        report = score({"a": [ANNA, ANNA]}, {"a": [ANNA, ANNA, ANNA]}, protocol)
        assert report.triplet == report.relation == Counts(1, 1, 1)


def test_paper_counts_duplicates_on_both_sides() -> None:
    report = score({"a": [ANNA, ANNA]}, {"a": [ANNA]}, "paper")
    assert report.triplet == Counts(1, 1, 2)
    report = score({"a": [ANNA]}, {"a": [ANNA, ANNA]}, "paper")
    assert report.triplet == report.relation == Counts(2, 2, 1)
    assert report.entity == Counts(2, 2, 2)  # entities are unique there too
    assert report.triplet.recall == 2.0  # the released rule can exceed 1


def test_paper_does_not_collapse_white_space() -> None:
    gold = {"a": [triplet("Anna Berg", "Live_In", "Calif .")]}
    predicted = {"a": [triplet("Anna Berg", "Live_In", "Calif.")]}
    assert score(gold, predicted, "boundary").triplet.num_hits == 1
    assert score(gold, predicted, "paper").triplet.num_hits == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_of_punctuation_only_counts_as_predicted(protocol: str) -> None:
    report = score({"a": [ANNA]}, {"a": [ANNA, triplet("...", "Live_In", "Lima")]}, protocol)
    assert report.triplet == Counts(1, 2, 1)
    assert report.entity == Counts(2, 3, 2)


def test_the_edge_contract_of_to_dict() -> None:
    data = score({"a": [ANNA], "b": [ANNA]}, {"a": [ANNA], "b": []}, "boundary").to_dict()
    assert list(data) == ["protocol", "num_utterances", "triplet", "entity", "relation"]
    assert data["num_utterances"] == 2
    assert list(data["triplet"]) == ["precision", "recall", "f1", "num_hits", "num_predicted", "num_gold"]
    assert data["triplet"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "num_hits": 1,
        "num_predicted": 1,
        "num_gold": 2,
    }
    assert json.loads(json.dumps(data)) == data


def test_nothing_at_all_scores_zero_without_division() -> None:
    for protocol in PROTOCOLS:
        for gold in ({}, {"a": []}):
            report = score(gold, gold, protocol)
            assert report.triplet == report.entity == report.relation == Counts(0, 0, 0)
            assert [getattr(report.triplet, name) for name in FRACTIONS] == [0.0, 0.0, 0.0]


# -- faults


def test_a_missing_prediction_is_an_error_that_names_the_ids() -> None:
    gold = {f"dev-{i}": [ANNA] for i in range(8)}
    with pytest.raises(DataError, match=r'7 of 8 gold .*"dev-1", .*"dev-5" and 2 more\. Write') as caught:
        score(gold, {"dev-0": []}, "strict")
    assert "have no gold" not in str(caught.value)


def test_an_extra_prediction_is_an_error() -> None:
    with pytest.raises(DataError, match=r'1 of 2 predictions have no gold utterance: "x"\.'):
        score({"a": []}, {"a": [], "x": []}, "boundary")


def test_both_faults_are_told_at_once() -> None:
    with pytest.raises(DataError, match=r'no prediction: "a"; 1 of 1 predictions have no gold utterance: "b"'):
        per_utterance({"a": []}, {"b": []}, "paper")


@pytest.mark.parametrize("function", [score, per_utterance, per_relation, per_utterance_relation])
def test_an_unknown_protocol_is_a_usage_error(function: object) -> None:
    with pytest.raises(UsageError, match='unknown scoring protocol "loose"; expected one of strict, boundary, paper'):
        function({}, {}, "loose")  # type: ignore[operator]


def test_per_relation_wants_the_same_ids_too() -> None:
    with pytest.raises(DataError):
        per_relation({"a": []}, {}, "strict")


def test_the_relations_of_the_paper_protocol_are_those_that_it_counts() -> None:
    gold = {"a": [triplet("Anna", "Work_For", "Acme")], "b": [triplet("Bo", "WORK_FOR", "Acme")], "c": []}
    predicted = {
        "a": [triplet("Anna", "work_for", "Acme"), triplet("Anna", "kill", "Bo")],
        "b": [triplet("Bo", "Work-For", "Acme")],
        "c": [triplet("Bo", "Kill", "Anna")],
    }
    assert score(gold, predicted, "paper").triplet == Counts(2, 4, 2)
    assert per_relation(gold, predicted, "paper") == {"Work_For": Counts(2, 2, 2), "kill": Counts(0, 2, 0)}
    assert per_utterance_relation(gold, predicted, "paper")["b"] == {"Work_For": Counts(1, 1, 1)}
    # The project's own protocols compare names as they are.
    assert list(per_relation(gold, predicted, "strict")) == [
        "Kill", "WORK_FOR", "Work-For", "Work_For", "kill", "work_for",
    ]  # fmt: skip


# -- properties


def naive_paper_counts(gold: Side, predicted: Side) -> dict[str, list[int]]:
    """The paper protocol once more, from its description, with lists and loops only."""

    def clean(text: str) -> str:
        return "".join(c for c in text.lower() if c not in string.punctuation)

    out = {"triplet": [0, 0, 0], "entity": [0, 0, 0], "relation": [0, 0, 0]}
    for utterance_id in gold:
        lists: dict[str, list[list[object]]] = {"triplet": [], "entity": [], "relation": []}
        for side in (predicted, gold):
            keys = [[clean(t.head.text), clean(t.relation), clean(t.tail.text)] for t in side[utterance_id]]
            names: list[object] = []
            for head, _, tail in keys:
                names += [name for name in (head, tail) if name not in names]
            lists["triplet"].append(list(keys))
            lists["entity"].append(list(dict.fromkeys(names)))
            lists["relation"].append([key[1] for key in keys])
        for level, (found, wanted) in lists.items():
            out[level][0] += len([item for item in found if item in wanted])
            out[level][1] += len(found)
            out[level][2] += len(wanted)
    return out


@given(sides)
def test_paper_equals_a_naive_implementation(pairs: list[tuple[list[Triplet], list[Triplet]]]) -> None:
    gold, predicted = split_sides(pairs)
    report = score(gold, predicted, "paper")
    for level, (hits, num_predicted, num_gold) in naive_paper_counts(gold, predicted).items():
        assert getattr(report, level) == Counts(hits, num_predicted, num_gold)


@given(sides, protocols)
def test_gold_against_itself_is_perfect(pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str) -> None:
    gold, _ = split_sides(pairs)
    report = score(gold, gold, protocol)
    expected = 1.0 if any(gold.values()) else 0.0
    for counts in (report.triplet, report.entity, report.relation):
        assert (counts.precision, counts.recall, counts.f1) == (expected, expected, expected)


@given(sides, protocols, st.randoms(use_true_random=False))
def test_sequence_never_matters(
    pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str, rng: random.Random
) -> None:
    gold, predicted = split_sides(pairs)

    def shuffled(side: Side) -> Side:
        return {i: rng.sample(list(side[i]), len(side[i])) for i in rng.sample(list(side), len(side))}

    assert score(shuffled(gold), shuffled(predicted), protocol) == score(gold, predicted, protocol)


@given(sides, protocols)
def test_a_wrong_prediction_more_never_helps(pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str) -> None:
    gold, predicted = split_sides([*pairs, ([], [])])
    wrong = triplet("Nobody Ever", "Kill", "No One")
    first = next(iter(gold))
    worse = score(gold, {**predicted, first: [*predicted[first], wrong]}, protocol)
    before = score(gold, predicted, protocol)
    assert worse.triplet.precision <= before.triplet.precision
    assert worse.triplet.f1 <= before.triplet.f1
    assert worse.triplet.recall == before.triplet.recall
    assert worse.entity.precision <= before.entity.precision


@given(sides, st.sampled_from(["strict", "boundary"]))
def test_fractions_stay_between_0_and_1(pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str) -> None:
    report = score(*split_sides(pairs), protocol)
    for counts in (report.triplet, report.entity, report.relation):
        assert all(0.0 <= getattr(counts, name) <= 1.0 for name in FRACTIONS)
        assert counts.f1 <= max(counts.precision, counts.recall) + 1e-12
        assert counts.num_hits <= min(counts.num_predicted, counts.num_gold)


@given(sides)
def test_strict_hits_are_boundary_hits(pairs: list[tuple[list[Triplet], list[Triplet]]]) -> None:
    gold, predicted = split_sides(pairs)
    strict, boundary = per_utterance(gold, predicted, "strict"), per_utterance(gold, predicted, "boundary")
    for utterance_id, counts in strict.items():
        assert (counts.triplet.num_hits > 0) <= (boundary[utterance_id].triplet.num_hits > 0)


@given(sides, protocols)
def test_the_parts_sum_to_the_whole(pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str) -> None:
    gold, predicted = split_sides(pairs)
    report = score(gold, predicted, protocol)
    parts = per_utterance(gold, predicted, protocol)
    assert list(parts) == list(gold)
    total = sum(parts.values(), UtteranceCounts())
    assert (total.triplet, total.entity, total.relation) == (report.triplet, report.entity, report.relation)
    by_relation = per_relation(gold, predicted, protocol)
    assert list(by_relation) == sorted(by_relation)
    summed = sum(by_relation.values(), Counts())
    assert (summed.num_predicted, summed.num_gold) == (report.triplet.num_predicted, report.triplet.num_gold)
    assert summed.num_hits == report.triplet.num_hits


@given(sides, protocols)
def test_relations_of_an_utterance_sum_to_those_of_all(
    pairs: list[tuple[list[Triplet], list[Triplet]]], protocol: str
) -> None:
    gold, predicted = split_sides(pairs)
    parts = per_utterance_relation(gold, predicted, protocol)
    assert list(parts) == list(gold)
    for utterance_id, counts in parts.items():
        names = {t.relation for t in (*gold[utterance_id], *predicted[utterance_id])}
        if protocol == "paper":  # which takes LIVE_IN for Live_In
            assert {normalize_text_as_released(name) for name in counts} == {*map(normalize_text_as_released, names)}
            assert len(counts) == len({*map(normalize_text_as_released, names)})
        else:
            assert list(counts) == sorted(names)
    summed = {
        name: sum((counts.get(name, Counts()) for counts in parts.values()), Counts())
        for name in per_relation(gold, predicted, protocol)
    }
    assert summed == per_relation(gold, predicted, protocol)


@given(triplets, triplets, protocols)
def test_a_hit_is_an_equal_key(one: Triplet, other: Triplet, protocol: str) -> None:
    is_hit = score({"u": [one]}, {"u": [other]}, protocol).triplet.num_hits == 1
    assert is_hit == (triplet_key(one, protocol) == triplet_key(other, protocol))


def test_the_docstrings_and_the_scoring_page_are_true() -> None:
    assert doctest.testmod(speechre.metrics) == (0, 3)
    failed, attempted = doctest.testfile(str(ROOT / "docs" / "scoring.md"), module_relative=False)
    assert failed == 0
    assert attempted > 0


WORDS = st.lists(st.sampled_from("abc"), max_size=6)


@given(WORDS, WORDS)
def test_edit_distance_is_the_textbook_s(reference: list[str], written: list[str]) -> None:
    def textbook(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return textbook(a[1:], b[1:])
        return 1 + min(textbook(a[1:], b), textbook(a, b[1:]), textbook(a[1:], b[1:]))

    assert edit_distance(reference, written) == textbook(reference, written)
    assert edit_distance(written, reference) == edit_distance(reference, written)
