"""A tiny random model for tests: real code and real vocabulary, two narrow layers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from speechre.config import Config
from speechre.model.adapter import Adapter
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.schemas import CONLL04
from speechre.train.setup import build_network

CONFIG = Config.from_dict(
    {"model": {"backbone": "random"}, "decode": {"max_new_tokens": 24, "max_transcript_tokens": 12}}
)


@cache
def tiny_network(prompt_style: str = "compact") -> tuple[SpeechReNetwork, Sequencer]:
    """The same network for every caller: do not train it."""
    model = {"backbone": "random", "prompt_style": prompt_style, "transcript": prompt_style == "compact"}
    config = Config.from_dict({"model": model})
    network, sequencer = build_network(config, CONLL04)
    # As built, the few structure tokens never win against 50,000 of text, and no triplet is ever finished. Long random
    # embeddings make them likely, differently after every context.
    first = sequencer.tokenizer.whisper_vocab_size
    weight = network.whisper.decoder.embed_tokens.weight.data
    generator = torch.Generator().manual_seed(2)
    weight[first:] = torch.randn(weight[first:].shape, generator=generator) * 0.4
    weight[[sequencer.tokenizer.eot_id, sequencer.relations_id]] = 0.0
    return network.eval(), sequencer


def tones(seed: int, duration_s: float) -> np.ndarray:
    """Sound at 16 kHz with a changing loudness: nothing that a random model finds silent."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(duration_s * 16_000)) / 16_000
    together = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in rng.uniform(100, 3000, 4))
    return (0.1 * together * (1 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def random_mels(count: int, seed: int = 0, frames: tuple[int, int] = (40, 300)) -> list[torch.Tensor]:
    """Log-mels of random even lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(frames[0] // 2, frames[1] // 2, (count,), generator=generator) * 2
    return [torch.randn(80, int(length), generator=generator) * 0.5 for length in lengths]


def random_adapter(network: SpeechReNetwork, rank: int = 2, seed: int = 0) -> Adapter:
    """Large changes of the encoder's matrices and of the decoder's last ones."""
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(("whisper.encoder", "whisper.decoder.layers.1")):
            down = torch.randn(rank, module.in_features, generator=generator)
            changes[name] = down, torch.randn(module.out_features, rank, generator=generator) * 0.3
    return Adapter(changes)
