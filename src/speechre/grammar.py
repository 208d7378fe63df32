"""Which piece may follow which: the finite automaton of linearized trees, one for each order and schema.

The decoder's constraints are compiled from it; :func:`speechre.parse.parse` reads every sequence it accepts without a
problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

from speechre.linearize import Piece
from speechre.orders import Order
from speechre.schema import Schema

TEXT = Piece("text", "")
"""Stands for any stretch of text: the automaton does not look into words."""

END = Piece("marker", "end")
"""Stands for the end of the sequence."""

# open: between elements · empty: an entity without text yet · text: an entity with text · relation: expects a relation
# type
Phase = Literal["open", "empty", "text", "relation", "done"]


class State(NamedTuple):
    """Where in a tree the writer is. ``depth`` is the index in the order of the element at hand (-1 at the start).

    The three types are those already written on the way to this element: they decide which others can complete a
    triplet.
    """

    phase: Phase
    depth: int
    head_type: str | None = None
    relation: str | None = None
    tail_type: str | None = None


START = State("open", -1)


class Grammar:
    """The automaton for one order. With ``check_pairs``, only triplets that ``schema`` allows can be completed."""

    def __init__(self, order: Order, schema: Schema, check_pairs: bool = True) -> None:
        self.order = order
        self.schema = schema
        self.check_pairs = check_pairs
        self.transitions = cache(self._transitions)

    def _transitions(self, state: State) -> dict[Piece, State]:
        """Symbol -> next state; symbols that are not keys are forbidden. Cached as ``transitions``."""
        if state.phase == "done":
            return {}
        if state.phase == "open":
            return self._from_open(state)
        if state.phase == "empty":
            return {TEXT: state._replace(phase="text")}
        if state.phase == "relation":
            return {Piece("relation", name): after for name, after in self._fill(state, "relation")}
        out = {TEXT: state}
        element = self.order.elements[state.depth]
        out |= {Piece("entity_type", name): after for name, after in self._fill(state, element)}
        return out

    def _from_open(self, state: State) -> dict[Piece, State]:
        elements = self.order.elements
        if state.depth == -1:
            depths: tuple[int, ...] = (0,)
        elif state.depth == 2:
            depths = (2, 1, 0)  # another third, a new second, a new first
        else:
            depths = (state.depth + 1,)
        out: dict[Piece, State] = {}
        for depth in depths:
            known = {elements[i]: self._type(state, i) for i in range(depth)}
            phase: Phase = "relation" if elements[depth] == "relation" else "empty"
            out[Piece("marker", elements[depth])] = State(
                phase, depth, known.get("head"), known.get("relation"), known.get("tail")
            )
        if state.depth in (-1, 2):
            out[END] = State("done", 2)
        return out

    def _type(self, state: State, depth: int) -> str | None:
        element = self.order.elements[depth]
        return {"head": state.head_type, "relation": state.relation, "tail": state.tail_type}[element]

    def _fill(self, state: State, element: str) -> Iterator[tuple[str, State]]:
        """Every type that ``element`` can take here so that the triplet can still be completed."""
        names = self.schema.relation_types if element == "relation" else self.schema.entity_types
        slot = {"head": "head_type", "relation": "relation", "tail": "tail_type"}[element]
        for name in names:
            filled: dict[str, Any] = {slot: name}
            after = state._replace(phase="open", **filled)
            if not self.check_pairs or self._completable(after):
                yield name, after

    def _completable(self, state: State) -> bool:
        schema = self.schema
        heads = schema.entity_types if state.head_type is None else (state.head_type,)
        relations = schema.relation_types if state.relation is None else (state.relation,)
        tails = schema.entity_types if state.tail_type is None else (state.tail_type,)
        return any(schema.allows(h, r, t) for h in heads for r in relations for t in tails)

    def states(self) -> list[State]:
        """Every state that can be reached, the start first. Finite: a few dozen for CoNLL04."""
        found = {START: None}
        queue = [START]
        while queue:
            for after in self.transitions(queue.pop()).values():
                if after not in found:
                    found[after] = None
                    queue.append(after)
        return list(found)

    def accepts(self, pieces: list[Piece]) -> bool:
        """Whether ``pieces`` is a complete tree."""
        state = START
        for piece in [*pieces, END]:
            after = self.transitions(state).get(TEXT if piece.kind == "text" else piece)
            if after is None:
                return False
            state = after
        return state.phase == "done"
