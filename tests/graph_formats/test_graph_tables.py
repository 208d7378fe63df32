"""CSV and data frames, read back by csv and pandas."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace

import pandas
import pytest

from speechre.errors import UsageError
from speechre.graph import build_graph
from speechre.graph_formats.tables import COLUMNS, to_csv, to_dataframe, to_rows
from speechre.graph_formats.text import clean_text
from tests.graphs import NASTY_TALK, NASTY_TEXTS, TALKS, UNALIGNED, WHO


def test_csv_has_a_row_for_each_piece_of_evidence() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(build_graph(TALKS)), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["head"], r["relation"], r["tail"], r["recording"]) for r in rows] == [
        ("Helen Parker", "Work_For", WHO, "monday"),
        ("Helen Parker", "Work_For", WHO, "tuesday"),
        ("Helen Parker", "Live_In", "Geneva", "monday"),
    ]
    first, second, third = rows
    assert (first["confidence"], first["votes"], first["orders"]) == ("0.75", "5", "hrt,htr")
    assert (first["start_s"], first["end_s"], first["span"]) == ("0.5", "3.5", "entities")
    assert (second["head_text"], second["tail_text"]) == ("Dr. Helen Parker", "WHO")
    assert first["edge_id"] == second["edge_id"] != third["edge_id"]
    assert third["span"] == "recording"
    assert (first["head_start_s"], first["head_end_s"], first["tail_start_s"]) == ("0.5", "1.25", "2.0")
    assert (third["head_start_s"], third["tail_end_s"]) == ("", "")
    assert (first["source"], first["model"]) == ("monday.wav", "tiny@1")


def test_the_chunk_s_seconds_are_marked_and_nobody_s_own() -> None:
    (row,) = to_rows(build_graph([UNALIGNED]))
    assert (row["start_s"], row["end_s"], row["span"]) == (31.0, 58.5, "chunk")
    assert (row["head_start_s"], row["head_end_s"]) == (None, None)
    assert (row["tail_start_s"], row["tail_end_s"]) == (40.0, 40.5)
    frame = UNALIGNED.to_dataframe()
    assert frame["head_start_s"].isna().tolist() == [True]
    assert frame["tail_start_s"].tolist() == [40.0]


def test_ids_that_differ_in_what_cannot_be_said_stay_two_recordings() -> None:
    talks = [replace(TALKS[0], id=f"caf{byte}", source=f"caf{byte}.wav", model=f"m{byte}") for byte in "\udce9\udcea"]
    rows = list(csv.DictReader(io.StringIO(to_csv(build_graph(talks)), newline="")))
    names = {row["recording"] for row in rows}
    assert set(to_dataframe(talks)["recording"]) == names
    assert len(names) == 2
    assert all(name.startswith("caf\ufffd") for name in names)
    assert [sum(row["recording"] == name for row in rows) for name in names] == [2, 2]


def test_any_text_comes_back_from_csv_and_no_cell_is_a_formula() -> None:
    content = to_csv(build_graph([NASTY_TALK]))
    content.encode("utf-8")
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert [r["head_text"].removeprefix("'") for r in rows] == [clean_text(text) for text in NASTY_TEXTS]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_a_formula_is_disarmed_and_numbers_are_not() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(build_graph([NASTY_TALK])), newline="")))
    assert '\'=HYPERLINK("http://x")' in [row[0] for row in rows]
    assert {row[COLUMNS.index("start_s")] for row in rows[1:]} == {"0.0"}


def test_a_data_frame_has_types_and_empty_ones_too() -> None:
    frame = to_dataframe(TALKS)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.groupby("relation").size().to_dict() == {"Live_In": 1, "Work_For": 2}
    assert frame["confidence"].max() == 0.75
    assert str(frame["votes"].dtype) == "Int64"
    for extraction in (TALKS[0], TALKS[1]):
        pandas.testing.assert_frame_equal(extraction.to_dataframe(), to_dataframe([extraction]))
    assert len(to_dataframe([])) == 0
    assert len(TALKS[0].to_dataframe(rules=())["head_id"].unique()) == 2


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        TALKS[0].to_dataframe()


def test_rows_hold_values_not_texts() -> None:
    first = next(to_rows(build_graph(TALKS)))
    assert (first["confidence"], first["votes"], first["start_s"]) == (0.75, 5, 0.5)
