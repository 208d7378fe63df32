"""Scores: three protocols, one rule for text, and as many items counted out as were counted in.

``strict`` and ``boundary`` are the project's own protocols. ``paper`` computes what the evaluator released
with RPG-MoGe (arXiv 2509.08438) computes when it is fed every item; it is there for comparison with published
figures only. docs/scoring.md works the rules through on examples that the tests execute.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, get_args

from speechre.errors import DataError, UsageError, list_some
from speechre.types import Entity, Triplet

Protocol = Literal["strict", "boundary", "paper"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""strict boundary paper"""

TripletsById = Mapping[str, Sequence[Triplet]]
"""Triplets by utterance id; an utterance without triplets has an empty sequence, never a missing id."""

_DROP_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_text(text: str) -> str:
    """The one rule by which two entity texts are the same.

    Unicode NFKC, lower case, every character of Unicode category P* or of ASCII punctuation
    (``string.punctuation``) removed, white space collapsed and stripped.

    >>> normalize_text("  O'Brien,  Calif . ")
    'obrien calif'
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = (c for c in folded if not (c in string.punctuation or unicodedata.category(c).startswith("P")))
    return " ".join("".join(kept).split())


def statement_key(triplet: Triplet) -> tuple[str, str, str]:
    """What two spellings of one statement have in common, whatever the types of its entities."""
    return normalize_text(triplet.head.text), triplet.relation, normalize_text(triplet.tail.text)


def normalize_text_as_released(text: str) -> str:
    """The rule of the ``paper`` protocol: lower case and ASCII punctuation removed, nothing else.

    White space is neither collapsed nor stripped ("calif ." becomes "calif "), and typographic quotes stay,
    because the released evaluator leaves both as they are.

    >>> normalize_text_as_released("Calif . ")
    'calif  '
    """
    return text.lower().translate(_DROP_ASCII_PUNCTUATION)


def edit_distance(reference: Sequence[str], written: Sequence[str]) -> int:
    """The fewest substitutions, insertions and deletions that turn one into the other.

    Bit by bit in whole numbers as long as ``reference`` (Myers 1999, in the form of Hyyrö 2003): a column of the
    textbook's table at a time, of which only the differences between neighbours are kept.

    >>> edit_distance("the cat sat".split(), "a cat sat down".split())
    2
    """
    if not reference:
        return len(written)
    places: dict[str, int] = {}
    for i, word in enumerate(reference):
        places[word] = places.get(word, 0) | 1 << i
    everywhere = (1 << len(reference)) - 1
    last, distance = 1 << (len(reference) - 1), len(reference)
    rises, falls = everywhere, 0  # going down a column
    for word in written:
        same = places.get(word, 0)
        crossing = (((same & rises) + rises) ^ rises) | same
        right_rises = falls | (~(crossing | rises) & everywhere)
        right_falls = rises & crossing
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises = right_rises << 1 | 1
        rises, falls = (
            (right_falls << 1 | ~(same | falls | right_rises)) & everywhere,
            right_rises & (same | falls) & everywhere,
        )
    return distance


def check_protocol(name: str) -> Protocol:
    """``name`` as a :data:`Protocol`. Raises :class:`UsageError` on any other name."""
    for protocol in PROTOCOLS:
        if name == protocol:
            return protocol
    raise UsageError(f'unknown scoring protocol "{name}"; expected one of {", ".join(PROTOCOLS)}')


@dataclass(frozen=True, slots=True)
class Counts:
    """Hits, predictions and gold items. Counts add up; the three fractions follow, and 0/0 is 0.0."""

    num_hits: int = 0
    num_predicted: int = 0
    num_gold: int = 0

    @property
    def precision(self) -> float:
        """Hits among the predicted."""
        return self.num_hits / self.num_predicted if self.num_predicted else 0.0

    @property
    def recall(self) -> float:
        """Hits among the gold; under ``paper`` a prediction written twice hits twice, so it can exceed 1."""
        return self.num_hits / self.num_gold if self.num_gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        # 2PR/(P+R) reduces to this, which has one rounding only and no 0/0 where there are no hits.
        num_both = self.num_predicted + self.num_gold
        return 2 * self.num_hits / num_both if num_both else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.num_hits + other.num_hits,
            self.num_predicted + other.num_predicted,
            self.num_gold + other.num_gold,
        )

    def to_dict(self) -> dict[str, float | int]:
        """Fractions first, then what they were made of."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "num_hits": self.num_hits,
            "num_predicted": self.num_predicted,
            "num_gold": self.num_gold,
        }


