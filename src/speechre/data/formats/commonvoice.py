"""CommonVoice-SpeechRE: the JSON of the SpeechRE data sets, a file a split, and a folder of ``.npy`` arrays, float32 at
16 kHz, named by ``audio_id``.

Arrays are no recordings that other programs open, so an import writes them as FLAC; an export writes arrays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import (
    DEFAULT_SPLIT,
    FIELD,
    INDEX,
    Losses,
    check_replaces_all,
    offset_notes,
    split_order,
    to_carry,
    to_json,
)
from speechre.data.formats.recordings import (
    encode_flac,
    encode_npy,
    read_npy,
    safe_name,
    window_of,
    write_bytes,
    write_recordings,
)
from speechre.data.formats.rows import json_items, of_name
from speechre.data.formats.speechre_json import to_item
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.readers import read_speechre_json, to_utterance, with_carried_duration
from speechre.data.store import write_atomically
from speechre.errors import AudioError, DataError, UsageError
from speechre.schema import Schema, add_brackets
from speechre.types import AudioRef, Utterance

AUDIO_FOLDER = "audio_npy"
_INFO = "dataset_info.json"


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. ``source`` is one JSON file, or a folder with a file a split. Arrays are looked for in
    ``audio_dirs``, by default ``audio_npy`` beside the files, and written to ``audio_output``, over no other recording.
    """
    files = _files(source)
    if options.split is not None and len(files) > 1:
        raise UsageError(f"--split names one split, but {source} holds {len(files)} files; import one of them")
    folders = options.audio_dirs or ((files[0].parent / AUDIO_FOLDER),)
    out: list[Utterance] = []
    places: list[int] = []
    recordings: list[tuple[Path, Callable[[], bytes]]] = []
    notes: list[str] = []
    num_clipped = 0
    for file in files:
        carried = [item.get(FIELD) if isinstance(item, dict) else None for _, item in json_items(file)]
        utterances = read_speechre_json(file, split=options.split, repair_offsets=options.repair_offsets)
        for utterance, own in zip(utterances, carried, strict=True):
            index = own.get(INDEX) if isinstance(own, dict) else None
            places.append(index if isinstance(index, int) else len(places))
            array = next((p for f in folders if os.path.isfile(p := f / f"{utterance.id}.npy")), None)
            if array is None:
                if not options.allow_missing_audio:
                    raise DataError(
                        f'{file} (audio_id "{utterance.id}"): no {utterance.id}.npy in '
                        f"{', '.join(map(str, folders))}; name the folder (--audio DIR), or keep utterances without "
                        "recording (--allow-missing-audio)"
                    )
                out.append(utterance)
                continue
            if options.audio_output is None:
                raise UsageError(
                    f"{name} needs a folder for the recordings that it makes of the arrays: --audio-output DIR"
                )
            samples, clipped = read_npy(array)
            num_clipped += bool(clipped)
            path = options.audio_output / f"{safe_name(utterance.id)}.flac"
            recordings.append((path, partial(_flac_of, array)))  # read anew, since all do not fit into memory
            audio = AudioRef(str(path), 0.0, round(len(samples) / 16_000, 3))
            out.append(replace(utterance, audio=with_carried_duration(audio, own)))
    _check_ids(out, source)
    write_recordings(recordings)
    out = [out[i] for i in sorted(range(len(out)), key=places.__getitem__)]
    if num_clipped:
        notes.append(f"{num_clipped} recordings had samples beyond full scale, which were clipped")
    return Imported(out, notes + offset_notes(out))


def _flac_of(array: Path) -> bytes:
    return encode_flac(read_npy(array)[0])


def _files(source: Path) -> list[Path]:
    if not os.path.isdir(source):
        return [source]
    files = [path for path in source.glob("*.json") if path.name != _INFO]
    if not files:
        raise DataError(f"{source}: holds no JSON file; expected train.json, dev.json, ...")
    return sorted(files, key=lambda path: split_order(path.stem))


def _check_ids(utterances: Sequence[Utterance], source: Path) -> None:
    seen: dict[str, str | None] = {}
    for utterance in utterances:
        if utterance.id in seen:
            raise DataError(f'{source}: audio_id "{utterance.id}" stands in {seen[utterance.id]} and {utterance.split}')
        seen[utterance.id] = utterance.split


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`: ``SPLIT.json``, ``dataset_info.json`` and ``audio_npy``. What has no split goes to
    ``train``.
    """
    losses = Losses()
    info = _info(target, utterances)
    splits: dict[str, list[str]] = {safe_name(u.split or DEFAULT_SPLIT): [] for u in utterances}
    check_replaces_all(target, "*.json", [_INFO, *(f"{split}.json" for split in splits)])
    keys = [split_order(u.split or DEFAULT_SPLIT) for u in utterances]
    is_sorted = keys == sorted(keys)
    own_items = [to_item(utterance, name) for utterance in utterances]  # all, before the first array is written
    for index, (utterance, item) in enumerate(zip(utterances, own_items, strict=True)):
        split = utterance.split or DEFAULT_SPLIT
        plain = to_utterance(item, split)
        window = window_of(utterance, name)
        assert utterance.audio is not None
        try:
            content = encode_npy(utterance.audio)
        except AudioError as error:
            raise AudioError(f'utterance "{utterance.id}": {error}') from error
        write_bytes(target / AUDIO_FOLDER / f"{safe_name(utterance.id)}.npy", content)
        audio = AudioRef(window.path, 0.0, round(window.duration_s, 3))
        losses.add(utterance, replace(plain, audio=audio))
        if not options.is_plain:
            item |= of_name(FIELD, to_carry(utterance, plain, index=None if is_sorted else index))
        if not is_sorted:
            losses.counts["utterance sequence"] += 1
        splits[split].append(to_json(item))
    for split, items in splits.items():
        write_atomically(target / f"{split}.json", "[\n" + ",\n".join(items) + "\n]\n")
    if info is not None:
        write_atomically(target / _INFO, json.dumps(info, indent=1, ensure_ascii=False) + "\n")
    return losses.notes(name, options.is_plain)


def _info(target: Path, utterances: Sequence[Utterance]) -> dict[str, Any] | None:
    """The types; ``None`` where there are none to list. Raises :class:`SchemaError` on names that no schema takes."""
    entity_types = sorted({e.type for u in utterances for e in u.entities})
    relation_types = sorted({r.type for u in utterances for r in u.relations})
    if not entity_types or not relation_types:
        return None
    Schema(target.name, tuple(entity_types), tuple(relation_types))
    return {
        "datasets": target.resolve().name,
        "entities_type_num": len(entity_types),
        "entities_type": [add_brackets(kind) for kind in entity_types],
        "relations_type_num": len(relation_types),
        "relations_type": relation_types,
    }
