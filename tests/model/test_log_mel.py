"""Log-mel features against transformers' WhisperFeatureExtractor, which has OpenAI's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from speechre.errors import AudioError
from speechre.model.log_mel import log_mel, mel_filters, num_frames


def make_clip(num_samples: int, seed: int = 0) -> torch.Tensor:
    """A chirp with noise that swells and fades, (N,) float32."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(num_samples) / 16_000
    noise = 0.02 * torch.randn(num_samples, generator=generator)
    return (0.5 * torch.sin(2 * torch.pi * (150 + 700 * time_s) * time_s) * torch.cos(3 * time_s) + noise).float()


def theirs(samples: torch.Tensor, *, pad_to_30_s: bool, num_mel_bins: int = 80) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    padding = "max_length" if pad_to_30_s else False
    features = extractor(samples.numpy(), sampling_rate=16_000, padding=padding, return_tensors="np")
    return torch.from_numpy(features["input_features"][0])


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_filter_bank_is_transformers(num_mel_bins: int) -> None:
    expected = mel_filter_bank(201, num_mel_bins, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney").T
    assert mel_filters(num_mel_bins).shape == (num_mel_bins, 201)
    np.testing.assert_allclose(mel_filters(num_mel_bins), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
@pytest.mark.parametrize("num_samples", [3_200, 16_000, 49_920])
def test_whole_steps_equal_transformers(num_samples: int, num_mel_bins: int) -> None:
    clip = make_clip(num_samples)
    expected = theirs(clip, pad_to_30_s=False, num_mel_bins=num_mel_bins)
    actual = log_mel(clip, num_mel_bins)
    assert actual.dtype == torch.float32
    assert actual.shape == expected.shape == (num_mel_bins, num_samples // 160)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [16_001, 16_159, 16_160, 16_319])
def test_a_broken_step_is_filled_with_zeros(num_samples: int) -> None:
    clip = make_clip(num_samples)
    filled = torch.nn.functional.pad(clip, (0, 16_320 - num_samples))
    actual = log_mel(clip, 80)
    assert actual.shape == (80, 102)
    torch.testing.assert_close(actual, theirs(filled, pad_to_30_s=False), rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [16_000, 40_123])
def test_only_the_last_frames_differ_from_the_30_s_clip(num_samples: int) -> None:
    clip = make_clip(num_samples)
    actual, padded = log_mel(clip, 80), theirs(clip, pad_to_30_s=True)
    difference = (actual - padded[:, : actual.shape[1]]).abs().amax(dim=0)
    # Frame t's window ends at sample 160 t + 200: only the last one reaches over the end, where one clip is
    # mirrored and the other is silent.
    assert difference[:-1].max() < 1e-4
    # Behind the clip there is nothing but the floor, 80 dB below the maximum.
    torch.testing.assert_close(padded[:, actual.shape[1] + 2 :].max(), actual.max() - 2.0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 159, 160, 199, 200, 201, 320, 321, 399, 400])
def test_a_clip_of_any_length_works(num_samples: int) -> None:
    actual = log_mel(make_clip(num_samples), 80)
    assert actual.shape == (80, num_frames(num_samples))
    assert num_frames(num_samples) % 2 == 0
    assert num_frames(num_samples) * 160 >= num_samples
    assert torch.isfinite(actual).all()


def test_silence_is_flat() -> None:
    torch.testing.assert_close(log_mel(torch.zeros(16_000), 80), torch.full((80, 100), -1.5))


def test_frames_do_not_depend_on_what_comes_later_unless_it_is_loud() -> None:
    clip = make_clip(32_000)
    clip[16_000:] *= 0.01
    torch.testing.assert_close(log_mel(clip[:16_000], 80)[:, :-1], log_mel(clip, 80)[:, :99], rtol=0, atol=1e-4)


def test_no_samples_is_an_audio_error() -> None:
    with pytest.raises(AudioError, match="no samples"):
        log_mel(torch.zeros(0), 80)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_an_audio_error(value: float) -> None:
    clip = make_clip(1000)
    clip[500] = value
    with pytest.raises(AudioError, match="not finite"):
        log_mel(clip, 80)


@pytest.mark.parametrize("samples", [torch.zeros(2, 400), torch.zeros(400, dtype=torch.int16)])
def test_wrong_tensors_are_value_errors(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected floating point"):
        log_mel(samples, 80)


def test_without_exact_length_a_clip_is_filled_up_to_the_window() -> None:
    clip = torch.sin(torch.arange(16_000) / 10)
    filled = torch.nn.functional.pad(clip, (0, 29 * 16_000))
    assert log_mel(clip, 80, exact_length=False).shape == (80, 3000)
    assert torch.equal(log_mel(clip, 80, exact_length=False), log_mel(filled, 80))
    assert log_mel(clip, 80).shape == (80, 100)
