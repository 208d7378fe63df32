"""What people annotated in Label Studio, as utterances again.

Both exports with whole annotations are read: JSON, and JSON_MIN, which leaves out relations and the ids of regions.
Tasks that ``speechre data to-label-studio`` made carry their manifest line; of other projects the transcript is taken
from the task's ``text``, and types may stand in angle brackets. What an annotation's results say is read by
:mod:`speechre.data.label_studio_results`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from speechre.data.label_studio import (
    AUDIO_KEY,
    NOTE_KEY,
    RECORD_KEY,
    TEXT_KEY,
    from_region_id,
)
from speechre.data.label_studio_results import LABELS, Found, Json, read_results
from speechre.data.record import record_faults
from speechre.data.spans import place_entity
from speechre.data.store import PathLike, from_dict, read_json, to_dict
from speechre.errors import DataError, UsageError
from speechre.types import Entity, Relation, Utterance

EXTRA_KEY = "label_studio"
"""Where an utterance's ``extra`` keeps what Label Studio says beyond entities and relations."""

_OWN_DATA_KEYS = {AUDIO_KEY, TEXT_KEY, NOTE_KEY, RECORD_KEY}
_MIN_KEYS = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
_NUM_FAULTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ExportedTask:
    """One task of an export, with the annotations that were submitted (those that were skipped are counted).

    ``rest`` has the task's own keys but for data, annotations and predictions. ``is_min`` says that the annotations
    come without relations.
    """

    name: str
    data: Json
    annotations: tuple[Json, ...]
    num_skipped: int
    rest: Json
    is_min: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """The annotated utterances, and the ids of those that nobody annotated or that were skipped.

    ``unread`` has, by the type of a result that is neither an entity nor a relation between two, the name of the task
    for each such result.
    """

    utterances: tuple[Utterance, ...]
    unannotated: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_export(path: PathLike) -> list[ExportedTask]:
    """The tasks of an export in JSON or JSON_MIN.

    Raises :class:`DataError` on a file that cannot be read or that is neither.
    """
    path = Path(path)
    items = read_json(path)
    if not isinstance(items, list) or not items:
        raise DataError(f"{path}: expected a list of one or more tasks, as Label Studio exports it as JSON or JSON_MIN")
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise DataError(f"{path}: task {index + 1} is a {type(item).__name__}; expected an object")
    is_min = [not isinstance(item.get("annotations"), list) for item in items]
    if all(is_min):
        return _min_tasks(path, items)
    if any(is_min):
        raise DataError(f'{path}: task {is_min.index(True) + 1} has no list of "annotations"; export it as JSON')
    return [_task(path, index, item) for index, item in enumerate(items)]


def _task(path: Path, index: int, item: Json) -> ExportedTask:
    name = f"task {item.get('id', f'number {index + 1}')}"
    data = item.get("data")
    if not isinstance(data, Mapping):
        raise DataError(f'{path}: {name} has no object as "data"; expected a task that Label Studio exported')
    for annotation in item["annotations"]:
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
            raise DataError(f'{path}: {name} has an annotation without a list as "result"; export it again as JSON')
    done = tuple(a for a in item["annotations"] if not a.get("was_cancelled"))
    rest = {key: value for key, value in item.items() if key not in ("data", "annotations", "predictions")}
    return ExportedTask(name, data, done, len(item["annotations"]) - len(done), rest, False)


def _min_tasks(path: Path, items: Sequence[Json]) -> list[ExportedTask]:
    """JSON_MIN has an object an annotation: the task's data, a key for each tag that was used, and the annotator."""
    tasks: dict[str, ExportedTask] = {}
    for index, item in enumerate(items):
        if not isinstance(item.get(TEXT_KEY), str):
            raise DataError(
                f'{path}: task {index + 1} has no list of "annotations" (JSON) and no "{TEXT_KEY}" (JSON_MIN); '
                "expected what Label Studio exports as JSON or JSON_MIN"
            )
        name = f"task {item.get('id', f'number {index + 1}')}"
        found = {key: value for key, value in item.items() if _are_regions(value)}
        annotation: dict[str, Any] = {key: item[key] for key in _MIN_KEYS if item.get(key) is not None}
        annotation["completed_by"] = annotation.pop("annotator", None)
        annotation["id"] = annotation.pop("annotation_id", None)
        annotation["result"] = [
            {"from_name": key, "type": _kind_of(region), "value": region}
            for key, some in found.items()
            for region in some
        ]
        data = {key: value for key, value in item.items() if key not in (*_MIN_KEYS, *found, "id")}
        known = tasks.get(name, ExportedTask(name, data, (), 0, {"id": item.get("id")}, True))
        is_annotated = annotation["id"] is not None
        tasks[name] = replace(known, annotations=(*known.annotations, annotation)) if is_annotated else known
    return list(tasks.values())


def _are_regions(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and _kind_of(one) for one in value)


def _kind_of(region: Json) -> str:
    """The type of a region's result, which JSON_MIN does not say; nothing where it is none on text or audio."""
    return next((kind for kind in LABELS if isinstance(region.get(kind), list) and "start" in region), "")


