"""Modules without numbers, for weights that are loaded anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_STARTS = frozenset({"normal_", "uniform_", "kaiming_uniform_"})


class _NoStart(TorchFunctionMode):
    """Leaves random starts out. On a device without numbers they do nothing but load torch's compiler: 3 s."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = MappingProxyType({}),
    ) -> Any:
        if getattr(func, "__name__", "") in _STARTS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def blank_modules() -> Iterator[None]:
    """Modules that are built inside have shapes only; ``load_state_dict(..., assign=True)`` gives them numbers."""
    with torch.device("meta"), _NoStart():
        yield
