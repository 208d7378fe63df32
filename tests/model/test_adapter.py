"""Low-rank changes in a file of their own: applied without a copy of what does not change, refused where they do not
fit.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from speechre.config import Config
from speechre.errors import CheckpointError
from speechre.model.adapter import Adapter, combined, load_adapter, save_adapter
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.schemas import CONLL04
from tests.tiny import random_adapter, tiny_network


def test_an_adapter_changes_its_matrices_and_shares_the_rest() -> None:
    network, _ = tiny_network()
    adapter = random_adapter(network)
    changed = adapter.applied_to(network)
    before, after = dict(network.named_parameters()), dict(changed.named_parameters())
    assert before.keys() == after.keys()
    for name, parameter in before.items():
        change = adapter.changes.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        if change is None:
            assert after[name] is parameter, name
        else:
            torch.testing.assert_close(after[name], parameter + change[1] @ change[0])
    assert not changed.training


def test_adapters_have_a_sum_and_a_nearest_one_of_less_rank() -> None:
    network, _ = tiny_network()
    one, other = random_adapter(network, seed=1), random_adapter(network, seed=2)
    products = [{name: up @ down for name, (down, up) in each.changes.items()} for each in (one, other)]
    sums = {name: 0.8 * change + 0.6 * products[1][name] for name, change in products[0].items()}
    rank = len(next(iter(one.changes.values()))[0])
    whole, lost = combined([one, other], (0.8, 0.6), 2 * rank)
    assert max(lost) < 1e-6
    near, lost = combined([one, other], (0.8, 0.6), rank)
    for (name, wanted), share in zip(sums.items(), lost, strict=True):
        torch.testing.assert_close(whole.changes[name][1] @ whole.changes[name][0], wanted, atol=1e-5, rtol=1e-4)
        down, up = near.changes[name]
        assert (down.shape[0], up.shape[1]) == (rank, rank)
        strengths = torch.linalg.svdvals(wanted).square()
        expected = float(strengths[rank:].sum() / strengths.sum())
        assert share == pytest.approx(expected, abs=1e-4)
        assert float((wanted - up @ down).square().sum() / wanted.square().sum()) == pytest.approx(expected, abs=1e-4)
        assert expected > 0.01


def test_an_adapter_is_stored_in_half_precision(tmp_path: Path) -> None:
    network, _ = tiny_network()
    adapter = random_adapter(network)
    save_adapter(tmp_path / "adapter.safetensors", adapter)
    loaded = load_adapter(tmp_path / "adapter.safetensors")
    assert loaded.changes.keys() == adapter.changes.keys()
    for name, (down, up) in adapter.changes.items():
        assert torch.equal(loaded.changes[name][0], down.half().float())
        assert torch.equal(loaded.changes[name][1], up.half().float())


def test_a_model_keeps_its_adapter_and_is_another_one_by_it(tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    config = Config.from_dict({"model": {"backbone": "random"}})
    save_checkpoint(tmp_path / "with", network, sequencer.tokenizer, CONLL04, config, adapter=random_adapter(network))
    save_checkpoint(tmp_path / "without", network, sequencer.tokenizer, CONLL04, config)
    having, lacking = load_checkpoint(str(tmp_path / "with")), load_checkpoint(str(tmp_path / "without"))
    assert lacking.adapter is None
    assert having.adapter is not None
    assert having.adapter.changes.keys() == random_adapter(network).changes.keys()
    assert having.model_id != lacking.model_id


def test_a_missing_or_foreign_adapter_file_is_refused(tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    config = Config.from_dict({"model": {"backbone": "random"}})
    save_checkpoint(tmp_path / "m", network, sequencer.tokenizer, CONLL04, config, adapter=random_adapter(network))
    shutil.copytree(tmp_path / "m", tmp_path / "foreign")
    save_adapter(tmp_path / "foreign" / "adapter.safetensors", random_adapter(network, seed=9))
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors: the file is not the one"):
        load_checkpoint(str(tmp_path / "foreign"))
    (tmp_path / "m" / "adapter.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors is missing"):
        load_checkpoint(str(tmp_path / "m"))
    assert "adapter_sha256" in json.loads((tmp_path / "m" / "config.json").read_text())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a.down": torch.ones(2, 3)}, "a is no low-rank change"),
        ({"a.down": torch.ones(2, 3), "a.up": torch.ones(3, 4)}, "a is no low-rank change"),
        ({"whisper.weight": torch.ones(2, 3)}, r"whisper\.weight is no low-rank change; expected the adapter"),
        ({}, "holds no change; expected the adapter"),
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, state: dict[str, torch.Tensor], message: str) -> None:
    save_file(state, tmp_path / "adapter.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_adapter(tmp_path / "adapter.safetensors")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(tmp_path / "adapter.safetensors")


def test_an_adapter_of_another_network_is_refused() -> None:
    network, _ = tiny_network()
    for name, size in (("whisper.encoder.layers.7.fc1", 64), ("whisper.encoder.layers.0.fc1", 65)):
        foreign = Adapter({name: (torch.ones(2, size), torch.ones(128, 2))})
        with pytest.raises(
            CheckpointError, match=r"here: changes .*, a matrix of \(128, 6\d\), which in this model is"
        ):
            foreign.check(network, "here")


def test_a_model_is_not_saved_with_an_adapter_of_another_one(tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    config = Config.from_dict({"model": {"backbone": "random"}})
    foreign = Adapter({"whisper.encoder.layers.7.fc1": (torch.ones(2, 64), torch.ones(128, 2))})
    with pytest.raises(CheckpointError, match="the adapter: changes whisper"):
        save_checkpoint(tmp_path / "m", network, sequencer.tokenizer, CONLL04, config, adapter=foreign)
    assert not (tmp_path / "m").exists()


def test_the_card_names_the_adapter(tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    config = Config.from_dict({"model": {"backbone": "random"}})
    save_checkpoint(tmp_path / "m", network, sequencer.tokenizer, CONLL04, config, adapter=random_adapter(network))
    assert "an adapter, low-rank changes" in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
