"""What readers of rows share: lines of JSON, items of a JSON list with their lines, typed values, unknown keys."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechre.data.record import is_number
from speechre.data.store import parse_json, unreadable
from speechre.errors import DataError
from speechre.types import Utterance


def read_text(path: Path) -> str:
    """A whole text file, unpacked where its name ends in ``.gz``. Raises :class:`DataError`."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise unreadable(path, error) from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines that are not blank; a line ends at a line feed and nothing else."""
    for line, content in enumerate(read_text(path).split("\n"), start=1):
        content = content.removesuffix("\r")
        if content.strip():
            yield line, content


def json_lines(path: Path, bare: bool = False) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a JSON-lines file. With ``bare``, a line that does not begin an object is a REBEL target.

    Raises :class:`DataError` with file and line.
    """
    for line, content in text_lines(path):
        if bare and not content.lstrip().startswith("{"):
            yield line, {"triplets": content}
            continue
        try:
            record = parse_json(content)
        except ValueError as error:
            raise DataError(f"{path}:{line}: not JSON: {error}") from error
        if not isinstance(record, Mapping):
            raise DataError(f"{path}:{line}: {content[:40]!r}; expected an object")
        yield line, record


def json_items(path: Path) -> Iterator[tuple[int, Any]]:
    """The items of a JSON list, each with the line on which it begins. Raises :class:`DataError` with file and line."""
    content = read_text(path)
    try:
        items = parse_json(content)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(items, list) or not items:
        raise DataError(f"{path}: expected a list of objects, one or more")
    scan, at = json.JSONDecoder().raw_decode, content.index("[") + 1
    line, counted = 1, 0
    for item in items:
        while content[at] in " \t\r\n,":
            at += 1
        line += content.count("\n", counted, at)
        counted = at
        _, at = scan(content, at)
        yield line, item


def text_at(row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A text of a row. Raises ``ValueError`` where it is missing (without a ``default``) or something else."""
    value = row.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f'"{key}" is {value!r}; expected a text' if key in row else f'no "{key}"')
    return value


def optional_text(row: Mapping[str, Any], key: str) -> str | None:
    """A text or nothing; numbers are taken for texts (ids of speakers). Raises ``ValueError``."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f'"{key}" is {value!r}; expected a text')
    return value or None


def number_at(row: Mapping[str, Any], key: str, default: float | None = None) -> float | None:
    """A number from 0 on, or ``default`` where there is none. Raises ``ValueError``."""
    value = row.get(key)
    if value is None:
        return default
    if not is_number(value) or value < 0:
        raise ValueError(f'"{key}" is {value!r}; expected a number from 0 on')
    return float(value)


def of_name(key: str, value: object) -> dict[str, Any]:
    """``{key: value}``, or nothing where the value is ``None``."""
    return {} if value is None else {key: value}


def with_other_keys(utterance: Utterance, row: Mapping[str, Any], name: str, known: Sequence[str]) -> Utterance:
    """Keys that are somebody else's, kept in ``extra`` under the format's name."""
    others = {key: value for key, value in row.items() if key not in known}
    return replace(utterance, extra={**utterance.extra, name: others}) if others else utterance


def own_keys(utterance: Utterance, name: str, known: Sequence[str]) -> dict[str, Any]:
    """The inverse of :func:`with_other_keys`: keys that came with the format go back into it."""
    kept = utterance.extra.get(name)
    return {key: value for key, value in kept.items() if key not in known} if isinstance(kept, Mapping) else {}
