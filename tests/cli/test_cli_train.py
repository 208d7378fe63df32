"""``speechre train``: overrides, the run's folder, and a model that the other commands read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speechre.cli import main
from speechre.cli.overrides import split_overrides
from speechre.errors import UsageError
from speechre.model.checkpoint import load_checkpoint


def test_overrides_are_taken_out_of_the_arguments() -> None:
    argv = ["train", "--train.steps", "3", "--config", "x", "--data.train=a,b=c", "--decode.calibration", "-1,0"]
    assert split_overrides(argv) == (
        ["train", "--config", "x"],
        {"train.steps": "3", "data.train": "a,b=c", "decode.calibration": "-1,0"},
    )
    assert split_overrides(["--", "--a.b"]) == (["--", "--a.b"], {})
    for rest in ([], ["--output", "out"]):
        with pytest.raises(UsageError, match=r"--train\.steps has no value; .*put -- before a file of this name"):
            split_overrides(["--train.steps", *rest])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--train.steps", "x"], "overrides.train.steps: got 'x', expected int"),
        (["--train.steps", "-1"], "overrides: train.steps is -1; expected 1 or more"),
        (["--train.nope", "1"], 'overrides.train: unknown key "nope"'),
        ([], "data.train: no manifest is given; pass one with --data.train PATH"),
    ],
)
def test_a_fault_is_told_of_what_has_it(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", "smoke", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"ConfigError: {told}")


def test_a_fault_of_the_recipe_is_not_laid_on_the_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    command = ["train", "--config", str(recipe), "--output", str(tmp_path / "out"), "--train.seed", "3"]
    recipe.write_text("train:\n  steps: 0\n")
    assert main(command) == 2
    assert capsys.readouterr().err.startswith(f"ConfigError: {recipe}: train.steps is 0; expected 1 or more")
    recipe.write_text("train:\n  steps: 1\n  steps: 2\n")
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f'{recipe}: cannot be read as YAML: the key "steps" is given twice' in err
    assert "line 3" in err


def test_the_config_the_folder_and_the_evaluation_are_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechre.evaluate.development import dev_evaluator

    seen: list[tuple[Any, ...]] = []

    def start_training(config: Any, folder: Path, *, resume: bool, evaluate_factory: Any, report: Any) -> Path:
        seen.append((config, folder, resume, evaluate_factory))
        report("step 1")
        return folder / "model"

    monkeypatch.setattr("speechre.train.setup.start_training", start_training)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "conll04", "--train.steps", "7", "--name", "mine"]) == 0
    ((config, folder, resume, factory),) = seen
    assert (config.train.steps, config.name, resume, factory.func) == (7, "mine", False, dev_evaluator)
    factory.keywords["report"]("too long")
    assert folder == Path("runs/mine")
    assert capsys.readouterr() == ("runs/mine/model\n", "step 1\ntoo long\n")


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["train", "--config", "conll04", "--output", str(tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"UsageError: {tmp_path}/file: cannot be made: ")


def test_a_run_from_the_command_line(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two steps, then refused, then resumed for none; the model answers."""
    folder = tmp_path / "run"
    settings = {
        "data.train": str(manifest),
        "data.dev": str(manifest),
        "model.backbone": "random",
        "train.steps": "2",
        "train.batch_size": "2",
        "train.warmup_steps": "1",
        "train.orders_per_utterance": "1",
        "train.device": "cpu",
        "train.precision": "no",
        "train.eval_utterances": "1",
        "decode.max_new_tokens": "8",
        "decode.max_transcript_tokens": "4",
    }
    overrides = [part for key, value in settings.items() for part in (f"--{key}", value)]
    command = ["train", "--config", "conll04", "--output", str(folder), *overrides]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder / 'model'}\n"
    assert "step 2/2" in err
    assert load_checkpoint(str(folder / "model")).config.train.steps == 2
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert "dev_f1" in rows[-1]

    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"UsageError: {folder} already holds a run")
    assert main([*command, "--resume"]) == 0
    assert "resuming after step 2" in capsys.readouterr().err
