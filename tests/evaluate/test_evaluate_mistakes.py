"""Each kind of mistake by hand, and that none is counted twice or lost."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.evaluate.mistakes
from speechre.errors import UsageError
from speechre.evaluate.mistakes import NEAR, Mistake, find_mistakes, text_distance
from speechre.metrics import score
from speechre.types import Triplet
from test_metrics import triplet, triplets

ANNA = triplet("Anna Berg", "Live_In", "Lima")


def kinds(mistakes: list[Mistake]) -> list[tuple[str, bool]]:
    return [(m.kind, m.is_hit) for m in mistakes]


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.evaluate.mistakes)
    assert (result.attempted > 0, result.failed) == (True, 0)


@pytest.mark.parametrize("protocol", ["strict", "boundary", "paper"])
def test_a_hit_is_no_mistake(protocol: str) -> None:
    assert find_mistakes([ANNA], [triplet("anna berg", "Live_In", "Lima.")], protocol) == []


def test_missed_and_spurious() -> None:
    bert = triplet("Bert Brecht", "Kill", "Oslo")
    missed, spurious = find_mistakes([ANNA], [bert], "boundary")
    assert missed == Mistake("missed", gold=ANNA)
    assert spurious == Mistake("spurious", predicted=bert)


def test_missed_tells_what_was_weighed_and_not_kept() -> None:
    weighed = replace(triplet("ANNA BERG", "Live_In", "lima"), confidence=0.2)
    (mistake,) = find_mistakes([ANNA], [], "boundary", [triplet("Bert", "Kill", "Oslo"), weighed])
    assert (mistake.kind, mistake.candidate) == ("missed", weighed)


def test_the_same_ends_with_another_relation() -> None:
    (mistake,) = find_mistakes([ANNA], [triplet("anna berg", "Work_For", "Lima")], "boundary")
    assert (mistake.kind, mistake.is_hit, mistake.distance) == ("wrong_type", False, None)


def test_another_entity_type_is_an_error_under_strict_and_a_remark_elsewhere() -> None:
    mistyped = triplet("Anna Berg", "Live_In", "Lima", "Peop Org")
    found = {p: kinds(find_mistakes([ANNA], [mistyped], p)) for p in ("strict", "boundary", "paper")}
    assert found == {
        "strict": [("wrong_type", False)],
        "boundary": [("wrong_type", True)],
        "paper": [("wrong_type", True)],
    }


def test_a_near_miss_has_the_distance_of_its_worse_end() -> None:
    near = triplet("Ana Berg", "Live_In", "Rima")
    (mistake,) = find_mistakes([ANNA], [near], "boundary")
    assert (mistake.kind, mistake.distance) == ("near_miss", 1 / 4)
    assert mistake.to_dict()["distance"] == 0.25
    assert kinds(find_mistakes([ANNA], [triplet("Ana Berg", "Live_In", "Rome")], "boundary")) == [
        ("missed", False),
        ("spurious", False),
    ]
    assert kinds(find_mistakes([ANNA], [triplet("Ana Berg", "Kill", "Lima")], "boundary")) == [
        ("missed", False),
        ("spurious", False),
    ]


def test_a_blank_that_the_paper_protocol_minds_is_a_near_miss_of_distance_nought() -> None:
    (mistake,) = find_mistakes([triplet("Acme Inc .", "Kill", "Oslo")], [triplet("Acme Inc.", "Kill", "Oslo")], "paper")
    assert (mistake.kind, mistake.distance) == ("near_miss", 0.0)


def test_the_nearest_are_paired_first_and_each_once() -> None:
    other = triplet("Anna Bergh", "Live_In", "Lima")
    said = [triplet("Anne Bergh", "Live_In", "Lima"), triplet("Anna Bargh", "Live_In", "Lima")]
    mistakes = find_mistakes([ANNA, other], said, "boundary")
    assert [(m.kind, m.gold, m.predicted) for m in mistakes] == [
        ("near_miss", ANNA, said[1]),
        ("near_miss", other, said[0]),
    ]
    (pair, spurious) = find_mistakes(
        [ANNA], [triplet("Anna Ber", "Live_In", "Lima"), replace(ANNA, relation="Kill")], "boundary"
    )
    assert (pair.kind, spurious.kind) == ("wrong_type", "spurious")  # the same ends come before near ones


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("Oslo", "oslo.", 0), ("", "", 0), ("", "ab", 1), ("abcd", "abxd", 0.25), ("...", "a", 1)],
)
def test_text_distance(one: str, other: str, distance: float) -> None:
    assert text_distance(one, other) == text_distance(other, one) == distance


@given(st.lists(triplets, max_size=5), st.lists(triplets, max_size=5), st.sampled_from(["strict", "boundary"]))
def test_every_triplet_that_is_no_hit_is_in_one_mistake(
    gold: list[Triplet], predicted: list[Triplet], protocol: str
) -> None:
    counts = score({"u": gold}, {"u": predicted}, protocol).triplet
    mistakes = [m for m in find_mistakes(gold, predicted, protocol) if not m.is_hit]
    assert sum(m.gold is not None for m in mistakes) == counts.num_gold - counts.num_hits
    assert sum(m.predicted is not None for m in mistakes) == counts.num_predicted - counts.num_hits
    for m in mistakes:
        assert (m.gold is None, m.predicted is None) == (m.kind == "spurious", m.kind == "missed")
        assert m.distance is None or m.distance <= NEAR


def test_an_unknown_protocol_is_a_usage_fault() -> None:
    with pytest.raises(UsageError, match="loose"):
        find_mistakes([ANNA], [], "loose")
