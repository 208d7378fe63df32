"""Alignment: the path is the cheapest there is, tokens know their characters, and the engine's times hang together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.alignment import (
    FRAME_S,
    TranscriptTimes,
    alignment_heads,
    first_frames,
    median_of_seven,
    token_chars,
    token_times,
)
from speechre.decode.engine import DecodingEngine
from speechre.model.backbone import Attention, Decoder, KeyValues
from speechre.model.rows import DecoderRows
from speechre.model.weights import WhisperConfig
from tests.tiny import random_mels, tiny_network


def whisper_config(layers: int, heads: int) -> WhisperConfig:
    return WhisperConfig(51864, 80, 16 * heads, layers, heads, layers, heads, 128, 128)


def cheapest_by_hand(cost: np.ndarray) -> float:
    """Dynamic time warping cell by cell, as in openai/whisper."""
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0.0
    for row in range(cost.shape[0]):
        for frame in range(cost.shape[1]):
            before = min(total[row, frame], total[row, frame + 1], total[row + 1, frame])
            total[row + 1, frame + 1] = cost[row, frame] + before
    return float(total[-1, -1])


def cost_of(firsts: list[int], cost: np.ndarray) -> float:
    """The cheapest path that enters its rows there: it leaves a row at the next one's first frame, or one before it."""
    lasts = [*firsts[1:], cost.shape[1] - 1]
    total = 0.0
    for row, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        is_final = row == len(firsts) - 1
        stay = cost[row, first : last + 1].sum()
        step = np.inf if is_final or last == first else cost[row, first:last].sum()
        total += min(stay, step)
    return total


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 1000))
def test_the_path_is_the_cheapest(num_rows: int, num_frames: int, seed: int) -> None:
    cost = np.random.default_rng(seed).standard_normal((num_rows, num_frames))
    firsts = first_frames(cost)
    assert firsts[0] == 0
    assert all(a <= b for a, b in pairwise(firsts))
    assert cost_of(firsts, cost) == pytest.approx(cheapest_by_hand(cost))


def test_tokens_that_look_one_behind_the_other_get_their_frames() -> None:
    weights = torch.full((2, 5, 60), 1e-3)
    for row, (start, stop) in enumerate([(0, 10), (10, 30), (30, 35), (35, 50), (50, 60)]):
        weights[:, row, start:stop] = 1.0
    assert token_times(weights, 0) == pytest.approx([0.0, 10 * FRAME_S, 30 * FRAME_S, 35 * FRAME_S, 50 * FRAME_S])
    assert token_times(weights, 2) == pytest.approx([0.0, 35 * FRAME_S, 50 * FRAME_S])


def test_thirteen_exchanges_find_the_median_of_any_seven() -> None:
    """Of all sequences of zeros and ones, so of all values whatever (the zero-one principle of sorting networks)."""
    rows = torch.tensor([[(number >> place) & 1 for place in range(7)] for number in range(128)], dtype=torch.float32)
    assert torch.equal(median_of_seven(list(rows.unbind(1))), rows.median(dim=1).values)


def test_a_clip_shorter_than_the_smoothing() -> None:
    assert len(token_times(torch.rand(1, 3, 2), 1)) == 2


def test_tokens_know_their_characters() -> None:
    _, sequencer = tiny_network()
    tokenizer = sequencer.tokenizer
    for text in (" Ann Lee lives in Oslo.", "  Zoë's café — naïve 東京 .", "x", " \n "):
        ids = tokenizer.encode_text(text)
        chars = token_chars(ids, tokenizer)
        stripped = tokenizer.decode_text(ids).strip()
        assert len(chars) == len(ids) + 1
        assert chars[-1] == len(stripped)
        assert all(a <= b for a, b in pairwise(chars))
    ids = tokenizer.encode_text(" Ann lives in Oslo.")
    chars = token_chars(ids, tokenizer)
    assert ["Ann lives in Oslo."[a:b].strip() for a, b in pairwise(chars)] == ["Ann", "lives", "in", "Oslo", "."]
    assert token_chars([], tokenizer) == (0,)


