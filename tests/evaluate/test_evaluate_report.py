"""The report's three files say the same, and the tables are well-formed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_evaluate_run import ANALYSES, CONFIG, UTTERANCES, evaluation

from speechre.data.predictions import read_predictions
from speechre.errors import UsageError
from speechre.evaluate.report import Table, evaluation_tables, prepare_report_folder, report_markdown, write_report
from speechre.types import Extraction

EXTRACTIONS = [Extraction(key, f"{key}.wav", 1.0, "m", a.triplets) for key, a in ANALYSES.items()]


def test_the_files_hold_the_evaluation(tmp_path: Path) -> None:
    result = evaluation()
    folder = tmp_path / "new" / "report"
    write_report(folder, result, EXTRACTIONS)
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "predictions.jsonl"}
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(result.to_dict()))
    read = read_predictions(folder / "predictions.jsonl")
    assert {key: tuple(triplets) for key, triplets in read.items()} == {key: a.triplets for key, a in ANALYSES.items()}
    assert (folder / "report.md").read_text(encoding="utf-8") == report_markdown(result)


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    for protocol in ("strict", "paper"):
        write_report(tmp_path, evaluation(protocol), EXTRACTIONS)
    assert json.loads((tmp_path / "report.json").read_text())["protocol"] == "paper"


def test_every_row_of_every_table_has_a_cell_for_every_column() -> None:
    tables = evaluation_tables(evaluation())
    assert [table.title for table in tables] == [
        f"Scores in percent: protocol boundary, {len(UTTERANCES)} utterances",
        "Triplets by order",
        "Triplets by relation",
        f"Relation head at {CONFIG.decode.relation_threshold:g}",
        "Generations with problems",
        "Transcripts",
    ]
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)
    assert tables[0].rows[0] == ("triplet", "50.00", "100.00", "66.67", "2", "4", "2")


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert Table("T", ("a", "b"), (("x|y", "1"),)).to_markdown() == (
        "## T\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
    )


def test_a_folder_that_cannot_be_made_is_a_usage_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be written"):
            prepare_report_folder(folder)
