"""networkx, GraphML and GEXF, read back by networkx."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import networkx
import pytest

from speechre.errors import UsageError
from speechre.graph import KnowledgeGraph, build_graph
from speechre.graph_formats.network import to_gexf, to_graphml, to_networkx
from speechre.graph_formats.text import clean_text
from speechre.types import Triplet
from tests.graphs import NASTY_TALK, NASTY_TEXTS, TALKS, WHO, extraction, person, place

Reader = Callable[[str], networkx.MultiDiGraph]


def read_graphml(text: str) -> networkx.MultiDiGraph:
    return networkx.parse_graphml(text, force_multigraph=True)


def read_gexf(text: str) -> networkx.MultiDiGraph:
    return networkx.read_gexf(io.BytesIO(text.encode("utf-8")))


FORMATS = [(to_graphml, read_graphml), (to_gexf, read_gexf)]


def test_networkx_has_nodes_edges_and_all_evidence() -> None:
    graph = build_graph(TALKS)
    found = to_networkx(graph)
    labels = dict(found.nodes(data="label"))
    assert sorted(labels.values()) == ["Geneva", "Helen Parker", WHO]
    edges = {(labels[head], data["relation"], labels[tail]): data for head, tail, data in found.edges(data=True)}
    work = edges["Helen Parker", "Work_For", WHO]
    assert work["confidence"] == 0.75
    assert [one["recording_id"] for one in work["evidence"]] == ["monday", "tuesday"]
    assert [r["source"] for r in found.graph["recordings"]] == ["monday.wav", "tuesday.wav"]
    helen = next(n for n, label in labels.items() if label == "Helen Parker")
    assert networkx.descendants(found, helen) == set(found) - {helen}


def test_an_extraction_becomes_a_graph_by_itself() -> None:
    assert len(TALKS[0].to_networkx()) == 3
    assert len(TALKS[0].to_networkx(rules=())) == 4


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_a_file_comes_back_as_the_graph(write: Callable[[KnowledgeGraph], str], read: Reader) -> None:
    graph = build_graph(TALKS)
    found = read(write(graph))
    assert found.is_directed()
    assert {n: data["label"] for n, data in found.nodes(data=True)} == {node.id: node.name for node in graph.nodes}
    assert {n: data["type"] for n, data in found.nodes(data=True)} == {node.id: node.type for node in graph.nodes}
    shown = {(head, data["relation"], tail, data["confidence"]) for head, tail, data in found.edges(data=True)}
    assert shown == {(e.head_id, e.relation, e.tail_id, e.confidence) for e in graph.edges}
    evidence = {data["relation"]: json.loads(data["evidence"]) for _, _, data in found.edges(data=True)}
    assert evidence["Work_For"] == [one.to_dict() for one in graph.edges[0].evidence]
    merges = [json.loads(data["merges"]) for _, data in found.nodes(data=True) if data["label"] == WHO]
    assert merges[0][0]["rule"] == "known_name"


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_whole_numbers_are_numbers_too(write: Callable[[KnowledgeGraph], str], read: Reader) -> None:
    triplets = [
        Triplet(person("Ann Lee"), "Live_In", place(town), sure) for town, sure in [("Akron", 1), ("Rome", 0.5)]
    ]
    found = read(write(build_graph([extraction("talk", *triplets)])))
    assert sorted(sure for _, _, sure in found.edges(data="confidence")) == [0.5, 1.0]


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_any_text_comes_back(write: Callable[[KnowledgeGraph], str], read: Reader) -> None:
    graph = build_graph([NASTY_TALK], rules=())
    found = read(write(graph))
    texts = {text for _, data in found.nodes(data=True) for text in json.loads(data["texts"])}
    assert texts >= {clean_text(text) for text in NASTY_TEXTS}
    assert {data["relation"] for _, _, data in found.edges(data=True)} == {t.relation for t in NASTY_TALK.triplets}


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_two_relations_between_two_entities_stay_two_edges(
    write: Callable[[KnowledgeGraph], str], read: Reader
) -> None:
    first = TALKS[0].triplets[0]
    twice = type(TALKS[0])("x", "x.wav", 1.0, "m", (first, type(first)(first.head, "Founded", first.tail)))
    found = read(write(build_graph([twice])))
    assert sorted(data["relation"] for _, _, data in found.edges(data=True)) == ["Founded", "Work_For"]


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_an_empty_graph_is_written_too(write: Callable[[KnowledgeGraph], str], read: Reader) -> None:
    assert len(read(write(build_graph([])))) == 0


def test_without_networkx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(UsageError, match=r"pip install speechre\[graph\]"):
        TALKS[0].to_networkx()
