"""docs/candidates.md says what the search does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.candidates import REASONS
from speechre.data.entity_tagger import DEFAULT_TAGGER
from speechre.data.store import from_dict, to_dict
from speechre.schemas import SCHEMAS, load_schema

PAGE = (Path(__file__).parents[2] / "docs" / "candidates.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """Fenced blocks of one kind, without their fences."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_reasons_are_those_of_the_code_in_their_sequence() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", PAGE, re.MULTILINE))
    assert [reason for reason in rows if reason in REASONS] == list(REASONS)
    for reason, meaning in REASONS.items():
        assert rows[reason].startswith(meaning), reason


def test_the_numbers_shown_add_up() -> None:
    (shown,) = blocks("text")
    numbers = {line.split()[0]: int(line.split()[1]) for line in shown.splitlines()[1:]}
    rows = numbers.pop("rows")
    assert sum(numbers.values()) == rows
    assert set(numbers) - {"kept"} <= set(REASONS)


def test_the_speeds_shown_fit_the_seconds() -> None:
    row = r"^\|(?: \d+ \|){3} ([\d.]+) s \| ([\d.]+) s \| (\d+)% \| \d+% \| \d+ MiB \|$"
    rows = re.findall(row, PAGE, re.MULTILINE)
    assert len(rows) == 3
    for search_s, bare_s, percent in rows:
        assert 100 * float(bare_s) / float(search_s) == pytest.approx(float(percent), abs=1.5)


def test_the_manifest_line_is_one() -> None:
    (shown,) = map(json.loads, blocks("json"))
    assert to_dict(from_dict(shown)) == shown
    for entity in shown["extra"]["ner"]["entities"]:
        assert shown["text"][entity["start"] : entity["end"]] == entity["text"]


def test_the_schemas_load(tmp_path: Path) -> None:
    shop, extended = blocks("yaml")
    for name, text in (("shop", shop), ("mine", extended)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert load_schema(tmp_path / "shop.yaml").types_of_ner_label("PERSON") == ("Buyer", "Seller")
    assert load_schema(tmp_path / "mine.yaml").allows("PER", "PER-SOC", "ORG")
    assert set(re.findall(r"`([a-z][a-z0-9-]+)`", PAGE.split("## Schemas")[1].split("or a YAML file")[0])) == set(
        SCHEMAS
    )


def test_options_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "candidates", "--help"]) == 0
    text = capsys.readouterr().out
    (command,) = (line for line in PAGE.splitlines() if line.startswith("speechre data candidates "))
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE)) - {"--rows"}
    assert {word for word in shlex.split(command) if word.startswith("--")} <= named
    for option in named:
        assert option in text, option
    assert f"`{DEFAULT_TAGGER}`" in PAGE
