"""The parser is total, and says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.linearize import MARKERS, Piece, linearize
from speechre.orders import ORDERS, Order
from speechre.parse import Parsed, parse
from speechre.schemas import CONLL04
from speechre.types import Entity, Triplet
from tests.tiny import tiny_network

HEAD, RELATION, TAIL = (Piece("marker", element) for element in ("head", "relation", "tail"))
ANN, OSLO = Piece("text", "Ann"), Piece("text", "Oslo")
PEOP, LOC = Piece("entity_type", "Peop"), Piece("entity_type", "Loc")
LIVE_IN, KILL = Piece("relation", "Live_In"), Piece("relation", "Kill")
HRT = ORDERS["hrt"]
TRIPLET = Triplet(Entity("Ann", "Peop"), "Live_In", Entity("Oslo", "Loc"))
WHOLE = [HEAD, ANN, PEOP, RELATION, LIVE_IN, TAIL, OSLO, LOC]

pieces = st.one_of(
    st.sampled_from([HEAD, RELATION, TAIL, ANN, OSLO, PEOP, LOC, LIVE_IN, KILL]),
    st.builds(Piece, st.sampled_from(["marker", "entity_type", "relation", "text"]), st.text(max_size=5)),
)
orders = st.sampled_from(list(ORDERS.values()))
# Single pieces hardly ever make a triplet: whole ones stand among them.
sequences = st.lists(
    st.one_of(
        pieces.filter(lambda p: p.kind != "relation" or p.value).map(lambda piece: [piece]),
        st.sampled_from([linearize([TRIPLET], order) for order in ORDERS.values()]),
    ),
    max_size=30,
).map(lambda parts: [piece for part in parts for piece in part])


def assert_sound(parsed: Parsed, sequence: Sequence[Piece]) -> None:
    """What holds of every answer."""
    assert isinstance(parsed, Parsed)
    # Nothing is lost in silence: what is no triplet is a problem.
    says_something = any(piece.kind != "text" or piece.value.strip() for piece in sequence)
    assert bool(parsed.triplets or parsed.problems) == says_something
    written = {word for piece in sequence if piece.kind == "text" for word in piece.value.split()}
    names = {piece.value for piece in sequence if piece.kind != "marker"}
    assert len(set(parsed.triplets)) == len(parsed.triplets)
    for triplet in parsed.triplets:
        assert triplet.head.text.strip()
        assert triplet.tail.text.strip()
        assert triplet.relation
        # Nothing is made up either.
        assert {*triplet.head.text.split(), *triplet.tail.text.split()} <= written
        assert {triplet.head.type, triplet.tail.type} <= {"", *names}
        assert triplet.relation in names | {" ".join(piece.value.split()) for piece in sequence}
    assert all(parsed.problems)


@given(sequences, orders, st.booleans())
def test_any_pieces_are_read(sequence: list[Piece], order: Order, with_schema: bool) -> None:
    assert_sound(parse(sequence, order, CONLL04 if with_schema else None), sequence)


@cache
def token_ids() -> st.SearchStrategy[int]:
    """Any token, those of the tree more often than others."""
    _, sequencer = tiny_network()
    tokenizer = sequencer.tokenizer
    return st.one_of(
        st.integers(0, tokenizer.vocab_size - 1),
        st.sampled_from([sequencer.piece_id(p) for p in (HEAD, RELATION, TAIL, PEOP, LOC, LIVE_IN, KILL)]),
        st.integers(tokenizer.whisper_vocab_size, tokenizer.vocab_size - 1),
    )


@given(st.data(), orders)
@settings(max_examples=60, deadline=None)  # the first call builds the tokenizer
def test_any_tokens_are_read(data: st.DataObject, order: Order) -> None:
    _, sequencer = tiny_network()
    ids = data.draw(st.lists(token_ids(), max_size=60))
    sequence = sequencer.pieces(ids)
    assert_sound(parse(sequence, order, CONLL04), sequence)


@given(sequences, orders)
def test_what_was_read_can_be_written_and_read_again(sequence: list[Piece], order: Order) -> None:
    typed = [t for t in parse(sequence, order).triplets if t.head.type and t.tail.type]
    again = parse(linearize(typed, order), order)
    assert set(again.triplets) == set(typed)
    assert again.problems == ()


def test_the_whole_triplet_has_no_problem() -> None:
    assert parse(WHOLE, HRT) == Parsed((TRIPLET,))


def test_text_in_several_pieces_is_one_text() -> None:
    parsed = parse([HEAD, ANN, Piece("text", "  Berg "), *WHOLE[2:]], HRT)
    assert parsed.triplets[0].head.text == "Ann Berg"
    assert parsed.problems == ()


def test_a_missing_entity_type_is_reported_and_the_triplet_kept() -> None:
    parsed = parse([HEAD, ANN, *WHOLE[3:]], HRT)
    assert parsed.triplets == (Triplet(Entity("Ann", ""), "Live_In", Entity("Oslo", "Loc")),)
    assert parsed.problems == ("entity 'Ann' without a type",)


def test_a_missing_relation_type_loses_the_triplet() -> None:
    parsed = parse([HEAD, ANN, PEOP, RELATION, TAIL, OSLO, LOC], HRT)
    assert parsed.triplets == ()
    assert parsed.problems[0] == "relation without a type"
    assert "tail without the elements before it in order hrt" in parsed.problems


def test_a_relation_in_words_is_understood_with_a_schema_only() -> None:
    spelled = [HEAD, ANN, PEOP, RELATION, Piece("text", " Live_In"), TAIL, OSLO, LOC]
    assert parse(spelled, HRT, CONLL04) == Parsed((TRIPLET,))
    assert parse(spelled, HRT).triplets == ()
    assert parse(spelled, HRT).problems[0] == "relation without a type ('Live_In')"


def test_a_missing_tail_is_reported() -> None:
    parsed = parse(WHOLE[:5], HRT)
    assert parsed.triplets == ()
    assert set(parsed.problems) == {"head without a complete triplet", "relation without a complete triplet"}


def test_a_head_without_a_child_behind_a_whole_triplet_is_reported() -> None:
    parsed = parse([*WHOLE, HEAD, Piece("text", "Bob"), PEOP], HRT)
    assert parsed == Parsed((TRIPLET,), ("head without a complete triplet",))


def test_an_entity_without_text_is_reported() -> None:
    parsed = parse([*WHOLE, TAIL, LOC], HRT)
    assert parsed == Parsed((TRIPLET,), ("entity without text",))


def test_text_outside_an_element_is_reported() -> None:
    assert parse([Piece("text", " well "), *WHOLE], HRT) == Parsed((TRIPLET,), ("text outside an element: 'well'",))
    assert parse([*WHOLE, Piece("text", "yes")], HRT) == Parsed((TRIPLET,), ("text outside an element: 'yes'",))
    assert parse([*WHOLE, Piece("text", "  ")], HRT) == Parsed((TRIPLET,))


def test_a_type_outside_an_element_and_a_second_type_are_reported() -> None:
    assert parse([PEOP, *WHOLE], HRT) == Parsed((TRIPLET,), ("type 'Peop' outside an element",))
    parsed = parse([HEAD, ANN, PEOP, LOC, *WHOLE[3:]], HRT)
    assert parsed == Parsed((TRIPLET,), ("second type 'Loc' for one element",))


def test_the_wrong_kind_of_type_is_reported() -> None:
    parsed = parse([HEAD, ANN, KILL, PEOP, *WHOLE[3:]], HRT)
    assert parsed == Parsed((TRIPLET,), ("relation 'Kill' where entity_type was expected",))


def test_text_before_a_relation_is_reported() -> None:
    parsed = parse([HEAD, ANN, PEOP, RELATION, Piece("text", "x"), *WHOLE[4:]], HRT)
    assert parsed == Parsed((TRIPLET,), ("text 'x' before a relation type",))


def test_a_duplicate_is_reported_and_counts_once() -> None:
    parsed = parse([*WHOLE, TAIL, OSLO, LOC], HRT)
    assert parsed == Parsed((TRIPLET,), ("triplet written twice: 'Ann', Live_In, 'Oslo'",))


def test_an_unknown_marker_is_reported_and_what_is_in_it_skipped() -> None:
    other = Piece("marker", "|12.34|")
    parsed = parse([*WHOLE, other, Piece("text", "x"), HEAD, Piece("text", "Bob"), PEOP], HRT)
    assert parsed.triplets == (TRIPLET,)
    assert parsed.problems[0] == "unknown marker '|12.34|'"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_another_order_is_not_misread(order: Order) -> None:
    """A tree read in the order it was not written in gives problems, never another triplet."""
    for name, written in ORDERS.items():
        parsed = parse(linearize([TRIPLET], written), order, CONLL04)
        if name == order.name:
            assert parsed == Parsed((TRIPLET,))
        else:
            assert parsed.triplets == ()
            assert any("without" in problem for problem in parsed.problems)


def test_a_marker_that_comes_too_early_is_reported() -> None:
    parsed = parse([TAIL, OSLO, LOC, *WHOLE], HRT)
    assert parsed.triplets == (TRIPLET,)
    assert parsed.problems == ("tail without the elements before it in order hrt",)


def test_siblings_behind_a_broken_element_do_not_hang_on_the_element_before_it() -> None:
    """Bob's relation has no type; Oslo behind it must not become where Ann lives."""
    bob = [HEAD, Piece("text", "Bob"), PEOP, RELATION, TAIL, Piece("text", "Rome"), LOC]
    parsed = parse([*WHOLE, *bob], HRT)
    assert parsed.triplets == (TRIPLET,)


def test_a_head_without_a_relation_does_not_take_the_one_before_it() -> None:
    """Bob is said to be nowhere: the relation that Ann has is not his."""
    parsed = parse([*WHOLE, HEAD, Piece("text", "Bob"), PEOP, TAIL, Piece("text", "Rome"), LOC], HRT)
    assert parsed.triplets == (TRIPLET,)
    assert "tail without the elements before it in order hrt" in parsed.problems


def test_markers_are_those_of_the_table() -> None:
    assert set(MARKERS) == set(HRT.elements)
