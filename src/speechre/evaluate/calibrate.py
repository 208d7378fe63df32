"""Settings that are fitted on dev: thresholds, the meaning of confidence, and which orders to ask.

Nothing here runs a model; it reads what a model found on annotated utterances.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from speechre.calibration import Calibration
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
from speechre.types import Utterance
from speechre.vote import Evidence, WeightedVote, raw_evidence, vote

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

    @property
    def has_hit(self) -> bool:
        """Whether anything that was found is right."""
        return any(counts.num_hits for _, counts in self.curve)


@dataclass(frozen=True)
class OrderChoice:
    """The best orders of a size: their F1 on dev when they vote without the others."""

    orders: tuple[str, ...]
    f1: float
    mean_f1: float  # of all choices of that size


@dataclass(frozen=True)
class PromptChoice:
    """A threshold of the relation head: the F1 of its relation types, and of the triplets that the orders write."""

    threshold: float
    relation_f1: float
    triplet_f1: float


EvidenceById = Mapping[str, tuple[Evidence, ...]]
"""Utterance id -> every triplet that any beam wrote or the reader read, with what speaks for it."""


def evidence_of(
    analyses: Mapping[str, Analysis], orders: Sequence[str] | None = None, reader: bool = True
) -> EvidenceById:
    """The raw evidence of each utterance, of all orders or some, with or without the reader's part in it.

    Raises :class:`DataError` for an utterance that was decoded in several chunks, whose beams cannot be compared.
    """
    found: dict[str, tuple[Evidence, ...]] = {}
    for utterance_id, analysis in analyses.items():
        if not analysis.hypotheses:
            raise DataError(f'utterance "{utterance_id}" is longer than 30 s; leave it out of what is fitted on')
        hypotheses = {o: h for o, h in analysis.hypotheses.items() if orders is None or o in orders}
        found[utterance_id] = raw_evidence(hypotheses, analysis.read if reader else None)
    return found


def fit(
    utterances: Sequence[Utterance],
    evidence: EvidenceById,
    protocol: str = "boundary",
    *,
    reader: bool = False,
    max_relation_free: float = 1.0,
    seed: int = 0,
) -> Fit:
    """Calibration and threshold; with ``reader`` the curve weighs its beliefs too.

    The threshold is half of the highest F1 that any reaches, which is where calibrated probabilities have it (Lipton,
    Elkan and Naryanaswamy 2014, theorem 1): the peak itself stands on a few triplets of one corpus. It is higher where
    more than ``max_relation_free`` of the relation-free utterances would get a triplet, and the highest there is where
    nothing that was found is right. Raises :class:`UsageError` if nothing was found to fit on.
    """
    weighed = _judge(utterances, evidence, protocol)
    if not weighed:
        raise UsageError("the model found no triplet in these utterances; there is nothing to calibrate on")
    calibration = _fit_curve(weighed, reader)
    calibrated = [one.calibrated(calibration) for one in weighed]
    num_gold = score(
        {utterance.id: utterance.triplets for utterance in utterances}, {u.id: () for u in utterances}, protocol
    ).triplet.num_gold
    curve = threshold_curve(calibrated, num_gold, THRESHOLDS)
    free = [utterance.id for utterance in utterances if not utterance.relations]
    surest = [max((calibration(e.support, e.belief) for e in evidence[i]), default=0.0) for i in free]
    highest = max(counts.f1 for _, counts in curve)

    def is_quiet(threshold: float) -> bool:
        return sum(c >= threshold for c in surest) <= max_relation_free * len(free)

    fitting = (pair for pair in curve if highest and pair[0] >= highest / 2 and is_quiet(pair[0]))
    best = next(fitting, curve[-1])
    share_at = sum(c >= best[0] for c in surest) / len(free) if free else None
    error = held_out_error(utterances, evidence, protocol, reader=reader, seed=seed)
    return Fit(calibration, best[0], best[1], share_at, error, tuple(curve))


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The evidence for one triplet, and whether it is right."""

    support: float
    belief: float
    is_hit: bool
    votes: int | None

    def calibrated(self, calibration: Calibration) -> Judged:
        return Judged(calibration(self.support, self.belief), self.is_hit, self.votes)


