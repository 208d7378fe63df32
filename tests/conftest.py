"""What several test folders share: a tiny model folder and recordings that are made on the spot."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Read when numpy and torch are loaded, here and in the processes that tests start. Tiny networks gain nothing from more
# threads; and on a machine that others use too, the threads of every small operation wait for one that does not run: a
# test of half a second took fifteen.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from speechre.config import Config
from speechre.data.store import write_manifest
from speechre.schemas import CONLL04
from speechre.types import AudioRef, Entity, Relation, Utterance

# A busy machine is slow, not wrong: pytest-timeout is the only clock.
settings.register_profile("speechre", deadline=None)
settings.load_profile("speechre")

MakeSound = Callable[..., Path]


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    """A tone under noise, at 16 kHz."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    hiss = np.random.default_rng(seed).standard_normal(len(time_s)) * 0.05
    return (0.2 * np.sin(2 * np.pi * (200 + 50 * seed) * time_s) + hiss).astype(np.float32)


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    """A script that sets torch's threads sets them for its own test only."""
    torch = sys.modules.get("torch")
    threads = torch and torch.get_num_threads()
    yield
    if torch:
        torch.set_num_threads(threads)


@pytest.fixture
def hears_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages show was heard in float32; in bfloat16, where a machine is fast in it, a last digit may be another."""
    monkeypatch.setattr("speechre.decode.engine.choose_precision", lambda name, device: "no")


@pytest.fixture
def make_sound(tmp_path: Path) -> MakeSound:
    """Writes a recording under ``tmp_path`` and returns its path."""

    def make(name: str = "sound.wav", duration_s: float = 0.6, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(duration_s, seed), 16_000)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with two narrow layers of random weights and tiny.en's vocabulary. Do not change it."""
    from speechre.model.checkpoint import save_checkpoint
    from tests.tiny import tiny_network

    config = Config.from_dict(
        {
            "name": "tiny",
            "model": {"backbone": "random"},
            # Threshold 0: what random weights write passes the vote, so that there is something to look at.
            "decode": {"max_new_tokens": 24, "max_transcript_tokens": 12, "threshold": 0.0},
        }
    )
    network, sequencer = tiny_network()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(folder, network, sequencer.tokenizer, CONLL04, config)
    return folder


@pytest.fixture
def manifest(tmp_path: Path, make_sound: MakeSound) -> Path:
    """Three annotated utterances with recordings of different lengths; the last one has no triplet."""
    utterances = [
        Utterance(
            id=f"u{number}",
            audio=AudioRef(str(make_sound(f"audio/u{number}.wav", 0.4 + 0.3 * number, number)), 0.0),
            text="Ann Lee lives in Oslo .",
            entities=(Entity("Ann Lee", "Peop", "e0", 0, 7), Entity("Oslo", "Loc", "e1", 17, 21)),
            relations=(Relation("e0", "e1", "Live_In"),) if number < 2 else (),
        )
        for number in range(3)
    ]
    path = tmp_path / "gold.jsonl"
    write_manifest(path, utterances)
    return path


@pytest.fixture
def read_jsonl() -> Callable[[Path | str], list[dict]]:
    """Objects of a JSON-lines file (a path) or text."""

    def read(source: Path | str) -> list[dict]:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        return [json.loads(line) for line in text.splitlines()]

    return read
