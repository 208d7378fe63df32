"""The rules by which two names are one entity's, each with a name of its own, so that it can be switched off.

A rule brings names together in buckets (those that share one of its keys) and says of two whether they fit. Rules of
scope ``any`` hold whatever the recording, but only of names that need none to explain them; those of scope
``recording`` need both names in one recording, because there "Parker" after "Helen Parker" is her, and elsewhere it
need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from speechre.errors import UsageError
from speechre.graph import words as lists
from speechre.graph.names import Name
from speechre.graph.sounds import sound_of, sounds_near

_MIN_ALIKE_CHARS = 5  # a name of fewer letters sounds like too many others: Main and Maine
_MIN_JOINED_CHARS = 6


@dataclass(frozen=True)
class Rule:
    """``keys`` of a name are its buckets, ``fits`` judges two names of one bucket, ``reason`` ends the sentence
    '"A" and "B": ...'.
    """

    name: str
    scope: Literal["any", "recording"]
    keys: Callable[[Name], Iterable[Hashable]]
    fits: Callable[[Name, Name], bool]
    reason: str


# -- what every two names of one entity must be


def contradict(a: Name, b: Name) -> bool:
    """Whether two names cannot be one entity's, whatever a rule says of them."""
    if a.words == b.words and a.place_part == b.place_part:
        return False
    if a.place_part and b.place_part and a.place_part != b.place_part:
        return True
    if a.legal_form and b.legal_form and a.legal_form != b.legal_form:
        return True
    if a.known and b.known and a.known != b.known:
        return True
    return a.kind == "person" and _are_two_people(a, b)


def _are_two_people(a: Name, b: Name) -> bool:
    genders = {a.gender, b.gender} - {""}
    if len(genders) == 2:
        return True
    for one, other in ((a, b), (b, a)):
        if lists.WIFE_TITLES.intersection(one.titles) and other.gender != "f":
            return True
    if a.is_short or b.is_short or a.is_acronym or b.is_acronym or "".join(a.core) == "".join(b.core):
        return False
    return a.generation != b.generation or not (_same_word(a.core[-1], b.core[-1]) and _given_names_agree(a, b))


def _same_word(one: str, other: str) -> bool:
    one, other = sound_of(one), sound_of(other)
    return one == other or sounds_near(one, other)


def _given_names_agree(a: Name, b: Name) -> bool:
    (first, *middle), (other_first, *other_middle) = a.core[:-1], b.core[:-1]
    if not (_same_word(first, other_first) or _is_initial(first, other_first) or _are_nicknames(first, other_first)):
        return False
    if not middle or not other_middle:
        return True
    pairs = zip(middle, other_middle, strict=False)
    return len(middle) == len(other_middle) and all(_same_word(x, y) or _is_initial(x, y) for x, y in pairs)


def _is_initial(one: str, other: str) -> bool:
    return one[0] == other[0] and 1 in (len(one), len(other))


def _are_nicknames(one: str, other: str) -> bool:
    return lists.NICKNAMES.get(one, one) == lists.NICKNAMES.get(other, other)


# -- keys and judgements


def _title_keys(name: Name) -> list[Hashable]:
    return [(name.core, name.generation)] if name.kind == "person" else []


def _short_title_keys(name: Name) -> list[Hashable]:
    return [name.core] if name.is_short and not name.is_description else []


def _one_has_no_title(a: Name, b: Name) -> bool:
    return not (a.titles and b.titles) or a.titles == b.titles


def _legal_keys(name: Name) -> list[Hashable]:
    return [name.core] if name.kind == "organization" else []


def _known_keys(name: Name) -> list[Hashable]:
    return [name.known] if name.known else []


def _sound_keys(name: Name) -> list[Hashable]:
    if name.is_description or sum(map(len, name.core)) < _MIN_ALIKE_CHARS or name.is_acronym:
        return []
    return [(name.sounds, name.generation, name.place_part)]


def _joined_keys(name: Name) -> list[Hashable]:
    joined = "".join(name.words)
    return [joined] if len(joined) >= _MIN_JOINED_CHARS and joined.isalpha() else []


def _near_keys(name: Name) -> list[Hashable]:
    """One for each word left out: names that share one differ in that word only."""
    if len(name.core) < 2 or name.is_description:
        return []
    sounds = name.sounds
    return [(n, sounds[:n], sounds[n + 1 :], name.generation) for n in range(len(sounds))]


def _near(a: Name, b: Name) -> bool:
    pairs = [(x, y) for x, y in zip(a.sounds, b.sounds, strict=False) if x != y]
    return len(a.core) == len(b.core) and len(pairs) == 1 and sounds_near(*pairs[0])


def _full_person_keys(name: Name) -> list[Hashable]:
    is_full = name.kind == "person" and not name.is_short and not name.is_description
    return [(name.core[-1], name.generation)] if is_full else []


