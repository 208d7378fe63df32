"""What a confidence is worth: is a triplet of 0.8 right in eight of ten cases, and what does a threshold cost?

Everything here starts from triplets that were judged: a confidence, and whether the annotation has the triplet.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from speechre.errors import UsageError
from speechre.metrics import Counts, TripletsById, check_protocol, check_same_ids, triplet_key

NUM_BINS = 15
THRESHOLDS = tuple(step / 40 for step in range(41))
"""0, 0.025, ... 1: where a curve is drawn."""

# A threshold is meant up to rounding, as it is in speechre.vote.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Judged:
    """One predicted triplet: how sure the system was, how many orders wrote it, and whether it is right.

    ``votes`` is ``None`` where a system has no votes.
    """

    confidence: float
    is_hit: bool
    votes: int | None = None


def has_confidences(predicted: TripletsById) -> bool:
    """Whether every predicted triplet comes with a confidence, and there is one at all."""
    confidences = [t.confidence for triplets in predicted.values() for t in triplets]
    return bool(confidences) and None not in confidences


def judge(gold: TripletsById, predicted: TripletsById, protocol: str) -> list[Judged]:
    """Every predicted triplet against the annotation, in the sequence of ``gold`` and then of the prediction.

    Triplets that a protocol takes for the same count as one, with the highest confidence and the most votes among them
    (``strict`` and ``boundary``); ``paper`` counts each. For curves and calibration ``predicted`` should hold what the
    system found at any confidence, not only what passed its threshold.

    Raises :class:`UsageError` on an unknown protocol and on a triplet without a confidence, :class:`DataError` when the
    two sides differ in their ids.
    """
    name = check_protocol(protocol)
    check_same_ids(gold, predicted)
    judged: list[Judged] = []
    for utterance_id, triplets in gold.items():
        known = {triplet_key(t, name) for t in triplets}
        found: dict[Hashable, Judged] = {}
        for place, triplet in enumerate(predicted[utterance_id]):
            if triplet.confidence is None:
                raise UsageError(f'utterance "{utterance_id}": a predicted triplet has no confidence to judge')
            key = triplet_key(triplet, name)
            one = Judged(triplet.confidence, key in known, triplet.votes)
            slot = (place, key) if name == "paper" else key
            found[slot] = _surest(found[slot], one) if slot in found else one
        judged += found.values()
    return judged


def _surest(one: Judged, other: Judged) -> Judged:
    votes = [v for v in (one.votes, other.votes) if v is not None]
    return replace(one, confidence=max(one.confidence, other.confidence), votes=max(votes) if votes else None)


# -- what a threshold costs


def threshold_curve(
    judged: Iterable[Judged], num_gold: int, thresholds: Sequence[float] = THRESHOLDS
) -> list[tuple[float, Counts]]:
    """The counts when a triplet needs a confidence of ``threshold`` or more, for each threshold.

    >>> judged = [Judged(0.9, True), Judged(0.5, False)]
    >>> [(t, counts.num_hits, counts.num_predicted) for t, counts in threshold_curve(judged, 1, (0.5, 0.6, 1.0))]
    [(0.5, 1, 2), (0.6, 1, 1), (1.0, 0, 0)]
    """
    return [(t, _counts((j for j in judged if j.confidence >= t - _ROUNDING), num_gold)) for t in thresholds]


def votes_curve(judged: Iterable[Judged], num_gold: int, max_votes: int) -> list[tuple[int, Counts]]:
    """The counts when a triplet needs ``min_votes`` votes or more, for 1 to ``max_votes``.

    Triplets without votes count as having none.
    """
    return [
        (votes, _counts((j for j in judged if (j.votes or 0) >= votes), num_gold)) for votes in range(1, max_votes + 1)
    ]


def _counts(kept: Iterable[Judged], num_gold: int) -> Counts:
    hits = [j.is_hit for j in kept]
    return Counts(sum(hits), len(hits), num_gold)


# -- whether confidence is probability


@dataclass(frozen=True, slots=True)
class Bin:
    """Triplets of similar confidence: above ``low``, up to ``high``; 0 is in the first bin.

    The two means are ``None`` where there is no triplet.
    """

    low: float
    high: float
    num_triplets: int
    mean_confidence: float | None
    share_of_hits: float | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "low": self.low,
            "high": self.high,
            "num_triplets": self.num_triplets,
            "mean_confidence": self.mean_confidence,
            "share_of_hits": self.share_of_hits,
        }

    @classmethod
    def of(cls, low: float, high: float, judged: Sequence[Judged]) -> Bin:
        """The bin that holds ``judged``."""
        if not judged:
            return cls(low, high, 0, None, None)
        mean = math.fsum(j.confidence for j in judged) / len(judged)
        return cls(low, high, len(judged), mean, sum(j.is_hit for j in judged) / len(judged))


def equal_width_bins(judged: Sequence[Judged], num_bins: int = NUM_BINS) -> list[Bin]:
    """``num_bins`` bins of equal width from 0 to 1, empty ones too (Guo et al. 2017, section 2).

    >>> [b.num_triplets for b in equal_width_bins([Judged(0.5, True), Judged(0.51, False)], 2)]
    [1, 1]

    Raises :class:`UsageError` without a bin.
    """
    edges = _edges(num_bins)
    held = _held(judged, edges)
    return [Bin.of(edges[i], edges[i + 1], held[i]) for i in range(num_bins)]


def _held(judged: Iterable[Judged], edges: Sequence[float]) -> list[list[Judged]]:
    """What lies between an edge and the next."""
    held: list[list[Judged]] = [[] for _ in edges[1:]]
    for one in judged:
        # Six sixths may sum to a hair above or below an edge: edges, too, are meant up to rounding.
        place = bisect_left(edges, one.confidence - _ROUNDING) - 1
        held[min(max(place, 0), len(held) - 1)].append(one)
    return held


def equal_mass_bins(judged: Sequence[Judged], num_bins: int = NUM_BINS) -> list[Bin]:
    """At most ``num_bins`` bins of about as many triplets each, from the lowest confidence to the highest.

    Equal confidences are never torn apart, so a system that only ever says 1/6, 2/6, ... has that many bins, and bins
    can be of unequal size; none is empty. The edges are the highest confidences of their bins, but for the last, 1.

    >>> [b.num_triplets for b in equal_mass_bins([Judged(c, True) for c in (0.2, 0.2, 0.2, 0.7, 0.8)], 2)]
    [3, 2]

    Raises :class:`UsageError` without a bin.
    """
    _edges(num_bins)
    ordered = sorted(judged, key=lambda j: j.confidence)
    groups: list[list[Judged]] = []
    done, last_share = 0, -1
    for _, same in groupby(ordered, key=lambda j: round(j.confidence, 9)):
        tied = list(same)
        # A new bin begins when the middle of the tied ones lies in another share of all than what went before.
        share = int((done + len(tied) / 2) * num_bins / len(ordered))
        if share > last_share:
            groups.append([])
            last_share = share
        groups[-1] += tied
        done += len(tied)
    highs = [group[-1].confidence for group in groups[:-1]] + [1.0]
    return [Bin.of(low, high, group) for low, high, group in zip([0.0, *highs], highs, groups, strict=False)]


def expected_calibration_error(bins: Iterable[Bin]) -> float | None:
    """How far confidence is from the share of hits, on average over triplets, from 0 to 1 (Guo et al. 2017, eq. 3).

    ``None`` where the bins hold nothing.

    >>> expected_calibration_error([Bin(0, 0.5, 3, 0.25, 0.25), Bin(0.5, 1, 1, 0.75, 0.25)])
    0.125
    """
    filled = [b for b in bins if b.num_triplets]
    total = sum(b.num_triplets for b in filled)
    gaps = (b.num_triplets * abs((b.mean_confidence or 0.0) - (b.share_of_hits or 0.0)) for b in filled)
    return math.fsum(gaps) / total if total else None


@dataclass(frozen=True, slots=True)
class ChanceError:
    """The calibration error of a confidence that is right: its mean, and what 95 % of all samples do not exceed."""

    mean: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {"mean": self.mean, "high": self.high}


def chance_calibration_error(
    judged: Sequence[Judged], num_bins: int = NUM_BINS, num_samples: int = 1000, seed: int = 0
) -> ChanceError | None:
    """How large a calibration error over bins of equal width chance alone makes, were each confidence the probability.

    A few triplets miss their mean by chance, so an error is never 0, and one below ``high`` does not say that the
    confidence is off. By consistency resampling, after Bröcker and Smith 2007 ("Increasing the reliability of
    reliability diagrams"): the same confidences, with hits drawn from them, each alone, ``num_samples`` times. ``None``
    of nothing.

    >>> chance_calibration_error([Judged(1.0, True), Judged(0.0, True)])
    ChanceError(mean=0.0, high=0.0)
    """
    if not judged:
        return None
    held = [[j.confidence for j in ours] for ours in _held(judged, _edges(num_bins)) if ours]
    meant = [math.fsum(ours) for ours in held]
    draw = random.Random(seed).random
    errors = sorted(
        math.fsum(abs(hits - sum(draw() < c for c in ours)) for hits, ours in zip(meant, held, strict=True))
        / len(judged)
        for _ in range(num_samples)
    )
    return ChanceError(math.fsum(errors) / num_samples, errors[math.ceil(0.95 * num_samples) - 1])


def brier_score(judged: Sequence[Judged]) -> float | None:
    """The mean squared distance of confidence from 1 (a hit) or 0, from 0 to 1 (Brier 1950); ``None`` of nothing.

    Unlike the calibration error it has no bins, and it also rewards a confidence that tells hits from misses.

    >>> brier_score([Judged(1.0, True), Judged(0.5, False)])
    0.125
    """
    if not judged:
        return None
    return math.fsum((j.confidence - j.is_hit) ** 2 for j in judged) / len(judged)


def _edges(num_bins: int) -> list[float]:
    if num_bins < 1:
        raise UsageError(f"{num_bins} bins; expected 1 or more")
    return [i / num_bins for i in range(num_bins + 1)]
