"""Which utterances the gallery shows, in which sequence, and which of them can be heard."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speechre.audio import read_audio
from speechre.evaluate import gallery
from speechre.evaluate.details import Answer, UtteranceDetail
from speechre.evaluate.gallery import gallery_sequence, make_cards
from speechre.evaluate.mistakes import Mistake
from speechre.page.sound import encode_opus
from speechre.types import AudioRef, Utterance
from test_metrics import triplet
from tests.conftest import MakeSound, noise

ANNA = triplet("Anna", "Live_In", "Lima")
MISSED, MISTYPED = Mistake("missed", gold=ANNA), Mistake("wrong_type", ANNA, replace(ANNA, relation="Kill"))


def spurious(confidence: float) -> Mistake:
    return Mistake("spurious", predicted=replace(ANNA, confidence=confidence))


def detail(name: str, *mistakes: Mistake, audio: AudioRef | None = None) -> UtteranceDetail:
    return UtteranceDetail(Utterance(name, audio), Answer(()), None, {}, {}, mistakes)


def test_kinds_take_turns_and_the_surest_come_first() -> None:
    details = [
        detail("right"),
        detail("m1", MISSED),
        detail("m2", MISSED),
        detail("s1", spurious(0.5)),
        detail("both", spurious(0.9), MISSED),
        detail("t1", MISTYPED),
    ]
    assert [d.utterance.id for d in gallery_sequence(details)] == ["m1", "both", "t1", "m2", "s1"]
    assert gallery_sequence([detail("right")]) == []


def test_what_is_heard_is_the_utterance_s_window(make_sound: MakeSound) -> None:
    path = make_sound("long.wav", 3.0)
    (card,) = make_cards([detail("u", MISSED, audio=AudioRef(str(path), 1.0, 0.5))])
    kind, content = card.sound.split(",")
    assert kind == "data:audio/ogg;base64"
    heard = read_audio(base64.b64decode(content))
    assert len(heard) == 8000
    window = noise(3.0)[16_000:24_000]
    assert np.corrcoef(heard, window)[0, 1] > 0.9


def test_the_first_n_can_be_heard(make_sound: MakeSound) -> None:
    audio = AudioRef(str(make_sound()))
    details = [detail(f"u{i}", MISSED, audio=audio) for i in range(5)]
    assert [bool(card.sound) for card in make_cards(details, 2)] == [True, True, False, False, False]
    assert [bool(card.sound) for card in make_cards(details, 0)] == [False] * 5
    assert {card.sound_note for card in make_cards(details, 2)} == {""}


def test_sound_that_does_not_fit_is_left_out_and_the_card_says_so(make_sound: MakeSound) -> None:
    small, large = AudioRef(str(make_sound("s.wav", 0.5))), AudioRef(str(make_sound("l.wav", 8.0)))
    details = [detail("a", MISSED, audio=small), detail("b", MISSED, audio=large), detail("c", MISSED, audio=small)]
    first, second, third = make_cards(details, 3, max_sound_bytes=10_000)
    assert (bool(first.sound), second.sound, bool(third.sound)) == (True, "", True)
    assert "too large" in second.sound_note


def test_the_room_is_shared_by_all_sounds(make_sound: MakeSound) -> None:
    audio = AudioRef(str(make_sound()))
    details = [detail(f"u{i}", MISSED, audio=audio) for i in range(4)]
    (alone,) = make_cards(details[:1])
    size = len(base64.b64decode(alone.sound.split(",")[1]))
    cards = make_cards(details, max_sound_bytes=2 * size + size // 2)
    assert [bool(card.sound) for card in cards] == [True, True, False, False]


def test_a_missing_recording_costs_the_player_only(tmp_path: Path, make_sound: MakeSound) -> None:
    gone = AudioRef(str(tmp_path / "gone.wav"))
    cards = make_cards(
        [detail("a", MISSED, audio=gone), detail("b", MISSED), detail("c", MISSED, audio=AudioRef(str(make_sound())))],
        1,
    )
    assert [bool(card.sound) for card in cards] == [False, False, True]
    assert "gone.wav" in cards[0].sound_note
    assert cards[1].sound_note == "no recording"


@pytest.mark.parametrize("duration_s", [None, 200.0])
def test_a_long_recording_has_no_player(
    duration_s: float | None, make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MAX_SOUND_S", 1.0)
    (card,) = make_cards([detail("u", MISSED, audio=AudioRef(str(make_sound("l.wav", 1.5)), 0.0, duration_s))])
    assert card.sound == ""
    assert "longer than 1 s" in card.sound_note


def test_there_is_an_end_to_the_gallery() -> None:
    details = [detail(f"u{i}", MISSED) for i in range(gallery.MAX_CARDS + 5)]
    assert len(make_cards(details, 0)) == gallery.MAX_CARDS


def test_opus_keeps_every_sample() -> None:
    for num_samples in (1, 159, 16_000, 50_001):
        assert len(read_audio(encode_opus(noise(4.0)[:num_samples]))) == num_samples
