"""One part of a long run: which recordings it has, which of them are done, and the files that its rows go to.

Rows are appended as they come and nothing else is written down, so what stands in the file is what is done: after a
crash the torn last row is cut off and the rest goes on.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from speechre.errors import SpeechreError, UsageError
from speechre.types import Extraction, Utterance

# Of file systems without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``number``, from 1 on, of ``count``: every ``count``-th recording, so that all parts are alike.

    >>> shard = Shard.parse("2/3")
    >>> [place for place in range(9) if shard.holds(place)], shard.name
    ([1, 4, 7], 'shard-2-of-3')
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``I/N``. Raises :class:`UsageError`."""
        match = _SHARD.fullmatch(text)
        shard = cls(*map(int, match.groups())) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise UsageError(f'got "{text}", expected I/N: part I, from 1 on, of N, as 1/4')
        return shard

    def holds(self, place: int) -> bool:
        """Whether the recording at ``place`` of the manifest, from 0 on, belongs to this part."""
        return place % self.count == self.number - 1

    @property
    def name(self) -> str:
        """What its files are called; parts sort as they are numbered."""
        return f"shard-{self.number:0{len(str(self.count))}}-of-{self.count}"


class ShardRows:
    """The rows of one part: extractions in one file, what failed in another. See :func:`open_rows`."""

    def __init__(self, rows: FileIO, errors: FileIO, done: set[str]) -> None:
        self._rows = rows
        self._errors = errors
        self.done = done
        """The ids of the recordings whose extraction stands in the file."""

    def forget_failures(self) -> None:
        """What failed before is tried again now."""
        self._errors.truncate(0)

    def add(self, extraction: Extraction) -> None:
        """One recording is done."""
        _append(self._rows, extraction.to_dict())
        self.done.add(extraction.id)

    def fail(self, utterance: Utterance, error: SpeechreError) -> None:
        """One recording cannot be done; it is tried again when the run is started again."""
        source = None if utterance.audio is None else utterance.audio.path
        _append(self._errors, {"id": utterance.id, "source": source, "error": error.to_dict()})


@contextmanager
def open_rows(folder: Path, shard: Shard, ids: Collection[str]) -> Iterator[ShardRows]:
    """The files ``NAME.jsonl`` and ``NAME.errors.jsonl`` of a part, in a folder that is made if need be. ``ids`` are
    the part's recordings.

    While they are open no other process opens them, where the system has locks. Raises :class:`UsageError` if they are
    open already, cannot be written, or hold a line that is no extraction of one of these, or one that is there twice.
    """
    path = folder / f"{shard.name}.jsonl"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Nothing is buffered: a full disk is told by the write that it stops, and by no other.
            rows = stack.enter_context(FileIO(path, "a+"))
            _lock(rows, path)
            done = _done(rows, path, ids)
            errors = stack.enter_context(FileIO(folder / f"{shard.name}.errors.jsonl", "a"))
        except OSError as error:
            raise UsageError(f"{error.filename or path}: cannot be written: {error.strerror or error}") from error
        yield ShardRows(rows, errors, done)
        try:
            os.fsync(rows.fileno())
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _append(file: FileIO, record: Mapping[str, Any]) -> None:
    """One whole row: a crash leaves at most one torn row, at the end."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    left = memoryview(line.encode("utf-8", errors="backslashreplace"))
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise UsageError(f"{file.name}: cannot be written: {error.strerror or error}") from error


def _lock(file: FileIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{path}: another process is writing it; wait for it, or give each its own --shard") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _done(file: FileIO, path: Path, ids: Collection[str]) -> set[str]:
    """The ids of all whole rows; a torn one behind them is cut off."""
    done: set[str] = set()
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            fault = ""
            try:
                row = json.loads(line)
                name, is_whole = row["id"], isinstance(row["triplets"], list)
            except (ValueError, TypeError, KeyError):
                is_whole = False
            if not is_whole:
                fault = "no extraction"
            elif name not in ids:
                fault = f'"{name}" is none of this part\'s recordings'
            elif name in done:
                fault = f'"{name}" is there twice'
            if fault:
                raise UsageError(f"{path}:{number}: {fault}; move the file away to begin anew")
            done.add(name)
            end += len(line)
    file.truncate(end)
    return done
