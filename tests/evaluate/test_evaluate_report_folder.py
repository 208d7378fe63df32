"""The files of a report folder say the same; a place that cannot be written is found before the work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_evaluate_details import details
from test_evaluate_run import ANALYSES, evaluation

from speechre.data.predictions import read_predictions
from speechre.errors import UsageError
from speechre.evaluate.page import render_page
from speechre.evaluate.report import Report, evaluation_report
from speechre.evaluate.report_folder import REPORT_FILES, prepare_report_folder, write_report
from speechre.types import Extraction

EXTRACTIONS = [Extraction(key, f"{key}.wav", 1.0, "m", a.triplets) for key, a in ANALYSES.items()]


def report(protocol: str = "boundary") -> Report:
    return evaluation_report(evaluation(protocol), details(protocol))


def test_the_files_hold_the_report(tmp_path: Path) -> None:
    given = report()
    folder = tmp_path / "new" / "report"
    write_report(folder, given, EXTRACTIONS)
    assert {path.name for path in folder.iterdir()} == set(REPORT_FILES)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(given.to_dict()))
    read = read_predictions(folder / "predictions.jsonl")
    assert {key: tuple(triplets) for key, triplets in read.items()} == {key: a.triplets for key, a in ANALYSES.items()}
    assert (folder / "report.md").read_text(encoding="utf-8") == given.markdown
    assert (folder / "report.html").read_text(encoding="utf-8") == render_page(given)


def test_without_extractions_there_are_no_predictions(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    assert {path.name for path in tmp_path.iterdir()} == {*REPORT_FILES} - {"predictions.jsonl"}


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    for protocol in ("strict", "paper"):
        write_report(tmp_path, report(protocol), EXTRACTIONS)
    assert json.loads((tmp_path / "report.json").read_text())["protocol"] == "paper"


def test_a_folder_that_cannot_be_made_is_a_usage_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be written"):
            prepare_report_folder(folder)


def test_a_missing_template_engine_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="jinja2"):
        prepare_report_folder(tmp_path)
