"""One model on one manifest: the vote, every order alone, the relation head, the transcripts, the problems.

Gold comes straight from the annotation, with the annotation's own texts; nothing of it passes through a
tokenizer or a prompt. Every utterance that goes in is counted, or the evaluation fails and names the ids.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from speechre import __version__
from speechre.config import Config
from speechre.data.plain_text import plain_utterance
from speechre.errors import DataError
from speechre.metrics import Counts, ScoreReport, check_same_ids, edit_distance, normalize_text, per_relation, score
from speechre.types import Utterance

if TYPE_CHECKING:  # its module loads torch, and scoring needs none
    from speechre.decode.ensemble import Analysis

_VERSIONS_OF = ("torch", "numpy", "soundfile", "soxr", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class ProblemCounts:
    """How many generations there were, and how many had a problem: a fault of form, or no end."""

    num_generations: int
    num_with_problems: int

    @property
    def share(self) -> float:
        """From 0 to 1; 0/0 is 0.0."""
        return self.num_with_problems / self.num_generations if self.num_generations else 0.0

    def to_dict(self) -> dict[str, float | int]:
        """The share first, then what it was made of."""
        return {
            "share": self.share,
            "num_generations": self.num_generations,
            "num_with_problems": self.num_with_problems,
        }


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Word errors of the transcripts, over the words of the utterances that have a text."""

    num_errors: int = 0
    num_words: int = 0
    num_utterances: int = 0

    @property
    def wer(self) -> float:
        """Substitutions, insertions and deletions per word of the text; it can exceed 1, and 0/0 is 0.0."""
        return self.num_errors / self.num_words if self.num_words else 0.0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.num_errors + other.num_errors,
            self.num_words + other.num_words,
            self.num_utterances + other.num_utterances,
        )

    def to_dict(self) -> dict[str, float | int]:
        """The rate first, then what it was made of."""
        return {
            "wer": self.wer,
            "num_errors": self.num_errors,
            "num_words": self.num_words,
            "num_utterances": self.num_utterances,
        }


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation.

    ``vote`` scores the ensemble's answers, ``orders`` what each order's best generation says alone.
    ``transcript`` is ``None`` where no utterance has both a text and a transcript.
    """

    vote: ScoreReport
    orders: Mapping[str, ScoreReport]
    problems: Mapping[str, ProblemCounts]
    per_relation: Mapping[str, Counts]
    relation_head: Counts
    transcript: WordErrors | None
    model: str
    config: Config
    machine: Mapping[str, Any]

    @property
    def all_problems(self) -> ProblemCounts:
        """The problems of all orders together."""
        counts = self.problems.values()
        return ProblemCounts(sum(c.num_generations for c in counts), sum(c.num_with_problems for c in counts))

    def to_dict(self) -> dict[str, Any]:
        """The object that ``evaluate --json`` prints: the keys of ``score --json`` first, then more."""
        return {
            **self.vote.to_dict(),
            "orders": {name: report.to_dict() for name, report in self.orders.items()},
            "problems": {
                **self.all_problems.to_dict(),
                "orders": {name: counts.to_dict() for name, counts in self.problems.items()},
            },
            "per_relation": {name: counts.to_dict() for name, counts in self.per_relation.items()},
            "transcript": None if self.transcript is None else self.transcript.to_dict(),
            "relation_head": {
                "threshold": self.config.decode.relation_threshold,
                **self.relation_head.to_dict(),
            },
            "model": self.model,
            "config": self.config.to_dict(),
            "machine": dict(self.machine),
        }


def evaluate(
    utterances: Sequence[Utterance],
    analyses: Iterable[tuple[str, Analysis]],
    protocol: str = "boundary",
    *,
    model: str,
    config: Config,
) -> Evaluation:
    """Score ``analyses``, pairs of an utterance's id and what a model found in it, against ``utterances``.

    ``model`` names what answered, ``config`` is how: its ``decode.relation_threshold`` is the relation
    head's, and with ``data.text_style`` "plain" transcripts are compared with the plain form of the text,
    which such a model writes.

    Raises :class:`DataError` when what comes out is not what went in (an id missing, unknown or given twice)
    and when the analyses differ in their orders, :class:`UsageError` on an unknown protocol.
    """
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    if not gold or len(gold) < len(utterances):
        raise DataError(f"{len(utterances)} utterances have {len(gold)} ids; expected one or more, each once")
    found = _collect(analyses)
    check_same_ids(gold, {key: analysis.triplets for key, analysis in found.items()})
    answers = {key: found[key].triplets for key in gold}
    orders = _common_orders(found)
    return Evaluation(
        vote=score(gold, answers, protocol),
        orders={order: score(gold, {key: found[key].by_order[order] for key in gold}, protocol) for order in orders},
        problems={
            order: ProblemCounts(len(found), sum(bool(a.problems[order]) for a in found.values())) for order in orders
        },
        per_relation=per_relation(gold, answers, protocol),
        relation_head=_relation_head_counts(utterances, found, config.decode.relation_threshold),
        transcript=sum_word_errors(
            word_errors(utterance, found[utterance.id].transcript, config.data.text_style == "plain")
            for utterance in utterances
        ),
        model=model,
        config=config,
        machine=describe_machine(),
    )


def _collect(analyses: Iterable[tuple[str, Analysis]]) -> dict[str, Analysis]:
    found: dict[str, Analysis] = {}
    for utterance_id, analysis in analyses:
        if utterance_id in found:
            raise DataError(f'utterance "{utterance_id}" was analyzed twice; give each utterance once')
        found[utterance_id] = analysis
    return found


def _common_orders(found: Mapping[str, Analysis]) -> tuple[str, ...]:
    first_id, first = next(iter(found.items()))
    for utterance_id, analysis in found.items():
        if set(analysis.by_order) != set(first.by_order):
            raise DataError(
                f'utterance "{utterance_id}" was read in the orders {",".join(analysis.by_order)}, '
                f'"{first_id}" in {",".join(first.by_order)}; an evaluation needs the same orders for all'
            )
    return tuple(first.by_order)


def _relation_head_counts(utterances: Sequence[Utterance], found: Mapping[str, Analysis], threshold: float) -> Counts:
    """The relation head as a classifier of utterances: types from the threshold on against gold types."""
    total = Counts()
    for utterance in utterances:
        probabilities = found[utterance.id].relation_probabilities
        predicted = {name for name, probability in probabilities.items() if probability >= threshold}
        gold = {relation.type for relation in utterance.relations}
        total += Counts(len(predicted & gold), len(predicted), len(gold))
    return total


def sum_word_errors(parts: Iterable[WordErrors | None]) -> WordErrors | None:
    """All of them together; ``None`` where no utterance has both a text and a transcript."""
    known = [part for part in parts if part is not None]
    return sum(known, WordErrors()) if known else None


def word_errors(utterance: Utterance, transcript: str | None, is_plain: bool) -> WordErrors | None:
    """The word errors of one transcript, after normalization; ``None`` without a text or a transcript.

    ``is_plain``: compare with the plain form of the text, which models trained with ``data.text_style`` "plain" write.
    """
    if transcript is None or not utterance.text.strip():
        return None
    text = plain_utterance(utterance).text if is_plain else utterance.text
    words = normalize_text(text).split()
    return WordErrors(edit_distance(words, normalize_text(transcript).split()), len(words), 1)


def describe_machine() -> dict[str, Any]:
    """Where figures were made: versions of what computes, and the machine."""
    return {
        "speechre": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _VERSIONS_OF},
        "system": platform.platform(),
        "num_cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # on the path without its metadata: there is no version to name
        return None
