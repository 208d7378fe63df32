"""Recordings on their way into and out of formats: windows, copies by id, arrays, embedded files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import soundfile

from speechre.audio import audio_frames, read_audio_ref
from speechre.errors import AudioError, DataError, UsageError
from speechre.samples import SAMPLE_RATE_HZ, Samples, from_array
from speechre.types import AudioRef, Utterance


@dataclass(frozen=True, slots=True)
class Window:
    """An utterance's window in its file: in the file's own frames and in seconds."""

    path: str
    rate_hz: int
    num_frames: int
    start_frame: int
    stop_frame: int
    start_s: float
    duration_s: float

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file, up to what manifests round (1 ms)."""
        slack = self.rate_hz / 1000
        return self.start_frame == 0 and self.stop_frame >= self.num_frames - slack

    @property
    def suffix(self) -> str:
        """That of a file with this sound alone, as :func:`embedded` makes it."""
        return Path(self.path).suffix.lower() if self.is_whole else ".flac"


def window_of(utterance: Utterance, name: str) -> Window:
    """Where the sound of an utterance lies.

    Raises :class:`DataError` where there is no recording, which the format ``name`` cannot do without, and
    :class:`AudioError` on a missing or broken one.
    """
    audio = utterance.audio
    if audio is None:
        raise DataError(f'utterance "{utterance.id}" has no recording, which {name} cannot do without; leave it out')
    path = os.path.abspath(audio.path)
    num_frames, rate_hz = audio_frames(path)
    start = round(audio.start_s * rate_hz)
    stop = num_frames if audio.duration_s is None else min(num_frames, start + round(audio.duration_s * rate_hz))
    if start >= stop:
        raise AudioError(f'{path}: the window of utterance "{utterance.id}" is not inside the file; correct start_s')
    duration_s = (num_frames - start) / rate_hz if audio.duration_s is None else audio.duration_s
    return Window(path, rate_hz, num_frames, start, stop, audio.start_s, duration_s)


def safe_name(utterance_id: str) -> str:
    """An id as a file name. Raises :class:`DataError` where it is none."""
    is_bad = not utterance_id or utterance_id[0] == "." or any(c in '/\\\0:*?"<>|' or ord(c) < 32 for c in utterance_id)
    if is_bad or len(utterance_id.encode()) > 200:
        raise DataError(f"the id {utterance_id[:60]!r} cannot name a file; give the utterance another id")
    return utterance_id


def encode_flac(samples: Samples) -> bytes:
    """A FLAC file at 16 kHz: 16 bits where that loses nothing, else 24 bits (within 1.2e-7, full scale being 1).

    Raises :class:`AudioError` on samples beyond full scale, which FLAC cannot hold.
    """
    peak = float(np.abs(samples).max()) if samples.size else 0.0
    if peak > 1.0:
        raise AudioError(f"a peak of {peak:.3f} is beyond full scale")
    scaled = samples * np.float32(32768)
    is_16_bit = bool(np.all(scaled == np.rint(scaled))) and float(scaled.max(initial=0)) <= 32767
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16" if is_16_bit else "PCM_24")
    return buffer.getvalue()


def embedded(utterance: Utterance, name: str) -> tuple[bytes, str, bool]:
    """The bytes of a file with the utterance's sound alone, its suffix, and whether it had to be cut.

    A whole file is taken as it is; a window is cut out as FLAC.
    """
    window = window_of(utterance, name)
    if window.is_whole:
        return Path(window.path).read_bytes(), window.suffix, False
    assert utterance.audio is not None
    return encode_flac(read_audio_ref(utterance.audio)), window.suffix, True


def write_bytes(path: Path, content: bytes) -> None:
    """A whole file or none. Raises :class:`UsageError` naming a path that cannot be written."""
    building = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            building.write_bytes(content)
            os.replace(building, path)
        finally:
            building.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_recordings(recordings: Sequence[tuple[Path, Callable[[], bytes]]], folder: str = "--audio-output") -> None:
    """Recordings that belong together, each a place and what makes its content, which is held no longer than needed.

    Raises :class:`UsageError`, before anything is written, where one would take the place of another recording.
    """
    new = [(path, content) for path, content in recordings if not is_written(path, content, folder)]
    for path, content in new:
        if not is_written(path, content, folder):  # two names may be one place, as where letter case does not count
            write_bytes(path, content())


def is_written(path: Path, content: Callable[[], bytes], folder: str = "--audio-output") -> bool:
    """Whether the recording at ``path`` is this one, byte by byte, as where the same is written a second time.

    Raises :class:`UsageError` where it is another, which is never replaced: it may be the only copy, or one that is
    still to be read. ``folder`` is what people call the place.
    """
    if not os.path.exists(path):
        return False
    try:
        there = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{path}: cannot be read: {reason}; choose an empty folder for {folder}") from error
    if there != content():
        raise UsageError(f"{path} is another recording of that name; choose an empty folder for {folder}")
    return True


def read_npy(path: Path) -> tuple[Samples, int]:
    """The samples of a ``.npy`` file, taken to be 16 kHz, within full scale; and how many had to be clipped for that.

    Nothing is unpickled. Raises :class:`AudioError` on a file that is no such array.
    """
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, MemoryError) as error:
        raise AudioError(f"{path}: no array of samples: {error}") from error
    if not isinstance(array, np.ndarray):
        raise AudioError(f"{path}: an archive of arrays; expected one array (.npy)")
    try:
        samples = from_array(array.squeeze() if array.ndim == 2 and 1 in array.shape else array, SAMPLE_RATE_HZ)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
    num_clipped = int(np.count_nonzero(np.abs(samples) > 1))
    return np.clip(samples, -1, 1), num_clipped


def encode_npy(audio: AudioRef) -> bytes:
    """A window's sound as a ``.npy`` file of float32 at 16 kHz."""
    buffer = io.BytesIO()
    np.save(buffer, read_audio_ref(audio), allow_pickle=False)
    return buffer.getvalue()
