"""Samples in memory: any channels, rate and type of number to what every model hears, 16 kHz mono float32."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from speechre.containers import MAX_CHANNELS
from speechre.errors import AudioError

try:
    import soxr
except (ImportError, OSError) as error:
    raise AudioError(f'cannot decode audio: {error}; install it with "pip install soundfile soxr"') from error

Samples: TypeAlias = npt.NDArray[np.float32]
SAMPLE_RATE_HZ = 16000
MIN_RATE_HZ = 1000
MAX_RATE_HZ = 768_000
MAX_CANCELLED = 0.001
"""A mean of channels that has less than this share of their power (-30 dB) is what they leave of each other; one of 32
channels that speaks alone leaves 1/32."""
SILENT_POWER = 1e-8
"""Channels of less than this (-80 dB) say nothing, together or apart."""
MAX_PEAK = 100.0
"""Float samples lie in -1..1 (lossy codecs overshoot a little); a peak above this is a fault of scale."""
BLOCK_FRAMES = 65536


def at_speed(samples: Samples, speed: float, quality: str = "HQ") -> Samples:
    """Samples played ``speed`` times as fast, pitch and all, so 1 / ``speed`` times as many; ``quality`` is soxr's."""
    played: Samples = soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality=quality)
    return played.astype(np.float32, copy=False)


def from_array(array: npt.ArrayLike, rate_hz: int) -> Samples:
    """Samples that are in memory already, as float32 mono at 16 kHz: (samples,).

    ``array`` is (samples,) or (samples, channels); channels are averaged. Integers are scaled by their type's
    range (int8, uint8, int16, int32), floats must lie in -1..1 (a little overshoot is fine). Raises
    :class:`AudioError` on any other shape or type, on no samples, NaN, infinite values, floats of integers'
    scale, channels that cancel each other and an impossible rate.
    """
    name = "array"
    try:
        # A tensor of torch, which needs no import here: of a GPU, of a type that numpy lacks, or in training.
        tensor: Any = array.detach().cpu() if hasattr(array, "detach") else array
        values = np.asarray(tensor.float() if str(getattr(tensor, "dtype", "")) == "torch.bfloat16" else tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"{name}: {type(array).__name__} is no array of samples ({error}); expected (samples,) or (samples, "
            "channels)"
        ) from error
    if values.ndim not in (1, 2) or (values.ndim == 2 and not 1 <= values.shape[1] <= MAX_CHANNELS):
        hint = "; transpose it: channels come last" if values.ndim == 2 and values.shape[1] > MAX_CHANNELS else ""
        raise AudioError(
            f"{name}: got shape {values.shape}; expected (samples,) or (samples, channels) with 1 to "
            f"{MAX_CHANNELS} channels{hint}"
        )
    if values.shape[0] == 0:
        raise AudioError(f"{name}: it holds no samples; expected at least one")
    check_rate(rate_hz, name)
    scaled = _scale(values, name)
    if scaled.ndim == 1:
        scaled = scaled[:, np.newaxis]
    mix = Mix(name)
    mono = mix.to_mono(scaled, 0, rate_hz)
    mix.check()
    blocks = (mono[i : i + BLOCK_FRAMES] for i in range(0, len(mono), BLOCK_FRAMES))
    return np.concatenate(list(resampled(blocks, rate_hz, name)))


def check_rate(rate_hz: Any, name: str) -> None:
    """Raises :class:`AudioError` on what is no sampling rate of sound."""
    is_number = isinstance(rate_hz, numbers.Real) and not isinstance(rate_hz, bool)
    if not (is_number and MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ and rate_hz == int(rate_hz)):
        raise AudioError(
            f"{name}: a sampling rate of {rate_hz!r} Hz; expected a whole number from {MIN_RATE_HZ} to {MAX_RATE_HZ}"
        )


class Mix:
    """The mean of the channels, and what they leave of each other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._num_frames = 0
        self._power = self._mixed_power = 0.0  # squares, summed over all frames

    def to_mono(self, block: Samples, position: int, rate_hz: int) -> Samples:
        """(frames, channels) -> (frames,), checked."""
        # A peak is NaN when one sample is, so that two passes find all faults.
        peak = float(max(block.max(), -block.min()))
        if not math.isfinite(peak):
            row = int(np.argmin(np.isfinite(block).all(axis=1)))
            raise AudioError(
                f"{self._name}: a sample that is not a finite number at {(position + row) / rate_hz:.3f} s; export "
                "the audio again"
            )
        if peak > MAX_PEAK:
            raise AudioError(
                f"{self._name}: float samples with a peak of {peak:g}; expected -1 to 1; divide by the range of the "
                "original integers"
            )
        if block.shape[1] == 1:
            return np.ascontiguousarray(block[:, 0], dtype=np.float32)
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        self._num_frames += len(block)
        self._power += float(np.vdot(block, block)) / block.shape[1]
        self._mixed_power += float(np.vdot(mono, mono))
        return mono

    def check(self) -> None:
        """Raises :class:`AudioError` where the channels cancel each other: nobody would hear what they say."""
        is_loud = self._power > SILENT_POWER * self._num_frames
        if is_loud and self._mixed_power < MAX_CANCELLED * self._power:
            raise AudioError(
                f"{self._name}: its channels cancel each other (one is recorded upside down): "
                f"{self._mixed_power / self._power:.2%} of their power is left in their mean, which is what is heard; "
                'keep one of them: "ffmpeg -i IN -af pan=mono|c0=c0 OUT.wav"'
            )


def _scale(values: npt.NDArray[Any], name: str) -> Samples:
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype in (np.float16, np.float32, np.float64):
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite and is refused as such
            return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128.0) / np.float32(128.0)
    if values.dtype in (np.int8, np.int16, np.int32):
        scale = float(2 ** (8 * values.dtype.itemsize - 1))
        return (values / scale).astype(np.float32)
    raise AudioError(
        f"{name}: samples of type {values.dtype}; expected float16/32/64, int8, uint8, int16 or int32: the type sets "
        "the scale, so give integers the one that they were recorded in, as in array.astype(numpy.int16)"
    )


def resampled(blocks: Iterable[Samples], rate_hz: int, name: str) -> Iterator[Samples]:
    """``blocks`` at 16 kHz; none is empty, and there is at least one."""
    num_frames, is_empty = 0, True
    stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    end: list[Samples | None] = [None]
    for block in chain(blocks, end):
        num_frames += 0 if block is None else len(block)
        if rate_hz != SAMPLE_RATE_HZ:
            last = np.zeros(0, dtype=np.float32)
            block = stream.resample_chunk(last if block is None else block, last=block is None)
        if block is not None and len(block):
            is_empty = False
            yield block
    if is_empty:
        raise AudioError(f"{name}: {num_frames} frames at {rate_hz} Hz are too short for a single sample at 16 kHz")
