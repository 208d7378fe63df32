"""Recordings of any kind, opened to be heard block by block."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from speechre.audio import read_blocks
from speechre.errors import AudioError, UsageError
from speechre.samples import Samples, from_array
from speechre.types import Utterance

BYTES = (bytes, bytearray, memoryview)
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | io.IOBase | tuple[Any, int] | Utterance
"""One recording: a path, the bytes of a file, an open file, (array, rate in Hz), or an utterance with audio."""


@dataclass(frozen=True)
class Recording:
    """One recording that was heard to its end."""

    id: str
    source: str
    duration_s: float


@dataclass(frozen=True)
class OpenRecording:
    """One recording to be heard: mono float32 blocks at 16 kHz, each given once.

    ``start_s`` is where the first block lies on the clock of ``source``: an utterance may be a window of a file.
    """

    id: str
    source: str
    blocks: Iterator[Samples]
    start_s: float = 0.0


def source_name(source: Source, number: int) -> str:
    """What a recording is called in messages; ``number`` names those without a name of their own."""
    if isinstance(source, Utterance):
        return source.id
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"recording-{number}"


def is_open_file(source: Any) -> bool:
    """Also one in a wrapper, as ``tempfile`` gives it."""
    return isinstance(source, io.IOBase) or callable(getattr(source, "read", None))


def open_recording(source: Source, number: int = 0) -> OpenRecording:
    """Open one recording. Raises :class:`AudioError`, here or when its blocks are asked for, and :class:`UsageError` on
    what is none of :data:`Source`.
    """
    name = source_name(source, number)
    if isinstance(source, Utterance):
        audio = source.audio
        if audio is None:
            raise AudioError(f'utterance "{source.id}" has no audio')
        blocks = read_blocks(audio.path, start_s=audio.start_s, duration_s=audio.duration_s)
        return OpenRecording(source.id, audio.path, blocks, audio.start_s)
    if isinstance(source, str | os.PathLike):
        return OpenRecording(Path(source).stem, name, read_blocks(source))
    given: Any = source  # whatever a caller without types may pass
    if isinstance(given, tuple) and len(given) == 2:
        return OpenRecording(name, "array", iter([from_array(*given)]))
    if isinstance(given, BYTES):
        return OpenRecording(name, "bytes", read_blocks(given))
    if is_open_file(given):
        return OpenRecording(name, "file", read_blocks(cast("BinaryIO", given)))
    hint = "; pair an array with its sampling rate: (array, 16000)" if hasattr(given, "shape") else ""
    if isinstance(given, tuple):
        hint = "; several recordings are a list"
    expected = "a path, bytes, an open file, (array, rate) or an Utterance"
    raise UsageError(f"{name}: got {type(given).__name__}; expected {expected}{hint}")
