"""What a small network repeats, it mostly goes on repeating until its room is used up, while the whole batch waits.

An answer is a set, so what is told again adds nothing: a triplet that is told a second time ends it. A transcript may
say something twice, people do; words that come a third time in a row end it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from speechre.decode.constraints import TokenGrammar

_Element = tuple[int, ...]

_TIMES = 3
_REPEATED_MIN = 24  # tokens: "no, no, no, no" and "and so on, and so on, and so on" are things that people say


def circle_of(ids: Sequence[int]) -> int:
    """After how many tokens the end of ``ids`` repeats itself: the same ones three times in a row, in 24 tokens or
    more. 0 where nothing is.
    """
    for period in range(1, len(ids) // _TIMES + 1):
        length = period * max(_TIMES, -(-_REPEATED_MIN // period))
        if length <= len(ids) and ids[-length:-period] == ids[-length + period :]:
            return period
    return 0


def said_once(ids: tuple[int, ...], period: int) -> tuple[int, ...]:
    """``ids`` without the repetitions at their end."""
    while period and ids[-2 * period : -period] == ids[-period:]:
        ids = ids[:-period]
    return ids


class ToldRows:
    """The triplets that each row of a search has told, kept in step with the beams; equal means the same tokens."""

    def __init__(self, grammar: TokenGrammar, num_rows: int) -> None:
        self._grammar = grammar
        self._elements: list[tuple[_Element, ...]] = [()] * num_rows  # from the first to the one at hand
        self._told: list[frozenset[tuple[_Element, ...]]] = [frozenset()] * num_rows
        self.is_repeated = [False] * num_rows
        """Row -> whether its last token completed a triplet that it had told before."""

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None], states: Sequence[int]) -> None:
        """Row i continues row ``parents[i]`` with ``tokens[i]`` and is in grammar state ``states[i]`` then; for None it
        stays where it is.
        """
        grammar, before, told, was_repeated = self._grammar, self._elements, self._told, self.is_repeated
        self._elements, self._told, self.is_repeated = [], [], []
        for parent, token, state in zip(parents, tokens, states, strict=True):
            elements, ours = before[parent], told[parent]
            if token is None:
                self._elements.append(elements)
                self._told.append(ours)
                self.is_repeated.append(was_repeated[parent])
                continue
            if token in grammar.marker_ids:  # a new element, in place of its predecessor and what hung on that
                elements = (*elements[: grammar.depth[state]], (token,))
            elif elements:
                elements = (*elements[:-1], (*elements[-1], token))
            is_complete = grammar.completes[state]
            self.is_repeated.append(is_complete and elements in ours)
            self._elements.append(elements)
            self._told.append(ours | {elements} if is_complete else ours)

    def restrict(self, allowed_NU: Tensor, eot_column: int) -> None:
        """Leave, in place, only the end to rows that have repeated themselves."""
        rows = [row for row, is_repeated in enumerate(self.is_repeated) if is_repeated]
        if rows:
            allowed_NU[rows] = False
            allowed_NU[rows, eot_column] = True
