"""Readings of a sound: what the beams of one hearing, and several hearings together, say that was said.

Each reading is believed as far as it is likely, each hearing as far as it found likely words for the sound. What stops
where another reading goes on is a stub.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from speechre.decode.search import Generation
from speechre.metrics import edit_distance, normalize_text

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


def pooled_transcripts(first: Sequence[WeighedTranscript], others: Sequence[Hearing]) -> tuple[WeighedTranscript, ...]:
    """What was heard of one recording in several hearings, the first one's transcripts first, each hearing's as far as
    it is believed. A text that several wrote has all their beliefs.

    What the ``others`` leave of 1 is the belief in the first before anything was heard. After that Bayes' rule gives
    more to those who found likely words for the sound: P(hearing) P(its transcripts | hearing) ** (1 / 8). The power is
    there because networks are too sure (a fractional posterior): with all of the evidence one of them would be believed
    alone, and two that mishear different names are worth more than either. Where none came to an end, only the shares
    before count. A text that stops where another one, of any hearing, goes on (:func:`without_stubs`) is taken for that
    one.
    """
    hearings = [Hearing(tuple(first), 1 - math.fsum(other.share for other in others)), *others]
    whole = _whole_of_stubs([one for hearing in hearings for one in hearing.readings])
    if whole:
        hearings = [replace(one, readings=_completed(one.readings, whole)) for one in hearings]
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


def by_expected_errors(readings: Sequence[WeighedTranscript]) -> list[WeighedTranscript]:
    """Those with the fewest expected word errors first: the sum over all readings of share times word errors, were that
    one right (minimum Bayes risk; Goel and Byrne 2000). The likeliest may stand alone with an odd word; this one has
    the words that most agree on. Of equals the earlier comes first.
    """
    words = [normalize_text(one.text).split() for one in readings]
    believed = [(ours, one.share) for ours, one in zip(words, readings, strict=True) if one.share >= _LEAST_SHARE]
    risks = [math.fsum(share * edit_distance(ours, theirs) for theirs, share in believed) for ours in words]
    return [readings[i] for i in sorted(range(len(readings)), key=risks.__getitem__)]


def _log_sum(log_weights: Sequence[float]) -> float:
    """The logarithm of the sum of what these are logarithms of."""
    highest = max(log_weights, default=-math.inf)
    if highest == -math.inf:
        return -math.inf
    return highest + math.log(math.fsum(math.exp(log_weight - highest) for log_weight in log_weights))


# --- stubs ---


def without_stubs(beams: Sequence[Generation], decode_text: Callable[[Sequence[int]], str]) -> tuple[Generation, ...]:
    """The beams but those that stop where another one, which came to its end, goes on with likely words.

    A network that learned from single sentences likes to end behind the first of several, or behind a heading, and a
    search likes what is short; that more was said is what the words of the longer one are likely by. Their number is
    large enough for no "Thank you." that a network hears in silence to count. What only repeats words that stand before
    it does not count either, nor what known names gained.
    """
    words = [normalize_text(decode_text(beam.ids)).split() for beam in beams]
    log_probs = [beam.log_prob - beam.gain for beam in beams]
    whole = [i for i, beam in enumerate(beams) if beam.is_finished]
    return tuple(
        beam
        for i, beam in enumerate(beams)
        if not any(_goes_on(words[other], log_probs[other], words[i], log_probs[i]) for other in whole)
    )


def _goes_on(longer: Sequence[str], longer_log_prob: float, words: Sequence[str], log_prob: float) -> bool:
    """Whether the longer one says these words, one of several perhaps spelled otherwise ("2", "two"), and then others,
    many and likely.
    """
    more = longer[len(words) :]
    if len(more) < _STUB_WORDS or edit_distance(words, longer[: len(words)]) > (len(words) > 1):
        return False
    # What begins with an echo, which is likely and was never said, has to go on behind it.
    num_new = len(more) - _num_echoed(more, words)
    return num_new >= _STUB_WORDS and longer_log_prob - log_prob >= _STUB_LOG_PROB * len(more)


def _num_echoed(more: Sequence[str], words: Sequence[str]) -> int:
    """How many words at its beginning repeat some of these, or all of them with up to a third written otherwise."""
    again = more[: len(words)]
    if edit_distance(again, words) <= len(words) // 3:
        return len(again)
    said = f" {' '.join(words)} "
    return next((n for n in range(len(more), 0, -1) if f" {' '.join(more[:n])} " in said), 0)


def _whole_of_stubs(readings: Sequence[WeighedTranscript]) -> dict[str, WeighedTranscript]:
    """The texts that stop where another one goes on, and the likeliest of those that do.

    How likely greedy ones are is not known, and one that came to no end shows nothing. Nothing at all is a beginning
    too: in 60 recordings in which nobody speaks no hearing had so many likely words, in some of speech one had none.
    """
    likeliest: dict[str, WeighedTranscript] = {}
    for one in readings:
        if one.text not in likeliest or one.log_prob > likeliest[one.text].log_prob:
            likeliest[one.text] = one
    words = {text: normalize_text(text).split() for text in likeliest}
    whole = [one for one in likeliest.values() if -math.inf < one.log_prob < 0]
    found = {}
    for text, one in likeliest.items():
        going_on = [
            other
            for other in whole
            if one.log_prob < 0 and _goes_on(words[other.text], other.log_prob, words[text], one.log_prob)
        ]
        if going_on:
            found[text] = max(going_on, key=lambda other: other.log_prob)
    return {text: _last(one, found) for text, one in found.items()}


def _last(one: WeighedTranscript, whole: Mapping[str, WeighedTranscript]) -> WeighedTranscript:
    """What goes on behind what goes on: each is longer than the one before."""
    return _last(whole[one.text], whole) if one.text in whole else one


def _completed(
    readings: Sequence[WeighedTranscript], whole: Mapping[str, WeighedTranscript]
) -> tuple[WeighedTranscript, ...]:
    """The readings with each stub's share at the whole text, as likely as who wrote that found it."""
    shares: dict[str, float] = {}
    log_probs: dict[str, float] = {}
    for one in readings:
        text = whole[one.text].text if one.text in whole else one.text
        shares[text] = shares.get(text, 0.0) + one.share
        if one.text in whole:
            log_probs.setdefault(text, whole[one.text].log_prob)
        else:  # its own word on it counts
            log_probs[text] = one.log_prob
    return tuple(WeighedTranscript(text, share, log_probs[text]) for text, share in shares.items())
