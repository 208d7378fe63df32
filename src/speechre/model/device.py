"""Which device a network is put on, and in which precision it learns there."""

from __future__ import annotations

import os
from functools import cache
from time import perf_counter
from typing import Literal

import torch

from speechre.errors import UsageError

_CLEARLY_FASTER = 1.5
_MIN_TRIES, _MAX_TRIES = 3, 24

_process_id = os.getpid()


def use_one_thread_after_fork() -> None:
    """In a process that was forked off this one, compute on one thread from now on: it has none of torch's, and the
    first product of matrices would wait for them forever. ``spawn`` has all cores.
    """
    global _process_id
    if os.getpid() != _process_id:
        torch.set_num_threads(1)
        _process_id = os.getpid()


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
    without a hundred times as slow. So that a busy moment does not decide, both are tried in turn until one is clearly
    faster, and the best of each counts.
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
    matrices = [torch.ones(256, 256, dtype=dtype, device=device_type) for dtype in (torch.float32, torch.bfloat16)]
    best_s = [float("inf"), float("inf")]
    for num_tries in range(1, _MAX_TRIES + 1):
        for which, matrix in enumerate(matrices):
            start = perf_counter()
            (matrix @ matrix).sum().item()  # waits for the device
            best_s[which] = min(best_s[which], perf_counter() - start)
        if num_tries >= _MIN_TRIES and max(best_s) > _CLEARLY_FASTER * min(best_s):
            break
    full_s, half_s = best_s
    return half_s * _CLEARLY_FASTER < full_s
