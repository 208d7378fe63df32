"""Voice activity: which frames of a long recording are speech.

:class:`EnergyDetector` needs nothing but numpy: it finds what is louder than the steady sound around it, so silence,
noise and held tones are no speech to it, but a melody is. :class:`SileroDetector` is a small network that knows
voices (Silero VAD, MIT) from the ``silero-vad`` package's ONNX file, run by onnxruntime: the extra ``vad``.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechre.errors import UsageError
from speechre.samples import SAMPLE_RATE_HZ

FRAME_SAMPLES = 512
"""32 ms: the step of both detectors."""
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ

DETECTORS = ("energy", "silero")


class SpeechDetector(Protocol):
    """Hears one recording from its beginning to its end, piece by piece."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each frame of ``samples`` (a whole number of frames, which follow those of the last call) is
        speech.
        """
        ...


def make_detector(name: str) -> SpeechDetector:
    """A fresh detector for one recording. Raises :class:`UsageError` on an unknown or uninstalled one."""
    check_detector(name)
    return EnergyDetector() if name == "energy" else SileroDetector()


def check_detector(name: str) -> None:
    """Raises :class:`UsageError` unless there is a detector of that name and what it needs is installed."""
    if name not in DETECTORS:
        raise UsageError(f'unknown voice activity detector "{name}"; expected one of {", ".join(DETECTORS)}')
    if name == "silero":
        _silero_session()


class EnergyDetector:
    """Speech is what stands out: 6 dB over the quietest twentieth of the last seconds, and not 35 dB under their
    loudest.

    Levels are those of the differenced signal, in which hum and rumble are faint. A sound that never changes has no
    frame that stands out, however loud it is.
    """

    _OVER_FLOOR_DB = 6.0
    _UNDER_LOUD_DB = 35.0
    _FAINTEST_DB = -80.0  # one step of 16 bits is at -90

    def __init__(self) -> None:
        self._last_sample = np.zeros(1, np.float32)
        self._levels_before: NDArray[np.float64] = np.zeros(0)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.bool_]:
        """As :meth:`SpeechDetector.__call__`; floor and loudest are those of this call and the one before."""
        levels = self._levels(samples)
        around = np.concatenate([self._levels_before, levels])
        self._levels_before = levels
        floor, loud = np.percentile(around, [5, 95]) if len(around) else (0.0, 0.0)
        threshold = max(floor + self._OVER_FLOOR_DB, loud - self._UNDER_LOUD_DB, self._FAINTEST_DB)
        return levels > threshold

    def _levels(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """The level of each frame in dB of full scale."""
        joined = np.concatenate([self._last_sample, samples])
        self._last_sample = joined[-1:]
        power = np.square(np.diff(joined).astype(np.float64)).reshape(-1, FRAME_SAMPLES).mean(axis=1)
        levels: NDArray[np.float64] = 10 * np.log10(power + 1e-12)
        return levels


class SileroDetector:
    """Silero VAD 6: a frame is speech from a probability of 0.5 on, and stays so until it falls under 0.35."""

    _START, _STAY = 0.5, 0.35
    _CONTEXT_SAMPLES = 64

    def __init__(self) -> None:
        """Raises :class:`UsageError` when onnxruntime or silero-vad is not installed."""
        self._session = _silero_session()
        self._context = np.zeros(self._CONTEXT_SAMPLES, np.float32)
        self._state = [np.zeros((1, 1, 128), np.float32) for _ in range(2)]
        self._is_speech = False

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.bool_]:
        """As :meth:`SpeechDetector.__call__`."""
        num_frames = len(samples) // FRAME_SAMPLES
        joined = np.concatenate([self._context, samples])
        self._context = joined[len(joined) - self._CONTEXT_SAMPLES :]
        starts = np.arange(num_frames)[:, None] * FRAME_SAMPLES
        frames = joined[starts + np.arange(self._CONTEXT_SAMPLES + FRAME_SAMPLES)]
        names = ("speech_probs", "hn", "cn")
        probabilities, *self._state = self._session.run(
            names, {"input": frames, "h": self._state[0], "c": self._state[1]}
        )
        out = np.zeros(num_frames, dtype=np.bool_)
        for index, probability in enumerate(np.ravel(probabilities).tolist()):
            self._is_speech = probability >= (self._STAY if self._is_speech else self._START)
            out[index] = self._is_speech
        return out


@lru_cache(maxsize=1)
def _silero_session() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError('the detector "silero" needs onnxruntime; try: pip install "speechre[vad]"') from error
    # Only the file is wanted: importing the package would load torch and more.
    spec = importlib.util.find_spec("silero_vad")
    path = None
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k_sequence.onnx"
    if path is None or not os.path.isfile(path):
        raise UsageError('the detector "silero" needs silero-vad 6.2.3 or newer; try: pip install "speechre[vad]"')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
