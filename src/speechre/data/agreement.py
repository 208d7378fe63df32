"""How far annotators agree: F1 between them, kappa where it is defined, and every item that not all of them marked.

F1 is the scores' own: by text, and it needs no negatives. Kappa needs units that everybody labelled, so it is taken on
three kinds of them: the words of the text (is it in an entity, and of which type), the entities that all marked (which
type), and the ordered pairs of these (which relation, if any). Whole spans are no units: nobody can count the spans
that nobody marked, and as they are many, kappa would approach F1 (Hripcsak and Rothschild 2005).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, permutations
from statistics import fmean
from typing import Any, Literal, TypeAlias

from speechre.data.kappa import cohen_kappa, fleiss_kappa
from speechre.data.spans import place_entity, trim_span
from speechre.errors import DataError, UsageError
from speechre.metrics import Counts, count_entities, normalize_text, per_relation, score
from speechre.types import Entity, Relation, Utterance

Annotators: TypeAlias = "Mapping[str, Mapping[str, Utterance]]"
"""Utterances by id, by the annotator's name."""
Place: TypeAlias = "tuple[int, int] | str"
"""Where an entity stands: characters of the text, without punctuation at the ends; its words where it has no span."""
End: TypeAlias = "Place | tuple[Place, str]"
"""What a relation links: a place; with a type where somebody marked several at that place (see :func:`items_of`)."""
Item: TypeAlias = "tuple[Place, str] | tuple[End, str, End]"
"""An entity (place, type) or a relation (head, type, tail)."""

Unit = Literal["words", "entity_types", "relations"]
UNITS: tuple[Unit, ...] = ("words", "entity_types", "relations")
PROTOCOLS = ("strict", "boundary")
_WORD = re.compile(r"\S+")
NOTHING = ""
TYPES_JOINED_BY = "|"  # what no name of a type holds


@dataclass(frozen=True)
class Marked:
    """One annotator's items of one utterance, each once, with the first entity that stands for it."""

    utterance: Utterance

    @cached_property
    def entities(self) -> dict[tuple[Place, str], Entity]:
        """By place and type."""
        out: dict[tuple[Place, str], Entity] = {}
        for entity in self.utterance.entities:
            out.setdefault((self.place_of[entity.id], entity.type), entity)
        return out

    @cached_property
    def place_of(self) -> dict[str, Place]:
        """By entity id."""
        return {entity.id: _place(entity, self.utterance.text) for entity in self.utterance.entities}

    @cached_property
    def relations(self) -> set[tuple[Place, str, Place]]:
        """(head, type, tail)."""
        return {(self.place_of[r.head_id], r.type, self.place_of[r.tail_id]) for r in self.utterance.relations}

    @cached_property
    def crowded(self) -> set[Place]:
        """The places with several types, where the place alone does not say which entity a relation links."""
        return {place for place, count in Counter(place for place, _ in self.entities).items() if count > 1}

    def relation_items(self, crowded: Set[Place]) -> dict[Relation, tuple[End, str, End]]:
        """The item of each relation, in the annotator's sequence; an end at a ``crowded`` place is told by its type."""
        type_of = {entity.id: entity.type for entity in self.utterance.entities}

        def end(entity_id: str) -> End:
            place = self.place_of[entity_id]
            return (place, type_of[entity_id]) if place in crowded else place

        return {r: (end(r.head_id), r.type, end(r.tail_id)) for r in self.utterance.relations}

    @cached_property
    def types_at(self) -> dict[Place, str]:
        """The types at each place, as one label."""
        found: dict[Place, set[str]] = {}
        for place, kind in self.entities:
            found.setdefault(place, set()).add(kind)
        return {place: TYPES_JOINED_BY.join(sorted(kinds)) for place, kinds in found.items()}

    def relation_label(self, head: Place, tail: Place) -> str:
        """The relation types from ``head`` to ``tail``, as one label."""
        return TYPES_JOINED_BY.join(sorted(kind for one, kind, other in self.relations if (one, other) == (head, tail)))

    def word_labels(self) -> list[str]:
        """For each word of the text, the types of the entities that it is in."""
        spans = [(place, kind) for place, kind in self.entities if not isinstance(place, str)]
        return [
            TYPES_JOINED_BY.join(sorted({kind for (start, end), kind in spans if start < last and first < end}))
            for first, last in words_of(self.utterance.text)
        ]


