"""One tiny extractor and one service for the tests that do not change it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from speechre.extract.extractor import Extractor
from tests.serving import Running, running
from tests.tiny import tones


@pytest.fixture(scope="session")
def tiny_extractor(tiny_model_dir: Path) -> Extractor:
    return Extractor.from_pretrained(tiny_model_dir, device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def service(tiny_extractor: Extractor) -> Iterator[Running]:
    with running(tiny_extractor, max_upload_mib=2, max_duration_s=40) as service:
        yield service


def sound(duration_s: float = 0.5, seed: int = 0, kind: str = "flac") -> bytes:
    """The bytes of a recording, in which the tiny model hears something from most seeds."""
    file = io.BytesIO()
    soundfile.write(file, tones(seed, duration_s), 16_000, format=kind)
    return file.getvalue()
