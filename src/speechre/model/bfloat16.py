"""Networks that hear, or read, in bfloat16 on a CPU, for inference.

``torch.autocast`` alone rounds all weights of the encoder anew for every recording, and torch's fused attention is no
faster in bfloat16 than in float32. Here the weights are rounded once, and attention is two products and a softmax,
which take half its time (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.model.backbone import Attention, KeyValues
from speechre.model.network import SpeechReNetwork
from speechre.model.twin import twin_of


def has_linear_kernel() -> bool:
    """Whether this build of torch gives oneDNN's own float32 product (it calls MKL's else, which is slow on AMD)."""
    return torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class LongAttention(Attention):
    """Attention of a whole recording to itself, head by head: what is in work at a time fits into the cache.

    Queries, keys and values come in bfloat16; scores, weights and sums are float32, and nothing else is rounded.
    """

    def attend(self, queries: Tensor, memory: KeyValues, mask: Tensor | None) -> Tensor:
        """As :meth:`Attention.attend`, in the precision of ``queries``."""
        if queries.shape[0] != 1 or mask is not None:  # several recordings at once, filled up to one length
            return super().attend(queries, memory, mask)
        with torch.autocast("cpu", enabled=False):
            queries_HSC = _laid_out(queries[0]) * queries.shape[-1] ** -0.5
            keys_HSC, values_HCS = _laid_out(memory.keys[0]), _laid_out(memory.values[0].transpose(1, 2))
            num_heads, length, width = queries_HSC.shape
            attended_SHC = queries_HSC.new_empty(length, num_heads, width)
            for head in range(num_heads):
                scores_SS = _times_transposed(queries_HSC[head], keys_HSC[head])
                torch.softmax(scores_SS, dim=-1, out=scores_SS)
                attended_SHC[:, head] = _times_transposed(scores_SS, values_HCS[head])
        return self.out_proj(attended_SHC.to(queries.dtype).view(1, length, -1))  # type: ignore[no-any-return]


def _laid_out(heads: Tensor) -> Tensor:
    """In float32, head by head: given rows that lie apart, oneDNN takes a hundred times as long."""
    return heads.to(torch.float32, memory_format=torch.contiguous_format)


def _times_transposed(left_AK: Tensor, right_BK: Tensor) -> Tensor:
    """(A, B): the product of ``left_AK`` and the transpose of ``right_BK`` in float32."""
    product_AB: Tensor = torch.ops.mkldnn._linear_pointwise(left_AK, right_BK, None, "none", [], "")
    return product_AB


def hearing_in_bfloat16(network: SpeechReNetwork) -> SpeechReNetwork:
    """A twin of ``network``, to be used under ``torch.autocast`` in bfloat16; ``network`` stays as it is.

    The first convolution's weights stay, which say in what precision states are kept, and the relation head's: they are
    few, and its normalization is put into them first.
    """
    twin: SpeechReNetwork = twin_of(network)
    encoder, decoder = twin.whisper.encoder, twin.whisper.decoder
    if has_linear_kernel():
        for layer in encoder.layers:
            layer.self_attn = twin_of(layer.self_attn, LongAttention)
    _round(encoder.conv2)
    for module in encoder.layers.modules():
        if isinstance(module, nn.Linear):
            _round(module)
    for layer in decoder.layers:
        attention: Any = layer.encoder_attn
        _round(attention.k_proj)
        _round(attention.v_proj)
    return twin


class RoundedLinear(nn.Linear):
    """A linear layer that multiplies in bfloat16; what comes in and goes out keeps its own precision."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(torch.bfloat16), self.weight, self.bias).to(x.dtype)


def linears_in_bfloat16(module: Any) -> Any:
    """A twin of ``module``, all of whose linear layers multiply in bfloat16; ``module`` stays as it is."""
    twin = twin_of(module)
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                rounded = twin_of(child, RoundedLinear)
                _round(rounded)
                setattr(parent, name, rounded)
    return twin


def _round(module: nn.Module) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            rounded = parameter.detach().to(torch.bfloat16)
            module._parameters[name] = nn.Parameter(rounded, requires_grad=False)
