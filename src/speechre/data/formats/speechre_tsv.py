"""The tables of LNA-ED (Wu et al. 2022) and the systems after it: fairseq's speech-to-text manifests whose ``tgt_text``
is a REBEL string.

Columns, tab-separated and unquoted: id, audio (``path:first frame:number of frames``), duration_ms, n_frames, tgt_text,
speaker, tgt_lang. There is no transcript; fairseq's optional column ``src_text`` holds it where there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import FIELD, Losses, collect, json_cell, to_carry, to_json
from speechre.data.formats.rebel import from_target, to_rebel
from speechre.data.formats.recordings import window_of
from speechre.data.formats.rows import own_keys, text_lines, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.types import AudioRef, Utterance

COLUMNS = ("id", "audio", "duration_ms", "n_frames", "tgt_text", "speaker", "tgt_lang")
_TEXT = "src_text"
_NO_SPEAKER = "0"
_LANGUAGE = "en"
_RATE_HZ = 16_000  # the published tables' recordings, from which seconds are counted


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. The split is the file's name up to the first ``_`` (``train_conll04.tsv``), where that
    is train, dev or test.
    """

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        for line, row in _table(source):
            try:
                plain = _from_row(row, name, source)
            except ValueError as error:
                raise DataError(f"{source}:{line}: {error}") from error
            place = f"{source}:{line}"
            yield place, plain, json_cell(place, row[FIELD]) if row.get(FIELD) else None

    return collect(source, rows(), options, f"a table with the columns {', '.join(COLUMNS)}")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`."""
    losses = Losses()
    rows: list[dict[str, str]] = []
    for utterance in utterances:
        window = window_of(utterance, name)
        num_frames = window.stop_frame - window.start_frame
        own = {key: str(value) for key, value in own_keys(utterance, name, (*COLUMNS[:6], _TEXT, FIELD)).items()}
        row = {
            "id": utterance.id,
            "audio": f"{window.path}:{window.start_frame}:{num_frames}",
            "duration_ms": str(round(num_frames / window.rate_hz * 1000)),
            "n_frames": str(num_frames),
            "tgt_text": to_rebel(utterance.triplets),
            "speaker": utterance.speaker or _NO_SPEAKER,
            "tgt_lang": _LANGUAGE,
            _TEXT: utterance.text,
            **own,
        }
        row = {key: _cell(value) for key, value in row.items()}
        plain = _from_row(row | {FIELD: "{}"}, name, target)
        losses.add(utterance, plain)
        carried = None if options.is_plain else to_carry(utterance, plain, folder=target.parent)
        rows.append(row if carried is None else row | {FIELD: to_json(carried)})
    columns = list(dict.fromkeys(key for row in rows for key in row if key != FIELD))
    if any(FIELD in row for row in rows):
        columns.append(FIELD)
    lines = ["\t".join(row.get(column, "") for column in columns) for row in rows]
    write_atomically(target, "\n".join(["\t".join(columns), *lines]) + "\n")
    return losses.notes(name, options.is_plain, f'the column "{FIELD}"')


def _cell(text: str) -> str:
    """Tables of this kind have no quotes and no escapes."""
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")


def _table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    lines = text_lines(path)
    _, head = next(lines, (1, ""))
    columns = head.split("\t")
    missing = [column for column in ("id", "audio", "tgt_text") if column not in columns]
    if missing or len(set(columns)) < len(columns):
        raise DataError(f"{path}:1: no column {', '.join(missing) or 'may stand twice'}; expected {', '.join(COLUMNS)}")
    for line, content in lines:
        cells = content.split("\t")
        if len(cells) != len(columns):
            raise DataError(f"{path}:{line}: {len(cells)} cells; expected {len(columns)}, separated by tabs")
        yield line, dict(zip(columns, cells, strict=True))


def _from_row(row: Mapping[str, str], name: str, file: Path) -> Utterance:
    if not row["id"].strip():
        raise ValueError('"id" is empty')
    text = row.get(_TEXT, "")
    try:
        utterance = from_target(row["id"], text, row["tgt_text"])
    except ValueError:
        if not row.get(FIELD):
            raise
        utterance = Utterance(row["id"], None, text)
    values: dict[str, Any] = {"audio": _audio(row, file.parent)}
    if row.get("speaker", _NO_SPEAKER) not in ("", _NO_SPEAKER):
        values["speaker"] = row["speaker"]
    split = file.stem.split("_")[0]
    if split in ("train", "dev", "test"):
        values["split"] = split
    utterance = Utterance(
        utterance.id,
        entities=utterance.entities,
        relations=utterance.relations,
        text=text,
        extra=utterance.extra,
        **values,
    )
    others = {key: value for key, value in row.items() if key != "tgt_lang" or value != _LANGUAGE}
    return with_other_keys(utterance, others, name, (*COLUMNS[:6], _TEXT, FIELD))


def _audio(row: Mapping[str, str], folder: Path) -> AudioRef | None:
    """``path:first frame:number of frames``, or a path alone."""
    path, *window = row["audio"].rsplit(":", 2)
    if len(window) != 2 or not all(number.isascii() and number.isdigit() for number in window):
        path, window = row["audio"], []
    if not path.strip():
        return None
    start, count = map(int, window) if window else (0, 0)
    rate_hz = _rate_hz(row)
    return AudioRef(os.path.normpath(folder / path), start / rate_hz, count / rate_hz if count else None)


def _rate_hz(row: Mapping[str, str]) -> float:
    """Frames are the file's own: 16 kHz, unless duration and number of frames agree on another usual rate."""
    frames, duration_ms = (row.get(key, "") for key in ("n_frames", "duration_ms"))
    if frames.isdigit() and duration_ms.isdigit() and int(duration_ms):
        rate_hz = int(frames) * 1000 / int(duration_ms)
        for usual_hz in (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000):
            if abs(rate_hz - usual_hz) < 0.02 * usual_hz:
                return usual_hz
    return _RATE_HZ
