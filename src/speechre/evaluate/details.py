"""All that a report says beyond the scores: intervals, curves, calibration, breakdowns, mistakes, and the counts of
every utterance, from which two reports can be compared later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speechre.errors import DataError
from speechre.evaluate.breakdown import Group, Scored, by_duration, by_num_gold, by_speaker, relation_free
from speechre.evaluate.mistakes import Mistake, find_mistakes
from speechre.evaluate.run import WordErrors, word_errors
from speechre.metrics import (
    PROTOCOLS,
    Counts,
    TripletsById,
    check_protocol,
    check_same_ids,
    per_utterance,
    per_utterance_relation,
)
from speechre.reliability import (
    Bin,
    ChanceError,
    Judged,
    brier_score,
    chance_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    has_confidences,
    judge,
    threshold_curve,
    votes_curve,
)
from speechre.significance import LEVEL, NUM_SAMPLES, Interval, bootstrap
from speechre.types import Triplet, Utterance

REPORT_VERSION = 1
"""Of the form of report.json; raised when a key that others read changes its meaning."""

MAX_VOTES = 24
"""Where the curve over votes ends, whatever number of voters a file of predictions claims."""

Intervals = Mapping[str, Interval]
"""By the names of :data:`speechre.significance.FRACTIONS`."""


@dataclass(frozen=True)
class Answer:
    """What a system said about one utterance.

    ``candidates`` are the triplets that it weighed, those that it did not keep too; ``None`` where only the answer is
    known. ``by_order`` is what each element order said alone, empty where there are no orders.
    """

    triplets: tuple[Triplet, ...]
    candidates: tuple[Triplet, ...] | None = None
    by_order: Mapping[str, tuple[Triplet, ...]] = field(default_factory=dict)
    transcript: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True)
class Curve:
    """The scores that other thresholds would give. ``is_complete``: triplets below the threshold are in it."""

    is_complete: bool
    thresholds: Sequence[tuple[float, Counts]]
    votes: Sequence[tuple[int, Counts]]

    @property
    def best(self) -> tuple[float, Counts]:
        """The threshold of the highest F1, the lowest of equals: chosen on the data that it is scored on."""
        return max(self.thresholds, key=lambda point: point[1].f1)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        threshold, counts = self.best
        return {
            "is_complete": self.is_complete,
            "best": {"threshold": threshold, **counts.to_dict()},
            "thresholds": [{"threshold": t, **c.to_dict()} for t, c in self.thresholds],
            "votes": [{"min_votes": v, **c.to_dict()} for v, c in self.votes],
        }


@dataclass(frozen=True)
class Reliability:
    """How well confidence predicts hits, over some triplets. ``by_chance`` is the calibration error that as many would
    show, in bins of equal width, were each confidence right.
    """

    num_triplets: int
    num_hits: int
    brier: float
    by_chance: ChanceError
    equal_width: Sequence[Bin]
    equal_mass: Sequence[Bin]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Reliability:
        """Of one or more judged triplets."""
        return cls(
            len(judged),
            sum(j.is_hit for j in judged),
            brier_score(judged) or 0.0,
            chance_calibration_error(judged) or ChanceError(0.0, 0.0),
            equal_width_bins(judged),
            equal_mass_bins(judged),
        )

    @property
    def ece(self) -> float:
        """The expected calibration error over bins of equal width."""
        return expected_calibration_error(self.equal_width) or 0.0

    @property
    def ece_equal_mass(self) -> float:
        """The same over bins of about as many triplets each."""
        return expected_calibration_error(self.equal_mass) or 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "num_triplets": self.num_triplets,
            "num_hits": self.num_hits,
            "ece": self.ece,
            "ece_by_chance": self.by_chance.to_dict(),
            "ece_equal_mass": self.ece_equal_mass,
            "brier": self.brier,
            "equal_width": [b.to_dict() for b in self.equal_width],
            "equal_mass": [b.to_dict() for b in self.equal_mass],
        }


@dataclass(frozen=True)
class UtteranceDetail:
    """One utterance: ``counts`` by protocol, ``relation_counts`` by protocol and relation type (those that occur)."""

    utterance: Utterance
    answer: Answer
    words: WordErrors | None
    counts: Mapping[str, Counts]
    relation_counts: Mapping[str, Mapping[str, Counts]]
    mistakes: Sequence[Mistake]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; counts are ``[hits, predicted, gold]``."""
        return {
            "id": self.utterance.id,
            "duration_s": self.answer.duration_s,
            "speaker": self.utterance.speaker,
            "text": self.utterance.text,
            "transcript": self.answer.transcript,
            "num_word_errors": None if self.words is None else self.words.num_errors,
            "num_words": None if self.words is None else self.words.num_words,
            "counts": {
                protocol: {
                    "triplet": _counts_list(self.counts[protocol]),
                    "relations": {name: _counts_list(c) for name, c in self.relation_counts[protocol].items()},
                }
                for protocol in PROTOCOLS
            },
        }


