"""The last stages: confidence fitted on dev, and what the model is worth before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speechre.config import Config
from speechre.decode.ensemble import Analysis
from speechre.errors import OnMessage, UsageError
from speechre.evaluate.answers import Answers, Result, evaluate_answers
from speechre.evaluate.fitting import fit_decoding, short_enough
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import Checkpoint
from speechre.types import Utterance

PROTOCOL = "boundary"


@dataclass(frozen=True)
class Calibrated:
    """A checkpoint whose config was fitted, or ``fault``: why it could not be."""

    checkpoint: Checkpoint
    fault: str = ""


def calibrate(checkpoint: Checkpoint, dev: Sequence[Utterance], report: OnMessage) -> Calibrated:
    """Fit the relation head's threshold, the curves of confidence and its threshold on dev.

    Where the model finds nothing at all in dev, the config stays as it is, and the fault is told.
    """
    short = short_enough(dev, report)

    def analyze(config: Config) -> dict[str, Analysis]:
        extractor = Extractor(replace(checkpoint, config=config))
        return {recording.id: analysis for recording, analysis in extractor.analyze_many(short)}

    try:
        fitted = fit_decoding(checkpoint.config, short, analyze, PROTOCOL, report=report)
    except UsageError as error:
        report(f"not calibrated: {error}")
        return Calibrated(checkpoint, str(error))
    return Calibrated(replace(checkpoint, config=fitted.config))


def answers_of(checkpoint: Checkpoint, utterances: Sequence[Utterance]) -> Answers:
    """The model on annotated utterances, scored."""
    extractor = Extractor(checkpoint)

    def results() -> Iterator[Result]:
        for recording, analysis, candidates in extractor.analyze_with_candidates(list(utterances)):
            yield extractor.extraction(recording, analysis), analysis, candidates

    return evaluate_answers(utterances, results(), PROTOCOL, model=checkpoint.model_id, config=checkpoint.config)


def summary(answers: Answers) -> dict[str, Any]:
    """The figures that count, fractions from 0 to 1; ``f1_interval`` is that of 95 %, bootstrapped over utterances."""
    evaluation, details = answers.evaluation, answers.report.details
    interval = details.intervals["triplet"]["f1"]
    vote = evaluation.vote
    return {
        "model": evaluation.model,
        "num_utterances": vote.num_utterances,
        "triplet": vote.triplet.to_dict(),
        "f1_interval": [interval.low, interval.high],
        "entity_f1": vote.entity.f1,
        "relation_f1": vote.relation.f1,
        "wer": None if evaluation.transcript is None else evaluation.transcript.wer,
        "relation_free": dict(details.relation_free),
    }
