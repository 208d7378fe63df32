"""A decoder whose matrices are read in half precision, for search on a CPU.

A step of the search multiplies a few rows with every matrix of the decoder; what it costs is reading these from memory,
and starting some hundred small operations. In float16 there is half as much to read. Sums stay in float32, and a row's
answer does not depend on its neighbours. The layers are plain functions over their weights: calling modules in modules
took a quarter of a step (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.model.backbone import Attention, Decoder, DecoderLayer, KeyValues
from speechre.model.twin import twin_of


def has_half_kernel() -> bool:
    """Whether this build of torch multiplies float32 rows with float16 matrices (FBGEMM, x86 with AVX2)."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class HalfLinear:
    """A linear layer with float16 weights: (..., in) to (..., out), float32 in and out."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """``weight`` is (out, in)."""
        bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight.detach(), bias)
        self._multiply: Callable[[Tensor, Any], Tensor] = torch.ops.quantized.linear_dynamic_fp16

    def __call__(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._packed)


class HalfAttention(Attention):
    """A twin of a decoder's attention; what makes keys and values of what was heard stays as it is."""

    def prepare(self, *, is_self: bool) -> None:
        """Make the float16 matrices; queries, keys and values of self-attention become one, for one reading."""
        self._out = HalfLinear(self.out_proj.weight, self.out_proj.bias)
        if not is_self:
            self._queries = HalfLinear(self.q_proj.weight, self.q_proj.bias)
            return
        no_bias = torch.zeros_like(self.q_proj.bias)  # of the keys
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        self._among = HalfLinear(weight, torch.cat([self.q_proj.bias, no_bias, self.v_proj.bias]))

    def queries(self, x_NTD: Tensor) -> Tensor:
        return self._split(self._queries(x_NTD))

    def among(self, x_NTD: Tensor) -> tuple[Tensor, KeyValues]:
        rows, length, width = x_NTD.shape
        joined = self._among(x_NTD).view(rows, length, 3, self.num_heads, width // self.num_heads)
        queries, keys, values = joined.permute(2, 0, 3, 1, 4).unbind(0)
        return queries, KeyValues(keys, values)

    def attend(self, queries: Tensor, memory: KeyValues, mask: Tensor | None) -> Tensor:
        """As :meth:`Attention.attend`; a ``memory`` in bfloat16 is read as it is, which for a batch of recordings is
        most of what a step reads.
        """
        if memory.keys.dtype != torch.bfloat16:
            return super().attend(queries, memory, mask)
        queries = (queries * queries.shape[-1] ** -0.5).to(torch.bfloat16)
        scores_NHTS = queries @ memory.keys.transpose(-1, -2)
        if mask is not None:
            scores_NHTS.masked_fill_(~mask, -torch.inf)
        weights_NHTS = scores_NHTS.softmax(dim=-1, dtype=torch.float32)
        attended = weights_NHTS.to(torch.bfloat16) @ memory.values
        return self.project_out(attended.transpose(1, 2).flatten(2).float())

    def project_out(self, attended_NTD: Tensor) -> Tensor:
        return self._out(attended_NTD)


class HalfDecoderLayer(DecoderLayer):
    """A twin of a decoder layer: the same sums, without the calls of modules."""

    def prepare(self) -> None:
        """Make the float16 matrices."""
        self._attentions = tuple(twin_of(one, HalfAttention) for one in (self.self_attn, self.encoder_attn))
        for attention in self._attentions:
            attention.prepare(is_self=attention is self._attentions[0])
        self._norms = tuple(
            (norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            for norm in (self.self_attn_layer_norm, self.encoder_attn_layer_norm, self.final_layer_norm)
        )
        self._wide, self._narrow = (HalfLinear(one.weight, one.bias) for one in (self.fc1, self.fc2))

    def forward(
        self,
        hidden_NTD: Tensor,
        attend_self: Callable[[Attention, Tensor], Tensor],
        attend_cross: Callable[[Attention, Tensor], Tensor],
    ) -> Tensor:
        to_self, to_cross = self._attentions
        before_self, before_cross, before_wide = self._norms
        hidden_NTD = attend_self(to_self, torch.layer_norm(hidden_NTD, *before_self)).add_(hidden_NTD)
        hidden_NTD = attend_cross(to_cross, torch.layer_norm(hidden_NTD, *before_cross)).add_(hidden_NTD)
        wide = F.gelu(self._wide(torch.layer_norm(hidden_NTD, *before_wide)))
        return self._narrow(wide).add_(hidden_NTD)


def half_decoder(decoder: Decoder) -> Decoder:
    """The decoder with float16 matrices in its layers, for inference; embeddings and normalizations are shared with
    ``decoder``, which stays as it is.
    """
    twin: Decoder = twin_of(decoder)
    for name, layer in decoder.layers.named_children():
        half = twin_of(layer, HalfDecoderLayer)
        half.prepare()
        setattr(twin.layers, name, half)
    return twin
