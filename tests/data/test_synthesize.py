"""Text to speech with the engines that are installed, and faults that name what to do."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from speechre.audio import read_audio_ref
from speechre.data.store import read_manifest, write_manifest
from speechre.data.synthesize import draw_reading, read_aloud, spoken_text, synthesize
from speechre.errors import DataError, UsageError
from speechre.types import Utterance

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
TEXT = "The meeting will begin on Friday morning."


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Sen. Lee of Salem, Ore., left.", "Senator Lee of Salem, Oregon, left."),
        ("He lives in Trenton, N.J.", "He lives in Trenton, New Jersey"),
        ("The U.N.J. Club", "The U.N.J. Club"),
        ('She said: "No."', "She said: No."),
    ],
)
def test_abbreviations_are_spoken_in_full(written: str, spoken: str) -> None:
    assert spoken_text(written) == spoken


@needs_flite
def test_speed_changes_the_duration_and_pitch_does_not() -> None:
    plain = synthesize(TEXT, "flite:kal16")
    assert plain.dtype == np.float32
    assert np.abs(plain).max() == pytest.approx(0.7, abs=1e-3)
    assert 1.5 < len(plain) / 16_000 < 5
    fast = synthesize(TEXT, "flite:kal16", speed=1.5)
    assert len(fast) / len(plain) == pytest.approx(1 / 1.5, abs=0.08)
    high = synthesize(TEXT, "flite:kal16", pitch=1.3)
    assert len(high) / len(plain) == pytest.approx(1.0, abs=0.08)

    def loudest_hz(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples, 2**18)) ** 2
        frequencies = np.fft.rfftfreq(2**18, 1 / 16_000)
        return float((power * frequencies).sum() / power.sum())

    assert loudest_hz(high) > 1.15 * loudest_hz(plain)


@pytest.mark.parametrize(
    ("voice", "options", "error", "named"),
    [
        ("nobody", {}, UsageError, "unknown voice"),
        ("flite:", {}, UsageError, "unknown voice"),
        ("piper:/nowhere.onnx", {}, UsageError, "nowhere|pip install"),
        ("flite:slt", {"pitch": 3.0}, UsageError, "pitch"),
        ("flite:slt", {"speed": 0.0}, UsageError, "speed"),
    ],
)
def test_a_voice_that_cannot_speak_says_why(voice: str, options: dict[str, float], error: type, named: str) -> None:
    with pytest.raises(error, match=named):
        synthesize(TEXT, voice, **options)


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no text"):
        synthesize("  ", "flite:slt")


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt install flite"):
        synthesize(TEXT, "flite:slt")


@needs_flite
def test_a_manifest_is_read_aloud_once_and_repeats_with_its_seed(tmp_path: Path) -> None:
    def readings() -> list:
        rng = random.Random(7)
        utterances = [Utterance(f"u{i}", None, f"This is sentence number {i}.") for i in range(6)]
        return [draw_reading(one, {"flite:slt": 1, "flite:kal16": 1}, tmp_path / "audio", rng) for one in utterances]

    done = list(read_aloud(readings(), processes=2))
    assert [one.id for one in done] == [f"u{i}" for i in range(6)]
    assert {one.speaker.split("*")[0] for one in done} == {"flite:slt", "flite:kal16"}
    write_manifest(tmp_path / "m.jsonl", done)
    for one in read_manifest(tmp_path / "m.jsonl"):
        assert len(read_audio_ref(one.audio)) / 16_000 == pytest.approx(one.audio.duration_s, abs=0.01)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").iterdir()}
    (tmp_path / "audio" / "u3.flac").unlink()
    assert [one.audio for one in read_aloud(readings(), processes=2)] == [one.audio for one in done]
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"u3.flac"}
