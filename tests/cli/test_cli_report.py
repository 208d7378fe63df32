"""``--report``: the scores are those without it, and the page is whole; then two reports are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechre import Extractor, read_manifest
from speechre.cli import main
from speechre.metrics import score
from speechre.types import Extraction

THRESHOLD = "0.1"


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


@pytest.fixture
def report(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], Path]:
    """What ``evaluate --report`` printed, and the folder; the threshold lies between what the tiny model writes."""
    folder = tmp_path / "report"
    arguments = (manifest, "--model", tiny_model_dir, "--beams", "2", "--threshold", THRESHOLD, "--report", folder)
    return evaluate(capsys, *arguments), folder


def test_a_report_changes_no_score_and_no_answer(
    report: tuple[dict[str, Any], Path],
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed, folder = report
    predictions = tmp_path / "p.jsonl"
    arguments = (manifest, "--model", tiny_model_dir, "--beams", "2", "--threshold", THRESHOLD)
    assert evaluate(capsys, *arguments, "--predictions", predictions) == printed
    assert (folder / "predictions.jsonl").read_bytes() == predictions.read_bytes()
    # The extractor itself, which never weighs anything below the threshold, says so too.
    utterances = read_manifest(manifest)
    extractor = Extractor.from_pretrained(tiny_model_dir, beams=2, threshold=float(THRESHOLD))
    said = {e.id: e.triplets for e in extractor(list(utterances))}
    expected = score({u.id: u.triplets for u in utterances}, said, "boundary").to_dict()
    assert {key: printed[key] for key in expected} == expected


def test_the_curve_sees_what_lies_below_the_threshold(report: tuple[dict[str, Any], Path]) -> None:
    printed, folder = report
    data = json.loads((folder / "report.json").read_text())
    assert {key: data[key] for key in printed} == printed
    curve = {point["threshold"]: point for point in data["curve"]["thresholds"]}
    assert data["curve"]["is_complete"]
    assert {key: curve[0.1][key] for key in printed["triplet"]} == printed["triplet"]
    assert curve[0.0]["num_predicted"] > curve[0.1]["num_predicted"] > 0, "nothing was dropped: this proves nothing"
    assert data["reliability"]["num_triplets"] == curve[0.0]["num_predicted"]
    assert len(data["curve"]["votes"]) == 6
    assert list(data["intervals"]["orders"]) == list(printed["orders"])
    assert [u["id"] for u in data["utterances"]] == ["u0", "u1", "u2"]
    assert data["relation_free"]["num_utterances"] == 1
    assert data["config"]["decode"]["threshold"] == 0.1


def test_the_page_has_players_as_asked_for(
    report: tuple[dict[str, Any], Path],
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (report[1] / "report.html").read_text(encoding="utf-8")
    num_cards = page.count("<article")
    assert page.count("<audio") == num_cards > 1
    assert page.rstrip().endswith("</html>")
    silent = tmp_path / "silent"
    evaluate(capsys, manifest, "--model", tiny_model_dir, "--orders", "hrt", "--report", silent, "--report-audio", "0")
    assert "<audio" not in (silent / "report.html").read_text(encoding="utf-8")


# -- from files


def write_predictions(path: Path, manifest: Path, skip: str = "", **more: object) -> Path:
    """The gold triplets as predictions, but for those of ``skip``."""
    rows = []
    for utterance in read_manifest(manifest):
        found = () if utterance.id == skip else utterance.triplets
        found = tuple(replace(t, confidence=0.8, votes=3) for t in found)
        rows.append({**Extraction(utterance.id, "x.wav", 1.0, "m@1", found, "Ann Lee lives.").to_dict(), **more})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_predictions_gets_a_report_too(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, folder = write_predictions(tmp_path / "p.jsonl", manifest, "u1"), tmp_path / "report"
    assert main(["score", str(manifest), str(predictions), "--json", "--report", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == f"wrote {folder}\n"
    assert main(["score", str(manifest), str(predictions), "--json"]) == 0
    assert capsys.readouterr().out == out
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    data = json.loads((folder / "report.json").read_text())
    assert data["model"] == "m@1"
    assert data["triplet"] == json.loads(out)["triplet"]
    assert data["transcript"]["num_words"] == 15
    assert not data["curve"]["is_complete"]
    assert [(e["id"], e["kind"]) for e in data["errors"]] == [("u1", "missed")]
    assert "<audio" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("votes", [{}, {"votes": 0}])
def test_predictions_with_confidence_and_without_votes(
    manifest: Path, tmp_path: Path, votes: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    utterances = read_manifest(manifest)
    (triplet,) = (t.to_dict() for u in utterances for t in u.triplets[:1] if u.id == "u1")
    for key in ("votes", "orders"):
        triplet.pop(key, None)
    rows = [{"id": u.id, "triplets": []} for u in utterances if u.id != "u1"]
    rows.append({"id": "u1", "triplets": [{**triplet, "confidence": 0.7, **votes}]})
    predictions, folder = tmp_path / "theirs.jsonl", tmp_path / "report"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", str(manifest), str(predictions), "--report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Scores by threshold" in page
    assert "Scores by votes" not in page


def test_another_system_s_bare_predictions_are_enough(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": u.id, "triplets": []} for u in read_manifest(manifest)]
    predictions, folder = tmp_path / "theirs.jsonl", tmp_path / "report"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (manifest.parent / "audio" / "u0.wav").unlink()
    assert main(["score", str(manifest), str(predictions), "--report", str(folder)]) == 0
    data = json.loads((folder / "report.json").read_text())
    assert (data["model"], data["transcript"], data["curve"]) == ("theirs.jsonl", None, None)
    assert data["utterances"][0]["duration_s"] is None
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 1
    assert "u0.wav" in page, "the card says why it has no player"
    assert capsys.readouterr().err == f"wrote {folder}\n"


def test_scoring_with_a_report_loads_no_torch(manifest: Path, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "p.jsonl", manifest, "u1")
    arguments = ["score", str(manifest), str(predictions), "--report", str(tmp_path / "report")]
    code = f"import sys; from speechre.cli import main; sys.exit(main({arguments!r}) or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# -- compare


@pytest.fixture
def reports(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """A misses u1, B finds all; C is over other utterances."""
    other = tmp_path / "other.jsonl"
    other.write_text("".join(manifest.read_text().splitlines(keepends=True)[:2]))
    for name, gold, skip in (("A", manifest, "u1"), ("B", manifest, ""), ("C", other, "")):
        predictions = write_predictions(tmp_path / f"{name}.jsonl", gold, skip)
        folder = str(tmp_path / name)
        assert main(["score", str(gold), str(predictions), "--report", folder, "--report-audio", "0"]) == 0
    capsys.readouterr()
    return {name: str(tmp_path / name) for name in "ABC"}


def test_compare(reports: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", reports["A"], reports["B"], "--samples", "300"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0] == "Triplets in percent: protocol boundary, 3 utterances"
    assert lines[2].split() == ["A", "m@1", "100.00", "50.00", "66.67", "1", "1", "2"]
    assert lines[5] == "Paired bootstrap, 300 samples, two-sided"
    assert lines[7].split()[:2] == ["F1", "33.33"]
    assert any(line.startswith("Live_In") for line in lines)


def test_compare_json(reports: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    def run(*more: str) -> str:
        assert main(["compare", reports["A"], reports["B"], "--json", "--samples", "300", *more]) == 0
        return capsys.readouterr().out

    out = run()
    assert run() == out
    assert out.count("\n") == 1
    data = json.loads(out)
    assert data["difference"]["recall"]["difference"] == 0.5
    assert data["difference"]["precision"]["difference"] == 0.0
    assert data["per_relation"]["Live_In"]["b"]["num_hits"] == 2
    assert (json.loads(run("--seed", "5"))["seed"], json.loads(run("--protocol", "paper"))["protocol"]) == (5, "paper")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("compare A C", '1 of its 3 utterances alone: "u2"'),
        ("compare A GONE", "there is no GONE; expected a folder"),
        ("compare A FILE", "not a report"),
        ("compare A", "B"),
        ("compare A B --samples 0", "whole number from 1 on"),
        ("compare A B --seed -1", "--seed"),
        ("compare A B --seed x", "whole number from 0 on"),
        ("compare A B --protocol loose", "invalid choice: 'loose'"),
        ("score GOLD FILE --report-audio 3", "--report-audio has no effect without --report"),
        ("score GOLD FILE --report OUT --report-audio many", "whole number from 0 on"),
        ("score GOLD FILE --report FILE", "cannot be written"),
        ("evaluate GOLD --model never --report-audio 3", "--report-audio has no effect without --report"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: str,
    said: str,
    reports: Mapping[str, str],
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "FILE").write_text("no report")
    places = {**reports, "GOLD": str(manifest), **{name: str(tmp_path / name) for name in ("GONE", "FILE", "OUT")}}
    assert main([places.get(word, word) for word in command.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("UsageError: ")
    assert said in line
