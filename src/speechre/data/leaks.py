"""Leakage: what the parts of a data set share and should not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechre.data.near_duplicates import SIMILARITY, find_alike
from speechre.data.ties import TRAITS, Trait, trait_value
from speechre.errors import DataError
from speechre.types import Utterance

_SHOWN_IDS = 4


@dataclass(frozen=True, slots=True)
class Leak:
    """One speaker, recording or sentence that stands in several parts.

    ``kind`` is a trait or ``near-sentence``; then ``other`` is the second sentence and ``similarity`` below 1.
    ``ids`` has the ids of the utterances concerned, by part.
    """

    kind: str
    value: str
    ids: Mapping[str, tuple[str, ...]]
    other: str | None = None
    similarity: float = 1.0

    def __str__(self) -> str:
        places = ", ".join(f"{len(ids)} in {part} ({_some(ids)})" for part, ids in self.ids.items())
        if self.other is None:
            return f'{self.kind} "{self.value}": {places}'
        return f'{self.kind} {self.similarity:.2f} "{self.value}" and "{self.other}": {places}'

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        record: dict[str, Any] = {"kind": self.kind, "value": self.value}
        if self.other is not None:
            record |= {"other": self.other, "similarity": round(self.similarity, 4)}
        return {**record, "ids": {part: list(ids) for part, ids in self.ids.items()}}


def find_leaks(
    parts: Mapping[str, Sequence[Utterance]], by: Iterable[Trait] = TRAITS, similarity: float = SIMILARITY
) -> list[Leak]:
    """Everything that two or more of the ``parts`` share: speakers, recordings, sentences, then near sentences.

    Sentences are compared normalized; a near sentence is a pair of different ones at least ``similarity`` alike.
    One speaker, recording or sentence is one leak, however many utterances it concerns.
    """
    leaks: list[Leak] = []
    for trait in by:
        holders = _holders(parts, trait)
        leaks += [Leak(trait, value, _frozen(found)) for value, found in holders.items() if len(found) > 1]
        if trait == "sentence":
            leaks += _near_leaks(holders, similarity)
    return leaks


def parts_by_split(utterances: Iterable[Utterance], where: str) -> dict[str, list[Utterance]]:
    """The parts that the utterances themselves name. Raises :class:`DataError` on one that names none."""
    parts: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.split is None:
            raise DataError(
                f'{where}: utterance "{utterance.id}" has no "split"; give a file for each part, or name the part of '
                "every utterance"
            )
        parts[utterance.split].append(utterance)
    return dict(parts)


_Holders = dict[str, dict[str, list[str]]]


def _holders(parts: Mapping[str, Sequence[Utterance]], trait: Trait) -> _Holders:
    """Value -> part -> ids."""
    holders: _Holders = {}
    for part, utterances in parts.items():
        for utterance in utterances:
            value = trait_value(utterance, trait)
            if value is not None:
                holders.setdefault(value, {}).setdefault(part, []).append(utterance.id)
    return holders


def _near_leaks(holders: _Holders, similarity: float) -> Iterator[Leak]:
    sentences = list(holders)
    for pair in sorted(find_alike(sentences, similarity), key=lambda p: (p.first, p.second)):
        one, other = sentences[pair.first], sentences[pair.second]
        if len(holders[one].keys() | holders[other].keys()) == 1:
            continue
        ids = {
            part: holders[one].get(part, []) + holders[other].get(part, [])
            for part in dict.fromkeys([*holders[one], *holders[other]])
        }
        yield Leak("near-sentence", one, _frozen(ids), other, pair.similarity)


def _frozen(ids: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {part: tuple(found) for part, found in ids.items()}


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN_IDS]) + (", ..." if len(ids) > _SHOWN_IDS else "")
