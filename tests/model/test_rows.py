"""Rows with a shared prompt against one uncached pass over each row's whole sequence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from speechre.model.backbone import KeyValues
from speechre.model.network import SpeechReNetwork
from speechre.model.rows import DecoderRows
from tests.tiny import random_mels, tiny_network

PROMPTS = [[50257, 5, 6, 7], [50257, 8], [50257, 9, 10]]


@pytest.fixture(scope="module")
def network() -> SpeechReNetwork:
    return tiny_network()[0]


def alone(network: SpeechReNetwork, cross: list[KeyValues], ids: list[int]) -> Tensor:
    """The hidden state (D,) behind ``ids``, from one pass without any memory."""
    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    hidden: Tensor = network.whisper.decoder(torch.tensor([ids]), torch.arange(len(ids))[None], causal, cross, None)
    return hidden[0, -1]


def with_prompts(network: SpeechReNetwork) -> tuple[DecoderRows, list[list[KeyValues]]]:
    """Rows that have read PROMPTS, some longer than others, and each utterance's own cross-attention memory."""
    mels = random_mels(len(PROMPTS), seed=2)
    encoded = network.encode(mels)
    mask = None if encoded.mask is None else encoded.mask[:, None, None, :]
    rows = DecoderRows(network.whisper.decoder, network.cross_memory(encoded), mask)
    rows.feed(PROMPTS)
    return rows, [network.cross_memory(network.encode([mel])) for mel in mels]


@torch.inference_mode()
def test_branched_rows_go_on_from_their_utterances_prompt(network: SpeechReNetwork) -> None:
    rows, cross = with_prompts(network)
    rows.branch(2)
    first = [[20, 21], [22, 23]] * 3
    hidden = rows.feed(first)
    for n, ids in enumerate(first):
        assert torch.allclose(hidden[n], alone(network, cross[n // 2], PROMPTS[n // 2] + ids), atol=1e-4)
    assert rows.lengths == [len(PROMPTS[n // 2]) + 2 for n in range(6)]


@torch.inference_mode()
def test_selected_rows_carry_their_parents_tokens_and_leavers_are_gone(network: SpeechReNetwork) -> None:
    rows, cross = with_prompts(network)
    rows.branch(2)
    written = [[20 + n] for n in range(6)]
    rows.feed(written)
    # Utterance 1 leaves; the others go on with three rows each, some from the same parent.
    parents = [1, 0, 1, 4, 4, 5]
    rows.select(parents, [0, 2])
    written = [[*written[parent], 40 + n] for n, parent in enumerate(parents)]
    hidden = rows.feed([ids[-1:] for ids in written])
    for _ in range(40):  # longer than the memory that is reserved at first
        written = [[*ids, ids[-1] + 1] for ids in written]
        hidden = rows.feed([ids[-1:] for ids in written])
    for n, ids in enumerate(written):
        utterance = (0, 2)[n // 3]
        assert torch.allclose(hidden[n], alone(network, cross[utterance], PROMPTS[utterance] + ids), atol=1e-4)


@torch.inference_mode()
def test_feeding_nothing_changes_nothing(network: SpeechReNetwork) -> None:
    rows, cross = with_prompts(network)
    assert rows.feed([[], [], []]).shape == (3, network.config.d_model)
    hidden = rows.feed([[20]] * 3)
    for n in range(3):
        assert torch.allclose(hidden[n], alone(network, cross[n], [*PROMPTS[n], 20]), atol=1e-4)


@torch.inference_mode()
def test_rows_branch_once(network: SpeechReNetwork) -> None:
    rows, _ = with_prompts(network)
    rows.branch(2)
    with pytest.raises(ValueError, match="branched already"):
        rows.branch(2)


@torch.inference_mode()
def test_rows_may_take_different_numbers_of_tokens(network: SpeechReNetwork) -> None:
    rows, cross = with_prompts(network)
    rows.branch(2)
    written: list[list[int]] = [[] for _ in range(6)]
    for step in range(12):
        new = [[100 * step + 10 * n + i for i in range((n + step) % 4)] for n in range(6)]
        new[step % 6] = []
        hidden = rows.feed(new)
        written = [[*ids, *more] for ids, more in zip(written, new, strict=True)]
        for n, ids in enumerate(written):
            if new[n]:
                expected = alone(network, cross[n // 2], PROMPTS[n // 2] + ids)
                assert torch.allclose(hidden[n], expected, atol=1e-4), (step, n)
        assert rows.lengths == [len(PROMPTS[n // 2]) + len(ids) for n, ids in enumerate(written)]


@torch.inference_mode()
def test_rows_may_branch_before_they_have_read_anything(network: SpeechReNetwork) -> None:
    mels = random_mels(2, seed=4)
    encoded = network.encode(mels)
    mask = None if encoded.mask is None else encoded.mask[:, None, None, :]
    rows = DecoderRows(network.whisper.decoder, network.cross_memory(encoded), mask)
    rows.branch(1)
    rows.feed([[50257, 5], [50257, 6]])
    rows.select([0, 0, 1, 1])
    written = [[50257, 5, 20], [50257, 5, 21], [50257, 6, 22], [50257, 6, 23]]
    hidden = rows.feed([ids[-1:] for ids in written])
    for n, ids in enumerate(written):
        cross = network.cross_memory(network.encode([mels[n // 2]]))
        assert torch.allclose(hidden[n], alone(network, cross, ids), atol=1e-4)
    rows.select([3, 2], [1])
    written = [[*written[3], 30], [*written[2], 31]]
    hidden = rows.feed([ids[-1:] for ids in written])
    for n, ids in enumerate(written):
        cross = network.cross_memory(network.encode([mels[1]]))
        assert torch.allclose(hidden[n], alone(network, cross, ids), atol=1e-4)


@torch.inference_mode()
def test_what_no_row_went_on_from_is_forgotten_and_answers_stay(network: SpeechReNetwork) -> None:
    rows, cross = with_prompts(network)
    rows.branch(3)
    written: list[list[int]] = [[] for _ in range(9)]
    generator = torch.Generator().manual_seed(1)
    for step in range(30):
        parents = [3 * (n // 3) + int(torch.randint(3, (1,), generator=generator)) for n in range(9)]
        rows.select(parents)
        written = [[*written[parent], 100 + 10 * step + n] for n, parent in enumerate(parents)]
        hidden = rows.feed([ids[-1:] for ids in written])
    for n, ids in enumerate(written):
        expected = alone(network, cross[n // 3], PROMPTS[n // 3] + ids)
        assert torch.allclose(hidden[n], expected, atol=1e-4), n
    assert rows._num_slots < 4 + 3 * 30 - 20  # of 4 prompt slots and 3 for each of 30 steps
