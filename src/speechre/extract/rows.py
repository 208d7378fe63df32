"""Extraction for the rows of a data set: what ``datasets.Dataset.map`` calls. ::

rows = extractor.rows("audio")
dataset = dataset.map(rows, batched=True, batch_size=16, features=rows.features(dataset.features))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.errors import AudioError, SpeechreError, UsageError
from speechre.extract.recordings import Source, source_name
from speechre.types import Entity, Extraction, Triplet

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class RowExtractor:
    """From a row, or a batch of rows, to a column ``into`` of extractions in their JSON form, each with all keys.

    ``column`` holds recordings as the ``datasets`` library gives them: decoded (an array with its sampling rate, or a
    decoder), not decoded (bytes, or a path), or a plain path. An extraction's id is the row's ``id`` where there is
    such a column, else the file's name.
    """

    extract_many: Callable[..., Iterator[Extraction]]
    relation_types: tuple[str, ...]
    column: str = "audio"
    into: str = "extraction"

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Raises :class:`AudioError` naming the row that cannot be heard, :class:`UsageError` without the column."""
        if self.column not in rows:
            raise UsageError(
                f'no column "{self.column}" in {", ".join(rows)}; name the one with the recordings: '
                'extractor.rows("NAME")'
            )
        values, ids = rows[self.column], rows.get("id")
        if isinstance(values, list):
            return {self.into: self._extract(values, ids if isinstance(ids, list) else [None] * len(values))}
        return {self.into: self._extract([values], [ids])[0]}

    def _extract(self, values: Sequence[Any], ids: Sequence[Any]) -> list[dict[str, Any]]:
        sources = [_source(value) for value in values]
        names = [source_name(source, number) for number, source in enumerate(sources)]
        paths = [_path(value) for value in values]
        known = [_id(row_id, path) for row_id, path in zip(ids, paths, strict=True)]

        def fail(name: str, error: SpeechreError) -> None:
            number = names.index(name)
            raise AudioError(f'row "{known[number] or name}": {error}') from error

        found = self.extract_many(sources, fail)
        return [
            _uniform(one, row_id or one.id, path or one.source, self.relation_types)
            for one, row_id, path in zip(found, known, paths, strict=True)
        ]

    def features(self, features: Mapping[str, Any]) -> datasets.Features:
        """``features`` of the data set and the new column's: without them the library guesses from the first rows, and
        is at a loss where none of these has a triplet. Raises :class:`UsageError` where ``datasets`` is missing.
        """
        try:
            from datasets import Features, Value
        except ImportError as error:
            raise UsageError('a data set needs the package datasets; run "pip install datasets"') from error
        text, number = Value("string"), Value("float64")
        entity = {"text": text, "type": text, "start_s": number, "end_s": number, "times_of": text}
        triplet = {"head": entity, "relation": text, "tail": entity, "confidence": number}
        extraction = {
            **dict.fromkeys(("id", "source"), text),
            "duration_s": number,
            **dict.fromkeys(("model", "transcript"), text),
            "triplets": [{**triplet, "votes": Value("int64"), "orders": [text]}],
            "relation_probabilities": dict.fromkeys(self.relation_types, number),
            "warnings": [text],
        }
        return Features({**features, self.into: extraction})


def _source(value: Any) -> Source:
    """A recording as the ``datasets`` library gives it."""
    if hasattr(value, "get_all_samples"):  # torchcodec's AudioDecoder: (channels, samples)
        samples = value.get_all_samples()
        return samples.data.T.numpy(), int(samples.sample_rate)
    if not isinstance(value, Mapping):
        return value  # type: ignore[no-any-return]  # what it is not, is said when it is opened
    if value.get("array") is not None and value.get("sampling_rate") is not None:
        return value["array"], int(value["sampling_rate"])
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value.get("path"):
        return str(value["path"])
    raise UsageError(
        f"a recording with the keys {', '.join(value)}; expected array and sampling_rate, or bytes, or path"
    )


def _path(value: Any) -> str | None:
    path = value.get("path") if isinstance(value, Mapping) else value
    return os.fspath(path) if isinstance(path, str | os.PathLike) and os.fspath(path) else None


def _id(row_id: Any, path: str | None) -> str | None:
    if row_id is not None:
        return str(row_id)
    return Path(path).stem if path else None


def _uniform(extraction: Extraction, row_id: str, source: str, relation_types: Sequence[str]) -> dict[str, Any]:
    probabilities = extraction.relation_probabilities
    return {
        **extraction.to_dict(),
        "id": row_id,
        "source": source,
        "triplets": [_uniform_triplet(triplet) for triplet in extraction.triplets],
        "relation_probabilities": {name: probabilities.get(name) for name in relation_types},
    }


def _uniform_triplet(triplet: Triplet) -> dict[str, Any]:
    ends = {"head": _uniform_entity(triplet.head), "tail": _uniform_entity(triplet.tail)}
    return {"confidence": None, "votes": None, "orders": [], **triplet.to_dict(), **ends}


def _uniform_entity(entity: Entity) -> dict[str, Any]:
    return {
        "text": entity.text,
        "type": entity.type,
        "start_s": entity.start_s,
        "end_s": entity.end_s,
        "times_of": entity.times_of,
    }
