"""What a search for candidates has seen so far: on disk, so that it fits any number of rows and outlives the process.

The ledger is a folder beside the manifest that is being built: a SQLite file and the two files that grow. Rows are
settled in chunks; after each, both files are flushed and one transaction records how far everything has come. Whatever
kills the process, what was written behind the last such record is cut off again when the search goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from speechre.errors import DataError, UsageError

_CACHE_KIB = 32 * 1024  # of SQLite, whatever the number of rows
_TABLES = """
CREATE TABLE settings (one TEXT);
CREATE TABLE progress (offset INTEGER, line INTEGER, kept INTEGER, kept_bytes INTEGER, dropped_bytes INTEGER,
                       is_done INTEGER);
CREATE TABLE reason (code TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE TABLE sentence (digest BLOB PRIMARY KEY, reason TEXT, line INTEGER) WITHOUT ROWID;
CREATE TABLE speaker (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE TABLE clip (name TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID;
CREATE TABLE duration (name TEXT PRIMARY KEY, seconds REAL) WITHOUT ROWID;
INSERT INTO progress VALUES (0, 1, 0, 0, 0, 0);
"""


@dataclass
class Progress:
    """How far a search has come: the byte and the line of the table behind the last settled row, what was written."""

    offset: int = 0
    line: int = 1
    kept: int = 0
    kept_bytes: int = 0
    dropped_bytes: int = 0
    is_done: bool = False


class Ledger:
    """Open it in a ``with``; a folder left by an interrupted search is taken up again.

    Raises :class:`UsageError` if the search that left it had other ``settings``, or is still running, and
    :class:`DataError` if the folder is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.kept_path = folder / "kept.jsonl"
        self.dropped_path = folder / "dropped.tsv"
        self._settings = json.dumps(settings, sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.is_resumed = (folder / "ledger.sqlite").exists()
        self._database = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None, timeout=0)
        self._files: list[BinaryIO] = []
        self.progress = Progress()
        self.reasons: dict[str, int] = {}

    def __enter__(self) -> Ledger:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            if "locked" in str(error):
                raise UsageError(f"{self.folder}: another search is writing there; wait for it to end") from error
            raise DataError(f"{self.folder}: damaged ({error}); start again with --restart") from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all files; what was not settled is forgotten."""
        for file in self._files:
            file.close()
        self._files = []
        self._database.close()

    def _open(self) -> None:
        run = self._database.execute
        run(f"PRAGMA cache_size = -{_CACHE_KIB}")
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        if run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _TABLES.split(";\n"):
                run(statement)
            run("INSERT INTO settings VALUES (?)", (self._settings,))
        self.progress = Progress(*run("SELECT * FROM progress").fetchone())
        self.progress.is_done = bool(self.progress.is_done)
        (before,) = run("SELECT one FROM settings").fetchone()
        if before != self._settings and self.progress.line == 1:  # it never got anywhere: nothing is lost
            run("DELETE FROM duration")
            run("UPDATE settings SET one = ?", (self._settings,))
        elif before != self._settings:
            raise UsageError(
                f"{self.folder} holds an unfinished search with other settings: {_difference(before, self._settings)}; "
                "use the same, or start again with --restart"
            )
        self.reasons = dict(run("SELECT code, number FROM reason"))
        if not self.progress.is_done:
            for path, size in (
                (self.kept_path, self.progress.kept_bytes),
                (self.dropped_path, self.progress.dropped_bytes),
            ):
                self._files.append(_cut(path, size))
        run("COMMIT")
        run("BEGIN IMMEDIATE")

    # --- what was seen ---

    def sentence(self, digest: bytes) -> tuple[str, int] | None:
        """Why the sentence was dropped ("" if it was kept) and in which line; None for a new one."""
        row = self._database.execute("SELECT reason, line FROM sentence WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else (str(row[0]), int(row[1]))

    def note_sentence(self, digest: bytes, reason: str, line: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO sentence VALUES (?, ?, ?)", (digest, reason, line))

    def num_of_speaker(self, speaker: str) -> int:
        """How many recordings of this speaker are kept."""
        row = self._database.execute("SELECT number FROM speaker WHERE name = ?", (speaker,)).fetchone()
        return 0 if row is None else int(row[0])

    def line_of_clip(self, clip_id: str) -> int | None:
        """The line of the table that brought this recording in, if one did."""
        row = self._database.execute("SELECT line FROM clip WHERE name = ?", (clip_id,)).fetchone()
        return None if row is None else int(row[0])

    def has_durations(self) -> bool:
        return self._database.execute("SELECT 1 FROM duration LIMIT 1").fetchone() is not None

    def note_durations(self, durations: Iterable[tuple[str, float]]) -> None:
        """All at once, or none if interrupted."""
        self._database.executemany("INSERT OR REPLACE INTO duration VALUES (?, ?)", durations)
        self._commit()

    def duration_s(self, clip: str) -> float | None:
        row = self._database.execute("SELECT seconds FROM duration WHERE name = ?", (clip,)).fetchone()
        return None if row is None else float(row[0])

    # --- what was decided ---

    def keep(self, line: str, clip_id: str, speaker: str, row_line: int) -> None:
        """A line of the manifest."""
        self.progress.kept += 1
        self.progress.kept_bytes += self._files[0].write(line.encode("utf-8"))
        self._database.execute("INSERT INTO clip VALUES (?, ?)", (clip_id, row_line))
        self._database.execute(
            "INSERT INTO speaker VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET number = number + 1", (speaker,)
        )

    def drop(self, line: str, reason: str) -> None:
        """A line of the table of what was dropped."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.write_dropped(line)

    def write_dropped(self, line: str) -> None:
        self.progress.dropped_bytes += self._files[1].write(line.encode("utf-8"))

    def settle(self, offset: int, line: int, is_done: bool = False) -> None:
        """Everything up to here is decided: write it down for good."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        self.progress.offset, self.progress.line, self.progress.is_done = offset, line, is_done
        now = self.progress
        self._database.execute(
            "UPDATE progress SET offset = ?, line = ?, kept = ?, kept_bytes = ?, dropped_bytes = ?, is_done = ?",
            (now.offset, now.line, now.kept, now.kept_bytes, now.dropped_bytes, now.is_done),
        )
        self._database.executemany("INSERT OR REPLACE INTO reason VALUES (?, ?)", self.reasons.items())
        self._commit()

    def _commit(self) -> None:
        self._database.execute("COMMIT")
        self._database.execute("BEGIN IMMEDIATE")

    def publish(self, kept: Path, dropped: Path) -> None:
        """Move both files to their places (those that an interrupted move left) and remove the folder."""
        for file in self._files:
            file.close()
        self._files = []
        for source, target in ((self.dropped_path, dropped), (self.kept_path, kept)):
            if source.exists():
                os.replace(source, target)
        self.close()
        discard_ledger(self.folder)


def discard_ledger(folder: Path) -> None:
    """Remove what an interrupted search left, if it left anything.

    The database goes last: without it, a folder is one that nobody began.
    """
    for name in ("kept.jsonl", "dropped.tsv"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def digest_of(text: str) -> bytes:
    """128 bits that stand for a text: enough that no two of a billion share them."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _cut(path: Path, size: int) -> BinaryIO:
    """``path`` opened at its end, which is at ``size``."""
    file = path.open("ab")
    if file.tell() < size:
        file.close()
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected at least {size}; start again with --restart")
    file.truncate(size)
    return file


def _difference(before: str, now: str) -> str:
    old, new = json.loads(before), json.loads(now)
    return ", ".join(f"{key} was {old.get(key)!r}" for key in {**old, **new} if old.get(key) != new.get(key))
