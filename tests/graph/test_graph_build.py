"""Extractions to a graph: nothing is lost, everything can be traced, and what does not agree is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from speechre.errors import DataError
from speechre.graph import Conflict, KnowledgeGraph, Node, Span, build_graph, resolve
from speechre.graph.build import canonical_name
from speechre.graph.model import Mention
from speechre.types import Entity, Extraction, Triplet
from tests.graphs import TALKS, UNALIGNED, WHO, extraction, org, person, place


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


def test_the_chunk_s_times_of_what_could_not_be_aligned_are_marked_so() -> None:
    graph = build_graph([UNALIGNED])
    (evidence,) = graph.edges[0].evidence
    assert evidence.span == Span(31.0, 58.5, "chunk")
    assert evidence.head.span == Span(31.0, 58.5, "chunk")
    assert evidence.tail.span == Span(40.0, 40.5, "entities")
    assert evidence.to_dict()["head_span"] == {"start_s": 31.0, "end_s": 58.5, "source": "chunk"}
    assert evidence.to_dict()["tail_span"] == {"start_s": 40.0, "end_s": 40.5, "source": "entities"}
    # However the ends are sorted in time, the whole is no more exact than the less exact one.
    other = replace(UNALIGNED.triplets[0], head=UNALIGNED.triplets[0].tail, tail=UNALIGNED.triplets[0].head)
    (edge,) = build_graph([replace(UNALIGNED, triplets=(other,))]).edges
    assert edge.evidence[0].span == Span(31.0, 58.5, "chunk")


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


def test_evidence_of_another_model_or_of_other_options_never_takes_a_place_that_is_taken() -> None:
    """Two exports of one recording meet in a database by their ids: whatever says something else has another one."""
    talk = TALKS[0]
    said, again = talk.triplets
    runs = [
        talk,
        replace(talk, model="other@2"),
        replace(talk, triplets=(again, said)),
        replace(talk, triplets=(again,)),
    ]
    content: dict[str, set[tuple[str, ...]]] = {}
    for run in runs:
        for edge in build_graph([run]).edges:
            for one in edge.evidence:
                content.setdefault(one.id, set()).add((run.model, one.head.text, edge.relation, one.tail.text))
    assert all(len(things) == 1 for things in content.values())
    assert len(content) == 4  # two statements by two models
    rounded = replace(said, head=replace(said.head, start_s=0.5000004))  # what JSON makes 0.5 of
    assert build_graph([replace(talk, triplets=(rounded,))]).edges[0].evidence[0].id in content
    twice = build_graph([replace(talk, triplets=(said, said))]).edges[0].evidence
    assert len({one.id for one in twice}) == 2


def test_a_statement_that_was_made_twice_in_a_recording_has_two_pieces_of_evidence() -> None:
    def at(start_s: float) -> Triplet:
        return Triplet(person("Ann Lee", start_s, start_s + 1), "Work_For", org("Intel", start_s + 2, start_s + 3), 0.5)

    (edge,) = build_graph([extraction("hour", at(10.0), at(3000.0), duration_s=3600.0)]).edges
    assert [one.span for one in edge.evidence] == [Span(10.0, 13.0, "entities"), Span(3000.0, 3003.0, "entities")]


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
    untyped = extraction("talk", Triplet(Entity("Washington"), "Live_In", place("Washington")))
    assert build_graph([untyped]).conflicts[0].text == '"Washington" is told as no type and as Loc; kept apart'
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


def test_the_work_grows_with_the_recordings_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that only their recording explains, and one that all share, in many recordings."""
    calls = Counter[int]()
    fit = resolve._Groups._fit
    size = 0

    def counted(*arguments: Any) -> Any:
        calls[size] += 1
        return fit(*arguments)

    monkeypatch.setattr(resolve._Groups, "_fit", counted)
    for size in (100, 400):
        graph = build_graph(
            extraction(
                f"r{n}",
                Triplet(person("Johnson"), "Live_In", place("the united states")),
                Triplet(person(f"Ann Johnson {n}"), "Live_In", place("US")),
            )
            for n in range(size)
        )
        (states,) = graph.find("US")
        assert states.texts == ("the united states", "US")
        assert graph.conflicts == ()
    assert calls[400] < 5 * calls[100] + 100
