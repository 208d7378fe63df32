"""Which device a network is put on, and in which precision it learns there."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import Literal

import torch

from speechre.errors import UsageError

_CLEARLY_FASTER = 1.5


def choose_device(name: str) -> str:
    """A device that is there; ``auto`` is a GPU where there is one. Raises :class:`UsageError`."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f'unknown device "{name}"; expected auto, cpu, cuda, cuda:N or mps') from error
    num_devices = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= num_devices:
        raise UsageError(f'there is no device "{name}" on this machine; use auto or cpu')
    return name


def choose_precision(name: Literal["auto", "no", "bf16"], device: str) -> Literal["no", "bf16"]:
    """``no`` (float32) or ``bf16``; ``auto`` is bf16 where ``device`` multiplies clearly faster in it.

    The difference is large either way: processors with instructions for bfloat16 are several times as fast in it, those
    without a hundred times as slow. So a busy moment does not decide.
    """
    if name != "auto":
        return name
    return "bf16" if _is_fast_in_bfloat16(torch.device(device).type) else "no"


@cache
def _is_fast_in_bfloat16(device_type: str) -> bool:
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False  # no instructions for it: not worth the tenth of a second
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(256, 256, dtype=dtype, device=device_type)
        tries = []
        for _ in range(4):
            start = perf_counter()
            (matrix @ matrix).sum().item()  # waits for the device
            tries.append(perf_counter() - start)
        seconds[dtype] = min(tries)
    return seconds[torch.bfloat16] * _CLEARLY_FASTER < seconds[torch.float32]