def test_a_span_takes_the_tokens_that_it_touches() -> None:
    times = TranscriptTimes((0, 4, 10, 13, 17, 18), (0.1, 0.5, 1.0, 1.2, 2.0, 2.1))
    assert times.span_s(0, 3) == (0.1, 0.5)
    assert times.span_s(4, 12) == (0.5, 1.2)
    assert times.span_s(13, 18) == (1.2, 2.1)
    assert times.span_s(14, 15) == (1.2, 2.0)
    assert times.span_s(17, 18) == (2.0, 2.1)


def test_published_heads_where_there_are_and_the_upper_half_elsewhere() -> None:
    assert alignment_heads(whisper_config(4, 6), False)[0] == (1, 0)
    assert alignment_heads(whisper_config(6, 8), True)[0] == (3, 1)
    assert alignment_heads(whisper_config(4, 8), False) == tuple((layer, h) for layer in (2, 3) for h in range(8))
    assert len(alignment_heads(whisper_config(12, 12), False)) == 72


def one_pass(decoder: Decoder, ids: list[int], cross: list[KeyValues]) -> dict[int, Tensor]:
    """Each layer's cross-attention weights (1, heads, T, frames)."""
    seen: dict[int, Tensor] = {}

    def watch(layer: int, attention: Attention, normed: Tensor) -> Tensor:
        queries = attention.queries(normed)
        seen[layer] = (queries @ cross[layer].keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(-1)
        return attention.forward(normed, cross[layer], None)

    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    decoder(torch.tensor([ids]), torch.arange(len(ids))[None], causal, cross, None, attend_cross=watch)
    return seen


def test_weights_are_those_of_the_attention_that_writes() -> None:
    """Against the definition: softmax of queries times keys, in a pass of one row at a time; masked frames get none."""
    network, sequencer = tiny_network()
    mels = random_mels(2, seed=3)
    encoded = network.encode(mels)
    assert encoded.mask is not None
    cross, mask = network.cross_memory(encoded), encoded.mask[:, None, None, :]
    heads = ((0, 1), (1, 0))
    decoder = network.whisper.decoder
    prompts = [[*sequencer.start_ids(), 10, 11, 12], [*sequencer.start_ids(), 13]]

    def looked(cross: list[KeyValues], mask: Tensor | None, feeds: list[list[list[int]]]) -> Tensor:
        rows = DecoderRows(decoder, cross, mask, {layer for layer, _ in heads})
        for new in feeds:
            rows.feed(new)
        return rows.looks(heads)

    with torch.inference_mode():
        weights = looked(cross, mask, [[ids[:2] for ids in prompts], [ids[2:] for ids in prompts]])
        assert weights.shape == (2, 2, len(prompts[0]), encoded.states.shape[1])
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
        for row, ids in enumerate(prompts):
            num_frames = int(encoded.num_frames[row])
            assert not weights[row, :, :, num_frames:].any()
            alone = network.cross_memory(network.encode([mels[row]]))
            # By definition, layer by layer, in one pass.
            seen = one_pass(decoder, ids, alone)
            for place, (layer, head) in enumerate(heads):
                expected = seen[layer][0, head]
                assert torch.allclose(weights[row, place, : len(ids), :num_frames], expected, atol=1e-4)


def test_the_engine_times_every_token_of_a_transcript_and_nothing_without_one() -> None:
    network, sequencer = tiny_network()
    decode = DecodeConfig(max_new_tokens=8, max_transcript_tokens=6)
    mels = random_mels(4, seed=1)
    decoded = DecodingEngine(network, sequencer, ModelConfig(), decode).decode(mels)
    assert sum(one.times is not None for one in decoded) >= 2
    for one, mel in zip(decoded, mels, strict=True):
        assert (one.times is None) == (not one.transcript)
        if one.times is not None:
            assert one.times.chars[-1] == len(one.transcript or "")
            assert 0 <= one.times.seconds[0] <= one.times.seconds[-1] <= mel.shape[1] * 0.01
            assert all(a <= b for a, b in pairwise(one.times.seconds))
    silent = DecodingEngine(network, sequencer, ModelConfig(transcript=False), decode).decode(mels)
    assert all(one.times is None for one in silent)
