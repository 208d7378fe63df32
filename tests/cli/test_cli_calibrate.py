"""``speechre calibrate``, ``evaluate --relation-prompt`` and ``data synthesize`` from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest
from speechre.model.checkpoint import load_checkpoint


def test_a_calibrated_model_is_a_model(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "calibrated"
    command = ["calibrate", str(manifest), "--model", str(tiny_model_dir), "--output", str(output), "--json"]
    command += ["--beams", "4"]
    assert main([*command, "--num-orders", "2", "--weights", "int8", "--name", "mine"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_utterances"] == len(read_manifest(manifest))
    assert len(found["orders"]) == 2
    assert [len(choice["orders"]) for choice in found["order_choices"]] == [1, 2, 3, 4, 5, 6]
    checkpoint = load_checkpoint(str(output))
    decode = checkpoint.config.decode
    assert checkpoint.name == "mine"
    assert list(decode.orders) == found["orders"]
    assert list(decode.calibration) == found["calibration"]
    assert (decode.threshold, decode.relation_threshold) == (found["threshold"], found["relation_threshold"])
    before, after = (folder / "model.safetensors" for folder in (tiny_model_dir, output))
    assert after.stat().st_size < 0.4 * before.stat().st_size
    # The new folder answers.
    assert main(["evaluate", str(manifest), "--model", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["decode"]["orders"] == found["orders"]
    # And nothing is overwritten.
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "named"),
    [(["--threshold", "0.5"], "leave it out"), (["--num-orders", "7"], "only 6 orders"), (["--model", "no"], "no")],
)
def test_faults_are_one_line(
    extra: list[str],
    named: str,
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["calibrate", str(manifest), "--model", str(tiny_model_dir), "--output", str(tmp_path / "new")]
    assert main([*command, *extra]) in (1, 2)
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "new"
    assert main(["calibrate", str(tmp_path / "no.jsonl"), "--model", "no", "--output", str(output)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{output}: cannot be written: {output.parent} is a file, not a folder" in said


def test_an_id_in_two_manifests_is_refused(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "calibrate",
        str(manifest),
        str(manifest),
        "--model",
        str(tiny_model_dir),
        "--output",
        str(tmp_path / "n"),
    ]
    assert main(command) == 2
    assert "more than one manifest" in capsys.readouterr().err


def test_prompts_are_told_and_change_answers(
    manifest: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {}
    for source in ("predicted", "gold", "none", "all"):
        assert (
            main(["evaluate", str(manifest), "--model", str(tiny_model_dir), "--json", "--relation-prompt", source])
            == 0
        )
        answers[source] = json.loads(capsys.readouterr().out)["triplet"]["num_predicted"]
    assert len(set(answers.values())) > 1


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
def test_a_manifest_is_spoken(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "synthesize", str(manifest), "--output", str(tmp_path / "spoken"), "--suffix=-new", "--steady"]
    assert main([*command, "--voices", "flite:kal16"]) == 0
    before, after = read_manifest(manifest), read_manifest(tmp_path / "spoken" / "speech.jsonl")
    assert [one.id for one in after] == [one.id + "-new" for one in before]
    assert [(one.text, one.triplets) for one in after] == [(one.text, one.triplets) for one in before]
    assert {one.speaker for one in after} == {"flite:kal16"}
    assert main([*command, "--voices", ","]) == 2
    assert "no voice" in capsys.readouterr().err
