"""Scores of parts of the data: by duration, by voice, by how much there is to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from speechre.evaluate.run import WordErrors, sum_word_errors
from speechre.metrics import Counts

DURATION_EDGES_S = (3, 5, 8, 12, 20, 30)
MANY_GOLD = 4
"""Utterances with this many triplets or more are one group."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One utterance, scored: the triplets' counts under the report's protocol, and what groups are made by."""

    counts: Counts
    duration_s: float | None = None
    speaker: str | None = None
    words: WordErrors | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Some utterances together. ``name`` is ``None`` where what divides them is not known.

    ``num_answered`` utterances got any triplet, right or wrong.
    """

    name: str | None
    num_utterances: int
    num_answered: int
    counts: Counts
    words: WordErrors | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "num_utterances": self.num_utterances,
            "num_answered": self.num_answered,
            "wer": None if self.words is None else self.words.wer,
            **self.counts.to_dict(),
        }


def group_by(scored: Sequence[Scored], name: Callable[[Scored], str | None], names: Sequence[str] = ()) -> list[Group]:
    """One group a name: first those of ``names`` that occur, in that sequence, then others sorted, then ``None``."""
    members: dict[str | None, list[Scored]] = {}
    for one in scored:
        members.setdefault(name(one), []).append(one)
    known = [n for n in names if n in members]
    others = sorted(n for n in members if n is not None and n not in known)
    return [_group(n, members[n]) for n in (*known, *others, None) if n in members]


def by_duration(scored: Sequence[Scored]) -> list[Group]:
    """Groups between :data:`DURATION_EDGES_S`, in seconds; an edge belongs to the longer ones."""
    return group_by(scored, _duration_name, _duration_names())


def by_speaker(scored: Sequence[Scored]) -> list[Group]:
    """One group a voice, the largest first."""
    return sorted(group_by(scored, lambda s: s.speaker), key=lambda group: -group.num_utterances)


def by_num_gold(scored: Sequence[Scored]) -> list[Group]:
    """Groups by the number of triplets to find: "0", "1", ..., "4 or more"."""
    names = (*map(str, range(MANY_GOLD)), f"{MANY_GOLD} or more")
    return group_by(scored, lambda s: names[min(s.counts.num_gold, MANY_GOLD)], names)


def relation_free(scored: Sequence[Scored]) -> Mapping[str, Any]:
    """Of the utterances without any gold triplet: how many got one all the same. ``share`` is ``None`` of none."""
    free = [s for s in scored if s.counts.num_gold == 0]
    num_answered = sum(s.counts.num_predicted > 0 for s in free)
    share = num_answered / len(free) if free else None
    return {"num_utterances": len(free), "num_answered": num_answered, "share": share}


def _group(name: str | None, members: Sequence[Scored]) -> Group:
    return Group(
        name,
        len(members),
        sum(m.counts.num_predicted > 0 for m in members),
        sum((m.counts for m in members), Counts()),
        sum_word_errors(m.words for m in members),
    )


def _duration_names() -> tuple[str, ...]:
    between = (f"{low} to {high} s" for low, high in pairwise(DURATION_EDGES_S))
    return (f"under {DURATION_EDGES_S[0]} s", *between, f"{DURATION_EDGES_S[-1]} s or more")


def _duration_name(one: Scored) -> str | None:
    duration_s = one.duration_s
    return None if duration_s is None else _duration_names()[sum(duration_s >= edge for edge in DURATION_EDGES_S)]
