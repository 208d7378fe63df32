"""The ONE guarded decoder: any WAV, FLAC, Ogg Vorbis/Opus or MP3 to 16 kHz mono float32, or an error that
says why not.

What comes back is the sound that is in the file, all of it: nothing is padded, patched, cut or replaced by
silence. Everything is decoded in blocks, so that a header with absurd claims cannot make the process allocate
for them.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from speechre.containers import MAX_CHANNELS, Container, inspect_container
from speechre.errors import AudioError
from speechre.samples import BLOCK_FRAMES, Mix, Samples, check_rate, resampled
from speechre.types import AudioRef

try:
    import soundfile
except (ImportError, OSError) as error:  # OSError: the package is there, the libsndfile library is not
    raise AudioError(
        f'cannot decode audio: {error}; install the libraries with "pip install soundfile soxr" (where that '
        'brings no libsndfile: "apt install libsndfile1")'
    ) from error

MAX_DURATION_S = 2 * 3600.0
"""The longest sound that one call returns (461 MB as float32); read longer files in windows."""
MAX_BYTES = 2 * 1024**3
MAX_STREAM_BYTES = 64 * 1024**3
"""The largest file on disk that is read block by block."""
WINDOW_SLACK_S = 0.02
"""How far a window may reach beyond the end of the file: manifests round durations."""

_PCM = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
# What is decoded. ADPCM is left out on purpose: libsndfile 1.2.2 has an open fault there.
CODECS: dict[str, frozenset[str]] = {
    "WAV": frozenset(_PCM),
    "WAVEX": frozenset(_PCM),
    "FLAC": frozenset({"PCM_S8", "PCM_16", "PCM_24"}),
    "OGG": frozenset({"VORBIS", "OPUS"}),
    "MP3": frozenset({"MPEG_LAYER_III"}),
}

AudioSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
_MP3_PREROLL_S = 1.0  # a tenth was needed at 16 to 48 kHz and 24 kbit/s or more


def read_audio(
    source: AudioSource,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
    max_bytes: int = MAX_BYTES,
    name: str | None = None,
) -> Samples:
    """Decodes ``source`` (a path, the bytes of a file, or a binary file object) to float32 mono at 16 kHz:
    (samples,).

    ``start_s`` and ``duration_s`` choose a window in seconds; channels are averaged. ``name`` stands in
    messages where the source has none. Raises :class:`AudioError` when the file is missing, of an unsupported
    format or codec, truncated, damaged, empty, larger than ``max_bytes`` or longer than ``max_duration_s``;
    when it holds NaN or infinite samples, or channels that cancel each other; and when the window is not inside
    it (a window may reach 0.02 s beyond the end: manifests round).
    """
    name = name or _name_of(source)
    _check_window(name, start_s, duration_s)
    with _open_source(source, name, max_bytes) as file, _open_decoder(file, name) as decoder:
        rate_hz = int(decoder.samplerate)
        first, stop = _window_frames(decoder, name, start_s, duration_s)
        if (stop - first) / rate_hz > max_duration_s:
            raise AudioError(
                f"{name}: too long: {(stop - first) / rate_hz:.1f} s; at most {max_duration_s:g} s are read "
                "at once; read it in windows (start_s, duration_s) or in blocks (read_blocks), or raise max_duration_s"
            )
        return np.concatenate(list(resampled(_mono_blocks(decoder, name, first, stop), rate_hz, name)))


def read_blocks(
    source: AudioSource,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    max_bytes: int | None = None,
    name: str | None = None,
) -> Iterator[Samples]:
    """The sound of :func:`read_audio` piece by piece, in constant memory whatever its length: (samples,) each.

    Blocks are of any size, none is empty; joined they are what :func:`read_audio` returns. The file is opened when the
    first is asked for, and faults are raised where they are met: a FLAC file that is cut off gives the blocks before.
    The limit is :data:`MAX_STREAM_BYTES` for a path, :data:`MAX_BYTES` for what is in memory anyway.
    """
    name = name or _name_of(source)
    _check_window(name, start_s, duration_s)
    if max_bytes is None:
        max_bytes = MAX_STREAM_BYTES if isinstance(source, (str, os.PathLike)) else MAX_BYTES
    with _open_source(source, name, max_bytes) as file, _open_decoder(file, name) as decoder:
        first, stop = _window_frames(decoder, name, start_s, duration_s)
        yield from resampled(_mono_blocks(decoder, name, first, stop), int(decoder.samplerate), name)


def read_audio_ref(audio: AudioRef) -> Samples:
    """The window of a file that an utterance points at; as :func:`read_audio`."""
    return read_audio(audio.path, start_s=audio.start_s, duration_s=audio.duration_s)


def audio_duration_s(source: AudioSource, *, max_bytes: int = MAX_BYTES, name: str | None = None) -> float:
    """The length of the sound in seconds, without decoding it; raises as :func:`audio_frames` does."""
    num_frames, rate_hz = audio_frames(source, max_bytes=max_bytes, name=name)
    return num_frames / rate_hz


def audio_frames(source: AudioSource, *, max_bytes: int = MAX_BYTES, name: str | None = None) -> tuple[int, int]:
    """The number of frames and the sampling rate in Hz, without decoding the sound.

    The header is checked against the file first, so a WAV, Ogg or MP3 file that ends early raises
    :class:`AudioError` like any other fault of :func:`read_audio`; the end of a FLAC file and NaN samples
    show only when it is decoded.
    """
    name = name or _name_of(source)
    with _open_source(source, name, max_bytes) as file, _open_decoder(file, name) as decoder:
        return int(decoder.frames), int(decoder.samplerate)


# --- opening ------------------------------------------------------------------------------------------------


def _name_of(source: AudioSource) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) or '""'
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file object>"


def _open_source(source: AudioSource, name: str, max_bytes: int) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source), name, max_bytes)
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    elif hasattr(source, "read"):
        try:
            content = source.read(max_bytes + 1)
        except (OSError, ValueError) as error:  # closed, open for writing only, opened as text, a broken connection
            raise AudioError(
                f'{name}: the file object cannot be read: {error}; expected one that is open with mode "rb"'
            ) from error
        if not isinstance(content, bytes):
            raise AudioError(
                f'{name}: the file object gives {type(content).__name__}, not bytes; open it with mode "rb"'
            )
    else:
        raise AudioError(
            f"cannot read audio from {type(source).__name__}; expected a path, bytes or a binary file object"
        )
    if len(content) > max_bytes:
        raise AudioError(f"{name}: too large: more than the limit of {max_bytes} bytes; cut it or raise max_bytes")
    return io.BytesIO(content)


def _open_path(path: Path, name: str, max_bytes: int) -> BinaryIO:
    try:
        if path.is_dir():
            raise AudioError(f"{name}: this is a folder; name an audio file in it")
        if path.exists() and not path.is_file():
            raise AudioError(f"{name}: not a regular file; expected an audio file")
        size = path.stat().st_size
        if size > max_bytes:
            raise AudioError(f"{name}: too large: {size} bytes, the limit is {max_bytes}; cut it or raise max_bytes")
        return path.open("rb")
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise AudioError(f"{name}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error


class _Window:
    """The part of a file that the container check let through, as the file object that soundfile wants."""

    def __init__(self, file: BinaryIO, container: Container) -> None:
        self._file = file
        self._prefix = container.prefix
        self._start = container.start
        self._size = len(container.prefix) + container.stop - container.start
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._position, 2: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        count = left if count < 0 else min(count, left)
        out = self._prefix[self._position : self._position + count]
        if len(out) < count:
            self._file.seek(self._start + self._position + len(out) - len(self._prefix))
            out += self._file.read(count - len(out))
        self._position += len(out)
        return out


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """A decoder that goes on where it is. After each read soundfile seeks to where that ended, and a decoder of MP3
    that is told to seek begins anew, with garbage (:func:`_seek`).
    """

    def seekable(self) -> bool:
        return False


def _open_decoder(file: BinaryIO, name: str) -> Any:
    try:
        container = inspect_container(file, name)
    except OSError as error:
        raise AudioError(f"{name}: cannot be read: {error.strerror or error}") from error
    try:
        decoder = _Decoder(_Window(file, container))
    except soundfile.SoundFileError as error:
        raise AudioError(f"{name}: damaged {container.kind} file: {_reason(error)}; make or copy it again") from error
    try:
        _check_decoder(decoder, name)
    except AudioError:
        decoder.close()
        raise
    return decoder


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", error))
    return text.removeprefix("Error : ").rstrip(".")


def _check_decoder(decoder: Any, name: str) -> None:
    if decoder.subtype not in CODECS.get(decoder.format, ()):
        raise AudioError(
            f"{name}: unsupported codec {decoder.format}/{decoder.subtype}; expected WAV, FLAC, Ogg "
            'Vorbis/Opus or MP3; convert it with "ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"'
        )
    if not 1 <= decoder.channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: {decoder.channels} channels; expected 1 to {MAX_CHANNELS}")
    check_rate(decoder.samplerate, name)
    if decoder.frames <= 0:
        raise AudioError(f"{name}: the file holds no sound (0 frames); record or export it again")


def _check_window(name: str, start_s: float, duration_s: float | None) -> None:
    if not math.isfinite(start_s) or start_s < 0:
        raise AudioError(f"{name}: start_s is {start_s}; expected seconds from 0 on")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise AudioError(
            f"{name}: duration_s is {duration_s}; expected more than 0 seconds, or none for the whole file"
        )


def _window_frames(decoder: Any, name: str, start_s: float, duration_s: float | None) -> tuple[int, int]:
    """The window as a half-open span of the file's own frames."""
    rate_hz, num_frames = int(decoder.samplerate), int(decoder.frames)
    first = round(start_s * rate_hz)
    stop = num_frames if duration_s is None else first + max(1, round(duration_s * rate_hz))
    if first >= num_frames or stop - num_frames > WINDOW_SLACK_S * rate_hz:
        end = "its end" if duration_s is None else f"{start_s + duration_s:g} s"
        raise AudioError(
            f"{name}: the window from {start_s:g} s to {end} is not inside the file, which is "
            f"{num_frames / rate_hz:.3f} s long; correct start_s and duration_s"
        )
    return first, min(stop, num_frames)