def words_of(text: str) -> list[tuple[int, int]]:
    """The words, as spans: what stands between blanks and is more than punctuation."""
    return [match.span() for match in _WORD.finditer(text) if normalize_text(match.group())]


def _place(entity: Entity, text: str) -> Place:
    placed = place_entity(entity, text)
    if placed is None or placed.start is None or placed.end is None:
        return normalize_text(entity.text)
    return trim_span(placed.start, placed.end, text)


# --- figures ---


@dataclass(frozen=True, slots=True)
class Kappa:
    """A kappa (``None``: not defined) and the number of its units; one against the rest for each type."""

    value: float | None
    num_units: int
    per_type: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kappa": self.value, "num_units": self.num_units, "per_type": dict(self.per_type)}


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators on the utterances that both have. ``triplet`` and ``entity`` are by protocol."""

    a: str
    b: str
    num_utterances: int
    triplet: Mapping[str, Counts]
    entity: Mapping[str, Counts]
    per_relation: Mapping[str, Mapping[str, Counts]]
    per_entity_type: Mapping[str, Counts]
    kappa: Mapping[Unit, Kappa]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "a": self.a,
            "b": self.b,
            "num_utterances": self.num_utterances,
            "triplet": {name: f1_dict(counts) for name, counts in self.triplet.items()},
            "entity": {name: f1_dict(counts) for name, counts in self.entity.items()},
            "per_relation": {
                name: {kind: f1_dict(counts) for kind, counts in some.items()}
                for name, some in self.per_relation.items()
            },
            "per_entity_type": {kind: f1_dict(counts) for kind, counts in self.per_entity_type.items()},
            "cohen_kappa": {unit: kappa.to_dict() for unit, kappa in self.kappa.items()},
        }


def f1_dict(counts: Counts) -> dict[str, float | int]:
    """F1 between two annotators, neither of whom is gold; 1.0 where both marked nothing."""
    return {
        "f1": f1_between(counts),
        "num_agreed": counts.num_hits,
        "num_a": counts.num_gold,
        "num_b": counts.num_predicted,
    }


def f1_between(counts: Counts) -> float:
    """As :attr:`Counts.f1`, but two annotators who marked nothing agree: 1.0."""
    return counts.f1 if counts.num_gold or counts.num_predicted else 1.0


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An utterance with items that not all of its annotators marked.

    ``items`` names who did; ``share`` is the share of all its items that everybody marked, from 0 to 1.
    """

    utterance_id: str
    annotators: tuple[str, ...]
    share: float
    items: Mapping[Item, tuple[str, ...]]