@dataclass(frozen=True, slots=True)
class UtteranceCounts:
    """The counts of one utterance, or of many: they add up, so a bootstrap can resample utterances."""

    triplet: Counts = Counts()
    entity: Counts = Counts()
    relation: Counts = Counts()

    def __add__(self, other: UtteranceCounts) -> UtteranceCounts:
        return UtteranceCounts(self.triplet + other.triplet, self.entity + other.entity, self.relation + other.relation)


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Micro-averaged counts over all utterances under one protocol."""

    protocol: Protocol
    num_utterances: int
    triplet: Counts
    entity: Counts
    relation: Counts

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``score --json`` and ``evaluate --json`` print."""
        return {
            "protocol": self.protocol,
            "num_utterances": self.num_utterances,
            "triplet": self.triplet.to_dict(),
            "entity": self.entity.to_dict(),
            "relation": self.relation.to_dict(),
        }


def score(gold: TripletsById, predicted: TripletsById, protocol: str) -> ScoreReport:
    """Micro precision, recall and F1 of ``predicted`` against ``gold``.

    - triplet: (head text, relation, tail text), under ``strict`` with both entity types.
    - entity: the entities that take part in triplets, each once an utterance: by text, under ``strict`` by
      text and type. Gold entities outside every triplet do not count: models write entities in triplets only.
    - relation: the set of relation types of an utterance; under ``paper`` the list, one item a triplet.

    A text that normalizes to the empty string is kept like any other: a prediction of nothing but punctuation
    is a prediction, and counts as one.

    Raises :class:`UsageError` on an unknown protocol and :class:`DataError` when the two sides differ in
    their ids: an utterance without a prediction is a fault upstream, not an utterance to skip.
    """
    name = check_protocol(protocol)
    total = sum(per_utterance(gold, predicted, name).values(), UtteranceCounts())
    return ScoreReport(name, len(gold), total.triplet, total.entity, total.relation)


def per_utterance(gold: TripletsById, predicted: TripletsById, protocol: str) -> dict[str, UtteranceCounts]:
    """The counts of every utterance, in the sequence of ``gold``; their sum is what :func:`score` reports.

    Raises as :func:`score` does.
    """
    count = _RULES[check_protocol(protocol)]
    check_same_ids(gold, predicted)
    return {utterance_id: count(triplets, predicted[utterance_id]) for utterance_id, triplets in gold.items()}


def per_relation(gold: TripletsById, predicted: TripletsById, protocol: str) -> dict[str, Counts]:
    """The triplet counts of each relation type in gold or predictions, by name; they sum to the total.

    What the protocol takes for one relation is one: under ``paper`` "Work_For" and "work_for", as gold spells it first.
    Raises as :func:`score` does.
    """
    total: dict[str, Counts] = {}
    for counts in per_utterance_relation(gold, predicted, protocol).values():
        for name, ours in counts.items():
            total[name] = total.get(name, Counts()) + ours
    return {name: total[name] for name in sorted(total)}


def per_utterance_relation(gold: TripletsById, predicted: TripletsById, protocol: str) -> dict[str, dict[str, Counts]]:
    """The triplet counts of every utterance, in the sequence of ``gold``, for each of its relation types.

    An utterance's types are those in its gold or its prediction, sorted, named as by :func:`per_relation`. Raises as
    :func:`score` does.
    """
    name = check_protocol(protocol)
    check_same_ids(gold, predicted)
    count = _RULES[name]
    shown = _relation_names((*gold.values(), *(predicted[i] for i in gold)), name)
    out: dict[str, dict[str, Counts]] = {}
    for utterance_id, triplets in gold.items():
        wanted, found = _by_relation(triplets, name), _by_relation(predicted[utterance_id], name)
        keys = sorted({*wanted, *found}, key=shown.__getitem__)
        out[utterance_id] = {shown[key]: count(wanted.get(key, ()), found.get(key, ())).triplet for key in keys}
    return out


def triplet_key(triplet: Triplet, protocol: str) -> Hashable:
    """What a protocol compares: two triplets are the same to it when their keys are equal.

    Raises :class:`UsageError` on an unknown protocol.
    """
    name = check_protocol(protocol)
    return _as_released(triplet) if name == "paper" else _key(triplet, typed=name == "strict")


def entity_key(entity: Entity, protocol: str) -> Hashable:
    """What a protocol compares of an entity: its text, and its type too under ``strict``.

    Raises :class:`UsageError` on an unknown protocol.
    """
    name = check_protocol(protocol)
    return normalize_text_as_released(entity.text) if name == "paper" else _entity_key(entity, typed=name == "strict")


