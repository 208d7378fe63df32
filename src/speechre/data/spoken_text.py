"""Written text as a voice should get it, with the entities' spans carried over.

``plain_text`` joins treebank tokens; here what is left of them goes (brackets as -LRB-, tokens of numbers, quotation
marks), and abbreviations are written in full, so that every engine reads the same words.

>>> spoken_text("`` Salisbury , N.C. ''")
'Salisbury, North Carolina'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from speechre.data.plain_text import plain_utterance
from speechre.types import Entity, Utterance

STATE_ABBREVIATIONS: Mapping[str, str] = {
    "Alabama": "Ala.",
    "Arizona": "Ariz.",
    "Arkansas": "Ark.",
    "California": "Calif.",
    "Colorado": "Colo.",
    "Connecticut": "Conn.",
    "Delaware": "Del.",
    "Florida": "Fla.",
    "Georgia": "Ga.",
    "Illinois": "Ill.",
    "Indiana": "Ind.",
    "Kansas": "Kan.",
    "Kentucky": "Ky.",
    "Louisiana": "La.",
    "Maryland": "Md.",
    "Massachusetts": "Mass.",
    "Michigan": "Mich.",
    "Minnesota": "Minn.",
    "Mississippi": "Miss.",
    "Missouri": "Mo.",
    "Montana": "Mont.",
    "Nebraska": "Neb.",
    "Nevada": "Nev.",
    "New Hampshire": "N.H.",
    "New Jersey": "N.J.",
    "New Mexico": "N.M.",
    "New York": "N.Y.",
    "North Carolina": "N.C.",
    "North Dakota": "N.D.",
    "Oklahoma": "Okla.",
    "Oregon": "Ore.",
    "Pennsylvania": "Pa.",
    "Rhode Island": "R.I.",
    "South Carolina": "S.C.",
    "South Dakota": "S.D.",
    "Tennessee": "Tenn.",
    "Virginia": "Va.",
    "Washington": "Wash.",
    "West Virginia": "W.Va.",
    "Wisconsin": "Wis.",
    "Wyoming": "Wyo.",
}
"""How American news agencies shorten the states."""

_SPOKEN = {short: name for name, short in STATE_ABBREVIATIONS.items()} | {
    "Sen.": "Senator",
    "Sens.": "Senators",
    "Rep.": "Representative",
    "Reps.": "Representatives",
    "Gov.": "Governor",
    "Gen.": "General",
    "Col.": "Colonel",
    "Capt.": "Captain",
    "Cmdr.": "Commander",
    "Lt.": "Lieutenant",
    "Maj.": "Major",
    "Sgt.": "Sergeant",
    "Rev.": "Reverend",
    "Prof.": "Professor",
    "Jan.": "January",
    "Feb.": "February",
    "Aug.": "August",
    "Sept.": "September",
    "Oct.": "October",
    "Nov.": "November",
    "Dec.": "December",
}
_ABBREVIATION = re.compile(
    r"(?<![\w.])(" + "|".join(re.escape(short) for short in sorted(_SPOKEN, key=len, reverse=True)) + r")(?![\w.])"
)
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_Edit = tuple["re.Pattern[str]", "Callable[[re.Match[str]], str]"]

_BEFORE: tuple[_Edit, ...] = (
    (re.compile("|".join(_BRACKETS)), lambda match: _BRACKETS[match.group()]),
    (re.compile(r"(?<=\d) , (?=\d{3}(?!\d))"), lambda match: ","),  # 150 , 000
    (re.compile(r"\\/"), lambda match: "/"),  # 1\/2
)
_AFTER: tuple[_Edit, ...] = (
    (re.compile(r"[\"“”`«»]"), lambda match: ""),
    (re.compile(r"\s*(?:--+|[–—])\s*"), lambda match: ", "),  # a pause
    (re.compile(r"(?<=\w)_+(?=\w)"), lambda match: " "),  # a slot's name; lone underscores are datelines
    (re.compile(r"\s*(?<!\w)_+(?!\w)\s*"), lambda match: ", "),
    (re.compile(r"(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)"), lambda match: ""),
    (_ABBREVIATION, lambda match: _SPOKEN[match[1]]),
    (re.compile(r"^[\s,;:]+|\s+$"), lambda match: ""),
    (re.compile(r",(?=\s*[,.;:?!])"), lambda match: ""),
    (re.compile(r"\s+(?=[,;])"), lambda match: ""),
    (re.compile(r"\s{2,}"), lambda match: " "),
)


def spoken_text(text: str) -> str:
    """What a voice is given for written text: abbreviations in full, no quotation marks.

    >>> spoken_text("Sen. Ann Lee of Salem , Ore. , spoke .")
    'Senator Ann Lee of Salem, Oregon, spoke.'
    """
    return spoken_utterance(Utterance("", None, text)).text


def spoken_utterance(utterance: Utterance) -> Utterance:
    """The utterance with its text as it is spoken; every entity keeps its id and type and gets its new span and text.

    An entity whose edge falls within what is rewritten takes the whole of it: in "Salem, Ore." read as "Salem, Oregon"
    the entity "Ore." becomes "Oregon". An entity without a span, or of which nothing is spoken, keeps its text and has
    no span.
    """
    for pattern, text_for in _BEFORE:
        utterance = _rewritten(utterance, pattern, text_for)
    utterance = plain_utterance(utterance)
    for pattern, text_for in _AFTER:
        utterance = _rewritten(utterance, pattern, text_for)
    return utterance


def _rewritten(utterance: Utterance, pattern: re.Pattern[str], text_for: Callable[[re.Match[str]], str]) -> Utterance:
    text = utterance.text
    edits = [(*match.span(), text_for(match)) for match in pattern.finditer(text)]
    if not edits:
        return utterance
    pieces, at = [], 0
    for start, end, new in edits:
        pieces += [text[at:start], new]
        at = end
    new_text = "".join([*pieces, text[at:]])
    entities = tuple(_moved(entity, new_text, edits) for entity in utterance.entities)
    return replace(utterance, text=new_text, entities=entities)


def _moved(entity: Entity, new_text: str, edits: list[tuple[int, int, str]]) -> Entity:
    if entity.start is None or entity.end is None:
        return entity
    start, end = _place(entity.start, edits, at_end=False), _place(entity.end, edits, at_end=True)
    while start < end and new_text[start] in " ,":  # a pause is nobody's name
        start += 1
    while end > start and new_text[end - 1] in " ,":
        end -= 1
    if start >= end:
        return replace(entity, start=None, end=None)
    return replace(entity, text=new_text[start:end], start=start, end=end)


def _place(at: int, edits: list[tuple[int, int, str]], at_end: bool) -> int:
    """Where a boundary of the old text lies in the new one; within an edit it goes to the edit's outer edge."""
    shift = 0
    for start, end, new in edits:
        if at <= start:
            break
        if at >= end:
            shift += len(new) - (end - start)
            continue
        return start + shift + (len(new) if at_end else 0)
    return at + shift
