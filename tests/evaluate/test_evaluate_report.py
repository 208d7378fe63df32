"""The tables are well-formed, and the two kinds of reports hold what was printed."""

from __future__ import annotations

from test_evaluate_details import details
from test_evaluate_run import ANALYSES, CONFIG, UTTERANCES, evaluation

from speechre.evaluate.report import evaluation_report, evaluation_tables, report_markdown, score_report
from speechre.metrics import per_relation, score
from speechre.page.table import Table


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


def test_a_report_begins_with_what_is_printed_and_adds_to_it() -> None:
    result = evaluation()
    report = evaluation_report(result, details())
    data, printed = report.to_dict(), result.to_dict()
    assert list(data)[: len(printed)] == list(printed)
    assert {key: data[key] for key in printed} == printed
    assert list(data)[len(printed) :] == [
        "report_version",
        "intervals",
        "curve",
        "reliability",
        "told_reliability",
        "breakdown",
        "relation_free",
        "errors",
        "utterances",
    ]
    assert report.markdown == report_markdown(result)
    assert (report.title, report.threshold, report.min_votes) == ("by-hand@123456", 0.5, None)


def test_a_report_from_a_file_has_no_orders_and_no_config() -> None:
    gold = {utterance.id: utterance.triplets for utterance in UTTERANCES}
    answers = {key: a.triplets for key, a in ANALYSES.items()}
    scores = score(gold, answers, "boundary")
    report = score_report(scores, per_relation(gold, answers, "boundary"), details(with_orders=False), "theirs|1")
    data = report.to_dict()
    assert list(data)[:5] == list(scores.to_dict())
    assert data["per_relation"]["Work_For"]["num_hits"] == 1
    assert data["transcript"]["num_words"] == 8
    assert "config" not in data
    assert "orders" not in data
    assert data["intervals"]["orders"] == {}
    assert report.markdown.startswith("# theirs|1\n")
    assert "| Work_For | 100.00 |" in report.markdown