def count_entities(gold: Iterable[Entity], predicted: Iterable[Entity], protocol: str) -> Counts:
    """The counts of one utterance's entities, each once, in triplets or not.

    For annotations against each other; :func:`score` leaves out entities that no triplet has. Raises
    :class:`UsageError` on an unknown protocol.
    """
    return _count_sets({entity_key(e, protocol) for e in gold}, {entity_key(e, protocol) for e in predicted})


def check_same_ids(gold: TripletsById, predicted: TripletsById) -> None:
    """Raises :class:`DataError`, with the first ids and their number, unless both sides have the same ids."""
    faults = [
        f"{len(ids)} of {len(whole)} {text}: {list_some(ids)}"
        for ids, whole, text in (
            ([i for i in gold if i not in predicted], gold, "gold utterances have no prediction"),
            ([i for i in predicted if i not in gold], predicted, "predictions have no gold utterance"),
        )
        if ids
    ]
    if faults:
        raise DataError(
            f"gold and predictions do not cover the same utterances: {'; '.join(faults)}. "
            "Write one prediction for every gold utterance and for no other, empty where nothing was found."
        )


def _relation_key(relation: str, protocol: Protocol) -> str:
    """What the protocol compares of a relation's name."""
    return normalize_text_as_released(relation) if protocol == "paper" else relation


def _relation_names(sides: Iterable[Sequence[Triplet]], protocol: Protocol) -> dict[str, str]:
    """The name to show for each key of a relation: the spelling that comes first."""
    names: dict[str, str] = {}
    for triplets in sides:
        for t in triplets:
            names.setdefault(_relation_key(t.relation, protocol), t.relation)
    return names


def _by_relation(triplets: Sequence[Triplet], protocol: Protocol) -> dict[str, list[Triplet]]:
    out: dict[str, list[Triplet]] = {}
    for t in triplets:
        out.setdefault(_relation_key(t.relation, protocol), []).append(t)
    return out


_Key = TypeVar("_Key", bound=Hashable)


def _count_sets(gold: set[_Key], predicted: set[_Key]) -> Counts:
    return Counts(len(gold & predicted), len(predicted), len(gold))


def _count_lists(gold: Sequence[Hashable], predicted: Sequence[Hashable]) -> Counts:
    """Every predicted item that stands in gold is a hit, its second copy as well: the released way."""
    known = set(gold)
    return Counts(sum(item in known for item in predicted), len(predicted), len(gold))


def _count_utterance(gold: Sequence[Triplet], predicted: Sequence[Triplet], *, typed: bool) -> UtteranceCounts:
    """The counting rule of ``strict`` (entities with their types) and of ``boundary`` (without)."""
    gold_items, predicted_items = {_key(t, typed) for t in gold}, {_key(t, typed) for t in predicted}
    return UtteranceCounts(
        triplet=_count_sets(gold_items, predicted_items),
        entity=_count_sets(
            {entity for head, _, tail in gold_items for entity in (head, tail)},
            {entity for head, _, tail in predicted_items for entity in (head, tail)},
        ),
        relation=_count_sets({r for _, r, _ in gold_items}, {r for _, r, _ in predicted_items}),
    )


def _key(t: Triplet, typed: bool) -> tuple[tuple[str, str], str, tuple[str, str]]:
    return _entity_key(t.head, typed), t.relation, _entity_key(t.tail, typed)


def _entity_key(entity: Entity, typed: bool) -> tuple[str, str]:
    return normalize_text(entity.text), entity.type if typed else ""


def _count_utterance_as_released(gold: Sequence[Triplet], predicted: Sequence[Triplet]) -> UtteranceCounts:
    """The counting rule of ``paper``: lists of triplets and of relations, sets of entity texts."""
    gold_items, predicted_items = [_as_released(t) for t in gold], [_as_released(t) for t in predicted]
    return UtteranceCounts(
        triplet=_count_lists(gold_items, predicted_items),
        entity=_count_sets(
            {text for head, _, tail in gold_items for text in (head, tail)},
            {text for head, _, tail in predicted_items for text in (head, tail)},
        ),
        relation=_count_lists([r for _, r, _ in gold_items], [r for _, r, _ in predicted_items]),
    )


def _as_released(t: Triplet) -> tuple[str, str, str]:
    # The released code puts the relation's name through the same rule as the texts: "Work_For" -> "workfor".
    head, relation, tail = map(normalize_text_as_released, (t.head.text, t.relation, t.tail.text))
    return head, relation, tail


_RULES: dict[Protocol, Callable[[Sequence[Triplet], Sequence[Triplet]], UtteranceCounts]] = {
    "strict": partial(_count_utterance, typed=True),
    "boundary": partial(_count_utterance, typed=False),
    "paper": _count_utterance_as_released,
}