# --- sound --------------------------------------------------------------------------------------------------


def _mono_blocks(decoder: Any, name: str, first: int, stop: int) -> Iterator[Samples]:
    """Decodes frames [first, stop) in blocks of mono samples (frames,)."""
    position, mix = first, Mix(name)
    try:
        if first:
            _seek(decoder, first)
        while position < stop:
            block = decoder.read(min(BLOCK_FRAMES, stop - position), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            yield mix.to_mono(block, position, int(decoder.samplerate))
            position += len(block)
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{name}: truncated or damaged after {position / decoder.samplerate:.3f} s: {_reason(error)}; "
            "copy or download it again"
        ) from error
    if position < stop:
        raise AudioError(
            f"{name}: truncated: the header promises {stop / decoder.samplerate:.3f} s, but the sound ends "
            f"after {position / decoder.samplerate:.3f} s; copy or download it again"
        )
    mix.check()


def _seek(decoder: Any, first: int) -> None:
    """The next frame that is read is ``first``.

    A frame of MP3 is made of bits that stand before it too, so a decoder that starts in the middle plays garbage until
    it has met enough of them: here it starts earlier, and what it says first is thrown away.
    """
    if decoder.format != "MP3":
        decoder.seek(first)
        return
    before = max(0, first - round(_MP3_PREROLL_S * decoder.samplerate))
    decoder.seek(before)
    while before < first:
        thrown = len(decoder.read(min(BLOCK_FRAMES, first - before), dtype="float32"))
        if not thrown:
            return
        before += thrown
