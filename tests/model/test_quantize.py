"""Weights as 8-bit integers: small, close, and total."""

from __future__ import annotations

import pytest
import torch

from speechre.model.quantize import SCALE, pack, unpack


def test_rows_come_back_within_half_a_step() -> None:
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(-6, 3, 12)
    state = {
        "matrix": torch.randn(12, 200, generator=generator) * scales[:, None],
        "convolution": torch.randn(5, 40, 3, generator=generator),
        "zeros": torch.zeros(3, 100),
        "thin": torch.randn(8, 9, generator=generator),
        "vector": torch.randn(70, generator=generator),
        "count": torch.tensor(7),
    }
    packed = pack(state, torch.int8)
    assert {name for name, tensor in packed.items() if tensor.dtype == torch.int8} == {"matrix", "convolution", "zeros"}
    assert packed["vector"].dtype == torch.float16
    back = unpack(packed)
    assert set(back) == set(state)
    assert back["count"].item() == 7
    assert not back["zeros"].any()
    for name in ("matrix", "convolution"):
        rows, again = state[name].flatten(1), back[name].flatten(1)
        assert back[name].dtype == torch.float32
        assert ((rows - again).abs() <= rows.abs().amax(1, keepdim=True) / 253).all()
    assert torch.equal(back["thin"], state["thin"].half().float())
    # Packing what was unpacked changes nothing more.
    assert torch.equal(pack(back, torch.int8)["matrix"], packed["matrix"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_floats_have_no_scales(dtype: torch.dtype) -> None:
    state = {"matrix": torch.randn(4, 100), "count": torch.tensor(3)}
    packed = pack(state, dtype)
    assert not any(name.endswith(SCALE) for name in packed)
    assert torch.equal(unpack(packed)["matrix"], state["matrix"].to(dtype).float())
    assert unpack(packed)["count"].dtype == torch.int64
