"""Whisper's encoder and decoder for input of the exact length (openai/whisper; Radford et al. 2022).

Parameter names are those of Hugging Face's ``WhisperModel``, so its weights load as they are. What differs from that
class: the encoder takes any number of frames up to 30 s and a mask, the decoder takes positions and any attention mask
(six orders packed behind one prefix), and several decoder rows share one set of cross-attention keys and values.

Shape letters: B utterances, M mel bins, F mel frames, S encoder frames, D width, H attention heads, C width of one
attention head, T tokens, V vocabulary, N decoder rows (a multiple of B: the rows of one utterance lie together).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.model.weights import WhisperConfig


class KeyValues(NamedTuple):
    """Attention keys and values, each (rows, H, length, C)."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention in steps that a caller may take one by one."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model)
        self.q_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def _split(self, x_NTD: Tensor) -> Tensor:
        rows, length, width = x_NTD.shape
        return x_NTD.view(rows, length, self.num_heads, width // self.num_heads).transpose(1, 2)

    def project(self, x_NTD: Tensor) -> KeyValues:
        """Keys and values of ``x_NTD``."""
        return KeyValues(self._split(self.k_proj(x_NTD)), self._split(self.v_proj(x_NTD)))

    def queries(self, x_NTD: Tensor) -> Tensor:
        """Queries (N, H, T, C) of ``x_NTD``, not scaled."""
        return self._split(self.q_proj(x_NTD))

    def among(self, x_NTD: Tensor) -> tuple[Tensor, KeyValues]:
        """For self-attention: :meth:`queries` and :meth:`project` of the same ``x_NTD``."""
        return self.queries(x_NTD), self.project(x_NTD)

    def forward(self, x_NTD: Tensor, memory: KeyValues, mask: Tensor | None) -> Tensor:
        """Attend from ``x_NTD`` to ``memory``; ``mask`` broadcasts to (N, H, T, length) and is boolean (True: may look)
        or what is added to the scores.
        """
        return self.attend(self.queries(x_NTD), memory, mask)

    def attend(self, queries: Tensor, memory: KeyValues, mask: Tensor | None) -> Tensor:
        """What ``queries`` (N, H, T, C) find in ``memory``, projected: (N, T, D)."""
        attended = F.scaled_dot_product_attention(queries, memory.keys, memory.values, attn_mask=mask)
        return self.project_out(attended.transpose(1, 2).flatten(2))

    def project_out(self, attended_NTD: Tensor) -> Tensor:
        """The last projection, of what all heads found."""
        return self.out_proj(attended_NTD)  # type: ignore[no-any-return]


Attend = Callable[[int, Attention, Tensor], Tensor]
"""Attention of a layer (by its index) from new tokens (N, T, D): to all that the rows have read, them included, or to
what the encoder heard.
"""


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(d_model, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(d_model)
        self.fc1 = nn.Linear(d_model, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, d_model)
        self.final_layer_norm = nn.LayerNorm(d_model)

    def forward(self, hidden_BSD: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.self_attn_layer_norm(hidden_BSD)
        hidden_BSD = hidden_BSD + self.self_attn.attend(*self.self_attn.among(normed), mask)
        return hidden_BSD + self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden_BSD))))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(d_model, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(d_model)
        self.encoder_attn = Attention(d_model, num_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(d_model)
        self.fc1 = nn.Linear(d_model, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, d_model)
        self.final_layer_norm = nn.LayerNorm(d_model)

    def forward(
        self,
        hidden_NTD: Tensor,
        attend_self: Callable[[Attention, Tensor], Tensor],
        attend_cross: Callable[[Attention, Tensor], Tensor],
    ) -> Tensor:
        hidden_NTD = hidden_NTD + attend_self(self.self_attn, self.self_attn_layer_norm(hidden_NTD))
        hidden_NTD = hidden_NTD + attend_cross(self.encoder_attn, self.encoder_attn_layer_norm(hidden_NTD))
        return hidden_NTD + self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden_NTD))))  # type: ignore[no-any-return]


