"""Cypher: its grammar by a parser, and run by a database that speaks it; Neo4j's files by csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ladybug
import pytest
from antlr4 import CommonTokenStream, InputStream
from antlr4_cypher import CypherLexer, CypherParser

from speechre.graph import KnowledgeGraph, build_graph
from speechre.graph_formats.neo4j import (
    FILES,
    LIST_DELIMITER,
    STATEMENTS,
    to_cypher,
    to_cypher_lines,
    to_neo4j_files,
)
from speechre.graph_formats.text import clean_text
from tests.graphs import NASTY_TALK, NASTY_TEXTS, TALKS, UNALIGNED, WHO

# Ladybug (once Kuzu) speaks Cypher and wants tables first; Neo4j does not.
TABLES = (
    "CREATE NODE TABLE Recording(id STRING PRIMARY KEY, name STRING, source STRING, duration_s DOUBLE, model STRING, "
    "transcript STRING)",
    "CREATE NODE TABLE Entity(id STRING PRIMARY KEY, name STRING, type STRING, texts STRING[], merges STRING[])",
    "CREATE NODE TABLE Evidence(id STRING PRIMARY KEY, relation STRING, relation_id STRING, head_text STRING, "
    "tail_text STRING, start_s DOUBLE, end_s DOUBLE, span STRING, head_start_s DOUBLE, head_end_s DOUBLE, "
    "head_span STRING, tail_start_s DOUBLE, tail_end_s DOUBLE, tail_span STRING, confidence DOUBLE, "
    "votes INT64, model STRING)",
    "CREATE REL TABLE RELATION(FROM Entity TO Entity, id STRING, type STRING, confidence DOUBLE, num_evidence INT64)",
    "CREATE REL TABLE HEAD(FROM Evidence TO Entity)",
    "CREATE REL TABLE TAIL(FROM Evidence TO Entity)",
    "CREATE REL TABLE SAID_IN(FROM Evidence TO Recording)",
)


def num_syntax_errors(statement: str) -> int:
    parser = CypherParser(CommonTokenStream(CypherLexer(InputStream(statement))))
    parser.removeErrorListeners()
    parser.script()
    return int(parser.getNumberOfSyntaxErrors())


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_are_cypher(name: str) -> None:
    assert num_syntax_errors(STATEMENTS[name]) == 0
    assert num_syntax_errors(STATEMENTS[name].replace(" AS row", " AS")) > 0, "the parser must see a fault"


def test_what_was_said_is_in_parameters_only() -> None:
    for graph in (build_graph(TALKS), build_graph([NASTY_TALK])):
        lines = [json.loads(line) for line in to_cypher_lines(graph).split("\n") if line]
        assert {line["statement"] for line in lines} == set(STATEMENTS.values())
        assert [line["parameters"] for line in lines] == [parameters for _, parameters in to_cypher(graph)]


def test_rows_go_in_batches() -> None:
    graph = build_graph(TALKS)
    sizes = [len(parameters["rows"]) for _, parameters in to_cypher(graph, batch_rows=2)]
    assert sizes == [2, 2, 1, 2, 2, 1]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    database = ladybug.Database(str(tmp_path / "graph"))
    connection = ladybug.Connection(database)
    for table in TABLES:
        connection.execute(table)
    yield connection
    connection.close()
    database.close()


def fill(database: Any, graph: KnowledgeGraph) -> None:
    for statement, parameters in to_cypher(graph):
        database.execute(statement, parameters)


def test_a_database_runs_it_twice_and_holds_the_graph_once(database: Any) -> None:
    graph = build_graph(TALKS)
    for _ in range(2):
        fill(database, graph)
    asked = "MATCH (h:Entity)-[r:RELATION]->(t:Entity) RETURN h.name, r.type, t.name, r.confidence, r.num_evidence"
    assert sorted(database.execute(asked)) == [
        ["Helen Parker", "Live_In", "Geneva", 0.5, 1],
        ["Helen Parker", "Work_For", WHO, 0.75, 2],
    ]
    asked = (
        "MATCH (h:Entity)<-[:HEAD]-(s:Evidence)-[:SAID_IN]->(r:Recording), (s)-[:TAIL]->(t:Entity) "
        "WHERE s.relation = 'Work_For' RETURN h.name, t.name, r.source, s.start_s, s.end_s, s.tail_text, s.votes"
    )
    assert sorted(database.execute(asked), key=lambda row: row[2]) == [
        ["Helen Parker", WHO, "monday.wav", 0.5, 3.5, WHO, 5],
        ["Helen Parker", WHO, "tuesday.wav", 4.0, 6.0, "WHO", 1],
    ]
    (found,) = database.execute("MATCH (e:Entity {name: 'Helen Parker'}) RETURN e.texts")
    assert found == [["Helen Parker", "Dr. Helen Parker", "Parker"]]


def test_a_recording_that_two_models_heard_keeps_what_each_of_them_said(database: Any) -> None:
    for model in ("tiny@1", "base@2"):
        fill(database, build_graph([replace(TALKS[0], model=model)]))
    asked = "MATCH (s:Evidence)-[:HEAD]->(h:Entity) RETURN s.model, s.relation, h.name"
    assert sorted(database.execute(asked)) == [
        ["base@2", "Live_In", "Helen Parker"],
        ["base@2", "Work_For", "Helen Parker"],
        ["tiny@1", "Live_In", "Helen Parker"],
        ["tiny@1", "Work_For", "Helen Parker"],
    ]


def test_the_chunk_s_seconds_are_marked_so(database: Any) -> None:
    fill(database, build_graph([UNALIGNED]))
    asked = "MATCH (s:Evidence) RETURN s.end_s, s.span, s.head_start_s, s.head_span, s.tail_start_s, s.tail_span"
    assert list(database.execute(asked)) == [[58.5, "chunk", 31.0, "chunk", 40.0, "entities"]]
    (row,) = read(to_neo4j_files(build_graph([UNALIGNED]))["evidence.csv"])
    assert (row["span"], row["head_span"], row["tail_span"]) == ("chunk", "chunk", "entities")
    assert (row["head_start_s:double"], row["tail_start_s:double"]) == ("31.0", "40.0")


def test_pasted_cypher_stays_text_in_a_database(database: Any) -> None:
    fill(database, build_graph([NASTY_TALK], rules=()))
    texts = {text for (text,) in database.execute("MATCH (s:Evidence) RETURN s.head_text")}
    assert texts == {clean_text(text) for text in NASTY_TEXTS}


def read(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content, newline="")))


@pytest.mark.parametrize("talks", [TALKS, (NASTY_TALK,), ()])
def test_the_folder_for_bulk_import_fits_together(talks: tuple[Any, ...]) -> None:
    graph = build_graph(talks, rules=())
    files = to_neo4j_files(graph)
    assert tuple(files) == FILES
    nodes = [row for name in ("recordings", "entities", "evidence") for row in read(files[f"{name}.csv"])]
    ids = [row["id:ID"] for row in nodes]
    assert (
        len(ids)
        == len(set(ids))
        == len(graph.recordings) + len(graph.nodes) + sum(len(e.evidence) for e in graph.edges)
    )
    links = [*read(files["relations.csv"]), *read(files["evidence_of.csv"])]
    assert all({row[":START_ID"], row[":END_ID"]} <= set(ids) for row in links)
    assert [row[":TYPE"] for row in read(files["relations.csv"])] == [edge.relation for edge in graph.edges]
    names = [row["name"] for row in read(files["entities.csv"])]
    assert names == [clean_text(node.name) for node in graph.nodes]
    for name in FILES[:-1]:
        assert f"={name}" in files["import.sh"]


def test_lists_and_labels_are_delimited() -> None:
    files = to_neo4j_files(build_graph(TALKS))
    helen = read(files["entities.csv"])[0]
    assert helen["texts:string[]"].split(LIST_DELIMITER) == ["Helen Parker", "Dr. Helen Parker", "Parker"]
    assert helen[":LABEL"].split(LIST_DELIMITER) == ["Entity", "Peop"]
    assert "--array-delimiter=U+001F" in files["import.sh"]
    relation = read(files["relations.csv"])[0]
    assert (relation["confidence:double"], relation["num_evidence:int"]) == ("0.75", "2")
