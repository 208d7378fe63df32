"""``--names``: the names that a user knows beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.cli.model import read_names
from speechre.errors import UsageError


def test_one_name_a_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffAnn  Lee\n\n# places\n  Oslo\nAnn Lee\r\nÅse Ødegård\n#\n", encoding="utf-8")
    assert read_names(path) == ("Ann Lee", "Oslo", "Åse Ødegård")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"\n# nobody\n", "no name in it; expected one a line, or leave the option out"),
        (b"Ann\n" + b"x" * 101, '"x{40}..." has 101 characters; expected a name a line, of at most 100'),
        ("Åse".encode("latin-1"), "can't decode byte .*; expected a text file in UTF-8, a name a line"),
    ],
)
def test_files_without_names(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"--names .*names\.txt: .*{message}"):
        read_names(path)


def test_a_recording_is_heard_with_known_names(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Zoltan Quux\n")
    sound = sorted((tmp_path / "audio").iterdir())[0]
    command = ["extract", str(sound), "--model", str(tiny_model_dir), "--format", "jsonl", "--transcript-beams", "3"]
    transcripts = []
    for options in ([], ["--names", str(names), "--name-bonus", "20"], ["--names", str(names), "--name-bonus", "0"]):
        assert main([*command, *options]) == 0
        transcripts.append(json.loads(capsys.readouterr().out)["transcript"])
    assert "Zoltan Quux" not in transcripts[0]
    assert "Zoltan Quux" in transcripts[1]
    assert transcripts[2] == transcripts[0]
    assert main(["extract", str(sound), "--model", str(tiny_model_dir), "--names", str(names)]) == 2
    assert "known names: the transcript is written greedily here" in capsys.readouterr().err
    assert main([*command, "--name-bonus", "2"]) == 2
    assert "--name-bonus has no effect without --names" in capsys.readouterr().err
    assert main([*command, "--names", str(names), "--output", str(names)]) == 2
    assert names.read_text() == "Zoltan Quux\n"
    assert "names.txt" in capsys.readouterr().err
    assert main([*command, "--name-bonus", "-1"]) == 2
    assert 'got "-1", expected a number from 0 to 20' in capsys.readouterr().err


def test_evaluation_knows_them_too(manifest: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    names, predictions = tmp_path / "names.txt", tmp_path / "predictions.jsonl"
    names.write_text("Zoltan Quux\n")
    command = ["evaluate", str(manifest), "--model", str(tiny_model_dir), "--transcript-beams", "2"]
    known = ["--names", str(names), "--name-bonus", "20", "--predictions", str(predictions)]
    assert main([*command, *known, "--report", str(tmp_path / "report")]) == 0
    assert "Zoltan Quux" in predictions.read_text(encoding="utf-8")
    for name in ("report.md", "report.html"):
        assert "; 1 known names." in (tmp_path / "report" / name).read_text(encoding="utf-8")
