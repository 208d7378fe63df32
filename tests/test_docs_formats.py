"""docs/formats.md and docs/synthesis.md say what the code does."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.formats.carry import PARTS
from speechre.data.formats.table import FORMATS
from speechre.data.speech_engines import ENGINES

ROOT = Path(__file__).parents[1]
FORMATS_PAGE, SYNTHESIS_PAGE = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("formats.md", "synthesis.md")
)


def test_the_table_of_formats_is_the_code_s() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", FORMATS_PAGE, re.MULTILINE)
    shown = [(name, place, summary.replace("`", ""), lacks) for name, place, summary, lacks in rows]
    assert shown == [(f.name, f.place, f.summary, ", ".join(f.lacks)) for f in FORMATS.values()]
    assert all(set(f.lacks) <= set(PARTS) for f in FORMATS.values())


def test_the_table_of_engines_is_the_code_s() -> None:
    assert re.findall(r"^\| `(\w+)` \|", SYNTHESIS_PAGE, re.MULTILINE) == list(ENGINES)


@pytest.mark.parametrize("page", ["formats.md", "synthesis.md"])
def test_the_examples_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in re.findall(r"^\$ (speechre .*)$", page, re.MULTILINE)]


@pytest.mark.parametrize("words", commands(FORMATS_PAGE) + commands(SYNTHESIS_PAGE), ids=" ".join)
def test_commands_have_the_options_shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words[:2], "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in words if word.startswith("--"))


def test_the_round_trip_shown_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    block = FORMATS_PAGE.split("```console\n")[1].split("```")[0]
    shown = [line for line in block.splitlines() if not line.startswith("$")]
    for words in commands(block):
        assert main(words) == 0
    assert capsys.readouterr().err.splitlines() == shown