def _middle_name_left_out(a: Name, b: Name) -> bool:
    return a.core[0] == b.core[0] and 2 in (len(a.core), len(b.core)) and len(a.core) != len(b.core)


def _initials_fit(a: Name, b: Name) -> bool:
    return _given_names_agree(a, b) and any(_is_initial(x, y) for x, y in zip(a.core[:-1], b.core[:-1], strict=False))


def _nicknames_fit(a: Name, b: Name) -> bool:
    return a.core[0] != b.core[0] and _are_nicknames(a.core[0], b.core[0]) and _given_names_agree(a, b)


def _acronym_keys(name: Name) -> list[Hashable]:
    if name.is_acronym:
        return [name.words[0]]
    return [] if name.is_description else [*sorted(name.initials())]


def _abbreviates(a: Name, b: Name) -> bool:
    if a.is_acronym == b.is_acronym:
        return False
    return not (a if a.is_acronym else b).known  # what that stands for is settled: known_name's business


def _part_of_person_keys(name: Name) -> list[Hashable]:
    if name.kind != "person" or name.is_description or name.is_acronym:
        return []
    return list(dict.fromkeys((name.core[0], name.core[-1])))


def _names_in_short(a: Name, b: Name) -> bool:
    if a.is_short == b.is_short:
        return False
    short, full = (a, b) if a.is_short else (b, a)
    return short.core[0] == full.core[-1] or (not short.titles and short.core[0] == full.core[0])


def _before_comma(name: Name) -> tuple[str, ...]:
    return name.words[: len(name.words) - len(name.place_part.split())]


def _place_keys(name: Name) -> list[Hashable]:
    return [_before_comma(name)] if name.kind == "place" and not name.is_description else []


def _kind_of(name: Name) -> str:
    return name.core[-1] if len(name.core) > 1 and name.core[-1] in lists.KINDS else ""


def _kind_keys(name: Name) -> list[Hashable]:
    if name.kind != "organization" or name.is_description:
        return []
    return [name.core[:-1] if _kind_of(name) else name.core]


def _one_has_no_kind(a: Name, b: Name) -> bool:
    return bool(_kind_of(a)) != bool(_kind_of(b))


def _core_differs(a: Name, b: Name) -> bool:
    return a.core != b.core  # else titles or legal forms are all that differs: other rules' business


def _words_differ(a: Name, b: Name) -> bool:
    return a.words != b.words


SAME_TEXT = "same_text"

ALL_RULES: tuple[Rule, ...] = (
    Rule("title", "any", _title_keys, _words_differ, "one name, with and without a title"),
    Rule("legal_form", "any", _legal_keys, _words_differ, "one name, with and without a legal form"),
    Rule("known_name", "any", _known_keys, _words_differ, "a well-known abbreviation and what it stands for"),
    Rule("spelling", "any", _sound_keys, _core_differs, "said alike"),
    Rule("spelling", "any", _joined_keys, _words_differ, "the same letters, cut into words in another way"),
    Rule("spelling", "recording", _sound_keys, _core_differs, "said alike, in one recording"),
    Rule("spelling", "recording", _near_keys, _near, "said nearly alike, in one recording"),
    Rule("acronym", "recording", _acronym_keys, _abbreviates, "an abbreviation and what it stands for"),
    Rule("title", "recording", _short_title_keys, _one_has_no_title, "one surname, with and without a title"),
    Rule("middle_name", "recording", _full_person_keys, _middle_name_left_out, "a middle name left out"),
    Rule("initials", "recording", _full_person_keys, _initials_fit, "a given name and its initial"),
    Rule("nickname", "recording", _full_person_keys, _nicknames_fit, "a given name and its short form"),
    Rule("short_name", "recording", _part_of_person_keys, _names_in_short, "a full name and a part of it"),
    Rule("place_part", "recording", _place_keys, _words_differ, "a place, with and without what it lies in"),
    Rule("kind", "recording", _kind_keys, _one_has_no_kind, "an organization, with and without its kind"),
)
"""In this sequence: what holds everywhere first, so that a recording's short names find whole entities."""

RULE_NAMES = (SAME_TEXT, *dict.fromkeys(rule.name for rule in ALL_RULES))
DEFAULT_RULES = tuple(name for name in RULE_NAMES if name != "middle_name")
"""Those that are on unless others are chosen. ``middle_name`` is off: where one recording has both John Adams and John
Quincy Adams, it is more often to tell them apart."""


def select_rules(names: Iterable[str]) -> frozenset[str]:
    """``names`` as a set. Raises :class:`UsageError` on one that is no rule."""
    chosen = frozenset(names)
    unknown = sorted(chosen - set(RULE_NAMES))
    if unknown:
        raise UsageError(f'unknown merge rule "{unknown[0]}"; expected some of {", ".join(RULE_NAMES)}')
    return chosen
