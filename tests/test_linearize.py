"""What is written can be read: parse(linearize(x)) == x in all six orders, as pieces and through the real tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.linearize import MARKERS, Piece, canonical, collapse_space, linearize, render
from speechre.model.sequence import Sequencer
from speechre.orders import ORDERS, Order
from speechre.parse import parse
from speechre.schemas import CONLL04
from speechre.types import Entity, Triplet
from tests.tiny import tiny_network

MARKER_LIKE = ["<Peop>", "<head_entity>", "<|endoftext|>", "<|order|> <Work_For>", "Kill", "<tail_entity> x <Loc>"]
NAMES = [
    "Ann",
    "Oslo",
    "  Ann   Berg ",
    "Straße 5",
    "北京",
    "O ’ Neill",
    "…",
    "''",
    "e\u0301",
    "\U0001f3d4",
    *MARKER_LIKE,
]

texts = st.one_of(
    st.sampled_from(NAMES),  # few, so that triplets share heads and tails
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(collapse_space),
)
entities = st.builds(Entity, texts, st.sampled_from(CONLL04.entity_types))
triplet_lists = st.lists(st.builds(Triplet, entities, st.sampled_from(CONLL04.relation_types), entities), max_size=30)
orders = st.sampled_from(list(ORDERS.values()))


def first_elements(triplets: Sequence[Triplet], order: Order) -> list[object]:
    """The first elements in the sequence of their first appearance."""
    return list(dict.fromkeys(getattr(triplet, order.elements[0]) for triplet in triplets))


def tiny_sequencer() -> Sequencer:
    return tiny_network()[1]


@given(triplet_lists, orders)
def test_pieces_are_read_back(triplets: list[Triplet], order: Order) -> None:
    parsed = parse(linearize(triplets, order), order, CONLL04)
    assert parsed.problems == ()
    assert len(parsed.triplets) == len(canonical(triplets))
    assert set(parsed.triplets) == set(canonical(triplets))
    assert first_elements(parsed.triplets, order) == first_elements(canonical(triplets), order)


@given(triplet_lists, orders)
@settings(max_examples=60, deadline=None)  # the first call builds the tokenizer
def test_tokens_are_read_back(triplets: list[Triplet], order: Order) -> None:
    sequencer = tiny_sequencer()
    pieces = linearize(triplets, order)
    ids = sequencer.tree_ids(pieces)
    assert sequencer.tokenizer.eot_id not in ids
    parsed = parse(sequencer.pieces(ids), order, CONLL04)
    assert parsed.problems == ()
    assert set(parsed.triplets) == set(canonical(triplets))
    assert first_elements(parsed.triplets, order) == first_elements(canonical(triplets), order)


@given(triplet_lists, orders)
def test_every_first_and_second_element_is_written_once(triplets: list[Triplet], order: Order) -> None:
    pieces = linearize(triplets, order)
    wanted = canonical(triplets)
    first, second, third = order.elements
    counts = {element: pieces.count(Piece("marker", element)) for element in MARKERS}
    assert counts[first] == len({getattr(t, first) for t in wanted})
    assert counts[second] == len({(getattr(t, first), getattr(t, second)) for t in wanted})
    assert counts[third] == len(wanted)


@given(triplet_lists, orders)
def test_writing_what_was_read_changes_nothing(triplets: list[Triplet], order: Order) -> None:
    pieces = linearize(triplets, order)
    assert linearize(parse(pieces, order).triplets, order) == pieces


def test_the_example_of_the_module() -> None:
    ann, oslo = Entity("Ann", "Peop"), Entity("Oslo", "Loc")
    triplets = [
        Triplet(ann, "Live_In", oslo),
        Triplet(ann, "Live_In", Entity("Bergen", "Loc")),
        Triplet(ann, "Work_For", Entity("NRK", "Org")),
    ]
    assert render(linearize(triplets, ORDERS["hrt"])) == (
        "<head_entity> Ann <Peop> <relation_type> <Live_In> <tail_entity> Oslo <Loc> <tail_entity> Bergen <Loc> "
        "<relation_type> <Work_For> <tail_entity> NRK <Org>"
    )
    assert render(linearize(triplets, ORDERS["trh"])) == (
        "<tail_entity> Oslo <Loc> <relation_type> <Live_In> <head_entity> Ann <Peop> "
        "<tail_entity> Bergen <Loc> <relation_type> <Live_In> <head_entity> Ann <Peop> "
        "<tail_entity> NRK <Org> <relation_type> <Work_For> <head_entity> Ann <Peop>"
    )


def test_several_relations_between_one_pair_share_head_and_tail() -> None:
    ann, bob = Entity("Ann", "Peop"), Entity("Bob", "Peop")
    triplets = [Triplet(ann, name, bob) for name in CONLL04.relation_types]
    for order in ORDERS.values():
        assert set(parse(linearize(triplets, order), order).triplets) == set(triplets)
    assert linearize(triplets, ORDERS["htr"]).count(Piece("text", "Ann")) == 1
    assert linearize(triplets, ORDERS["htr"]).count(Piece("text", "Bob")) == 1


def test_same_text_with_two_types_is_two_nodes() -> None:
    oslo = Entity("Oslo", "Loc")
    triplets = [
        Triplet(Entity("Washington", "Loc"), "Located_In", oslo),
        Triplet(Entity("Washington", "Peop"), "Live_In", oslo),
    ]
    for order in ORDERS.values():
        assert set(parse(linearize(triplets, order), order).triplets) == set(triplets)


def test_no_triplet_is_an_empty_tree() -> None:
    for order in ORDERS.values():
        assert linearize([], order) == []
        assert parse([], order).problems == ()


@pytest.mark.parametrize("entity", [Entity("", "Loc"), Entity(" \n", "Loc"), Entity("Oslo", "")])
def test_an_entity_without_text_or_type_is_refused(entity: Entity) -> None:
    with pytest.raises(ValueError, match="needs text and a type"):
        linearize([Triplet(entity, "Live_In", Entity("Oslo", "Loc"))], ORDERS["hrt"])
