"""Whole manifests read aloud: each utterance in a voice, speed, pitch and surroundings drawn from the seed and its id.

The same seed gives the same bytes, whatever the number of workers and whatever else the manifest holds. Each recording
says in its comment how it was made; one that was made as it would be made now is kept, so an interrupted run goes on,
and one that was made otherwise is made anew.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from speechre.data.speech_engines import SPEED_RANGE, Engine, engine_of, synthesize
from speechre.data.spoken_text import STATE_ABBREVIATIONS, spoken_text, spoken_utterance
from speechre.data.surroundings import in_a_room, with_noise
from speechre.errors import AudioError, DataError, UsageError
from speechre.samples import SAMPLE_RATE_HZ
from speechre.types import AudioRef, Utterance

__all__ = [
    "STATE_ABBREVIATIONS",
    "Failure",
    "Reading",
    "Style",
    "draw_reading",
    "read_aloud",
    "speak_manifest",
    "spoken_text",
    "synthesize",
]

_PEAK = 0.7
_MADE_BY = 2  # raised when the same reading would give other sound
_SNR_DB = (8.0, 30.0)


@dataclass(frozen=True)
class Style:
    """How utterances are spoken: voices by weight, the range of speeds, the share with another pitch, with a room and
    with noise (0 to 1), and engines beside the built-in ones.
    """

    voices: Mapping[str, float]
    speeds: tuple[float, float] = (0.85, 1.2)
    pitch: float = 0.5
    rooms: float = 0.0
    noise: float = 0.0
    engines: Mapping[str, Engine] = field(default_factory=dict)

    def check(self) -> None:
        """Raises :class:`UsageError` on no voice, an unknown one, or a range that cannot be spoken."""
        if not self.voices:
            raise UsageError("no voice is given; name at least one, as flite:slt")
        for voice in self.voices:
            engine_of(voice, self.engines)
        low, high = self.speeds
        # With a pitch, an engine speaks at speed / pitch; both must stay within what engines can do.
        if not SPEED_RANGE[0] <= low <= high <= SPEED_RANGE[1]:
            raise UsageError(f"speeds from {low:g} to {high:g}; expected two numbers in {SPEED_RANGE}, the lower first")
        for name in ("pitch", "rooms", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"the share of {name} is {getattr(self, name)}; expected 0 to 1")


@dataclass(frozen=True)
class Reading:
    """An utterance, how it is to be spoken, and where to. ``room`` and ``noise`` seed its surroundings; none: quiet."""

    utterance: Utterance
    voice: str
    speed: float
    pitch: float
    path: Path
    room: int | None = None
    noise: int | None = None

    @property
    def speaker(self) -> str:
        """The voice; another pitch makes another speaker of it."""
        return self.voice if self.pitch == 1.0 else f"{self.voice}*{self.pitch:g}"

    def recipe(self, text: str) -> str:
        """All that the sound depends on."""
        parts = {"text": text, "voice": self.voice, "speed": self.speed, "pitch": self.pitch}
        return json.dumps(parts | {"room": self.room, "noise": self.noise, "version": _MADE_BY}, ensure_ascii=True)


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be spoken, and why."""

    utterance_id: str
    voice: str
    reason: str

    def __str__(self) -> str:
        return f'utterance "{self.utterance_id}" ({self.voice}): {self.reason}'


# --- drawing ---


def draw_reading(utterance: Utterance, voices: Mapping[str, float], folder: Path, rng: random.Random) -> Reading:
    """A voice by weight, a speed, and for every other reading a pitch; one in ten gets the voice of a child's size."""
    return _draw(utterance, Style(voices), folder, rng)


def _draw(utterance: Utterance, style: Style, folder: Path, rng: random.Random) -> Reading:
    voice = rng.choices(list(style.voices), list(style.voices.values()))[0]
    speed, pitch, kind = round(rng.uniform(*style.speeds), 2), 1.0, rng.random()
    if kind > 1 - style.pitch / 5:
        pitch = round(rng.uniform(1.2, 1.4), 2)
    elif kind > 1 - style.pitch:
        pitch = round(rng.uniform(0.87, 1.15), 2)
    if not engine_of(voice, style.engines)[0].has_speed:
        speed = pitch = 1.0
    return Reading(utterance, voice, speed, pitch, folder / f"{_file_name(utterance.id)}.flac")


def _with_surroundings(reading: Reading, style: Style, rng: random.Random) -> Reading:
    has_room, has_noise = rng.random() < style.rooms, rng.random() < style.noise
    room, noise = rng.getrandbits(32), rng.getrandbits(32)
    return replace(reading, room=room if has_room else None, noise=noise if has_noise else None)


def _file_name(utterance_id: str) -> str:
    """Raises :class:`DataError` on an id that would leave the folder or that no file system takes."""
    if utterance_id in (".", "..") or any(c in "/\\\0" for c in utterance_id) or len(utterance_id.encode()) > 200:
        raise DataError(f"the id {utterance_id[:60]!r} cannot name a recording; give the utterance another id")
    return utterance_id


