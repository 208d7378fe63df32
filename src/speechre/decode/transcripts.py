"""The transcript: the likeliest word after the other, or a beam search that ends with several readings of the sound.

A name that was heard wrong is lost for every triplet it stands in. Where the likeliest transcript has it wrong, one of
the next often has it right, so a text reader may read all of them, each as far as it is likely
(:mod:`speechre.reader.mixture`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.config import DecodeConfig
from speechre.decode.constraints import transcript_mask
from speechre.decode.names import NameBias, Names
from speechre.decode.readings import (
    Hearing,
    WeighedTranscript,
    by_expected_errors,
    pooled_transcripts,
    weighed_transcripts,
    without_stubs,
)
from speechre.decode.repetition import circle_of, said_once
from speechre.decode.search import Generation, Group, best_by_logits, search_groups
from speechre.model.best_token import BestToken
from speechre.model.half import HalfLinear, has_half_kernel
from speechre.model.network import SpeechReNetwork
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer
from speechre.model.shortlist import MAX_COUNT, Shortlist, has_integer_kernel
from speechre.model.tokenizer import Tokenizer

ROWS_AT_ONCE = 40
"""Beams of a search for transcripts; more would gain nothing, and take memory (docs/performance.md)."""

# Speech has 3 to 5 of Whisper's tokens a second; a transcript far longer than that, of ten (50 frames), is a loop.
_FRAMES_PER_TOKEN = 5
_TOKENS_MIN = 16


def max_transcript_tokens(num_frames: int, longest: int) -> int:
    """The most tokens of a transcript of so many encoder frames of 20 ms, ``longest`` at most."""
    return min(longest, _TOKENS_MIN + num_frames // _FRAMES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Replay:
    """The sound of one utterance of a batch at another speed, for the same network to hear beside its first hearing."""

    utterance: int  # which of the batch
    mel: Tensor  # log-mel (M, F), F at most 3000
    share: float  # as a :class:`Hearing` has it
    is_changed: bool = False  # heard and written with the adapter's changes


@dataclass(frozen=True, slots=True)
class Transcript:
    """What times, copying and the orders go on from: one reading of the sound in this model's tokens, and all readings,
    this one first, with their shares of the belief.
    """

    ids: tuple[int, ...]
    is_finished: bool
    readings: tuple[WeighedTranscript, ...]


def num_searched(config: DecodeConfig) -> int:
    """Of how many sounds the transcripts are searched at once."""
    return max(1, ROWS_AT_ONCE // config.transcript_beams)


class TranscriptRules:
    """The rules of a transcript: any word may follow, and the relation prompt's first token ends it.

    A row that goes in circles can only end, at no cost: otherwise a row that leaves the circle for a word would beat
    it, and go on with it.
    """

    vocabulary: Tensor | None = None

    def __init__(
        self, end_id: int, num_rows: int, shortlist: Shortlist | None = None, names: NameBias | None = None
    ) -> None:
        self._end_id = end_id
        self._shortlist = shortlist
        self._names = names
        self._written: list[tuple[int, ...]] = [()] * num_rows

    def mask(self, logits_NU: Tensor) -> Tensor:
        """Minus infinity, in place, for what may not follow; what is no word has it already."""
        for row, ids in enumerate(self._written):
            if circle_of(ids):
                logits_NU[row, : self._end_id] = -torch.inf
                logits_NU[row, self._end_id + 1 :] = -torch.inf
        return logits_NU

    def best_of_shortlist(self, hidden_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """What :func:`best_by_logits` finds with these rules, by the shortlist."""
        assert self._shortlist is not None
        log_probs_NC, tokens_NC = self._shortlist.best(hidden_ND, count)
        for row, ids in enumerate(self._written):
            if circle_of(ids):
                log_probs_NC[row] = -torch.inf
                log_probs_NC[row, 0], tokens_NC[row, 0] = 0.0, self._end_id
        return log_probs_NC, tokens_NC

    def forced(self, row: int) -> int | None:
        return self._end_id if circle_of(self._written[row]) else None

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        """Row i goes on from row ``parents[i]`` with ``tokens[i]``; for None it stays where it is."""
        if self._names is not None:
            self._names.advance(parents, tokens)
        pairs = zip(parents, tokens, strict=True)
        self._written = [
            self._written[parent] if token is None else (*self._written[parent], token) for parent, token in pairs
        ]


class TranscriptWriter:
    """Writes the transcripts of one network, greedily or with ``config.transcript_beams`` beams."""

    def __init__(self, network: SpeechReNetwork, sequencer: Sequencer, config: DecodeConfig) -> None:
        self._sequencer = sequencer
        self._device = network.device
        self._num_beams = config.transcript_beams
        self._longest = min(config.max_transcript_tokens, network.config.max_target_positions // 2)
        allowed_V = transcript_mask(sequencer, network.device)
        weight_VD = network.whisper.output_weight()
        self._names: NameBias | None = None
        if config.names:
            self._names = NameBias(Names(config.names, sequencer.tokenizer.encode_text), config.name_bonus, weight_VD)
        self._shortlist: Shortlist | None = None
        is_fast = config.step_weights == "float16" and network.device.type == "cpu"
        self._next_word: Callable[[Tensor], list[int]] = self._likeliest
        is_half = is_fast and has_half_kernel()
        if self._num_beams == 1 and not is_half:
            self._next_word = BestToken(weight_VD, allowed_V)
            return
        if self._num_beams > 1:
            # Trained transcripts end in one way; in greedy search Whisper's own end stops a network that never learned
            # it.
            allowed_V[sequencer.tokenizer.eot_id] = False
        # For the one row of a greedy transcript float16 is as fast.
        if is_fast and has_integer_kernel() and 1 < self._num_beams <= MAX_COUNT // 2:
            self._shortlist = Shortlist(weight_VD, allowed_V)
            return
        # What is no word gets minus infinity for a bias, which costs no pass over the logits.
        floor_V = torch.zeros_like(weight_VD[:, 0]).masked_fill_(~allowed_V, -torch.inf)
        half = HalfLinear(weight_VD, floor_V) if is_half else None
        self._project: Callable[[Tensor], Tensor] = half or (lambda hidden_ND: F.linear(hidden_ND, weight_VD, floor_V))

    def _likeliest(self, hidden_BD: Tensor) -> list[int]:
        """For each row the likeliest of all words and ends."""
        tokens: list[int] = self._project(hidden_BD).argmax(dim=1).tolist()
        return tokens

    def _limits(self, num_frames: Sequence[int]) -> list[int]:
        """The most tokens for each of so many encoder frames."""
        return [max_transcript_tokens(n, self._longest) for n in num_frames]

    def write(self, rows: DecoderRows, hidden_BD: Tensor, num_frames: Sequence[int]) -> list[tuple[Generation, ...]]:
        """One greedy transcript each, of which ``rows`` then hold the tokens. Its log-probability is not known: 0."""
        limits = self._limits(num_frames)
        ends = (self._sequencer.relations_id, self._sequencer.tokenizer.eot_id)
        written: list[list[int]] = [[] for _ in limits]
        is_open = [True] * len(limits)
        is_finished = [False] * len(limits)
        while True:
            for row, token in enumerate(self._next_word(hidden_BD)):
                if not is_open[row]:
                    continue
                if token in ends:
                    is_open[row], is_finished[row] = False, True
                elif len(written[row]) >= limits[row] or circle_of(written[row]):
                    is_open[row] = False
                else:
                    written[row].append(token)
            if not any(is_open):
                return [(Generation(tuple(ids), 0.0, end),) for ids, end in zip(written, is_finished, strict=True)]
            hidden_BD = rows.feed(
                [ids[-1:] if is_one_open else () for ids, is_one_open in zip(written, is_open, strict=True)]
            )

    def search(self, rows: DecoderRows, num_frames: Sequence[int]) -> list[tuple[Generation, ...]]:
        """The beams of each, best first. ``rows`` are new ones, and of no use afterwards."""
        starts = [self._sequencer.start_ids()] * len(num_frames)
        if self._num_beams == 1:
            return self.write(rows, rows.feed(starts), num_frames)
        hidden_ND = rows.feed(starts)
        groups = [Group(self._num_beams, limit, 0.0) for limit in self._limits(num_frames)]
        end_id = self._sequencer.relations_id
        names = None if self._names is None else self._names.start(len(num_frames))
        words = TranscriptRules(end_id, len(num_frames), self._shortlist, names)
        best_next = words.best_of_shortlist if self._shortlist else best_by_logits(self._project, words)
        if names is not None:
            best_next = names.best(best_next, lambda row: words.forced(row) is not None)
        search_groups(rows, hidden_ND, best_next, words, groups, 1, end_id)
        found = [group.best() for group in groups]
        if names is not None:
            found = [_with_gains(beams, names) for beams in found]
        return [without_stubs(_cut_circles(beams), self._sequencer.tokenizer.decode_text) for beams in found]

    def own(self, beams: Sequence[Generation], heard: Sequence[Hearing]) -> Transcript:
        """The best of this model's own ``beams``, which are greedy, whatever else was ``heard``; that counts in the
        shares.
        """
        readings = weighed_transcripts(beams, self._sequencer.tokenizer.decode_text)
        if heard:
            readings = pooled_transcripts(readings, heard)
        return Transcript(beams[0].ids, beams[0].is_finished, readings)

    def told(self, beams: Sequence[Generation], heard: Sequence[Hearing]) -> Transcript:
        """The best of this model's own ``beams``; where there are other hearings, the reading that all of them together
        expect the fewest errors in, of those that are short enough to go on from.
        """
        tokenizer = self._sequencer.tokenizer
        own = weighed_transcripts(beams, tokenizer.decode_text)
        if not heard:
            return Transcript(beams[0].ids, beams[0].is_finished, own)
        readings = pooled_transcripts(own, heard)
        known = {tokenizer.decode_text(beam.ids).strip(): beam for beam in reversed(beams)}
        for reading in by_expected_errors(readings):
            best = known.get(reading.text) or _in_tokens(reading, heard, tokenizer)
            if len(best.ids) <= self._longest:
                break
        else:  # only this model's own are short enough, and others go on from them
            best, reading = beams[0], replace(own[0], share=0.0)
        others = (other for other in readings if other.text != reading.text)
        return Transcript(best.ids, best.is_finished, (reading, *others))


def _in_tokens(reading: WeighedTranscript, heard: Sequence[Hearing], tokenizer: Tokenizer) -> Generation:
    """A reading of another hearing, as if this model had written it in its first."""
    log_prob = max(other.log_prob for one in heard for other in one.readings if other.text == reading.text)
    return Generation(tuple(tokenizer.encode_text(f" {reading.text}")), log_prob, log_prob > -math.inf)


def _with_gains(beams: Sequence[Generation], names: NameBias) -> tuple[Generation, ...]:
    """The beams with what names brought each, best first. Those that were cut off give back what they still owe."""
    out = []
    for beam in beams:
        gained, owed = names.gain(beam.ids)
        is_whole = beam.is_finished and not circle_of(beam.ids)  # its end has taken that back
        log_prob = beam.log_prob if is_whole else beam.log_prob - owed
        out.append(replace(beam, log_prob=log_prob, gain=gained - owed))
    return tuple(sorted(out, key=lambda beam: (not beam.is_finished, -beam.log_prob)))


def _cut_circles(beams: Sequence[Generation]) -> tuple[Generation, ...]:
    """Words that were written again and again stand once, in a generation that came to no end by itself."""
    cut = [
        replace(beam, ids=said_once(beam.ids, period), is_finished=False) if (period := circle_of(beam.ids)) else beam
        for beam in beams
    ]
    return tuple(sorted(cut, key=lambda beam: not beam.is_finished))
