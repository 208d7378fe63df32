"""What a recognizer or a model found, as pre-annotations, and which utterances a person should see first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechre.data.label_studio import Suggestion
from speechre.data.predictions import Prediction
from speechre.data.record import is_number, record_faults
from speechre.data.spans import find_span
from speechre.errors import DataError
from speechre.schema import Schema
from speechre.types import Entity, Relation, Triplet, Utterance

NER_KEY = "ner"
"""Where an utterance's ``extra`` has what the recognizer of ``speechre data candidates`` found."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """A suggestion, and the triplets that it leaves out: of these an entity does not stand in the text."""

    suggestion: Suggestion
    not_shown: tuple[Triplet, ...]


def suggest(utterance: Utterance, prediction: Prediction, text: str | None = None) -> Suggested:
    """The prediction's triplets on the utterance's text (or on ``text``, where that is shown in its place).

    An entity is looked for by the scores' normalization, word by word, and takes the first place where it stands; it
    gets the id of the annotated entity that has this place and this type, if there is one. Its score is the highest
    confidence among its triplets; a relation's is its triplet's.
    """
    shown = utterance.text if text is None else text
    ids = {(e.start, e.end, e.type): e.id for e in utterance.entities}
    taken = {e.id for e in utterance.entities}
    entities: dict[str, Entity] = {}
    entity_scores: dict[str, float] = {}
    relations: dict[Relation, float | None] = {}
    not_shown: list[Triplet] = []
    for triplet in prediction.triplets:
        ends = [_found(entity, shown) for entity in (triplet.head, triplet.tail)]
        if None in ends:
            not_shown.append(triplet)
            continue
        end_ids: list[str] = []
        for entity in (end for end in ends if end is not None):
            key = (entity.start, entity.end, entity.type)
            if key not in ids:
                ids[key] = next(name for n in range(len(taken) + 1) if (name := f"m{n}") not in taken)
                taken.add(ids[key])
            entity_id = ids[key]
            entities[entity_id] = Entity(entity.text, entity.type, entity_id, entity.start, entity.end)
            if triplet.confidence is not None:
                entity_scores[entity_id] = max(triplet.confidence, entity_scores.get(entity_id, 0.0))
            end_ids.append(entity_id)
        relation = Relation(end_ids[0], end_ids[1], triplet.relation)
        known = relations.get(relation)
        relations[relation] = triplet.confidence if known is None else max(known, triplet.confidence or 0.0)
    relation_scores: dict[tuple[str, str], float] = {}
    for relation, confidence in relations.items():
        pair = (relation.head_id, relation.tail_id)
        if confidence is not None:
            relation_scores[pair] = max(confidence, relation_scores.get(pair, 0.0))
    doubt = uncertainty(prediction)
    suggestion = Suggestion(
        prediction.model or "model",
        tuple(entities.values()),
        tuple(relations),
        None if doubt is None else 1.0 - doubt,
        entity_scores,
        relation_scores,
    )
    return Suggested(suggestion, tuple(not_shown))


def _found(entity: Entity, text: str) -> Entity | None:
    span = find_span(entity.text, text)
    return None if span is None else Entity(text[slice(*span)], entity.type, start=span[0], end=span[1])


# --- what a recognizer found ---


@dataclass(frozen=True, slots=True)
class Recognized:
    """A recognizer's entities as a suggestion (``None`` without any), and how many have no type in the schema."""

    suggestion: Suggestion | None
    num_untyped: int = 0


def recognized(utterance: Utterance, schema: Schema) -> Recognized:
    """What ``speechre data candidates`` left in ``extra["ner"]``, under the recognizer's name; no relations.

    Nothing where the utterance itself has entities: these are somebody's judgement. A type that ``schema`` does not
    have is replaced by the likeliest that the recognizer's own label stands for there. Raises :class:`DataError` on
    entities that do not stand in the text.
    """
    ner = utterance.extra.get(NER_KEY)
    if utterance.entities or not isinstance(ner, Mapping) or not isinstance(ner.get("model"), str):
        return Recognized(None)  # an "ner" of somebody else's making is none of ours
    records = _ner_records(utterance, ner.get("entities"))
    entities: dict[str, Entity] = {}
    scores: dict[str, float] = {}
    for record in records:
        kind = record["type"]
        if kind not in schema.entity_types:
            kind = next(iter(schema.types_of_ner_label(str(record.get("label", "")))), None)
        if kind is None:
            continue
        entity_id = f"n{len(entities)}"
        entities[entity_id] = Entity(record["text"], kind, entity_id, record["start"], record["end"])
        if is_number(record.get("score")):
            scores[entity_id] = record["score"]
    suggestion = Suggestion(ner["model"], tuple(entities.values()), (), None, scores) if entities else None
    return Recognized(suggestion, len(records) - len(entities))


def _ner_records(utterance: Utterance, records: object) -> list[Mapping[str, Any]]:
    """The records, checked by the rules of a manifest's entities."""
    where = f'utterance "{utterance.id}": "extra.{NER_KEY}"'
    if not isinstance(records, (list, tuple)):
        raise DataError(f"{where} has no list of entities; expected what speechre data candidates writes there")
    keys = ("text", "type", "start", "end")
    as_entities: list[object] = [
        {"id": f"n{i}", **{key: record.get(key) for key in keys}} if isinstance(record, Mapping) else record
        for i, record in enumerate(records)
    ]
    faults = record_faults({"id": utterance.id, "text": utterance.text, "entities": as_entities})
    said = faults[0].message if faults else ""
    for index, record in enumerate(records):
        if not said and record.get("start") is None:
            said = f"entity {index} has no span"
    if said:
        raise DataError(f"{where}: {said}; search again with speechre data candidates, or take it out")
    return list(records)


# --- whom to ask a person about first ---


def uncertainty(prediction: Prediction) -> float | None:
    """How unsure the model is of its least sure answer, from 0 (certain) to 1 (a coin's toss); ``None`` is unknown.

    Each triplet's confidence p answers a question with yes or no, and its entropy in bits,
    -p log2 p - (1 - p) log2 (1 - p), says how open the question is; the most open one counts (uncertainty sampling:
    Lewis and Gale 1994; entropy: Settles 2009, section 3.1). Where no triplet was found, the relation head's
    probabilities are the questions.
    """
    confidences = [t.confidence for t in prediction.triplets if t.confidence is not None]
    questions: Iterable[float] = confidences or prediction.relation_probabilities.values()
    return max((_entropy_bits(p) for p in questions), default=None)


def _entropy_bits(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1.0 - p) if q > 0.0) + 0.0


def most_uncertain_first(doubts: Sequence[float | None]) -> list[int]:
    """The indices of ``doubts``, the highest first, equal ones in their sequence, unknown ones last.

    >>> most_uncertain_first([0.1, None, 0.9])
    [2, 0, 1]
    """
    return sorted(range(len(doubts)), key=lambda i: (doubts[i] is None, -(doubts[i] or 0.0)))
