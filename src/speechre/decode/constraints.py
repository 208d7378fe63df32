"""The grammar of the six orders, compiled to tables over token ids, so that rows of all orders are masked in one lookup."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechre.grammar import END, START, TEXT, Grammar
from speechre.linearize import Piece
from speechre.model.sequence import Sequencer
from speechre.orders import Order

_TEXT_CLASS = 0
_OTHER_CLASS = 1  # timestamps, prompts and the like: nothing that a tree may hold


class TokenGrammar:
    """Which tokens may follow, for rows in any mix of orders.

    A row's grammar state is one integer; ``start[order name]`` is where a row begins. ``allowed`` is (states, V) boolean,
    ``next`` is (states, token classes) integer with -1 where a class is forbidden.
    """

    def __init__(self, orders: Sequence[Order], sequencer: Sequencer, device: torch.device) -> None:
        tokenizer = sequencer.tokenizer
        symbols = self._symbols(sequencer)
        class_of = torch.full((tokenizer.vocab_size,), _OTHER_CLASS)
        class_of[: tokenizer.num_text_tokens] = _TEXT_CLASS
        for index, token_id in enumerate(symbols.values(), start=2):
            class_of[token_id] = index
        class_index = {piece: index for index, piece in enumerate(symbols, start=2)} | {TEXT: _TEXT_CLASS}
        self.start: dict[str, int] = {}
        rows: list[list[int]] = []
        for order in orders:
            grammar = Grammar(order, sequencer.schema)
            states = grammar.states()
            number = {state: len(rows) + i for i, state in enumerate(states)}
            self.start[order.name] = number[START]
            for state in states:
                row = [-1] * (len(symbols) + 2)
                for piece, after in grammar.transitions(state).items():
                    row[class_index[piece]] = number[after]
                rows.append(row)
        self.class_of = class_of.to(device)
        self.next = torch.tensor(rows, device=device)
        self.allowed = (self.next >= 0)[:, self.class_of]

    @staticmethod
    def _symbols(sequencer: Sequencer) -> dict[Piece, int]:
        """Every symbol of the automaton that is one token."""
        schema = sequencer.schema
        pieces = [Piece("marker", element) for element in ("head", "relation", "tail")]
        pieces += [Piece("entity_type", name) for name in schema.entity_types]
        pieces += [Piece("relation", name) for name in schema.relation_types]
        return {piece: sequencer.piece_id(piece) for piece in pieces} | {END: sequencer.tokenizer.eot_id}

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """The states after ``tokens``; shapes alike. A forbidden token leads to -1, which no caller may use."""
        return self.next[states, self.class_of[tokens]]


def transcript_mask(sequencer: Sequencer, device: torch.device) -> Tensor:
    """(V,) boolean: text, and the two tokens that can end a transcript."""
    tokenizer = sequencer.tokenizer
    mask = torch.zeros(tokenizer.vocab_size, dtype=torch.bool, device=device)
    mask[: tokenizer.num_text_tokens] = True
    mask[[sequencer.relations_id, tokenizer.eot_id]] = True
    return mask
