from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.calibration import Calibration
from speechre.config import DecodeConfig
from speechre.errors import ConfigError, SpeechreError, UsageError
from speechre.metrics import normalize_text
from speechre.orders import ORDERS
from speechre.types import Entity, Triplet
from speechre.vote import (
    Hypothesis,
    PaperVote,
    VoteRule,
    WeightedVote,
    raw_evidence,
    vote,
    vote_rule,
)


def triplet(head: str, relation: str = "Live_In", tail: str = "Lima", types: str = "Peop Loc") -> Triplet:
    head_type, tail_type = types.split()
    return Triplet(Entity(head, head_type), relation, Entity(tail, tail_type))


def greedy(**orders: list[Triplet]) -> dict[str, list[Hypothesis]]:
    return {name: [Hypothesis(tuple(written), -1.0)] for name, written in orders.items()}


ANNA, BERT, CARLA = triplet("Anna"), triplet("Bert"), triplet("Carla")

# Few names, so that orders often agree, in part or but for spelling.
texts = st.sampled_from(["Anna", "anna", "Anna.", " Anna", "Lima", "LIMA", "", "!"])
entities = st.builds(Entity, texts, st.sampled_from(["Peop", "Loc"]))
triplets = st.builds(Triplet, entities, st.sampled_from(["Live_In", "Kill"]), entities)
scores = st.floats(-50, 0) | st.just(-math.inf)
beams = st.lists(st.builds(Hypothesis, st.lists(triplets, max_size=3).map(tuple), scores), max_size=3)
ballots = st.dictionaries(st.sampled_from(list(ORDERS)), beams, min_size=1)
calibrations = st.just(Calibration()) | st.builds(Calibration, st.floats(0, 20), st.floats(-10, 10))
rules = st.builds(PaperVote, st.integers(1, 6)) | st.builds(WeightedVote, st.floats(0, 1), calibrations)


def evidence(result: tuple[Triplet, ...]) -> list[tuple[object, ...]]:
    """What Triplet's == leaves out as well."""
    return [(t, t.confidence, t.votes, t.orders) for t in result]


# -- the paper's rule


def test_paper_vote_keeps_what_two_orders_wrote() -> None:
    result = vote(greedy(hrt=[ANNA, BERT], trh=[CARLA], htr=[BERT, CARLA], rth=[BERT]), PaperVote())
    assert result == (BERT, CARLA)
    assert [(t.votes, t.orders, t.confidence) for t in result] == [
        (3, ("hrt", "htr", "rth"), 0.75),
        (2, ("htr", "trh"), 0.5),
    ]


@pytest.mark.parametrize("other", [triplet("anna"), triplet("Anna."), triplet("Anna", types="Org Loc")])
def test_paper_vote_wants_identical_strings_types_included(other: Triplet) -> None:
    assert vote(greedy(hrt=[ANNA], htr=[other]), PaperVote()) == ()


def test_paper_vote_ignores_outer_white_space() -> None:
    assert vote(greedy(hrt=[triplet(" Anna ")], htr=[ANNA]), PaperVote()) == (ANNA,)


def test_paper_vote_counts_an_order_once() -> None:
    assert vote(greedy(hrt=[ANNA, ANNA], htr=[]), PaperVote()) == ()


def test_paper_vote_listens_to_the_best_hypothesis_only() -> None:
    beams = {"hrt": [Hypothesis((ANNA,), -1), Hypothesis((BERT,), -2)], "htr": [Hypothesis((BERT,), -1)]}
    assert vote(beams, PaperVote()) == ()


@pytest.mark.parametrize("min_votes", [1, 2, 3, 6, 7])
def test_one_order_alone_keeps_what_it_wrote_as_in_the_released_code(min_votes: int) -> None:
    assert vote(greedy(hrt=[ANNA, BERT]), PaperVote(min_votes)) == (ANNA, BERT)


def test_asking_for_more_votes_never_keeps_more() -> None:
    written = greedy(hrt=[ANNA, BERT, CARLA], htr=[ANNA, BERT], rht=[ANNA])
    kept = [vote(written, PaperVote(min_votes)) for min_votes in range(1, 8)]
    assert kept == [(ANNA, BERT, CARLA), (ANNA, BERT), *[(ANNA,)] * 5]


# -- the weighted rule


def test_with_one_hypothesis_an_order_support_is_votes_over_orders() -> None:
    result = vote(greedy(hrt=[ANNA], htr=[ANNA, BERT], rht=[CARLA, ANNA]), WeightedVote(threshold=2 / 3))
    assert evidence(result) == [(ANNA, 1.0, 3, ("hrt", "htr", "rht"))]
    result = vote(greedy(hrt=[ANNA], htr=[ANNA, BERT], rht=[CARLA, ANNA]), WeightedVote(threshold=1 / 3))
    assert evidence(result)[1:] == [(BERT, 1 / 3, 1, ("htr",)), (CARLA, 1 / 3, 1, ("rht",))]


