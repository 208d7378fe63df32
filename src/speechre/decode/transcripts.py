"""The transcript: the likeliest word after the other, or a beam search that ends with several readings of the sound.

A name that was heard wrong is lost for every triplet it stands in. Where the likeliest transcript has it wrong, one of
the next often has it right, so a text reader may read all of them, each as far as it is likely
(:mod:`speechre.reader.mixture`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.config import DecodeConfig
from speechre.decode.constraints import transcript_mask
from speechre.decode.names import NameBias, Names
from speechre.decode.repetition import circle_of, said_once
from speechre.decode.search import Generation, Group, best_by_logits, search_groups
from speechre.metrics import edit_distance, normalize_text
from speechre.model.best_token import BestToken
from speechre.model.half import HalfLinear, has_half_kernel
from speechre.model.network import SpeechReNetwork
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer
from speechre.model.shortlist import MAX_COUNT, Shortlist, has_integer_kernel
from speechre.model.tokenizer import Tokenizer

ROWS_AT_ONCE = 40
"""Beams of a search for transcripts; more would gain nothing, and take memory (docs/performance.md)."""

# Speech has 3 to 5 of Whisper's tokens a second; a transcript far longer than that is a loop.
_TOKENS_PER_S = 10
_TOKENS_MIN = 16
_FRAME_S = 0.02
_LEAST_SHARE = 0.01  # less belief than this in a reading decides nothing
_CAUTION = 8.0  # of 1 to 16, measured in docs/experiments.md
# A beam that says all that another says and goes on by so many words, each at least so likely, makes that one a stub.
_STUB_WORDS = 6
_STUB_LOG_PROB = -0.5


@dataclass(frozen=True, slots=True)
class WeighedTranscript:
    """One reading of the sound and its share of the belief in all of them.

    ``log_prob`` is what its listener said of it before anything was compared: the log-probability of writing just this,
    without what known names gained, 0 where it is not known (greedy transcripts), minus infinity for one that came to
    no end by itself.
    """

    text: str
    share: float
    log_prob: float = 0.0


def weighed_transcripts(
    beams: Sequence[Generation], decode_text: Callable[[Sequence[int]], str]
) -> tuple[WeighedTranscript, ...]:
    """The beams' texts in their sequence, weighed by the softmax of their log-probabilities; equal texts are one."""
    if not beams:
        return ()
    texts = [decode_text(beam.ids).strip() for beam in beams]
    proofs: dict[str, list[float]] = {text: [] for text in texts}
    for text, beam in zip(texts, beams, strict=True):
        proofs[text].append(beam.log_prob - beam.gain if beam.is_finished else -math.inf)
    total = _log_sum([beam.log_prob for beam in beams])
    shares = dict.fromkeys(texts, 0.0)
    for text, beam in zip(texts, beams, strict=True):
        shares[text] += math.exp(beam.log_prob - total)
    return tuple(WeighedTranscript(text, share, _log_sum(proofs[text])) for text, share in shares.items())


