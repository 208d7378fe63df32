"""benchmarks/cold_start.py: commands that can be run, each timed in processes of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from speechre.cli import build_parser
from speechre.samples import SAMPLE_RATE_HZ


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("cold_start")


def test_commands_are_ones_that_there_are(script: ModuleType) -> None:
    rows = script.commands_of(["speechre-tiny-conll04"], Path("ten.wav"))
    ours = [arguments[2:] for name, arguments in rows.items() if name.startswith("speechre extract")]
    assert len(ours) == 2
    for arguments in ours:
        assert build_parser().parse_args(arguments).model == "speechre-tiny-conll04"


def test_the_recording_lasts_ten_seconds(script: ModuleType) -> None:
    sound = script.ten_seconds()
    assert len(sound) == 10 * SAMPLE_RATE_HZ
    assert abs(sound).max() > 0.01


def test_the_first_pass_is_not_timed(script: ModuleType) -> None:
    seconds = script.measure({"sleep": ["-c", "import time; time.sleep(0.2)"], "help": ["-m", "speechre", "--help"]}, 2)
    assert {name: len(passes) for name, passes in seconds.items()} == {"sleep": 2, "help": 2}
    assert min(seconds["sleep"]) > 0.2
    assert "| sleep | 0." in script.to_markdown({"python": "3"}, seconds)
