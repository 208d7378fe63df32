"""What each row of the orders' search may write next: the grammar, copying from the transcript, nothing told twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechre.decode.constraints import Copying, CopyRows, TokenGrammar
from speechre.decode.repetition import ToldRows
from speechre.model.sequence import Sequencer
from speechre.orders import Order


class OrderRules:
    """What each row of a search may write next: the grammar's states and, where there is a transcript, copying.

    Under the copy constraint an answer is made of the grammar's symbols and the words of the batch's transcripts, so
    logits are computed for these tokens only (``vocabulary``, ascending ids; None: for all). What the neighbours said
    is masked like any other word, so the answers are those of masked logits over the whole vocabulary. A triplet told
    a second time is followed by the end.
    """

    def __init__(
        self,
        grammar: TokenGrammar | None,
        orders: Sequence[Order],
        spans: list[Copying] | None,
        num_utterances: int,
        sequencer: Sequencer,
    ) -> None:
        self.grammar = grammar
        self.copy_rows: CopyRows | None = None
        self.vocabulary: Tensor | None = None
        self.states: list[int] = []
        if grammar is not None:
            self.states = [grammar.start[order.name] for order in orders] * num_utterances
            self.told = ToldRows(grammar, len(self.states))
            self.allowed = grammar.allowed
            self.eot_column = grammar.eot_id
            if spans is not None:
                self.copy_rows = CopyRows(grammar, spans, len(orders), sequencer)
                self.vocabulary = self.copy_rows.vocabulary
                self.allowed = self.allowed[:, self.vocabulary]
                self.eot_column = self.copy_rows.eot_column

    def mask(self, logits_NU: Tensor) -> Tensor:
        """Logits over ``vocabulary`` with minus infinity for what may not follow."""
        if self.grammar is None:
            return logits_NU
        allowed_NU = self.allowed[self.states]
        if self.copy_rows is not None:
            self.copy_rows.restrict(allowed_NU, self.states)
        self.told.restrict(allowed_NU, self.eot_column)
        return logits_NU.masked_fill(~allowed_NU, -torch.inf)

    def forced(self, row: int) -> int | None:
        """The only token that may come next, where there is just one: what it is costs no look at the network."""
        if self.grammar is None:
            return None
        if self.told.is_repeated[row]:
            return self.grammar.eot_id
        state = self.states[row]
        if self.copy_rows is not None:
            choices = self.copy_rows.choices(row, state)
        else:
            choices = [] if self.grammar.takes_text[state] else self.grammar.symbols_after[state]
        return choices[0] if len(choices) == 1 else None

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        """Row i continues row ``parents[i]`` with ``tokens[i]``, or stays where it is for None; as many rows as there
        are parents.
        """
        if self.grammar is None:
            return
        # Rows of finished groups write on for nothing; any state will do for them.
        self.states = [
            self.states[parent] if token is None else max(0, self.grammar.advance(self.states[parent], token))
            for parent, token in zip(parents, tokens, strict=True)
        ]
        self.told.advance(parents, tokens, self.states)
        if self.copy_rows is not None:
            self.copy_rows.advance(parents, tokens)
