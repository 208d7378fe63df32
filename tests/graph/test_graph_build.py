"""Extractions to a graph: nothing is lost, everything can be traced, and what does not agree is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from speechre.errors import DataError
from speechre.graph import Conflict, KnowledgeGraph, Node, Span, build_graph
from speechre.graph.build import canonical_name
from speechre.graph.model import Mention
from speechre.types import Entity, Extraction, Triplet
from tests.graphs import TALKS, WHO, extraction, org, person, place


def the(graph: KnowledgeGraph, name: str) -> Node:
    (node,) = [node for node in graph.nodes if node.name == name]
    return node


def test_two_talks_make_one_graph() -> None:
    graph = build_graph(TALKS)
    assert [(node.name, node.type) for node in graph.nodes] == [
        ("Helen Parker", "Peop"),
        (WHO, "Org"),
        ("Geneva", "Loc"),
    ]
    assert the(graph, "Helen Parker").texts == ("Helen Parker", "Dr. Helen Parker", "Parker")
    assert {merge.rule for merge in the(graph, "Helen Parker").merges} == {"title", "short_name"}
    assert [merge.rule for merge in the(graph, WHO).merges] == ["known_name"]
    work, live = graph.edges
    assert (work.relation, live.relation) == ("Work_For", "Live_In")
    assert [one.recording_id for one in work.evidence] == ["monday", "tuesday"]
    assert work.confidence == 0.75  # the surest, not a product
    assert [recording.id for recording in graph.recordings] == ["monday", "tuesday"]
    assert graph.conflicts == ()


def test_every_triplet_is_one_piece_of_evidence_with_what_it_said() -> None:
    graph = build_graph(TALKS)
    found = Counter(
        (one.recording_id, one.head.text, edge.relation, one.tail.text, one.confidence, one.votes, one.orders)
        for edge in graph.edges
        for one in edge.evidence
    )
    assert found == Counter(
        (talk.id, t.head.text, t.relation, t.tail.text, t.confidence, t.votes, t.orders)
        for talk in TALKS
        for t in talk.triplets
    )
    num_mentions = sum(len(node.mentions) for node in graph.nodes)
    assert num_mentions == 2 * sum(len(talk.triplets) for talk in TALKS)


def test_a_span_is_that_of_the_entities_or_is_marked_as_the_recordings() -> None:
    work, live = build_graph(TALKS).edges
    assert work.evidence[0].span == Span(0.5, 3.5, "entities")
    assert work.evidence[0].head.span == Span(0.5, 1.25, "entities")
    assert live.evidence[0].span == Span(0.0, 10.0, "recording")
    half = extraction("half", Triplet(person("Ann Lee", 1.0, 2.0), "Live_In", place("Oslo")))
    (edge,) = build_graph([half]).edges
    assert edge.evidence[0].span == Span(0.0, 10.0, "recording")


def test_merging_can_be_switched_off() -> None:
    graph = build_graph(TALKS, rules=())
    assert len(graph.nodes) == 6
    assert len(graph.edges) == 3
    assert all(not node.merges for node in graph.nodes)
    assert graph.rules == ()
    apart = build_graph(TALKS, apart=[("Parker", "Helen Parker")])
    assert [node.name for node in apart.nodes] == ["Helen Parker", WHO, "Parker", "Geneva"]


def test_ids_are_the_same_when_recordings_are_added_and_differ_between_sources() -> None:
    alone, both = build_graph(TALKS[:1]), build_graph(TALKS)
    assert [node.id for node in alone.nodes] == [node.id for node in both.nodes]
    assert [edge.id for edge in alone.edges] == [edge.id for edge in both.edges]
    elsewhere = build_graph([replace(TALKS[0], source="other/monday.wav")])
    assert not {node.id for node in alone.nodes} & {node.id for node in elsewhere.nodes}
    assert alone.nodes[0].id.startswith("helen-parker-")


def test_two_extractions_of_one_id_are_refused() -> None:
    with pytest.raises(DataError, match='2 extractions have the id "monday"; expected one each'):
        build_graph([TALKS[0], TALKS[0]])


def test_an_empty_graph_is_a_graph() -> None:
    assert build_graph([]).to_dict()["nodes"] == []
    quiet = build_graph([extraction("quiet")])
    assert (len(quiet.recordings), quiet.nodes, quiet.edges) == (1, (), ())


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["Parker", "Parker", "Helen Parker"], "Helen Parker"),
        (["Dr. Helen Parker", "Dr. Helen Parker", "Helen Parker"], "Helen Parker"),
        (["Sara Collins", "Sarah Collins", "Sara Collins"], "Sara Collins"),
        (["his wife", "Parker"], "his wife"),  # both are short: the more frequent, then the longer
        (["FDR"], "FDR"),
    ],
)
def test_the_canonical_name_is_the_whole_one(texts: list[str], name: str) -> None:
    assert canonical_name([Mention("r", text, "Peop", Span(0, 1, "recording")) for text in texts]) == name


def kinds(conflicts: tuple[Conflict, ...]) -> list[str]:
    return [conflict.kind for conflict in conflicts]


def test_conflicts_are_told_and_nothing_is_taken_away() -> None:
    washington = Entity("Washington", "Peop")
    talk = extraction(
        "talk",
        Triplet(washington, "Live_In", place("Washington")),
        Triplet(person("Aaron Burr"), "Kill", person("Alexander Hamilton")),
        Triplet(person("Alexander Hamilton"), "Kill", person("Aaron Burr")),
        Triplet(person("Aaron Burr"), "Live_In", place("New York")),
        Triplet(person("Aaron Burr"), "Work_For", place("New York")),
    )
    graph = build_graph([talk])
    assert len(graph.edges) == len(talk.triplets)
    assert sorted(kinds(graph.conflicts)) == ["direction", "relation", "type"]
    texts = {conflict.kind: conflict.text for conflict in graph.conflicts}
    assert texts["type"] == '"Washington" is told as Loc and as Peop; kept apart'
    assert texts["direction"] == 'Kill between "Aaron Burr" and "Alexander Hamilton" is told both ways'
    assert texts["relation"] == 'from "Aaron Burr" to "New York" both Live_In and Work_For are told'


def test_the_direction_is_told_once_however_the_ids_are_sorted() -> None:
    for names in (("Ann Lee", "Zoe Hill"), ("Zoe Hill", "Ann Lee")):
        a, b = map(person, names)
        graph = build_graph([extraction("talk", Triplet(a, "Kill", b), Triplet(b, "Kill", a))])
        assert kinds(graph.conflicts) == ["direction"]


def test_an_ambiguous_name_is_told_with_those_it_could_be() -> None:
    talk = extraction(
        "talk", *(Triplet(person(name), "Work_For", org("Intel")) for name in ("Helen Parker", "John Parker", "Parker"))
    )
    graph = build_graph([talk])
    (conflict,) = graph.conflicts
    assert conflict.kind == "ambiguous"
    assert conflict.text == '"Parker" could be "Helen Parker" or "John Parker"; it was left alone'
    assert [graph.node(node_id).name for node_id in conflict.node_ids] == ["Parker", "Helen Parker", "John Parker"]


def test_several_tails_are_a_conflict_where_one_was_expected() -> None:
    talk = extraction("talk", *(Triplet(person("Ann Lee"), "Live_In", place(town)) for town in ("Oslo", "Bergen")))
    assert build_graph([talk]).conflicts == ()
    (conflict,) = build_graph([talk], one_tail=["Live_In"]).conflicts
    assert conflict.text == '"Ann Lee" Live_In "Oslo" and "Bergen", where one was expected'
    assert len(conflict.edge_ids) == 2


def test_a_relation_never_ends_where_it_began() -> None:
    talk = extraction("talk", Triplet(place("Portland"), "Located_In", place("Portland, Oregon")))
    (edge,) = build_graph([talk]).edges
    assert edge.head_id != edge.tail_id


def test_the_dict_has_all_of_it() -> None:
    graph = build_graph(TALKS)
    content = graph.to_dict()
    assert list(content) == ["recordings", "nodes", "edges", "conflicts", "rules"]
    evidence = content["edges"][0]["evidence"][0]
    assert evidence["span"] == {"start_s": 0.5, "end_s": 3.5, "source": "entities"}
    assert evidence["orders"] == ["hrt", "htr"]
    assert content["nodes"][0]["merges"][0]["reason"]


def test_find_and_node_look_things_up() -> None:
    graph = build_graph(TALKS)
    assert [node.name for node in graph.find("WHO")] == [WHO]
    assert graph.find("nobody") == []
    with pytest.raises(KeyError):
        graph.node("nobody")


def test_a_thousand_recordings_of_one_town_are_merged_in_passing() -> None:
    many = [
        Extraction(f"r{n}", f"r{n}.wav", 1.0, "m", (Triplet(person(f"Ann Lee{n}"), "Live_In", place("Oslo")),))
        for n in range(1000)
    ]
    graph = build_graph(many)
    assert len(graph.nodes) == 1001
    assert len(graph.find("Oslo")[0].mentions) == 1000
