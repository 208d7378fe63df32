"""What ties utterances together, so that a model that was trained on one has an easy time with the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, get_args

from speechre.data.near_duplicates import SIMILARITY, find_alike, normalized_sentence
from speechre.errors import UsageError
from speechre.types import Utterance

Trait: TypeAlias = Literal["speaker", "sentence", "recording"]
TRAITS: tuple[Trait, ...] = get_args(Trait)


def check_traits(names: Iterable[str]) -> tuple[Trait, ...]:
    """``names`` as traits, each once, in their own sequence. Raises :class:`UsageError` on an unknown or no name."""
    given = set(names)
    unknown = sorted(given - set(TRAITS))
    if unknown or not given:
        got = f'unknown trait "{unknown[0]}"' if unknown else "no trait given"
        raise UsageError(f"{got}; expected some of {', '.join(TRAITS)}")
    return tuple(trait for trait in TRAITS if trait in given)


def trait_value(utterance: Utterance, trait: Trait) -> str | None:
    """The speaker, the normalized sentence or the path of the recording; ``None`` where it is not known."""
    if trait == "speaker":
        return utterance.speaker
    if trait == "sentence":
        return normalized_sentence(utterance.text) or None
    return None if utterance.audio is None else utterance.audio.path


def places_by(utterances: Sequence[Utterance], trait: Trait) -> dict[str, list[int]]:
    """The places in ``utterances`` that share a value; those without one are in none."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, utterance in enumerate(utterances):
        value = trait_value(utterance, trait)
        if value is not None:
            places[value].append(place)
    return dict(places)


def tied_groups(
    utterances: Sequence[Utterance], by: Iterable[Trait], similarity: float = SIMILARITY
) -> list[tuple[int, ...]]:
    """The places of ``utterances`` in groups that share no value of the traits ``by`` with each other.

    Sentences at least ``similarity`` alike count as the same, and so do those that are tied through others. An
    utterance of which nothing is known is a group of its own. Groups and places come in the sequence of the input.
    """
    sets = _DisjointSets(len(utterances))
    for trait in by:
        places = places_by(utterances, trait)
        for shared in places.values():
            sets.join(shared)
        if trait == "sentence":
            firsts = [shared[0] for shared in places.values()]
            for pair in find_alike(list(places), similarity):
                sets.join((firsts[pair.first], firsts[pair.second]))
    return [tuple(group) for group in sets.groups()]


def count_unknown(utterances: Iterable[Utterance], by: Iterable[Trait]) -> dict[Trait, int]:
    """How many utterances have a speaker or a sentence that nobody told; who has no recording cannot share one."""
    items = list(utterances)
    return {trait: sum(trait_value(item, trait) is None for item in items) for trait in by if trait != "recording"}


class _DisjointSets:
    """Union by smaller root, with path halving."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, place: int) -> int:
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(self, places: Iterable[int]) -> None:
        """Make one set of those that hold ``places``."""
        roots = {self._root(place) for place in places}
        smallest = min(roots)
        for root in roots:
            self._parent[root] = smallest

    def groups(self) -> Iterator[list[int]]:
        """The members of each set."""
        members: dict[int, list[int]] = {}
        for place in range(len(self._parent)):
            members.setdefault(self._root(place), []).append(place)
        yield from members.values()
