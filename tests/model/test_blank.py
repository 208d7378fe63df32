"""Modules without numbers."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from speechre.model.blank import blank_modules

LOADS = """
import sys
from speechre.model.checkpoint import load_checkpoint
load_checkpoint("speechre-tiny-conll04")
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_blank_modules_have_shapes_and_no_numbers() -> None:
    with blank_modules():
        modules = [nn.Embedding(5, 3), nn.Linear(3, 4), nn.Conv2d(1, 2, 3)]
    assert all(parameter.is_meta for module in modules for parameter in module.parameters())
    assert modules[0].weight.shape == (5, 3)
    modules[0].load_state_dict({"weight": torch.ones(5, 3)}, assign=True)
    assert torch.equal(modules[0](torch.tensor([4])), torch.ones(1, 3))


def test_outside_modules_start_at_random() -> None:
    assert nn.Embedding(50, 3).weight.std() > 0.5


def test_loading_a_model_does_not_load_the_compiler_of_torch() -> None:
    run = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
