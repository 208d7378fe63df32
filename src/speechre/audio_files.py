"""Which files are recordings, and what each is called: told by their names alone, nothing is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from speechre.errors import UsageError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
UNREAD_SUFFIXES = (
    *(".m4a", ".mp4", ".aac", ".wma", ".webm", ".mov", ".mkv", ".avi", ".3gp", ".amr", ".aif", ".aiff", ".au", ".caf"),
    *(".wv", ".ape", ".spx", ".mka", ".m4v", ".m4b"),
)
"""Of other recordings, audio or video."""


def find_audio_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The audio files that ``paths`` name: files as they are, folders with all below them, sorted, each file
    once, under the name that it came by first.

    In a folder the extension decides (``SUFFIXES``), and hidden files and folders are left out. Raises
    :class:`UsageError` on a path that does not exist, on a folder without an audio file or one that cannot be
    looked into, and when no path is given.
    """
    found: dict[str, Path] = {}  # by where a file really lies
    is_empty = True
    for path in map(Path, paths):
        is_empty = False
        if os.path.isdir(path):
            below = sorted(_walk(path))
            if not below:
                raise UsageError(f"folder {path} holds no audio file; expected one of {' '.join(SUFFIXES)}")
            for one in below:
                found.setdefault(os.path.realpath(one), one)
        elif os.path.exists(path):
            found.setdefault(os.path.realpath(path), path)
        else:
            raise UsageError(f"{path}: no such file or folder; check the path")
    if is_empty:
        raise UsageError("no audio file given; name at least one file or folder")
    return list(found.values())


def find_unread_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files in the folders among ``paths`` that are audio or video by their names, but of formats that are not
    read.
    """
    folders = [path for path in map(Path, paths) if os.path.isdir(path)]
    return sorted({one for folder in folders for one in _walk(folder, UNREAD_SUFFIXES)})


def recording_ids(names: Sequence[str]) -> list[str]:
    """An id for each recording, all different: its name without folder and suffix, or all of it where that is another's
    too, or is what another goes by ("m.wav" and "m.wav.flac").

    Where whole names are alike, which paths never are, numbers tell them apart: ``m.wav`` and ``m.wav#2``.
    """
    stems = [Path(name).stem for name in names]
    counts = Counter(stems)
    whole: set[str] = set()  # names that are ids
    while True:
        more = {name for name, stem in zip(names, stems, strict=True) if not stem or counts[stem] > 1 or stem in whole}
        if more == whole:
            break
        whole = more
    wanted = [name if name in whole else stem for name, stem in zip(names, stems, strict=True)]
    ids: dict[str, None] = {}
    for one in wanted:
        numbered = (f"{one}#{number}" for number in count(2))
        ids[one if one not in ids else next(other for other in numbered if other not in {*wanted, *ids})] = None
    return list(ids)


def _walk(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(
            f"folder {error.filename} cannot be looked into: {error.strerror}; make it readable, or name the files "
            "that you want"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(suffixes):
                yield Path(parent, name)