def test_beams_share_the_belief_of_their_order() -> None:
    beams = {
        "hrt": [Hypothesis((ANNA,), math.log(0.3)), Hypothesis((ANNA, BERT), math.log(0.1))],
        "htr": [Hypothesis((), math.log(0.2)), Hypothesis((BERT,), math.log(0.2))],
    }
    anna, bert = vote(beams, WeightedVote(threshold=0.0))
    assert (anna, bert) == (ANNA, BERT)
    assert anna.confidence == pytest.approx((0.75 + 0.25 + 0) / 2)
    assert bert.confidence == pytest.approx((0.25 + 0.5) / 2)
    assert (anna.votes, anna.orders) == (1, ("hrt",))
    assert (bert.votes, bert.orders) == (0, ())  # written, but in no order's best hypothesis


def test_spellings_that_normalize_alike_are_one_triplet_in_the_majoritys_form() -> None:
    (result,) = vote(
        greedy(
            hrt=[triplet("O'Brien")],
            htr=[triplet("O’BRIEN", types="Org Loc")],
            rht=[triplet("O'Brien", types="Org Loc")],
        ),
        WeightedVote(),
    )
    assert result == triplet("O'Brien", types="Org Loc")
    assert result.votes == 3


def test_a_tie_of_spellings_goes_to_the_better_score_then_to_the_first_written() -> None:
    better = {"hrt": [Hypothesis((triplet("ANNA"),), -2.0)], "htr": [Hypothesis((ANNA,), -1.0)]}
    assert vote(better, WeightedVote()) == (ANNA,)
    first = {"htr": [Hypothesis((ANNA,), -1.0)], "hrt": [Hypothesis((triplet("ANNA"),), -1.0)]}
    assert vote(first, WeightedVote()) == (triplet("ANNA"),)  # hrt comes first in ORDERS


def test_the_merged_triplet_keeps_where_the_entity_was_found() -> None:
    found = Triplet(Entity("Anna", "Peop", start=3, end=7), "Live_In", Entity("Lima", "Loc"))
    (result,) = vote(greedy(hrt=[triplet("ANNA")], htr=[found], rht=[found]), WeightedVote())
    assert (result.head.start, result.head.end) == (3, 7)


def test_equal_confidences_stay_in_the_sequence_they_were_written() -> None:
    assert vote(greedy(htr=[CARLA], hrt=[BERT, ANNA]), WeightedVote(0.5)) == (BERT, ANNA, CARLA)


def test_an_order_that_found_nothing_still_counts() -> None:
    beams = {**greedy(hrt=[ANNA], htr=[]), "rht": []}
    (result,) = vote(beams, WeightedVote(0.0))
    assert result.confidence == pytest.approx(1 / 3)


def test_calibration_maps_support_before_the_threshold() -> None:
    halves = greedy(hrt=[ANNA], htr=[ANNA, BERT])
    curve = Calibration(slope=0.5, intercept=-2.0)
    both = vote(halves, WeightedVote(0.1, curve))
    assert both == (ANNA, BERT)
    # Odds of 49 to 1 (support 1 is held at 0.98) and 1 to 1: the curve takes their roots, divided by e^2.
    assert [t.confidence for t in both] == pytest.approx([7 / (7 + math.exp(2)), 1 / (1 + math.exp(2))])
    assert vote(halves, WeightedVote(0.3, curve)) == (ANNA,)


@given(st.floats(0, 1))
def test_by_default_confidence_is_the_support_itself(support: float) -> None:
    assert Calibration()(support) == support


@given(calibrations, st.floats(0, 1), st.floats(0, 1))
def test_more_support_is_never_less_confidence(curve: Calibration, one: float, other: float) -> None:
    assert curve(min(one, other)) <= curve(max(one, other))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_log_probability_is_an_error(score: float) -> None:
    with pytest.raises(SpeechreError, match=r'order "htr", hypothesis 1: score (nan|inf) is not a log-probability'):
        vote({"hrt": [], "htr": [Hypothesis((), -1.0), Hypothesis((ANNA,), score)]}, PaperVote())


@pytest.mark.parametrize("names", [["xyz"], []])
def test_orders_must_be_known_and_some(names: list[str]) -> None:
    with pytest.raises(UsageError, match="expected one or more of hrt"):
        vote(greedy(**{name: [ANNA] for name in names}), PaperVote())


# -- properties


@given(ballots, rules, st.randoms(use_true_random=False))
def test_the_sequence_of_the_mapping_never_matters(
    beams: dict[str, list[Hypothesis]], rule: VoteRule, rng: random.Random
) -> None:
    shuffled = {name: beams[name] for name in rng.sample(list(beams), len(beams))}
    assert evidence(vote(shuffled, rule)) == evidence(vote(beams, rule))


@given(ballots, rules)
def test_every_answer_is_sound(beams: dict[str, list[Hypothesis]], rule: VoteRule) -> None:
    result = vote(beams, rule)
    confidences = [t.confidence for t in result]
    assert all(c is not None and 0 <= c <= 1 for c in confidences)
    assert confidences == sorted(confidences, key=lambda c: -(c or 0))
    for t in result:
        assert t.votes == len(t.orders)
        assert t.orders == tuple(name for name in ORDERS if name in t.orders)
        assert set(t.orders) <= set(beams)
    if isinstance(rule, WeightedVote):
        keys = [(normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)) for t in result]
        assert len(set(keys)) == len(keys)