def _judge(utterances: Sequence[Utterance], evidence: EvidenceById, protocol: str) -> list[_Weighed]:
    gold = {utterance.id: utterance.triplets for utterance in utterances}

    def judged(value: Callable[[Evidence], float]) -> list[Judged]:
        found = {i: tuple(replace(e.triplet, confidence=value(e)) for e in evidence[i]) for i in gold}
        return judge(gold, found, protocol)

    # The same triplets in the same sequence, once with the one number and once with the other.
    pairs = zip(judged(lambda e: e.support), judged(lambda e: e.belief), strict=True)
    return [_Weighed(one.confidence, other.confidence, one.is_hit, one.votes) for one, other in pairs]


def _fit_curve(weighed: Sequence[_Weighed], reader: bool) -> Calibration:
    beliefs = [one.belief for one in weighed] if reader else None
    return Calibration.fit([one.support for one in weighed], [one.is_hit for one in weighed], beliefs)


def held_out_error(
    utterances: Sequence[Utterance], evidence: EvidenceById, protocol: str, *, reader: bool = False, seed: int = 0
) -> float | None:
    """The expected calibration error on unseen utterances: each half under the curve of the other half.

    ``None`` where a half holds nothing to fit on.
    """
    shuffled = list(utterances)
    random.Random(seed).shuffle(shuffled)
    halves = (shuffled[::2], shuffled[1::2])
    weighed = [_judge(half, evidence, protocol) for half in halves]
    if not all(weighed):
        return None
    curves = [_fit_curve(half, reader) for half in weighed]
    unseen = [one.calibrated(curve) for half, curve in zip(weighed, reversed(curves), strict=True) for one in half]
    return expected_calibration_error(equal_width_bins(unseen))


NO_PROMPTS = 1.0
"""The relation head's threshold that no probability reaches in practice."""


def relation_thresholds(
    utterances: Sequence[Utterance], analyses: Mapping[str, Analysis], own: float
) -> tuple[float, ...]:
    """Thresholds of the relation head worth decoding with: the one of the head's own best F1, the model's present one,
    and none of its prompts at all.

    The head's best is seldom the best for triplets: the orders write something for nearly every type they are prompted
    with. Those that make the same prompts as an earlier one are left out.
    """
    judged = _relations(utterances, analyses)
    best = max(threshold_curve(judged, _num_relations(utterances), THRESHOLDS), key=lambda pair: pair[1].f1)[0]
    kept: dict[tuple[bool, ...], float] = {}
    for threshold in (own, best, NO_PROMPTS):
        kept.setdefault(tuple(one.confidence >= threshold for one in judged), threshold)
    return tuple(kept.values())


def prompt_choice(
    utterances: Sequence[Utterance], analyses: Mapping[str, Analysis], threshold: float, protocol: str = "boundary"
) -> PromptChoice:
    """What the head's relations and the orders' triplets are worth, decoded with ``threshold``; no reader helps."""
    counts = threshold_curve(_relations(utterances, analyses), _num_relations(utterances), (threshold,))[0][1]
    evidence = evidence_of(analyses, reader=False)
    f1 = fit(utterances, evidence, protocol).triplet.f1 if any(evidence.values()) else 0.0
    return PromptChoice(threshold, counts.f1, f1)


def _relations(utterances: Sequence[Utterance], analyses: Mapping[str, Analysis]) -> list[Judged]:
    return [
        Judged(probability, name in {r.type for r in utterance.relations})
        for utterance in utterances
        for name, probability in analyses[utterance.id].relation_probabilities.items()
    ]


def _num_relations(utterances: Sequence[Utterance]) -> int:
    return sum(len({r.type for r in utterance.relations}) for utterance in utterances)


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
            answers = {
                key: vote({o: analyses[key].hypotheses[o] for o in chosen}, rule, analyses[key].read) for key in gold
            }
            scored.append((score(gold, answers, protocol).triplet.f1, chosen))
        f1, orders = max(scored)
        choices.append(OrderChoice(orders, f1, sum(one for one, _ in scored) / len(scored)))
    return choices
