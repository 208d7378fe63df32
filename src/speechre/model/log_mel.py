"""Log-mel features of a clip's exact length, with Whisper's numbers.

Whisper pads each clip with silence to 30 s before the features; here a clip keeps its length, rounded up to
the 20 ms that one encoder frame spans, so that a short utterance costs what it is worth. All but the last
frame, whose window reaches over the end of the clip, are those of the padded clip.

Shapes: N samples, M mel bins, T frames of 10 ms (even), F = 201 frequencies.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechre.errors import AudioError
from speechre.samples import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
"""The longest clip that the encoder takes: 30 s."""
HOP_SAMPLES = 160
_STFT_SAMPLES = 400
# The encoder's second convolution has stride 2: an odd number of frames would leave half an encoder frame.
_STEP_SAMPLES = 2 * HOP_SAMPLES
# Whisper cuts everything that lies more than 8 decades (80 dB) below the loudest value of the clip.
_DYNAMIC_RANGE = 8.0
_MIN_POWER = 1e-10


def num_frames(num_samples: int) -> int:
    """The even number of 10 ms frames that :func:`log_mel` gives a clip of ``num_samples`` samples."""
    return 2 * -(-num_samples // _STEP_SAMPLES)


def log_mel(samples: Tensor, num_mel_bins: int, exact_length: bool = True, tail_s: float = 0.0) -> Tensor:
    """Whisper's log-mel features of one clip.

    ``samples`` is (N,) floating point at 16 kHz, on any device; the result is (M, T) float32 there, T =
    :func:`num_frames` of N. The clip is padded with zeros to a whole number of 20 ms steps, so no sample is
    lost and a clip of any length works. The clamp at 80 dB below the maximum is over the whole clip: features
    depend on what is in the clip, not on other clips of a batch. ``tail_s`` seconds of silence follow the clip, as
    far as the window of 30 s has room for them; without ``exact_length`` a shorter clip is filled up with silence to
    :data:`WINDOW_SAMPLES`, as Whisper was trained. Raises :class:`AudioError` if there are no samples or some are not
    finite.
    """
    if samples.ndim != 1 or not samples.is_floating_point():
        raise ValueError(f"samples are {samples.dtype} {list(samples.shape)}; expected floating point (N,)")
    if samples.numel() == 0:
        raise AudioError("the clip holds no samples; expected at least one")
    if not bool(torch.isfinite(samples).all()):
        raise AudioError("the clip holds samples that are not finite (NaN or infinity); decode the audio again")
    room = max(0, WINDOW_SAMPLES - samples.numel())
    tail = min(room, round(tail_s * SAMPLE_RATE_HZ)) if exact_length else room
    missing = tail + -(samples.numel() + tail) % _STEP_SAMPLES
    padded = torch.nn.functional.pad(samples.to(torch.float32), (0, missing))
    window = torch.hann_window(_STFT_SAMPLES, device=samples.device)
    spectrum_FT = torch.stft(
        padded,
        _STFT_SAMPLES,
        HOP_SAMPLES,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    # stft centres one more frame on the end of the clip; Whisper drops it.
    power_FT = spectrum_FT[:, :-1].abs() ** 2
    filters_MF = torch.from_numpy(mel_filters(num_mel_bins)).to(samples.device)
    log_MT = (filters_MF @ power_FT).clamp(min=_MIN_POWER).log10()
    log_MT = torch.maximum(log_MT, log_MT.max() - _DYNAMIC_RANGE)
    return (log_MT + 4.0) / 4.0


@lru_cache(maxsize=4)
def mel_filters(num_mel_bins: int) -> npt.NDArray[np.float32]:
    """Slaney's filter bank, (M, F): triangles over 0 to 8 kHz, equally wide in mel, each of area 1 (in
    hertz).

    The array is cached: do not write to it. Raises ``ValueError`` if ``num_mel_bins`` is not positive.
    """
    if num_mel_bins <= 0:
        raise ValueError(f"num_mel_bins is {num_mel_bins}; expected a positive number (Whisper: 80 or 128)")
    nyquist_hz = SAMPLE_RATE_HZ / 2
    bins_hz = np.linspace(0.0, nyquist_hz, _STFT_SAMPLES // 2 + 1)
    corners_hz = _mel_to_hz(np.linspace(0.0, float(_hz_to_mel(nyquist_hz)), num_mel_bins + 2))
    left_hz, centre_hz, right_hz = corners_hz[:-2, None], corners_hz[1:-1, None], corners_hz[2:, None]
    rising = (bins_hz - left_hz) / (centre_hz - left_hz)
    falling = (right_hz - bins_hz) / (right_hz - centre_hz)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: npt.NDArray[np.float32] = (triangles * 2.0 / (right_hz - left_hz)).astype(np.float32)
    return filters


# Slaney's mel scale: linear below 1 kHz (15 mel), logarithmic above (27 mel for a factor of 6.4).
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < _BREAK_HZ else _BREAK_MEL + float(np.log(hz / _BREAK_HZ)) / _LOG_STEP


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)
