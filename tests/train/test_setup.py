"""Where a training starts: the bare backbone, or an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechre.config import Config
from speechre.errors import CheckpointError, ConfigError
from speechre.model.checkpoint import load_checkpoint
from speechre.schemas import CONLL04, RETACRED
from speechre.train.setup import build_network


def config(folder: Path | str, **model: Any) -> Config:
    return Config.from_dict({"model": {"backbone": "random", "start_from": str(folder), **model}})


def test_a_run_goes_on_from_another_ones_model(tiny_model_dir: Path) -> None:
    network, sequencer = build_network(config(tiny_model_dir), CONLL04)
    before = load_checkpoint(str(tiny_model_dir)).network.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert sequencer.schema == CONLL04


def test_what_reads_or_writes_something_else_is_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"another data\.schema"):
        build_network(config(tiny_model_dir), RETACRED)
    with pytest.raises(ConfigError, match=r"another model\.prompt_style"):
        build_network(config(tiny_model_dir, prompt_style="paper"), CONLL04)
    with pytest.raises(ConfigError, match=r"another model\.transcript"):
        build_network(config(tiny_model_dir, transcript=False), CONLL04)
    with pytest.raises(CheckpointError, match="neither a folder nor a shipped model"):
        build_network(config("nowhere"), CONLL04)
