"""Knowledge graphs in the forms that others read. Each format's library is imported when that format is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speechre.errors import OnMessage
from speechre.graph import KnowledgeGraph
from speechre.graph_formats.neo4j import to_cypher_lines
from speechre.graph_formats.network import check_networkx, to_gexf, to_graphml
from speechre.graph_formats.page import read_sounds, to_html
from speechre.graph_formats.rdf import check_rdflib, to_jsonld, to_turtle
from speechre.graph_formats.tables import to_csv


@dataclass(frozen=True)
class GraphFormat:
    """``write`` gives the whole file; ``check`` raises :class:`UsageError` where the format's library is missing;
    ``suffixes`` are those of files that can only be of this format.

    ``write_more`` gives what another graph, of other recordings, adds behind a file of this format: the two are then
    one file that says what both say. None where such a file is one piece.
    """

    write: Callable[[KnowledgeGraph, OnMessage], str]
    check: Callable[[], None] = lambda: None
    suffixes: tuple[str, ...] = ()
    write_more: Callable[[KnowledgeGraph], str] | None = None


def _page(graph: KnowledgeGraph, report: OnMessage) -> str:
    sounds, notes = read_sounds(graph)
    for recording_id, note in notes.items():
        report(f"{recording_id}: {note}")
    return to_html(graph, sounds=sounds, notes=notes)


GRAPH_FORMATS: dict[str, GraphFormat] = {
    "csv": GraphFormat(
        lambda graph, _: to_csv(graph),
        suffixes=(".csv",),
        write_more=lambda graph: to_csv(graph, has_header=False),
    ),
    "turtle": GraphFormat(lambda graph, _: to_turtle(graph), check_rdflib, (".ttl",), to_turtle),
    "jsonld": GraphFormat(lambda graph, _: to_jsonld(graph), check_rdflib, (".jsonld",)),
    "graphml": GraphFormat(lambda graph, _: to_graphml(graph), check_networkx, (".graphml",)),
    "gexf": GraphFormat(lambda graph, _: to_gexf(graph), check_networkx, (".gexf",)),
    "cypher": GraphFormat(lambda graph, _: to_cypher_lines(graph), write_more=to_cypher_lines),
    "html": GraphFormat(_page, suffixes=(".html", ".htm")),
}
"""By name. The folder for Neo4j's bulk import is no file: :func:`speechre.graph_formats.neo4j.to_neo4j_files`."""
