"""Which device a network is put on."""

from __future__ import annotations

import torch

from speechre.errors import UsageError


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
