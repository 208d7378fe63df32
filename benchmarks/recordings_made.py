"""The recordings that benchmarks/recordings.py hears: utterances with known answers one behind the other, and long
recordings that state nothing. All are written to disk piece by piece, and are the same for the same seed.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

from speechre.audio import read_audio_ref
from speechre.data.spoken_text import spoken_text
from speechre.data.synthesize import synthesize
from speechre.errors import DataError
from speechre.samples import SAMPLE_RATE_HZ
from speechre.types import Utterance

PAUSES_S = (0.3, 2.5)
FAINT = 0.0003  # of noise under speech and pauses: no room is silent
RELATION_FREE = Path(__file__).parents[1] / "scripts" / "make-relation-free"
SENTENCES_AT_ONCE = 100  # what its templates for dev give without running out of new sentences

Samples = np.ndarray
Maker = Callable[[int, int, np.random.Generator], Samples]


@dataclass(frozen=True)
class Placed:
    """An utterance in the long recording, under an id of its own: it may stand there several times."""

    id: str
    utterance: Utterance
    start_s: float
    end_s: float


def write_utterances(path: Path, utterances: Sequence[Utterance], minutes: float, seed: int) -> list[Placed]:
    """One recording of at least so many minutes: all utterances in a random sequence, and again in others until it is
    long enough, with pauses of random lengths between them; where each of them lies.
    """
    if not utterances:
        raise DataError("the manifest has no utterance with a recording")
    rng, placed, now = np.random.default_rng(seed), list[Placed](), 0
    with _writer(path) as file:
        while now < minutes * 60 * SAMPLE_RATE_HZ:
            number = len(placed)
            if number % len(utterances) == 0:
                sequence = rng.permutation(len(utterances))
            utterance = utterances[sequence[number % len(utterances)]]
            assert utterance.audio is not None
            speech = read_audio_ref(utterance.audio)
            name = f"{utterance.id} ({number // len(utterances) + 1})"
            placed.append(Placed(name, utterance, now / SAMPLE_RATE_HZ, (now + len(speech)) / SAMPLE_RATE_HZ))
            now += _write_with_pause(file, speech, rng)
    return placed


def write_speech_without_relations(path: Path, minutes: float, voices: Sequence[str], seed: int) -> int:
    """Sentences of scripts/make-relation-free, from templates and names that no model was trained on, read aloud; their
    number.
    """
    rng, draw, script = np.random.default_rng(seed), random.Random(seed), _relation_free()
    now = count = 0
    sentences: Iterator[str] = iter(())
    with _writer(path) as file:
        while now < minutes * 60 * SAMPLE_RATE_HZ:
            marked = next(sentences, None)
            if marked is None:
                sentences = iter(script.sentences(script.DEV, SENTENCES_AT_ONCE, draw))
                continue
            text = spoken_text(script.make_samples.unmark(marked)[0])
            speech = synthesize(text, draw.choice(voices), speed=draw.uniform(0.9, 1.15))
            now += _write_with_pause(file, speech, rng)
            count += 1
    return count


def write_noise(path: Path, make: Maker, minutes: float) -> None:
    """A recording of one of :data:`NOTHING`."""
    rng, block, total = np.random.default_rng(0), 60 * SAMPLE_RATE_HZ, round(minutes * 60 * SAMPLE_RATE_HZ)
    with _writer(path) as file:
        for first in range(0, total, block):
            file.write(make(min(block, total - first), first, rng))


def _writer(path: Path) -> soundfile.SoundFile:
    return soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, format="FLAC", subtype="PCM_16")


def _write_with_pause(file: soundfile.SoundFile, speech: Samples, rng: np.random.Generator) -> int:
    pause = np.zeros(round(rng.uniform(*PAUSES_S) * SAMPLE_RATE_HZ), np.float32)
    sound = np.concatenate([speech, pause])
    file.write(sound + FAINT * rng.standard_normal(len(sound)))
    return len(sound)


def _relation_free() -> ModuleType:
    """The script as a module."""
    loader = SourceFileLoader("make_relation_free", str(RELATION_FREE))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


# -- where nobody speaks


def _time_s(num_samples: int, first: int) -> Samples:
    return (first + np.arange(num_samples)) / SAMPLE_RATE_HZ


def _chord(count: int, first: int, rng: np.random.Generator) -> Samples:
    """Three notes that never end."""
    return 0.1 * np.sin(2 * np.pi * np.array([[262.0], [330.0], [392.0]]) * _time_s(count, first)).sum(axis=0)


def _melody(count: int, first: int, rng: np.random.Generator) -> Samples:
    """A new tone every half second, with gaps."""
    time_s = _time_s(count, first)
    pitch_hz = 220 * 2 ** ((np.floor(time_s * 2) * 7 % 24) / 12)
    return 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * (time_s * 2 % 1 < 0.8)


NOTHING: dict[str, Maker] = {
    "silence": lambda count, first, rng: np.zeros(count),
    "white noise": lambda count, first, rng: 0.1 * rng.standard_normal(count),
    "tones: a held chord": _chord,
    "tones: a melody": _melody,
}
