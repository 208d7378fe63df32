"""The engines that are compared, each behind one method: samples in, triplets out.

All of them get the same samples and threads, and what they write goes through our parser and vote. Here stand what they
share and our own; engines_others.py has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechre.audio import read_audio, read_audio_ref
from speechre.config import DecodeConfig
from speechre.decode.engine import Decoded, DecodingEngine, Timing
from speechre.decode.ensemble import Analysis, analyze
from speechre.decode.transcripts import Transcript
from speechre.errors import AudioError
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import Checkpoint, load_checkpoint
from speechre.model.log_mel import log_mel
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer
from speechre.samples import SAMPLE_RATE_HZ
from speechre.types import Triplet, Utterance
from speechre.vote import PaperVote, vote, vote_rule

STAGES = ("encoder", "transcript", "prefill", "orders")
"""Of our engine; the encoder's seconds hold the relation head and the cross keys and values."""


@dataclass(frozen=True)
class Clip:
    """A recording, read: mono float32 samples at 16 kHz."""

    id: str
    samples: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


def read_clip(source: Utterance | Path) -> Clip:
    """One recording. Raises :class:`AudioError`."""
    if isinstance(source, Path):
        return Clip(source.stem, read_audio(source))
    if source.audio is None:
        raise AudioError(f'utterance "{source.id}" has no audio')
    return Clip(source.id, read_audio_ref(source.audio))


@dataclass(frozen=True)
class Side:
    """One row of the table: which engine, and how it is asked."""

    kind: str
    beams: int = 1
    transcript: bool = True
    precision: str = "float32"

    @property
    def name(self) -> str:
        """As the table and ``--sides`` call it."""
        if self.kind == "faster-whisper":
            return f"faster-whisper {self.precision} beam {self.beams}"
        search = "greedy" if self.beams == 1 else f"beam {self.beams}"
        engine = {"ctranslate2": f"ctranslate2 {self.precision}", "shipped": "speechre with reader"}
        return f"{engine.get(self.kind, self.kind)} {search}{'' if self.transcript else ', no transcript'}"

    @property
    def compared_with(self) -> Side:
        """The row of ours that asks for the same; a transcription is held against our beam 3."""
        if self.kind == "faster-whisper":
            return Side("speechre", 3)
        return Side("speechre", self.beams, self.transcript)


@dataclass(frozen=True)
class Told:
    """What our decoder said of one utterance before its orders: given to the engines that cannot find it."""

    transcript_ids: tuple[int, ...]
    relations: tuple[str, ...]
    relation_probabilities: dict[str, float]
    num_frames: int  # of the encoder


