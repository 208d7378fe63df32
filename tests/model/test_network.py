"""The network: encoder masks, exact lengths, and where new tokens start."""

from __future__ import annotations

import pytest
import torch

from speechre.config import Config
from speechre.errors import CheckpointError
from speechre.model.network import MAX_MEL_FRAMES, SpeechReNetwork, from_whisper
from speechre.model.sequence import new_tokens
from speechre.model.weights import WhisperWeights
from speechre.schemas import CONLL04
from speechre.train.setup import build_network, load_backbone
from tests.tiny import random_mels, tiny_network


@pytest.fixture(scope="module")
def network() -> SpeechReNetwork:
    return tiny_network()[0]


@torch.inference_mode()
@pytest.mark.parametrize("in_training", [False, True])
def test_encoder_states_are_those_of_an_item_alone(network: SpeechReNetwork, in_training: bool) -> None:
    mels = random_mels(6, seed=4, frames=(20, 700))
    network.train(in_training)  # then the batch goes through in one pass, else one by one
    encoded = network.encode(mels)
    network.eval()
    assert encoded.mask is not None
    for row, mel in enumerate(mels):
        alone = network.encode([mel])
        length = mel.shape[1] // 2
        assert alone.mask is None
        assert alone.states.shape == (1, length, network.config.d_model)
        assert int(encoded.num_frames[row]) == length
        assert encoded.mask[row].tolist() == [i < length for i in range(encoded.states.shape[1])]
        assert torch.allclose(encoded.states[row, :length], alone.states[0], atol=1e-4)


@torch.inference_mode()
def test_relation_logits_are_those_of_an_item_alone(network: SpeechReNetwork) -> None:
    mels = random_mels(5, seed=5, frames=(10, 300))
    together = network.relation_logits(network.encode(mels))
    alone = torch.cat([network.relation_logits(network.encode([mel])) for mel in mels])
    assert together.shape == (5, len(CONLL04.relation_types))
    assert torch.allclose(together, alone, atol=1e-4)


@torch.inference_mode()
def test_decoder_states_do_not_see_a_neighbours_audio(network: SpeechReNetwork) -> None:
    mels = random_mels(3, seed=6)
    ids = torch.tensor([[50257, 50362, 1, 2, 3]]).repeat(3, 1)
    positions = torch.arange(5).repeat(3, 1)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()

    def hidden(encoded: object, rows: int) -> torch.Tensor:
        mask = encoded.mask  # type: ignore[attr-defined]
        cross_mask = None if mask is None else mask[:, None, None, :]
        cross = network.cross_memory(encoded)  # type: ignore[arg-type]
        return network.whisper.decoder(ids[:rows], positions[:rows], causal, cross, cross_mask)

    together = hidden(network.encode(mels), 3)
    alone = torch.cat([hidden(network.encode([mel]), 1) for mel in mels])
    assert torch.allclose(together, alone, atol=1e-4)


@torch.inference_mode()
def test_a_clip_costs_what_it_is_long(network: SpeechReNetwork) -> None:
    """No padding to 30 s: as many encoder states as the longest clip of the batch has."""
    assert network.encode([torch.zeros(80, 120)]).states.shape[1] == 60
    assert network.encode([torch.zeros(80, 120), torch.zeros(80, 40)]).states.shape[1] == 60


@torch.inference_mode()
def test_thirty_seconds_are_the_limit(network: SpeechReNetwork) -> None:
    assert network.encode([torch.zeros(80, MAX_MEL_FRAMES)]).states.shape[1] == 1500
    with pytest.raises(ValueError, match="1501 encoder frames; the encoder knows 1500"):
        network.encode([torch.zeros(80, MAX_MEL_FRAMES + 2)])


def test_new_tokens_start_as_the_mean_of_their_words() -> None:
    network, sequencer = build_network(Config.from_dict({"model": {"backbone": "random"}}), CONLL04)
    tokenizer = sequencer.tokenizer
    old = load_backbone("random", 1).state["decoder.embed_tokens.weight"]
    new = network.whisper.decoder.embed_tokens.weight.detach()
    assert new.shape[0] == tokenizer.vocab_size
    assert torch.equal(new[: old.shape[0]], old)
    for token, words in new_tokens(CONLL04).items():
        ids = [tokenizer.eot_id] if token == "<|relations|>" else tokenizer.encode_text(" " + words)
        assert torch.allclose(new[tokenizer.token_id(token)], old[ids].mean(dim=0)), token


def test_weights_that_make_no_whisper_are_refused() -> None:
    _, sequencer = tiny_network()
    weights = load_backbone("random", 1)
    state = dict(weights.state)
    del state["encoder.conv1.bias"]
    broken = WhisperWeights("broken", weights.config, state, weights.tokenizer_json)
    with pytest.raises(CheckpointError, match=r"broken: .*missing \['encoder.conv1.bias'\]"):
        from_whisper(broken, sequencer.tokenizer, new_tokens(CONLL04), 5)


def test_random_weights_follow_from_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (load_backbone("random", seed).state["encoder.conv1.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
