"""Neo4j and other databases of property graphs: Cypher with parameters, and CSV files for a bulk import.

The Cypher is a handful of constant statements. What comes from recordings travels beside them as parameters, so no text
can become a part of a statement, whatever stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from speechre.graph import KnowledgeGraph, Span
from speechre.graph_formats.tables import write_csv
from speechre.graph_formats.text import cleaned

BATCH_ROWS = 1000
LIST_DELIMITER = "\x1f"
"""Between the items of a list in the CSV files; no text has it, because texts are cleaned of control characters."""

STATEMENTS: Mapping[str, str] = {
    "recordings": (
        "UNWIND $rows AS row MERGE (r:Recording {id: row.id}) "
        "SET r.name = row.name, r.source = row.source, r.duration_s = row.duration_s, r.model = row.model, "
        "r.transcript = row.transcript"
    ),
    "entities": (
        "UNWIND $rows AS row MERGE (e:Entity {id: row.id}) "
        "SET e.name = row.name, e.type = row.type, e.texts = row.texts, e.merges = row.merges"
    ),
    "relations": (
        "UNWIND $rows AS row MATCH (h:Entity {id: row.head_id}) MATCH (t:Entity {id: row.tail_id}) "
        "MERGE (h)-[r:RELATION {id: row.id}]->(t) "
        "SET r.type = row.type, r.confidence = row.confidence, r.num_evidence = row.num_evidence"
    ),
    "evidence": (
        "UNWIND $rows AS row MATCH (h:Entity {id: row.head_id}) MATCH (t:Entity {id: row.tail_id}) "
        "MATCH (r:Recording {id: row.recording_id}) "
        "MERGE (s:Evidence {id: row.id}) "
        "SET s.relation = row.relation, s.relation_id = row.relation_id, s.head_text = row.head_text, "
        "s.tail_text = row.tail_text, s.start_s = row.start_s, s.end_s = row.end_s, s.span = row.span, "
        "s.head_start_s = row.head_start_s, s.head_end_s = row.head_end_s, s.head_span = row.head_span, "
        "s.tail_start_s = row.tail_start_s, s.tail_end_s = row.tail_end_s, s.tail_span = row.tail_span, "
        "s.confidence = row.confidence, s.votes = row.votes, s.model = row.model "
        "MERGE (s)-[:HEAD]->(h) MERGE (s)-[:TAIL]->(t) MERGE (s)-[:SAID_IN]->(r)"
    ),
}
"""In the sequence in which they must run. A relation's name is a property: Cypher takes no relationship type as a
parameter in all of its versions, and pasting it into the text is what is not done here."""

_ROW = dict[str, Any]


def to_cypher(graph: KnowledgeGraph, batch_rows: int = BATCH_ROWS) -> Iterator[tuple[str, dict[str, list[_ROW]]]]:
    """(statement, parameters) pairs to run one after the other, as ``session.run(statement, parameters)`` takes them.

    Running them again changes nothing: everything is merged by its id.
    """
    rows = _rows(cleaned(graph))
    for name, statement in STATEMENTS.items():
        for start in range(0, len(rows[name]), batch_rows):
            yield statement, {"rows": rows[name][start : start + batch_rows]}


def to_cypher_lines(graph: KnowledgeGraph) -> str:
    """The same as JSON lines ``{"statement", "parameters"}``: each is a body for Neo4j's Query API
    (``POST /db/neo4j/query/v2``), and what a driver's loop reads.
    """
    return "".join(
        json.dumps({"statement": statement, "parameters": parameters}, ensure_ascii=False, allow_nan=False) + "\n"
        for statement, parameters in to_cypher(graph)
    )


def _rows(graph: KnowledgeGraph) -> dict[str, list[_ROW]]:
    recordings = {recording.id: recording for recording in graph.recordings}
    return {
        "recordings": [
            {
                "id": r.key,
                "name": r.id,
                "source": r.source,
                "duration_s": round(r.duration_s, 3),
                "model": r.model,
                "transcript": r.transcript,
            }
            for r in graph.recordings
        ],
        "entities": [
            {
                "id": node.id,
                "name": node.name,
                "type": node.type,
                "texts": list(node.texts),
                "merges": [f"{merge.rule}: {merge.reason}" for merge in node.merges],
            }
            for node in graph.nodes
        ],
        "relations": [
            {
                "id": edge.id,
                "head_id": edge.head_id,
                "tail_id": edge.tail_id,
                "type": edge.relation,
                "confidence": edge.to_dict()["confidence"],
                "num_evidence": len(edge.evidence),
            }
            for edge in graph.edges
        ],
        "evidence": [
            {
                "id": one.id,
                "relation": edge.relation,
                "relation_id": edge.id,
                "head_id": edge.head_id,
                "tail_id": edge.tail_id,
                "recording_id": recordings[one.recording_id].key,
                "head_text": one.head.text,
                "tail_text": one.tail.text,
                "start_s": round(one.span.start_s, 3),
                "end_s": round(one.span.end_s, 3),
                "span": one.span.source,
                **_times("head", one.head.span),
                **_times("tail", one.tail.span),
                "confidence": None if one.confidence is None else round(one.confidence, 4),
                "votes": one.votes,
                "model": recordings[one.recording_id].model,
            }
            for edge in graph.edges
            for one in edge.evidence
        ],
    }


def _times(end: str, span: Span) -> _ROW:
    """Of the head or the tail. Seconds are never missing, and ``*_span`` says whose they are: Cypher's typed dialects
    take no column of nothing.
    """
    return {
        f"{end}_start_s": round(span.start_s, 3),
        f"{end}_end_s": round(span.end_s, 3),
        f"{end}_span": span.source,
    }


# -- bulk import

FILES = ("recordings.csv", "entities.csv", "evidence.csv", "relations.csv", "evidence_of.csv", "import.sh")
"""What :func:`to_neo4j_files` makes."""

_IMPORT = """\
# Everything in this folder, into a new and stopped Neo4j database (5 or newer); run it in this folder.
neo4j-admin database import full neo4j --array-delimiter=U+001F --multiline-fields=true \\
  --nodes=recordings.csv --nodes=entities.csv --nodes=evidence.csv \\
  --relationships=relations.csv --relationships=evidence_of.csv
