"""NeMo manifests: a JSON object a line with audio_filepath, duration, text and, optionally, offset and speaker.

NeMo knows no ids and no entities; it passes over keys that it does not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import FIELD, Losses, collect, to_carry, to_json
from speechre.data.formats.recordings import window_of
from speechre.data.formats.rows import json_lines, number_at, of_name, optional_text, own_keys, text_at, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.types import AudioRef, Utterance

_KEYS = ("audio_filepath", "duration", "offset", "text", "speaker", FIELD)


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. An utterance's id is its recording's name without suffix, with ``-2``, ``-3``, ... where
    recordings share it or hold several utterances.
    """

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        seen: dict[str, int] = {}
        for line, row in json_lines(source):
            try:
                yield f"{source}:{line}", _from_row(row, name, seen, source.parent), row.get(FIELD)
            except ValueError as error:
                raise DataError(f"{source}:{line}: {error}") from error

    return collect(source, rows(), options, "a JSON object a line with audio_filepath, duration and text")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. Recordings are named by absolute paths."""
    losses, lines = Losses(), []
    seen: dict[str, int] = {}
    for utterance in utterances:
        window = window_of(utterance, name)
        row: dict[str, Any] = {
            "audio_filepath": window.path,
            "duration": window.duration_s,
            **({"offset": window.start_s} if window.start_s else {}),
            "text": utterance.text,
            **of_name("speaker", utterance.speaker),
            **own_keys(utterance, name, _KEYS),
        }
        plain = _from_row(row, name, seen, target.parent)
        losses.add(utterance, plain)
        if not options.is_plain:
            row |= of_name(FIELD, to_carry(utterance, plain))
        lines.append(to_json(row) + "\n")
    write_atomically(target, "".join(lines))
    return losses.notes(name, options.is_plain)


def _from_row(row: Mapping[str, Any], name: str, seen: dict[str, int], folder: Path) -> Utterance:
    path = text_at(row, "audio_filepath")
    if not path:
        raise ValueError('"audio_filepath" is empty')
    stem = Path(path).stem
    seen[stem] = seen.get(stem, 0) + 1
    utterance_id = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
    duration_s = number_at(row, "duration")
    audio = AudioRef(os.path.normpath(folder / path), number_at(row, "offset", 0.0) or 0.0, duration_s or None)
    utterance = Utterance(utterance_id, audio, text_at(row, "text", ""), speaker=optional_text(row, "speaker"))
    return with_other_keys(utterance, row, name, _KEYS)
