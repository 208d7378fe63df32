"""How sure a score is: bootstrap intervals, and the paired bootstrap for the difference of two systems.

Utterances are resampled, not triplets: those of one utterance stand and fall together. What is resampled are
counts, so neither audio, model nor annotation is needed here, and every figure of a report shares the same
samples.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from speechre.errors import UsageError
from speechre.metrics import Counts

FRACTIONS = ("precision", "recall", "f1")
"""What :class:`speechre.metrics.Counts` derives, by attribute."""

NUM_SAMPLES = 2000
LEVEL = 0.95

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies in the given share of all resampled data sets."""

    low: float
    high: float

    def to_list(self) -> list[float]:
        """The JSON form: ``[low, high]``."""
        return [self.low, self.high]


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much a figure of ``b`` is above that of ``a``, where that lies, and whether it may be chance."""

    value: float
    interval: Interval
    p_value: float

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {
            "difference": self.value,
            "low": self.interval.low,
            "high": self.interval.high,
            "p_value": self.p_value,
        }


def bootstrap(
    columns: Mapping[_Name, Sequence[Counts]],
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[_Name, dict[str, Interval]]:
    """Intervals of precision, recall and F1 of each column, over the same samples of utterances.

    A column has one :class:`Counts` an utterance, all columns in the same sequence. The percentile bootstrap
    (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13): draw as many utterances as there
    are, with replacement, take the micro-averaged figure, do so ``num_samples`` times, and cut off (1 - level) / 2 at
    both ends.

    >>> hit, miss = Counts(1, 1, 1), Counts(0, 1, 1)
    >>> bootstrap({"all right": [hit, hit], "one of two": [hit, miss]})["all right"]["f1"]
    Interval(low=1.0, high=1.0)

    Raises :class:`UsageError` without utterances, on columns of unequal length and on numbers that make no bootstrap.
    """
    values: dict[_Name, dict[str, list[float]]] = {name: {f: [] for f in FRACTIONS} for name in columns}
    for sample in resample(columns, num_samples, seed):
        for name, counts in sample.items():
            for fraction, ours in values[name].items():
                ours.append(getattr(counts, fraction))
    return {
        name: {fraction: _interval(ours, level) for fraction, ours in fractions.items()}
        for name, fractions in values.items()
    }


def paired_bootstrap(
    a: Mapping[_Name, Sequence[Counts]],
    b: Mapping[_Name, Sequence[Counts]],
    num_samples: int = 10_000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[_Name, dict[str, Difference]]:
    """``b`` minus ``a`` for precision, recall and F1 of each column, on samples that both systems share.

    The paired bootstrap of Koehn (2004, "Statistical significance tests for machine translation evaluation"). The
    p-value is two-sided, by inversion of the percentile interval: twice the share of samples in which the difference is
    0 or on the side where fewer of them are, with one added to both counts so that it is never 0 (Davison and Hinkley
    1997, section 4.2). So it is below 0.05 where the 95 % interval leaves out 0, but for rounding.

    Raises as :func:`bootstrap` does, and :class:`UsageError` when the two have other columns.
    """
    if list(a) != list(b):
        raise UsageError(f"a paired bootstrap needs the same columns on both sides; got {list(a)} and {list(b)}")
    both = {("a", name): counts for name, counts in a.items()} | {("b", name): counts for name, counts in b.items()}
    drawn: dict[_Name, dict[str, list[float]]] = {name: {f: [] for f in FRACTIONS} for name in a}
    for sample in resample(both, num_samples, seed):
        for name, fractions in drawn.items():
            ours, theirs = sample["a", name], sample["b", name]
            for fraction, values in fractions.items():
                values.append(getattr(theirs, fraction) - getattr(ours, fraction))
    return {
        name: {fraction: _difference(a[name], b[name], fraction, ds, level) for fraction, ds in fractions.items()}
        for name, fractions in drawn.items()
    }


def resample(
    columns: Mapping[_Name, Sequence[Counts]], num_samples: int, seed: int = 0
) -> Iterator[dict[_Name, Counts]]:
    """``num_samples`` times: the counts of every column, summed over as many utterances as there are, drawn with
    replacement; the same utterances for all columns.

    All counts of an utterance are packed into one whole number, each in as many bits as the largest sum can have: then
    one addition adds them all, which makes thousands of samples a matter of a second without numpy.

    Raises as :func:`bootstrap` does.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths or num_samples < 1:
        raise UsageError(
            f"a bootstrap needs one or more samples, and columns of the same number of utterances, one or more; "
            f"got {num_samples} samples and columns of {', '.join(map(str, sorted(lengths))) or 'none'}"
        )
    (num_utterances,) = lengths
    rows = [_flat(row) for row in zip(*columns.values(), strict=True)]
    width = (num_utterances * max(1, *(number for row in rows for number in row))).bit_length()
    packed = [sum(number << (width * place) for place, number in enumerate(row)) for row in rows]
    mask = (1 << width) - 1
    places = [(name, 3 * index * width) for index, name in enumerate(columns)]
    generator = random.Random(seed)
    for _ in range(num_samples):
        total = sum(generator.choices(packed, k=num_utterances))
        yield {
            name: Counts(total >> place & mask, total >> place + width & mask, total >> place + 2 * width & mask)
            for name, place in places
        }


def _flat(counts: Sequence[Counts]) -> list[int]:
    return [number for c in counts for number in (c.num_hits, c.num_predicted, c.num_gold)]


def _difference(
    a: Sequence[Counts], b: Sequence[Counts], fraction: str, drawn: Sequence[float], level: float
) -> Difference:
    value = getattr(sum(b, Counts()), fraction) - getattr(sum(a, Counts()), fraction)
    num_opposite = min(sum(d <= 0 for d in drawn), sum(d >= 0 for d in drawn))
    p_value = min(1.0, 2 * (num_opposite + 1) / (len(drawn) + 1))
    return Difference(value, _interval(drawn, level), p_value)


def _interval(values: Sequence[float], level: float) -> Interval:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1; got {level}")
    ordered = sorted(values)
    tail = (1 - level) / 2
    return Interval(quantile(ordered, tail), quantile(ordered, 1 - tail))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the sorted values lie, linear between neighbours.

    >>> quantile([1.0, 2.0, 4.0], 0.75)
    3.0
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
