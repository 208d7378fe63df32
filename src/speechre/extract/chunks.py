"""Long recordings in pieces that the model can hear: at most 30 s, cut where nobody speaks.

What fits Whisper's window stays whole. Of longer recordings only speech is kept, and a chunk ends at the first pause
that is long enough: the longer the chunk, the shorter a pause will do. Where there is none in 30 s, it ends at the
quietest place, and the next chunk begins a little before it, so that no word is heard by halves only.

Sound comes block by block and is forgotten once it is cut: memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechre.extract.vad import FRAME_S, FRAME_SAMPLES, SpeechDetector
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.samples import SAMPLE_RATE_HZ, Samples

WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE_HZ
_PIECE_FRAMES = 312  # 10 s: what the detector is given at once, whatever the size of the blocks
_PAD_FRAMES = 8  # 0.26 s of what surrounds speech is kept: weak sounds begin and end it
_OVERLAP_FRAMES = 16  # 0.5 s to either side of a cut through speech
_MIN_SPEECH_FRAMES = 6  # 0.2 s: less is a click
_MAX_FRAMES = WINDOW_SAMPLES // FRAME_SAMPLES - 2 * _PAD_FRAMES
_QUIET_FRAMES = 3  # a cut through speech lies in the quietest tenth of a second
# At these lengths a chunk ends with a pause of so many seconds; between them in proportion.
_LENGTHS_S = (0.0, 5.0, 15.0, 25.0)
_PAUSES_S = (0.7, 0.5, 0.3, 0.16)


@dataclass(frozen=True)
class TimeMap:
    """From a chunk's clock to the recording's own: ``start_s`` to ``end_s``, of which the chunk answers for
    [``own_start_s``, ``own_end_s``); the rest is a neighbour's, heard for context.
    """

    start_s: float
    end_s: float
    own_start_s: float = -np.inf
    own_end_s: float = np.inf

    def to_recording_s(self, chunk_s: float) -> float:
        """Seconds of the recording; silence that was added behind the chunk is its end."""
        return min(self.start_s + chunk_s, self.end_s)

    @property
    def is_shared(self) -> bool:
        """Whether a neighbour hears a part of this chunk too."""
        return self.start_s < self.own_start_s or self.own_end_s < self.end_s

    def owns(self, recording_s: float) -> bool:
        """Whether the chunk answers for this moment."""
        return self.own_start_s <= recording_s < self.own_end_s


@dataclass(frozen=True)
class Chunk:
    """Audio for the model, and where it was in the recording."""

    samples: Samples
    clock: TimeMap

    @property
    def duration_s(self) -> float:
        """How long the model hears it."""
        return len(self.samples) / SAMPLE_RATE_HZ


def cut_at_pauses(
    blocks: Iterable[Samples], make_detector: Callable[[], SpeechDetector], start_s: float = 0.0
) -> Iterator[Chunk]:
    """The chunks of one recording, whose mono samples at 16 kHz come in blocks of any size.

    ``start_s`` is where the first block lies on the recording's own clock. Up to 30 s make one chunk, speech or not.
    """
    tape = _Tape(_small(blocks))
    tape.read(WINDOW_SAMPLES + 1)
    if tape.num_samples <= WINDOW_SAMPLES:
        if tape.num_samples:
            yield Chunk(tape.samples, TimeMap(start_s, start_s + tape.num_samples / SAMPLE_RATE_HZ))
        return
    yield from _Cutter(tape, make_detector(), start_s).chunks()


def _small(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """``blocks`` in pieces of 10 s at most: what is on tape is copied, and an array in memory may be hours."""
    step = _PIECE_FRAMES * FRAME_SAMPLES
    return (block[start : start + step] for block in blocks for start in range(0, len(block), step))


class _Tape:
    """The part of the recording that is still needed."""

    def __init__(self, blocks: Iterator[Samples]) -> None:
        self._blocks = blocks
        self.samples: Samples = np.zeros(0, np.float32)
        self.is_over = False

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    def read(self, num_samples: int) -> None:
        """Have at least so many samples, or all that are left."""
        parts = [self.samples]
        missing = num_samples - self.num_samples
        while missing > 0 and not self.is_over:
            block = next(self._blocks, None)
            self.is_over = block is None
            if block is not None:
                parts.append(block)
                missing -= len(block)
        self.samples = np.concatenate(parts)

    def forget(self, num_samples: int) -> None:
        """Drop the first samples."""
        self.samples = self.samples[num_samples:].copy()


class _Cutter:
    """Cuts a tape of more than 30 s. Positions are frames from the tape's present beginning."""

    def __init__(self, tape: _Tape, detector: SpeechDetector, start_s: float) -> None:
        self._tape = tape
        self._detector = detector
        self._is_speech: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._start_s = start_s
        self._num_forgotten = 0
        self._is_over = False

    def chunks(self) -> Iterator[Chunk]:
        """All of them, in sequence."""
        position, own_start_s = 0, -np.inf
        while True:
            first = position if own_start_s > -np.inf else self._find_speech(position)
            if first is None:
                return
            self._listen(first + _MAX_FRAMES + 1)
            speech = self._is_speech[first : first + _MAX_FRAMES]
            pause = choose_pause(speech, self._is_over and first + _MAX_FRAMES >= len(self._is_speech))
            overlap, own_end_s = 0, np.inf
            if pause is None:
                cut = self._quietest(first)
                pause, overlap, own_end_s = (cut, cut), _OVERLAP_FRAMES, self._second(first + cut)
            end, following = pause
            start = first if own_start_s > -np.inf else max(0, first - _PAD_FRAMES)
            stop = first + (end + overlap if overlap else min(end + _PAD_FRAMES, following))
            if int(speech[:end].sum()) >= _MIN_SPEECH_FRAMES:
                yield self._chunk(start, stop, own_start_s, own_end_s)
            following += first
            position = following - self._forget(following - overlap if overlap else max(stop, following - _PAD_FRAMES))
            position, own_start_s = position - overlap, own_end_s if overlap else -np.inf

    def _find_speech(self, position: int) -> int | None:
        """The first frame of speech from ``position`` on; None when nobody speaks any more."""
        while True:
            found = np.flatnonzero(self._is_speech[position:])
            if len(found):
                return position + int(found[0])
            if self._is_over:
                return None
            position = len(self._is_speech)
            position -= self._forget(max(0, position - _PAD_FRAMES))
            self._listen(position + 1)

    def _listen(self, num_frames: int) -> None:
        """Have heard so many frames, or all that are left; a last frame that is not full is filled with silence."""
        while len(self._is_speech) < num_frames and not self._is_over:
            heard = len(self._is_speech) * FRAME_SAMPLES
            self._tape.read(heard + _PIECE_FRAMES * FRAME_SAMPLES)
            piece = self._tape.samples[heard : heard + _PIECE_FRAMES * FRAME_SAMPLES]
            self._is_over = len(piece) < _PIECE_FRAMES * FRAME_SAMPLES
            whole = np.pad(piece, (0, -len(piece) % FRAME_SAMPLES))
            if len(whole):
                self._is_speech = np.concatenate([self._is_speech, self._detector(whole)])

    def _forget(self, num_frames: int) -> int:
        self._tape.forget(num_frames * FRAME_SAMPLES)
        self._is_speech = self._is_speech[num_frames:]
        self._num_forgotten += num_frames
        return num_frames

    def _quietest(self, first: int) -> int:
        """The frame, counted from ``first``, in the middle of the quietest tenth of a second of the last third."""
        start, stop = _MAX_FRAMES * 2 // 3, _MAX_FRAMES - _OVERLAP_FRAMES
        samples = self._tape.samples[(first + start) * FRAME_SAMPLES : (first + stop) * FRAME_SAMPLES]
        energy = np.square(samples.astype(np.float64)).reshape(-1, FRAME_SAMPLES).sum(axis=1)
        return start + int(np.argmin(np.convolve(energy, np.ones(_QUIET_FRAMES), "valid"))) + _QUIET_FRAMES // 2

    def _second(self, frame: int) -> float:
        return self._start_s + (self._num_forgotten + frame) * FRAME_S

    def _chunk(self, start: int, stop: int, own_start_s: float, own_end_s: float) -> Chunk:
        samples = self._tape.samples[start * FRAME_SAMPLES : stop * FRAME_SAMPLES].copy()
        start_s = self._second(start)
        return Chunk(samples, TimeMap(start_s, start_s + len(samples) / SAMPLE_RATE_HZ, own_start_s, own_end_s))


def choose_pause(is_speech: NDArray[np.bool_], is_end: bool) -> tuple[int, int] | None:
    """Where a chunk that begins with frame 0 ends, and where what follows begins; None when it must be cut through
    speech.

    ``is_speech`` has the frames of the longest chunk, or, with ``is_end``, all that are left.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[True], is_speech, [True]]).astype(np.int8)))
    pauses = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if a]
    for start, stop in pauses:
        needed_s = float(np.interp(start * FRAME_S, _LENGTHS_S, _PAUSES_S))
        if (stop - start) * FRAME_S >= needed_s:
            return start, stop
    if is_end:
        end = pauses[-1][0] if pauses and pauses[-1][1] == len(is_speech) else len(is_speech)
        return end, len(is_speech)
    late = [pause for pause in pauses if pause[0] >= len(is_speech) // 3 and pause[1] - pause[0] >= _QUIET_FRAMES]
    return max(late, key=lambda pause: pause[1] - pause[0], default=None)
