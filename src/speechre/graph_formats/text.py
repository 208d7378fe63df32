"""Text that every format can hold: what XML, HTML or UTF-8 cannot say becomes U+FFFD, and nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from speechre.graph import KnowledgeGraph

# Control characters but tab and line feed, lone surrogates (from file names that are not UTF-8) and non-characters.
# A carriage return is none to XML's readers, which turn it into a line feed; as one of ours it would change on the way.
_UNSAYABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# Fields that hold the id of a recording, which is a text like any other.
_RECORDING_IDS = frozenset({"recording_id", "other_recording_id"})

_Value = TypeVar("_Value")


def clean_text(text: str) -> str:
    """``text`` without what some format cannot hold.

    >>> clean_text("O\\x00slo")
    'O\\ufffdslo'
    """
    return _UNSAYABLE.sub("\ufffd", text)


def cleaned(graph: KnowledgeGraph) -> KnowledgeGraph:
    """The same graph with every text in it cleaned. Recordings come in the same sequence, and ids that differed in what
    cannot be said still differ: the later ones get their key behind them.
    """
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for recording in graph.recordings:
        text = clean_text(recording.id)
        ids[recording.id] = f"{text} ({recording.key})" if text in taken else text
        taken.add(ids[recording.id])
    recordings = tuple(replace(recording, id=ids[recording.id]) for recording in graph.recordings)
    return _cleaned(replace(graph, recordings=recordings), ids)


def _cleaned(value: _Value, ids: Mapping[str, str]) -> _Value:
    """Through dataclasses and tuples."""
    found: Any = value
    if isinstance(value, str):
        found = clean_text(value)
    elif isinstance(value, tuple):
        found = tuple(_cleaned(item, ids) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        parts |= {name: ids.get(parts[name], parts[name]) for name in _RECORDING_IDS & parts.keys()}
        found = type(value)(**{name: _cleaned(part, ids) for name, part in parts.items()})
    return found  # type: ignore[no-any-return]