# --- who annotated what ---


def annotator_of(annotation: Json) -> str:
    """The annotator's e-mail address where the export has it, else the number as text; "unknown" where it has none."""
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    return "unknown" if who is None else str(who)


def _is_by(annotation: Json, annotator: str) -> bool:
    who = annotation.get("completed_by")
    names = (who.get("email"), who.get("id")) if isinstance(who, Mapping) else ()
    return annotator in [annotator_of(annotation), *(str(name) for name in names if name is not None)]


def annotators_of(tasks: Sequence[ExportedTask]) -> list[str]:
    """All annotators, in the sequence of the alphabet."""
    return sorted({annotator_of(annotation) for task in tasks for annotation in task.annotations})


def from_export(
    path: PathLike,
    tasks: Sequence[ExportedTask],
    *,
    audio_root: PathLike = "",
    annotator: str | None = None,
    keep_unannotated: bool = False,
    allow_missing_relations: bool = False,
    keep_provenance: bool = True,
) -> Reading:
    """The utterances of an export, one a task.

    Of several annotations of one task the ground truth is taken, if one is marked as such; with ``annotator`` (an
    e-mail address or a number), that one's alone. Entities that are where the manifest had them keep their ids, their
    times and their sequence; ``keep_provenance`` puts what else the export says into ``extra["label_studio"]``.
    ``keep_unannotated`` gives tasks without an annotation as the manifest has them.

    Raises :class:`DataError` with the first fault, and the number of all: several annotations to choose from, regions
    whose offsets do not fit the text, without one type or with a relation that has none, ids that come twice; and on
    JSON_MIN, unless ``allow_missing_relations``. Raises :class:`UsageError` on an annotator who annotated nothing.
    """
    if any(task.is_min for task in tasks) and not allow_missing_relations:
        raise DataError(
            f"{path}: a JSON_MIN export, which holds no relations; export as JSON, or allow them to be missing "
            "(--allow-missing-relations)"
        )
    if annotator is not None and not any(_is_by(a, annotator) for task in tasks for a in task.annotations):
        known = ", ".join(annotators_of(tasks)) or "nobody"
        raise UsageError(f'{path}: no annotation by "{annotator}"; annotated by {known}')
    utterances: list[Utterance] = []
    unannotated: list[str] = []
    skipped: list[str] = []
    faults: list[str] = []
    unread: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for task in tasks:
        try:
            base, unplaced = _base(task, audio_root)
            annotation = _choose(task, annotator)
            if annotation is None:
                (skipped if task.num_skipped and annotator is None else unannotated).append(base.id)
                utterance = base if keep_unannotated else None
            else:
                found = read_results(annotation["result"], base.text, is_ours=RECORD_KEY in task.data)
                utterance = _annotated(base, unplaced, found, annotation, task, keep_provenance)
                for item in found.others:
                    unread.setdefault(str(item.get("type", "unknown")), []).append(task.name)
            if utterance is not None:
                if utterance.id in seen:
                    raise ValueError(f'utterance "{utterance.id}" stands in {seen[utterance.id]} already')
                seen[utterance.id] = task.name
                utterances.append(utterance)
        except (ValueError, DataError) as error:
            faults.append(f"{task.name}: {error}")
    if faults:
        more = f" (and {len(faults) - _NUM_FAULTS_SHOWN} more)" if len(faults) > _NUM_FAULTS_SHOWN else ""
        raise DataError(f"{path}: {'; '.join(faults[:_NUM_FAULTS_SHOWN])}{more}; correct it in Label Studio")
    left = {kind: tuple(names) for kind, names in unread.items()}
    return Reading(tuple(utterances), tuple(unannotated), tuple(skipped), left)


def _choose(task: ExportedTask, annotator: str | None) -> Json | None:
    some = [a for a in task.annotations if annotator is None or _is_by(a, annotator)]
    truths = [a for a in some if a.get("ground_truth")]
    if len(some) > 1 and len(truths) > 1:
        raise ValueError(f"{len(truths)} of {len(some)} annotations are marked as ground truth; keep one mark")
    if len(some) > 1 and not truths:
        names = [annotator_of(a) for a in some]
        if len(set(names)) == 1:  # reading each annotator's does not help
            raise ValueError(f"{len(some)} annotations by {names[0]}; delete one, or mark one as ground truth")
        raise ValueError(
            f"{len(some)} annotations (by {', '.join(names)}); mark one as ground truth, or read each annotator's "
            "(--annotator NAME, --by-annotator)"
        )
    return (truths or some)[0] if some else None


# --- utterances ---


