"""Where long recordings are cut, and that nothing of them is lost, kept in memory or told at the wrong time."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from speechre.extract.chunks import Chunk, TimeMap, choose_pause, cut_at_pauses
from speechre.extract.vad import FRAME_S, FRAME_SAMPLES

RATE = 16000


class LoudIsSpeech:
    """A detector that has nothing to learn: whatever is not faint is speech."""

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return np.abs(samples.reshape(-1, FRAME_SAMPLES)).max(axis=1) > 0.01


def speech(duration_s: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE)).astype(np.float32)


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE), dtype=np.float32)


def cut(samples: np.ndarray, block: int = 50_000, start_s: float = 0.0) -> list[Chunk]:
    blocks = (samples[i : i + block] for i in range(0, len(samples), block))
    return list(cut_at_pauses(blocks, LoudIsSpeech, start_s))


@pytest.mark.parametrize("duration_s", [0.01, 1.0, 29.99, 30.0])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_short_recordings_stay_whole_speech_or_not(duration_s: float, level: float) -> None:
    samples = np.full(int(duration_s * RATE), level, dtype=np.float32)
    (chunk,) = cut(samples, start_s=5.0)
    assert np.array_equal(chunk.samples, samples)
    assert (chunk.clock.start_s, chunk.clock.end_s) == (5.0, 5.0 + len(samples) / RATE)
    assert not chunk.clock.is_shared


def test_no_sound_makes_no_chunk() -> None:
    assert cut(silence(0)) == []


def test_every_chunk_is_what_its_clock_says() -> None:
    parts = [speech(1 + seed % 7, seed) if seed % 2 else silence(0.1 * (seed % 9)) for seed in range(40)]
    samples = np.concatenate([*parts, speech(45.0, 99)])
    chunks = cut(samples, start_s=100.0)
    assert len(chunks) > 5
    for chunk in chunks:
        first = round((chunk.clock.start_s - 100.0) * RATE)
        assert np.array_equal(chunk.samples, samples[first : first + len(chunk.samples)])
        assert chunk.clock.end_s == pytest.approx(chunk.clock.start_s + len(chunk.samples) / RATE)
        assert len(chunk.samples) <= 30 * RATE


def test_all_speech_is_in_some_chunk_and_long_silence_in_none() -> None:
    rng = np.random.default_rng(3)
    parts = [part for _ in range(30) for part in (speech(rng.uniform(0.3, 12)), silence(rng.uniform(0.0, 3)))]
    samples = np.concatenate([silence(20), *parts, silence(50)])
    heard = np.zeros(len(samples), dtype=bool)
    for chunk in cut(samples):
        first = round(chunk.clock.start_s * RATE)
        heard[first : first + len(chunk.samples)] = True
    assert heard[np.abs(samples) > 0.01].all()
    assert heard[: 19 * RATE].sum() == 0
    assert heard[-49 * RATE :].sum() == 0
    assert heard.sum() < len(samples) - 75 * RATE


@pytest.mark.parametrize("block", [1, 7_001, 16_000, 10**9])
def test_the_size_of_the_blocks_changes_nothing(block: int) -> None:
    samples = np.concatenate([speech(4), silence(0.8), speech(33, 1), silence(0.4), speech(2, 2)])
    if block == 1:  # each sample by itself would take minutes: a few at odd places are enough
        edges = [0, 1, 2, 479_999, 480_000, 480_001, len(samples)]
        blocks = (samples[a:b] for a, b in itertools.pairwise(edges))
        chunks = list(cut_at_pauses(blocks, LoudIsSpeech))
    else:
        chunks = cut(samples, block)
    expected = cut(samples, 50_000)
    assert [chunk.clock for chunk in chunks] == [chunk.clock for chunk in expected]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(chunks, expected, strict=True))


def test_the_cut_falls_into_the_pause() -> None:
    first, second = cut(np.concatenate([speech(25.0), silence(0.5), speech(14.5, 1)]))
    assert 25.0 <= first.clock.end_s <= second.clock.start_s <= 25.5
    assert not first.clock.is_shared
    assert not second.clock.is_shared


def test_without_a_pause_two_chunks_overlap_at_the_quietest_place_and_share_the_time() -> None:
    samples = speech(50.0)
    samples[round(24.0 * RATE) : round(24.12 * RATE)] *= 0.3  # quieter, but speech
    first, second = cut(samples)
    assert first.clock.own_end_s == second.clock.own_start_s == pytest.approx(24.06, abs=0.04)
    assert first.clock.end_s - second.clock.start_s == pytest.approx(1.024, abs=1e-6)
    assert first.clock.is_shared
    assert second.clock.is_shared
    for moment in (0.0, 23.9, 24.5, 49.9):
        assert first.clock.owns(moment) != second.clock.owns(moment)


def test_speech_that_ends_right_behind_a_cut_is_heard_once() -> None:
    for extra_s in np.arange(28.0, 32.0, 0.1):
        samples = np.concatenate([speech(float(extra_s)), silence(5.0)])
        chunks = cut(samples)
        heard = np.zeros(len(samples), dtype=bool)
        for chunk in chunks:
            first = round(chunk.clock.start_s * RATE)
            heard[first : first + len(chunk.samples)] = True
        assert heard[np.abs(samples) > 0.01].all(), extra_s


def frames(*runs: tuple[bool, float]) -> np.ndarray:
    return np.concatenate([np.full(round(duration_s / FRAME_S), value) for value, duration_s in runs])


def test_the_longer_the_chunk_the_shorter_a_pause_will_do() -> None:
    def end_s(speech_s: float, pause_s: float) -> float:
        pause = choose_pause(frames((True, speech_s), (False, pause_s), (True, 3.0)), is_end=True)
        assert pause is not None
        return pause[0] * FRAME_S

    assert end_s(2.0, 0.4) > 5.0
    assert end_s(2.0, 0.8) == pytest.approx(2.0, abs=0.04)
    assert end_s(18.0, 0.15) > 20.0
    assert end_s(18.0, 0.4) == pytest.approx(18.0, abs=0.04)


def test_a_click_is_no_chunk() -> None:
    assert cut(np.concatenate([silence(20), speech(0.1), silence(20)])) == []
    assert len(cut(np.concatenate([silence(20), speech(0.4), silence(20)]))) == 1


def test_memory_does_not_grow_with_the_recording() -> None:
    def hours(count: float) -> Iterator[np.ndarray]:
        talk = np.concatenate([speech(11.0), silence(1.0)])
        for _ in range(round(count * 300)):
            yield talk

    def peak(count: float) -> int:
        tracemalloc.start()
        num_chunks = sum(1 for _ in cut_at_pauses(hours(count), LoudIsSpeech))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert num_chunks >= count * 299
        return most

    peak(0.02)
    assert peak(0.4) < 1.2 * peak(0.1)


def test_a_time_map_adds_the_chunk_s_beginning_and_ends_with_the_chunk() -> None:
    clock = TimeMap(12.5, 20.0)
    assert clock.to_recording_s(0.5) == 13.0
    assert clock.to_recording_s(9.0) == 20.0
