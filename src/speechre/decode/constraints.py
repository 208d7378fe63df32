"""What may be written next: the grammar of the six orders as tables over token ids, and entities copied from a
transcript.
"""

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

    A row's grammar state is one integer; ``start[order name]`` is where a row begins. ``allowed`` is (states, V)
    boolean, ``next`` is (states, token classes) integer with -1 where a class is forbidden.
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
        self.depth: list[int] = []
        """State -> which of the order's elements is at hand: 0, 1, 2 (-1 before the first)."""
        self.completes: list[bool] = []
        """State -> whether a triplet is complete here."""
        rows: list[list[int]] = []
        for order in orders:
            grammar = Grammar(order, sequencer.schema)
            states = grammar.states()
            number = {state: len(rows) + i for i, state in enumerate(states)}
            self.start[order.name] = number[START]
            for state in states:
                self.depth.append(state.depth)
                self.completes.append(state.phase == "open" and state.depth == len(order.elements) - 1)
                row = [-1] * (len(symbols) + 2)
                for piece, after in grammar.transitions(state).items():
                    row[class_index[piece]] = number[after]
                rows.append(row)
        self.symbol_ids = frozenset(symbols.values())
        """The tokens that are no text."""
        self.eot_id = symbols[END]
        self.marker_ids = frozenset(i for piece, i in symbols.items() if piece.kind == "marker" and piece != END)
        """The tokens that open an element."""
        self.class_of = class_of.to(device)
        self.next = torch.tensor(rows, device=device)
        self.allowed = (self.next >= 0)[:, self.class_of]
        takes_text = self.next[:, _TEXT_CLASS] >= 0
        takes_more = (self.next >= 0).sum(1) > 1
        self.opens_entity = (takes_text & ~takes_more).tolist()
        """State -> whether an entity's first word comes next."""
        self.in_entity = (takes_text & takes_more).tolist()
        """State -> whether an entity can go on or be closed by its type."""

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


class Copying:
    """Entities as spans of the transcript: what was not said cannot be written, and every entity has its evidence.

    A row inside an entity carries the set of transcript positions that its text so far may continue at; positions are
    followed in parallel, so repeated words need no choice before they differ. An entity starts where a word starts and
    ends where one ends.
    """

    def __init__(self, transcript_ids: Sequence[int], sequencer: Sequencer) -> None:
        self.ids = tuple(transcript_ids)
        texts = [sequencer.tokenizer.decode_text([token_id]) for token_id in self.ids]
        self.starts = frozenset(i for i, text in enumerate(texts) if i == 0 or text[:1].isspace())
        goes_on = [text[:1].isalnum() or text[:1] == "\ufffd" for text in texts]
        self.ends = frozenset(i for i in range(1, len(texts) + 1) if i == len(texts) or not goes_on[i])

    def follow(self, positions: frozenset[int] | None, token: int) -> frozenset[int]:
        """Where the text may go on after ``token``; ``None`` stands for an entity's beginning."""
        return frozenset(i + 1 for i in self.candidates(positions) if self.ids[i] == token)

    def candidates(self, positions: frozenset[int] | None) -> list[int]:
        """Positions of the tokens that may come next."""
        return sorted(i for i in (self.starts if positions is None else positions) if i < len(self.ids))

    def may_end(self, positions: frozenset[int]) -> bool:
        """Whether the entity is whole words here."""
        return not self.ends.isdisjoint(positions)


class CopyRows:
    """The copying state of all rows of a search, kept in step with the beams.

    ``vocabulary`` are the ids, ascending, of all tokens that any row could ever write: the grammar's symbols and the
    words of all transcripts; masks here are over these.
    """

    def __init__(self, grammar: TokenGrammar, copying: Sequence[Copying], rows_each: int, sequencer: Sequencer) -> None:
        """``copying`` has one entry an utterance, each with ``rows_each`` rows."""
        self.grammar = grammar
        self.copying = [one for one in copying for _ in range(rows_each)]
        self.positions: list[frozenset[int] | None] = [None] * len(self.copying)
        self.num_text_tokens = sequencer.tokenizer.num_text_tokens
        words = sorted({token_id for one in copying for token_id in one.ids})
        ids = [*words, *sorted(grammar.symbol_ids)]  # symbols are numbered behind the text
        self.vocabulary = torch.tensor(ids, device=grammar.next.device)
        self._num_words = len(words)
        self._column = {token_id: column for column, token_id in enumerate(ids)}
        self.eot_column = self._column[sequencer.tokenizer.eot_id]

    def restrict(self, allowed_NU: Tensor, states: Sequence[int]) -> None:
        """Take away, in place, what ``allowed_NU`` grants beyond the transcript."""
        silent: list[int] = []  # nothing was said, so there is nothing to tell
        naming: list[int] = []  # in an entity
        unended: list[int] = []  # in the midst of a word
        rows: list[int] = []
        columns: list[int] = []
        for row, (state, copying, positions) in enumerate(zip(states, self.copying, self.positions, strict=True)):
            if not copying.ids:
                silent.append(row)
            elif self.grammar.opens_entity[state] or self.grammar.in_entity[state]:
                naming.append(row)
                following = {self._column[copying.ids[i]] for i in copying.candidates(positions)}
                rows += [row] * len(following)
                columns += following
                if positions is not None and not copying.may_end(positions):
                    unended.append(row)
        if naming:
            allowed_NU[naming, : self._num_words] = False
            allowed_NU[rows, columns] = True
        if unended:
            allowed_NU[unended, self._num_words :] = False
        if silent:
            allowed_NU[silent] = False
            allowed_NU[silent, self.eot_column] = True

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Row i continues row ``parents[i]`` with ``tokens[i]``."""
        following: list[frozenset[int] | None] = []
        for parent, token in zip(parents, tokens, strict=True):
            is_text = token < self.num_text_tokens
            following.append(self.copying[parent].follow(self.positions[parent], token) if is_text else None)
        self.copying = [self.copying[parent] for parent in parents]
        self.positions = following
