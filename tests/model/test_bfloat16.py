"""A network that hears in bfloat16 against the one it was made from."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from speechre.model import bfloat16
from speechre.model.backbone import Attention, KeyValues
from speechre.model.bfloat16 import LongAttention, has_linear_kernel, hearing_in_bfloat16
from speechre.model.twin import twin_of
from tests.tiny import random_mels, tiny_network

needs_kernel = pytest.mark.skipif(not has_linear_kernel(), reason="torch has no float32 product of oneDNN here")


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(128, 2).to(torch.bfloat16).requires_grad_(False)


@needs_kernel
@pytest.mark.parametrize("length", [1, 2, 77, 300])
@torch.inference_mode()
def test_a_long_attention_rounds_nothing_but_its_ends(length: int) -> None:
    """Against float64: the two are as near as rounding the answer to bfloat16 allows."""
    whole = attention()
    long = twin_of(whole, LongAttention)
    queries, memory = whole.among(3 * torch.randn(1, length, 128).to(torch.bfloat16))
    exact = F.scaled_dot_product_attention(*(part.double() for part in (queries, *memory)))
    expected = whole.out_proj(exact.transpose(1, 2).flatten(2).to(torch.bfloat16))
    assert torch.allclose(long.attend(queries, memory, None), expected, rtol=2**-7, atol=2**-8)


@needs_kernel
@torch.inference_mode()
def test_several_recordings_and_masks_are_the_usual_attention() -> None:
    whole = attention()
    long = twin_of(whole, LongAttention)
    queries, memory = whole.among(torch.randn(3, 20, 128).to(torch.bfloat16))
    assert torch.equal(long.attend(queries, memory, None), whole.attend(queries, memory, None))
    alone = queries[:1], KeyValues(*(part[:1] for part in memory))
    mask = torch.ones(1, 1, 1, 20, dtype=torch.bool)
    mask[..., 15:] = False
    assert torch.equal(long.attend(*alone, mask), whole.attend(*alone, mask))


def heard(network: object, mels: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        encoded = network.encode(mels)  # type: ignore[attr-defined]
        cross = network.cross_memory(encoded)  # type: ignore[attr-defined]
        logits = network.relation_logits(encoded)  # type: ignore[attr-defined]
        return [part.float() for part in (encoded.states, logits, *(part for memory in cross for part in memory))]


@pytest.mark.parametrize("with_kernel", [pytest.param(True, marks=needs_kernel), False])
def test_it_hears_what_autocast_hears_and_the_first_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, with_kernel: bool
) -> None:
    monkeypatch.setattr(bfloat16, "has_linear_kernel", lambda: with_kernel)
    network, _ = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ears = hearing_in_bfloat16(network)
    mels = list(random_mels(3, seed=4))
    for ours, theirs in zip(heard(ears, mels), heard(network, mels), strict=True):
        if with_kernel:
            assert torch.allclose(ours, theirs, atol=0.03 * float(theirs.abs().max()))
        else:
            assert torch.equal(ours, theirs)
    kinds = {type(layer.self_attn) for layer in ears.whisper.encoder.layers}
    assert kinds == {LongAttention if with_kernel else Attention}
    assert {type(layer.self_attn) for layer in network.whisper.encoder.layers} == {Attention}
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert {tensor.dtype for name, tensor in after.items() if tensor.is_floating_point()} == {torch.float32}
    assert ears.whisper.encoder.layers[0].fc1.weight.dtype == torch.bfloat16
    assert ears.whisper.decoder.layers[0].fc1.weight is network.whisper.decoder.layers[0].fc1.weight
