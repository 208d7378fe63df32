"""What commands write: data to stdout or a file, messages and progress to stderr.

Text that came from outside (file names, transcripts, annotations) never reaches a terminal as control
characters.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from speechre.data.store import open_replacement, replacement_of
from speechre.errors import SpeechreError, UsageError
from speechre.page.table import Table
from speechre.page.times import said_at
from speechre.types import Entity, Extraction

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WIDE = 10_000  # columns where no terminal sets a limit: programs that read a table want whole lines

_Item = TypeVar("_Item")


def one_line(text: str) -> str:
    """``text`` with control characters and line ends as escapes: one line, harmless to a terminal."""
    return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


def message(text: str) -> None:
    """One line for people, on stderr."""
    if sys.stderr is not None:  # closed by whoever called; print would take stdout, which is for data
        print(one_line(text), file=sys.stderr, flush=True)


def report_error(error: SpeechreError) -> None:
    """An error as its one line: the kind, then what, where and what to do."""
    message(f"{type(error).__name__}: {error}")


class Output:
    """Where a command's data goes, and the name of that place for errors."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.file = file
        self.name = name
        self.is_void = False
        """Whether nothing came of the command, so that a file in the place stays as it was."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads along."""
        return self.file.isatty()

    def write(self, text: str) -> None:
        """Write and flush. Raises :class:`UsageError` when the place is full or gone."""
        try:
            self.file.write(text)
            self.file.flush()
        except BrokenPipeError:
            raise  # the reader has seen enough: main ends without a word
        except OSError as error:
            if self.file is sys.stdout:
                discard_stdout()
            raise _cannot_write(self.name, error) from error

    def write_json(self, record: Mapping[str, Any]) -> None:
        """One JSON object on a line of its own."""
        self.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def discard_stdout() -> None:
    """Point stdout, which cannot be written any more, at nothing: Python flushes it once more at exit."""
    if sys.__stdout__ is not None and sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """Standard output, or a file that appears whole or not at all, with the permissions of one that it replaces.

    Opening proves that the place can be written, so open it before loading a model. What is not a regular
    file (a pipe, a device, /dev/stdout) is written as it comes. Raises :class:`UsageError`.
    """
    if path is None:
        if sys.stdout is None:
            raise UsageError("standard output: cannot be written: it is closed; open it, or name a file with --output")
        yield Output(sys.stdout, "standard output")
        return
    try:
        _check_target(path)
        is_special = path.exists() and not path.is_file()
        if is_special:  # as it was given: /dev/fd/63 leads to a pipe, which has no path of its own
            target = building = path
            # A lone surrogate (a file name that is not UTF-8) is written as JSON's own escape of it.
            file: TextIO = path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        else:
            target, building = replacement_of(path)
            file = open_replacement(building, target)
    except (OSError, ValueError) as error:
        raise _cannot_write(str(path), error) from error
    try:
        try:
            output = Output(file, str(path))
            yield output
        finally:
            _close(file, path)
        if not is_special and not output.is_void:
            _replace(building, target, path)
    finally:
        if not is_special:
            building.unlink(missing_ok=True)


