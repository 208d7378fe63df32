"""One manifest of several annotators': what most of them marked, and the rest as a worklist for one who decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speechre.data.agreement import (
    Agreement,
    Annotators,
    End,
    Item,
    Marked,
    Place,
    crowded_places,
    item_text,
    items_of,
    split_end,
)
from speechre.data.label_studio import Suggestion, to_task
from speechre.data.store import PathLike
from speechre.errors import DataError
from speechre.types import Entity, Relation, Utterance

EXTRA_KEY = "agreement"
"""Where a merged utterance's ``extra`` says who marked what, and what was left out."""
MAJORITY_NAME = "majority"
_DECIDER = ""  # what no annotator is called


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged utterance, and what most of its annotators did not mark, with those who did."""

    utterance: Utterance
    rejected: Mapping[Item, tuple[str, ...]]


def merge_annotators(annotators: Annotators) -> list[Merged]:
    """Every utterance with the entities and relations that more than half of its annotators marked.

    An entity is a place with a type, a relation goes from place to place (with a type where an annotator marked several
    there: :func:`speechre.data.agreement.items_of`); its ends must have been kept. Of two annotators both must agree;
    an utterance that only one has stays as it is. Ids, spans and times are those of the first annotator who marked the
    item, and so is the sequence. ``extra["agreement"]`` has ``annotators``; ``entities``, who marked each by its id;
    ``relations``, who marked each, in their sequence; ``rejected``; and, by annotator, ``extra``: what stood in their
    ``extra`` and is not the same for all.

    The texts of an utterance must be the same, as :func:`speechre.data.agreement.measure_agreement` checks.
    """
    ids = dict.fromkeys(i for some in annotators.values() for i in some)
    return [_merge({name: some[i] for name, some in annotators.items() if i in some}) for i in ids]


def _merge(versions: Mapping[str, Utterance]) -> Merged:
    marks = {name: Marked(utterance) for name, utterance in versions.items()}
    items = items_of(marks)
    wanted = {item for item, names in items.items() if 2 * len(names) > len(marks)}
    entities, voters = _entities(marks, items, wanted)
    # A place without a type has one kept entity at most: each annotator marked one type there, and most of them this.
    id_of: dict[End, str] = {key: entity.id for key, entity in entities.items()}
    id_of |= {place: entity.id for (place, _), entity in entities.items()}
    crowded = crowded_places(marks)
    relations: dict[Relation, Item] = {}
    for mark in marks.values():
        # In the annotator's own sequence; a set of places has none.
        for head, kind, tail in mark.relation_items(crowded).values():
            if (head, kind, tail) in wanted and head in id_of and tail in id_of:
                relations.setdefault(Relation(id_of[head], id_of[tail], kind), (head, kind, tail))
    kept = {*entities, *relations.values()}
    rejected = {item: names for item, names in items.items() if item not in kept}
    first = next(iter(versions.values()))
    shared, own = _extras(versions)
    provenance: dict[str, Any] = {
        "annotators": list(versions),
        "entities": voters,
        "relations": [list(items[item]) for item in relations.values()],
        "rejected": [_rejected(item, names, first.text) for item, names in rejected.items()],
    }
    if own:
        provenance["extra"] = own
    utterance = replace(
        first,
        entities=tuple(entities.values()),
        relations=tuple(relations),
        extra={**shared, EXTRA_KEY: provenance},
    )
    return Merged(utterance, rejected)


def _entities(
    marks: Mapping[str, Marked], items: Mapping[Item, tuple[str, ...]], wanted: set[Item]
) -> tuple[dict[tuple[Place, str], Entity], dict[str, list[str]]]:
    """The kept entities by place and type, under ids of their own, and who marked each of them, by id."""
    out: dict[tuple[Place, str], Entity] = {}
    voters: dict[str, list[str]] = {}
    for mark in marks.values():
        for key, entity in mark.entities.items():
            if key in wanted and key not in out:
                free = (name for n in range(len(voters) + 1) if (name := f"e{n}") not in voters)
                entity_id = next(free) if entity.id in voters else entity.id
                out[key] = replace(entity, id=entity_id)
                voters[entity_id] = list(items[key])
    return out, voters


def _extras(versions: Mapping[str, Utterance]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all annotators' ``extra`` say alike, and the rest by annotator."""
    first, *others = (dict(utterance.extra) for utterance in versions.values())
    shared = {
        key: value for key, value in first.items() if all(key in other and other[key] == value for other in others)
    }
    own = {
        name: rest
        for name, utterance in versions.items()
        if (rest := {key: value for key, value in utterance.extra.items() if key not in shared})
    }
    return shared, own


