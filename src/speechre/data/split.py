"""Parts of a data set that share neither speaker nor sentence, each with its share of every relation.

Utterances that must stay together (:mod:`speechre.data.ties`) form groups. Groups are dealt out one by one, the
heaviest first, to the part where they bring the counts closest to what they should be, and moved as long as that helps:
the greedy stratification of Sechidis et al. 2011 ("On the Stratification of Multi-Label Data"), for groups and with
Pearson's chi-squared as the distance. The same utterances, shares and seed give the same parts, in whatever sequence
they come.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speechre.data.near_duplicates import SIMILARITY
from speechre.data.ties import TRAITS, Trait, count_unknown, tied_groups, trait_value
from speechre.errors import DataError, UsageError
from speechre.types import Utterance

_MAX_ROUNDS = 50
_PULL = 20.0
"""How much shares count against utterances that are left out. On a simulation of Common Voice (20,000 utterances, 3,000
speakers) 5 leaves out 25 % with shares 1.3 points off, 20 leaves out 27 % with 0.1 points, and more pull only more."""
_UTTERANCE, _NO_TRIPLET = ("", "utterance"), ("", "no triplet")
_Label = tuple[str, str]  # what kind of thing, its name


@dataclass(frozen=True)
class Split:
    """Parts by name, in the sequence that was asked for; every utterance is in one of them or left out."""

    parts: Mapping[str, Sequence[Utterance]]
    shares: Mapping[str, float]
    seed: int
    by: tuple[Trait, ...]
    similarity: float
    num_groups: int
    largest_group: int
    num_unknown: Mapping[Trait, int]
    left_out: Sequence[Utterance] = ()

    @property
    def num_utterances(self) -> int:
        """Of all parts together."""
        return sum(map(len, self.parts.values()))

    def share_of(self, part: str) -> float:
        """The share that ``part`` has got of what was dealt out."""
        return len(self.parts[part]) / self.num_utterances

    @property
    def relation_counts(self) -> dict[str, dict[str, int]]:
        """Relation type -> part -> number of relations, the most frequent type first."""
        counts = {part: Counter(r.type for u in found for r in u.relations) for part, found in self.parts.items()}
        total: Counter[str] = sum(counts.values(), Counter())
        names = sorted(total, key=lambda name: (-total[name], name))
        return {name: {part: counts[part][name] for part in counts} for name in names}

    def to_dict(self) -> dict[str, Any]:
        """split.json: how the parts were made and what they hold."""
        relations = self.relation_counts
        return {
            "seed": self.seed,
            "by": list(self.by),
            "similarity": self.similarity,
            "num_utterances": self.num_utterances,
            "num_left_out": len(self.left_out),
            "num_groups": self.num_groups,
            "largest_group": self.largest_group,
            "num_unknown": dict(self.num_unknown),
            "parts": {
                part: {
                    "wanted": round(self.shares[part], 6),
                    "share": round(self.share_of(part), 6),
                    "num_utterances": len(found),
                    "num_speakers": len({u.speaker for u in found if u.speaker is not None}),
                    "relations": {name: counts[part] for name, counts in relations.items()},
                }
                for part, found in self.parts.items()
            },
        }


def split_utterances(
    utterances: Sequence[Utterance],
    shares: Mapping[str, float],
    *,
    by: Iterable[Trait] = TRAITS,
    seed: int = 1,
    similarity: float = SIMILARITY,
    leave_out: bool = False,
) -> Split:
    """Parts that share no value of the traits ``by``, as close to ``shares`` as that allows; ``split`` is set.

    Shares are relative (8, 1, 1 is 0.8, 0.1, 0.1) and above 0. With ``leave_out``, only speakers and recordings hold
    groups together; of a sentence that then stands in several parts, one part keeps its utterances, and those of the
    others are left out and told. This is the way where many speakers read the same sentences, which otherwise ties
    everything to everything.

    Raises :class:`UsageError` on shares that cannot be, and :class:`DataError` when there are fewer groups than parts
    or no utterance has a speaker (a sentence) to tell them apart by.
    """
    wanted, by = _checked_shares(shares), tuple(by)
    unknown = count_unknown(utterances, by)
    for trait, number in unknown.items():
        if number == len(utterances):
            others = ", ".join(TRAITS)
            raise DataError(f"no utterance has a {trait} to tell parts apart by; name the other traits, of {others}")
    held_by = tuple(trait for trait in by if not (leave_out and trait == "sentence"))
    groups = tied_groups(utterances, held_by, similarity)
    if len(groups) < len(wanted):
        raise DataError(
            f"{len(utterances)} utterances, tied by {' and '.join(held_by) or 'nothing'}, form {_groups(len(groups))}; "
            f"expected at least {len(wanted)}, one a part. {_advice(utterances, held_by, by)}"
        )
    part_of = _deal(utterances, groups, list(wanted.values()), seed)
    kept = [True] * len(utterances)
    if leave_out and "sentence" in by:
        _keep_sentences_apart(utterances, part_of, kept, list(wanted.values()), similarity, seed)
    parts, left_out = _collect(utterances, part_of, kept, list(wanted))
    largest = max(map(len, groups))
    for name, found in parts.items():
        if not found:
            raise DataError(
                f'the part "{name}" has got no utterance: the largest of {_groups(len(groups))} holds {largest} of '
                f"{len(utterances)} utterances. Raise its share or tie utterances by less than {' and '.join(by)}"
            )
    return Split(parts, wanted, seed, by, similarity, len(groups), largest, unknown, left_out)


def _advice(utterances: Sequence[Utterance], held_by: Sequence[Trait], by: Sequence[Trait]) -> str:
    """What to do about too few groups: where all have one value of a trait, the others may be enough."""
    for trait in held_by:
        values = {trait_value(utterance, trait) for utterance in utterances}
        if len(values) == 1 and None not in values:
            others = ",".join(other for other in (by if len(by) > 1 else TRAITS) if other != trait)
            return f'All {len(utterances)} have the {trait} "{values.pop()}"; tie them by {others} alone'
    return "Tie them by less, or leave out what ties them"


def _collect(
    utterances: Sequence[Utterance], part_of: Sequence[int], kept: Sequence[bool], names: Sequence[str]
) -> tuple[dict[str, list[Utterance]], list[Utterance]]:
    """The parts by name, and what is in none; both in the sequence of the input."""
    parts: dict[str, list[Utterance]] = {name: [] for name in names}
    left_out: list[Utterance] = []
    for utterance, part, is_kept in zip(utterances, part_of, kept, strict=True):
        if is_kept:
            parts[names[part]].append(replace(utterance, split=names[part]))
        else:
            left_out.append(utterance)
    return parts, left_out


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'}"


def _checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    if len(shares) < 2 or not all(math.isfinite(share) and share > 0 for share in shares.values()):
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise UsageError(f"shares are {given or 'none'}; expected two or more numbers above 0")
    return {name: share / total for name, share in shares.items()}


# --- dealing groups out ---


def _deal(
    utterances: Sequence[Utterance], groups: Sequence[Sequence[int]], shares: list[float], seed: int
) -> list[int]:
    """The part of each utterance, as a number."""
    vectors = [sorted(sum((_labels(utterances[i]) for i in group), Counter()).items()) for group in groups]
    total: Counter[_Label] = Counter()
    for vector in vectors:
        total.update(dict(vector))
    keys = [_shuffled(seed, min(utterances[i].id for i in group)) for group in groups]
    weights = [sum(count * count / total[label] for label, count in vector) for vector in vectors]
    sequence = sorted(range(len(groups)), key=lambda group: (-weights[group], keys[group]))
    tally = _Tally(total, shares)
    where: dict[int, int] = {}
    for group in sequence:
        where[group] = min(range(len(shares)), key=lambda part: tally.gain(vectors[group], part))
        tally.add(vectors[group], where[group])
    for _ in range(_MAX_ROUNDS):
        if not _improve(sequence, vectors, where, tally, len(shares)):
            break
    part_of = [0] * len(utterances)
    for group, part in where.items():
        for place in groups[group]:
            part_of[place] = part
    return part_of


def _improve(
    sequence: Sequence[int],
    vectors: Sequence[list[tuple[_Label, int]]],
    where: dict[int, int],
    tally: _Tally,
    num_parts: int,
) -> int:
    """Move each group to where it fits best; the number of groups that moved."""
    num_moved = 0
    for group in sequence:
        here = where[group]
        tally.add(vectors[group], here, -1)
        gains = [tally.gain(vectors[group], part) for part in range(num_parts)]
        best = min(range(num_parts), key=lambda part: gains[part])
        if gains[best] < gains[here] - 1e-9:
            where[group] = best
            num_moved += 1
        tally.add(vectors[group], where[group])
    return num_moved


def _labels(utterance: Utterance) -> Counter[_Label]:
    labels: Counter[_Label] = Counter(("relation", relation.type) for relation in utterance.relations)
    labels[_UTTERANCE] = 1
    if not utterance.relations:
        labels[_NO_TRIPLET] = 1
    return labels


class _Tally:
    """How many of each label every part has, and how much closer to its target one more group brings it."""

    def __init__(self, total: Mapping[_Label, int], shares: Sequence[float]) -> None:
        self._targets = [{label: share * count for label, count in total.items()} for share in shares]
        self._counts: list[Counter[_Label]] = [Counter() for _ in shares]

    def gain(self, vector: Iterable[tuple[_Label, int]], part: int) -> float:
        """The change of chi-squared; below 0 is better."""
        targets, counts = self._targets[part], self._counts[part]
        return sum(n * (2 * (counts[label] - targets[label]) + n) / targets[label] for label, n in vector)

    def add(self, vector: Iterable[tuple[_Label, int]], part: int, sign: int = 1) -> None:
        """Count a group in (or out, with ``sign`` -1)."""
        counts = self._counts[part]
        for label, number in vector:
            counts[label] += sign * number


def _shuffled(seed: int, name: str) -> bytes:
    """A place in a sequence that depends on nothing but seed and name."""
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()


# --- leaving out ---


def _keep_sentences_apart(
    utterances: Sequence[Utterance],
    part_of: Sequence[int],
    kept: list[bool],
    shares: Sequence[float],
    similarity: float,
    seed: int,
) -> None:
    """Of each sentence that several parts have, one part keeps it: the one with the most utterances of it, unless that
    part has more than its share already (a part that is 3 % behind weighs almost twice as much).
    """
    num_kept = [0] * len(shares)
    disputed: list[tuple[bytes, dict[int, list[int]]]] = []
    for group in tied_groups(utterances, ("sentence",), similarity):
        holders: dict[int, list[int]] = {}
        for place in group:
            holders.setdefault(part_of[place], []).append(place)
        if len(holders) == 1:
            num_kept[part_of[group[0]]] += len(group)
        else:
            disputed.append((_shuffled(seed, min(utterances[place].id for place in group)), holders))
    for _, holders in sorted(disputed, key=lambda item: item[0]):
        total = sum(num_kept) or 1
        keeper = max(
            holders,
            key=lambda part: (
                math.log(len(holders[part])) + _PULL * (1 - num_kept[part] / (shares[part] * total)),
                -part,
            ),
        )
        num_kept[keeper] += len(holders[keeper])
        for part, places in holders.items():
            if part != keeper:
                for place in places:
                    kept[place] = False
