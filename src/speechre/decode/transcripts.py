"""The transcript: the likeliest word after the other, or a beam search that ends with several readings of the sound.

A name that was heard wrong is lost for every triplet it stands in. Where the likeliest transcript has it wrong, one of
the next often has it right, so a text reader may read all of them, each as far as it is likely
(:mod:`speechre.reader.mixture`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.config import DecodeConfig
from speechre.decode.constraints import transcript_mask
from speechre.decode.search import Generation, Group, search_groups
from speechre.model.best_token import BestToken
from speechre.model.half import HalfLinear, has_half_kernel
from speechre.model.network import SpeechReNetwork
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer

# Speech has 3 to 5 of Whisper's tokens a second; a transcript far longer than that is a loop.
_TOKENS_PER_S = 10
_TOKENS_MIN = 16
_FRAME_S = 0.02


@dataclass(frozen=True, slots=True)
class WeighedTranscript:
    """One reading of the sound and its share of the belief in all of them."""

    text: str
    share: float


def weighed_transcripts(
    beams: Sequence[Generation], decode_text: Callable[[Sequence[int]], str]
) -> tuple[WeighedTranscript, ...]:
    """The beams' texts in their sequence, weighed by the softmax of their log-probabilities; equal texts are one."""
    if not beams:
        return ()
    highest = max(beam.log_prob for beam in beams)
    masses: dict[str, float] = {}
    for beam in beams:
        text = decode_text(beam.ids).strip()
        masses[text] = masses.get(text, 0.0) + math.exp(beam.log_prob - highest)
    total = math.fsum(masses.values())
    return tuple(WeighedTranscript(text, mass / total) for text, mass in masses.items())


def pooled_transcripts(
    first: Sequence[WeighedTranscript], second: Sequence[WeighedTranscript], second_share: float
) -> tuple[WeighedTranscript, ...]:
    """What two listeners heard of one recording, the first one's transcripts first. Each listener has its share of the
    belief; a text that both wrote has both their beliefs.
    """
    shares = {one.text: (1 - second_share) * one.share for one in first}
    for one in second:
        shares[one.text] = shares.get(one.text, 0.0) + second_share * one.share
    return tuple(WeighedTranscript(text, share) for text, share in shares.items())


class _Words:
    """The rules of a transcript: any word may follow, and the relation prompt's first token ends it."""

    vocabulary: Tensor | None = None

    def __init__(self, allowed_V: Tensor) -> None:
        self._floor_V = torch.zeros(len(allowed_V), device=allowed_V.device).masked_fill_(~allowed_V, -torch.inf)

    def mask(self, logits_NU: Tensor) -> Tensor:
        return logits_NU + self._floor_V

    def advance(self, parents: list[int], tokens: list[int]) -> None:
        """Every row may go on as every other."""


class TranscriptWriter:
    """Writes the transcripts of one network, greedily or with ``config.transcript_beams`` beams."""

    def __init__(self, network: SpeechReNetwork, sequencer: Sequencer, config: DecodeConfig) -> None:
        self._sequencer = sequencer
        self._device = network.device
        self._num_beams = config.transcript_beams
        self._longest = min(config.max_transcript_tokens, network.config.max_target_positions // 2)
        allowed_V = transcript_mask(sequencer, network.device)
        weight_VD = network.whisper.output_weight()
        if self._num_beams == 1:
            self._next_word = BestToken(weight_VD, allowed_V)
            return
        # Trained transcripts end in one way; in greedy search Whisper's own end stops a network that never learned it.
        allowed_V[sequencer.tokenizer.eot_id] = False
        self._words = _Words(allowed_V)
        is_half = config.step_weights == "float16" and network.device.type == "cpu" and has_half_kernel()
        half = HalfLinear(weight_VD) if is_half else None
        self._project: Callable[[Tensor], Tensor] = half or (lambda hidden_ND: F.linear(hidden_ND, weight_VD))

    def _limits(self, num_frames: Sequence[int]) -> list[int]:
        """The most tokens for each of so many encoder frames."""
        return [min(self._longest, _TOKENS_MIN + int(n * _FRAME_S * _TOKENS_PER_S)) for n in num_frames]

    def write(self, rows: DecoderRows, hidden_BD: Tensor, num_frames: Sequence[int]) -> list[tuple[Generation, ...]]:
        """One greedy transcript each, of which ``rows`` then hold the tokens. Its log-probability is not known: 0."""
        limits = self._limits(num_frames)
        ends = (self._sequencer.relations_id, self._sequencer.tokenizer.eot_id)
        written: list[list[int]] = [[] for _ in limits]
        is_open = [True] * len(limits)
        is_finished = [False] * len(limits)
        device = self._device
        while True:
            for row, token in enumerate(self._next_word(hidden_BD)):
                if not is_open[row]:
                    continue
                if token in ends:
                    is_open[row], is_finished[row] = False, True
                elif len(written[row]) >= limits[row]:
                    is_open[row] = False
                else:
                    written[row].append(token)
            if not any(is_open):
                return [(Generation(tuple(ids), 0.0, end),) for ids, end in zip(written, is_finished, strict=True)]
            ids = torch.tensor([[ids[-1] if ids else ends[0]] for ids in written], device=device)
            hidden_BD = rows.feed(ids, torch.tensor([[is_one_open] for is_one_open in is_open], device=device))

    def search(self, rows: DecoderRows, num_frames: Sequence[int]) -> list[tuple[Generation, ...]]:
        """The beams of each, best first. ``rows`` are new ones, and of no use afterwards."""
        device = self._device
        if self._num_beams == 1:
            starts = torch.tensor([self._sequencer.start_ids()] * len(num_frames), device=device)
            return self.write(rows, rows.feed(starts), num_frames)
        *start, last = self._sequencer.start_ids()
        rows.feed(torch.tensor([start] * len(num_frames), device=device))
        rows.branch(1)
        hidden_ND = rows.feed(torch.tensor([[last]] * len(num_frames), device=device))
        groups = [Group(self._num_beams, limit, 0.0) for limit in self._limits(num_frames)]
        search_groups(rows, hidden_ND, self._project, self._words, groups, 1, self._sequencer.relations_id)
        return [group.best() for group in groups]