def _rejected(item: Item, names: Sequence[str], text: str) -> dict[str, Any]:
    def end(one: End) -> dict[str, Any]:
        place, kind = split_end(one)
        said: dict[str, Any] = {"text": place}
        if not isinstance(place, str):
            said = {"text": text[slice(*place)], "start": place[0], "end": place[1]}
        return said if kind is None else {**said, "type": kind}

    if len(item) == 2:
        return {"entity": end(item), "annotators": list(names)}
    return {
        "relation": {"head": end(item[0]), "type": item[1], "tail": end(item[2])},
        "annotators": list(names),
    }


def apply_decisions(
    merged: Iterable[Utterance], decisions: Iterable[Utterance], annotators: Annotators
) -> list[Utterance]:
    """The merged utterances with those that somebody decided in their place, marked as ``decided`` in ``extra``.

    ``extra["agreement"]`` says of a decided utterance which of its ``annotators`` marked what it now has (of what only
    the one who decided marked: none), and what of theirs was not kept. Raises :class:`DataError` on a decision about an
    utterance that is not there or has another text.
    """
    by_id = {utterance.id: utterance for utterance in decisions}
    out: list[Utterance] = []
    for utterance in merged:
        decided = by_id.pop(utterance.id, None)
        if decided is None:
            out.append(utterance)
            continue
        if decided.text != utterance.text:
            raise DataError(
                f'utterance "{utterance.id}": decided about "{decided.text}", but its text is "{utterance.text}"'
            )
        marks = {name: Marked(some[utterance.id]) for name, some in annotators.items() if utterance.id in some}
        provenance = {**utterance.extra[EXTRA_KEY], **_decided(Marked(decided), marks), "decided": True}
        out.append(replace(decided, audio=utterance.audio, extra={**decided.extra, EXTRA_KEY: provenance}))
    if by_id:
        raise DataError(f'decided about "{next(iter(by_id))}", which no annotator has ({len(by_id)} such utterances)')
    return out


def _decided(decision: Marked, marks: Mapping[str, Marked]) -> dict[str, Any]:
    """Who marked what the decision has, and what it does not have."""
    everybody = {**marks, _DECIDER: decision}
    items = items_of(everybody)  # with the decision: it may tell apart by type what the annotators had no need to
    voters = {item: [name for name in names if name != _DECIDER] for item, names in items.items()}
    utterance, links = decision.utterance, decision.relation_items(crowded_places(everybody))
    return {
        "entities": {e.id: voters[decision.place_of[e.id], e.type] for e in utterance.entities},
        "relations": [voters[links[relation]] for relation in utterance.relations],
        "rejected": [
            _rejected(item, voters[item], utterance.text) for item, names in items.items() if _DECIDER not in names
        ],
    }


# --- the worklist ---


def worklist_tasks(
    agreement: Agreement,
    annotators: Annotators,
    merged: Mapping[str, Utterance],
    audio_urls: Mapping[str, str],
    folder: PathLike = "",
) -> list[dict[str, Any]]:
    """A task for each utterance with a disagreement, the widest first.

    What the majority marked is the first pre-annotation, with the share of undisputed items as its score; what each
    annotator marked follows under the annotator's name. A note says who marked what not all did.
    """
    tasks: list[dict[str, Any]] = []
    for one in agreement.disagreements:
        base = merged[one.utterance_id]
        note = "; ".join(f"{item_text(item, base.text)}: {', '.join(names)}" for item, names in one.items.items())
        suggestions = [_suggestion(name, annotators[name][one.utterance_id], base) for name in one.annotators]
        tasks.append(
            to_task(
                base,
                audio_urls[one.utterance_id],
                suggestions,
                folder=folder,
                note=note,
                own_name=MAJORITY_NAME,
                own_score=one.share,
            )
        )
    return tasks


def _suggestion(name: str, version: Utterance, base: Utterance) -> Suggestion:
    """One annotator's version; what the merged one has too goes under its ids, so that choosing it changes none."""
    mark, known = Marked(version), Marked(base).entities
    ids = {
        entity.id: known[key].id if (key := (mark.place_of[entity.id], entity.type)) in known else f"{name}.{entity.id}"
        for entity in version.entities
    }
    shown = {entity.id: entity for entity in version.entities if not isinstance(mark.place_of[entity.id], str)}
    placed = {ids[entity.id]: _placed(entity, version.text) for entity in shown.values()}
    return Suggestion(
        name,
        tuple(replace(entity, id=entity_id) for entity_id, entity in placed.items()),
        tuple(
            Relation(ids[r.head_id], ids[r.tail_id], r.type)
            for r in version.relations
            if r.head_id in shown and r.tail_id in shown
        ),
    )


def _placed(entity: Entity, text: str) -> Entity:
    from speechre.data.spans import place_entity

    placed = place_entity(entity, text)
    assert placed is not None  # its place is a span
    return placed
