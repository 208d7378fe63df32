"""The arithmetic of an extraction, and how fast this machine multiplies matrices of its shapes.

What is counted is what no implementation of this network can leave out: one encoder pass of the exact length, the
relation head, cross-attention keys and values once, every token of the answers through the decoder, and logits for the
words that may follow. Not counted: log-mel, softmax, normalization, memory traffic, Python. One multiplication and one
addition are two operations.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from speechre.model.relation_head import CHANNELS
from speechre.model.weights import WhisperConfig

_GEMM_S = 0.5  # how long a rate is measured


@dataclass(frozen=True)
class Written:
    """What one utterance cost in tokens: ``answers`` are the lengths of all generations with their ends."""

    num_frames: int  # encoder frames, the tail included
    num_transcript_tokens: int  # with the token that ends it
    num_prompt_tokens: int  # start and relation prompt
    num_order_prompt_tokens: int  # of one order
    num_orders: int
    answers: tuple[int, ...]
    num_answer_words: int  # of the vocabulary that answers choose from


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one stage, and the shape (rows, in, out) of its matrix products."""

    stage: str
    flops: float
    shape: tuple[int, int, int]


def work_of(sizes: WhisperConfig, one: Written, beams: int) -> list[Work]:
    """The stages of one utterance."""
    width, frames, context = sizes.d_model, one.num_frames, one.num_prompt_tokens + one.num_transcript_tokens
    ffn, words = sizes.decoder_ffn_dim, sizes.vocab_size
    longest = max(one.answers, default=1)
    rows = one.num_orders * beams
    num_prefill = one.num_prompt_tokens + one.num_orders * one.num_order_prompt_tokens
    written = sum(one.answers)
    to_words = 2.0 * width * one.num_answer_words * written
    token = _token_flops(sizes, frames)
    # Attention to what was written before: on average half of it.
    seen = 4.0 * width * sizes.decoder_layers
    return [
        Work("encoder", _encoder_flops(sizes, frames), (frames, width, sizes.encoder_ffn_dim)),
        Work("relation head", _head_flops(width, frames), (frames, width, sizes.encoder_ffn_dim)),
        Work("cross keys/values", 4.0 * frames * width * width * sizes.decoder_layers, (frames, width, width)),
        Work(
            "transcript",
            one.num_transcript_tokens * (token + 2.0 * width * words + seen * context / 2),
            (1, width, ffn),
        ),
        Work("prefill", num_prefill * (token + seen * context), (num_prefill, width, ffn)),
        Work("orders", written * (token + seen * (context + longest / 2)) + to_words, (rows, width, ffn)),
    ]


def _encoder_flops(sizes: WhisperConfig, frames: int) -> float:
    width, bins = sizes.d_model, sizes.num_mel_bins
    convolutions = 2.0 * 3 * bins * width * 2 * frames + 2.0 * 3 * width * width * frames
    layer = 8.0 * frames * width * width + 4.0 * frames * frames * width + 4.0 * frames * width * sizes.encoder_ffn_dim
    return convolutions + sizes.encoder_layers * layer


def _head_flops(width: int, frames: int) -> float:
    total = 0.0
    for narrow, wide in pairwise(CHANNELS):
        total += 2.0 * 9 * narrow * wide * frames * width
        frames, width = frames // 2, width // 2
    return total


def _token_flops(sizes: WhisperConfig, frames: int) -> float:
    """One token through the decoder, without what it looks back at and without logits."""
    width = sizes.d_model
    layer = 12.0 * width * width + 4.0 * frames * width + 4.0 * width * sizes.decoder_ffn_dim
    return sizes.decoder_layers * layer


def gemm_flops_per_s(shape: tuple[int, int, int], num_weights: int = 0) -> float:
    """Float32 operations a second of (rows, in) @ (in, out) with torch, on the threads that are set: the fastest try.

    With ``num_weights`` the product walks through as many parameters, as a decoder step does: a matrix that stays in
    the cache would flatter the machine.
    """
    rows, narrow, wide = shape
    count = max(1, num_weights // (narrow * wide))
    left = torch.randn(rows, narrow)
    weights = [torch.randn(wide, narrow) for _ in range(count)]
    rates = []
    stop = time.perf_counter() + _GEMM_S
    while len(rates) < 3 or time.perf_counter() < stop:
        start = time.perf_counter()
        for weight in weights:
            torch.nn.functional.linear(left, weight)
        rates.append(2.0 * rows * narrow * wide * count / (time.perf_counter() - start))
    return max(rates)  # what slows a try down is not arithmetic


@dataclass(frozen=True)
class Bound:
    """A stage's arithmetic, an utterance on average, and the seconds it takes at the measured rates."""

    stage: str
    gflop: float
    gflop_per_s: float  # at the stage's own shapes
    seconds: float
    seconds_at_best_rate: float


def lower_bound(sizes: WhisperConfig, written: Sequence[Written], beams: int) -> list[Bound]:
    """Each stage's bound, averaged over the utterances. Measures; set the threads before."""
    works = [work_of(sizes, one, beams) for one in written]
    stages = [work.stage for work in works[0]]
    decoder = sizes.decoder_layers * (12 * sizes.d_model**2 + 2 * sizes.d_model * sizes.decoder_ffn_dim)
    found: dict[str, tuple[float, float]] = {}
    for index, stage in enumerate(stages):
        ours = [work[index] for work in works]
        flops = statistics.fmean(work.flops for work in ours)
        rows = round(statistics.fmean(work.shape[0] for work in ours))
        is_decoding = stage in ("transcript", "prefill", "orders")
        rate = gemm_flops_per_s((max(1, rows), *ours[0].shape[1:]), decoder if is_decoding else 0)
        found[stage] = flops, rate
    best = max(rate for _, rate in found.values())
    return [Bound(stage, flops / 1e9, rate / 1e9, flops / rate, flops / best) for stage, (flops, rate) in found.items()]
