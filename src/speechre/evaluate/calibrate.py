"""Settings that are fitted on dev: thresholds, the meaning of confidence, and which orders to ask.

Nothing here runs a model; it reads what a model found on annotated utterances.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from speechre.decode.ensemble import Analysis
from speechre.errors import DataError, UsageError
from speechre.metrics import Counts, score
from speechre.reliability import (
    Judged,
    equal_width_bins,
    expected_calibration_error,
    judge,
    threshold_curve,
)
from speechre.types import Triplet, Utterance
from speechre.vote import Calibration, WeightedVote, raw_supports, vote

THRESHOLDS = tuple(i / 100 for i in range(1, 100))


@dataclass(frozen=True)
class Fit:
    """What was fitted, and what it yields on the utterances that it was fitted on.

    ``relation_free_share``: of the utterances without annotated relation, those that get a triplet at ``threshold``;
    ``None`` if there are none. ``held_out_error``: the expected calibration error on utterances that a fit did not see
    (two halves, each judged by the curve of the other). ``curve``: (threshold, counts) for every threshold.
    """

    calibration: Calibration
    threshold: float
    triplet: Counts
    relation_free_share: float | None
    held_out_error: float | None
    curve: tuple[tuple[float, Counts], ...]


@dataclass(frozen=True)
class OrderChoice:
    """The best orders of a size: their F1 on dev when they vote without the others."""

    orders: tuple[str, ...]
    f1: float
    mean_f1: float  # of all choices of that size


Supports = Mapping[str, tuple[Triplet, ...]]
"""Utterance id -> every triplet that any beam wrote, with its raw support as confidence."""


def supports_of(analyses: Mapping[str, Analysis], orders: Sequence[str] | None = None) -> Supports:
    """The raw supports of each utterance, of all orders or some.

    Raises :class:`DataError` for an utterance that was decoded in several chunks, whose beams cannot be compared.
    """
    found: dict[str, tuple[Triplet, ...]] = {}
    for utterance_id, analysis in analyses.items():
        if not analysis.hypotheses:
            raise DataError(f'utterance "{utterance_id}" is longer than 30 s; leave it out of what is fitted on')
        hypotheses = {o: h for o, h in analysis.hypotheses.items() if orders is None or o in orders}
        found[utterance_id] = raw_supports(hypotheses)
    return found


def fit(
    utterances: Sequence[Utterance],
    supports: Supports,
    protocol: str = "boundary",
    *,
    max_relation_free: float = 1.0,
    seed: int = 0,
) -> Fit:
    """Calibration and threshold.

    The threshold is the one of the highest F1 among those at which no more than ``max_relation_free`` of the
    relation-free utterances get a triplet; where there is none, the highest threshold. Raises :class:`UsageError` if
    nothing was found to fit on.
    """
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    judged = judge(gold, supports, protocol)
    if not judged:
        raise UsageError("the model found no triplet in these utterances; there is nothing to calibrate on")
    calibration = _fit_curve(judged)
    calibrated = [_calibrated(one, calibration) for one in judged]
    num_gold = score(gold, supports, protocol).triplet.num_gold
    curve = threshold_curve(calibrated, num_gold, THRESHOLDS)
    free = [utterance.id for utterance in utterances if not utterance.relations]
    surest = [max((calibration(t.confidence or 0.0) for t in supports[i]), default=0.0) for i in free]
    best = curve[-1]
    for threshold, counts in curve:
        share = sum(c >= threshold for c in surest) / max(1, len(free))
        if share <= max_relation_free and counts.f1 > best[1].f1:
            best = (threshold, counts)
    share_at = sum(c >= best[0] for c in surest) / len(free) if free else None
    error = held_out_error(utterances, supports, protocol, seed)
    return Fit(calibration, best[0], best[1], share_at, error, tuple(curve))


def _fit_curve(judged: Sequence[Judged]) -> Calibration:
    return Calibration.fit([one.confidence for one in judged], [one.is_hit for one in judged])


def _calibrated(one: Judged, calibration: Calibration) -> Judged:
    return Judged(calibration(one.confidence), one.is_hit, one.votes)


def held_out_error(utterances: Sequence[Utterance], supports: Supports, protocol: str, seed: int = 0) -> float | None:
    """The expected calibration error on unseen utterances: each half under the curve of the other half.

    ``None`` where a half holds nothing to fit on.
    """
    shuffled = list(utterances)
    random.Random(seed).shuffle(shuffled)
    halves = (shuffled[::2], shuffled[1::2])
    judged = [
        judge({u.id: u.triplets for u in half}, {u.id: supports[u.id] for u in half}, protocol) for half in halves
    ]
    if not all(judged):
        return None
    unseen = [_calibrated(one, _fit_curve(judged[1 - which])) for which, half in enumerate(judged) for one in half]
    return expected_calibration_error(equal_width_bins(unseen))


def relation_threshold(utterances: Sequence[Utterance], analyses: Mapping[str, Analysis]) -> tuple[float, Counts]:
    """The relation head's threshold of the highest micro F1 over (utterance, relation type), and its counts."""
    judged = [
        Judged(probability, name in {r.type for r in utterance.relations})
        for utterance in utterances
        for name, probability in analyses[utterance.id].relation_probabilities.items()
    ]
    num_gold = sum(len({r.type for r in utterance.relations}) for utterance in utterances)
    return max(threshold_curve(judged, num_gold, THRESHOLDS), key=lambda pair: pair[1].f1)


def order_choices(
    utterances: Sequence[Utterance], analyses: Mapping[str, Analysis], rule: WeightedVote, protocol: str = "boundary"
) -> list[OrderChoice]:
    """For each number of orders, the choice with the highest F1.

    Orders are decoded independently of each other, so a choice answers as if only its orders had been asked.
    """
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    names: Iterable[str] = next(iter(analyses.values())).hypotheses
    choices = []
    for size in range(1, len(list(names)) + 1):
        scored = []
        for chosen in combinations(names, size):
            answers = {key: vote({o: analyses[key].hypotheses[o] for o in chosen}, rule) for key in gold}
            scored.append((score(gold, answers, protocol).triplet.f1, chosen))
        f1, orders = max(scored)
        choices.append(OrderChoice(orders, f1, sum(one for one, _ in scored) / len(scored)))
    return choices
