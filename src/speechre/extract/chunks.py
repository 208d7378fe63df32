"""Recordings longer than Whisper's window, cut where it is quiet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechre.audio import SAMPLE_RATE_HZ
from speechre.model.log_mel import WINDOW_SAMPLES

WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE_HZ
_SEARCH_S = 10.0  # how far before the window's end a quiet place is looked for
_FRAME_SAMPLES = SAMPLE_RATE_HZ // 10


def split_at_pauses(samples: NDArray[np.float32], window_s: float = WINDOW_S) -> list[NDArray[np.float32]]:
    """Chunks of at most ``window_s``, one behind the other and nothing left out.

    A chunk ends in the middle of the quietest tenth of a second of its last third.
    """
    window = int(window_s * SAMPLE_RATE_HZ)
    chunks = []
    while len(samples) > window:
        first = window - int(min(_SEARCH_S, window_s / 3) * SAMPLE_RATE_HZ)
        frames = samples[first:window]
        frames = frames[: len(frames) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
        quietest = int(np.argmin(np.square(frames.astype(np.float64)).sum(axis=1)))
        cut = first + quietest * _FRAME_SAMPLES + _FRAME_SAMPLES // 2
        chunks.append(samples[:cut])
        samples = samples[cut:]
    return [*chunks, samples]