@given(ballots)
def test_writing_a_triplet_twice_changes_nothing(beams: dict[str, list[Hypothesis]]) -> None:
    doubled = {n: [Hypothesis(h.triplets * 2, h.score) for h in hypotheses] for n, hypotheses in beams.items()}
    for rule in (PaperVote(2), WeightedVote(0.3)):
        assert evidence(vote(doubled, rule)) == evidence(vote(beams, rule))


@given(ballots, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_keeps_a_part_of_what_a_lower_one_keeps(
    beams: dict[str, list[Hypothesis]], one: float, other: float
) -> None:
    lower, higher = sorted((one, other))
    kept = vote(beams, WeightedVote(lower))
    assert evidence(kept)[: len(vote(beams, WeightedVote(higher)))] == evidence(vote(beams, WeightedVote(higher)))


@given(ballots)
def test_supports_cover_every_triplet_of_every_beam(beams: dict[str, list[Hypothesis]]) -> None:
    written = {
        (normalize_text(t.head.text), t.relation, normalize_text(t.tail.text))
        for hypotheses in beams.values()
        for h in hypotheses
        for t in h.triplets
    }
    assert len(raw_evidence(beams)) == len(written)


@given(ballots)
def test_greedy_support_is_votes_over_orders(beams: dict[str, list[Hypothesis]]) -> None:
    single = {name: hypotheses[:1] for name, hypotheses in beams.items()}
    for evidence in raw_evidence(single):
        assert evidence.support == pytest.approx((evidence.triplet.votes or 0) / len(beams))
        assert evidence.belief == 0


# -- the reader


def read(triplet_: Triplet, belief: float) -> Triplet:
    return replace(triplet_, confidence=belief)


def test_without_a_curve_orders_and_reader_weigh_alike() -> None:
    found = [read(ANNA, 0.9), read(CARLA, 0.6)]
    result = vote(greedy(hrt=[ANNA, BERT], htr=[ANNA]), WeightedVote(0.0), found)
    assert [(t.head.text, t.confidence, t.votes, t.orders) for t in result] == [
        ("Anna", pytest.approx(0.95), 2, ("hrt", "htr")),
        ("Carla", pytest.approx(0.3), 0, ()),
        ("Bert", pytest.approx(0.25), 1, ("hrt",)),
    ]


def test_with_a_reader_its_own_curve_counts() -> None:
    rule = WeightedVote(0.0, Calibration(3.0, -3.0), Calibration(0.5, -1.0, 2.0))
    alone, joint = (vote(greedy(hrt=[ANNA]), rule, found) for found in (None, [read(ANNA, 0.7)]))
    assert alone[0].confidence == pytest.approx(Calibration(3.0, -3.0)(1.0))
    assert joint[0].confidence == pytest.approx(Calibration(0.5, -1.0, 2.0)(1.0, 0.7))


def test_a_reader_who_finds_nothing_speaks_against_what_the_orders_wrote() -> None:
    rule = WeightedVote(0.0, reader_calibration=Calibration(1.0, 0.0, 1.0))
    (silent,), (agreed,) = (vote(greedy(hrt=[ANNA]), rule, found) for found in ([], [read(ANNA, 0.9)]))
    assert (silent.confidence or 0) < 0.6 < (agreed.confidence or 0)


def test_what_is_read_twice_counts_once_at_its_highest_belief_and_under_the_orders_spelling() -> None:
    found = [read(triplet("ANNA"), 0.2), read(triplet("anna."), 0.8)]
    (result,) = vote(greedy(hrt=[ANNA]), WeightedVote(0.0), found)
    assert (result.head.text, result.confidence) == ("Anna", pytest.approx(0.9))


def test_the_papers_vote_has_no_reader() -> None:
    assert vote(greedy(hrt=[ANNA], htr=[ANNA]), PaperVote(2), [read(BERT, 1.0)]) == (ANNA,)


# -- the config


def test_the_config_says_the_rule() -> None:
    assert vote_rule(DecodeConfig(vote="paper", min_votes=3)) == PaperVote(3)
    assert vote_rule(DecodeConfig(threshold=0.4)) == WeightedVote(0.4)
    expected = WeightedVote(0.5, Calibration(0.8, -0.3))
    assert vote_rule(DecodeConfig(calibration=(0.8, -0.3))) == expected
    joint = WeightedVote(0.5, reader_calibration=Calibration(0.8, -0.3, 1.2))
    assert vote_rule(DecodeConfig(reader_calibration=(0.8, 1.2, -0.3))) == joint


@pytest.mark.parametrize("config", [DecodeConfig(vote="paper", min_votes=0), DecodeConfig(threshold=1.2)])
def test_a_rule_out_of_range_is_a_config_error(config: DecodeConfig) -> None:
    with pytest.raises(ConfigError):
        vote_rule(config)
