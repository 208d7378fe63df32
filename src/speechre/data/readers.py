"""The reader of the published SpeechRE data sets: their files in, utterances out. Other formats, and the writer of this
one, are in ``data.formats``.

The JSON of the SpeechRE data sets (Speech-CoNLL04, Speech-ReTACRED, CommonVoice-SpeechRE) is a list of items
with ``sentence``, ``audio_id`` and ``data_annotation``, which mixes entities and relations. ``from_id`` is
the head, ``to_id`` the tail. ``direction`` only repeats which of the two comes first in the sentence ("left":
the head does) and is not needed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechre.audio import audio_duration_s
from speechre.audio_files import SUFFIXES
from speechre.data.formats.carry import FIELD, from_carry
from speechre.data.formats.rows import json_items, with_other_keys
from speechre.data.record import Fault, is_number, only_place, record_faults
from speechre.data.store import PathLike, read_json, to_dict, unreadable
from speechre.errors import DataError
from speechre.schema import Schema, strip_brackets
from speechre.schemas import SCHEMAS
from speechre.types import AudioRef, Entity, Relation, Utterance


def read_speechre_json(
    json_path: PathLike,
    *,
    audio_dirs: Sequence[PathLike] = (),
    split: str | None = None,
    allow_missing_audio: bool = False,
    repair_offsets: bool = False,
    spoken_tsv: PathLike | None = None,
) -> list[Utterance]:
    """The utterances of ``{split}.json``, with entity ids ``e0``, ``e1``, ... in the file's sequence.

    ``audio_dirs`` hold the recordings as ``<audio_id>.<extension>``, one folder a rendition. The first folder
    gives the plain ids and must have every recording unless ``allow_missing_audio`` (the utterance then comes
    without audio); each further folder gives one more utterance per recording that it has, with the id
    ``<audio_id>@<folder>``. Without folders the utterances come without audio. Durations are read from the
    recordings. ``split`` is the file's name when not given.

    ``repair_offsets`` moves an entity whose offsets do not match its text to the only place in the sentence
    where the text stands, and lists its id in ``extra["repaired_offsets"]``; where there is no such place or
    several, it stays a fault. ``spoken_tsv`` names a table with the columns ``audio_id``, ``spoken_text``
    and, optionally, ``<folder>_voice``: the words as they were spoken go to ``extra["spoken_text"]``, the
    voice to ``speaker``.

    A ``dataset_info.json`` beside the file is read too: types that it does not list are faults. Keys of an item that
    the data sets do not have are kept in ``extra["speechre-json"]``; what our own writer could not say in the data
    sets' keys (``speechre``, see ``data.formats.carry``) is restored.

    Raises :class:`DataError` with the number of faults and the first of them, :class:`AudioError` on a broken
    recording.
    """
    path = Path(json_path)
    items = list(json_items(path))
    info = path.with_name("dataset_info.json")
    schema = read_dataset_info(info) if os.path.isfile(info) else None
    spoken = {} if spoken_tsv is None else _read_spoken(Path(spoken_tsv))
    folders = [_Folder.scan(Path(folder)) for folder in audio_dirs]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two audio folders have the same name in {names}; ids would clash, rename one")
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for index, (line, item) in enumerate(items):
        try:
            utterance = _read_item(item, path, split, repair_offsets)
        except ValueError as error:
            faults.append(Fault("malformed", f"{path}:{line}: item {index}: {error}"))
            continue
        if folders:
            utterance = replace(utterance, audio=None)
        found = [*record_faults(to_dict(utterance)), *_unknown_types(utterance, schema, info)]
        if utterance.id in seen:
            found.append(Fault("duplicate-id", "its audio_id stands twice"))
        seen.add(utterance.id)
        if folders and not allow_missing_audio and utterance.id not in folders[0].files:
            found.append(Fault("missing-audio", f"no recording {utterance.id}.* in {folders[0].path}"))
        where = f'{path}:{line}: item {index} (audio_id "{utterance.id}")'
        faults += [Fault(fault.code, f"{where}: {fault.message}") for fault in found]
        if not faults:
            utterances += _renditions(utterance, folders, spoken, item.get(FIELD))
    if faults:
        more = f" ({len(faults)} such faults in all)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0].message}{more}; correct the file{_advice(faults)}")
    return utterances


def _read_item(item: Mapping[str, Any], path: Path, split: str | None, repair_offsets: bool) -> Utterance:
    """One item, with what our own writer said besides, and without audio that is not there."""
    utterance = from_carry(to_utterance(item, path.stem, repair_offsets), item.get(FIELD), path.parent)
    if utterance.audio is not None and not os.path.isfile(utterance.audio.path):
        utterance = replace(utterance, audio=None)
    return utterance if split is None else replace(utterance, split=split)


def _unknown_types(utterance: Utterance, schema: Schema | None, info: Path) -> list[Fault]:
    """Types that the ``dataset_info.json`` beside the file does not list; none to be found without one."""
    if schema is None:
        return []
    entity_types = {entity.type for entity in utterance.entities} - set(schema.entity_types)
    relation_types = {relation.type for relation in utterance.relations} - set(schema.relation_types)
    return [
        Fault("unknown-type", f'type "{name}" is not listed in {info}')
        for name in sorted(entity_types | relation_types)
    ]


def read_dataset_info(path: PathLike) -> Schema:
    """The schema in a ``dataset_info.json``, types in its sequence.

    When a built-in schema has the same types, its allowed argument pairs and words are taken over. Raises
    :class:`DataError` on a missing or malformed file, :class:`SchemaError` on impossible names.
    """
    path = Path(path)
    info = read_json(path)
    lists = [info.get(key) if isinstance(info, dict) else None for key in ("entities_type", "relations_type")]
    for key, names in zip(("entities_type", "relations_type"), lists, strict=True):
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DataError(f'{path}: "{key}" is {names!r}; expected a list of one or more names')
        count = info.get(f"{key}_num")
        if count is not None and count != len(names):
            raise DataError(f'{path}: "{key}_num" is {count!r}, but "{key}" has {len(names)} names; correct one')
    entity_types, relation_types = (tuple(strip_brackets(name) for name in names or ()) for names in lists)
    schema = Schema(str(info.get("datasets") or path.parent.name), entity_types, relation_types)
    for known in SCHEMAS.values():
        if set(known.entity_types) == set(entity_types) and set(known.relation_types) == set(relation_types):
            return replace(known, entity_types=entity_types, relation_types=relation_types)
    return schema


def _advice(faults: Sequence[Fault]) -> str:
    codes = {fault.code for fault in faults}
    if codes & {"bad-span", "offset-mismatch"}:
        return " or have unambiguous offsets repaired (--repair-offsets)"
    if "missing-audio" in codes:
        return ", add the recordings or allow missing audio (--allow-missing-audio)"
    return ""


ITEM_KEYS = ("sentence", "audio_id", "data_annotation", FIELD)


def to_utterance(item: object, split: str, repair_offsets: bool = False) -> Utterance:
    """One item by the data sets' own keys, without audio. Raises ``ValueError`` where its form is another."""
    if not isinstance(item, Mapping):
        raise ValueError("not an object")
    text, audio_id, annotation = item.get("sentence"), item.get("audio_id"), item.get("data_annotation")
    if not isinstance(text, str):
        raise ValueError(f'"sentence" is {text!r}; expected a string')
    audio_id = _id(audio_id, "audio_id")
    if "/" in audio_id or "\\" in audio_id:
        raise ValueError(f'"audio_id" is {audio_id!r}; expected a name without folders')
    if not isinstance(annotation, list) or not all(isinstance(part, Mapping) for part in annotation):
        raise ValueError('"data_annotation" is not a list of objects')
    kinds = {part.get("type") for part in annotation if isinstance(part.get("type"), str)}
    if kinds - {"entity", "relation"} or any(not isinstance(part.get("type"), str) for part in annotation):
        raise ValueError('"data_annotation" holds something that is neither "entity" nor "relation"')
    ids: dict[str, str] = {}
    entities: list[Entity] = []
    repaired: list[str] = []
    for part in (part for part in annotation if part["type"] == "entity"):
        given = _id(part.get("id"), "id")
        if given in ids:
            raise ValueError(f'two entities have the id "{given}"')
        ids[given] = f"e{len(ids)}"
        entity = _entity(part.get("value"), ids[given])
        if repair_offsets and text[entity.start : entity.end] != entity.text:
            start = only_place(text, entity.text)
            if start is not None:
                entity = replace(entity, start=start, end=start + len(entity.text))
                repaired.append(entity.id)
        entities.append(entity)
    relations = [link for part in annotation if part["type"] == "relation" for link in _relations(part, ids)]
    extra = {"repaired_offsets": repaired} if repaired else {}
    utterance = Utterance(audio_id, None, text, tuple(entities), tuple(relations), split, extra=extra)
    return with_other_keys(utterance, item, "speechre-json", ITEM_KEYS)


