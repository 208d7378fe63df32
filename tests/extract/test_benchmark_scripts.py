"""benchmarks/recordings.py and benchmarks/evidence.py, on a tiny model and spoken tones."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from speechre.decode.alignment import TranscriptTimes
from speechre.decode.engine import Decoded
from speechre.extract.extractor import Extractor

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_recordings_measures_a_long_recording_and_nothing_at_all(
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, report = load("recordings"), tmp_path / "report.json"
    monkeypatch.setattr(script, "PAUSES_S", (12.0, 13.0))  # three short utterances make more than 30 s
    options = ["--model", str(tiny_model_dir), "--minutes", "1", "--noise-minutes", "0.6", "--json", str(report)]
    monkeypatch.setattr("sys.argv", ["recordings.py", str(manifest), *options])
    script.main()
    rows = {row["recording"]: row for row in json.loads(report.read_text())}
    assert list(rows) == ["long", "silence", "white noise", "held chord", "melody", "one by one"]
    assert [rows[name]["num_chunks"] for name in ("silence", "white noise", "held chord")] == [0, 0, 0]
    assert rows["long"]["audio_s"] > 30
    assert rows["long"]["num_triplets"] >= rows["long"]["num_nowhere"]
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_evidence_measures_the_distance_to_where_things_were_said(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("evidence")

    def tone(text: str, voice: str) -> np.ndarray:
        return np.full(len(text.strip(".,")) * 1600, 0.5, np.float32)  # a tenth of a second a letter

    monkeypatch.setattr(script, "synthesize", tone)
    known = script.by_parts([("Ann", True), (" lives in ", False), ("Oslo", True), (".", False)], "any:voice")
    assert known.entities["Ann"] == pytest.approx((0.0, 0.3))
    assert known.entities["Oslo"] == pytest.approx((1.2, 1.6))
    times = TranscriptTimes((0, 4, 10, 13, 17, 18), (0.1, 0.4, 0.9, 1.3, 1.7, 1.75))
    heard = Decoded("Ann lives in Oslo.", True, {}, {}, times)
    extractor = Extractor.from_pretrained(tiny_model_dir)
    monkeypatch.setattr(extractor.engine, "decode", lambda mels: [heard])
    errors = script.errors_s(extractor, [known], None)
    assert errors == [pytest.approx((0.1, 0.1)), pytest.approx((0.1, 0.1))]
    assert script.summary(errors)["median_s"] == pytest.approx(0.1)
    assert script.summary([*errors, (0.5, -0.5)])["share_under_0.2_s"] == pytest.approx(2 / 3)
