"""Where an answer and the annotation part: missed, spurious, wrong type, near miss."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from speechre.metrics import edit_distance, normalize_text, triplet_key
from speechre.types import Triplet

Kind = Literal["missed", "spurious", "wrong_type", "near_miss"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""missed spurious wrong_type near_miss"""

NEAR = 1 / 3
"""An end is near another when at most this share of the longer text's characters has to change."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One difference between an answer and the annotation.

    - ``missed``: ``gold`` has it, the answer has nothing like it. ``candidate`` is the same triplet where the vote
      weighed it and did not keep it.
    - ``spurious``: ``predicted`` has nothing like it in gold.
    - ``wrong_type``: the two ends are right, the relation or an entity's type is not. ``is_hit`` where the
      protocol counts it as a hit all the same: ``boundary`` and ``paper`` do not look at entity types.
    - ``near_miss``: the relation is right, and both ends are within :data:`NEAR`; ``distance`` is that of the
      worse end, from 0 to 1.
    """

    kind: Kind
    gold: Triplet | None = None
    predicted: Triplet | None = None
    candidate: Triplet | None = None
    is_hit: bool = False
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind,
            "is_hit": self.is_hit,
            "distance": None if self.distance is None else round(self.distance, 4),
            "gold": _triplet(self.gold),
            "predicted": _triplet(self.predicted),
            "candidate": _triplet(self.candidate),
        }


def find_mistakes(
    gold: Sequence[Triplet], predicted: Sequence[Triplet], protocol: str, candidates: Sequence[Triplet] = ()
) -> list[Mistake]:
    """All mistakes in one utterance: pairs first, in gold's sequence, then what is missed, then what is spurious.

    A gold and a predicted triplet that are no hit are paired where they can be, each at most once: the same ends and
    relation before the same ends, those before near misses, and the nearest first.

    Raises :class:`UsageError` on an unknown protocol.
    """
    expected, found = _by_key(gold, protocol), _by_key(predicted, protocol)
    typed = {triplet_key(t, "strict") for t in gold}
    mistakes = [
        Mistake("wrong_type", expected[key], found[key], is_hit=True)
        for key in expected
        if key in found and triplet_key(found[key], "strict") not in typed
    ]
    left_gold = {key: t for key, t in expected.items() if key not in found}
    left_found = {key: t for key, t in found.items() if key not in expected}
    pairs = sorted(
        (
            (*closeness, gold_place, found_place, gold_key, found_key)
            for gold_place, (gold_key, one) in enumerate(left_gold.items())
            for found_place, (found_key, other) in enumerate(left_found.items())
            if (closeness := _closeness(one, other)) is not None
        ),
        key=lambda pair: pair[:4],
    )
    paired: dict[Hashable, Mistake] = {}
    for _, distance, _, _, gold_key, found_key in pairs:
        if gold_key in paired or found_key not in left_found:
            continue
        paired[gold_key] = _mistake(left_gold[gold_key], left_found.pop(found_key), distance)
    mistakes += [paired[key] for key in left_gold if key in paired]
    weighed = _by_key(candidates, protocol)
    mistakes += [Mistake("missed", t, candidate=weighed.get(key)) for key, t in left_gold.items() if key not in paired]
    mistakes += [Mistake("spurious", predicted=t) for t in left_found.values()]
    return mistakes


def _by_key(triplets: Sequence[Triplet], protocol: str) -> dict[Hashable, Triplet]:
    out: dict[Hashable, Triplet] = {}
    for triplet in triplets:
        out.setdefault(triplet_key(triplet, protocol), triplet)
    return out


def _closeness(one: Triplet, other: Triplet) -> tuple[int, float] | None:
    """How alike two triplets are, the smaller the more; ``None``: not at all."""
    distance = max(text_distance(one.head.text, other.head.text), text_distance(one.tail.text, other.tail.text))
    if distance == 0:
        return (0 if one.relation == other.relation else 1), distance
    return (2, distance) if one.relation == other.relation and distance <= NEAR else None


def _mistake(gold: Triplet, predicted: Triplet, distance: float) -> Mistake:
    """Of a pair that is close and no hit."""
    is_same = triplet_key(gold, "strict") == triplet_key(predicted, "strict")  # but for blanks, under "paper"
    if distance > 0 or is_same:
        return Mistake("near_miss", gold, predicted, distance=distance)
    return Mistake("wrong_type", gold, predicted)


def text_distance(one: str, other: str) -> float:
    """Edits of characters per character of the longer text, after normalization: from 0 to 1.

    >>> text_distance("Aleksander Hamilton", "alexander hamilton.") == 2 / 19
    True
    """
    a, b = normalize_text(one), normalize_text(other)
    longer = max(len(a), len(b))
    if a == b:
        return 0.0
    if abs(len(a) - len(b)) > NEAR * longer:
        return abs(len(a) - len(b)) / longer  # a lower bound is enough where it is far already
    return edit_distance(a, b) / longer


def _triplet(triplet: Triplet | None) -> dict[str, Any] | None:
    return None if triplet is None else triplet.to_dict()