@dataclass(frozen=True, slots=True)
class Hearing:
    """What was heard of a recording by another listener, or at another speed, and how far that is believed before
    anything was heard, above 0; the shares of all hearings but a model's own first one sum to less than 1.
    """

    readings: tuple[WeighedTranscript, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Replay:
    """The sound of one utterance of a batch at another speed, for the same network to hear beside its first hearing."""

    utterance: int  # which of the batch
    mel: Tensor  # log-mel (M, F), F at most 3000
    share: float  # as a :class:`Hearing` has it


def pooled_transcripts(first: Sequence[WeighedTranscript], others: Sequence[Hearing]) -> tuple[WeighedTranscript, ...]:
    """What was heard of one recording in several hearings, the first one's transcripts first, each hearing's as far as
    it is believed. A text that several wrote has all their beliefs.

    What the ``others`` leave of 1 is the belief in the first before anything was heard. After that Bayes' rule gives
    more to those who found likely words for the sound: P(hearing) P(its transcripts | hearing) ** (1 / 8). The power is
    there because networks are too sure (a fractional posterior): with all of the evidence one of them would be believed
    alone, and two that mishear different names are worth more than either. Where none came to an end, only the shares
    before count. What stops where another hearing goes on (:func:`without_stubs`) was not heard.
    """
    hearings = [Hearing(tuple(first), 1 - math.fsum(other.share for other in others)), *others]
    stubs = _stubs([one for hearing in hearings for one in hearing.readings])
    if stubs:
        hearings = [_without(one, stubs) for one in hearings]
    masses = [_log_sum([one.log_prob for one in hearing.readings]) / _CAUTION for hearing in hearings]
    if max(masses) == -math.inf:
        masses = [0.0] * len(hearings)
    evidence = [math.log(hearing.share) + mass for hearing, mass in zip(hearings, masses, strict=True)]
    shares: dict[str, float] = {}
    for hearing, log_belief in zip(hearings, evidence, strict=True):
        belief = math.exp(log_belief - _log_sum(evidence))
        for one in hearing.readings:
            shares[one.text] = shares.get(one.text, 0.0) + belief * one.share
    return tuple(WeighedTranscript(text, share) for text, share in shares.items())


def _without(hearing: Hearing, texts: Collection[str]) -> Hearing:
    """A hearing with the readings that are left, which share its belief."""
    left = [one for one in hearing.readings if one.text not in texts]
    total = math.fsum(one.share for one in left)
    return replace(hearing, readings=tuple(replace(one, share=one.share / total) for one in left if total))


def by_expected_errors(readings: Sequence[WeighedTranscript]) -> list[WeighedTranscript]:
    """Those with the fewest expected word errors first: the sum over all readings of share times word errors, were that
    one right (minimum Bayes risk; Goel and Byrne 2000). The likeliest may stand alone with an odd word; this one has
    the words that most agree on. Of equals the earlier comes first.
    """
    words = [normalize_text(one.text).split() for one in readings]
    believed = [(ours, one.share) for ours, one in zip(words, readings, strict=True) if one.share >= _LEAST_SHARE]
    risks = [math.fsum(share * edit_distance(ours, theirs) for theirs, share in believed) for ours in words]
    return [readings[i] for i in sorted(range(len(readings)), key=risks.__getitem__)]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What times, copying and the orders go on from: one reading of the sound in this model's tokens, and all readings,
    this one first, with their shares of the belief.
    """

    ids: tuple[int, ...]
    is_finished: bool
    readings: tuple[WeighedTranscript, ...]


def _log_sum(log_weights: Sequence[float]) -> float:
    """The logarithm of the sum of what these are logarithms of."""
    highest = max(log_weights, default=-math.inf)
    if highest == -math.inf:
        return -math.inf
    return highest + math.log(math.fsum(math.exp(log_weight - highest) for log_weight in log_weights))


def num_searched(config: DecodeConfig) -> int:
    """Of how many sounds the transcripts are searched at once."""
    return max(1, ROWS_AT_ONCE // config.transcript_beams)


class _Words:
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

    def __init__(
        self,
        network: SpeechReNetwork,
        sequencer: Sequencer,
        config: DecodeConfig,
        beside: TranscriptWriter | None = None,
    ) -> None:
        """``beside`` is the writer of another network: where both have one output projection, what is made of it is
        shared.
        """
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
            theirs = None if beside is None else beside._shortlist
            is_ours = theirs is not None and theirs.is_of(weight_VD, allowed_V)
            self._shortlist = theirs if is_ours else Shortlist(weight_VD, allowed_V)
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
        return [min(self._longest, _TOKENS_MIN + int(n * _FRAME_S * _TOKENS_PER_S)) for n in num_frames]

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
        words = _Words(end_id, len(num_frames), self._shortlist, names)
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


def without_stubs(beams: Sequence[Generation], decode_text: Callable[[Sequence[int]], str]) -> tuple[Generation, ...]:
    """The beams but those that stop where another one, which came to its end, goes on with likely words.

    A network that learned from single sentences likes to end behind the first of several, or behind a heading, and a
    search likes what is short; that more was said is what the words of the longer one are likely by. Their number is
    large enough for no "Thank you." that a network hears in silence to count. What only repeats words that stand before
    it does not count either.
    """
    words = [normalize_text(decode_text(beam.ids)).split() for beam in beams]
    whole = [(theirs, beam.log_prob) for theirs, beam in zip(words, beams, strict=True) if beam.is_finished]
    return tuple(
        beam
        for ours, beam in zip(words, beams, strict=True)
        if not any(_goes_on(theirs, log_prob, ours, beam.log_prob) for theirs, log_prob in whole)
    )


def _goes_on(longer: Sequence[str], longer_log_prob: float, words: Sequence[str], log_prob: float) -> bool:
    """Whether the longer one says these words and then others, many and likely."""
    num_more = len(longer) - len(words)
    if num_more < _STUB_WORDS or list(longer[: len(words)]) != list(words):
        return False
    if f" {' '.join(longer[len(words) :])} " in f" {' '.join(words)} ":  # an echo: likely, and never said
        return False
    return longer_log_prob - log_prob >= _STUB_LOG_PROB * num_more


def _stubs(readings: Sequence[WeighedTranscript]) -> set[str]:
    """The texts of those that stop where another one, of any hearing, goes on. How likely greedy ones are is not known,
    and one that came to no end shows nothing.
    """
    known = {one.text: one.log_prob for one in readings if -math.inf < one.log_prob < 0}
    words = {text: normalize_text(text).split() for text in known}
    return {
        text for text in known if any(_goes_on(words[other], known[other], words[text], known[text]) for other in known)
    }


def _cut_circles(beams: Sequence[Generation]) -> tuple[Generation, ...]:
    """Words that were written again and again stand once, in a generation that came to no end by itself."""
    cut = [
        replace(beam, ids=said_once(beam.ids, period), is_finished=False) if (period := circle_of(beam.ids)) else beam
        for beam in beams
    ]
    return tuple(sorted(cut, key=lambda beam: not beam.is_finished))
