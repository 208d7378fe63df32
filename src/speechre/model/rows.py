"""The rows that a decoder writes, and what they remember between steps.

All rows of an utterance write into one memory, slot by slot: first what they share (start, transcript, relation prompt,
fed once an utterance), then what each writes by itself (its order and its answer). A row sees the slots of its own
history alone, which a mask says: the packed sequence of training (:func:`speechre.model.sequence.pack`), made longer
token by token. So six orders with K beams cost one prompt, every layer attends once a step, and going on from another
beam copies a row of the mask, not keys and values.

Shape letters: B utterances, R rows of each, N = B * R rows (those of one utterance lie together), H attention heads, C
width of one head, T new tokens, X slots, S encoder frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from speechre.model.backbone import Attention, Decoder, KeyValues
from speechre.model.row_changes import ChangedDecoder

_ROOM = 64  # slots that memory is reserved for at first
_FORGET_EVERY = 8  # selections


class _Memory:
    """Keys and values (B, H, X, C) of one layer that grow at the end."""

    def __init__(self) -> None:
        self._parts: KeyValues | None = None
        self._num_slots = 0

    def append(self, new: KeyValues) -> KeyValues:
        """All keys and values, ``new`` (B, H, R * T, C) among them."""
        start, end = self._num_slots, self._num_slots + new.keys.shape[2]
        old = self._parts
        if old is None or old.keys.shape[2] < end:
            room = max(_ROOM, end * 3 // 2)
            self._parts = KeyValues(*(part.new_empty(*part.shape[:2], room, part.shape[3]) for part in new))
            if old is not None:
                for wider, part in zip(self._parts, old, strict=True):
                    wider[:, :, :start] = part[:, :, :start]
        assert self._parts is not None
        keys, values = self._parts
        keys[:, :, start:end] = new.keys
        values[:, :, start:end] = new.values
        self._num_slots = end
        return KeyValues(keys[:, :, :end], values[:, :, :end])

    def keep(self, utterances: Tensor) -> None:
        """Forget the others."""
        if self._parts is not None:
            self._parts = KeyValues(*(part.index_select(0, utterances) for part in self._parts))

    def keep_slots(self, slots_BX: Tensor) -> None:
        """Of each utterance, forget all slots but these, as many of each."""
        if self._parts is not None:
            heads, width = self._parts.keys.shape[1], self._parts.keys.shape[3]
            index_BHXC = slots_BX[:, None, :, None].expand(-1, heads, -1, width)
            self._parts = KeyValues(*(part.gather(2, index_BHXC) for part in self._parts))
            self._num_slots = slots_BX.shape[1]


class DecoderRows:
    """Rows of one decoder over the cross-attention memory of their utterances.

    Rows start as one an utterance, until :meth:`branch` gives each utterance several that go on alone.
    """

    def __init__(
        self,
        decoder: Decoder,
        cross: list[KeyValues],
        cross_mask: Tensor | None = None,
        watched_layers: Iterable[int] = (),
        num_plain: int | None = None,
    ) -> None:
        """``cross`` as :meth:`Decoder.cross_memory` makes it; ``cross_mask`` (B, 1, 1, S) is True on real frames. Where
        the ``watched_layers`` look while prompts are fed can be asked for (:meth:`looks`). A :class:`ChangedDecoder`
        writes the rows of the first ``num_plain`` utterances (None: of all) without its changes.
        """
        self._decoder = decoder
        self._cross = cross
        self._cross_mask = cross_mask
        self._memory = [_Memory() for _ in cross]
        self._num_plain = len(cross[0].keys) if num_plain is None else num_plain
        self._rows_each = 1
        self._has_branched = False
        self._num_slots = 0
        self._num_selections = 0
        # What is added to a row's scores: 0 for a slot that it sees, minus infinity for another. None: all see all.
        self._hidden_BRX: Tensor | None = None
        self._mask: Tensor | None = None  # of the tokens that are being fed
        self._watched: dict[int, list[Tensor]] = {layer: [] for layer in watched_layers}  # queries, one a feed
        self.lengths = [0] * len(cross[0].keys)
        """How many tokens each row has read."""

    @property
    def _device(self) -> torch.device:
        return self._cross[0].keys.device

    def feed(self, new: Sequence[Sequence[int]]) -> Tensor:
        """Append ``new[n]`` to row n; returns the hidden states (N, D) behind each row's last token, of no meaning for
        rows that get none.

        Some rows may get more tokens than others: an utterance's new tokens take the next slots row by row, behind them
        slots stay empty where another utterance has more. Every token carries its own position, so no row's answer
        depends on another's length.
        """
        rows_each, limit = self._rows_each, self._decoder.embed_positions.num_embeddings - 1
        num_slots = max(sum(map(len, new[n : n + rows_each])) for n in range(0, len(new), rows_each))
        if not num_slots:  # nothing was said anywhere
            return torch.zeros(len(new), self._decoder.embed_positions.embedding_dim, device=self._device)
        ids: list[list[int]] = []
        positions: list[list[int]] = []
        owners: list[list[int]] = []  # of each slot, the row that sees it; -1: none
        last: list[int] = []
        for first in range(0, len(new), rows_each):
            ours: list[int] = []
            places: list[int] = []
            rows: list[int] = []
            for row in range(rows_each):
                tokens, length = new[first + row], self.lengths[first + row]
                ours += tokens
                places += [min(length + i, limit) for i in range(len(tokens))]
                rows += [row] * len(tokens)
                last.append(len(ids) * num_slots + max(0, len(ours) - 1))
                self.lengths[first + row] += len(tokens)
            empty = num_slots - len(ours)
            ids.append(ours + [0] * empty)
            positions.append(places + [0] * empty)
            owners.append(rows + [-1] * empty)
        self._hide(owners)
        ids_BT, positions_BT = torch.tensor([ids, positions], device=self._device)
        look = self._look_and_note if self._watched and not self._has_branched else None
        if isinstance(self._decoder, ChangedDecoder):
            self._decoder.changed_from.utterance = self._num_plain
        hidden_BTD = self._decoder(ids_BT, positions_BT, None, self._cross, self._cross_mask, self._attend, look)
        states: Tensor = hidden_BTD.view(-1, hidden_BTD.shape[-1])
        return states if len(last) == len(states) else states[last]

    def _hide(self, owners: list[list[int]]) -> None:
        """Make the mask of new slots, (B or 1, 1, T, X), and note who sees them from now on."""
        rows_each, before, num_new = self._rows_each, self._num_slots, len(owners[0])
        self._num_slots += num_new
        if rows_each == 1 and self._hidden_BRX is None and not any(rows[-1] for rows in owners):
            # Nothing is hidden but what comes later.
            causal = torch.ones(num_new, before + num_new, dtype=torch.bool, device=self._device).tril(before)
            self._mask = causal if num_new > 1 else None
            return
        if self._hidden_BRX is None:
            shape = (len(owners), rows_each, before)
            self._hidden_BRX = torch.zeros(shape, dtype=self._dtype, device=self._device)
        every = list(range(rows_each))
        if all(rows == every for rows in owners):  # one token each: a row sees what it will see from now on
            same_RR = self._bias(torch.eye(rows_each, dtype=torch.bool, device=self._device))
            self._note(same_RR)
            self._mask = self._hidden_BRX[:, None]
            return
        owner_BT = torch.tensor(owners, device=self._device)
        causal_TT = torch.ones(num_new, num_new, dtype=torch.bool, device=self._device).tril()
        sees_BTT = (owner_BT[:, :, None] == owner_BT[:, None, :]) & causal_TT
        # An empty slot looks back as the first row does, so that no row of the softmax is empty.
        index_BTX = owner_BT.clamp(min=0)[:, :, None].expand(-1, -1, before)
        old_BTX = self._hidden_BRX.gather(1, index_BTX)
        self._mask = torch.cat([old_BTX, self._bias(sees_BTT)], dim=2)[:, None]
        self._note(self._bias(torch.tensor(every, device=self._device)[None, :, None] == owner_BT[:, None, :]))

    @property
    def _dtype(self) -> torch.dtype:
        return self._decoder.embed_positions.weight.dtype

    def _bias(self, sees: Tensor) -> Tensor:
        """0 where ``sees`` is true, minus infinity elsewhere."""
        return torch.zeros(sees.shape, dtype=self._dtype, device=sees.device).masked_fill_(~sees, -torch.inf)

    def _note(self, new_BRX: Tensor) -> None:
        """Behind all slots come new ones; ``new_BRX`` may be one for all utterances."""
        assert self._hidden_BRX is not None
        new_BRX = new_BRX.expand(len(self._hidden_BRX), -1, -1)
        self._hidden_BRX = torch.cat([self._hidden_BRX, new_BRX], dim=2)

    def _attend(self, layer: int, attention: Attention, normed_BTD: Tensor) -> Tensor:
        """Self-attention of new tokens over the memory, which then holds them too."""
        queries, new = attention.among(normed_BTD)
        return attention.attend(queries, self._memory[layer].append(new), self._mask)

    def _look_and_note(self, layer: int, attention: Attention, normed_BTD: Tensor) -> Tensor:
        """Cross-attention of new tokens, whose queries are kept."""
        queries = attention.queries(normed_BTD)
        if layer in self._watched:
            self._watched[layer].append(queries)
        return attention.attend(queries, self._cross[layer], self._cross_mask)

    def looks(self, heads: Sequence[tuple[int, int]]) -> Tensor:
        """Where these (layer, head) of watched layers looked behind every slot of the prompts: (B, heads, X, S), a
        row sums to 1 over the real frames.
        """
        weights = []
        for layer, head in heads:
            queries_BXC = torch.cat([queries[:, head] for queries in self._watched[layer]], dim=1)
            scores_BXS = queries_BXC @ self._cross[layer].keys[:, head].to(queries_BXC.dtype).transpose(-1, -2)
            scores_BXS *= queries_BXC.shape[-1] ** -0.5
            if self._cross_mask is not None:
                scores_BXS.masked_fill_(~self._cross_mask[:, 0], -torch.inf)
            weights.append(scores_BXS.softmax(dim=-1))
        return torch.stack(weights, dim=1)

    def branch(self, rows_each: int) -> None:
        """Every utterance's row becomes ``rows_each`` rows that share all that was fed so far."""
        if self._has_branched:
            raise ValueError("these rows have branched already")
        self._has_branched = True
        self.select([row for row in range(len(self.lengths)) for _ in range(rows_each)])

    def select(self, parents: Sequence[int], utterances: Sequence[int] | None = None) -> None:
        """Row i goes on from row ``parents[i]`` of the same utterance; as many rows for each utterance.

        ``utterances`` are those that stay, where some leave; parents are numbered as before.
        """
        if utterances is not None:
            staying = torch.tensor(utterances, device=self._device)
            self._num_plain = sum(utterance < self._num_plain for utterance in utterances)
            for memory in self._memory:
                memory.keep(staying)
            self._cross = [KeyValues(*(part.index_select(0, staying) for part in parts)) for parts in self._cross]
            if self._cross_mask is not None:
                self._cross_mask = self._cross_mask.index_select(0, staying)
        self._rows_each = len(parents) // len(self._cross[0].keys)
        self.lengths = [self.lengths[parent] for parent in parents]
        if self._hidden_BRX is not None:
            hidden_NX = self._hidden_BRX.flatten(0, 1)[torch.tensor(parents, device=self._device)]
            self._hidden_BRX = hidden_NX.view(-1, self._rows_each, hidden_NX.shape[1])
            self._num_selections += 1
            if self._num_selections % _FORGET_EVERY == 0:
                self._forget_unseen()

    def _forget_unseen(self) -> None:
        """Forget the slots of beams that none of the rows went on from."""
        assert self._hidden_BRX is not None
        seen_BX = (self._hidden_BRX == 0).any(dim=1)
        most = int(seen_BX.sum(dim=1).max())
        slots_BX = seen_BX.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        for memory in self._memory:
            memory.keep_slots(slots_BX)
        self._hidden_BRX = self._hidden_BRX.gather(2, slots_BX[:, None].expand(-1, self._rows_each, -1))
        self._num_slots = most
