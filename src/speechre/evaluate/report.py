"""Evaluations for readers: tables, and a folder with report.json, predictions.jsonl and report.md."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from speechre.data.store import write_atomically
from speechre.errors import UsageError
from speechre.evaluate.run import Evaluation
from speechre.metrics import Counts, ScoreReport
from speechre.types import Extraction


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names the row, numbers stand in the others."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """The table as GitHub's Markdown, under its title."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, rule, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([f"## {self.title}", "", *lines, ""])


_COUNTS_HEADER = ("precision", "recall", "F1", "hits", "predicted", "gold")


def _counts_row(name: str, counts: Counts) -> tuple[str, ...]:
    fractions = (counts.precision, counts.recall, counts.f1)
    numbers = (counts.num_hits, counts.num_predicted, counts.num_gold)
    return (name, *(f"{100 * fraction:.2f}" for fraction in fractions), *map(str, numbers))


def _counts_table(title: str, what: str, counts: Mapping[str, Counts]) -> Table:
    return Table(title, (what, *_COUNTS_HEADER), tuple(_counts_row(n, c) for n, c in counts.items()))


def score_table(report: ScoreReport) -> Table:
    """The three rows of a score: triplets, entities, relations, in percent."""
    counts = {"triplet": report.triplet, "entity": report.entity, "relation": report.relation}
    return _counts_table(
        f"Scores in percent: protocol {report.protocol}, {report.num_utterances} utterances", "item", counts
    )


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """The vote, each order alone, each relation, and the rest in one table."""
    tables = [
        score_table(evaluation.vote),
        _counts_table(
            "Triplets by order", "order", {name: report.triplet for name, report in evaluation.orders.items()}
        ),
        _counts_table("Triplets by relation", "relation", evaluation.per_relation),
        _counts_table(
            f"Relation head at {evaluation.config.decode.relation_threshold:g}",
            "item",
            {"relation": evaluation.relation_head},
        ),
    ]
    problems = {"all": evaluation.all_problems, **evaluation.problems}
    rows = tuple(
        (name, f"{100 * c.share:.2f}", str(c.num_with_problems), str(c.num_generations)) for name, c in problems.items()
    )
    tables.append(Table("Generations with problems", ("order", "percent", "with problems", "generations"), rows))
    words = evaluation.transcript
    if words is not None:
        numbers = map(str, (words.num_errors, words.num_words))
        row = (str(words.num_utterances), f"{100 * words.wer:.2f}", *numbers)
        tables.append(Table("Transcripts", ("utterances", "word error rate", "errors", "words"), (row,)))
    return tables


def report_markdown(evaluation: Evaluation) -> str:
    """The evaluation as one page for people."""
    decode = evaluation.config.decode
    lines = [
        f"# {evaluation.model}",
        "",
        f"Orders {','.join(decode.orders)}, {decode.beams} beam{'s' if decode.beams > 1 else ''}, "
        f"{decode.vote} vote. "
        "report.json has all figures and the whole config; predictions.jsonl has the answers.",
        "",
    ]
    machine = Table("Made with", ("what", "version"), tuple((k, str(v)) for k, v in evaluation.machine.items()))
    return "\n".join([*lines, *(table.to_markdown() for table in (*evaluation_tables(evaluation), machine))])


REPORT_FILES = ("predictions.jsonl", "report.md", "report.json")
"""What :func:`write_report` writes."""


def prepare_report_folder(folder: Path) -> None:
    """Make the folder, so that one that cannot be written fails before hours of work.

    Raises :class:`UsageError`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".report.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _cannot_write(folder, error) from error


def write_report(folder: Path, evaluation: Evaluation, extractions: Iterable[Extraction]) -> None:
    """Write report.json, predictions.jsonl and report.md into ``folder``; each appears whole or not at all.

    Raises :class:`UsageError` when the folder cannot be written.
    """
    prepare_report_folder(folder)
    report = json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False)
    predictions = [json.dumps(e.to_dict(), ensure_ascii=False) + "\n" for e in extractions]
    write_atomically(folder / "predictions.jsonl", "".join(predictions))
    write_atomically(folder / "report.md", report_markdown(evaluation))
    write_atomically(folder / "report.json", report + "\n")


def _cannot_write(path: Path, error: OSError | ValueError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")
