"""Turtle and JSON-LD, read back by rdflib and asked in SPARQL."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import rdflib
from rdflib.compare import isomorphic

from speechre.errors import UsageError
from speechre.graph import KnowledgeGraph, build_graph
from speechre.graph_formats.rdf import to_jsonld, to_rdf, to_turtle
from speechre.graph_formats.text import clean_text
from speechre.types import Entity, Triplet
from tests.graphs import NASTY_TALK, NASTY_TEXTS, TALKS, UNALIGNED, WHO, extraction, person

# rdflib's own JSON-LD parser uses what rdflib deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")

FORMATS = [(to_turtle, "turtle"), (to_jsonld, "json-ld")]

PREFIXES = """
PREFIX prov: <http://www.w3.org/ns/prov#>
PREFIX rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
PREFIX dcterms: <http://purl.org/dc/terms/>
PREFIX relation: <urn:speechre:relation:>
PREFIX type: <urn:speechre:type:>
PREFIX speechre: <urn:speechre:vocabulary:>
"""

PROVENANCE = """
SELECT ?head ?tail ?source ?start ?end ?span ?confidence ?votes ?model WHERE {
  ?statement rdf:subject/rdfs:label ?head ; rdf:predicate relation:Work_For ; rdf:object/rdfs:label ?tail ;
    speechre:confidence ?confidence ; speechre:votes ?votes ; speechre:spanFrom ?span ;
    prov:wasDerivedFrom ?part ; prov:wasGeneratedBy ?extraction .
  ?part dcterms:isPartOf ?recording ; speechre:startSeconds ?start ; speechre:endSeconds ?end .
  ?recording dcterms:source ?source .
  ?extraction prov:used ?recording ; prov:wasAssociatedWith/rdfs:label ?model .
} ORDER BY ?source
"""


def ask(graph: rdflib.Graph, query: str) -> list[tuple[object, ...]]:
    return [tuple(term.toPython() for term in row) for row in graph.query(PREFIXES + query)]


@pytest.mark.parametrize(("write", "name"), FORMATS)
def test_who_said_it_when_and_how_sure_can_be_asked(write: Callable[[KnowledgeGraph], str], name: str) -> None:
    found = rdflib.Graph().parse(data=write(build_graph(TALKS)), format=name)
    both = ("Helen Parker", WHO)
    assert ask(found, PROVENANCE) == [
        (*both, "monday.wav", Decimal("0.5"), Decimal("3.5"), "entities", Decimal("0.75"), 5, "tiny@1"),
        (*both, "tuesday.wav", Decimal(4), Decimal(6), "entities", Decimal("0.25"), 1, "tiny@1"),
    ]


@pytest.mark.parametrize(("write", "name"), FORMATS)
def test_head_and_tail_have_seconds_of_their_own_where_they_are_known(
    write: Callable[[KnowledgeGraph], str], name: str
) -> None:
    found = rdflib.Graph().parse(data=write(build_graph([TALKS[1], UNALIGNED])), format=name)
    query = """SELECT ?text ?from ?start ?end WHERE {
      ?s speechre:headText ?text ; speechre:spanFrom ?from .
      OPTIONAL { ?s speechre:%sSaidIn ?part . ?part speechre:startSeconds ?start ; speechre:endSeconds ?end }
    } ORDER BY ?text"""
    rows = list(found.query(PREFIXES + query % "head"))
    assert [(str(row[0]), str(row[1])) for row in rows] == [("Ann Lee", "chunk"), ("Dr. Helen Parker", "entities")]
    assert [row[2] and float(row[2]) for row in rows] == [None, 4.0]
    assert [(float(row[2]), float(row[3])) for row in found.query(PREFIXES + query % "tail")] == [(40, 40.5), (5.5, 6)]


def test_a_stretch_of_two_kinds_of_evidence_tells_both_apart() -> None:
    """The chunk of one statement is, to the millisecond, where another was said."""
    exact = Triplet(person("Bo", 31.0, 32.0), "Live_In", Entity("Bergen", "Loc", start_s=58.0, end_s=58.5), 0.5)
    talk = replace(UNALIGNED, triplets=(*UNALIGNED.triplets, exact))
    rows = ask(
        talk.to_rdf(), "SELECT ?text ?from { ?s speechre:tailText ?text ; speechre:spanFrom ?from } ORDER BY ?text"
    )
    assert rows == [("Bergen", "entities"), ("Oslo", "chunk")]


def test_two_models_and_two_exports_stay_apart_in_one_store() -> None:
    store = TALKS[0].to_rdf() + replace(TALKS[0], model="base@2", triplets=TALKS[0].triplets[::-1]).to_rdf()
    rows = ask(
        store,
        """SELECT ?model (COUNT(DISTINCT ?s) AS ?n) {
          ?s prov:wasGeneratedBy ?e . ?e prov:wasAssociatedWith/rdfs:label ?model } GROUP BY ?model ORDER BY ?model""",
    )
    assert rows == [("base@2", 2), ("tiny@1", 2)]
    assert not ask(store, "SELECT ?s { ?s rdf:subject ?a , ?b FILTER(?a != ?b) }")


@pytest.mark.parametrize(("write", "name"), FORMATS)
def test_a_triplet_is_stated_once_and_directly(write: Callable[[KnowledgeGraph], str], name: str) -> None:
    found = rdflib.Graph().parse(data=write(build_graph(TALKS)), format=name)
    rows = ask(found, "SELECT ?h ?t { ?x relation:Work_For ?y . ?x skos:prefLabel ?h . ?y skos:prefLabel ?t }")
    assert rows == [("Helen Parker", WHO)]
    others = ask(found, "SELECT ?text { ?x a type:Org ; skos:altLabel ?text }")
    assert others == [("WHO",)]
    (reason,) = ask(found, "SELECT ?why { ?x a type:Org ; speechre:mergedBecause ?why }")[0]
    assert str(reason).startswith('known_name: "')


def test_both_formats_are_one_graph() -> None:
    graph = build_graph(TALKS)
    turtle = rdflib.Graph().parse(data=to_turtle(graph), format="turtle")
    assert isomorphic(turtle, rdflib.Graph().parse(data=to_jsonld(graph), format="json-ld"))
    assert isomorphic(turtle, to_rdf(graph))


def test_jsonld_brings_its_context() -> None:
    content = json.loads(to_jsonld(build_graph(TALKS)))
    assert isinstance(content["@context"], dict)
    assert content["@context"]["prov"] == "http://www.w3.org/ns/prov#"


@pytest.mark.parametrize(("write", "name"), FORMATS)
def test_any_text_comes_back(write: Callable[[KnowledgeGraph], str], name: str) -> None:
    content = write(build_graph([NASTY_TALK], rules=()))
    content.encode("utf-8")
    found = rdflib.Graph().parse(data=content, format=name)
    texts = {str(text) for (text,) in ask(found, "SELECT ?text { ?s speechre:headText ?text }")}
    assert texts == {clean_text(text) for text in NASTY_TEXTS}
    relations = {str(text) for (text,) in ask(found, "SELECT ?t { ?r a rdf:Property ; rdfs:label ?t }")}
    assert relations == {triplet.relation for triplet in NASTY_TALK.triplets}


def test_conflicts_are_told() -> None:
    first = TALKS[0].triplets[0]
    talk = extraction("x", first, type(first)(first.tail, "Work_For", first.head))
    rows = ask(
        talk.to_rdf(),
        "SELECT ?kind ?text { ?c a speechre:Conflict ; speechre:conflictKind ?kind ; rdfs:comment ?text }",
    )
    assert rows == [("direction", f'Work_For between "{WHO}" and "Helen Parker" is told both ways')] or rows == [
        ("direction", f'Work_For between "Helen Parker" and "{WHO}" is told both ways')
    ]


def test_the_base_is_the_callers() -> None:
    found = to_rdf(build_graph(TALKS), base="https://example.org/talks")
    subjects = {str(s) for s in found.subjects() if "entity" in str(s)}
    assert subjects
    assert all(s.startswith("https://example.org/talks/entity/") for s in subjects)


def test_without_rdflib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    with pytest.raises(UsageError, match=r"pip install speechre\[graph\]"):
        TALKS[0].to_rdf()
