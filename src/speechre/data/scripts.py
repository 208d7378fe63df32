"""Scripts: which one a letter belongs to, and which are written without spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# The first word of a letter's Unicode name; Japanese mixes three, which count as one here.
_NAMES = {
    **{
        name: name.capitalize()
        for name in (
            "LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "ARMENIAN", "GEORGIAN", "DEVANAGARI", "BENGALI",
            "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO",
            "TIBETAN", "MYANMAR", "KHMER", "ETHIOPIC", "HANGUL", "MONGOLIAN", "THAANA",
        )
    },
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "Han and kana"),
}  # fmt: skip

UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana, Han
    "\U00020000-\U0003ffff]"
)
"""A letter of a script that has no spaces between words."""


@lru_cache(maxsize=65536)
def script_of(letter: str) -> str | None:
    """The script of one character; ``None`` for what is no letter or of no script that is told apart here.

    >>> [script_of(letter) for letter in "aж山!"]
    ['Latin', 'Cyrillic', 'Han and kana', None]
    """
    if not letter.isalpha():
        return None
    return _NAMES.get(unicodedata.name(letter, "").split(" ")[0])


def words_by_script(text: str) -> dict[str, list[str]]:
    """The words of ``text`` under each script they have a letter of, in their sequence.

    >>> words_by_script("Anna Иванова, Oslo")
    {'Latin': ['Anna', 'Oslo'], 'Cyrillic': ['Иванова,']}
    """
    words: dict[str, list[str]] = {}
    for word in unicodedata.normalize("NFKC", text).split():
        for script in dict.fromkeys(map(script_of, word)):
            if script is not None:
                words.setdefault(script, []).append(word)
    return words


def count_letters(text: str) -> Counter[str]:
    """How many letters of each script ``text`` has."""
    return Counter(script for letter in unicodedata.normalize("NFKC", text) if (script := script_of(letter)))
