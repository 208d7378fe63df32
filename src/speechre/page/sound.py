"""Recordings small enough to lie in a page, where a click plays them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from itertools import takewhile

import soundfile

from speechre.samples import SAMPLE_RATE_HZ, Samples

_OPUS_SAMPLES = 16_000


def encode_opus(samples: Samples) -> bytes:
    """Mono float32 samples at 16 kHz, (samples,), as an Ogg Opus file of about 3 kB a second, for pages."""
    file = io.BytesIO()
    _write_opus(file, [samples])
    return file.getvalue()


def encode_opus_blocks(blocks: Iterable[Samples], max_bytes: int) -> bytes | None:
    """As :func:`encode_opus` of sound that comes in blocks, in constant memory but for the file; None, and no block
    more than needed, where that would be of more than ``max_bytes``.
    """
    file = io.BytesIO()
    _write_opus(file, takewhile(lambda _: file.tell() <= max_bytes, blocks))
    return file.getvalue() if file.tell() <= max_bytes else None


def _write_opus(file: io.BytesIO, blocks: Iterable[Samples]) -> None:
    with soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, format="OGG", subtype="OPUS") as encoder:
        for block in blocks:
            for start in range(0, len(block), _OPUS_SAMPLES):  # libsndfile can overflow its stack on one large block
                encoder.write(block[start : start + _OPUS_SAMPLES])


def sound_uri(opus: bytes) -> str:
    """What :func:`encode_opus` gives as a data URI: a page with it needs no other file."""
    return f"data:audio/ogg;base64,{base64.b64encode(opus).decode('ascii')}"
