"""The JSON of Speech-CoNLL04, Speech-ReTACRED and CommonVoice-SpeechRE, written; ``data.readers`` reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import FIELD, Losses, offset_notes, to_carry, to_json
from speechre.data.formats.mentions import with_offsets
from speechre.data.formats.recordings import embedded, safe_name, window_of, write_recordings
from speechre.data.formats.rows import of_name, own_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.readers import ITEM_KEYS, read_speechre_json, to_utterance
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.schema import add_brackets
from speechre.types import Entity, Utterance


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`."""
    utterances = read_speechre_json(
        source,
        audio_dirs=options.audio_dirs,
        split=options.split,
        allow_missing_audio=options.allow_missing_audio,
        repair_offsets=options.repair_offsets,
        spoken_tsv=options.spoken_tsv,
    )
    return Imported(utterances, offset_notes(utterances))


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. ``audio_output`` gets the recordings by id; windows are cut out. A recording that is
    there already must be the same: one of another sound may be a source that is still to be read.
    """
    losses, items, num_cut = Losses(), [], 0
    recordings: list[tuple[Path, Callable[[], bytes]]] = []
    folder = target.parent if options.audio_output is None else None
    for utterance in utterances:
        item = to_item(utterance, name)
        plain = to_utterance(item, target.stem)
        if options.audio_output is not None and utterance.audio is not None:
            window = window_of(utterance, name)
            place = options.audio_output / (safe_name(utterance.id) + window.suffix)
            recordings.append((place, partial(_sound_of, utterance, name)))
            num_cut += not window.is_whole
            plain = replace(plain, audio=replace(utterance.audio))
        losses.add(utterance, plain)
        if not options.is_plain:
            item |= of_name(FIELD, to_carry(utterance, replace(plain, audio=None), folder=folder))
        items.append(to_json(item))
    write_recordings(recordings)
    write_atomically(target, "[\n" + ",\n".join(items) + "\n]\n")
    notes = losses.notes(name, options.is_plain)
    return (
        [*notes, f"{num_cut} recordings are windows of longer files; they were cut out as FLAC"] if num_cut else notes
    )


def _sound_of(utterance: Utterance, name: str) -> bytes:
    return embedded(utterance, name)[0]


def to_item(utterance: Utterance, name: str) -> dict[str, Any]:
    """An utterance as the data sets have it: ids of entities count from 0, types in brackets, relations by these ids.

    Raises :class:`DataError` on an entity without offsets whose text does not stand in the sentence exactly once, and
    on an id with a slash.
    """
    if "/" in utterance.id or "\\" in utterance.id:
        raise DataError(
            f'utterance "{utterance.id}": {name} finds recordings by their id, a file name without folders; give the '
            "utterance an id without slashes"
        )
    entities, lost = with_offsets(utterance.text, utterance.entities)
    if lost:
        raise DataError(
            f'utterance "{utterance.id}": {", ".join(lost)} without offsets, and the text does not say where: '
            f"{name} needs spans; give the entities start and end"
        )
    place = {entity.id: index for index, entity in enumerate(entities)}
    annotation: list[dict[str, Any]] = [
        {"id": str(place[e.id]), "type": "entity", "value": _value(e)} for e in entities
    ]
    for relation in utterance.relations:
        head, tail = place[relation.head_id], place[relation.tail_id]
        is_left = (entities[head].start or 0) <= (entities[tail].start or 0)
        annotation.append(
            {
                "type": "relation",
                "to_id": tail,
                "labels": [relation.type],
                "from_id": head,
                "direction": "left" if is_left else "right",
            }
        )
    item = {"sentence": utterance.text, "audio_id": utterance.id, "data_annotation": annotation}
    return item | own_keys(utterance, "speechre-json", ITEM_KEYS)


def _value(entity: Entity) -> dict[str, Any]:
    return {"end": entity.end, "text": entity.text, "start": entity.start, "labels": add_brackets(entity.type)}
