"""Evaluations for readers: tables, Markdown, and the one form that a report folder is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechre.config import DecodeConfig
from speechre.evaluate.details import Details
from speechre.evaluate.run import Evaluation, WordErrors, describe_machine, sum_word_errors
from speechre.metrics import Counts, ScoreReport
from speechre.page.table import Table

_COUNTS_HEADER = ("precision", "recall", "F1", "hits", "predicted", "gold")


def _counts_row(name: str, counts: Counts) -> tuple[str, ...]:
    fractions = (counts.precision, counts.recall, counts.f1)
    numbers = (counts.num_hits, counts.num_predicted, counts.num_gold)
    return (name, *(f"{100 * fraction:.2f}" for fraction in fractions), *map(str, numbers))


def counts_table(title: str, what: str, counts: Mapping[str, Counts]) -> Table:
    """One row a name: precision, recall and F1 in percent, then what they were made of."""
    return Table(title, (what, *_COUNTS_HEADER), tuple(_counts_row(n, c) for n, c in counts.items()))


def score_table(report: ScoreReport) -> Table:
    """The three rows of a score: triplets, entities, relations, in percent."""
    counts = {"triplet": report.triplet, "entity": report.entity, "relation": report.relation}
    return counts_table(
        f"Scores in percent: protocol {report.protocol}, {report.num_utterances} utterances", "item", counts
    )


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """The vote, each order alone, each relation, and the rest in one table."""
    return [
        score_table(evaluation.vote),
        counts_table(
            "Triplets by order", "order", {name: report.triplet for name, report in evaluation.orders.items()}
        ),
        counts_table("Triplets by relation", "relation", evaluation.per_relation),
        *_other_tables(evaluation),
    ]


def _other_tables(evaluation: Evaluation) -> list[Table]:
    problems = {"all": evaluation.all_problems, **evaluation.problems}
    rows = tuple(
        (name, f"{100 * c.share:.2f}", str(c.num_with_problems), str(c.num_generations)) for name, c in problems.items()
    )
    return [
        counts_table(
            f"Relation head at {evaluation.config.decode.relation_threshold:g}",
            "item",
            {"relation": evaluation.relation_head},
        ),
        Table("Generations with problems", ("order", "percent", "with problems", "generations"), rows),
        *_transcript_tables(evaluation.transcript),
    ]


def _transcript_tables(words: WordErrors | None) -> list[Table]:
    if words is None:
        return []
    numbers = map(str, (words.num_errors, words.num_words))
    row = (str(words.num_utterances), f"{100 * words.wer:.2f}", *numbers)
    return [Table("Transcripts", ("utterances", "word error rate", "errors", "words"), (row,))]


def machine_table(machine: Mapping[str, Any]) -> Table:
    """Versions and machine, as :func:`speechre.evaluate.run.describe_machine` tells them."""
    return Table("Made with", ("what", "version"), tuple((k, str(v)) for k, v in machine.items()))


def _known_names(decode: DecodeConfig) -> str:
    """What a reader of the figures must know: the model was told names."""
    return f"; {len(decode.names)} known names" if decode.names else ""


def report_markdown(evaluation: Evaluation) -> str:
    """The evaluation as one page for people."""
    decode = evaluation.config.decode
    lines = [
        f"# {evaluation.model}",
        "",
        f"Orders {','.join(decode.orders)}, {decode.beams} beam{'s' if decode.beams > 1 else ''}, "
        f"{decode.vote} vote{_known_names(decode)}. "
        "report.json has all figures and the whole config; report.html shows them, with the mistakes; "
        "predictions.jsonl has the answers.",
        "",
    ]
    tables = (*evaluation_tables(evaluation), machine_table(evaluation.machine))
    return "\n".join([*lines, *(table.to_markdown() for table in tables)])


@dataclass(frozen=True)
class Report:
    """What a report folder is written from.

    ``data`` is the object that the command prints with ``--json``; report.json begins with it. ``threshold`` and
    ``min_votes`` are those in use, ``None`` where the vote has none or nobody knows. ``tables`` stand behind the page's
    own.
    """

    title: str
    lead: str
    scores: ScoreReport
    per_relation: Mapping[str, Counts]
    details: Details
    data: Mapping[str, Any]
    markdown: str
    machine: Mapping[str, Any]
    orders: Mapping[str, Counts]
    transcript: WordErrors | None
    config: Mapping[str, Any] | None = None
    threshold: float | None = None
    min_votes: int | None = None
    tables: Sequence[Table] = ()

    def to_dict(self) -> dict[str, Any]:
        """report.json: the printed object first, then :meth:`speechre.evaluate.details.Details.to_dict`."""
        return {**self.data, **self.details.to_dict()}


def evaluation_report(evaluation: Evaluation, details: Details) -> Report:
    """The report of a model on a manifest."""
    decode = evaluation.config.decode
    beams = f"{decode.beams} beam{'s' if decode.beams > 1 else ''}"
    is_weighted = decode.vote == "weighted"
    rule = f"threshold {decode.threshold:g}" if is_weighted else f"{decode.min_votes} votes or more"
    return Report(
        title=evaluation.model,
        lead=f"Orders {', '.join(decode.orders)}; {beams}; {decode.vote} vote, {rule}{_known_names(decode)}.",
        scores=evaluation.vote,
        per_relation=evaluation.per_relation,
        details=details,
        data=evaluation.to_dict(),
        markdown=report_markdown(evaluation),
        machine=evaluation.machine,
        orders={name: report.triplet for name, report in evaluation.orders.items()},
        transcript=evaluation.transcript,
        config=evaluation.config.to_dict(),
        threshold=decode.threshold if is_weighted else None,
        min_votes=None if is_weighted else decode.min_votes,
        tables=_other_tables(evaluation),
    )


def score_report(scores: ScoreReport, per_relation: Mapping[str, Counts], details: Details, title: str) -> Report:
    """The report of a file of predictions: no orders, no relation head, no configuration; those are not in the file."""
    machine = describe_machine()
    words = sum_word_errors(detail.words for detail in details.utterances)
    transcript = None if words is None else words.to_dict()
    tables = [
        score_table(scores),
        counts_table("Triplets by relation", "relation", per_relation),
        *_transcript_tables(words),
        machine_table(machine),
    ]
    return Report(
        title=title,
        lead="Predictions from a file.",
        scores=scores,
        per_relation=per_relation,
        details=details,
        data={
            **scores.to_dict(),
            "per_relation": {name: counts.to_dict() for name, counts in per_relation.items()},
            "transcript": transcript,
            "model": title,
            "machine": machine,
        },
        markdown="\n".join([f"# {title}", "", *(table.to_markdown() for table in tables)]),
        machine=machine,
        orders={},
        transcript=words,
        tables=_transcript_tables(words),
    )
