"""The six element orders, from ONE table: the writer, the parser and the decoding constraints all read it.

An order says which of head, relation and tail is written first, second and third (paper section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from speechre.errors import UsageError

Element = Literal["head", "relation", "tail"]

LETTERS: dict[str, Element] = {"h": "head", "r": "relation", "t": "tail"}


@dataclass(frozen=True, slots=True)
class Order:
    """One permutation: its name (``hrt``) and the elements in the sequence they are written."""

    name: str
    elements: tuple[Element, Element, Element]


def _order(letters: tuple[str, ...]) -> Order:
    first, second, third = (LETTERS[letter] for letter in letters)
    return Order("".join(letters), (first, second, third))


ORDERS: dict[str, Order] = {order.name: order for order in map(_order, permutations("hrt"))}
"""hrt htr rht rth thr trh"""


def select_orders(names: str | Iterable[str]) -> tuple[Order, ...]:
    """The orders named in ``"hrt,htr"`` or an iterable of names, each once, in the given sequence.

    Raises :class:`UsageError` on an unknown or missing name.
    """
    parts = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    parts = [part for part in parts if part]
    unknown = [part for part in parts if part not in ORDERS]
    if unknown or not parts:
        got = f'unknown order "{unknown[0]}"' if unknown else "no order given"
        raise UsageError(f"{got}; expected one or more of {','.join(ORDERS)}, separated by commas")
    return tuple(ORDERS[part] for part in dict.fromkeys(parts))