@dataclass(frozen=True)
class Task:
    """What every side gets. ``told`` and ``recordings`` go together; ``folders`` are converted models by precision."""

    model: str
    threads: int
    batch_size: int
    recordings: tuple[Clip, ...]
    told: tuple[Told, ...] = ()
    folders: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What one side made of one utterance. ``lengths`` are the tokens of its generations, their ends included."""

    triplets: tuple[Triplet, ...]
    voted: tuple[Triplet, ...]  # by two of six orders, which needs no calibration
    num_transcript_tokens: int = 0
    lengths: tuple[int, ...] = ()
    best_lengths: tuple[int, ...] = ()  # of each order's best generation

    @property
    def num_tokens(self) -> int:
        """The transcript's tokens and those of each order's best generation."""
        return self.num_transcript_tokens + sum(self.best_lengths)


class Engine(Protocol):
    """One side, loaded."""

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]: ...


def checkpoint_of(side: Side, task: Task) -> Checkpoint:
    """The model without its text reader, asked for beams and transcript as the row says; transcripts are greedy on all
    sides.
    """
    checkpoint = replace(load_checkpoint(task.model), reader=None)
    config = checkpoint.config
    decode = replace(config.decode, beams=side.beams, transcript_beams=1, reader=False)
    model = replace(config.model, transcript=side.transcript and config.model.transcript)
    return replace(checkpoint, config=replace(config, decode=decode, model=model))


def mel_of(checkpoint: Checkpoint, samples: NDArray[np.float32], exact_length: bool = True) -> Tensor:
    """Features with the length and the tail that the model was trained with, or of 30 s."""
    model = checkpoint.config.model
    return log_mel(
        torch.from_numpy(samples),
        checkpoint.network.config.num_mel_bins,
        exact_length and model.exact_length,
        model.tail_s,
    )


def answer_of(decoded: Decoded, sequencer: Sequencer, config: DecodeConfig, num_transcript_tokens: int) -> Answer:
    """Parse and vote: one way for all sides."""
    found: Analysis = analyze(decoded, sequencer, vote_rule(config))
    lengths = {name: [len(g.ids) + g.is_finished for g in gs] for name, gs in decoded.generations.items()}
    return Answer(
        found.triplets,
        vote(found.hypotheses, PaperVote(2)),
        num_transcript_tokens,
        tuple(length for ours in lengths.values() for length in ours),
        tuple(ours[0] for ours in lengths.values()),
    )


class TellingEngine(DecodingEngine):
    """Our engine, which tells the tokens of its transcripts, and takes them as given where ``given`` holds some."""

    given: list[Transcript] | None = None
    written: list[Transcript] | None = None

    def prompt_ids(self, told: Told) -> list[int]:
        """Start, transcript and relation prompt, as this engine feeds them."""
        transcript = told.transcript_ids if self.model.transcript else ()
        return [*self.sequencer.start_ids(), *transcript, *self._relation_prompt(told.relations)]

    @property
    def transcript_ids(self) -> list[tuple[int, ...]]:
        """The tokens of the transcripts that were written last."""
        return [transcript.ids for transcript in self.written or ()]

    def _write_transcripts(self, rows: DecoderRows, *heard: Any) -> list[Transcript]:
        if self.given is None:
            self.written = super()._write_transcripts(rows, *heard)
            return self.written
        rows.feed([transcript.ids for transcript in self.given])
        return self.given


class Ours:
    """speechre: exact length, one encoder pass, six orders and their beams in one batch, grammar and copying."""

    def __init__(self, checkpoint: Checkpoint, side: Side, task: Task) -> None:
        self.checkpoint = checkpoint
        self.sequencer = checkpoint.sequencer()
        config = checkpoint.config
        self.engine = TellingEngine(checkpoint.network, self.sequencer, config.model, config.decode)

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        decoded = self.engine.decode([mel_of(self.checkpoint, one.samples) for one in batch])
        written = self.engine.transcript_ids or [()] * len(batch)
        num_tokens = [len(ids) + self.checkpoint.config.model.transcript for ids in written]
        decode = self.checkpoint.config.decode
        return [answer_of(one, self.sequencer, decode, n) for one, n in zip(decoded, num_tokens, strict=True)]

    def tell(self, recordings: Sequence[Clip]) -> list[Told]:
        """What the other engines are told: recording by recording, not timed."""
        out = []
        for recording in recordings:
            mel = mel_of(self.checkpoint, recording.samples)
            (decoded,) = self.engine.decode([mel])
            (ids,) = self.engine.transcript_ids or [()]
            threshold = self.checkpoint.config.decode.relation_threshold
            names = [name for name, p in decoded.relation_probabilities.items() if p >= threshold]
            out.append(Told(ids, tuple(names), dict(decoded.relation_probabilities), mel.shape[1] // 2))
        return out

    def take_stages(self) -> dict[str, float]:
        """Seconds by stage since the last call."""
        timing, self.engine.timing = self.engine.timing, Timing()
        return {stage: getattr(timing, f"{stage}_s") for stage in STAGES}


class Shipped:
    """The model as a user gets it: the front door, with the text reader where the model has one."""

    def __init__(self, side: Side, task: Task) -> None:
        self.extractor = Extractor.from_pretrained(task.model, batch_size=task.batch_size, beams=side.beams)

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        found = self.extractor.analyze_many([(one.samples, 16_000) for one in batch])
        return [Answer(a.triplets, vote(a.hypotheses, PaperVote(2))) for _, a in found]


class Authors:
    """The plan of the authors' code: for each order an encoder pass over 30 s, the relation head and a search over the
    whole vocabulary without constraint, in float32. A transcript, which they do not have, is written in the first pass
    only.
    """

    def __init__(self, checkpoint: Checkpoint, side: Side, task: Task) -> None:
        self.checkpoint = checkpoint
        self.sequencer = checkpoint.sequencer()
        config = checkpoint.config
        free = replace(config.decode, constrained=False, copy_entities=False, step_weights="float32", hearing="float32")
        self.engines = [
            TellingEngine(checkpoint.network, self.sequencer, config.model, replace(free, orders=(name,)))
            for name in config.decode.orders
        ]

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        mels = [mel_of(self.checkpoint, one.samples, exact_length=False) for one in batch]
        passes: list[list[Decoded]] = []
        for engine in self.engines:
            engine.given = self.engines[0].written if passes else None
            passes.append(engine.decode(mels))
        written = self.engines[0].transcript_ids or [()] * len(batch)
        config = self.checkpoint.config
        out = []
        for index, ids in enumerate(written):
            generations = {name: found for one in passes for name, found in one[index].generations.items()}
            decoded = replace(passes[0][index], generations=generations)
            out.append(answer_of(decoded, self.sequencer, config.decode, len(ids) + config.model.transcript))
        return out
