"""benchmarks/service.py: the same recordings with and without the service, and the same answers."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import MakeSound


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("service")


def test_every_row_hears_every_recording(
    script: ModuleType, make_sound: MakeSound, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(make_sound(f"{n}.wav", 0.3 + 0.2 * n, n)) for n in range(3)]
    options = ["--model", str(tiny_model_dir), "--clients", "1,2", "--rounds", "2", "--repeat", "1", "--threads", "1"]
    assert script.main([*files, *options]) == 0
    out = capsys.readouterr().out
    assert "6 requests of 3.0 s together" in out
    rows = [line.split(" | ")[0] for line in out.splitlines() if line.startswith("| ")][1:]
    assert rows == ["| no service, batches of 1", "| no service, batches of 8", "| 1 client", "| 2 clients"]


def test_rows_that_answer_differently_are_told(script: ModuleType) -> None:
    script.check_same({"a": {"x": "said"}, "b": {"x": "said"}})
    with pytest.raises(SystemExit, match="the rows do not answer alike"):
        script.check_same({"a": {"x": "said"}, "b": {"x": "sad"}})


def test_half_and_95_percent_of_the_requests_are_under_the_latencies(script: ModuleType) -> None:
    seconds = [float(n) for n in range(1, 101)]
    row = script.figures([(50.0, seconds, {})], 100, 500.0)
    assert row == {"requests_per_s": 2.0, "real_time_factor": 0.1, "p50_s": 51.0, "p95_s": 96.0}
    assert script.figures([(50.0, [], {})], 100, 500.0)["p50_s"] is None
