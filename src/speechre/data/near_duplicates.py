"""Sentences that say the same or nearly so: an exact similarity join that scales.

Two sentences are alike when the bags of their normalized words overlap by a Jaccard similarity of at least a threshold.
The join is exact, unlike MinHash: no pair above the threshold is missed, so that "no leak" means none. It looks at few
pairs all the same, by the prefix filter of Chaudhuri et al. 2006 and Bayardo et al. 2007 ("Scaling Up All Pairs
Similarity Search"): with words sorted from the rarest on, two bags that are alike share one of their first few words.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from speechre.data.scripts import UNSPACED
from speechre.metrics import normalize_text

SIMILARITY = 0.8
"""Of ten words one may be another: 9 / 11 is 0.82."""

_Bag: TypeAlias = tuple[Hashable, ...]
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Alike:
    """Two places of a list of texts and how similar their words are, from the threshold to 1."""

    first: int
    second: int
    similarity: float


def normalized_sentence(text: str) -> str:
    """What two sentences have in common that count as the same one; a text of nothing but signs stays as it is.

    >>> normalized_sentence("Ann Lee lives in Oslo .") == normalized_sentence("ann lee lives in Oslo!")
    True
    """
    return normalize_text(text) or unicodedata.normalize("NFKC", text).strip()


def find_alike(texts: Sequence[str], similarity: float = SIMILARITY) -> Iterator[Alike]:
    """Every pair of ``texts`` at least ``similarity`` alike, each once, ``first`` < ``second``.

    Texts without words are like no other. ``similarity`` lies above 0 and at most at 1; low values compare many pairs.

    >>> list(find_alike(["Ann Lee lives in Oslo", "Bo Ray lives in Oslo", "ann lee lives in Oslo ."]))
    [Alike(first=0, second=2, similarity=1.0)]
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity is {similarity}; expected more than 0 and at most 1")
    bags = [_bag(normalized_sentence(text)) for text in texts]
    rank = _rarest_first(bags)
    ranked = [sorted(rank[word] for word in bag) for bag in bags]
    by_length = sorted(range(len(bags)), key=lambda place: (len(ranked[place]), place))
    index: dict[int, list[int]] = defaultdict(list)
    for place in by_length:
        words = ranked[place]
        if not words:
            continue
        # Shorter or equal bags were indexed before; those below this length cannot be alike.
        shortest = math.ceil(similarity * len(words) - 1e-9)
        candidates: dict[int, None] = {}
        prefix = words[: len(words) - shortest + 1]
        for word in prefix:
            for other in index[word]:
                if len(ranked[other]) >= shortest:
                    candidates[other] = None
        bag = set(words)
        for other in candidates:
            num_shared = len(bag.intersection(ranked[other]))
            found = num_shared / (len(words) + len(ranked[other]) - num_shared)
            if found >= similarity - 1e-9:
                yield Alike(min(place, other), max(place, other), found)
        for word in prefix:
            index[word].append(place)


def _bag(sentence: str) -> _Bag:
    """The words, each with its number of occurrence: Jaccard over such pairs is Jaccard over bags."""
    words = UNSPACED.sub(lambda match: f" {match.group()} ", sentence)
    seen: Counter[str] = Counter()
    bag: list[Hashable] = []
    for match in _WORD.finditer(words):
        word = match.group()
        bag.append((word, seen[word]))
        seen[word] += 1
    return tuple(bag)


def _rarest_first(bags: Sequence[_Bag]) -> Mapping[Hashable, int]:
    """A number for each word, the rarest 0; which of equally rare words comes first does not change the result."""
    counts = Counter(word for bag in bags for word in bag)
    return {word: number for number, (word, _) in enumerate(sorted(counts.items(), key=lambda pair: pair[1]))}
