"""What the detectors take for speech."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from speechre.audio import read_audio
from speechre.errors import UsageError
from speechre.extract import vad
from speechre.extract.vad import DETECTORS, FRAME_SAMPLES, EnergyDetector, SpeechDetector, make_detector

RATE = 16000
SAMPLES = Path(__file__).parent.parent.parent / "samples"
needs_silero = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None or importlib.util.find_spec("onnxruntime") is None,
    reason='needs the extra "vad"',
)
both = pytest.mark.parametrize("name", ["energy", pytest.param("silero", marks=needs_silero)])


def share(detector: SpeechDetector, sound: np.ndarray, piece: int = 300 * FRAME_SAMPLES) -> float:
    """The share of frames that are speech."""
    sound = sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].astype(np.float32)
    found = [detector(sound[i : i + piece]) for i in range(0, len(sound), piece)]
    return float(np.concatenate(found).mean())


def steady_sounds(duration_s: float = 60.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return {
        "silence": np.zeros_like(time_s),
        "dither": np.round(rng.standard_normal(len(time_s))) / 32768,
        "noise": 0.1 * rng.standard_normal(len(time_s)),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time_s),
        "tone": 0.3 * np.sin(2 * np.pi * 880 * time_s),
        "chord": 0.1 * sum(np.sin(2 * np.pi * pitch * time_s) for pitch in (262, 330, 392)),
    }


@both
@pytest.mark.parametrize("sound", list(steady_sounds(0.1)))
def test_what_never_changes_is_no_speech(name: str, sound: str) -> None:
    assert share(make_detector(name), steady_sounds()[sound]) < 0.02


@both
@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_speech_between_silences_is_found(name: str, noise: float) -> None:
    """Wherever the recording is loud, the detector hears speech, but for single frames inside words."""
    detector, pause = make_detector(name), np.zeros(3 * RATE, np.float32)
    talk = np.concatenate([read_audio(SAMPLES / f"{one}.flac") for one in ("collins", "burr", "rain")])
    sound = np.concatenate([pause, talk, pause, talk, pause])
    sound = sound + noise * np.random.default_rng(1).standard_normal(len(sound)).astype(np.float32)
    whole = sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES]
    found = detector(whole.astype(np.float32))
    loud = np.sqrt(np.square(whole.reshape(-1, FRAME_SAMPLES)).mean(axis=1)) > 0.03
    assert found[loud].mean() > 0.95
    assert found[: int(2.5 / vad.FRAME_S)].mean() < 0.05
    assert found[-int(2.5 / vad.FRAME_S) :].mean() < 0.05


@both
def test_the_pieces_make_one_recording(name: str) -> None:
    """What comes in two pieces is heard as one: state is carried on."""
    talk = read_audio(SAMPLES / "collins.flac")
    talk = talk[: len(talk) // FRAME_SAMPLES * FRAME_SAMPLES]
    half = len(talk) // 2 // FRAME_SAMPLES * FRAME_SAMPLES
    whole, detector = make_detector(name)(talk), make_detector(name)
    parts = np.concatenate([detector(talk[:half]), detector(talk[half:])])
    assert (whole == parts).mean() > (0.85 if name == "energy" else 0.999)


def test_energy_finds_speech_over_steady_noise() -> None:
    talk = read_audio(SAMPLES / "miller.flac")
    noise = 0.005 * np.random.default_rng(2).standard_normal(20 * RATE).astype(np.float32)
    noise[8 * RATE : 8 * RATE + len(talk)] += talk
    found = EnergyDetector()(noise[: len(noise) // FRAME_SAMPLES * FRAME_SAMPLES])
    assert found[: int(7.9 / vad.FRAME_S)].mean() < 0.02
    assert found[int(8.2 / vad.FRAME_S) : int(12.5 / vad.FRAME_S)].mean() > 0.6


def test_an_unknown_detector_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f'"loud"; expected one of {", ".join(DETECTORS)}'):
        make_detector("loud")
    vad._silero_session.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "speechre\[vad\]"'):
        make_detector("silero")
