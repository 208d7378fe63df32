"""Transcripts of a plain Whisper, as it was before any training here: what benchmarks compare with.

Greedy, without timestamps, every recording padded to 30 s: Whisper as it was trained (Radford et al. 2022). What one
writes may be kept in files (:mod:`speechre.data.transcripts`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechre.decode.transcripts import max_transcript_tokens
from speechre.model.backbone import KeyValues, Whisper
from speechre.model.log_mel import WINDOW_SAMPLES, log_mel
from speechre.model.rows import DecoderRows
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperWeights, load_whisper

_SAMPLES_PER_FRAME = 320  # of the encoder, 20 ms


class Transcriber:
    """A plain Whisper."""

    def __init__(self, weights: WhisperWeights, device: str = "cpu", language: str = "en") -> None:
        self.name = weights.name
        self._whisper = Whisper(weights.config)
        self._whisper.load_state_dict(weights.state)
        self._whisper.to(device).eval()
        self._tokenizer = Tokenizer(weights.tokenizer_json)
        self._prompt = self._tokenizer.start_ids(language)
        self._blank_ids = [*self._tokenizer.encode_text(" "), self._tokenizer.eot_id]

    @classmethod
    def from_pretrained(cls, source: str = "tiny.en", device: str = "cpu") -> Transcriber:
        """The Whisper that ``source`` names, see :func:`speechre.model.weights.load_whisper`."""
        return cls(load_whisper(source), device)

    @torch.inference_mode()
    def transcribe(self, clips: Sequence[Tensor]) -> list[str]:
        """The transcript of each clip: (N,) float samples at 16 kHz, at most 30 s. One batch."""
        too_long = [len(clip) for clip in clips if len(clip) > WINDOW_SAMPLES]
        if too_long:
            raise ValueError(f"a clip of {too_long[0]} samples; cut it to {WINDOW_SAMPLES} (30 s)")
        if not clips:
            return []
        device = self._whisper.decoder.embed_tokens.weight.device
        num_mel_bins = self._whisper.config.num_mel_bins
        mel_BMF = torch.stack([log_mel(clip, num_mel_bins, exact_length=False) for clip in clips]).to(device)
        cross = self._whisper.decoder.cross_memory(self._whisper.encoder(mel_BMF))
        longest = self._whisper.config.max_target_positions // 2
        limits = [max_transcript_tokens(len(clip) // _SAMPLES_PER_FRAME, longest) for clip in clips]
        return [self._tokenizer.decode_text(ids).strip() for ids in self._write(cross, limits)]

    def _write(self, cross: list[KeyValues], limits: Sequence[int]) -> list[list[int]]:
        """Greedy text tokens of each row, without the end, at most ``limits`` of them."""
        eot_id = self._tokenizer.eot_id
        written: list[list[int]] = [[] for _ in limits]
        is_open = [True] * len(limits)
        new = [list(self._prompt)] * len(limits)
        rows = DecoderRows(self._whisper.decoder, cross)
        is_first = True
        while any(is_open):
            logits_BV = self._whisper.logits(rows.feed(new))
            logits_BV[:, eot_id + 1 :] = -torch.inf  # text or the end: no timestamp, no other task
            if is_first:
                logits_BV[:, self._blank_ids] = -torch.inf  # as OpenAI's decoder does
            is_first = False
            chosen = logits_BV.argmax(dim=1).tolist()
            for row, token_id in enumerate(chosen):
                if is_open[row] and token_id != eot_id:
                    written[row].append(token_id)
                is_open[row] = is_open[row] and token_id != eot_id and len(written[row]) < limits[row]
            new = [[token_id] for token_id in chosen]
        return written
