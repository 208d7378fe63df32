"""An entity's text, taken apart: what its words are once writing is set aside, and which of them are the name."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from speechre.graph import words as lists
from speechre.graph.sounds import sound_of

Kind = Literal["person", "place", "organization", ""]

_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)?")
_POSSESSIVE = re.compile(r"['’]s?(?=\s*$)")
_AND = re.compile(r"\s*&\s*")
_DASHES = re.compile(r"[-‐‑‒–—/,;:]+")
_LETTERS_APART = re.compile(r"\b(?:[a-z] ){1,5}[a-z]\b")
# Latin, Greek and Cyrillic accents; the points of Hebrew and of Arabic, which ordinary writing leaves out.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670]")
_MAX_ACRONYM = 6


@dataclass(frozen=True, slots=True)
class Name:
    """One way of naming an entity of one type.

    ``words`` are the text's words without case, accents, punctuation and article; ``core`` are those without titles,
    legal forms and generations; ``place_part`` is what stands behind the first comma ("oregon").
    """

    text: str
    type: str
    kind: Kind
    words: tuple[str, ...]
    core: tuple[str, ...] = field(compare=False)
    titles: tuple[str, ...] = field(compare=False)
    generation: str = field(compare=False)
    legal_form: str = field(compare=False)
    place_part: str = field(compare=False)
    is_description: bool = field(compare=False)
    is_acronym: bool = field(compare=False)

    @property
    def key(self) -> str:
        return " ".join(self.words)

    @property
    def is_short(self) -> bool:
        """A person named by one word, whatever the title: which of all Parkers it is, only the recording says."""
        return self.kind == "person" and len(self.core) < 2

    @property
    def is_local(self) -> bool:
        """Whether only the recording says whom or what it names: a person's single name, a description."""
        return self.is_short or self.is_description

    @property
    def sounds(self) -> tuple[str, ...]:
        return tuple(map(sound_of, self.core))

    @property
    def gender(self) -> str:
        """``m`` or ``f`` where a title or the given name tells it, else empty."""
        if self.kind != "person":
            return ""
        told = {lists.TITLES[title] for title in self.titles} - {""}
        if len(told) == 1:
            return told.pop()
        if self.is_short or self.core[0] in lists.RULER_TITLES:
            return ""
        return "f" if self.core[0] in lists.WOMEN else "m" if self.core[0] in lists.MEN else ""

    @property
    def known(self) -> str:
        """The abbreviation that everybody knows for this name, or empty; persons have none."""
        return "" if self.kind == "person" else _KNOWN_BY_KEY.get(self.key, "")

    def initials(self) -> frozenset[str]:
        """What the name may be abbreviated to: first letters, with and without the small words."""
        if len(self.words) < 2:
            return frozenset()
        every = "".join(word[0] for word in self.words)
        large = "".join(word[0] for word in self.words if word not in lists.SMALL_WORDS)
        core = "".join(word[0] for word in self.core if word not in lists.SMALL_WORDS)
        return frozenset(letters for letters in (every, large, core) if 2 <= len(letters) <= _MAX_ACRONYM)


_KNOWN_BY_KEY = {
    **{short: short for short in lists.KNOWN},
    **{long: short for short, longs in lists.KNOWN.items() for long in longs},
}


@lru_cache(maxsize=65536)
def parse_name(text: str, type: str) -> Name:
    """Take an entity's text apart. Total: any text and type give a name, if need be without words."""
    kind = _kind(type)
    words, raw_article = _words(text, kind)
    place_part = ""
    if kind == "place" and "," in text:
        place_part = " ".join(_words(text.split(",", 1)[1], kind)[0])
    core, generation, legal_form = words, "", ""
    titles: tuple[str, ...] = ()
    if kind == "person":
        core, titles, generation = _person(words)
    elif kind == "organization":
        core, legal_form = _organization(words)
    letters = re.sub(r"[^\w]", "", text)
    is_acronym = 2 <= len(letters) <= _MAX_ACRONYM and len(words) == 1 and letters.isalpha()
    is_acronym = is_acronym and (letters.isupper() or (kind != "person" and words[0] in lists.KNOWN))
    return Name(
        text=text,
        type=type,
        kind=kind,
        words=words,
        core=core,
        titles=titles,
        generation=generation,
        legal_form=legal_form,
        place_part=place_part,
        is_description=_is_description(text, words, core, raw_article),
        is_acronym=is_acronym,
    )


def _kind(type: str) -> Kind:
    name = type.casefold()
    if name in lists.PERSON_TYPES:
        return "person"
    if name in lists.PLACE_TYPES:
        return "place"
    return "organization" if name in lists.ORGANIZATION_TYPES else ""


def _words(text: str, kind: Kind) -> tuple[tuple[str, ...], bool]:
    """The words, and whether an article was taken off them."""
    text = _POSSESSIVE.sub("", text.strip())
    text = _DASHES.sub(" ", _AND.sub(" and ", text))
    folded = _folded(text)
    states = lists.STATES if kind == "place" else {}
    found = []
    for word in folded.split():
        plain = "".join(c for c in word if not unicodedata.category(c).startswith(("P", "C")) or c == "#")
        if not plain:
            continue
        plain = states.get(plain, plain) if word.endswith(".") else plain
        plain = lists.ABBREVIATED_WORDS.get(kind, {}).get(plain, plain)
        found.append(lists.NUMBERS.get(plain, plain))
    joined = _LETTERS_APART.sub(lambda match: match.group().replace(" ", ""), " ".join(found))
    found = joined.split()
    has_article = len(found) > 1 and found[0] == "the"
    return tuple(found[1:] if has_article else found), has_article


def _folded(text: str) -> str:
    """Lower case without accents. Other marks stay: in many scripts a mark is a vowel or makes another consonant, and
    without it two names would be one.
    """
    folded = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFKC", folded).replace("ø", "o").replace("ł", "l")


def _person(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    num_titles = 0
    while num_titles < len(words) - 1 and words[num_titles] in lists.TITLES:
        num_titles += 1
    titles, core, generation = words[:num_titles], words[num_titles:], ""
    if len(core) > 1:
        if core[-1] in lists.GENERATIONS:
            core, generation = core[:-1], lists.GENERATIONS[core[-1]]
        elif ordinal := _ORDINAL.fullmatch(core[-1]):  # "Henry the Eighth" became "henry the 8th"
            generation = ordinal[1]
            core = core[: -2 if core[-2] == "the" and len(core) > 2 else -1]
        if len(core) == 1 and generation:  # Louis XIV: the number tells him from the others as a surname does
            core, generation = (*core, generation), ""
    return core, titles, generation


def _organization(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    if len(words) < 2 or words[-1] not in lists.LEGAL_FORMS:
        return words, ""
    core = words[:-1]
    if len(core) > 1 and core[-1] == "and":
        core = core[:-1]
    return core, lists.LEGAL_FORMS[words[-1]]


def _is_description(text: str, words: tuple[str, ...], core: tuple[str, ...], has_article: bool) -> bool:
    """Whether a text describes rather than names: "the mayor", "his wife", "Mr. and Mrs. Smith" (two, not one)."""
    if not words or words[0] in lists.DETERMINERS or all(w in lists.GENERIC or w in lists.TITLES for w in words):
        return True
    if any(
        word == "and" and {words[n - 1], words[n + 1]} <= set(lists.TITLES) for n, word in enumerate(words[1:-1], 1)
    ):
        return True
    is_known = " ".join(words) in _KNOWN_BY_KEY  # "the united states" is no less a name for its small letters
    return has_article and text == text.lower() and not is_known and not any(c.isdigit() for c in text)
