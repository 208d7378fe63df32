"""Two reports over the same utterances, held against each other: is the difference more than chance?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechre.data.store import parse_json
from speechre.errors import UsageError, list_some
from speechre.evaluate.report import counts_table
from speechre.metrics import Counts, check_protocol
from speechre.page.table import Table
from speechre.significance import LEVEL, Difference, paired_bootstrap

NUM_SAMPLES = 10_000
_ALL = ""  # beside the names of relations: all triplets; a relation has no empty name

UtteranceRow = Mapping[str, Counts]
"""The triplet counts of one utterance: all under "", and those of each relation type that occurs."""


@dataclass(frozen=True)
class Side:
    """One of two reports: where it lies, what answered, and the counts of every utterance by its id."""

    path: Path
    model: str | None
    rows: Mapping[str, UtteranceRow]

    def total(self, name: str = _ALL) -> Counts:
        """The counts of all utterances together; of one relation type where ``name`` is given."""
        return sum((row.get(name, Counts()) for row in self.rows.values()), Counts())

    def column(self, name: str, ids: Iterable[str]) -> list[Counts]:
        """The counts utterance by utterance, zeros where a relation type does not occur."""
        return [self.rows[i].get(name, Counts()) for i in ids]


@dataclass(frozen=True)
class Comparison:
    """What ``b`` gains over ``a``: differences by the names of :data:`speechre.significance.FRACTIONS`."""

    protocol: str
    num_samples: int
    seed: int
    a: Side
    b: Side
    triplet: Mapping[str, Difference]
    per_relation: Mapping[str, Mapping[str, Difference]]

    def to_dict(self) -> dict[str, Any]:
        """The object that ``compare --json`` prints; fractions from 0 to 1, differences are ``b`` minus ``a``."""
        return {
            "protocol": self.protocol,
            "num_utterances": len(self.a.rows),
            "num_samples": self.num_samples,
            "seed": self.seed,
            "level": LEVEL,
            "a": {"report": str(self.a.path), "model": self.a.model, **self.a.total().to_dict()},
            "b": {"report": str(self.b.path), "model": self.b.model, **self.b.total().to_dict()},
            "difference": {fraction: found.to_dict() for fraction, found in self.triplet.items()},
            "per_relation": {
                name: {
                    "a": self.a.total(name).to_dict(),
                    "b": self.b.total(name).to_dict(),
                    "difference": {fraction: found.to_dict() for fraction, found in found_of.items()},
                }
                for name, found_of in self.per_relation.items()
            },
        }

    def tables(self) -> list[Table]:
        """For people: both scores, the differences in points, the differences in F1 by relation."""
        sides = {f"A {self.a.model or self.a.path}": self.a.total(), f"B {self.b.model or self.b.path}": self.b.total()}
        title = f"Triplets in percent: protocol {self.protocol}, {len(self.a.rows)} utterances"
        header = ("B - A, in points", "difference", "95 % low", "high", "p")
        names = {"f1": "F1", "precision": "precision", "recall": "recall"}
        differences = tuple((names[f], *_difference_cells(self.triplet[f])) for f in names)
        relations = tuple(
            (
                name,
                f"{100 * self.a.total(name).f1:.2f}",
                f"{100 * self.b.total(name).f1:.2f}",
                *_difference_cells(found["f1"]),
                str(self.a.total(name).num_gold),
            )
            for name, found in self.per_relation.items()
        )
        relation_header = ("relation", "F1 of A", "F1 of B", "difference", "95 % low", "high", "p", "gold")
        return [
            counts_table(title, "system", sides),
            Table(f"Paired bootstrap, {self.num_samples} samples, two-sided", header, differences),
            Table("By relation, not corrected for looking at several", relation_header, relations),
        ]


def compare_reports(
    a: Path, b: Path, protocol: str = "boundary", num_samples: int = NUM_SAMPLES, seed: int = 0
) -> Comparison:
    """Compare two report folders (or their report.json): what ``b`` gains over ``a``.

    See :func:`speechre.significance.paired_bootstrap` for the samples and the p-value.

    Raises :class:`UsageError` where one is no report, where an utterance is in one of them only, where their gold
    counts differ, and on numbers that make no bootstrap.
    """
    ours, theirs = read_side(a, protocol), read_side(b, protocol)
    check_same_utterances(ours, theirs)
    ids = list(ours.rows)
    names = [_ALL, *sorted({name for side in (ours, theirs) for row in side.rows.values() for name in row} - {_ALL})]
    found = paired_bootstrap(
        {name: ours.column(name, ids) for name in names},
        {name: theirs.column(name, ids) for name in names},
        num_samples,
        seed,
    )
    triplet = found.pop(_ALL)
    return Comparison(protocol, num_samples, seed, ours, theirs, triplet, found)


def check_same_utterances(a: Side, b: Side) -> None:
    """Raises :class:`UsageError` unless both have the same ids, and the same number of gold triplets in each."""
    faults = [
        f"{one.path} has {len(ids)} of its {len(one.rows)} utterances alone: {list_some(ids)}"
        for one, other in ((a, b), (b, a))
        if (ids := [i for i in one.rows if i not in other.rows])
    ]
    if faults:
        raise UsageError(f"these reports are not over the same utterances: {'; '.join(faults)}")
    differing = [i for i in a.rows if _gold(a.rows[i]) != _gold(b.rows[i])]
    if differing:
        raise UsageError(
            f"{a.path} and {b.path} have other gold triplets in {len(differing)} of {len(a.rows)} utterances: "
            f"{list_some(differing)}; compare reports over the same manifest"
        )


def read_side(path: Path, protocol: str) -> Side:
    """The counts that a report folder, or its report.json, has for every utterance under ``protocol``.

    Raises :class:`UsageError`, naming the file, where it is missing, cannot be read, or is no such report.
    """
    check_protocol(protocol)
    file = path / "report.json" if os.path.isdir(path) else path
    wanted = 'expected a folder that "speechre evaluate --report" or "speechre score --report" wrote'
    try:
        data = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no {file.name}; {wanted}") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{file}: not a report: {error}; {wanted}") from error
    utterances = data.get("utterances") if isinstance(data, dict) else None
    if not isinstance(utterances, list) or not utterances:
        raise UsageError(f"{file}: holds no counts of utterances; write the report again with this version of speechre")
    rows: dict[str, UtteranceRow] = {}
    for place, utterance in enumerate(utterances):
        utterance_id, row = _row(utterance, protocol)
        if row is None or utterance_id in rows:
            raise UsageError(f"{file}: utterance {place} is not as speechre writes it; write the report again")
        rows[utterance_id] = row
    model = data.get("model")
    return Side(path, model if isinstance(model, str) else None, rows)


def _row(utterance: Any, protocol: str) -> tuple[str, UtteranceRow | None]:
    """Id and counts of one utterance; no counts where they are not as they should be."""
    try:
        utterance_id, counts = utterance["id"], utterance["counts"][protocol]
        row = {name: _counts(numbers) for name, numbers in counts["relations"].items()}
        row[_ALL] = _counts(counts["triplet"])
    except (KeyError, TypeError, AttributeError, ValueError):
        return "", None
    return (utterance_id, row) if isinstance(utterance_id, str) else ("", None)


def _counts(numbers: Any) -> Counts:
    if not isinstance(numbers, list) or len(numbers) != 3 or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{numbers!r}; expected [hits, predicted, gold]")
    return Counts(*numbers)


def _gold(row: UtteranceRow) -> dict[str, int]:
    return {name: counts.num_gold for name, counts in row.items() if counts.num_gold}


def _difference_cells(found: Difference) -> tuple[str, ...]:
    points = (100 * number for number in (found.value, found.interval.low, found.interval.high))
    return (*(f"{number:.2f}" for number in points), f"{found.p_value:.4f}")