@dataclass(frozen=True)
class Details:
    """See the module. ``intervals`` has the keys ``triplet``, ``entity`` and ``relation``.

    ``curve`` and ``reliability`` are over all triplets that were weighed, at any confidence, ``told_reliability`` over
    those that were told; ``None`` where triplets have no confidence, and the last where none was told.
    """

    protocol: str
    num_samples: int
    seed: int
    intervals: Mapping[str, Intervals]
    order_intervals: Mapping[str, Intervals]
    relation_intervals: Mapping[str, Intervals]
    curve: Curve | None
    reliability: Reliability | None
    told_reliability: Reliability | None
    by_duration: Sequence[Group]
    by_speaker: Sequence[Group]
    by_num_gold: Sequence[Group]
    relation_free: Mapping[str, Any]
    utterances: Sequence[UtteranceDetail]

    def to_dict(self) -> dict[str, Any]:
        """What report.json has besides the object that the command prints."""
        return {
            "report_version": REPORT_VERSION,
            "intervals": {
                "level": LEVEL,
                "num_samples": self.num_samples,
                "seed": self.seed,
                **{name: _interval_lists(ours) for name, ours in self.intervals.items()},
                "orders": {name: _interval_lists(ours) for name, ours in self.order_intervals.items()},
                "per_relation": {name: _interval_lists(ours) for name, ours in self.relation_intervals.items()},
            },
            "curve": None if self.curve is None else self.curve.to_dict(),
            "reliability": None if self.reliability is None else self.reliability.to_dict(),
            "told_reliability": None if self.told_reliability is None else self.told_reliability.to_dict(),
            "breakdown": {
                "duration": [group.to_dict() for group in self.by_duration],
                "speaker": [group.to_dict() for group in self.by_speaker],
                "num_gold": [group.to_dict() for group in self.by_num_gold],
            },
            "relation_free": dict(self.relation_free),
            "errors": [{"id": u.utterance.id, **m.to_dict()} for u in self.utterances for m in u.mistakes],
            "utterances": [u.to_dict() for u in self.utterances],
        }


