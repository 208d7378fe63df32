"""The automaton of linearized trees: it accepts what is written, and what it accepts can be read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.grammar import END, START, TEXT, Grammar, State
from speechre.linearize import Piece, linearize
from speechre.orders import ORDERS, Order
from speechre.parse import parse
from speechre.schema import Schema
from speechre.schemas import ACE05, CONLL04
from speechre.types import Entity, Triplet

OPEN = Schema("open", ("A", "B"), ("r", "s"))
GRAMMARS = {
    (schema.name, name): Grammar(order, schema) for schema in (CONLL04, ACE05, OPEN) for name, order in ORDERS.items()
}
keys = st.sampled_from(list(GRAMMARS))
names = st.sampled_from(["Ann", "Bob", "Oslo", "<Peop>", "<|endoftext|>"])


@st.composite
def allowed_triplets(draw: st.DrawFn, schema: Schema) -> list[Triplet]:
    """Up to 30 triplets that ``schema`` allows."""
    out = []
    for relation in draw(st.lists(st.sampled_from(schema.relation_types), max_size=30)):
        every = sorted((h, t) for h in schema.entity_types for t in schema.entity_types)
        allowed = [(h, t) for h, t in every if schema.allows(h, relation, t)]
        head_type, tail_type = draw(st.sampled_from(allowed))
        out.append(Triplet(Entity(draw(names), head_type), relation, Entity(draw(names), tail_type)))
    return out


def random_walk(grammar: Grammar, rng: random.Random, max_steps: int = 60) -> list[Piece]:
    """A sequence that ``grammar`` accepts; it ends at the first chance after ``max_steps``."""
    pieces: list[Piece] = []
    state = START
    while True:
        choices = grammar.transitions(state)
        assert choices, f"a dead end after {pieces}"
        if END in choices and (len(pieces) >= max_steps or rng.random() < 0.1):
            return pieces
        piece = rng.choice([choice for choice in choices if choice != END])
        state = choices[piece]
        pieces.append(Piece("text", rng.choice(["Ann", "Oslo", "New York"])) if piece == TEXT else piece)


@given(st.data(), keys)
def test_what_the_schema_allows_is_accepted(data: st.DataObject, key: tuple[str, str]) -> None:
    grammar = GRAMMARS[key]
    assert grammar.accepts(linearize(data.draw(allowed_triplets(grammar.schema)), grammar.order))


@given(keys, st.integers(0, 2**32))
def test_what_is_accepted_is_read_without_a_problem_but_duplicates(key: tuple[str, str], seed: int) -> None:
    grammar = GRAMMARS[key]
    pieces = random_walk(grammar, random.Random(seed))
    assert grammar.accepts(pieces)
    parsed = parse(pieces, grammar.order, grammar.schema)
    assert all(problem.startswith("triplet written twice") for problem in parsed.problems)
    assert len(parsed.triplets) + len(parsed.problems) == pieces.count(Piece("marker", grammar.order.elements[2]))
    for triplet in parsed.triplets:
        assert grammar.schema.allows(triplet.head.type, triplet.relation, triplet.tail.type)


@given(keys, st.integers(0, 2**32), st.data())
def test_accepts_agrees_with_a_strict_reading(key: tuple[str, str], seed: int, data: st.DataObject) -> None:
    """One piece deleted or doubled: what the parser finds fault with, the grammar refuses."""
    grammar = GRAMMARS[key]
    pieces = random_walk(grammar, random.Random(seed), max_steps=30)
    if not pieces:
        return
    at = data.draw(st.integers(0, len(pieces) - 1))
    copies = data.draw(st.sampled_from([0, 2]))
    changed = pieces[:at] + [pieces[at]] * copies + pieces[at + 1 :]
    problems = parse(changed, grammar.order, grammar.schema).problems
    if any(not problem.startswith("triplet written twice") for problem in problems):
        assert not grammar.accepts(changed)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("schema", [CONLL04, ACE05, OPEN], ids=lambda schema: schema.name)
def test_there_is_no_dead_end(order: Order, schema: Schema) -> None:
    grammar = Grammar(order, schema)
    states = grammar.states()
    can_end = {state for state in states if state.phase == "done"}
    assert len(can_end) == 1
    while True:
        more = {s for s in states if s not in can_end and can_end & set(grammar.transitions(s).values())}
        if not more:
            break
        can_end |= more
    assert can_end == set(states)


def test_a_forbidden_pair_cannot_be_completed() -> None:
    wrong = Triplet(Entity("Oslo", "Loc"), "Kill", Entity("Ann", "Peop"))
    for order in ORDERS.values():
        pieces = linearize([wrong], order)
        assert not Grammar(order, CONLL04).accepts(pieces)
        assert Grammar(order, CONLL04, check_pairs=False).accepts(pieces)


def test_types_of_no_pair_are_never_offered() -> None:
    """Other takes part in no relation of CoNLL04, so no order may start an entity of this type."""
    for order in ORDERS.values():
        grammar = Grammar(order, CONLL04)
        for state in grammar.states():
            assert Piece("entity_type", "Other") not in grammar.transitions(state)


def test_a_tree_may_be_empty_but_not_half() -> None:
    order = ORDERS["hrt"]
    grammar = Grammar(order, CONLL04)
    assert grammar.accepts([])
    whole = linearize([Triplet(Entity("Ann", "Peop"), "Live_In", Entity("Oslo", "Loc"))], order)
    assert grammar.accepts(whole)
    for length in range(1, len(whole)):
        assert not grammar.accepts(whole[:length])


def test_text_comes_between_marker_and_type_only() -> None:
    grammar = Grammar(ORDERS["rht"], CONLL04)
    assert TEXT not in grammar.transitions(START)
    assert grammar.transitions(State("empty", 1, relation="Kill")) == {TEXT: State("text", 1, relation="Kill")}
    in_text = grammar.transitions(State("text", 1, relation="Kill"))
    assert set(in_text) == {TEXT, Piece("entity_type", "Peop")}
    assert grammar.transitions(State("done", 2)) == {}
