"""Text that every format can hold: what XML, HTML or UTF-8 cannot say becomes U+FFFD, and nothing else changes."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

# Control characters but tab and line feed, lone surrogates (from file names that are not UTF-8) and non-characters.
# A carriage return is none to XML's readers, which turn it into a line feed; as one of ours it would change on the way.
_UNSAYABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_Value = TypeVar("_Value")


def clean_text(text: str) -> str:
    """``text`` without what some format cannot hold.

    >>> clean_text("O\\x00slo")
    'O\\ufffdslo'
    """
    return _UNSAYABLE.sub("\ufffd", text)


def cleaned(value: _Value) -> _Value:
    """The same with every text in it cleaned, through dataclasses and tuples."""
    found: Any = value
    if isinstance(value, str):
        found = clean_text(value)
    elif isinstance(value, tuple):
        found = tuple(map(cleaned, value))
    elif is_dataclass(value) and not isinstance(value, type):
        found = type(value)(**{field.name: cleaned(getattr(value, field.name)) for field in fields(value)})
    return found  # type: ignore[no-any-return]
