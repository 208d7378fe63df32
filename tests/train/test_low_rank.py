"""Low-rank changes: they alone learn, the merged network does the same, and a model folder knows nothing of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from speechre.config import Config
from speechre.errors import ConfigError
from speechre.model.adapter import load_adapter
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.schemas import CONLL04
from speechre.train.learner import make_optimizer
from speechre.train.loop import run_training
from speechre.train.low_rank import LowRankLinear, add_low_rank, merged_network
from speechre.train.objectives import compute_loss
from speechre.train.setup import build_network, freeze
from tests.tiny import random_mels
from tests.train.test_loop import CrashError, crash, four_examples, fresh, run_config
from tests.train.test_objectives import make_samples


def low_rank_network(**train: Any) -> tuple[SpeechReNetwork, Sequencer, Config]:
    config = run_config(lora_rank=4, **train)
    network, sequencer = build_network(config, CONLL04)
    freeze(network, sequencer, config)
    return network, sequencer, config


def learn(network: SpeechReNetwork, sequencer: Sequencer, config: Config, steps: int = 3) -> None:
    optimizer = make_optimizer(network, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        compute_loss(network, make_samples(sequencer), sequencer, config).total.backward()
        optimizer.step()
    network.eval()


def answers(network: SpeechReNetwork) -> torch.Tensor:
    """What encoder and decoder make of a sound and some tokens."""
    encoded = network.encode(random_mels(1))
    ids = torch.arange(12)[None]
    causal = torch.ones(12, 12, dtype=torch.bool).tril()
    return network.whisper.decoder(ids, ids, causal, network.cross_memory(encoded), None)


@torch.no_grad()
def test_a_change_starts_as_none_and_is_scaled_by_the_root_of_its_rank() -> None:
    linear = nn.Linear(6, 5)
    changed = LowRankLinear(linear, 4)
    x = torch.randn(3, 6)
    assert torch.equal(changed(x), linear(x))
    changed.up.normal_()
    expected = x @ (linear.weight + changed.up @ changed.down / 2).T + linear.bias
    torch.testing.assert_close(changed(x), expected)
    assert torch.equal(changed.without()(x), linear(x))


def test_of_whisper_only_changes_and_new_tokens_learn() -> None:
    network, sequencer, config = low_rank_network()
    before = copy.deepcopy(network.state_dict())
    learn(network, sequencer, config)
    first_new = sequencer.tokenizer.whisper_vocab_size
    for name, after in network.state_dict().items():
        if name.endswith((".down", ".up")):
            assert not torch.equal(after, before[name]), name
        elif name == "whisper.decoder.embed_tokens.weight":
            assert torch.equal(after[:first_new], before[name][:first_new])
            assert not torch.equal(after[first_new:], before[name][first_new:])
        elif name.startswith("whisper."):
            assert torch.equal(after, before[name]), name
    layers = [name for name, module in network.named_modules() if isinstance(module, LowRankLinear)]
    assert len(layers) == 2 * 6 + 2 * 10  # all matrices of both encoder and both decoder layers


def test_frozen_layers_get_no_change() -> None:
    network, _, _ = low_rank_network(frozen_encoder_layers=1)
    assert isinstance(network.whisper.encoder.layers[0].fc1, nn.Linear)
    assert not isinstance(network.whisper.encoder.layers[0].fc1, LowRankLinear)
    assert isinstance(network.whisper.encoder.layers[1].fc1, LowRankLinear)


@torch.no_grad()
def test_the_merged_network_answers_alike_and_is_a_copy() -> None:
    network, sequencer, config = low_rank_network()
    with torch.enable_grad():
        learn(network, sequencer, config)
    merged = merged_network(network)
    torch.testing.assert_close(answers(merged), answers(network), atol=1e-4, rtol=1e-4)
    plain, _ = build_network(config, CONLL04)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert not torch.allclose(answers(plain), answers(merged), atol=1e-2)
    assert any(isinstance(module, LowRankLinear) for module in network.modules())
    assert merged_network(merged) is merged


def run(folder: Path, config: Config, **options: Any) -> dict[str, torch.Tensor]:
    """A run on four tones with changes of rank 4; the weights of its model."""
    network, sequencer = fresh()
    freeze(network, sequencer, config)
    run_training(config, network, sequencer, four_examples(), folder, **options)
    return load_file(folder / "model" / "model.safetensors")


def test_a_run_with_changes_ends_in_a_plain_model_and_resumes_to_the_bit(tmp_path: Path) -> None:
    config = run_config(lora_rank=4, learning_rate=0.01, encoder_learning_rate=0.01, save_every=3)
    whole = run(tmp_path / "whole", config)
    killed = replace(config, train=replace(config.train, eval_every=4))
    with pytest.raises(CrashError):
        run(tmp_path / "halves", killed, evaluate=crash)
    halves = run(tmp_path / "halves", config, resume=True)
    assert whole.keys() == halves.keys()
    assert all(torch.equal(tensor, halves[name]) for name, tensor in whole.items())
    start, _ = fresh()
    assert whole.keys() == start.state_dict().keys()
    name = "whisper.encoder.layers.0.fc1.weight"
    assert not torch.allclose(whole[name].float(), start.state_dict()[name], atol=1e-3)


def test_dev_is_scored_with_the_changes(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def evaluate(network: SpeechReNetwork) -> dict[str, float]:
        seen.append([name for name in network.state_dict() if name.endswith((".down", ".up"))])
        return {"f1": 0.5}

    name = "whisper.decoder.layers.0.fc1.weight"
    last = run(tmp_path, run_config(lora_rank=4, learning_rate=0.01, eval_every=6), evaluate=evaluate)
    assert seen == [[]]
    best = load_file(tmp_path / "best" / "model.safetensors")
    assert best.keys() == last.keys()
    assert torch.equal(best[name], last[name])


def test_where_changes_alone_learn_they_have_a_file_of_their_own(tmp_path: Path) -> None:
    """The start with the adapter is the model: nothing else moved, statistics of the relation head neither."""
    rates = {"learning_rate": 0.01, "encoder_learning_rate": 0.01}
    data = run_config(lora_rank=4, relation_weight=0.5, **rates).to_dict()
    data["model"]["start_from"], data["train"]["head_learning_rate"] = "somewhere", 0.0
    config = Config.from_dict(data)
    last = run(tmp_path / "alone", config)
    start, _ = fresh()
    adapter = load_adapter(tmp_path / "alone" / "adapter.safetensors")
    assert len(adapter.changes) == 2 * 6 + 2 * 10
    adapter.check(start, "here")
    expected = adapter.applied_to(start).state_dict()
    for name, tensor in last.items():
        torch.testing.assert_close(tensor.to(expected[name]), expected[name], atol=2e-3, rtol=2e-3, msg=name)
        if name.removesuffix(".weight") not in adapter.changes:
            assert torch.equal(tensor, start.state_dict()[name].to(tensor)), name
    run(tmp_path / "with-tokens", run_config(lora_rank=4, **rates))
    assert not (tmp_path / "with-tokens" / "adapter.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": -1}, r"train\.lora_rank is -1"),
        ({"lora_rank": 4, "decoder_interpolation": 0.5}, "two ways to stay near the start; leave one out"),
        ({"lora_rank": 4, "head_learning_rate": 0}, r"would ever learn; start from a model that has them"),
    ],
)
def test_settings_that_make_no_run_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(**settings)


def test_a_network_can_be_changed_outside_training() -> None:
    network, _ = build_network(run_config(), CONLL04)
    add_low_rank(network, 2)
    learning = [name for name, one in network.whisper.named_parameters() if one.requires_grad]
    assert all(name.endswith((".down", ".up", "embed_tokens.weight")) for name in learning)
