"""One evaluation with all that a report shows: scores, every utterance's details, the extractions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from speechre.config import Config
from speechre.decode.ensemble import Analysis
from speechre.evaluate.details import Answer, describe
from speechre.evaluate.report import Report, evaluation_report
from speechre.evaluate.run import Evaluation, evaluate
from speechre.types import Extraction, Triplet, Utterance

Result = tuple[Extraction, Analysis, tuple[Triplet, ...]]
"""What a model answered, what it found on the way, and every triplet that it weighed."""


@dataclass(frozen=True)
class Answers:
    """A scored model with its answers, in the sequence in which they came."""

    evaluation: Evaluation
    report: Report
    extractions: tuple[Extraction, ...]


def evaluate_answers(
    utterances: Sequence[Utterance], results: Iterable[Result], protocol: str, *, model: str, config: Config
) -> Answers:
    """Score ``results`` as :func:`speechre.evaluate.run.evaluate` does, which raises what is raised here, and keep
    everything for a report.
    """
    extractions: list[Extraction] = []
    answers: dict[str, Answer] = {}

    def analyses() -> Iterator[tuple[str, Analysis]]:
        for extraction, analysis, candidates in results:
            extractions.append(extraction)
            answers[extraction.id] = Answer(
                analysis.triplets, candidates, analysis.by_order, analysis.transcript, extraction.duration_s
            )
            yield extraction.id, analysis

    evaluation = evaluate(utterances, analyses(), protocol, model=model, config=config)
    details = describe(utterances, answers, protocol, is_plain=config.data.text_style == "plain")
    return Answers(evaluation, evaluation_report(evaluation, details), tuple(extractions))
