"""Hearing a recording more than once: by a second listener, and at other speeds.

Played a little slower, the same sound is misheard elsewhere. What all hearings say goes to the text reader, each as far
as it is believed (:func:`speechre.decode.readings.pooled_transcripts`). A listener writes the transcripts of all
speeds in one search: a few rows more cost little beside what every step reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from speechre.decode.readings import Hearing
from speechre.decode.transcripts import Replay
from speechre.extract.listener import Listener, mel_of
from speechre.model.checkpoint import Checkpoint
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.samples import at_speed

Sounds = Sequence[NDArray[Any]]
"""Samples at 16 kHz, at most 30 s each."""


class FurtherHearings:
    """All hearings of a recording beside the model's own first one.

    The belief in each listener is divided evenly over the speeds it hears a recording at. A recording that would be
    longer than 30 s at some speed is not heard at that one; a second listener that hears it at none is not believed.
    """

    def __init__(
        self, checkpoint: Checkpoint, second: Listener | None, *, is_read: bool, is_changed: bool = False
    ) -> None:
        """``second`` is a second listener; where ``is_changed``, the model itself is one, with its adapter, and writes
        both listeners' transcripts in one search. Without a text reader (``is_read``) nobody would read what these
        hear, so there are none.
        """
        decode = checkpoint.config.decode
        self._checkpoint = checkpoint
        self._second = second if is_read else None
        self._is_changed = is_changed and is_read
        self._second_share = decode.second_share if self._second is not None or self._is_changed else 0.0
        self._speeds = decode.speeds if is_read else decode.speeds[:1]
        self._second_speeds = decode.second_speeds or decode.speeds

    def replays(self, sounds: Sounds, mels: Sequence[Tensor]) -> list[Replay]:
        """What the model itself hears again, at its other speeds and with its adapter; ``mels`` are the log-mels of the
        sounds as they are.
        """
        share = 1 - self._second_share
        again = [
            Replay(i, mel_of(played, self._checkpoint), share / num_hearings)
            for i, played, num_hearings in _played(sounds, self._speeds, 1)
        ]
        if self._is_changed:
            again += [
                Replay(
                    i,
                    mels[i] if played is sounds[i] else mel_of(played, self._checkpoint),
                    self._second_share / num_hearings,
                    is_changed=True,
                )
                for i, played, num_hearings in _played(sounds, self._second_speeds)
            ]
        return again

    def by_the_second(self, sounds: Sounds) -> list[list[Hearing]]:
        """What the second listener hears of each, at every speed of its own."""
        heard: list[list[Hearing]] = [[] for _ in sounds]
        if self._second is not None:
            all_played = _played(sounds, self._second_speeds)
            transcripts = self._second.transcribe([played for _, played, _ in all_played])
            for (i, _, num_hearings), readings in zip(all_played, transcripts, strict=True):
                heard[i].append(Hearing(readings, self._second_share / num_hearings))
        return heard


def _played(sounds: Sounds, speeds: Sequence[float], first: int = 0) -> list[tuple[int, NDArray[Any], int]]:
    """Speed by speed, from the one with this index on, the place of every sound that is heard at it, its samples as
    played, and at how many of all ``speeds`` it is heard.
    """
    num_hearings = [sum(_fits(samples, speed) for speed in speeds) for samples in sounds]
    return [
        (i, samples if speed == 1 else at_speed(samples, speed), num_hearings[i])
        for speed in speeds[first:]
        for i, samples in enumerate(sounds)
        if _fits(samples, speed)
    ]


def _fits(samples: NDArray[Any], speed: float) -> bool:
    """Whether a recording at this speed is no longer than what is heard at once."""
    return round(len(samples) / speed) <= WINDOW_SAMPLES