def _id(value: object, key: str) -> str:
    """Ids come as strings in some files and as numbers in others."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise ValueError(f'"{key}" is {value!r}; expected a string or a whole number')
    return str(value)


def _entity(value: object, entity_id: str) -> Entity:
    if not isinstance(value, Mapping):
        raise ValueError("an entity has no value")
    text, start, end = value.get("text"), value.get("start"), value.get("end")
    label = _one_label(value.get("labels"))
    if not isinstance(text, str) or not text:
        raise ValueError(f"an entity has the text {text!r}; expected a string")
    for offset in (start, end):
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise ValueError(f'entity "{text}" has the offset {offset!r}; expected a whole number from 0 on')
    return Entity(text, strip_brackets(label), entity_id, start, end)


def _one_label(labels: object) -> str:
    if isinstance(labels, list) and len(labels) == 1:
        labels = labels[0]
    if not isinstance(labels, str) or not labels:
        raise ValueError(f"an entity has the labels {labels!r}; expected one")
    return labels


def _relations(part: Mapping[str, Any], ids: Mapping[str, str]) -> list[Relation]:
    labels = part.get("labels")
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"a relation has the labels {labels!r}; expected a list of one or more names")
    ends = [_id(part.get(key), key) for key in ("from_id", "to_id")]
    for end in ends:
        if end not in ids:
            raise ValueError(f'relation {labels} points at entity "{end}", but there are {len(ids)}: {", ".join(ids)}')
    return [Relation(ids[ends[0]], ids[ends[1]], strip_brackets(label)) for label in labels]


# --- audio ---


@dataclass(frozen=True)
class _Folder:
    """A folder of recordings: its name and the file of each audio id."""

    path: Path
    name: str
    files: Mapping[str, Path]

    @classmethod
    def scan(cls, path: Path) -> _Folder:
        if not os.path.isdir(path):
            raise DataError(f"{path}: no such folder of recordings; check the path")
        files: dict[str, Path] = {}
        for file in sorted(path.iterdir()):
            if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                if file.stem in files:
                    raise DataError(f"{path}: {files[file.stem].name} and {file.name} have the same id; delete one")
                files[file.stem] = file
        return cls(path, path.resolve().name, files)


def _renditions(
    utterance: Utterance, folders: Sequence[_Folder], spoken: Mapping[str, Mapping[str, str]], carried: object
) -> list[Utterance]:
    row = spoken.get(utterance.id, {})
    if row.get("spoken_text"):
        utterance = replace(utterance, extra={**utterance.extra, "spoken_text": row["spoken_text"]})
    out: list[Utterance] = []
    for index, folder in enumerate(folders):
        file = folder.files.get(utterance.id)
        if file is not None:
            audio = with_carried_duration(AudioRef(os.fspath(file), 0.0, round(audio_duration_s(file), 3)), carried)
            utterance_id = f"{utterance.id}@{folder.name}" if index else utterance.id
            is_known = isinstance(carried, Mapping) and (utterance.speaker is not None or "audio" in carried)
            speaker = row.get(f"{folder.name}_voice") or (utterance.speaker if is_known and not index else folder.name)
            out.append(replace(utterance, id=utterance_id, audio=audio, speaker=speaker))
        elif index == 0:
            out.append(utterance)
    return out or [utterance]


def with_carried_duration(audio: AudioRef, carried: object) -> AudioRef:
    """The duration as the manifest had it, where it is that of this recording but for rounding."""
    window = carried.get("audio") if isinstance(carried, Mapping) else None
    if not isinstance(window, Mapping) or window.get("start_s") != 0 or audio.duration_s is None:
        return audio
    duration_s = window.get("duration_s")
    if duration_s is None or (is_number(duration_s) and abs(duration_s - audio.duration_s) <= 0.001):
        return replace(audio, duration_s=duration_s)
    return audio


def _read_spoken(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from error
    out: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values() or not row.get("audio_id") or "spoken_text" not in row:
            raise DataError(
                f"{path}:{line}: expected tab-separated columns with audio_id and spoken_text in every line"
            )
        if row["audio_id"] in out:
            raise DataError(f'{path}:{line}: audio_id "{row["audio_id"]}" stands twice')
        out[row["audio_id"]] = row
    return out
