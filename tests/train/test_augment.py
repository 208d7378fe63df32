"""Rooms, telephones and noise: what they do to a sound, and that they repeat."""

from __future__ import annotations

import random

import numpy as np
import pytest

from speechre.config import AugmentConfig
from speechre.train.augment import augment

OFF = {"pad_s": 0.0, "speed": 0.0, "noise_snr_db": 0.0, "time_masks": 0, "mel_masks": 0}
RATE_HZ = 16_000


def click_train(seconds: float = 1.0) -> np.ndarray:
    """A click in silence, then nothing."""
    samples = np.zeros(int(seconds * RATE_HZ), np.float32)
    samples[1000:1010] = 0.5
    return samples


def share_above(samples: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(power[frequencies > hz].sum() / power.sum())


def run(samples: np.ndarray, seed: int = 1, **options: float) -> np.ndarray:
    return augment(samples, AugmentConfig(**{**OFF, **options}), random.Random(seed))


@pytest.mark.parametrize("options", [{"room": 1.0}, {"telephone": 1.0}, {"noise_snr_db": 5.0, "colored_noise": True}])
def test_each_repeats_with_its_seed_and_keeps_length_and_type(options: dict[str, float]) -> None:
    samples = np.random.default_rng(3).standard_normal(8000, dtype=np.float32) * np.float32(0.1)
    one, again = run(samples, 5, **options), run(samples, 5, **options)
    assert np.array_equal(one, again)
    assert one.shape == samples.shape
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    others = [run(samples, seed, **options) for seed in range(6)]
    assert any(not np.allclose(samples, other) for other in others)
    if "telephone" not in options:  # a telephone has nothing to draw
        assert any(not np.allclose(one, other) for other in others)


def test_a_room_fills_the_time_behind_a_sound_and_nothing_before_it() -> None:
    wet = run(click_train(), room=1.0)
    assert np.abs(wet[:1000]).max() < 1e-6
    assert np.square(wet[1200:6000]).sum() > 1e-3
    # The tail decays.
    assert np.square(wet[1010:3000]).sum() > 4 * np.square(wet[9000:11000]).sum()
    # Power stays.
    assert np.square(wet).mean() == pytest.approx(np.square(click_train()).mean(), rel=1e-3)


def test_a_telephone_cuts_above_four_kilohertz_and_keeps_what_is_below() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    samples = (0.3 * np.sin(2 * np.pi * 1000 * time_s) + 0.3 * np.sin(2 * np.pi * 6000 * time_s)).astype(np.float32)
    heard = run(samples, telephone=1.0)
    assert share_above(samples, 4200) > 0.45
    assert share_above(heard, 4200) < 0.01
    assert np.corrcoef(heard, 0.3 * np.sin(2 * np.pi * 1000 * time_s))[0, 1] > 0.9


def test_colored_noise_has_the_asked_for_power_and_is_darker_than_white() -> None:
    samples = np.ones(RATE_HZ, np.float32)
    darker = 0
    for seed in range(20):
        noise = run(samples, seed, noise_snr_db=10.0, colored_noise=True) - samples
        if not noise.any():
            continue
        assert 10 - 0.3 <= -10 * np.log10(np.square(noise).mean()) <= 35 + 0.3
        darker += share_above(noise, 4000) < 0.4
    assert darker >= 5


def test_gain_is_within_its_range() -> None:
    samples = np.full(100, 0.1, np.float32)
    factors = [float(run(samples, seed, gain_db=6.0)[0]) / 0.1 for seed in range(50)]
    assert 0.5 <= min(factors) < 0.75
    assert 1.3 < max(factors) <= 2.0
