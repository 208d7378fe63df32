"""Hearing a recording more than once: by a second listener, and at other speeds.

Played a little slower, the same sound is misheard elsewhere. What all hearings say goes to the text reader, each as far
as it is believed (:func:`speechre.decode.transcripts.pooled_transcripts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from speechre.audio import at_speed
from speechre.decode.engine import DecodingEngine
from speechre.decode.transcripts import Hearing, WeighedTranscript
from speechre.extract.listener import Listener, mel_of
from speechre.model.checkpoint import Checkpoint
from speechre.model.log_mel import WINDOW_SAMPLES

Transcribe = Callable[[Sequence[NDArray[Any]]], list[tuple[WeighedTranscript, ...]]]
"""Sounds (samples at 16 kHz, at most 30 s) to their transcripts, the likeliest first."""


class FurtherHearings:
    """All hearings of a recording beside the model's own first one.

    The belief in each listener is divided evenly over the speeds it hears a recording at. A recording that would be
    longer than 30 s at some speed is not heard at that one.
    """

    def __init__(
        self, engine: DecodingEngine, checkpoint: Checkpoint, second: Listener | None, *, is_read: bool
    ) -> None:
        """``engine`` is that of the first hearing, ``second`` a second listener. Without a text reader (``is_read``)
        nobody would read what these hear, so there are none.
        """
        decode = checkpoint.config.decode
        second_share = decode.second_share if second is not None else 0.0

        def transcribe(sounds: Sequence[NDArray[Any]]) -> list[tuple[WeighedTranscript, ...]]:
            return engine.transcribe([mel_of(samples, checkpoint) for samples in sounds])

        self._speeds = decode.speeds
        self._passes: list[tuple[Transcribe, float, float]] = []
        """Who hears, how far that listener is believed in all its hearings, and at which speed."""
        if is_read:
            self._passes += [(transcribe, 1 - second_share, speed) for speed in self._speeds[1:]]
        if is_read and second is not None:
            self._passes += [(second.transcribe, second_share, speed) for speed in self._speeds]

    def of(self, sounds: Sequence[NDArray[Any]]) -> list[list[Hearing]]:
        """The further hearings of each of some sounds (samples at 16 kHz, at most 30 s)."""
        num_hearings = [sum(_fits(samples, speed) for speed in self._speeds) for samples in sounds]
        heard: list[list[Hearing]] = [[] for _ in sounds]
        for transcribe, share, speed in self._passes:
            chosen = [i for i, samples in enumerate(sounds) if _fits(samples, speed)]
            if not chosen:
                continue
            played = [sounds[i] if speed == 1 else at_speed(sounds[i], speed) for i in chosen]
            for i, readings in zip(chosen, transcribe(played), strict=True):
                heard[i].append(Hearing(readings, share / num_hearings[i]))
        return heard


def _fits(samples: NDArray[Any], speed: float) -> bool:
    """Whether a recording at this speed is no longer than what is heard at once."""
    return round(len(samples) / speed) <= WINDOW_SAMPLES
