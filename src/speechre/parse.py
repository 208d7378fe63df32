"""From pieces back to triplets. Total: any sequence gives triplets plus a list of problems, never an exception."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechre.linearize import Piece, collapse_space
from speechre.orders import Element, Order
from speechre.schema import Schema
from speechre.types import Entity, Triplet


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one generation says: distinct triplets in the order written, and what was wrong with it."""

    triplets: tuple[Triplet, ...]
    problems: tuple[str, ...] = ()


class _Reader:
    """Walks the pieces once, filling ``path`` (first, second, third element) and writing a triplet at each third."""

    def __init__(self, order: Order, schema: Schema | None) -> None:
        self.order = order
        self.schema = schema
        self.path: list[Entity | str | None] = [None, None, None]
        self.used = [True, True, True]  # whether the node at this depth got a child, i.e. reached a triplet
        self.depth: int | None = None  # of the element being read; None before the first marker
        self.words: list[str] = []
        self.type: str | None = None
        self.skipping = False
        self.found: dict[Triplet, None] = {}
        self.problems: list[str] = []

    def read(self, pieces: Iterable[Piece]) -> Parsed:
        for piece in pieces:
            if piece.kind == "marker":
                self._open(piece.value)
            elif piece.kind == "text":
                self._text(piece.value)
            else:
                self._type(piece)
        self._close()
        for depth in range(3):
            self._check_used(depth)
        return Parsed(tuple(self.found), tuple(self.problems))

    def _problem(self, text: str) -> None:
        self.problems.append(text)

    def _open(self, name: str) -> None:
        self._close()
        elements: tuple[Element, ...] = self.order.elements
        depth = next((i for i, element in enumerate(elements) if element == name), None)
        if depth is None:
            self._problem(f"unknown marker {name!r}")
            self.depth, self.skipping = 0, True
            return
        for below in range(2, depth - 1, -1):
            self._check_used(below)
            self.path[below] = None
        self.depth, self.words, self.type = depth, [], None
        self.skipping = any(self.path[above] is None for above in range(depth))
        if self.skipping:
            self._problem(f"{name} without the elements before it in order {self.order.name}")

    def _check_used(self, depth: int) -> None:
        if not self.used[depth]:
            self._problem(f"{self.order.elements[depth]} without a complete triplet")
            self.used[depth] = True

    def _text(self, text: str) -> None:
        if self.depth is None or self.type is not None:
            if text.strip():
                self._problem(f"text outside an element: {text.strip()!r}")
        else:
            self.words.append(text)

    def _type(self, piece: Piece) -> None:
        if self.depth is None:
            self._problem(f"type {piece.value!r} outside an element")
            return
        wants = "relation" if self.order.elements[self.depth] == "relation" else "entity_type"
        if piece.kind != wants:
            self._problem(f"{piece.kind} {piece.value!r} where {wants} was expected")
        elif self.type is not None:
            self._problem(f"second type {piece.value!r} for one element")
        else:
            self.type = piece.value

    def _close(self) -> None:
        depth = self.depth
        self.depth = None
        if depth is None or self.skipping:
            return
        node = self._relation() if self.order.elements[depth] == "relation" else self._entity()
        self.path[depth] = node
        self.used[depth] = node is None
        if node is not None and depth == 2:
            self.used = [True, True, True]
            self._emit()

    def _relation(self) -> str | None:
        text = collapse_space(" ".join(self.words))
        name = self.type
        if name is not None and text:
            self._problem(f"text {text!r} before a relation type")
        if name is None and self.schema is not None and text in self.schema.relation_types:
            name = text
        if name is None:
            self._problem(f"relation without a type{f' ({text!r})' if text else ''}")
        return name

    def _entity(self) -> Entity | None:
        text = collapse_space(" ".join(self.words))
        if not text:
            self._problem("entity without text")
            return None
        if self.type is None:
            # The words still say who; only the strict protocol asks for the type.
            self._problem(f"entity {text!r} without a type")
        return Entity(text, self.type or "")

    def _emit(self) -> None:
        node = dict(zip(self.order.elements, self.path, strict=True))
        head, relation, tail = node["head"], node["relation"], node["tail"]
        assert isinstance(head, Entity)
        assert isinstance(relation, str)
        assert isinstance(tail, Entity)
        triplet = Triplet(head, relation, tail)
        if triplet in self.found:
            self._problem(f"triplet written twice: {head.text!r}, {relation}, {tail.text!r}")
        self.found.setdefault(triplet)


def parse(pieces: Iterable[Piece], order: Order, schema: Schema | None = None) -> Parsed:
    """The triplets of a tree written in ``order``. With a schema, a relation spelled as text is understood too.

    >>> from speechre.orders import ORDERS
    >>> parse([Piece("text", "well")], ORDERS["hrt"])
    Parsed(triplets=(), problems=("text outside an element: 'well'",))
    """
    return _Reader(order, schema).read(pieces)
