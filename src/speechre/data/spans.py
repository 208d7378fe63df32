"""Where words stand in a text, compared as the scores compare them."""

from __future__ import annotations

import re
from dataclasses import replace

from speechre.metrics import normalize_text
from speechre.types import Entity

_WORD = re.compile(r"\S+")


def find_span(needle: str, text: str) -> tuple[int, int] | None:
    """The first words of ``text`` that normalize to what ``needle`` does, without punctuation at their ends.

    >>> find_span("helen PARKER", "Dr. Helen Parker, of Oslo")
    (4, 16)
    """
    wanted = normalize_text(needle).split()
    if not wanted:
        return None
    words = [(match, parts) for match in _WORD.finditer(text) if (parts := normalize_text(match.group()).split())]
    for first in range(len(words)):
        got: list[str] = []
        for match, parts in words[first:]:
            got += parts
            if len(got) >= len(wanted):
                if got == wanted:
                    return trim_span(words[first][0].start(), match.end(), text)
                break
    return None


def trim_span(start: int, end: int, text: str) -> tuple[int, int]:
    """The span without what normalization removes at its ends; as it is where nothing would be left."""
    kept = [i for i in range(start, end) if normalize_text(text[i])]
    return (kept[0], kept[-1] + 1) if kept else (start, end)


def place_entity(entity: Entity, text: str) -> Entity | None:
    """The entity with a span in ``text``: its own, or the only one that its text can have; else ``None``."""
    start, end = entity.start, entity.end
    if start is None or end is None:
        if not entity.text or text.count(entity.text) != 1:
            return None
        start = text.index(entity.text)
        end = start + len(entity.text)
    return replace(entity, start=start, end=end) if text[start:end] == entity.text else None
