"""Where speech is heard: rooms and noise, made up from the caller's generator, so that a sample can be repeated."""

from __future__ import annotations

import random

import numpy as np

from speechre.samples import SAMPLE_RATE_HZ, Samples


def with_noise(samples: Samples, snr_db: float, rng: random.Random, *, is_colored: bool = False) -> Samples:
    """White noise, or colored with any slope down to brown (power falling with the frequency squared)."""
    noise = _numpy_rng(rng).standard_normal(len(samples), dtype=np.float32)
    if is_colored and len(samples) > 1:
        spectrum = np.fft.rfft(noise)
        # Flat below 50 Hz, so that not all of the power lies where nobody hears it.
        bins = np.maximum(np.arange(len(spectrum)), 50 * len(samples) / SAMPLE_RATE_HZ)
        noise = np.fft.irfft(spectrum * bins ** (-rng.uniform(0.0, 1.0)), len(samples)).astype(np.float32)
        noise /= np.sqrt(np.mean(np.square(noise))) + 1e-10
    power = float(np.mean(np.square(samples))) + 1e-10
    return samples + noise * np.float32(np.sqrt(power / 10 ** (snr_db / 10)))


def in_a_room(samples: Samples, rng: random.Random) -> Samples:
    """Convolved with a made-up impulse response: direct sound and exponentially decaying noise (Polack 1988).

    Reverberation time (60 dB) 0.15 to 0.7 s, direct-to-reverberant ratio 0 to 15 dB; length and power stay.
    """
    decay_s, ratio_db = rng.uniform(0.15, 0.7), rng.uniform(0.0, 15.0)
    time_s = np.arange(int(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = _numpy_rng(rng).standard_normal(len(time_s)) * np.exp(-6.9 * time_s / decay_s)
    tail *= np.sqrt(10 ** (-ratio_db / 10) / np.sum(np.square(tail)))
    tail[0] += 1.0
    size = len(samples) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    before, after = (float(np.sqrt(np.mean(np.square(x)))) for x in (samples, wet))
    return (wet * (before / (after + 1e-10))).astype(np.float32)


def _numpy_rng(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(32))
