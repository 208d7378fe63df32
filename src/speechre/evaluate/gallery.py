"""The gallery of mistakes: utterances that have any, in a sequence that shows every kind early, and their sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from speechre.errors import AudioError
from speechre.evaluate.details import UtteranceDetail
from speechre.evaluate.mistakes import KINDS, Kind, Mistake

MAX_CARDS = 400
"""Utterances on the page; all mistakes are in report.json."""
NUM_SOUNDS = 60
MAX_SOUND_BYTES = 6_000_000
"""Of all players together, before base64 makes 4 of 3: with text and plots the page stays under 10 MB."""
MAX_SOUND_S = 120.0


@dataclass(frozen=True)
class Card:
    """One utterance with its mistakes. ``sound`` is a data URI, or empty: then ``sound_note`` says why, if there is a
    reason beyond the limit on their number.
    """

    detail: UtteranceDetail
    sound: str = ""
    sound_note: str = ""


def make_cards(
    details: Sequence[UtteranceDetail], num_sounds: int = NUM_SOUNDS, max_sound_bytes: int = MAX_SOUND_BYTES
) -> list[Card]:
    """At most :data:`MAX_CARDS` cards, the first ``num_sounds`` of them with sound while there is room.

    A recording that is not there or cannot be read costs its card the sound, and the card says so: the scores do not
    depend on it.
    """
    from speechre.page.sound import sound_uri

    cards: list[Card] = []
    num_left, bytes_left = num_sounds, max_sound_bytes
    for detail in gallery_sequence(details)[:MAX_CARDS]:
        if num_left <= 0:
            cards.append(Card(detail))
            continue
        sound, note = _sound(detail, bytes_left)
        num_left -= bool(sound)
        bytes_left -= len(sound)
        cards.append(Card(detail, sound_uri(sound) if sound else "", note))
    return cards


def gallery_sequence(details: Sequence[UtteranceDetail]) -> list[UtteranceDetail]:
    """The utterances with a mistake, each once: in turn one for each kind, the surest mistakes of a kind first."""
    queues = [deque(_of_kind(details, kind)) for kind in KINDS]
    taken: dict[str, UtteranceDetail] = {}
    while any(queues):
        for queue in queues:
            while queue and queue[0].utterance.id in taken:
                queue.popleft()
            if queue:
                detail = queue.popleft()
                taken[detail.utterance.id] = detail
    return list(taken.values())


def _of_kind(details: Sequence[UtteranceDetail], kind: Kind) -> list[UtteranceDetail]:
    sureness = {
        d.utterance.id: max(_confidence(m) for m in d.mistakes if m.kind == kind)
        for d in details
        if any(m.kind == kind for m in d.mistakes)
    }
    having = [d for d in details if d.utterance.id in sureness]
    return sorted(having, key=lambda d: -sureness[d.utterance.id])


def _confidence(mistake: Mistake) -> float:
    shown = mistake.predicted or mistake.candidate
    return (shown.confidence or 0.0) if shown else 0.0


def _sound(detail: UtteranceDetail, max_bytes: int) -> tuple[bytes, str]:
    """The utterance's window as Ogg Opus, or nothing and why."""
    from speechre.audio import read_audio_ref
    from speechre.page.sound import encode_opus
    from speechre.samples import SAMPLE_RATE_HZ

    audio = detail.utterance.audio
    if audio is None:
        return b"", "no recording"
    duration_s = audio.duration_s or detail.answer.duration_s
    if duration_s is not None and duration_s > MAX_SOUND_S:
        return b"", f"no player: the recording is longer than {MAX_SOUND_S:g} s"
    try:
        samples = read_audio_ref(audio)
    except AudioError as error:
        return b"", f"no player: {error}"
    if len(samples) > MAX_SOUND_S * SAMPLE_RATE_HZ:
        return b"", f"no player: the recording is longer than {MAX_SOUND_S:g} s"
    content = encode_opus(samples)
    return (content, "") if len(content) <= max_bytes else (b"", "no player: the page would grow too large")
