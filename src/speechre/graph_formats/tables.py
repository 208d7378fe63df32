"""Rows: CSV for spreadsheets, and a pandas data frame. One row for each piece of evidence."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from speechre.errors import UsageError
from speechre.graph import KnowledgeGraph, build_graph
from speechre.graph_formats.text import cleaned

if TYPE_CHECKING:
    import pandas

    from speechre.types import Extraction

COLUMNS = (
    "head", "head_type", "relation", "tail", "tail_type", "confidence", "votes", "orders", "start_s", "end_s",
    "span", "head_text", "tail_text", "recording", "source", "model", "head_id", "tail_id", "edge_id", "evidence_id",
)  # fmt: skip
"""``head`` and ``tail`` are canonical names, ``head_text`` and ``tail_text`` what stood there; ``span`` says what the
seconds rest on, ``entities`` or ``recording``."""

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
                "tail_text": one.tail.text,
                "recording": recording.id,
                "source": recording.source,
                "model": recording.model,
                "head_id": head.id,
                "tail_id": tail.id,
                "edge_id": edge.id,
                "evidence_id": one.id,
            }


def to_csv(graph: KnowledgeGraph) -> str:
    """RFC 4180, in UTF-8 once encoded, a header and ``\\r\\n``.

    A text that a spreadsheet would run as a formula (``=``, ``+``, ``-``, ``@`` in front) gets an apostrophe before it,
    as OWASP advises ("CSV Injection"): a transcript decides what stands in these cells.
    """
    rows = ({key: _harmless(value) for key, value in row.items()} for row in to_rows(cleaned(graph)))
    return write_csv(COLUMNS, (tuple(row.values()) for row in rows))


def write_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A header and rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out)
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
    frame = pandas.DataFrame(list(to_rows(build_graph(extractions, **options))), columns=list(COLUMNS))
    return frame.astype({"confidence": "Float64", "votes": "Int64", "start_s": "float64", "end_s": "float64"})