def _base(task: ExportedTask, audio_root: PathLike) -> tuple[Utterance, set[str]]:
    """The manifest's utterance, with the text that was shown, and the ids of the entities that were not shown."""
    text = task.data.get(TEXT_KEY)
    if not isinstance(text, str):
        raise ValueError(f'its data has {text!r} as "{TEXT_KEY}"; expected the transcript')
    own = task.data.get(RECORD_KEY)
    if own is None:
        return Utterance(str(task.data.get("id") or task.name.replace(" ", "-")), None, text), set()
    record = own.get("utterance") if isinstance(own, Mapping) else None
    unplaced = own.get("unplaced", []) if isinstance(own, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(unplaced, list):
        raise ValueError(f'its data has a "{RECORD_KEY}" that speechre did not write')
    utterance = from_dict(record, audio_root)
    return (utterance if utterance.text == text else replace(utterance, text=text)), set(map(str, unplaced))


def _annotated(
    base: Utterance, unplaced: set[str], found: Found, annotation: Json, task: ExportedTask, keep_provenance: bool
) -> Utterance:
    ids = _entity_ids(base, found.entities, has_ids=not task.is_min)
    by_id = {ids[key]: replace(entity, id=ids[key]) for key, entity in found.entities.items()}
    entities = [
        entity if entity.id in unplaced else _same_or(entity, by_id.pop(entity.id), base.text)
        for entity in base.entities
        if entity.id in unplaced or entity.id in by_id
    ]
    entities += sorted(by_id.values(), key=lambda e: (e.start or 0, e.end or 0, e.id))
    linked = dict.fromkeys(Relation(ids[head], ids[tail], kind) for head, tail, kind in found.links)
    # What was not shown was not judged; what was shown twice is still there if one is.
    known = [r for r in base.relations if r in linked or {r.head_id, r.tail_id} & unplaced]
    kept = {entity.id for entity in entities}
    relations = [r for r in known if {r.head_id, r.tail_id} <= kept]
    relations += [r for r in linked if r not in base.relations]
    utterance = replace(base, entities=tuple(entities), relations=tuple(relations))
    if keep_provenance:
        extra = _extra(annotation, task, found, ids)
        utterance = replace(utterance, extra={**base.extra, EXTRA_KEY: extra})
    faults = record_faults(to_dict(utterance))
    if faults:
        raise ValueError(f'utterance "{utterance.id}": {faults[0].message}')
    return utterance


def _same_or(old: Entity, new: Entity, text: str) -> Entity:
    """``old`` where nothing was changed, so that its times stay and a span is not made up; else ``new``."""
    shown = place_entity(old, text)
    is_same = shown is not None and (shown.start, shown.end, shown.type) == (new.start, new.end, new.type)
    if is_same:
        return old
    has_moved = shown is None or (shown.start, shown.end) != (new.start, new.end)
    return new if has_moved else replace(new, start_s=old.start_s, end_s=old.end_s)


def _entity_ids(base: Utterance, found: Mapping[str, Entity], *, has_ids: bool) -> dict[str, str]:
    """The entity id of each region: the manifest's own, or the next free one of ``e0``, ``e1``, ..."""
    known = {entity.id for entity in base.entities}
    out: dict[str, str] = {}
    if has_ids:
        out = {key: from_region_id(key) for key in found if from_region_id(key) in known}
    else:
        free: dict[tuple[int | None, int | None, str], list[str]] = {}
        for entity in base.entities:
            shown = place_entity(entity, base.text)
            if shown is not None:
                free.setdefault((shown.start, shown.end, shown.type), []).append(entity.id)
        for key, entity in found.items():
            same = free.get((entity.start, entity.end, entity.type))
            if same:
                out[key] = same.pop(0)
    number = 0
    taken = known | set(out.values())
    for key, _ in sorted(found.items(), key=lambda pair: (pair[1].start or 0, pair[1].end or 0)):
        if key in out:
            continue
        while f"e{number}" in taken:
            number += 1
        out[key] = f"e{number}"
        taken.add(out[key])
    return out


def _extra(annotation: Json, task: ExportedTask, found: Found, ids: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the export says and an utterance has no place for; parts that say nothing are left out."""
    known_region = ("id", "type", "from_name", "to_name", "value")
    regions = {ids[key]: _without(region, known_region) for key, region in found.regions.items()}
    for key, region in found.regions.items():
        kind = region["type"]
        said = ("start", "end", "text", kind) if kind == "labels" else ("text", kind)  # of others these are paths
        regions[ids[key]].update(_without(region["value"], said))
        if from_region_id(key) != ids[key] and not task.is_min:
            regions[ids[key]]["id"] = key
    relations = [
        {"head": ids[item["from_id"]], "tail": ids[item["to_id"]], **rest}
        for item in found.link_extras
        if (rest := _without(item, ("type", "from_id", "to_id", "labels", "direction")))
    ]
    parts = {
        "task": dict(task.rest),
        "data": _without(task.data, tuple(_OWN_DATA_KEYS) if RECORD_KEY in task.data else (TEXT_KEY,)),
        "annotation": _without(annotation, ("result",)),
        "regions": {key: rest for key, rest in regions.items() if rest},
        "relations": relations,
        "results": [dict(item) for item in found.others],
    }
    return {key: part for key, part in parts.items() if part}


def _without(item: Json, keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in keys}
