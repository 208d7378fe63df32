"""A decoder whose matrices are read in half precision, for search on a CPU.

A step of the search multiplies a few rows with every matrix of the decoder; what it costs is reading these from memory.
In float16 there is half as much to read. Sums stay in float32, and a row's answer does not depend on its neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechre.model.backbone import Attention, Decoder
from speechre.model.twin import twin_of

# What a step reads of a layer, beside the three projections of self-attention, which become one: with a few rows, a
# call costs about as much as its reading. Keys and values of what was heard are made once an utterance and stay.
_STEP_MATRICES = ("self_attn.out_proj", "encoder_attn.q_proj", "encoder_attn.out_proj", "fc1", "fc2")


def has_half_kernel() -> bool:
    """Whether this build of torch multiplies float32 rows with float16 matrices (FBGEMM, x86 with AVX2)."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class HalfLinear(nn.Module):
    """A linear layer with float16 weights: (..., in) to (..., out), float32 in and out."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """``weight`` is (out, in)."""
        super().__init__()
        bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight.detach(), bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return y


def half_decoder(decoder: Decoder) -> Decoder:
    """The decoder with float16 matrices in its layers, for inference; embeddings and normalizations are shared with
    ``decoder``, which stays as it is.
    """
    twin: Decoder = twin_of(decoder)
    for layer in twin.layers:
        for path in _STEP_MATRICES:
            parent, _, name = path.rpartition(".")
            owner = layer.get_submodule(parent)
            linear: Any = owner.get_submodule(name)
            setattr(owner, name, HalfLinear(linear.weight, linear.bias))
        attention: Any = layer.get_submodule("self_attn")
        attention.qkv_proj = _joined(attention)
    return twin


def _joined(attention: Attention) -> HalfLinear:
    """The projections of queries, keys and values, one above the other."""
    queries, keys, values = attention.q_proj, attention.k_proj, attention.v_proj
    no_bias = torch.zeros_like(queries.bias)  # of the keys
    weight = torch.cat([queries.weight, keys.weight, values.weight])
    return HalfLinear(weight, torch.cat([queries.bias, no_bias, values.bias]))
