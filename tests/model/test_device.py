"""The device is one that is there."""

from __future__ import annotations

import pytest
import torch

from speechre.errors import UsageError
from speechre.model import device
from speechre.model.device import choose_device, choose_precision


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert choose_device("auto") == expected


def test_what_is_there_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("warp", 'unknown device "warp"'), ("", "unknown device"), ("cuda", "no device"), ("meta", "no device")],
)
def test_what_is_not_there_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=message):
        choose_device(name)


@pytest.mark.parametrize(
    ("capability", "bfloat16_s", "expected"),
    [("AVX512", 0.5, "bf16"), ("AVX512", 0.9, "no"), ("DEFAULT", 0.5, "bf16"), ("AVX2", 0.5, "no")],
)
def test_auto_precision_is_bfloat16_where_that_multiplies_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, capability: str, bfloat16_s: float, expected: str
) -> None:
    clock_s, num_tries = 0.0, 0
    product = torch.zeros(1)

    class Matrix:
        """Whose products take their time, the first four much longer."""

        def __init__(self, *shape: int, dtype: torch.dtype, device: str) -> None:
            self.takes_s = bfloat16_s if dtype == torch.bfloat16 else 1.0

        def __matmul__(self, other: object) -> torch.Tensor:
            nonlocal clock_s, num_tries
            clock_s += self.takes_s * (9 if num_tries < 4 else 1)
            num_tries += 1
            return product

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch, "ones", Matrix)
    monkeypatch.setattr(device, "perf_counter", lambda: clock_s)
    device._is_fast_in_bfloat16.cache_clear()
    assert choose_precision("auto", "cpu") == expected
    device._is_fast_in_bfloat16.cache_clear()


def test_a_precision_that_is_named_is_taken() -> None:
    assert [choose_precision(name, "cpu") for name in ("no", "bf16")] == ["no", "bf16"]
