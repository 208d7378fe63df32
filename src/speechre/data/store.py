"""Manifests: one utterance a line as JSON, in one canonical form.

``record_faults`` is the one place that knows what a line may hold. Readers raise the first fault that it
finds, the validator lists them all, and the writer refuses what could not be read again.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeAlias

from speechre.data.record import ENTITY_KEYS, Fault, record_faults, record_id
from speechre.errors import DataError, MissingFileError, UsageError
from speechre.types import AudioRef, Entity, Relation, Utterance

PathLike: TypeAlias = "str | os.PathLike[str]"


def read_manifest(path: PathLike) -> list[Utterance]:
    """All utterances of a manifest. Raises :class:`DataError` as :func:`iter_manifest` does."""
    return list(iter_manifest(path))


def iter_manifest(path: PathLike) -> Iterator[Utterance]:
    """The utterances of a manifest, one by one; audio paths come resolved against the manifest's folder.

    Raises :class:`DataError`, naming file, line and utterance, on a missing or empty file, text that is not
    UTF-8, lines that are not JSON objects, unknown keys, wrong types, dangling or duplicate ids and offsets
    that do not match.
    """
    path = Path(path)
    first_line: dict[str, int] = {}
    for line, record, faults in scan_records(path):
        if faults:
            _fail(path, line, record_id(record), faults[0].message)
        utterance = _build(record, path.parent)
        if utterance.id in first_line:
            _fail(
                path,
                line,
                utterance.id,
                f"its id stands on line {first_line[utterance.id]} already; make it unique",
            )
        first_line[utterance.id] = line
        yield utterance
    if not first_line:
        raise DataError(f"{path}: the manifest holds no utterance; expected one JSON object a line")


def write_manifest(path: PathLike, utterances: Iterable[Utterance]) -> int:
    """Writes a manifest and returns the number of utterances; the file appears whole or not at all.

    Audio paths are written relative to the manifest's folder: the one in which ``path`` names it, also where that is a
    link to another. Raises :class:`DataError` on an utterance that could not be read again (before the file is
    touched), :class:`UsageError` when ``path`` cannot be written.
    """
    path = Path(path)
    lines: list[str] = []
    seen: set[str] = set()
    for utterance in utterances:
        line = manifest_line(utterance, path)
        if utterance.id in seen:
            raise DataError(f'{path}: utterance "{utterance.id}" comes twice; ids must be unique')
        seen.add(utterance.id)
        lines.append(line)
    write_atomically(path, "".join(lines))
    return len(lines)


def manifest_line(utterance: Utterance, path: PathLike) -> str:
    """The utterance as it stands in the manifest ``path``, with its line end; for those who write one as a stream.

    Raises :class:`DataError` on an utterance that could not be read again. That ids are unique is the caller's care.
    """
    record = to_dict(utterance, Path(path).parent)
    faults = record_faults(record)
    if faults:
        raise DataError(f'{path}: utterance "{utterance.id}" cannot be written: {faults[0].message}')
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(utterance: Utterance, folder: PathLike = "") -> dict[str, Any]:
    """The canonical JSON form: keys in a fixed sequence, what is unknown left out, audio relative to
    ``folder``.
    """
    record: dict[str, Any] = {"id": utterance.id, "audio": None, "text": utterance.text}
    if utterance.audio is not None:
        audio = utterance.audio
        record["audio"] = {"path": _relative(audio.path, folder), "start_s": float(audio.start_s)}
        if audio.duration_s is not None:
            record["audio"]["duration_s"] = float(audio.duration_s)
    if utterance.split is not None:
        record["split"] = utterance.split
    if utterance.speaker is not None:
        record["speaker"] = utterance.speaker
    record["entities"] = [
        {key: value for key in ENTITY_KEYS if (value := getattr(entity, key)) is not None}
        for entity in utterance.entities
    ]
    record["relations"] = [{"head": r.head_id, "tail": r.tail_id, "type": r.type} for r in utterance.relations]
    record["extra"] = dict(utterance.extra)
    return record


def from_dict(record: Mapping[str, Any], folder: PathLike = "") -> Utterance:
    """The inverse of :func:`to_dict`. Raises :class:`DataError` on the first fault, naming the utterance."""
    faults = record_faults(record)
    if faults:
        raise DataError(f'utterance "{record_id(record)}": {faults[0].message}')
    return _build(record, Path(folder))


# --- lines ---


def scan_records(path: Path) -> Iterator[tuple[int, Any, list[Fault]]]:
    """Every line of a manifest: its number (from 1), the parsed JSON (``None`` where there is none), its
    faults.

    Never raises on content; raises :class:`DataError` when the file cannot be read.
    """
    for line, content in scan_lines(path):
        if isinstance(content, Fault):
            yield line, None, [content]
            continue
        try:
            record = parse_json(content)
        except ValueError as error:
            yield line, None, [Fault("bad-json", f"not JSON: {error}")]
            continue
        yield line, record, record_faults(record)


def scan_lines(path: Path) -> Iterator[tuple[int, str | Fault]]:
    """Line numbers (from 1) and contents, or what is wrong with the line; empty lines at the end are left
    out.

    Raises :class:`DataError` when the file is missing, a folder or cannot be read.
    """
    blanks: list[int] = []
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                if line == 1 and raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
                    yield (
                        line,
                        Fault(
                            "byte-order-mark",
                            "the file starts with a byte order mark; save it as UTF-8 without one",
                        ),
                    )
                    if raw[0] != 0xEF:
                        return  # UTF-16: nothing after it can be read
                    raw = raw[3:]
                if not raw.strip():
                    blanks.append(line)
                    continue
                for blank in blanks:
                    yield blank, Fault("blank-line", "a blank line; delete it")
                blanks = []
                try:
                    yield line, raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    reason = f"not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"
                    yield line, Fault("not-utf8", reason)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """What to raise for a file that could not be read as text."""
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{path}: no such file; check the path")
    if isinstance(error, IsADirectoryError):
        return MissingFileError(f"{path}: this is a folder; name a file in it")
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8")
    return DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def parse_json(content: str) -> Any:
    """JSON without Python's leniences: no key twice, no NaN or Infinity. Raises ``ValueError`` with the
    reason.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> Any:
    """A file that is one JSON value. Raises :class:`DataError` on one that is missing, unreadable or not JSON."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        return parse_json(content)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(key for key in keys if keys.count(key) > 1)}" stands twice')
    return out


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _fail(path: Path, line: int, utterance_id: str | None, message: str) -> NoReturn:
    who = f' (utterance "{utterance_id}")' if utterance_id else ""
    raise DataError(f'{path}:{line}{who}: {message}. Run "speechre data validate {path}" to list all such faults.')


# --- building and writing ---


def _build(record: Mapping[str, Any], folder: Path) -> Utterance:
    """An utterance from a record without faults."""
    audio = record.get("audio")
    return Utterance(
        id=record["id"],
        audio=None
        if audio is None
        else AudioRef(
            path=os.path.normpath(folder / audio["path"]),
            start_s=float(audio.get("start_s", 0.0)),
            duration_s=None if audio.get("duration_s") is None else float(audio["duration_s"]),
        ),
        text=record.get("text", ""),
        entities=tuple(_entity(entity) for entity in record.get("entities", ())),
        relations=tuple(Relation(r["head"], r["tail"], r["type"]) for r in record.get("relations", ())),
        split=record.get("split"),
        speaker=record.get("speaker"),
        extra=dict(record.get("extra", {})),
    )


def _entity(record: Mapping[str, Any]) -> Entity:
    start_s, end_s = record.get("start_s"), record.get("end_s")
    return Entity(
        text=record["text"],
        type=record["type"],
        id=record["id"],
        start=record.get("start"),
        end=record.get("end"),
        start_s=None if start_s is None else float(start_s),
        end_s=None if end_s is None else float(end_s),
    )


def _relative(path: str, folder: PathLike) -> str:
    try:
        relative = os.path.relpath(os.path.abspath(path), os.path.abspath(os.fspath(folder) or "."))
    except ValueError:  # another drive on Windows
        relative = os.path.abspath(path)
    return Path(relative).as_posix()


def write_atomically(path: Path, content: str) -> None:
    """Write a text file whole or not at all. Raises :class:`UsageError` naming the path when it cannot be written.

    What a link points at is written, not the link, and a file that is replaced keeps its permissions. A lone surrogate
    (a file name that is not UTF-8) is written as its escape.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path}: cannot be written: it is a folder; name a file in it")
        target, temporary = replacement_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_replacement(temporary, target) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def replacement_of(path: Path) -> tuple[Path, Path]:
    """The file to be written, which is what a link points at, and a temporary file beside it to be built first."""
    target = Path(os.path.realpath(path))
    return target, target.with_name(f".{target.name}.{os.getpid()}.tmp")


def open_replacement(temporary: Path, target: Path) -> TextIO:
    """``temporary`` opened as text, to take the place of ``target`` by ``os.replace``.

    It has the permissions of the file that is there from the start: nobody may read along who may not read that file.
    """
    file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        if target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
    except BaseException:
        file.close()
        temporary.unlink(missing_ok=True)
        raise
    return file