@dataclass(frozen=True)
class Agreement:
    """All figures. ``num_shared`` utterances have two annotators or more, ``num_by_all`` have all of them.

    ``pairs`` are those annotators who have an utterance in common; ``disagreements`` begin with the widest.
    """

    annotators: tuple[str, ...]
    num_utterances: int
    num_shared: int
    num_by_all: int
    pairs: tuple[PairAgreement, ...]
    fleiss: Mapping[Unit, Kappa]
    disagreements: tuple[Disagreement, ...]

    def mean_f1(self, item: Literal["triplet", "entity"], protocol: str) -> float:
        """The mean over the pairs of annotators."""
        return fmean(f1_between((pair.triplet if item == "triplet" else pair.entity)[protocol]) for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "annotators": list(self.annotators),
            "num_utterances": self.num_utterances,
            "num_shared": self.num_shared,
            "num_by_all": self.num_by_all,
            "mean_f1": {item: {name: self.mean_f1(item, name) for name in PROTOCOLS} for item in ("triplet", "entity")},
            "fleiss_kappa": {unit: kappa.to_dict() for unit, kappa in self.fleiss.items()},
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def measure_agreement(annotators: Annotators) -> Agreement:
    """All figures of two annotators or more.

    Raises :class:`UsageError` with fewer than two, :class:`DataError` where no utterance is in two manifests and where
    one has different texts.
    """
    names = tuple(annotators)
    if len(names) < 2:
        raise UsageError("agreement needs the manifests of two annotators or more")
    ids = list(dict.fromkeys(i for some in annotators.values() for i in some))
    by_id = {i: {name: Marked(some[i]) for name, some in annotators.items() if i in some} for i in ids}
    _check_texts(by_id)
    shared = {i: marks for i, marks in by_id.items() if len(marks) > 1}
    if not shared:
        raise DataError(f"{', '.join(names)}: no id is in two of them; expected annotations of the same utterances")
    pairs = tuple(
        _pair(a, b, both)
        for a, b in combinations(names, 2)
        if (both := {i: (marks[a], marks[b]) for i, marks in shared.items() if a in marks and b in marks})
    )
    by_all = [tuple(marks[name] for name in names) for marks in shared.values() if len(marks) == len(names)]
    return Agreement(
        names,
        len(ids),
        len(shared),
        len(by_all),
        pairs,
        {unit: _fleiss(_units(unit, by_all)) for unit in UNITS},
        tuple(sorted(_disagreements(shared), key=lambda one: one.share)),
    )


def _check_texts(by_id: Mapping[str, Mapping[str, Marked]]) -> None:
    for utterance_id, marks in by_id.items():
        texts = {name: mark.utterance.text for name, mark in marks.items()}
        if len(set(texts.values())) > 1:
            (a, one), (b, other) = next(pair for pair in combinations(texts.items(), 2) if pair[0][1] != pair[1][1])
            raise DataError(
                f'utterance "{utterance_id}": the texts differ: {a} has "{one}", {b} has "{other}"; annotations of '
                "different texts cannot be compared"
            )


def _pair(a: str, b: str, marks: Mapping[str, tuple[Marked, Marked]]) -> PairAgreement:
    sides = [{i: pair[side].utterance for i, pair in marks.items()} for side in (0, 1)]
    ours, theirs = ({i: utterance.triplets for i, utterance in side.items()} for side in sides)
    kinds = sorted({entity.type for side in sides for utterance in side.values() for entity in utterance.entities})
    return PairAgreement(
        a,
        b,
        len(marks),
        {name: score(ours, theirs, name).triplet for name in PROTOCOLS},
        {name: _entity_counts(sides, name) for name in PROTOCOLS},
        {name: per_relation(ours, theirs, name) for name in PROTOCOLS},
        {kind: _entity_counts(sides, "strict", kind) for kind in kinds},
        {unit: _cohen(_units(unit, list(marks.values()))) for unit in UNITS},
    )


def _entity_counts(sides: Sequence[Mapping[str, Utterance]], protocol: str, kind: str | None = None) -> Counts:
    def of(utterance: Utterance) -> list[Entity]:
        return [entity for entity in utterance.entities if kind is None or entity.type == kind]

    a, b = sides
    return sum((count_entities(of(a[i]), of(b[i]), protocol) for i in a), Counts())


# --- kappa ---


def _units(unit: Unit, marks: Sequence[Sequence[Marked]]) -> list[tuple[str, ...]]:
    """What each annotator calls each unit of all utterances; "" is nothing."""
    return [labels for some in marks for labels in _LABELS[unit](some)]


def _word_units(marks: Sequence[Marked]) -> Iterator[tuple[str, ...]]:
    return zip(*(mark.word_labels() for mark in marks), strict=True)


def _type_units(marks: Sequence[Marked]) -> Iterator[tuple[str, ...]]:
    for place in _shared_places(marks):
        yield tuple(mark.types_at[place] for mark in marks)


def _relation_units(marks: Sequence[Marked]) -> Iterator[tuple[str, ...]]:
    for head, tail in permutations(_shared_places(marks), 2):
        yield tuple(mark.relation_label(head, tail) for mark in marks)


def _shared_places(marks: Sequence[Marked]) -> list[Place]:
    return [place for place in marks[0].types_at if all(place in mark.types_at for mark in marks)]


_LABELS = {"words": _word_units, "entity_types": _type_units, "relations": _relation_units}


def _cohen(units: Sequence[tuple[str, ...]]) -> Kappa:
    def kappa(some: Sequence[tuple[object, ...]]) -> float | None:
        return cohen_kappa([(one, other) for one, other in some])

    return Kappa(kappa(units), len(units), {kind: kappa(_one_against_rest(units, kind)) for kind in _kinds(units)})


def _fleiss(units: Sequence[tuple[str, ...]]) -> Kappa:
    per_type = {kind: fleiss_kappa(_one_against_rest(units, kind)) for kind in _kinds(units)}
    return Kappa(fleiss_kappa(units), len(units), per_type)


def _kinds(units: Sequence[tuple[str, ...]]) -> list[str]:
    return sorted({kind for labels in units for label in labels for kind in label.split(TYPES_JOINED_BY)} - {NOTHING})


def _one_against_rest(units: Sequence[tuple[str, ...]], kind: str) -> list[tuple[bool, ...]]:
    return [tuple(kind in label.split(TYPES_JOINED_BY) for label in labels) for labels in units]


# --- disagreements ---


def items_of(marks: Mapping[str, Marked]) -> dict[Item, tuple[str, ...]]:
    """Every item of an utterance and the annotators who marked it: entities first, in the sequence of the text.

    A relation links places, so that people who differ on a type differ on an entity only, and not on its relations as
    well. Where one of them marked several types at a place, it links that of them with the type, for all.
    """
    crowded = crowded_places(marks)
    entities: dict[Item, list[str]] = {}
    relations: dict[Item, list[str]] = {}
    for name, mark in marks.items():
        for entity in mark.entities:
            entities.setdefault(entity, []).append(name)
        for relation in set(mark.relation_items(crowded).values()):
            relations.setdefault(relation, []).append(name)
    found = (*sorted(entities.items(), key=_sequence), *sorted(relations.items(), key=_sequence))
    return {item: tuple(names) for item, names in found}


def crowded_places(marks: Mapping[str, Marked]) -> set[Place]:
    """The places of an utterance where one annotator or more marked several types."""
    return {place for mark in marks.values() for place in mark.crowded}


def split_end(end: End) -> tuple[Place, str | None]:
    """An end of a relation: its place, and its type where it has one."""
    if isinstance(end, tuple) and isinstance(end[1], str):
        return end[0], end[1]
    return end, None


def _sequence(pair: tuple[Item, list[str]]) -> tuple[tuple[int, int, str, str], ...]:
    def part_key(part: End) -> tuple[int, int, str, str]:
        # Places of two kinds do not compare: those without a span come last.
        place, kind = split_end(part)
        return (*place, "", kind or "") if isinstance(place, tuple) else (1 << 62, 0, place, kind or "")

    return tuple(map(part_key, pair[0]))


def _disagreements(shared: Mapping[str, Mapping[str, Marked]]) -> Iterator[Disagreement]:
    for utterance_id, marks in shared.items():
        items = items_of(marks)
        open_items = {item: names for item, names in items.items() if len(names) < len(marks)}
        if open_items:
            share = 1 - len(open_items) / len(items)
            yield Disagreement(utterance_id, tuple(marks), share, open_items)


def item_text(item: Item, text: str) -> str:
    """An item for people: ``Oslo (Loc)``, ``Ann Lee Live_In Oslo`` or, by its type, ``Bo Work_For Oslo (Org)``."""
    if len(item) == 2:
        return _end_text(item, text)
    head, kind, tail = item
    return f"{_end_text(head, text)} {kind} {_end_text(tail, text)}"


def _end_text(end: End, text: str) -> str:
    place, kind = split_end(end)
    said = place if isinstance(place, str) else text[slice(*place)]
    return said if kind is None else f"{said} ({kind})"
