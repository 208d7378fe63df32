"""What shows only when the utterances of a manifest are held against each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, TypeAlias

from speechre.data.findings import Found, spoken_triplets
from speechre.data.near_duplicates import normalized_sentence
from speechre.data.scripts import count_letters, words_by_script

RATE_FACTOR = 3.0
"""How many times faster or slower than the median of its manifest an utterance may be spoken."""
MIN_UTTERANCES = 20
"""Fewer have no median worth the name."""
_SHOWN = 3

_Place: TypeAlias = tuple[int, str | None]  # line, id
_Triplets: TypeAlias = frozenset[tuple[str, str, str]]


class ManifestFindings:
    """Collects utterances one by one; :meth:`findings` then says what does not fit together."""

    def __init__(self) -> None:
        self._first_line: dict[str, int] = {}
        self._rates: list[tuple[_Place, float, float]] = []  # characters a second, seconds
        self._letters: Counter[str] = Counter()
        self._words: list[tuple[_Place, dict[str, list[str]]]] = []
        self._triplets: dict[str, list[tuple[_Place, _Triplets]]] = defaultdict(list)
        self._spoken: dict[tuple[str, str], list[_Place]] = defaultdict(list)

    def add_id(self, place: _Place) -> Iterator[Found]:
        """Counts an id; finds one that stands there already."""
        line, utterance_id = place
        if utterance_id is None:
            return
        if utterance_id in self._first_line:
            yield (
                "duplicate-id",
                "error",
                f"its id stands on line {self._first_line[utterance_id]} already; make it unique",
            )
        self._first_line.setdefault(utterance_id, line)

    def add(self, place: _Place, record: Mapping[str, Any], duration_s: float | None) -> None:
        """Counts the content of a record. ``duration_s`` is the length of its sound, where it is known."""
        text, speaker = record.get("text", ""), record.get("speaker")
        if not isinstance(text, str) or not text.strip():
            return
        if duration_s:
            self._rates.append((place, sum(not c.isspace() for c in text) / duration_s, duration_s))
        letters = count_letters(text)
        self._letters += letters
        self._words.append(
            (place, words_by_script(text) if len(letters) > 1 else {script: [text] for script in letters})
        )
        sentence = normalized_sentence(text)
        triplets = spoken_triplets(record)
        if triplets:  # one without may not have been annotated at all
            self._triplets[sentence].append((place, triplets))
        if isinstance(speaker, str):
            self._spoken[sentence, speaker].append(place)

    def findings(self) -> Iterator[tuple[_Place, Found]]:
        """Everything that can be told now, with its place."""
        yield from self._rate_findings()
        yield from self._script_findings()
        yield from self._annotation_findings()
        for (_, speaker), places in self._spoken.items():
            for place in places[1:]:
                message = f'"{speaker}" says the same sentence on line {places[0][0]} already'
                yield place, ("repeated-utterance", "warning", message)

    def _rate_findings(self) -> Iterator[tuple[_Place, Found]]:
        if len(self._rates) < MIN_UTTERANCES:
            return
        usual = median(rate for _, rate, _ in self._rates)
        for place, rate, duration_s in self._rates:
            if usual / RATE_FACTOR <= rate <= usual * RATE_FACTOR:
                continue
            what = "more than the sound has room for" if rate > usual else "less than the sound has room for"
            yield (
                place,
                (
                    "speech-rate",
                    "warning",
                    f"{rate:.1f} characters a second in {duration_s:.1f} s, where {usual:.1f} are usual here: the text "
                    f"says {what}",
                ),
            )

    def _script_findings(self) -> Iterator[tuple[_Place, Found]]:
        if not self._letters:
            return
        main = max(sorted(self._letters), key=lambda script: self._letters[script])
        for place, words in self._words:
            for script, found in words.items():
                if script != main:
                    shown = ", ".join(f'"{word}"' for word in found[:_SHOWN])
                    more = ", ..." if len(found) > _SHOWN else ""
                    message = f"{script} letters in a manifest written in {main}: {shown}{more}"
                    yield place, ("language-mix", "warning", message)

    def _annotation_findings(self) -> Iterator[tuple[_Place, Found]]:
        for annotated in self._triplets.values():
            (first_line, _), first = annotated[0]
            for place, triplets in annotated[1:]:
                if triplets != first:
                    only = sorted(triplets ^ first)
                    shown = "; ".join(f"({head}, {kind}, {tail})" for head, kind, tail in only[:_SHOWN])
                    more = "; ..." if len(only) > _SHOWN else ""
                    message = f"the same sentence has other triplets on line {first_line}; not in both: {shown}{more}"
                    yield place, ("contradicting-triplets", "warning", message)
