"""NeMo manifests: a JSON object a line with audio_filepath, duration, text and, optionally, offset and speaker.

NeMo knows no ids and no entities; it passes over keys that it does not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    recordings share it or hold several utterances; a name that another recording has is passed over.
    """

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        lines = list(json_lines(source))
        ids = _Ids(path for _, row in lines if isinstance(path := row.get("audio_filepath"), str))
        for line, row in lines:
            try:
                yield f"{source}:{line}", _from_row(row, name, ids, source.parent), row.get(FIELD)
            except ValueError as error:
                raise DataError(f"{source}:{line}: {error}") from error

    return collect(source, rows(), options, "a JSON object a line with audio_filepath, duration and text")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. Recordings are named by absolute paths."""
    losses, lines = Losses(), []
    windows = [window_of(utterance, name) for utterance in utterances]
    ids = _Ids(window.path for window in windows)
    for utterance, window in zip(utterances, windows, strict=True):
        row: dict[str, Any] = {
            "audio_filepath": window.path,
            "duration": window.duration_s,
            **({"offset": window.start_s} if window.start_s else {}),
            "text": utterance.text,
            **of_name("speaker", utterance.speaker),
            **own_keys(utterance, name, _KEYS),
        }
        plain = _from_row(row, name, ids, target.parent)
        losses.add(utterance, plain)
        if not options.is_plain:
            row |= of_name(FIELD, to_carry(utterance, plain))
        lines.append(to_json(row) + "\n")
    write_atomically(target, "".join(lines))
    return losses.notes(name, options.is_plain)


class _Ids:
    """Ids made of the names of recordings, each given out once; all ``paths`` of a manifest must be known before.

    A number is never given out that makes the name of another recording: of ``talk.wav`` twice and ``talk-2.wav``,
    the second ``talk.wav`` is ``talk-3``.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._stems = {Path(path).stem for path in paths}
        self._last: dict[str, int] = {}

    def next(self, path: str) -> str:
        stem = Path(path).stem
        if stem not in self._last:
            self._last[stem] = 1
            return stem
        number = self._last[stem] + 1
        while f"{stem}-{number}" in self._stems:
            number += 1
        self._last[stem] = number
        return f"{stem}-{number}"


def _from_row(row: Mapping[str, Any], name: str, ids: _Ids, folder: Path) -> Utterance:
    path = text_at(row, "audio_filepath")
    if not path:
        raise ValueError('"audio_filepath" is empty')
    utterance_id = ids.next(path)
    duration_s = number_at(row, "duration")
    audio = AudioRef(os.path.normpath(folder / path), number_at(row, "offset", 0.0) or 0.0, duration_s or None)
    utterance = Utterance(utterance_id, audio, text_at(row, "text", ""), speaker=optional_text(row, "speaker"))
    return with_other_keys(utterance, row, name, _KEYS)
