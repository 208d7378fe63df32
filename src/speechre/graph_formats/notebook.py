"""How an extraction looks in a notebook: a table, with everything from the recording escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from speechre.graph_formats.text import clean_text
from speechre.page.times import said_at
from speechre.types import Entity, Extraction


def to_table_html(extraction: Extraction) -> str:
    """A fragment of HTML: name, transcript, warnings and a row for each triplet."""
    parts = [f"<p><b>{_text(extraction.source)}</b> {extraction.duration_s:.1f} s, {_text(extraction.model)}</p>"]
    if extraction.transcript is not None:
        parts.append(f'<p dir="auto">“{_text(extraction.transcript)}”</p>')
    parts += [f"<p>warning: {_text(warning)}</p>" for warning in extraction.warnings]
    if not extraction.triplets:
        return "".join([*parts, "<p>no triplets</p>"])
    rows = "".join(
        _row(
            "td",
            (
                _entity(triplet.head),
                _text(triplet.relation),
                _entity(triplet.tail),
                "" if triplet.confidence is None else f"{triplet.confidence:.2f}",
                "" if triplet.votes is None else str(triplet.votes),
                said_at(triplet),
            ),
        )
        for triplet in extraction.triplets
    )
    header = _row("th", ("head", "relation", "tail", "confidence", "votes", "at"))
    return "".join([*parts, f"<table><thead>{header}</thead><tbody>{rows}</tbody></table>"])


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def _entity(entity: Entity) -> str:
    kind = f" <small>{_text(entity.type)}</small>" if entity.type else ""
    return f"<bdi>{_text(entity.text)}</bdi>{kind}"


def _text(text: str) -> str:
    return escape(clean_text(text))
