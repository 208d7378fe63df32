"""``speechre finetune``: what is refused before a model is loaded, and a model that the other commands take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main
from tests.finetune.conftest import (
    WriteDomain,
    bert_dir,
    credulous_reader,
    schema_file,
    start_dir,
    write_domain,
)

__all__ = ["bert_dir", "credulous_reader", "schema_file", "start_dir", "write_domain"]  # fixtures


@pytest.mark.parametrize(
    ("faulty", "code", "named"),
    [
        ({"--schema": "no.yaml"}, 2, 'no schema "no.yaml"'),
        ({"--output": "."}, 2, "is there already"),
        ({"--output": "file/out"}, 2, "cannot be made"),
        ({"--steps": "0"}, 2, "expected a whole number from 1 on"),
        ({"--dev": "no.jsonl"}, 2, "no.jsonl"),
        ({"manifest": "few.jsonl"}, 1, "3 utterances; expected 10 or more"),
        ({"manifest": "empty.jsonl"}, 1, "1 error, listed above; nothing was trained"),
        ({"manifest": "no.jsonl"}, 2, "no.jsonl"),
        ({"--schema": "conll04"}, 1, "errors, listed above; nothing was trained"),
        ({"--dev": "pets.jsonl"}, 1, "stands in pets.jsonl too (12 such ids); make them differ"),
        ({"--device": "cuda:99"}, 2, 'device "cuda:99"'),
    ],
)
def test_faults_are_found_before_a_model_is_loaded(
    faulty: dict[str, str],
    code: int,
    named: str,
    write_domain: WriteDomain,
    schema_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_domain("pets.jsonl", 12)
    write_domain("few.jsonl", 3)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("speechre.finetune.run.load_start", lambda name: pytest.fail("a model was loaded"))
    given = {"manifest": "pets.jsonl", "--schema": str(schema_file), "--output": "out"} | faulty
    manifest = given.pop("manifest")
    assert main(["finetune", manifest, *(part for pair in given.items() for part in pair)]) == code
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.work").exists()


def test_an_unknown_model_is_named(
    write_domain: WriteDomain, schema_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", str(write_domain()), "--schema", str(schema_file), "--output", str(tmp_path / "out")]
    assert main([*command, "--from", "nobody"]) == 2
    assert 'model "nobody"' in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.work").exists()  # so that the corrected command can be given at once


def test_the_model_serves_the_other_commands(
    write_domain: WriteDomain,
    schema_file: Path,
    start_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest, dev, model = write_domain(), write_domain("dev.jsonl", 4, first=20), tmp_path / "pets"
    command = ["finetune", str(manifest), "--schema", str(schema_file), "--from", str(start_dir), "--dev", str(dev)]
    command += ["--output", str(model), "--steps", "1", "--epochs", "1", "--device", "cpu", "--name", "mine"]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    outcome = json.loads(out)
    assert outcome["model"].startswith("mine@")
    assert outcome["num_dev"] == 4
    assert "held out" in err
    assert main(["evaluate", str(dev), "--model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["triplet"] == outcome["after"]["triplet"]
    sound = str(tmp_path / "audio" / "u20.wav")
    assert main(["extract", sound, "--model", str(model), "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == outcome["model"]
    assert main(command) == 2  # nothing is overwritten
    assert "is there already" in capsys.readouterr().err
