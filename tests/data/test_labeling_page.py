"""docs/labeling.md says what is so."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from speechre.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "labeling.md"
COMMANDS = [line[2:] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("$ speechre ")]
OPTIONS = set(re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8")))


def test_its_python_is_true() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0
    assert attempted > 5


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_have_the_options_that_it_gives_them(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)[1:]
    command = words[:2] if words[0] == "data" else words[:1]
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in text] == []


def test_the_options_that_it_explains_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("to-label-studio", "from-label-studio", "agreement", "validate"):
        assert main(["data", command, "--help"]) == 0
    for command in ("extract", "evaluate"):
        assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert {option for option in OPTIONS if option not in text} == set()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / target).exists(), target
