"""What a format has no place for: found by comparison, said in words, and carried beside the format's own fields.

A writer makes a row and reads it back as a stranger would. What then differs from the utterance is what the format
cannot hold. It goes into one field of our own, ``speechre``, so that our reader gives the very same utterance again;
other programs pass over it. ``of`` in it is a checksum of the text, speaker and annotation that the stranger reads:
where somebody changed them since, the two no longer belong together, and that is an error rather than a silent choice.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from speechre.data.formats.table import Imported, ImportOptions
from speechre.data.store import from_dict, parse_json, to_dict
from speechre.errors import DataError, UsageError
from speechre.types import AudioRef, Utterance

FIELD = "speechre"
INDEX = "index"
GUESSED = ("ambiguous_offsets", "missing_offsets")
DEFAULT_SPLIT = "train"
SPLITS = ("train", "dev", "validation", "test")
PARTS = (
    "ids",
    "texts",
    "recordings",
    "audio windows",
    "speakers",
    "splits",
    "entities in no relation",
    "entities",
    "entity types",
    "entity offsets",
    "entity ids",
    "entity times",
    "relations",
    "sequence",
    "utterance sequence",
    "extra",
)
"""What a format may have no place for, in the words of messages and of docs/formats.md."""


# --- the field of our own ---


def to_carry(
    utterance: Utterance, plain: Utterance, *, folder: Path | None = None, index: int | None = None
) -> dict[str, Any] | None:
    """What ``plain``, the utterance as the format's own fields give it, lacks or has otherwise; ``None``: nothing.

    ``folder`` is that of the file, for formats that name no recording: the path is kept relative to it. ``index`` is
    the utterance's place in the manifest, for formats that sort.
    """
    mine, theirs = _record(utterance), _record(plain)
    different = {key: mine.get(key) for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)}
    if folder is not None and utterance.audio is not None and plain.audio is None:
        different["audio"] = to_dict(utterance, folder)["audio"]
    if index is not None:
        different[INDEX] = index
    return {"of": _checksum(theirs), **different} if different else None


def from_carry(plain: Utterance, carried: object, folder: Path | None = None) -> Utterance:
    """The inverse of :func:`to_carry`; a recording's path is taken from ``folder``.

    Raises ``ValueError`` with the reason where the two do not belong together.
    """
    if carried is None:
        return plain
    if not isinstance(carried, Mapping):
        raise ValueError(f'"{FIELD}" is {carried!r}; expected an object')
    theirs = _record(plain)
    if carried.get("of") != _checksum(theirs):
        raise ValueError(
            f'its own fields were changed after the export, and "{FIELD}" still holds what they were made from; '
            f'delete "{FIELD}" to go by the fields'
        )
    record = theirs | {key: value for key, value in carried.items() if key not in ("of", INDEX)}
    if "extra" in carried:
        # Columns that somebody added since stay; what was guessed about offsets is known now.
        added = {key: value for key, value in theirs["extra"].items() if key not in GUESSED}
        record["extra"] = added | dict(carried["extra"] if isinstance(carried["extra"], Mapping) else {})
    window = record.pop("audio")
    kept = {k: v for k, v in window.items() if v is not None} if isinstance(window, Mapping) else {}
    if plain.audio is not None:
        record["audio"] = kept | {"path": plain.audio.path}
    elif folder is not None and isinstance(kept.get("path"), str):
        record["audio"] = kept | {"path": os.path.normpath(folder / kept["path"])}
    else:
        record["audio"] = None
    try:
        return from_dict({key: value for key, value in record.items() if value is not None or key == "audio"})
    except DataError as error:
        raise ValueError(f'"{FIELD}": {error}') from error


def _record(utterance: Utterance) -> dict[str, Any]:
    """The canonical record; of the recording the window only, since files move."""
    record = to_dict(replace(utterance, audio=None))
    audio = utterance.audio
    record["audio"] = None if audio is None else {"start_s": audio.start_s, "duration_s": audio.duration_s}
    return record


def _checksum(record: Mapping[str, Any]) -> int:
    content = {key: record.get(key) for key in ("text", "speaker", "entities", "relations")}
    return zlib.crc32(json.dumps(content, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"))


# --- what is said about it ---


class Losses:
    """Counts, over all utterances, what a format has no place for."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, utterance: Utterance, plain: Utterance) -> None:
        """Compare an utterance with what the format's own fields give."""
        self.counts.update(differences(utterance, plain))

    def notes(self, name: str, is_plain: bool, place: str = f'the field "{FIELD}"') -> list[str]:
        """One sentence, or none where the format holds all."""
        if not self.counts:
            return []
        parts = ", ".join(f"{part} ({self.counts[part]})" for part in PARTS if self.counts[part])
        rest = "they are left out" if is_plain else f"{place} keeps them, which other programs pass over"
        return [f"{name} has no place of its own for (utterances): {parts}; {rest}"]


def differences(before: Utterance, after: Utterance) -> set[str]:
    """Which of :data:`PARTS` of ``before`` are lost or changed in ``after``; what is new in ``after`` is no loss."""
    found = set()
    for part, name in (("ids", "id"), ("texts", "text"), ("speakers", "speaker"), ("splits", "split")):
        if getattr(before, name) not in (None, getattr(after, name)):
            found.add(part)
    if dict(before.extra) != dict(after.extra):
        found.add("extra")
    if (before.audio is None) != (after.audio is None):
        found.add("recordings")
    elif before.audio and after.audio:
        is_same_start = before.audio.start_s == after.audio.start_s
        if not is_same_start or before.audio.duration_s not in (None, after.audio.duration_s):
            found.add("audio windows")
    return found | _entity_differences(before, after) | _relation_differences(before, after)