# --- speaking ---


def read_aloud(readings: Sequence[Reading], processes: int | None = None) -> Iterator[Utterance]:
    """Speak them all, a process per core, and yield the utterances with their recordings, in the same sequence.

    Recordings that were made in this way already are kept. Raises what :func:`synthesize` raises.
    """
    for result in _speak_all(readings, {}, processes):
        if isinstance(result, Failure):
            raise DataError(str(result))
        yield result


def speak_manifest(
    utterances: Sequence[Utterance],
    style: Style,
    folder: Path,
    *,
    suffix: str = "",
    seed: int = 1,
    processes: int | None = None,
    with_spoken_text: bool = False,
) -> Iterator[Utterance | Failure]:
    """Each utterance with its recording, or its failure, in the manifest's sequence.

    What is spoken is the text as people write it, abbreviations in full (``data.spoken_text``). Text and annotation
    stay as they are, and the words that were spoken go to ``extra["spoken_text"]``; ``with_spoken_text`` makes them the
    text, with the entities' spans carried over. The voice is the ``speaker``; ``suffix`` is put behind each id.

    Raises :class:`UsageError` on a style that cannot be, a voice that is not installed or a folder that cannot be
    written, before or while speaking.
    """
    style.check()
    readings = []
    for utterance in utterances:
        spoken = replace(spoken_utterance(utterance), id=utterance.id + suffix)
        rng = random.Random(f"{seed}/synthesize/{utterance.id}")
        reading = _with_surroundings(_draw(spoken, style, folder, rng), style, rng)
        readings.append(reading)
    for before, result in zip(utterances, _speak_all(readings, style.engines, processes), strict=True):
        if isinstance(result, Failure) or with_spoken_text:
            yield result
        else:
            extra = {**before.extra, "spoken_text": result.text}
            yield replace(result, text=before.text, entities=before.entities, extra=extra)


def _speak_all(
    readings: Sequence[Reading], engines: Mapping[str, Engine], processes: int | None
) -> Iterator[Utterance | Failure]:
    for folder in {reading.path.parent for reading in readings}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made: {error.strerror or error}") from error
    jobs = [(reading, {reading.voice.partition(":")[0]: engine_of(reading.voice, engines)[0]}) for reading in readings]
    if processes == 1:
        yield from map(_speak_one, jobs)
        return
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context)
    try:
        yield from pool.map(_speak_one, jobs, chunksize=4)
    except BrokenProcessPool as error:
        raise DataError("a process that spoke was killed, perhaps for lack of memory; use fewer (--workers)") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _speak_one(job: tuple[Reading, Mapping[str, Engine]]) -> Utterance | Failure:
    reading, engines = job
    text = spoken_text(reading.utterance.text)
    recipe = reading.recipe(text)
    try:
        duration_s = _kept(reading.path, recipe) or _make(reading, text, recipe, engines)
    except (DataError, AudioError) as error:
        return Failure(reading.utterance.id, reading.voice, str(error))
    except OSError as error:
        raise UsageError(f"{reading.path}: cannot be written: {error.strerror or error}") from error
    audio = AudioRef(str(reading.path), 0.0, duration_s)
    return replace(reading.utterance, audio=audio, speaker=reading.speaker)


def _kept(path: Path, recipe: str) -> float | None:
    """The duration of a recording that was made by this recipe; ``None`` where there is none."""
    try:
        with soundfile.SoundFile(path) as file:
            if str(file.comment) == recipe and file.samplerate == SAMPLE_RATE_HZ:
                # A FLAC file that was cut off shows it only when it is decoded.
                return file.frames / SAMPLE_RATE_HZ if len(file.read(dtype="int16")) == file.frames else None
    except (soundfile.SoundFileError, OSError):
        pass  # not there, or not whole
    return None


def _make(reading: Reading, text: str, recipe: str, engines: Mapping[str, Engine]) -> float:
    samples = synthesize(text, reading.voice, speed=reading.speed, pitch=reading.pitch, peak=_PEAK, engines=engines)
    if reading.room is not None:
        samples = in_a_room(samples, random.Random(reading.room))
    if reading.noise is not None:
        rng = random.Random(reading.noise)
        samples = with_noise(samples, rng.uniform(*_SNR_DB), rng, is_colored=True)
    if reading.room is not None or reading.noise is not None:
        samples = (samples * (_PEAK / np.abs(samples).max())).astype(np.float32)
    building = reading.path.with_name(f".{reading.path.name}.{os.getpid()}.tmp")
    try:
        with soundfile.SoundFile(building, "w", SAMPLE_RATE_HZ, 1, subtype="PCM_16", format="FLAC") as file:
            file.comment = recipe
            file.write(samples)
        building.replace(reading.path)
    finally:
        building.unlink(missing_ok=True)
    return len(samples) / SAMPLE_RATE_HZ
