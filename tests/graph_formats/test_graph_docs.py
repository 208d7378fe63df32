"""docs/graphs.md says what is so: its commands exist, its Python runs, its query answers, its rules are the rules."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from speechre.cli import build_parser
from speechre.cli.extract import STYLES
from speechre.cli.graph import FORMATS, SUFFIXES
from speechre.graph import RULE_NAMES, build_graph
from speechre.graph.model import SpanSource
from speechre.graph_formats import GRAPH_FORMATS
from speechre.graph_formats.rdf import to_rdf, to_turtle
from speechre.types import Triplet
from tests.graphs import TALKS, WHO, extraction, person, place

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "graphs.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for line in blocks("bash")[0].splitlines() if line.startswith("speechre")]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str) -> None:
    assert build_parser().parse_args(shlex.split(command, comments=True)[1:]).files


def test_the_python_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[0], "docs/graphs.md", "exec"), {})
    assert capsys.readouterr().out == blocks("text")[0]


def test_the_query_answers() -> None:
    rows = [tuple(term.toPython() for term in row) for row in to_rdf(build_graph(TALKS)).query(blocks("sparql")[0])]
    assert [(row[0], row[1], row[2], float(row[3]), float(row[4])) for row in rows] == [
        ("Helen Parker", WHO, "monday.wav", 0.5, 0.75),
        ("Helen Parker", WHO, "tuesday.wav", 4.0, 0.25),
    ]


def test_the_statement_shown_is_what_is_written() -> None:
    triplet = Triplet(person("Sara Collins", 0.0, 0.9), "Live_In", place("Denver", 3.06, 3.24), 0.4644, 6)
    collins = replace(
        extraction("collins", triplet, source="samples/collins.flac", duration_s=5.788),
        model="speechre-tiny-conll04@0a3cfc",
    )
    (shown,) = blocks("turtle")
    assert shown in to_turtle(build_graph([collins]))


def test_what_is_said_to_come_as_it_is_heard_does() -> None:
    always, _, unmerged, at_end = (
        set(re.findall(r"`(\w+)`", cell))
        for cell in re.findall(
            r"^\| always ([^|]*) \| ([^|]*) \|\n\| with `--merge none` also ([^|]*) \| ([^|]*) \|", PAGE, re.M
        )[0]
    )
    assert always | set(FORMATS) == set(STYLES)
    assert unmerged == at_end == {name for name, one in GRAPH_FORMATS.items() if one.write_more}


def test_the_kinds_of_spans_are_the_code_s() -> None:
    table = PAGE.split("| `span` |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == get_args(SpanSource)


def test_the_tables_name_every_rule_and_every_format() -> None:
    first_cells = re.findall(r"^\| ((?:`\w+` ?)+) \|", PAGE, re.MULTILINE)
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert [name for name in named if name in RULE_NAMES] == list(RULE_NAMES)
    spans = {"span", *get_args(SpanSource)}
    assert {name for name in named if name not in RULE_NAMES} - {"format"} - spans == set(FORMATS)


def test_the_suffixes_are_those_that_choose_a_format() -> None:
    (shown,) = re.findall(r"suffix chooses the format \(`([^`]*)`\)", PAGE)
    assert set(shown.split()) == set(SUFFIXES) - {".jsonl", ".htm"}


def test_images_are_there_and_small() -> None:
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert images
    assert all((DOCS / image).stat().st_size < 200_000 for image in images)