def sinusoids(length: int, width: int) -> Tensor:
    """The encoder's fixed positions (length, width): sines, then cosines, of wavelengths from 2 pi to 20,000 pi (as in
    Whisper's own code; after Vaswani et al. 2017, section 3.5). ``width`` is even and at least 4.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Encoder(nn.Module):
    """Two convolutions and the transformer over log-mel frames."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, config.d_model)
        self.layers = nn.ModuleList(
            EncoderLayer(config.d_model, config.encoder_heads, config.encoder_ffn_dim)
            for _ in range(config.encoder_layers)
        )
        self.layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, mel_BMF: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Log-mel frames (B, M, F), F even, zeros behind the end of shorter items, to hidden states (B, S = F / 2, D).

        ``mask_BS`` is True on real frames; None when all are. With even lengths and zeros behind them the convolutions
        never see a neighbour, so an item's result does not depend on the batch's longest.
        """
        return self.upper(self.lower(mel_BMF, mask_BS, 0), mask_BS, 0)

    def lower(self, mel_BMF: Tensor, mask_BS: Tensor | None, num_layers: int) -> Tensor:
        """As :meth:`forward`, through the first ``num_layers`` layers only; :meth:`upper` goes on from there."""
        hidden = F.gelu(self.conv1(mel_BMF))
        hidden_BSD = F.gelu(self.conv2(hidden)).transpose(1, 2)
        num_frames = hidden_BSD.shape[1]
        if num_frames > self.embed_positions.num_embeddings:
            raise ValueError(f"{num_frames} encoder frames; the encoder knows {self.embed_positions.num_embeddings}")
        hidden_BSD = hidden_BSD + self.embed_positions.weight[:num_frames]
        return self._through(self.layers[:num_layers], hidden_BSD, mask_BS)

    def upper(self, hidden_BSD: Tensor, mask_BS: Tensor | None, num_layers: int) -> Tensor:
        """What the layers behind the first ``num_layers`` make of these layers' states."""
        hidden_BSD = self._through(self.layers[num_layers:], hidden_BSD, mask_BS)
        return self.layer_norm(hidden_BSD)  # type: ignore[no-any-return]

    def _through(self, layers: Iterable[nn.Module], hidden_BSD: Tensor, mask_BS: Tensor | None) -> Tensor:
        mask = None if mask_BS is None else mask_BS[:, None, None, :]
        for layer in layers:
            hidden_BSD = layer(hidden_BSD, mask)
        return hidden_BSD


class Decoder(nn.Module):
    """The text decoder; its token embeddings are also the output projection."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_positions = nn.Embedding(config.max_target_positions, config.d_model)
        self.layers = nn.ModuleList(
            DecoderLayer(config.d_model, config.decoder_heads, config.decoder_ffn_dim)
            for _ in range(config.decoder_layers)
        )
        self.layer_norm = nn.LayerNorm(config.d_model)

    def cross_memory(self, encoded_BSD: Tensor) -> list[KeyValues]:
        """Cross-attention keys and values of each layer: computed once an utterance, shared by all its rows, laid out
        head by head, as each step reads them.
        """
        projected = [layer.encoder_attn.project(encoded_BSD) for layer in self.layers]  # type: ignore[union-attr,operator]
        return [KeyValues(memory.keys.contiguous(), memory.values.contiguous()) for memory in projected]

    def forward(
        self,
        ids_NT: Tensor,
        positions_NT: Tensor,
        self_mask: Tensor | None,
        cross: list[KeyValues],
        cross_mask: Tensor | None,
        attend_self: Attend | None = None,
        attend_cross: Attend | None = None,
    ) -> Tensor:
        """Hidden states (N, T, D) of tokens that see each other as ``self_mask`` says, which broadcasts to
        (N, H, T, T); ``cross_mask`` broadcasts to (B, H, T * N / B, S). True means may look.

        With ``attend_self`` in place of ``self_mask``, self-attention is the caller's: rows that remember; with
        ``attend_cross`` in place of ``cross`` and its mask, cross-attention is: it may be watched.
        """

        def among_themselves(layer: int, attention: Attention, normed_NTD: Tensor) -> Tensor:
            return attention.attend(*attention.among(normed_NTD), self_mask)

        def to_memory(layer: int, attention: Attention, normed_NTD: Tensor) -> Tensor:
            return attention.forward(normed_NTD, cross[layer], cross_mask)

        to_self, to_cross = attend_self or among_themselves, attend_cross or to_memory
        hidden = self.embed_tokens(ids_NT) + self.embed_positions(positions_NT)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, partial(to_self, index), partial(to_cross, index))
        return self.layer_norm(hidden)  # type: ignore[no-any-return]


class Whisper(nn.Module):
    """Encoder and decoder under the names of Hugging Face's ``WhisperModel``."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def output_weight(self, token_ids: Tensor | None = None) -> Tensor:
        """The output projection (V, D), or its rows for ``token_ids`` (1-D) only."""
        weight = self.decoder.embed_tokens.weight
        return weight if token_ids is None else weight[token_ids]

    def logits(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """Scores over the vocabulary, or over ``token_ids`` (1-D) only, at a part of the cost."""
        return F.linear(hidden, self.output_weight(token_ids))
