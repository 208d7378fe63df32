"""docs/graphs.md says what is so: its commands exist, its Python runs, its query answers, its rules are the rules."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from speechre.cli import build_parser
from speechre.cli.graph import FORMATS, SUFFIXES
from speechre.graph import RULE_NAMES, build_graph
from speechre.graph_formats.rdf import to_rdf
from tests.graphs import TALKS, WHO

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


def test_the_tables_name_every_rule_and_every_format() -> None:
    first_cells = re.findall(r"^\| ((?:`\w+` ?)+) \|", PAGE, re.MULTILINE)
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert [name for name in named if name in RULE_NAMES] == list(RULE_NAMES)
    assert {name for name in named if name not in RULE_NAMES} - {"format"} == set(FORMATS)


def test_the_suffixes_are_those_that_choose_a_format() -> None:
    (shown,) = re.findall(r"suffix chooses the format \(`([^`]*)`\)", PAGE)
    assert set(shown.split()) == set(SUFFIXES) - {".jsonl", ".htm"}


def test_images_are_there_and_small() -> None:
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert images
    assert all((DOCS / image).stat().st_size < 200_000 for image in images)
