"""Twins of networks: the same parameters, in modules of their own that can be exchanged."""

from __future__ import annotations

from typing import Any

from torch import nn


def twin_of(module: Any, kind: type[nn.Module] | None = None) -> Any:
    """A module of the same class (or of ``kind``, a subclass of it without a state of its own) over the same
    parameters, and so for all its children, which can then be exchanged without a change to ``module``.
    """
    twin_class = kind or module.__class__
    twin = twin_class.__new__(twin_class)
    twin.__dict__.update(module.__dict__)
    twin._parameters = dict(module._parameters)
    twin._modules = {name: twin_of(child) for name, child in module._modules.items()}
    return twin
