from __future__ import annotations

import numpy as np
import pytest

from speechre.extract.chunks import split_at_pauses

RATE = 16000


@pytest.mark.parametrize("duration_s", [0.01, 1.0, 29.99, 30.0])
def test_short_recordings_stay_whole(duration_s: float) -> None:
    samples = np.ones(int(duration_s * RATE), dtype=np.float32)
    (chunk,) = split_at_pauses(samples)
    assert np.array_equal(chunk, samples)


def test_nothing_is_lost_and_no_chunk_is_too_long() -> None:
    samples = np.random.default_rng(0).standard_normal(int(200.3 * RATE)).astype(np.float32)
    chunks = split_at_pauses(samples)
    assert np.array_equal(np.concatenate(chunks), samples)
    assert all(20.0 * RATE <= len(chunk) <= 30.0 * RATE for chunk in chunks[:-1])
    assert 0 < len(chunks[-1]) <= 30.0 * RATE


def test_the_cut_falls_into_the_pause() -> None:
    samples = np.random.default_rng(1).standard_normal(40 * RATE).astype(np.float32)
    samples[25 * RATE : int(25.5 * RATE)] *= 0.001
    first, second = split_at_pauses(samples)
    assert 25.0 <= len(first) / RATE <= 25.5
    assert len(first) + len(second) == len(samples)