"""


def to_neo4j_files(graph: KnowledgeGraph) -> dict[str, str]:
    """File names and contents for ``neo4j-admin database import``, ``import.sh`` with its command among them.

    Entity types are labels and relations relationship types here: in these files they are data, not parts of a
    statement.
    """
    rows = _rows(cleaned(graph))
    links = [
        (row["id"], row[f"{end}_id"], kind)
        for row in rows["evidence"]
        for kind, end in (("HEAD", "head"), ("TAIL", "tail"), ("SAID_IN", "recording"))
    ]
    return {
        "recordings.csv": _nodes(
            rows["recordings"], "Recording", ("name", "source", "duration_s:double", "model", "transcript")
        ),
        "entities.csv": _nodes(
            rows["entities"], "Entity", ("name", "type", "texts:string[]", "merges:string[]"), also="type"
        ),
        "evidence.csv": _nodes(
            rows["evidence"],
            "Evidence",
            (
                *("relation", "relation_id", "head_text", "tail_text", "start_s:double", "end_s:double", "span"),
                *("head_start_s:double", "head_end_s:double", "head_span"),
                *("tail_start_s:double", "tail_end_s:double", "tail_span"),
                *("confidence:double", "votes:int", "model"),
            ),
        ),
        "relations.csv": write_csv(
            (":START_ID", ":END_ID", ":TYPE", "id", "type", "confidence:double", "num_evidence:int"),
            (
                (r["head_id"], r["tail_id"], r["type"], r["id"], r["type"], r["confidence"], r["num_evidence"])
                for r in rows["relations"]
            ),
        ),
        "evidence_of.csv": write_csv((":START_ID", ":END_ID", ":TYPE"), links),
        "import.sh": _IMPORT,
    }


def _nodes(rows: Iterable[_ROW], label: str, columns: tuple[str, ...], also: str = "") -> str:
    def cells(row: _ROW) -> Iterator[Any]:
        yield row["id"]
        for column in columns:
            value = row[column.split(":")[0]]
            yield LIST_DELIMITER.join(value) if isinstance(value, list) else value
        yield LIST_DELIMITER.join(filter(None, (label, row[also] if also else "")))

    return write_csv(("id:ID", *columns, ":LABEL"), map(cells, rows))
