"""benchmarks/ablation_rows.py: trains each row once, scores it once, and shares what only decodes otherwise."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from speechre.data.store import read_manifest, write_manifest
from speechre.types import AudioRef
from tests.conftest import MakeSound


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("ablation_rows")


def test_rows_are_trained_and_scored_once(
    script: ModuleType,
    manifest: Path,
    make_sound: MakeSound,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = read_manifest(manifest)[0]
    spoken = [AudioRef(str(make_sound(f"audio/{n}.wav", 0.5 + 0.1 * n, n)), 0.0) for n in range(4)]
    dev = tmp_path / "dev.jsonl"
    write_manifest(
        dev,
        [type(first)(f"d{n}", audio, first.text, first.entities, first.relations) for n, audio in enumerate(spoken)],
    )
    output = tmp_path / "rows"
    settings = {"model.backbone": "random", "data.train": str(dev), "data.dev": "", "train.steps": "1"}
    settings |= {"train.batch_size": "2", "train.precision": "no", "decode.max_new_tokens": "60"}
    command = [str(dev), "--seeds", "5", "--output", str(output), "--beams", "1"]
    command += [part for key, value in settings.items() for part in (f"--{key}", value)]
    assert script.main([*command, "--rows", "copy,vote"]) == 0
    table = capsys.readouterr().out
    assert "4 utterances (0 over 30 s left out), boundary protocol, beams 1, 1 steps" in table
    rows = [script.ROWS["copy"], script.ROWS["vote"]]
    named = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| +")]
    assert named == [*rows, *rows]  # what they score, and how they differ
    # One training for both rows: the vote comes after it.
    assert sorted(path.name for path in output.iterdir()) == ["copy-5", "copy-5.json", "vote-5.json"]
    report = json.loads((output / "vote-5.json").read_text())
    assert report["seed"] == 5
    assert 0 <= report["low"] <= report["f1"] <= report["high"] <= 1

    monkeypatch.setattr(script, "Bench", lambda *args: pytest.fail("a row was scored twice"))
    assert script.main([*command, "--rows", "copy,vote"]) == 0
    assert capsys.readouterr().out == table

    # Scores that lie in a folder of their own need no model.
    scores = tmp_path / "scores"
    scores.mkdir()
    for row in ("copy", "vote"):
        (output / f"{row}-5.json").rename(scores / f"{row}-5.json")
    shutil.rmtree(output)
    command += ["--scores", str(scores)]
    assert script.main([*command, "--rows", "copy,vote"]) == 0
    assert capsys.readouterr().out == table
    assert not output.exists()

    longer = scores / "vote-5.json"
    longer.write_text(json.dumps(report | {"steps": 2}))
    assert script.main([*command, "--rows", "copy,vote"]) == 2
    assert f"{longer}: steps 2, but 1 in {scores / 'copy-5.json'}" in capsys.readouterr().err


def test_rows_are_compared_utterance_by_utterance(script: ModuleType) -> None:
    def report(row: str, seed: int, counts: str) -> dict[str, object]:
        return {"row": row, "seed": seed, "counts": counts}

    reports = {
        Path("a"): report("paper", 1, "u1:1/2/2 u2:0/1/1 un:seen:1/1/1"),
        Path("b"): report("correct", 1, "u1:2/2/2 u2:0/1/1 un:seen:0/0/1"),
        Path("c"): report("correct", 2, "u1:2/2/2 u2:1/1/1 un:seen:1/1/1"),
        Path("d"): {"row": "vote", "seed": 1},  # from before there were counts
    }
    lines = [line.split(" | ") for line in script.differences(reports).splitlines()[2:]]
    assert [line[0] for line in lines] == [f"| {script.ROWS[row]}" for row in ("paper", "correct")]
    assert [line[1] for line in lines] == ["50.0", "80.0"]  # of both seeds; the difference is that of seed 1
    assert lines[1][2].startswith("+7.1 (")
    assert lines[0][2] == ""
    without = [line.split(" | ")[1:3] for line in script.differences(reports, {"un:seen"}).splitlines()[2:]]
    assert without[0][0] == "33.3"
    assert without[1][1].startswith("+33.3 (")


def test_what_makes_no_row(
    script: ModuleType, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [str(manifest), "--output", str(tmp_path / "rows"), "--seeds", "1"]
    assert script.main([*command, "--rows", "nope"]) == 2
    assert "no row nope; expected some of paper, correct" in capfd.readouterr().err
    assert script.main([*command, "--rows", "paper", "--data.train", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capfd.readouterr().err
    assert not list(tmp_path.glob("rows/*.json"))
