"""The rows that a decoder writes, and what they remember between steps.

Memory has two parts. The prompt is what all rows of an utterance share (start, transcript, relation prompt): it is fed
and kept once an utterance. Behind it lies what each row wrote by itself (its order and its answer). So six orders with
K beams cost one prompt, and going on from another beam copies answers only.

Shape letters: B utterances, R rows of each, N = B * R rows (those of one utterance lie together), H attention heads, C
width of one head, T new tokens, P prompt tokens, L own tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.model.backbone import Attention, Decoder, KeyValues

_ROOM = 32  # tokens that memory is reserved for at first


class _Buffer:
    """Keys and values (..., length, C) of one layer that grow at the end."""

    def __init__(self) -> None:
        self._parts: KeyValues | None = None
        self.length = 0

    def append(self, new: KeyValues) -> None:
        start, self.length = self.length, self.length + new.keys.shape[-2]
        old = self._parts
        if old is None or old.keys.shape[-2] < self.length:
            room = max(_ROOM, self.length * 3 // 2)
            self._parts = KeyValues(*(part.new_empty(*part.shape[:-2], room, part.shape[-1]) for part in new))
            if old is not None:
                for wider, part in zip(self._parts, old, strict=True):
                    wider[..., :start, :] = part[..., :start, :]
        assert self._parts is not None
        for buffer, part in zip(self._parts, new, strict=True):
            buffer[..., start : self.length, :] = part

    def read(self) -> KeyValues:
        assert self._parts is not None
        return KeyValues(*(buffer[..., : self.length, :] for buffer in self._parts))

    def select(self, index: Tensor, shape: tuple[int, ...]) -> None:
        """Keep entries ``index`` of all leading dimensions together, which then have ``shape``."""
        if self._parts is None:  # nothing was ever kept
            return
        flat = (part.flatten(0, -3).index_select(0, index) for part in self._parts)
        self._parts = KeyValues(*(part.view(*shape, *part.shape[-2:]) for part in flat))


class DecoderRows:
    """Rows of one decoder over the cross-attention memory of their utterances.

    Rows start as one an utterance (:meth:`feed` extends the prompts), until :meth:`branch` gives each utterance several
    that go on alone.
    """

    def __init__(self, decoder: Decoder, cross: list[KeyValues], cross_mask: Tensor | None = None) -> None:
        """``cross`` as :meth:`Decoder.cross_memory` makes it; ``cross_mask`` (B, 1, 1, S) is True on real frames."""
        self._decoder = decoder
        self._cross = cross
        self._cross_mask = cross_mask
        num_utterances, self._num_heads = cross[0].keys.shape[:2]
        device = cross[0].keys.device
        self._prompts = [_Buffer() for _ in cross]
        self._own = [_Buffer() for _ in cross]
        self._rows_each: int | None = None  # R, once they have branched
        self._filled_BP: Tensor | None = None  # which slots of the prompts hold a token; None: all
        self._mask: Tensor | None = None  # of the tokens that are being fed
        self._prompt_bias: Tensor | None = None
        self.position_N = torch.zeros(num_utterances, dtype=torch.long, device=device)
        """How many tokens each row has read."""

    def feed(self, ids_NT: Tensor, real_NT: Tensor | None = None) -> Tensor:
        """Append tokens to every row; returns the hidden states (N, D) behind each row's last token.

        ``real_NT`` is False where a prompt has no token; its real tokens stand at the end. Such a slot stays empty: a
        mask hides it, and every token carries its own position, so no row's answer depends on another's length.
        """
        positions = self.position_N[:, None]
        if self._rows_each is None:
            positions = positions + self._extend_prompts(ids_NT, real_NT)
        else:
            if real_NT is not None:
                raise ValueError("rows that have branched take the same number of tokens each")
            length = ids_NT.shape[1]
            positions = positions + torch.arange(length, device=ids_NT.device)
            self.position_N = self.position_N + length
            total = self._own[0].length + length
            causal = torch.full((length, total), -torch.inf, device=ids_NT.device).triu(1 + total - length)
            self._mask = causal if length > 1 else None
        limit = self._decoder.embed_positions.num_embeddings - 1
        hidden_NTD = self._decoder(
            ids_NT, positions.clamp(max=limit), None, self._cross, self._cross_mask, self._attend
        )
        last: Tensor = hidden_NTD[:, -1]
        return last

    def _extend_prompts(self, ids_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Make room and a mask for new prompt tokens; returns their positions (B or 1, T) from where each row is."""
        length, before, device = ids_BT.shape[1], self._prompts[0].length, ids_BT.device
        total = before + length
        causal = torch.ones(length, total, dtype=torch.bool, device=device).tril(before) if length > 1 else None
        if real_BT is None and self._filled_BP is None:  # no slot is empty, so one token more needs no mask
            self._mask = causal
            self.position_N = self.position_N + length
            return torch.arange(length, device=device)[None]
        if real_BT is None:
            real_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        if self._filled_BP is None:
            self._filled_BP = torch.ones(len(ids_BT), before, dtype=torch.bool, device=device)
        self._filled_BP = torch.cat([self._filled_BP, real_BT], dim=1)
        # A token that is not real looks at itself, so that no row of the softmax is empty.
        itself = torch.eye(total, dtype=torch.bool, device=device)[before:]
        filled = self._filled_BP[:, None, None, :]
        self._mask = (filled if causal is None else filled & causal) | itself
        self.position_N = self.position_N + real_BT.sum(1)
        return (real_BT.cumsum(1) - 1).clamp(min=0)

    def branch(self, rows_each: int) -> None:
        """Every utterance's row becomes ``rows_each`` rows that share all that was fed so far."""
        if self._rows_each is not None:
            raise ValueError("these rows have branched already")
        self._rows_each = rows_each
        self.position_N = self.position_N.repeat_interleave(rows_each)
        self._mask = None
        if self._filled_BP is not None and not bool(self._filled_BP.all()):
            empty_BP = ~self._filled_BP
            bias = torch.zeros(empty_BP.shape, device=empty_BP.device).masked_fill_(empty_BP, -torch.inf)
            self._prompt_bias = bias[:, None, None, :]

    def select(self, parents_N: Tensor, utterances: Tensor | None = None) -> None:
        """Row i goes on from row ``parents_N[i]`` of the same utterance; as many rows for each utterance.

        ``utterances`` are those that stay, where some leave; parents are numbered as before.
        """
        assert self._rows_each is not None
        before, heads = self._rows_each, self._num_heads
        if utterances is not None:
            self._leave(utterances)
        num_utterances = self._cross[0].keys.shape[0]
        self._rows_each = len(parents_N) // num_utterances
        self.position_N = self.position_N[parents_N]
        owner, row = (parents_N // before).view(num_utterances, 1, -1), (parents_N % before).view(num_utterances, 1, -1)
        head = torch.arange(heads, device=parents_N.device)[None, :, None]
        index = ((owner * heads + head) * before + row).flatten()
        for buffer in self._own:
            buffer.select(index, (num_utterances, heads, self._rows_each))

    def _leave(self, utterances: Tensor) -> None:
        """Keep the prompts and the cross-attention memory of some utterances."""
        heads = torch.arange(self._num_heads, device=utterances.device)
        index = (utterances[:, None] * self._num_heads + heads).flatten()
        for buffer in self._prompts:
            buffer.select(index, (len(utterances), self._num_heads))
        self._cross = [KeyValues(m.keys[utterances], m.values[utterances]) for m in self._cross]
        if self._cross_mask is not None:
            self._cross_mask = self._cross_mask[utterances]
        if self._prompt_bias is not None:
            self._prompt_bias = self._prompt_bias[utterances]

    def _attend(self, layer: int, attention: Attention, normed_NTD: Tensor) -> Tensor:
        """Self-attention of new tokens over the memory, which then holds them too."""
        queries_NHTC, new = attention.among(normed_NTD)
        if self._rows_each is None:
            self._prompts[layer].append(new)
            return attention.attend(queries_NHTC, self._prompts[layer].read(), self._mask)
        rows_each = self._rows_each

        def fold(x_NHTC: Tensor) -> Tensor:
            return x_NHTC.view(-1, rows_each, *x_NHTC.shape[1:]).transpose(1, 2)

        self._own[layer].append(KeyValues(*map(fold, new)))
        queries = fold(queries_NHTC)  # (B, H, R, T, C)
        if self._prompts[layer].length:
            attended = self._attend_to_both(layer, queries)
        else:
            keys, values = (part.flatten(0, 1) for part in self._own[layer].read())
            attended = F.scaled_dot_product_attention(queries.flatten(0, 1), keys, values, attn_mask=self._mask)
        attended = attended.view(queries.shape).permute(0, 2, 3, 1, 4)
        return attention.out_proj(attended.reshape(normed_NTD.shape))  # type: ignore[no-any-return]

    def _attend_to_both(self, layer: int, queries: Tensor) -> Tensor:
        """One softmax over an utterance's prompt and each row's own tokens; the prompt is not copied to the rows."""
        own, prompt = self._own[layer].read(), self._prompts[layer].read()
        queries = queries * queries.shape[-1] ** -0.5
        shape = queries.shape
        rows_each, length = shape[2:4]
        of_prompt = queries.reshape(*shape[:2], rows_each * length, shape[-1]) @ prompt.keys.transpose(-1, -2)
        if self._prompt_bias is not None:
            of_prompt = of_prompt + self._prompt_bias
        of_own = queries @ own.keys.transpose(-1, -2)
        if self._mask is not None:
            of_own = of_own + self._mask
        num_prompt = of_prompt.shape[-1]
        weights = torch.cat([of_prompt.view(*shape[:-1], num_prompt), of_own], dim=-1).softmax(dim=-1)
        to_prompt = weights[..., :num_prompt].reshape(*shape[:2], rows_each * length, num_prompt)
        return (to_prompt @ prompt.values).view(shape) + weights[..., num_prompt:] @ own.values
