"""The files of a Common Voice release, row by row.

A release has one folder for each language, with ``clips/*.mp3``, one table for each split and, in newer ones,
``clip_durations.tsv`` (columns ``clip`` and ``duration[ms]``). Tables are tab-separated, UTF-8 and unquoted: one line
is one row, and a quotation mark is part of the field. Their columns grew with the releases:

====================  =====================================================================================
release               columns of ``validated.tsv``
====================  =====================================================================================
3 and 4 (2019)        client_id path sentence up_votes down_votes age gender accent
5 to 7 (2020, 2021)   the same, then locale segment
8 to 12 (2022)        the same, but accents in place of accent
13 to 16 (2023)       the same, with variant behind accents
17 (2024) on          client_id path sentence_id sentence sentence_domain up_votes down_votes age gender
                      accents variant locale segment
====================  =====================================================================================

Columns are found by name, in any sequence; only client_id, path, sentence and the votes must be there. Columns that
later releases add come along under their own names. In the oldest releases of some languages ``path`` has no extension.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from speechre.errors import DataError

REQUIRED = ("client_id", "path", "sentence", "up_votes", "down_votes")
RENAMED: Mapping[str, str] = MappingProxyType({"accent": "accents"})
"""Old name of a column -> its name since."""
CLIPS = "clips"
DURATIONS = "clip_durations.tsv"
_MAX_NAME_BYTES = 250
"""File systems take 255; a missing extension is added."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recording as its table describes it. ``line`` counts from 1, the header being line 1."""

    line: int
    clip: str
    speaker: str
    sentence: str
    up_votes: int
    down_votes: int
    other: Mapping[str, str]
    """The other columns under their newest names, empty ones left out."""

    @property
    def id(self) -> str:
        """The recording's name without its extension."""
        return self.clip[: -len(".mp3")]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is no row, what its second field (the recording's name) holds, and what is wrong."""

    line: int
    clip: str
    reason: str


@dataclass(frozen=True)
class Release:
    """One language's folder of a release, and the split that is read of it."""

    folder: Path
    split: str

    @property
    def table(self) -> Path:
        return self.folder / f"{self.split}.tsv"

    @property
    def durations(self) -> Path:
        """The table of durations; older releases have none."""
        return self.folder / DURATIONS

    def clip(self, name: str) -> Path:
        return self.folder / CLIPS / name


def open_release(folder: Path, split: str = "validated") -> Release:
    """The release in ``folder``. Raises :class:`DataError`, with a hint, if the split's table is not there."""
    release = Release(folder, split)
    if not split or Path(split).name != split:
        raise DataError(f'"{split}" is no split; expected the name of a table without .tsv, as validated or train')
    if os.path.isfile(release.table):
        return release
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; expected one language of a Common Voice release")
    below = sorted(path.parent for path in folder.glob(f"*/{split}.tsv"))
    tables = sorted(path.stem for path in folder.glob("*.tsv") if path.name != DURATIONS)
    if below:
        hint = f"name a language's folder, as {below[0]}"
    elif tables:
        hint = f"it has the splits {', '.join(tables)}"
    else:
        hint = f"expected one language of a Common Voice release: {split}.tsv, {CLIPS}/ and {DURATIONS}"
    raise DataError(f"{folder}: there is no {split}.tsv; {hint}")


class Table:
    """A tab-separated file whose lines can be read on from any byte. Raises :class:`DataError` if it has no header."""

    def __init__(self, path: Path, required: Sequence[str]) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                raw = file.readline()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.header_bytes = len(raw)
        try:
            names = raw.decode("utf-8-sig").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:1: not UTF-8; is this a table of a Common Voice release?") from error
        self.columns = [RENAMED.get(name, name) for name in names]
        for name in required:
            if name not in self.columns:
                raise DataError(f'{path}:1: no column "{name}"; expected tab-separated {", ".join(required)}')
        if len(set(self.columns)) < len(self.columns):
            raise DataError(f"{path}:1: a column stands twice in {names}; rename one")

    def lines(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        """The lines behind byte ``offset`` (the header, if it lies before it, is left out), each with where it ends."""
        end = max(offset, self.header_bytes)
        with self.path.open("rb") as file:
            file.seek(end)
            for raw in file:
                end += len(raw)
                yield end, raw

    def fields(self, raw: bytes) -> list[str]:
        """A line's fields. Raises ``ValueError``, saying why, if it has not one for each column."""
        try:
            values = raw.decode("utf-8").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from error
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} fields, the header has {len(self.columns)}")
        return values


class SplitTable(Table):
    """The table of a split. Raises :class:`DataError` if a column of ``REQUIRED`` is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, REQUIRED)
        self._positions = [self.columns.index(name) for name in REQUIRED]
        self._others = [(i, name) for i, name in enumerate(self.columns) if name not in REQUIRED]

    def row(self, line: int, raw: bytes) -> Row | BadRow:
        """The row that ``raw`` holds, or what is wrong with it."""
        clip = ""
        try:
            values = self.fields(raw)
            speaker, clip, sentence, up_votes, down_votes = (values[i].strip() for i in self._positions)
            return Row(
                line,
                clip_name(clip),
                _not_empty(speaker, "client_id"),
                unquote(sentence),
                _votes(up_votes, "up_votes"),
                _votes(down_votes, "down_votes"),
                {name: value for i, name in self._others if (value := values[i].strip())},
            )
        except ValueError as error:
            return BadRow(line, clip, str(error))


def iter_durations(path: Path) -> Iterator[tuple[str, float]]:
    """Each recording's name and length in seconds. Raises :class:`DataError` on a line that says something else."""
    table = Table(path, ("clip", "duration[ms]"))
    clip_at, duration_at = table.columns.index("clip"), table.columns.index("duration[ms]")
    for line, (_, raw) in enumerate(table.lines(), start=2):
        try:
            values = table.fields(raw)
            duration_s = float(values[duration_at]) / 1000
            if not 0 <= duration_s < float("inf"):
                raise ValueError(f'a duration of "{values[duration_at]}" ms')
            yield clip_name(values[clip_at].strip()), duration_s
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}; correct the line or take the file away") from error


def clip_name(path: str) -> str:
    """The file's name in ``clips/``. Raises ``ValueError`` unless it is a plain name."""
    if not path or path in (".", "..") or "/" in path or "\\" in path or "\0" in path:
        raise ValueError(f'the path "{path}" is not the name of a recording')
    if len(path.encode()) > _MAX_NAME_BYTES:
        raise ValueError(f"the path has {len(path.encode())} bytes; no file's name is so long")
    return path if path.lower().endswith(".mp3") else f"{path}.mp3"


def unquote(sentence: str) -> str:
    """A sentence without the quotation marks that stand around the whole of it.

    Many sentences came to Common Voice out of spreadsheets, in quotes and with those inside doubled.

    >>> unquote('"He said ""no"" to Ann."'), unquote('"Yes," said Ann, "no."')
    ('He said "no" to Ann.', '"Yes," said Ann, "no."')
    """
    inner = sentence[1:-1]
    if len(sentence) < 2 or sentence[0] != '"' or sentence[-1] != '"' or '"' in inner.replace('""', ""):
        return sentence
    return inner.replace('""', '"').strip()


def _not_empty(value: str, column: str) -> str:
    if not value:
        raise ValueError(f"{column} is empty")
    return value


def _votes(value: str, column: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ValueError(f'{column} is "{value}"; expected a whole number')
    return int(value)
