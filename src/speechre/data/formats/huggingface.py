"""Parquet files as Hugging Face's ``datasets`` reads and writes them, through pyarrow alone.

A row has id, audio, text, speaker, entities, relations, duration_s, extra and speechre. ``audio`` is the pair of
``bytes`` and ``path`` of the library's Audio feature, which the file's metadata declares; decoding is the reader's
matter, so no decoder is needed here. Files are named as the hub wants them: ``data/train-00000-of-00001.parquet``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from speechre.audio import audio_duration_s
from speechre.data.formats.carry import (
    DEFAULT_SPLIT,
    FIELD,
    SPLITS,
    Losses,
    check_replaces_all,
    collect,
    json_cell,
    split_order,
    to_carry,
    to_json,
)
from speechre.data.formats.recordings import embedded, is_written, safe_name, window_of, write_bytes
from speechre.data.formats.rows import number_at, optional_text, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import from_dict, to_dict
from speechre.errors import AudioError, DataError, MissingFileError, UsageError
from speechre.types import AudioRef, Utterance

ROWS_A_GROUP = 100
_SHARD = re.compile(r"(.+?)-(\d{5})-of-(\d{5})")
_ENTITY = {"id": "string", "text": "string", "type": "string", "start": "int64", "end": "int64"} | {
    "start_s": "float64",
    "end_s": "float64",
}
_RELATION = {"head": "string", "tail": "string", "type": "string"}
_TEXTS = {"id": "string", "text": "string", "speaker": "string", "extra": "string", FIELD: "string"}
_KEYS = ("id", "audio", "text", "speaker", "entities", "relations", "duration_s", "start_s", "extra", FIELD)
_OTHER_NAMES = {"id": ("audio_id",), "text": ("sentence", "transcription"), "speaker": ("client_id", "speaker_id")}


def features() -> dict[str, Any]:
    """The features of the rows in the library's own JSON form (``datasets.Features.from_dict`` reads it)."""

    def value(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    def struct(fields: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{key: value(dtype) for key, dtype in fields.items()}]

    return {
        "id": value("string"),
        "audio": {"_type": "Audio"},
        "text": value("string"),
        "speaker": value("string"),
        "entities": struct(_ENTITY),
        "relations": struct(_RELATION),
        "start_s": value("float64"),
        "duration_s": value("float64"),
        "extra": value("string"),
        FIELD: value("string"),
    }


# --- rows ---


def to_row(utterance: Utterance, *, audio_as_path: bool = False, name: str = "huggingface") -> dict[str, Any]:
    """A row for ``datasets.Dataset.from_list``, with the recording as bytes (a window cut out) or as a path.

    Raises :class:`AudioError` on a recording that cannot be read.
    """
    record = to_dict(utterance)
    row: dict[str, Any] = {key: record.get(key) for key in ("id", "text", "speaker")}
    for key, fields in (("entities", _ENTITY), ("relations", _RELATION)):
        row[key] = [{field: part.get(field) for field in fields} for part in record[key]]
    row |= {"audio": None, "start_s": 0.0, "duration_s": None, "extra": to_json(record["extra"])}
    if utterance.audio is not None and audio_as_path:
        window = window_of(utterance, name)
        row |= {"audio": {"bytes": None, "path": window.path}, "start_s": window.start_s}
        row["duration_s"] = utterance.audio.duration_s
    elif utterance.audio is not None:
        content, suffix, was_cut = embedded(utterance, name)
        stem = safe_name(utterance.id) if was_cut else Path(utterance.audio.path).stem
        row["audio"] = {"bytes": content, "path": stem + suffix}
        row["duration_s"] = utterance.audio.duration_s
    return row


def from_row(
    row: Mapping[str, Any],
    *,
    folder: Path,
    audio_output: Path | None,
    name: str = "huggingface",
    spare_id: str | None = None,
    placed: set[Path] | None = None,
) -> Utterance:
    """An utterance of a row, by the columns that are not our own field. Bytes are written to ``audio_output``; a path
    is relative to ``folder``. Columns that are not ours are kept in ``extra``. ``spare_id`` is the id where bytes have
    neither an id nor a path. ``placed`` collects the recordings of one import, so that of two that came under one name
    the second is called after its utterance.

    Raises ``ValueError`` with the reason, :class:`UsageError` where bytes have no place to go.
    """
    values = dict(row)
    for key, others in _OTHER_NAMES.items():
        for other in others:
            if values.get(key) is None and isinstance(values.get(other), (str, int)):
                values[key] = values.pop(other)
    audio, stem = _audio(values, folder, audio_output, spare_id, set() if placed is None else placed)
    utterance_id = optional_text(values, "id") or stem
    if not utterance_id:
        raise ValueError('no "id", and no recording to name it after')
    record: dict[str, Any] = {"id": utterance_id, "text": values.get("text") or ""}
    record["speaker"] = optional_text(values, "speaker")
    for key, fields in (("entities", _ENTITY), ("relations", _RELATION)):
        parts = values.get(key) or []
        if not isinstance(parts, (list, tuple)) or not all(isinstance(part, Mapping) for part in parts):
            raise ValueError(f'"{key}" is no list of objects with {", ".join(fields)}')
        record[key] = [{k: v for k, v in part.items() if v is not None} for part in parts]
    extra = values.get("extra")
    try:
        record["extra"] = json.loads(extra) if isinstance(extra, str) and extra else {}
        utterance = from_dict({key: value for key, value in record.items() if value is not None})
    except (ValueError, DataError) as error:
        raise ValueError(str(error)) from error
    columns = {key: value if _is_json(value) else repr(value) for key, value in values.items() if value is not None}
    return with_other_keys(replace(utterance, audio=audio), columns, name, (*_KEYS, "path"))


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _audio(
    row: Mapping[str, Any], folder: Path, audio_output: Path | None, spare_id: str | None, placed: set[Path]
) -> tuple[AudioRef | None, str]:
    """The recording and its name without suffix."""
    audio = row.get("audio")
    audio = {"bytes": None, "path": audio} if isinstance(audio, str) else audio
    if audio is None:
        return None, ""
    if not isinstance(audio, Mapping) or not {"bytes", "path"} & set(audio):
        raise ValueError(
            f'"audio" is {type(audio).__name__}; expected an object with bytes or path (load with Audio(decode=False))'
        )
    content, path = audio.get("bytes"), audio.get("path")
    start_s, duration_s = number_at(row, "start_s", 0.0) or 0.0, number_at(row, "duration_s") or None
    if content is None:
        if not isinstance(path, str) or not path:
            raise ValueError('"audio" has neither bytes nor path')
        return AudioRef(os.path.normpath(folder / path), start_s, duration_s), Path(path).stem
    if audio_output is None:
        raise UsageError("the recordings are embedded; name a folder to write them to: --audio-output DIR")
    name, own_name = _file_names_of(path, optional_text(row, "id") or spare_id)
    try:
        target = audio_output / safe_name(name)
        audio_duration_s(content, name=f"the embedded {name}")
        if target in placed and own_name and target.read_bytes() != content:
            target = audio_output / safe_name(own_name)
        is_there = is_written(target, lambda: content)
    except (AudioError, DataError, UsageError) as error:  # a row's fault as well: the folder may hold another's files
        raise ValueError(str(error)) from error
    if not is_there:
        write_bytes(target, content)
    placed.add(target)
    return AudioRef(str(target), start_s, duration_s), target.stem


def _file_names_of(path: object, utterance_id: str | None) -> tuple[str, str | None]:
    """The name of an embedded recording, the one that it had or the utterance's; and the utterance's, if it has one."""
    had = re.split(r"[/\\]", path)[-1] if isinstance(path, str) and path else None
    own = f"{utterance_id}{Path(had).suffix if had else '.flac'}" if utterance_id else None
    name = had or own
    if name is None:
        raise ValueError('no "id", and the embedded recording has no "path" to name it after; add a column "id"')
    return name, own


# --- files ---


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. What has no split goes to ``train``."""
    pa, parquet = _pyarrow()
    splits: dict[str, list[int]] = {}
    for index, utterance in enumerate(utterances):
        splits.setdefault(safe_name(utterance.split or DEFAULT_SPLIT), []).append(index)
    indexes = [i for split in sorted(splits, key=split_order) for i in splits[split]]
    is_sorted = indexes == sorted(indexes)
    rows = _Rows(options, name)
    if not is_sorted:
        rows.losses.counts["utterance sequence"] += len(utterances)
    check_replaces_all(target / "data", "*", [_file_name(split) for split in splits])
    schema = _schema(pa)
    try:
        (target / "data").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror or error}") from error
    for split, members in splits.items():
        path = target / "data" / _file_name(split)
        building = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with parquet.ParquetWriter(building, schema) as writer:
                for first in range(0, len(members), ROWS_A_GROUP):
                    group = members[first : first + ROWS_A_GROUP]
                    made = [rows.make(utterances[i], split, None if is_sorted else i) for i in group]
                    writer.write_table(pa.Table.from_pylist(made, schema=schema))
            os.replace(building, path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            building.unlink(missing_ok=True)
    return rows.notes()


class _Rows:
    """The rows of one export, and what is to be said about them."""

    def __init__(self, options: ExportOptions, name: str) -> None:
        self.losses = Losses()
        self._options, self._name = options, name
        self._num_cut = 0
        self._content_of: dict[str, bytes] = {}  # a recording's name, in lower case -> its checksum

    def make(self, utterance: Utterance, split: str, index: int | None) -> dict[str, Any]:
        """A row with our own field; ``index`` is the utterance's place where that is not the row's."""
        row = to_row(utterance, audio_as_path=self._options.audio_as_paths, name=self._name)
        plain = _plain(row, split)
        if utterance.audio is not None and not self._options.audio_as_paths:
            row["audio"]["path"] = self._file_name(row["audio"], utterance.id)
            self._num_cut += not window_of(utterance, self._name).is_whole
            # The row has the sound alone, so the window in the longer file is not to be carried: it would cut again.
            utterance = replace(utterance, audio=plain.audio)
        self.losses.add(utterance, plain)
        carried = to_carry(utterance, plain, index=index)
        row[FIELD] = None if self._options.is_plain or carried is None else to_json(carried)
        return row

    def _file_name(self, audio: Mapping[str, Any], utterance_id: str) -> str:
        """The recording's own name; where another has it, which an import would write to the same place, the
        utterance's id, or a number behind the name.
        """
        checksum = hashlib.sha256(audio["bytes"]).digest()
        own = Path(audio["path"])
        stems = [own.stem, utterance_id] if _is_file_name(utterance_id) else [own.stem]
        for stem in chain(stems, (f"{own.stem}-{number}" for number in count(2))):
            name = stem + own.suffix
            if self._content_of.setdefault(name.lower(), checksum) == checksum:
                return name
        raise AssertionError("numbers have no end")

    def notes(self) -> list[str]:
        """One sentence each."""
        notes = self.losses.notes(self._name, self._options.is_plain, f'the column "{FIELD}"')
        if self._num_cut:
            notes.append(f"{self._num_cut} recordings are windows of longer files; they were cut out as FLAC")
        return notes


def _is_file_name(utterance_id: str) -> bool:
    try:
        return bool(safe_name(utterance_id))
    except DataError:
        return False


def _file_name(split: str) -> str:
    return f"{split}-00000-of-00001.parquet"


def _plain(row: Mapping[str, Any], split: str) -> Utterance:
    """The row as a stranger reads it, without writing the recording a second time."""
    named = dict(row)
    if row["audio"] is not None:
        named["audio"] = {"bytes": None, "path": row["audio"]["path"]}
    return replace(from_row(named, folder=Path(), audio_output=None), split=split)


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. ``source`` is a ``.parquet`` or ``.arrow`` file, or a folder of such files; the
    split is the file's name up to ``-00000-of-``, or the folder's for ``save_to_disk``'s ``data-00000-of-``. Recordings
    that neither an id nor a path names are called after their split and row: ``train-1``.
    """
    files = _files(source)
    rows: list[tuple[str, Utterance, object]] = []
    num_rows: Counter[str] = Counter()  # of a split, over its files
    placed: set[Path] = set()
    for split, file in files:
        part = split or file.stem
        for number, row in enumerate(_rows(file), start=1):
            place = f"{file}: row {number}"
            num_rows[part] += 1
            spare_id = f"{part}-{num_rows[part]}"
            try:
                plain = from_row(
                    row,
                    folder=file.parent,
                    audio_output=options.audio_output,
                    name=name,
                    spare_id=spare_id,
                    placed=placed,
                )
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            carried = row.get(FIELD)
            carried = json_cell(place, carried) if isinstance(carried, str) else carried
            rows.append((place, replace(plain, split=split), _without_window(row, carried)))
    return collect(source, rows, options, "Parquet files with the columns id, audio and text")


def _without_window(row: Mapping[str, Any], carried: object) -> object:
    """Our own field without a window where the sound is embedded: exports once kept there that of the longer file."""
    audio = row.get("audio")
    is_embedded = isinstance(audio, Mapping) and audio.get("bytes") is not None
    if not is_embedded or not isinstance(carried, Mapping):
        return carried
    return {key: value for key, value in carried.items() if key != "audio"}


def _files(source: Path) -> list[tuple[str | None, Path]]:
    if os.path.isfile(source):
        return [(_split_of(source), source)]
    if not os.path.isdir(source):
        raise MissingFileError(f"{source}: no such file or folder; expected Parquet files")
    files = sorted(p for p in source.rglob("*") if p.suffix in (".parquet", ".arrow") and not p.name.startswith("."))
    if not files:
        raise DataError(f"{source}: holds no .parquet or .arrow file")
    found = [(_split_of(path), path) for path in files]
    return sorted(found, key=lambda pair: (split_order(pair[0] or ""), pair[1]))


def _split_of(path: Path) -> str | None:
    match = _SHARD.fullmatch(path.stem)
    if match is None:
        return path.stem if path.stem in SPLITS else None
    return path.parent.name if match[1] == "data" else match[1]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    pa, parquet = _pyarrow()
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield from batch.to_pylist()
            return
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
                yield from batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: bytes that are not UTF-8
        raise DataError(f"{path}: no Parquet or Arrow file that can be read: {error}") from error


def _schema(pa: Any) -> Any:
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}

    def struct(fields: Mapping[str, str]) -> Any:
        return pa.list_(pa.struct([(key, types[dtype]) for key, dtype in fields.items()]))

    columns: dict[str, Any] = {key: types[dtype] for key, dtype in _TEXTS.items()}
    columns |= {"audio": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    columns |= {"entities": struct(_ENTITY), "relations": struct(_RELATION)}
    columns |= {"start_s": pa.float64(), "duration_s": pa.float64()}
    declared = features()
    metadata = {"huggingface": json.dumps({"info": {"features": declared}})}
    return pa.schema([(key, columns[key]) for key in declared], metadata=metadata)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError('huggingface needs pyarrow; try: pip install "speechre[huggingface]"') from error
    return pyarrow, parquet