def _check_target(path: Path) -> None:
    """Raises ``OSError`` on a place that cannot be written, with a reason that says more than the system's."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        return
    target, _ = replacement_of(path)
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file there must not be changed; choose another place")
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}; make it")


def write_folder(folder: Path, contents: Mapping[str, str]) -> None:
    """Files that belong together, by name: all are written before the first of them takes its place in ``folder``.

    Links and permissions are kept as :func:`open_output` keeps them. Raises :class:`UsageError` when they cannot be
    written; what was there is then as it was.
    """
    places: dict[str, tuple[Path, Path]] = {}
    try:
        places |= {name: replacement_of(folder / name) for name in contents}
        for name, (target, building) in places.items():
            with open_replacement(building, target) as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        for target, building in places.values():
            os.replace(building, target)
    except (OSError, ValueError) as error:
        raise _cannot_write(str(folder), error) from error
    finally:
        for _, building in places.values():
            building.unlink(missing_ok=True)


def check_replaces_no_input(output: Path | None, inputs: Iterable[str | Path]) -> None:
    """Raises :class:`UsageError` if ``output`` is one of the files that the command reads, by whatever name."""
    try:
        place = None if output is None else os.stat(output)
    except (OSError, ValueError):
        return  # a new file, or one that open_output will refuse
    if place is None or not stat.S_ISREG(place.st_mode):
        return
    for path in inputs:
        try:
            is_same = os.path.samestat(place, os.stat(path))
        except (OSError, ValueError):
            continue  # not there: the command itself says so
        if is_same:
            raise UsageError(f"{output}: would replace the input {path}; choose another place")


def _close(file: TextIO, path: Path) -> None:
    try:
        file.close()  # which writes what is left in the buffer
    except OSError as error:
        raise _cannot_write(str(path), error) from error


def _replace(building: Path, target: Path, path: Path) -> None:
    try:
        os.replace(building, target)
    except OSError as error:
        raise _cannot_write(str(path), error) from error


def _cannot_write(name: str, error: OSError | ValueError) -> UsageError:
    reason = str(getattr(error, "strerror", None) or error)
    advice = "" if ";" in reason else "; choose another place or make room"
    return UsageError(f"{name}: cannot be written: {reason}{advice}")


def print_tables(out: Output, tables: Iterable[Table]) -> None:
    """Tables for people, each under its title: as wide as the terminal, if there is one."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    for number, table in enumerate(tables):
        width = None if out.is_terminal else _WIDE
        console = Console(file=out.file, width=width, highlight=False, markup=False, emoji=False)
        rich_table = RichTable(box=None, pad_edge=False, header_style="dim")
        for index, name in enumerate(table.header):
            # Text goes to the left, numbers to the right.
            numbers = index > 0 and all(_is_number(row[index]) for row in table.rows)
            rich_table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
        for row in table.rows:
            rich_table.add_row(*(Text(one_line(cell)) for cell in row))
        with console.capture() as capture:
            if number:
                console.print()
            if table.title:
                console.print(Text(one_line(table.title), style="bold"), soft_wrap=True)
            console.print(rich_table)
        # Rich fills lines with blanks up to the table's width.
        out.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(/\d+)?", cell) is not None


def print_extraction(out: Output, extraction: Extraction, num_orders: int) -> None:
    """One recording for people: name, transcript, warnings, triplets with types, confidence, votes and their time."""
    out.write(one_line(f"{extraction.source}  {extraction.duration_s:.1f} s") + "\n")
    if extraction.transcript is not None:
        out.write(one_line(f'"{extraction.transcript}"') + "\n")
    for warning in extraction.warnings:
        out.write(one_line(f"warning: {warning}") + "\n")
    rows = tuple(
        (
            _named(triplet.head),
            triplet.relation,
            _named(triplet.tail),
            "" if triplet.confidence is None else f"{triplet.confidence:.2f}",
            "" if triplet.votes is None else f"{triplet.votes}/{num_orders}",
            said_at(triplet),
        )
        for triplet in extraction.triplets
    )
    if rows:
        print_tables(out, [Table("", ("head", "relation", "tail", "confidence", "votes", "at"), rows)])
    else:
        out.write("no triplets\n")
    out.write("\n")


def _named(entity: Entity) -> str:
    return f"{entity.text} ({entity.type})" if entity.type else entity.text


def with_progress(items: Iterable[_Item], total: int, what: str, out: Output | None = None) -> Iterator[_Item]:
    """``items`` as they are, with a bar on stderr where that is a terminal.

    Where ``out`` is a terminal too, the results themselves show the progress.
    """
    if not sys.stderr.isatty() or (out is not None and out.is_terminal):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)
