"""A decoder with float16 matrices against the one it was made from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from speechre.model.backbone import KeyValues
from speechre.model.half import HalfLinear, half_decoder, has_half_kernel
from tests.tiny import random_mels, tiny_network

pytestmark = pytest.mark.skipif(not has_half_kernel(), reason="torch has no kernel for float16 matrices here")


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_float16_rounding_of_its_weights(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias)
    x = torch.randn(5, 3, 96)
    rounded = linear.weight.detach().half().float()
    expected = torch.nn.functional.linear(x, rounded, linear.bias)
    assert torch.allclose(HalfLinear(linear.weight, linear.bias)(x), expected, atol=1e-4)
    assert not torch.equal(HalfLinear(linear.weight, linear.bias)(x), linear(x))


def test_a_rows_answer_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    layer = HalfLinear(nn.Linear(384, 384).weight)
    x = torch.randn(48, 384) * torch.logspace(-3, 3, 48)[:, None]
    whole = layer(x)
    for row in range(48):
        change = (layer(x[row : row + 1])[0] - whole[row]).abs().max()
        assert change < 1e-6 * x[row].norm(), row


@torch.inference_mode()
def test_the_decoder_says_nearly_the_same_and_the_first_stays_as_it_was() -> None:
    network, _ = tiny_network()
    decoder = network.whisper.decoder
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    half = half_decoder(decoder)
    ids = torch.tensor([[1, 50, 600, 7000]])
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    cross = network.cross_memory(network.encode(random_mels(1)))
    whole, rough = (one(ids, torch.arange(4)[None], causal, cross, None) for one in (decoder, half))
    assert not torch.equal(whole, rough)
    assert torch.allclose(whole, rough, atol=2e-2)
    assert half.embed_tokens.weight is decoder.embed_tokens.weight
    assert dict.fromkeys(before, True) == {n: torch.equal(t, before[n]) for n, t in decoder.state_dict().items()}


@torch.inference_mode()
def test_what_was_heard_may_be_read_in_bfloat16() -> None:
    network, _ = tiny_network()
    layer: Any = half_decoder(network.whisper.decoder).layers[0]
    attention = layer._attentions[1]
    queries, keys, values = torch.randn(3, 2, 4, 5, 16).unbind(0)
    memory = KeyValues(keys.bfloat16().float(), values.bfloat16().float())
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[0, ..., 3:] = False
    for shown in (None, mask):
        exact = attention.attend(queries, memory, shown)
        rounded = attention.attend(queries, KeyValues(*(part.bfloat16() for part in memory)), shown)
        assert rounded.dtype == torch.float32
        assert not torch.equal(rounded, exact)
        assert torch.allclose(rounded, exact, atol=1e-2)
