"""Changes of the training audio: rooms, telephones, noise, speed, silence, and masked log-mels.

All take their randomness from the caller's generator, so a sample can be repeated.
"""

from __future__ import annotations

import random

import numpy as np
import soxr
from torch import Tensor

from speechre.config import AugmentConfig
from speechre.data.surroundings import in_a_room, with_noise
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.samples import SAMPLE_RATE_HZ, Samples, at_speed

_TELEPHONE_RATE_HZ = 8000
_MU = 255.0  # of the mu-law companding, ITU-T G.711


def augment(samples: Samples, config: AugmentConfig, rng: random.Random) -> Samples:
    """Speed, room, silence around the speech, noise, telephone, loudness; float32 in, float32 out, never over 30 s."""
    if config.speed:
        # Never so slow that the end falls out of the window: the targets stay whole.
        factor = max(rng.uniform(1 - config.speed, 1 + config.speed), len(samples) / WINDOW_SAMPLES)
        samples = at_speed(samples, factor, quality="LQ")
    if config.room and rng.random() < config.room:
        samples = in_a_room(samples, rng)
    if config.pad_s:
        before, after = (int(rng.uniform(0, config.pad_s) * SAMPLE_RATE_HZ) for _ in range(2))
        before = min(before, max(0, WINDOW_SAMPLES - len(samples)))
        samples = np.pad(samples, (before, after))
    samples = samples[:WINDOW_SAMPLES]  # silence, or a few samples of the resampler's rounding
    if config.noise_snr_db and rng.random() < 0.5:
        snr_db = rng.uniform(config.noise_snr_db, config.noise_snr_db + 25)
        samples = with_noise(samples, snr_db, rng, is_colored=config.colored_noise)
    if config.telephone and rng.random() < config.telephone:
        samples = _by_telephone(samples)
    if config.gain_db:
        samples = samples * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
    return samples


def _by_telephone(samples: Samples) -> Samples:
    """Nothing above 4 kHz, and eight bits on a logarithmic scale."""
    narrow = soxr.resample(samples, SAMPLE_RATE_HZ, _TELEPHONE_RATE_HZ, quality="LQ")
    peak = float(np.abs(narrow).max()) + 1e-10
    companded = np.sign(narrow) * np.log1p(_MU * np.abs(narrow) / peak) / np.log1p(_MU)
    coarse = np.round(companded * 127) / 127
    decoded = np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(_MU)) / _MU * peak
    wide = soxr.resample(decoded.astype(np.float32), _TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ, quality="LQ")
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)].astype(np.float32)


def mask_mel(mel_MF: Tensor, config: AugmentConfig, rng: random.Random) -> Tensor:
    """SpecAugment (Park et al. 2019): stretches of time and of pitch become the clip's mean."""
    mel_MF = mel_MF.clone()
    mean = mel_MF.mean()
    num_bins, num_frames = mel_MF.shape
    for _ in range(config.time_masks):
        length = int(rng.uniform(0, min(config.time_mask_s * 100, num_frames / 4)))
        start = rng.randint(0, num_frames - length)
        mel_MF[:, start : start + length] = mean
    for _ in range(config.mel_masks):
        length = rng.randint(0, min(config.mel_mask_bins, num_bins))
        start = rng.randint(0, num_bins - length)
        mel_MF[start : start + length] = mean
    return mel_MF
