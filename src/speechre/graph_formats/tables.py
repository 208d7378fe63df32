"""Rows: CSV for spreadsheets, and a pandas data frame. One row for each piece of evidence."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from speechre.errors import UsageError
from speechre.graph import KnowledgeGraph, Mention, build_graph
from speechre.graph_formats.text import cleaned

if TYPE_CHECKING:
    import pandas

    from speechre.types import Extraction

COLUMNS = (
    "head", "head_type", "relation", "tail", "tail_type", "confidence", "votes", "orders", "start_s", "end_s",
    "span", "head_text", "head_start_s", "head_end_s", "tail_text", "tail_start_s", "tail_end_s", "recording", "source",
    "model", "head_id", "tail_id", "edge_id", "evidence_id",
)  # fmt: skip
"""``head`` and ``tail`` are canonical names, ``head_text`` and ``tail_text`` what stood there, with the seconds of its
own words where they are known; ``span`` says what ``start_s`` and ``end_s`` rest on: ``entities``, ``chunk`` or
``recording`` (:class:`speechre.graph.Span`)."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_rows(graph: KnowledgeGraph) -> Iterator[dict[str, Any]]:
    """One dict with the keys :data:`COLUMNS` for each piece of evidence, edge by edge. ``None`` is what is not
    known.
    """
    nodes = {node.id: node for node in graph.nodes}
    recordings = {recording.id: recording for recording in graph.recordings}
    for edge in graph.edges:
        head, tail = nodes[edge.head_id], nodes[edge.tail_id]
        for one in edge.evidence:
            recording = recordings[one.recording_id]
            yield {
                "head": head.name,
                "head_type": head.type,
                "relation": edge.relation,
                "tail": tail.name,
                "tail_type": tail.type,
                "confidence": None if one.confidence is None else round(one.confidence, 4),
                "votes": one.votes,
                "orders": ",".join(one.orders),
                "start_s": round(one.span.start_s, 3),
                "end_s": round(one.span.end_s, 3),
                "span": one.span.source,
                "head_text": one.head.text,
                **_own_times("head", one.head),
                "tail_text": one.tail.text,
                **_own_times("tail", one.tail),
                "recording": recording.id,
                "source": recording.source,
                "model": recording.model,
                "head_id": head.id,
                "tail_id": tail.id,
                "edge_id": edge.id,
                "evidence_id": one.id,
            }


def _own_times(end: str, mention: Mention) -> dict[str, float | None]:
    """``head_start_s`` and ``head_end_s``, or the tail's: ``None`` where the words have no times of their own."""
    is_known = mention.span.source == "entities"
    return {
        f"{end}_start_s": round(mention.span.start_s, 3) if is_known else None,
        f"{end}_end_s": round(mention.span.end_s, 3) if is_known else None,
    }


def to_csv(graph: KnowledgeGraph, has_header: bool = True) -> str:
    """RFC 4180, in UTF-8 once encoded, a header (or none, behind other rows) and ``\\r\\n``.

    A text that a spreadsheet would run as a formula (``=``, ``+``, ``-``, ``@`` in front) gets an apostrophe before it,
    as OWASP advises ("CSV Injection"): a transcript decides what stands in these cells.
    """
    rows = ({key: _harmless(value) for key, value in row.items()} for row in to_rows(cleaned(graph)))
    return write_csv(COLUMNS if has_header else None, (tuple(row.values()) for row in rows))


def write_csv(header: Iterable[str] | None, rows: Iterable[Iterable[Any]]) -> str:
    """A header, unless it is None, and rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def to_dataframe(extractions: Iterable[Extraction], **options: Any) -> pandas.DataFrame:
    """A data frame with :data:`COLUMNS`, a row for each triplet. ``options`` are those of
    :func:`speechre.graph.build_graph`. Raises :class:`UsageError` where pandas is missing.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError('a data frame needs the package pandas; run "pip install pandas"') from error
    frame = pandas.DataFrame(list(to_rows(cleaned(build_graph(extractions, **options)))), columns=list(COLUMNS))
    own = {f"{end}_{edge}_s": "Float64" for end in ("head", "tail") for edge in ("start", "end")}
    return frame.astype({"confidence": "Float64", "votes": "Int64", "start_s": "float64", "end_s": "float64", **own})
