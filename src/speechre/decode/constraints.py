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
    boolean.
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
        self._class_of: list[int] = class_of.tolist()
        self._next = rows
        self.allowed = (torch.tensor(rows, device=device) >= 0)[:, class_of.to(device)]
        self.takes_text = [row[_TEXT_CLASS] >= 0 for row in rows]
        """State -> whether an entity's words come next."""
        ids = list(symbols.values())
        self.symbols_after = [
            [i for i, after in zip(ids, row[_OTHER_CLASS + 1 :], strict=True) if after >= 0] for row in rows
        ]
        """State -> the symbols that may come next."""

    @staticmethod
    def _symbols(sequencer: Sequencer) -> dict[Piece, int]:
        """Every symbol of the automaton that is one token."""
        schema = sequencer.schema
        pieces = [Piece("marker", element) for element in ("head", "relation", "tail")]
        pieces += [Piece("entity_type", name) for name in schema.entity_types]
        pieces += [Piece("relation", name) for name in schema.relation_types]
        return {piece: sequencer.piece_id(piece) for piece in pieces} | {END: sequencer.tokenizer.eot_id}

    def advance(self, state: int, token: int) -> int:
        """The state after ``token``; -1 if it is forbidden there."""
        return self._next[state][self._class_of[token]]


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
        self.vocabulary = torch.tensor(ids, device=grammar.allowed.device)
        self._num_words = len(words)
        self._column = {token_id: column for column, token_id in enumerate(ids)}
        self.eot_column = self._column[sequencer.tokenizer.eot_id]

    def words(self, row: int) -> set[int]:
        """In an entity, the words that may come next."""
        copying = self.copying[row]
        return {copying.ids[i] for i in copying.candidates(self.positions[row])}

    def is_unended(self, row: int) -> bool:
        """Whether the row is in the midst of a word."""
        positions = self.positions[row]
        return positions is not None and not self.copying[row].may_end(positions)

    def choices(self, row: int, state: int) -> list[int]:
        """All tokens that may come next."""
        if not self.copying[row].ids:  # nothing was said, so there is nothing to tell
            return [self.grammar.eot_id]
        symbols = self.grammar.symbols_after[state]
        if not self.grammar.takes_text[state]:
            return symbols
        return [*self.words(row), *(() if self.is_unended(row) else symbols)]

    def restrict(self, allowed_NU: Tensor, states: Sequence[int]) -> None:
        """Take away, in place, what ``allowed_NU`` grants beyond the transcript."""
        silent = [row for row, copying in enumerate(self.copying) if not copying.ids]
        naming = [row for row, state in enumerate(states) if self.grammar.takes_text[state] and self.copying[row].ids]
        unended = [row for row in naming if self.is_unended(row)]
        spoken = [(row, self._column[word]) for row in naming for word in self.words(row)]
        if naming:
            allowed_NU[naming, : self._num_words] = False
            allowed_NU[[row for row, _ in spoken], [column for _, column in spoken]] = True
        if unended:
            allowed_NU[unended, self._num_words :] = False
        if silent:
            allowed_NU[silent] = False
            allowed_NU[silent, self.eot_column] = True

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        """Row i continues row ``parents[i]`` with ``tokens[i]``, or stays where it is for None."""
        following: list[frozenset[int] | None] = []
        for parent, token in zip(parents, tokens, strict=True):
            positions = self.positions[parent]
            if token is not None:
                is_text = token < self.num_text_tokens
                positions = self.copying[parent].follow(positions, token) if is_text else None
            following.append(positions)
        self.copying = [self.copying[parent] for parent in parents]
        self.positions = following