def describe(
    utterances: Sequence[Utterance],
    answers: Mapping[str, Answer],
    protocol: str,
    *,
    is_plain: bool = True,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> Details:
    """The details of ``answers``, by utterance id, against ``utterances``, in their sequence.

    ``is_plain`` is how transcripts are compared, see :func:`speechre.evaluate.run.word_errors`. ``num_samples`` and
    ``seed`` are the bootstrap's.

    Raises :class:`DataError` when the two sides differ in their ids, :class:`UsageError` on an unknown protocol.
    """
    name = check_protocol(protocol)
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    if not gold or len(gold) < len(utterances):
        raise DataError(f"{len(utterances)} utterances have {len(gold)} ids; expected one or more, each once")
    said: TripletsById = {key: answer.triplets for key, answer in answers.items()}
    check_same_ids(gold, said)
    details = _utterance_details(utterances, answers, name, is_plain)
    scored = [Scored(d.counts[name], d.answer.duration_s, d.utterance.speaker, d.words) for d in details]
    intervals = _intervals(gold, answers, details, name, num_samples, seed)
    curve, reliability = _confidence(gold, answers, name)
    return Details(
        protocol=name,
        num_samples=num_samples,
        seed=seed,
        intervals=intervals[""],
        order_intervals=intervals["order"],
        relation_intervals=intervals["relation"],
        curve=curve,
        reliability=reliability,
        told_reliability=Reliability.of(judge(gold, said, name)) if has_confidences(said) else None,
        by_duration=by_duration(scored),
        by_speaker=by_speaker(scored),
        by_num_gold=by_num_gold(scored),
        relation_free=relation_free(scored),
        utterances=details,
    )


def _utterance_details(
    utterances: Sequence[Utterance], answers: Mapping[str, Answer], protocol: str, is_plain: bool
) -> list[UtteranceDetail]:
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    said = {key: answers[key].triplets for key in gold}
    counts = {p: per_utterance(gold, said, p) for p in PROTOCOLS}
    relation_counts = {p: per_utterance_relation(gold, said, p) for p in PROTOCOLS}
    return [
        UtteranceDetail(
            utterance,
            answer,
            word_errors(utterance, answer.transcript, is_plain),
            {p: counts[p][utterance.id].triplet for p in PROTOCOLS},
            {p: relation_counts[p][utterance.id] for p in PROTOCOLS},
            find_mistakes(utterance.triplets, answer.triplets, protocol, answer.candidates or ()),
        )
        for utterance in utterances
        for answer in [answers[utterance.id]]
    ]


def _intervals(
    gold: TripletsById,
    answers: Mapping[str, Answer],
    details: Sequence[UtteranceDetail],
    protocol: str,
    num_samples: int,
    seed: int,
) -> dict[str, dict[str, Intervals]]:
    """By what is counted ("" for the three levels of a score, "order", "relation") and then by name; one bootstrap."""
    levels = per_utterance(gold, {key: answers[key].triplets for key in gold}, protocol).values()
    columns: dict[tuple[str, str], list[Counts]] = {
        ("", "triplet"): [c.triplet for c in levels],
        ("", "entity"): [c.entity for c in levels],
        ("", "relation"): [c.relation for c in levels],
    }
    for order in next(iter(answers.values())).by_order:
        alone = per_utterance(gold, {key: answers[key].by_order[order] for key in gold}, protocol)
        columns["order", order] = [c.triplet for c in alone.values()]
    for relation in sorted({name for d in details for name in d.relation_counts[protocol]}):
        columns["relation", relation] = [d.relation_counts[protocol].get(relation, Counts()) for d in details]
    out: dict[str, dict[str, Intervals]] = {"": {}, "order": {}, "relation": {}}
    for (what, name), intervals in bootstrap(columns, num_samples, seed).items():
        out[what][name] = intervals
    return out


def _confidence(
    gold: TripletsById, answers: Mapping[str, Answer], protocol: str
) -> tuple[Curve, Reliability] | tuple[None, None]:
    is_complete = all(answer.candidates is not None for answer in answers.values())
    weighed = {key: (a.candidates or () if is_complete else a.triplets) for key, a in answers.items()}
    if not has_confidences(weighed):
        return None, None
    judged = judge(gold, weighed, protocol)
    num_gold = sum(c.triplet.num_gold for c in per_utterance(gold, weighed, protocol).values())
    num_orders = max(len(answer.by_order) for answer in answers.values())
    max_votes = min(max(num_orders, *(j.votes or 0 for j in judged)), MAX_VOTES)
    curve = Curve(is_complete, threshold_curve(judged, num_gold), votes_curve(judged, num_gold, max_votes))
    return curve, Reliability.of(judged)


def _counts_list(counts: Counts) -> list[int]:
    return [counts.num_hits, counts.num_predicted, counts.num_gold]


def _interval_lists(intervals: Intervals) -> dict[str, list[float]]:
    return {fraction: interval.to_list() for fraction, interval in intervals.items()}
