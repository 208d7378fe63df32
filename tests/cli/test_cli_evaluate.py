"""``speechre evaluate`` and ``speechre score``: the same answers give the same scores."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest
from speechre.types import Extraction

SCORING_KEYS = ["protocol", "num_utterances", "triplet", "entity", "relation"]
COUNTS_KEYS = ["precision", "recall", "f1", "num_hits", "num_predicted", "num_gold"]


@pytest.fixture
def predictions(manifest: Path, tmp_path: Path) -> Path:
    """Everything right but for the last utterance, which has no triplet in gold."""
    utterances = read_manifest(manifest)
    path = tmp_path / "predictions.jsonl"
    lines = [
        json.dumps(Extraction(u.id, "x.wav", 1.0, "m", u.triplets or utterances[0].triplets).to_dict())
        for u in utterances
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_score_json_follows_the_contract(manifest: Path, predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(manifest), str(predictions), "--json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert err == ""
    assert out.count("\n") == 1
    assert list(data) == SCORING_KEYS
    assert [list(data[key]) for key in SCORING_KEYS[2:]] == [COUNTS_KEYS] * 3
    assert (data["protocol"], data["num_utterances"]) == ("boundary", 3)
    assert data["triplet"] == {
        "precision": 2 / 3,
        "recall": 1.0,
        "f1": 0.8,
        "num_hits": 2,
        "num_predicted": 3,
        "num_gold": 2,
    }


@pytest.mark.parametrize("protocol", ["strict", "boundary", "paper"])
def test_score_as_a_table(protocol: str, manifest: Path, predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(manifest), str(predictions), "--protocol", protocol]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Scores in percent: protocol {protocol}, 3 utterances"
    assert lines[1].split() == ["item", "precision", "recall", "F1", "hits", "predicted", "gold"]
    assert lines[2].split() == ["triplet", "66.67", "100.00", "80.00", "2", "3", "2"]
    assert [line.split()[0] for line in lines[2:]] == ["triplet", "entity", "relation"]


def test_score_loads_no_torch(manifest: Path, predictions: Path) -> None:
    code = (
        "import sys; from speechre.cli import main; "
        f"code = main(['score', {str(manifest)!r}, {str(predictions)!r}, '--json']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_score_refuses_other_ids(manifest: Path, predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(lines[:-1]))
    assert main(["score", str(manifest), str(predictions)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("DataError: ")
    assert '"u2"' in line


def test_evaluate_writes_what_score_reads(
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[Path], list[dict]],
) -> None:
    report, predictions = tmp_path / "report", tmp_path / "p.jsonl"
    arguments = ["evaluate", str(manifest), "--model", str(tiny_model_dir), "--orders", "hrt,trh", "--json"]
    places = ["--report", str(report), "--predictions", str(predictions)]
    assert main([*arguments, *places, "--protocol", "strict", "--batch-size", "2"]) == 0
    out, err = capsys.readouterr()
    assert err == f"wrote {report}\n"
    data = json.loads(out)
    assert list(data)[:5] == SCORING_KEYS
    assert (data["protocol"], data["num_utterances"], list(data["orders"])) == ("strict", 3, ["hrt", "trh"])
    assert data["problems"]["num_generations"] == 6
    assert data["transcript"]["num_words"] == 15
    assert data["model"].startswith("tiny@")
    assert list(json.loads((report / "report.json").read_text()).items())[: len(data)] == list(data.items())
    assert [line["id"] for line in read_jsonl(predictions)] == ["u0", "u1", "u2"]
    assert (report / "predictions.jsonl").read_text() == predictions.read_text()
    assert main(["score", str(manifest), str(predictions), "--protocol", "strict", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {key: data[key] for key in SCORING_KEYS} == scored


def test_evaluate_as_a_table(manifest: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(manifest), "--model", str(tiny_model_dir), "--orders", "thr"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for title in ("protocol boundary, 3 utterances", "Triplets by order", "word error rate", "Relation head"):
        assert title in out


def test_an_utterance_without_a_recording_ends_the_evaluation(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest.parent / "audio" / "u1.wav").unlink()
    assert main(["evaluate", str(manifest), "--model", "never loaded"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'DataError: {manifest}: utterance "u1" has no file ')
    assert "(1 of 3 such utterances)" in line


def test_a_broken_recording_ends_the_evaluation_and_leaves_no_file(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest.parent / "audio" / "u1.wav").write_bytes(b"RIFF")
    predictions = tmp_path / "p.jsonl"
    arguments = ["evaluate", str(manifest), "--model", str(tiny_model_dir), "--predictions", str(predictions)]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"AudioError: {manifest.parent}/audio/u1.wav: ")
    assert not predictions.exists()


@pytest.mark.parametrize("option", ["--report", "--predictions"])
def test_places_are_tried_before_the_model_loads(
    option: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = str(manifest / "below")
    assert main(["evaluate", str(manifest), "--model", "never loaded", option, bad]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"UsageError: {bad}: cannot be written: ")


def test_a_threshold_that_would_do_nothing_is_refused(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    for path in tiny_model_dir.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    config["run"]["decode"]["vote"] = "paper"
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(manifest), "--model", str(folder), "--threshold", "0.7"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("UsageError: --threshold has no effect on tiny@")


def test_no_input_is_replaced(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = manifest.parent / "audio" / "u1.wav"
    report = tmp_path / "report"
    report.mkdir()
    (report / "predictions.jsonl").symlink_to(manifest)
    before = manifest.read_bytes(), sound.read_bytes()
    for option, place in (("--predictions", manifest), ("--predictions", sound), ("--report", report)):
        assert main(["evaluate", str(manifest), "--model", "never loaded", option, str(place)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"UsageError: {place}")
        assert ": would replace the input " in line
    assert (manifest.read_bytes(), sound.read_bytes()) == before
