"""The text reader: what the speech half hears of the training recordings, and a reader that learned from it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechre.errors import OnMessage
from speechre.extract.extractor import Extractor
from speechre.finetune.plan import Plan, reader_epochs
from speechre.model.checkpoint import Checkpoint
from speechre.reader.grow import with_schema
from speechre.reader.reader import TextModel
from speechre.reader.run import train_reader
from speechre.reader.training import TextTraining
from speechre.types import Utterance

_HEARD_AT_ONCE = 16
_HEARD_MAX = 400  # what mishearing looks like is learned from these; the rest of the time goes into reading
_READ_AT_ONCE = 8
_LEARNING_RATE, _HEAD_LEARNING_RATE = 2e-4, 2e-3  # few steps: docs/experiments.md has what they were chosen from


def hearing_only(checkpoint: Checkpoint) -> Checkpoint:
    """The same model, which writes transcripts and, but for one token of one order behind them, nothing else."""
    decode = checkpoint.config.decode
    greedy = replace(decode, beams=1, transcript_beams=1, names=())
    short = replace(greedy, orders=decode.orders[:1], max_new_tokens=1, reader=False)
    return replace(checkpoint, config=replace(checkpoint.config, decode=short), reader=None)


def transcribe(checkpoint: Checkpoint, utterances: Sequence[Utterance], seed: int = 1) -> dict[str, str]:
    """What the model hears, by the utterance's id; of many utterances a random part."""
    ours = list(utterances)
    if len(ours) > _HEARD_MAX:
        ours = random.Random(f"{seed}/hear").sample(ours, _HEARD_MAX)
    # Neighbours in length share a batch.
    ours.sort(key=lambda one: (one.audio.duration_s or 0.0) if one.audio else 0.0)
    extractor = Extractor(hearing_only(checkpoint), _HEARD_AT_ONCE)
    return {one.id: one.transcript or "" for one in extractor.extract_many(ours)}


def train_text_reader(
    start: TextModel | None,
    plan: Plan,
    utterances: Sequence[Utterance],
    transcripts: Mapping[str, str],
    folder: Path,
    report: OnMessage,
) -> None:
    """A reader of the plan's schema from annotated texts and transcripts, as a folder.

    ``start`` is the reader that the model had; without one, reading starts from the plain text encoder. Raises
    :class:`CheckpointError` where that is not installed.
    """
    settings = TextTraining(
        epochs=plan.epochs or reader_epochs(len(utterances)),
        batch_size=_READ_AT_ONCE,
        learning_rate=_LEARNING_RATE,
        head_learning_rate=_HEAD_LEARNING_RATE,
        precision=plan.precision,
        seed=plan.seed,
    )
    grown = None if start is None else with_schema(start, plan.schema, "reader")
    train_reader(settings, plan.schema, [(utterances, 1)], "both", transcripts, folder, "reader", report, grown)