def _entity_differences(before: Utterance, after: Utterance) -> set[str]:
    found = set()
    related = {t for r in before.relations for t in (r.head_id, r.tail_id)}
    texts = [Counter(e.text for e in u.entities) for u in (before, after)]
    if texts[0] != texts[1]:
        missing = texts[0] - texts[1]
        loose = Counter(e.text for e in before.entities if e.id not in related)
        found.add("entities in no relation" if missing and not missing - loose else "entities")
    common = {text for text, count in texts[0].items() if texts[1][text] == count}
    for part, value_of in (
        ("entity types", attrgetter("type", "text")),
        ("entity offsets", attrgetter("start", "end")),
        ("entity times", attrgetter("start_s", "end_s")),
    ):
        told = [
            Counter((e.text, *values) for e in u.entities if e.text in common and None not in (values := value_of(e)))
            for u in (before, after)
        ]
        if told[0] - told[1]:
            found.add(part)
    if [e.text for e in before.entities if e.text in common] != [e.text for e in after.entities if e.text in common]:
        found.add("sequence")
    elif texts[0] == texts[1] and [e.id for e in before.entities] != [e.id for e in after.entities]:
        found.add("entity ids")
    return found


def _relation_differences(before: Utterance, after: Utterance) -> set[str]:
    told = [[(t.head.text, t.relation, t.tail.text) for t in u.triplets] for u in (before, after)]
    if told[0] == told[1]:
        return set()
    return {"sequence" if Counter(told[0]) == Counter(told[1]) else "relations"}


def split_order(split: str) -> tuple[int, str]:
    """How splits are sorted, in formats with a file a split: train, dev, test, then by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def check_replaces_all(target: Path, pattern: str, names: Iterable[str]) -> None:
    """Raises :class:`UsageError` where files of an earlier export would stay and be read with the new ones."""
    there = target.glob(pattern) if os.path.isdir(target) else ()
    stale = sorted(path.name for path in there if path.name not in set(names))
    if stale:
        raise UsageError(
            f"{target}: {', '.join(stale)} from another export would stay and be read with this one; delete it "
            "or choose another folder"
        )


# --- reading ---


def collect(path: Path, rows: Iterable[tuple[str, Utterance, object]], options: ImportOptions, name: str) -> Imported:
    """Utterances from rows (file and line, own fields, carried field): restored, their recordings found, ids checked.

    Raises :class:`DataError` with file and line, and on ``path`` where there is no row.
    """
    indexed: list[tuple[int, Utterance]] = []
    first_place: dict[str, str] = {}
    for number, (place, plain, carried) in enumerate(rows):
        where = f'{place} (utterance "{plain.id}")'
        try:
            utterance = from_carry(plain, carried, path.parent)
            from_dict(to_dict(utterance))  # what no manifest could hold is a fault of the source
            utterance = replace(utterance, audio=_located(utterance.audio, options))
        except (ValueError, DataError) as error:
            raise DataError(f"{where}: {error}") from error
        if utterance.id in first_place:
            raise DataError(f"{where}: its id stands at {first_place[utterance.id]} already; make it unique")
        first_place[utterance.id] = place
        if options.split is not None:
            utterance = replace(utterance, split=options.split)
        index = carried.get(INDEX) if isinstance(carried, Mapping) else None
        indexed.append((index if isinstance(index, int) else number, utterance))
    if not indexed:
        raise DataError(f"{path}: holds no utterance; expected {name}")
    utterances = [utterance for _, utterance in sorted(indexed, key=lambda pair: pair[0])]
    return Imported(utterances, offset_notes(utterances))


def _located(audio: AudioRef | None, options: ImportOptions) -> AudioRef | None:
    """The recording where it is now: as named, or by its file name in one of the folders."""
    if audio is None:
        return None
    if options.audio_dirs:
        names = [folder / Path(audio.path).name for folder in options.audio_dirs]
        places = [place for place in names if os.path.isfile(place)]
    else:
        places = [Path(audio.path)] if os.path.isfile(audio.path) else []
    if places:
        return replace(audio, path=str(places[0]))
    if options.allow_missing_audio:
        return None
    where = (
        f"{Path(audio.path).name} in {', '.join(map(str, options.audio_dirs))}" if options.audio_dirs else audio.path
    )
    raise ValueError(
        f"no recording {where}; name its folder (--audio DIR) or keep utterances without one (--allow-missing-audio)"
    )


def offset_notes(utterances: Iterable[Utterance]) -> list[str]:
    """What was decided about offsets that the format does not have, for people."""
    counts: Counter[str] = Counter()
    for utterance in utterances:
        for key in GUESSED:
            counts[key] += len(utterance.extra.get(key, ()))
    notes = []
    if counts["ambiguous_offsets"]:
        notes.append(
            f"{counts['ambiguous_offsets']} entities stand in several places of their text; the place nearest to what "
            'they are related to was taken (ids in extra "ambiguous_offsets")'
        )
    if counts["missing_offsets"]:
        notes.append(
            f"{counts['missing_offsets']} entities do not stand in their text and have no offsets "
            '(ids in extra "missing_offsets")'
        )
    return notes


def json_cell(place: str, content: str) -> object:
    """A carried field that stands as JSON in a cell of text. Raises :class:`DataError`."""
    try:
        return parse_json(content)
    except ValueError as error:
        raise DataError(f'{place}: "{FIELD}" is not JSON: {error}') from error


def to_json(value: object) -> str:
    """JSON on one line, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
