"""What is fitted on dev, on made-up analyses with known answers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from speechre.decode.ensemble import Analysis
from speechre.errors import DataError, UsageError
from speechre.evaluate.calibrate import (
    NO_PROMPTS,
    evidence_of,
    fit,
    held_out_error,
    order_choices,
    prompt_choice,
    relation_thresholds,
)
from speechre.types import Entity, Relation, Triplet, Utterance
from speechre.vote import Hypothesis, WeightedVote

ANN, OSLO = Entity("Ann", "Peop", id="a"), Entity("Oslo", "Loc", id="o")
RIGHT = Triplet(ANN, "Live_In", OSLO)
WRONG = Triplet(OSLO, "Located_In", Entity("Ann", "Loc"))
ORDERS = ("hrt", "htr", "rht")


def utterance(number: int, stated: bool = True) -> Utterance:
    relations = (Relation("a", "o", "Live_In"),) if stated else ()
    return Utterance(f"u{number}", None, "Ann Oslo", (ANN, OSLO), relations)


def analysis(written: dict[str, tuple[Triplet, ...]], live_in: float = 0.5) -> Analysis:
    return Analysis(
        triplets=(),
        by_order=written,
        hypotheses={order: (Hypothesis(triplets),) for order, triplets in written.items()},
        problems=dict.fromkeys(written, ()),
        transcript="Ann Oslo",
        relation_probabilities={"Live_In": live_in, "Kill": 0.3},
    )


def noisy_world(count: int, seed: int) -> tuple[list[Utterance], dict[str, Analysis]]:
    """Triplets that more orders write are right more often: with 1, 2, 3 of 3 orders 10, 50 and 80 %."""
    rng = random.Random(seed)
    utterances, analyses = [], {}
    for number in range(count):
        votes = rng.choice([1, 2, 3])
        is_right = rng.random() < {1: 0.1, 2: 0.5, 3: 0.8}[votes]
        voters = rng.sample(ORDERS, votes)
        one = utterance(number)
        utterances.append(one)
        analyses[one.id] = analysis({o: (RIGHT if is_right else WRONG,) if o in voters else () for o in ORDERS})
    return utterances, analyses


def test_confidence_means_the_share_that_is_right() -> None:
    utterances, analyses = noisy_world(3000, 1)
    found = fit(utterances, evidence_of(analyses))
    assert [found.calibration(votes / 3) for votes in (1, 2)] == pytest.approx([0.1, 0.5], abs=0.15)
    assert found.calibration(1.0) == pytest.approx(0.8, abs=0.15)
    assert found.held_out_error is not None
    assert found.held_out_error < 0.12  # a logistic curve bends only so far
    raw = held_out_error(utterances, evidence_of(analyses), "boundary", seed=2)
    assert raw == pytest.approx(found.held_out_error, abs=0.03)


def test_the_threshold_is_half_of_the_best_f1_and_has_nearly_that() -> None:
    utterances, analyses = noisy_world(2000, 2)
    found = fit(utterances, evidence_of(analyses))
    best = max(counts.f1 for _, counts in found.curve)
    assert best / 2 <= found.threshold < best / 2 + 0.01
    assert found.triplet.f1 == pytest.approx(best, abs=0.02)
    assert found.triplet == dict(found.curve)[found.threshold]
    assert found.relation_free_share is None


def test_relation_free_utterances_raise_the_threshold() -> None:
    utterances, analyses = noisy_world(600, 3)
    for number in range(1000, 1200):
        free = utterance(number, stated=False)
        utterances.append(free)
        wrote = (WRONG,) if number % 2 else ()
        analyses[free.id] = analysis({"hrt": wrote, "htr": wrote, "rht": ()})
    loose = fit(utterances, evidence_of(analyses))
    strict = fit(utterances, evidence_of(analyses), max_relation_free=0.05)
    assert loose.relation_free_share is not None
    assert loose.relation_free_share > 0.05
    assert strict.relation_free_share == 0.0
    assert strict.threshold > loose.threshold
    assert strict.triplet.f1 <= loose.triplet.f1


def test_nothing_found_is_an_error_and_so_is_a_long_recording() -> None:
    utterances = [utterance(1)]
    with pytest.raises(UsageError, match="nothing to calibrate on"):
        fit(utterances, evidence_of({"u1": analysis(dict.fromkeys(ORDERS, ()))}))
    wrong = {"u1": analysis({"hrt": (WRONG,), "htr": (WRONG,), "rht": ()})}
    found = fit(utterances, evidence_of(wrong))
    assert (found.has_hit, found.threshold) == (False, found.curve[-1][0])  # nothing is told that may be kept back
    with pytest.raises(DataError, match=r"u1.*30 s"):
        evidence_of({"u1": analysis({})})


def test_relation_thresholds_worth_trying_make_different_prompts() -> None:
    utterances = [utterance(number, stated=number < 5) for number in range(10)]
    analyses = {u.id: analysis(dict.fromkeys(ORDERS, ()), 0.8 if u.relations else 0.35) for u in utterances}
    own, best, none = relation_thresholds(utterances, analyses, own=0.1)
    assert (own, none) == (0.1, NO_PROMPTS)
    assert 0.35 < best <= 0.8
    assert relation_thresholds(utterances, analyses, own=0.5) == (0.5, NO_PROMPTS)


def test_a_prompt_choice_scores_the_orders_without_the_reader() -> None:
    utterances = [utterance(number, stated=number % 2 == 0) for number in range(20)]
    analyses = {
        u.id: replace(
            analysis({"hrt": (RIGHT,) if u.relations else (WRONG,), "htr": (), "rht": ()}, 0.8 if u.relations else 0.3),
            read=(replace(RIGHT, confidence=0.9),),
        )
        for u in utterances
    }
    choice = prompt_choice(utterances, analyses, 0.5)
    assert (choice.threshold, choice.relation_f1) == (0.5, 1.0)
    blank = {key: replace(one, read=None) for key, one in analyses.items()}
    assert prompt_choice(utterances, blank, 0.5) == choice
    assert 0.5 < choice.triplet_f1 < 1.0  # half of what the orders wrote is wrong
    assert prompt_choice(utterances, analyses, 0.9).relation_f1 == 0.0


def test_the_best_orders_are_found_for_each_number() -> None:
    utterances = [utterance(number) for number in range(30)]
    analyses = {
        u.id: analysis({"hrt": (WRONG,), "htr": (RIGHT,), "rht": (RIGHT,) if i % 2 else ()})
        for i, u in enumerate(utterances)
    }
    choices = order_choices(utterances, analyses, WeightedVote(0.5))
    assert [len(choice.orders) for choice in choices] == [1, 2, 3]
    assert choices[0].orders == ("htr",)
    assert choices[0].f1 == 1.0
    assert choices[0].mean_f1 < 1.0
    assert set(choices[1].orders) == {"htr", "rht"}


def test_a_readers_belief_is_part_of_the_evidence_and_can_be_left_out() -> None:
    rng = random.Random(5)
    utterances, analyses = noisy_world(1500, 5)
    for one in utterances:
        right = any(RIGHT in written for written in analyses[one.id].by_order.values())
        sure = rng.random() < 0.9  # the reader knows better than the orders
        read = replace(RIGHT if right else WRONG, confidence=0.95 if right == sure else 0.1)
        analyses[one.id] = replace(analyses[one.id], read=(read,))
    alone = fit(utterances, evidence_of(analyses, reader=False))
    joint = fit(utterances, evidence_of(analyses), reader=True)
    assert alone.calibration.reader_slope == 0
    assert joint.calibration.reader_slope > 0.5
    assert joint.triplet.f1 > alone.triplet.f1 + 0.02
    assert joint.held_out_error is not None
    assert joint.held_out_error < 0.05
