"""Details of the answers of test_evaluate_run, where every figure can be counted on paper."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from test_evaluate_run import ANALYSES, LIVES, UTTERANCES, WORKS, WRONG, evaluation

from speechre.errors import DataError, UsageError
from speechre.evaluate.details import MAX_VOTES, Answer, Details, describe
from speechre.metrics import PROTOCOLS, Counts, score
from speechre.types import Triplet

DURATIONS_S = {"a": 2.5, "b": 3.0, "c": None}


def sure(triplet: Triplet, confidence: float, votes: int) -> Triplet:
    return replace(triplet, confidence=confidence, votes=votes)


# What the vote weighed. Kept is what has 0.5 or more: the answers of test_evaluate_run.
CANDIDATES: Mapping[str, tuple[Triplet, ...]] = {
    "a": (sure(LIVES, 0.9, 2), sure(WRONG, 0.3, 1)),
    "b": (sure(WORKS, 0.8, 2), sure(LIVES, 0.5, 1)),
    "c": (sure(WRONG, 0.6, 1),),
}


def answers(with_orders: bool = True, with_candidates: bool = True) -> dict[str, Answer]:
    return {
        key: Answer(
            tuple(t for t in CANDIDATES[key] if (t.confidence or 0) >= 0.5),
            CANDIDATES[key] if with_candidates else None,
            analysis.by_order if with_orders else {},
            analysis.transcript,
            DURATIONS_S[key],
        )
        for key, analysis in ANALYSES.items()
    }


def details(protocol: str = "boundary", with_orders: bool = True) -> Details:
    utterances = [replace(u, speaker="joe" if u.id == "a" else None) for u in UTTERANCES]
    return describe(utterances, answers(with_orders), protocol, num_samples=200)


def test_the_answers_are_those_of_the_evaluation() -> None:
    assert {key: answer.triplets for key, answer in answers().items()} == {k: a.triplets for k, a in ANALYSES.items()}


def test_intervals_have_a_name_for_every_score_and_hold_it() -> None:
    result, found = evaluation(), details()
    assert list(found.intervals) == ["triplet", "entity", "relation"]
    assert list(found.order_intervals) == list(result.orders)
    assert list(found.relation_intervals) == list(result.per_relation)
    scored = [(found.intervals[name], getattr(result.vote, name)) for name in found.intervals]
    scored += [(found.order_intervals[name], report.triplet) for name, report in result.orders.items()]
    scored += [(found.relation_intervals[name], counts) for name, counts in result.per_relation.items()]
    for intervals, counts in scored:
        for fraction, interval in intervals.items():
            assert interval.low <= getattr(counts, fraction) <= interval.high


def test_the_curve_at_the_threshold_is_the_score_and_goes_below_it() -> None:
    curve = details().curve
    assert curve is not None
    assert curve.is_complete
    at = dict(curve.thresholds)
    assert at[0.5] == evaluation().vote.triplet == Counts(2, 4, 2)
    assert at[0.0] == Counts(2, 5, 2)
    assert at[0.7] == Counts(2, 2, 2)
    assert at[0.85] == Counts(1, 1, 2)
    assert at[1.0] == Counts(0, 0, 2)
    assert curve.best == (0.625, Counts(2, 2, 2))  # the lowest of equals
    assert list(curve.votes) == [(1, Counts(2, 5, 2)), (2, Counts(2, 2, 2))]


def test_reliability_is_over_all_that_was_weighed() -> None:
    """0.9 and 0.8 are right, 0.3, 0.5 and 0.6 are wrong; each is alone in its bin."""
    reliability = details().reliability
    assert reliability is not None
    assert (reliability.num_triplets, reliability.num_hits) == (5, 2)
    assert reliability.ece == pytest.approx((0.1 + 0.2 + 0.3 + 0.5 + 0.6) / 5)
    assert reliability.ece_equal_mass == pytest.approx(reliability.ece)
    assert reliability.brier == pytest.approx((0.01 + 0.04 + 0.09 + 0.25 + 0.36) / 5)
    assert 0.0 < reliability.by_chance.mean < reliability.by_chance.high


def test_what_was_told_has_a_reliability_of_its_own() -> None:
    told = details().told_reliability
    assert told is not None
    assert (told.num_triplets, told.num_hits) == (4, 2)  # without the one of 0.3
    assert told.ece == pytest.approx((0.1 + 0.2 + 0.5 + 0.6) / 4)
    found = details().to_dict()
    assert found["told_reliability"]["ece"] == told.ece
    assert found["told_reliability"]["ece_by_chance"] == told.by_chance.to_dict()
    assert found["reliability"]["num_triplets"] == 5


def test_where_only_the_answers_are_known_the_curve_says_so() -> None:
    found = describe(UTTERANCES, answers(with_candidates=False), "boundary", num_samples=10)
    assert found.curve is not None
    assert not found.curve.is_complete
    assert dict(found.curve.thresholds)[0.0] == Counts(2, 4, 2)


def test_without_confidences_there_is_no_curve() -> None:
    plain = {key: Answer(a.triplets) for key, a in ANALYSES.items()}
    found = describe(UTTERANCES, plain, "boundary", num_samples=10)
    assert (found.curve, found.reliability, found.to_dict()["curve"]) == (None, None, None)
    nothing = describe(UTTERANCES, {key: Answer(()) for key in ANALYSES}, "boundary", num_samples=10)
    assert (nothing.curve, nothing.reliability, nothing.told_reliability) == (None, None, None)


def test_a_claim_of_a_million_votes_makes_no_endless_curve() -> None:
    odd = {key: Answer((sure(LIVES, 0.5, 10**9),)) for key in ANALYSES}
    curve = describe(UTTERANCES, odd, "boundary", num_samples=10).curve
    assert curve is not None
    assert len(curve.votes) == MAX_VOTES


def test_breakdowns_count_every_utterance_once() -> None:
    found = details()
    assert [(g.name, g.num_utterances, g.counts.num_hits) for g in found.by_duration] == [
        ("under 3 s", 1, 1),
        ("3 to 5 s", 1, 1),
        (None, 1, 0),
    ]
    assert [(g.name, g.num_utterances) for g in found.by_speaker] == [(None, 2), ("joe", 1)]
    assert [(g.name, g.num_utterances, g.num_answered) for g in found.by_num_gold] == [("0", 1, 1), ("1", 2, 2)]
    assert found.relation_free == {"num_utterances": 1, "num_answered": 1, "share": 1.0}
    for groups in (found.by_duration, found.by_speaker, found.by_num_gold):
        assert sum((g.counts for g in groups), Counts()) == evaluation().vote.triplet
        assert sum(g.words.num_errors for g in groups if g.words) == 4


def test_the_json_has_the_counts_of_every_utterance_under_every_protocol() -> None:
    data = json.loads(json.dumps(details().to_dict(), allow_nan=False))
    assert [u["id"] for u in data["utterances"]] == ["a", "b", "c"]
    gold = {utterance.id: utterance.triplets for utterance in UTTERANCES}
    said = {key: answer.triplets for key, answer in answers().items()}
    for protocol in PROTOCOLS:
        total = score(gold, said, protocol).triplet
        rows = [u["counts"][protocol]["triplet"] for u in data["utterances"]]
        assert [sum(column) for column in zip(*rows, strict=True)] == [
            total.num_hits,
            total.num_predicted,
            total.num_gold,
        ]
    second = data["utterances"][1]
    assert second["counts"]["boundary"]["relations"] == {"Live_In": [0, 1, 0], "Work_For": [1, 1, 1]}
    assert (second["duration_s"], second["speaker"], second["num_word_errors"], second["num_words"]) == (
        3.0,
        None,
        3,
        4,
    )
    assert data["utterances"][2]["num_word_errors"] is None
    assert data["report_version"] == 1


def test_the_json_lists_the_mistakes_with_their_ids() -> None:
    data = details().to_dict()
    assert [(e["id"], e["kind"], e["predicted"]["relation"]) for e in data["errors"]] == [
        ("b", "spurious", "Live_In"),
        ("c", "spurious", "Live_In"),
    ]
    assert data["errors"][0]["predicted"]["confidence"] == 0.5


def test_the_same_seed_gives_the_same_report() -> None:
    assert details().to_dict() == details().to_dict()


def test_what_goes_in_must_come_out() -> None:
    with pytest.raises(DataError, match='no prediction: "c"'):
        describe(UTTERANCES, {key: Answer(()) for key in "ab"}, "boundary")
    with pytest.raises(DataError, match="4 utterances have 3 ids"):
        describe([*UTTERANCES, UTTERANCES[0]], answers(), "boundary")
    with pytest.raises(UsageError, match="loose"):
        describe(UTTERANCES, answers(), "loose")
