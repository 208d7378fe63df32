"""Where a training starts: the bare backbone, or an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechre.config import Config
from speechre.errors import CheckpointError, ConfigError
from speechre.model.checkpoint import load_checkpoint
from speechre.schemas import CONLL04, RETACRED
from speechre.train.examples import Example, make_sample
from speechre.train.learner import make_optimizer
from speechre.train.setup import build_network, freeze, repeat_examples
from speechre.types import Entity, Triplet
from tests.tiny import tiny_network


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
        build_network(config(tiny_model_dir, prompt_style="paper", transcript=False), CONLL04)
    with pytest.raises(ConfigError, match=r"another model\.backbone"):
        build_network(config(tiny_model_dir, backbone="base"), CONLL04)
    with pytest.raises(ConfigError, match=r"another model\.transcript"):
        build_network(config(tiny_model_dir, transcript=False), CONLL04)
    with pytest.raises(CheckpointError, match="neither a folder nor a shipped model"):
        build_network(config("nowhere"), CONLL04)


# --- what is kept ---


def test_frozen_words_and_layers_do_not_move_and_the_rest_does() -> None:
    config = Config.from_dict(
        {
            "model": {"backbone": "random"},
            "train": {
                "frozen_words": True,
                "frozen_encoder_layers": 1,
                "frozen_relation_blocks": True,
                "weight_decay": 0.5,
            },
        }
    )
    network, sequencer = build_network(config, CONLL04)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freeze(network, sequencer, config)
    optimizer = make_optimizer(network, config)
    embeddings = network.whisper.decoder.embed_tokens.weight
    network.train()
    encoded = network.encode([torch.randn(80, 60), torch.randn(80, 60)])
    logits = network.relation_logits(encoded)
    (encoded.states.square().mean() + embeddings.square().mean() + logits.square().mean()).backward()
    optimizer.step()
    after = network.state_dict()
    first_new = sequencer.tokenizer.whisper_vocab_size
    name = "whisper.decoder.embed_tokens.weight"
    assert torch.equal(after[name][:first_new], before[name][:first_new])
    assert not torch.equal(after[name][first_new:], before[name][first_new:])
    for kept in ("conv1", "conv2", "layers.0"):
        names = [n for n in after if n.startswith(f"whisper.encoder.{kept}.")]
        assert names
        assert all(torch.equal(after[n], before[n]) for n in names)
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("relation_head.blocks."))
    for moved in ("whisper.encoder.layers.1.fc1.weight", "relation_head.classifier.weight"):
        assert not torch.equal(after[moved], before[moved])


def test_all_encoder_layers_take_the_last_normalization_along() -> None:
    config = Config.from_dict({"model": {"backbone": "random"}, "train": {"frozen_encoder_layers": 9}})
    network, sequencer = build_network(config, CONLL04)
    freeze(network, sequencer, config)
    assert not any(parameter.requires_grad for parameter in network.whisper.encoder.parameters())
    assert all(parameter.requires_grad for parameter in network.whisper.decoder.parameters())


def test_repeats_are_copies_with_randomness_of_their_own() -> None:
    network, sequencer = tiny_network()
    ann, oslo = Entity("Ann", "Peop"), Entity("Oslo", "Loc")
    tone = (np.sin(np.arange(16_000) * 0.05) * 8000).astype(np.int16)
    one = Example("u1", tone, (1, 2), (Triplet(ann, "Live_In", oslo),), (ann, oslo), frozenset({"Live_In"}))
    other = replace(one, id="u2")
    repeated = repeat_examples([one, other], {"u1": 3})
    assert [(e.id, e.copy) for e in repeated] == [("u1", 0), ("u1", 1), ("u1", 2), ("u2", 0)]
    config = Config.from_dict({})
    mels = [make_sample(e, 0, sequencer, config, network.config.num_mel_bins).mel for e in repeated[:3]]
    assert mels[0].shape != mels[1].shape or not torch.equal(mels[0], mels[1])
    again = make_sample(one, 0, sequencer, config, network.config.num_mel_bins).mel
    assert torch.equal(mels[0], again)
