"""Triplets as the paper's nested tree, in any element order (arXiv 2509.08438, section 3.2).

The first elements are written once each; under each of them its second elements; under each of those its third
elements. In order ``hrt``, (Ann, Live_In, Oslo), (Ann, Live_In, Bergen) and (Ann, Work_For, NRK) become ::

    <head_entity> Ann <Peop> <relation_type> <Live_In> <tail_entity> Oslo <Loc> <tail_entity> Bergen <Loc>
                             <relation_type> <Work_For> <tail_entity> NRK <Org>

The tree is a sequence of :class:`Piece`, not a string: text that happens to look like a marker stays text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from speechre.orders import Element, Order
from speechre.schema import add_brackets
from speechre.types import Entity, Triplet

PieceKind = Literal["marker", "entity_type", "relation", "text"]

MARKERS: dict[Element, str] = {
    "head": "<head_entity>",
    "relation": "<relation_type>",
    "tail": "<tail_entity>",
}
"""Element -> the token that opens it, in the tree and in the order prompt."""

# An element's identity inside a tree: two heads with the same text but different types are two nodes.
_Node = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """One symbol of a linearized tree.

    ``value`` is the element's name for a marker, the bare type for an entity type, the bare name for a relation, and
    words for text (white space collapsed, never empty).
    """

    kind: PieceKind
    value: str


def collapse_space(text: str) -> str:
    """White space runs become one blank; none at the ends."""
    return " ".join(text.split())


def _node(triplet: Triplet, element: Element) -> _Node:
    if element == "relation":
        return (triplet.relation, "")
    entity = triplet.head if element == "head" else triplet.tail
    return (collapse_space(entity.text), entity.type)


def _element_pieces(element: Element, node: _Node) -> list[Piece]:
    marker = Piece("marker", element)
    if element == "relation":
        return [marker, Piece("relation", node[0])]
    return [marker, Piece("text", node[0]), Piece("entity_type", node[1])]


def linearize(triplets: Iterable[Triplet], order: Order) -> list[Piece]:
    """The tree of ``triplets`` in ``order``; siblings keep the sequence of their first appearance, duplicates collapse.

    Raises ``ValueError`` on an entity without text or without type, which no tree can carry.
    """
    tree: dict[_Node, dict[_Node, dict[_Node, None]]] = {}
    for triplet in triplets:
        for entity in (triplet.head, triplet.tail):
            if not collapse_space(entity.text) or not entity.type:
                raise ValueError(f"an entity needs text and a type to be linearized, got {entity!r}")
        first, second, third = (_node(triplet, element) for element in order.elements)
        tree.setdefault(first, {}).setdefault(second, {}).setdefault(third)
    pieces: list[Piece] = []
    first_element, second_element, third_element = order.elements
    for first, seconds in tree.items():
        pieces += _element_pieces(first_element, first)
        for second, thirds in seconds.items():
            pieces += _element_pieces(second_element, second)
            for third in thirds:
                pieces += _element_pieces(third_element, third)
    return pieces


def canonical(triplets: Iterable[Triplet]) -> tuple[Triplet, ...]:
    """What a tree can carry: each distinct triplet once, text with collapsed white space."""
    seen: dict[Triplet, None] = {}
    for triplet in triplets:
        head = Entity(collapse_space(triplet.head.text), triplet.head.type)
        tail = Entity(collapse_space(triplet.tail.text), triplet.tail.type)
        seen.setdefault(Triplet(head, triplet.relation, tail))
    return tuple(seen)


def render(pieces: Iterable[Piece]) -> str:
    """A tree for people to read. Not for parsing: text that looks like a marker is not told apart."""
    words = []
    for piece in pieces:
        if piece.kind == "marker":
            words.append(next(token for element, token in MARKERS.items() if element == piece.value))
        elif piece.kind == "text":
            words.append(piece.value)
        else:
            words.append(add_brackets(piece.value))
    return " ".join(words)
