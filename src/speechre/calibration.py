"""From evidence to probability: how sure one may be of a triplet, fitted on a development set.

The evidence is the support of the element orders (:mod:`speechre.vote`) and, where a model has one, the belief of the
text reader; both are numbers from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from speechre.errors import UsageError

# Weighs slope**2 / 2 in the loss of a fit: nothing beside dozens of judgements, but it keeps the slope finite
# where all supports are the same and tame where they differ by a hair.
_RIDGE = 1e-2
# Below a vote of one order in six, and as far from 1: where log-odds would run off to infinity.
_MIN_SUPPORT = 0.02


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve over the log-odds of the evidence.

    ``1 / (1 + exp(-(slope * logit(support) + reader_slope * logit(belief) + intercept)))``, where support and belief
    are first held between 0.02 and 0.98: unanimity of six orders is strong evidence, not infinite evidence. Slope 1
    and intercept 0, the default, mean no calibration: the support itself.
    """

    slope: float = 1.0
    intercept: float = 0.0
    reader_slope: float = 0.0

    def __call__(self, support: float, belief: float = 0.0) -> float:
        """The probability that a triplet with this support and belief (0 to 1 each) is right."""
        if (self.slope, self.intercept, self.reader_slope) == (1.0, 0.0, 0.0):
            return support
        return _sigmoid(self.slope * _logit(support) + self.reader_slope * _logit(belief) + self.intercept)

    @classmethod
    def fit(
        cls,
        supports: Sequence[float],
        is_right: Sequence[bool],
        beliefs: Sequence[float] | None = None,
        max_steps: int = 50,
    ) -> Calibration:
        """The curve that makes the development set's hits and misses likeliest.

        Platt's method with his smoothed targets, so that a set without any miss still gets a finite curve, by
        damped Newton steps (Lin, Lin and Weng 2007, "A note on Platt's probabilistic outputs for support
        vector machines"). Confidence never falls as evidence grows: where more of one kind comes with fewer hits, its
        slope is 0, and without any slope the curve is flat at the share of hits.

        Raises :class:`UsageError` when there is nothing to fit, when the sequences differ in length and when a number
        is not between 0 and 1.
        """
        lengths = {len(supports), len(is_right), len(supports if beliefs is None else beliefs)}
        if not supports or len(lengths) > 1:
            raise UsageError(
                f"a calibration needs at least one support and a judgement for each; "
                f"got {len(supports)} supports and {len(is_right)} judgements"
                + ("" if beliefs is None else f" and {len(beliefs)} beliefs")
            )
        wild = [s for s in (*supports, *(beliefs or ())) if not 0 <= s <= 1]
        if wild:
            raise UsageError(f"a calibration is fitted on raw supports from 0 to 1; got {wild[0]}")
        num_right = sum(map(bool, is_right))
        target_right, target_wrong = (num_right + 1) / (num_right + 2), 1 / (len(is_right) - num_right + 2)
        targets = [target_right if right else target_wrong for right in is_right]
        kinds = {"slope": [_logit(s) for s in supports]}
        if beliefs is not None:
            kinds["reader_slope"] = [_logit(b) for b in beliefs]
        while kinds:
            *slopes, intercept = _fit_logistic(list(zip(*kinds.values(), strict=True)), targets, max_steps)
            named = dict(zip(kinds, slopes, strict=True))
            worst = min(named, key=lambda name: named[name])
            if named[worst] >= 0:
                return cls(named.get("slope", 0.0), intercept, named.get("reader_slope", 0.0))
            del kinds[worst]
        share = math.fsum(targets) / len(targets)
        return cls(0.0, math.log(share / (1 - share)))


def _logit(support: float) -> float:
    held = min(max(support, _MIN_SUPPORT), 1 - _MIN_SUPPORT)
    return math.log(held / (1 - held))


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))  # the same, without overflow


def _fit_logistic(rows: Sequence[tuple[float, ...]], targets: Sequence[float], max_steps: int) -> list[float]:
    """The slope of each column and the intercept of least cross-entropy: Newton's steps, halved until the loss does
    not rise.
    """
    # Votes have few values: equal rows are one, with the number of them and the sum of their targets.
    grouped: dict[tuple[float, ...], tuple[int, float]] = {}
    for row, target in zip(rows, targets, strict=True):
        count, total = grouped.get(row, (0, 0.0))
        grouped[row] = (count + 1, total + target)
    inputs = [((*row, 1.0), count, total) for row, (count, total) in grouped.items()]
    size = len(rows[0]) + 1
    ridge = [_RIDGE] * (size - 1) + [0.0]

    def dot(weights: Sequence[float], row: Sequence[float]) -> float:
        return float(sum(map(mul, weights, row)))

    def loss(weights: Sequence[float]) -> float:
        # log(1 + e^z) - tz, written so that no exponential overflows
        terms = []
        for row, count, total in inputs:
            z = dot(weights, row)
            terms.append(count * (max(z, 0) + math.log1p(math.exp(-abs(z)))) - total * z)
        return math.fsum(terms) + sum(r / 2 * w * w for r, w in zip(ridge, weights, strict=True))

    weights = [0.0] * size
    for _ in range(max_steps):
        gradient = [r * w for r, w in zip(ridge, weights, strict=True)]
        hessian = [[ridge[i] if i == j else 0.0 for j in range(size)] for i in range(size)]
        for row, count, total in inputs:
            p = _sigmoid(dot(weights, row))
            residual, spread = count * p - total, count * p * (1 - p)
            for i in range(size):
                gradient[i] += residual * row[i]
                for j in range(size):
                    hessian[i][j] += spread * row[i] * row[j]
        step = _solve(hessian, gradient)
        before, scale = loss(weights), 1.0
        while loss(moved := [w - scale * s for w, s in zip(weights, step, strict=True)]) > before:
            scale /= 2
            if scale < 1e-6:  # the optimum, up to rounding
                return weights
        weights = moved
        if sum(abs(scale * s) for s in step) < 1e-9:
            break
    return weights


def _solve(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    """x of matrix x = vector by Gaussian elimination with the largest pivot; the matrix is not singular."""
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for i in range(size):
            if i != column:
                share = rows[i][column] / rows[column][column]
                rows[i] = [a - share * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]
