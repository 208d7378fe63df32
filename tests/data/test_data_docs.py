"""docs/data.md says what is so: its consoles show what the commands print, its table has every code."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import speechre.data
from speechre.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
BROKEN = [
    {
        "id": "a",
        "audio": {"path": "samples/burr.flac"},
        "text": "Aaron Burr shot and killed Alexander Hamilton in a duel in July.",
        "entities": [
            {"id": "e0", "text": "Aaron Burr ", "type": "<Peop>", "start": 0, "end": 11},
            {"id": "e1", "text": "Alexander Hamilton", "type": "Peop", "start": 26, "end": 44},
        ],
        "relations": [{"head": "e0", "tail": "e1", "type": "Kill"}] * 2,
        "extra": {},
    },
    {
        "id": "b",
        "audio": {"path": "samples/nobody.flac"},
        "text": "Sarah Collins lives in Denver , Colo .",
        "accent": "Kenyan",
        "entities": [
            {"id": "e0", "text": "Sarah Collins", "type": "Peop"},
            {"id": "e1", "text": "Denver , Colo .", "type": "Loc", "start": 23, "end": 38},
        ],
        "relations": [{"head": "e1", "tail": "e0", "type": "Live_In"}],
        "extra": {},
    },
]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def printed(command: str) -> str:
    """What a person sees in a terminal: both streams in their sequence."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        main(shlex.split(command)[1:])
    return out.getvalue()


def test_the_consoles_show_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / "broken.jsonl").write_text("".join(json.dumps(line) + "\n" for line in BROKEN), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    consoles = blocks("console")
    assert len(consoles) == 6
    for console in consoles:
        command, _, shown = console.removeprefix("$ ").partition("\n")
        output = printed(command).rstrip().splitlines()
        lines = shown.rstrip().splitlines()
        if lines[-1] == "...":
            lines, output = lines[:-1], output[: len(lines) - 1]
        assert output == lines, command
    (changes,) = blocks("json")
    assert (tmp_path / "fixed.changes.jsonl").read_text(encoding="utf-8") == changes
    (head,) = blocks("yaml")
    assert (tmp_path / "parts" / "README.md").read_text(encoding="utf-8").startswith(f"---\n{head}---\n")


def codes_in_the_sources() -> dict[str, str]:
    """Every code that the sources can tell: a string of words and hyphens, and the severity beside it."""
    severities: dict[str, str] = {}
    folder = Path(speechre.data.__file__).parent
    for name in ("record", "store", "findings", "audio_findings", "manifest_findings", "validate"):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            values: list[ast.expr] = []
            if isinstance(node, ast.Tuple):
                values = node.elts
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Fault", "Issue"):
                values = node.args if node.func.id == "Issue" else [*node.args[:1], ast.Constant("error")]
            texts = [value.value for value in values if isinstance(value, ast.Constant)]
            found = [text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", text)]
            severity = [text for text in texts if text in ("error", "warning")]
            if len(found) == 1 and severity:
                severities[found[0]] = str(severity[0])
    return severities


def test_every_code_has_its_row_and_every_row_its_code() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \|", PAGE, re.MULTILINE))
    told = codes_in_the_sources()
    # Which of the two is told is decided where they are found.
    told |= {"duplicate-entity": "warning", "two-types": "warning"}
    assert rows == told
    assert len(told) > 40


def test_every_code_is_in_the_docstring_of_the_validator() -> None:
    from speechre.data.validate import validate_manifest

    named = set(re.findall(r"``([a-z0-9]+(?:-[a-z0-9]+)+)``", validate_manifest.__doc__ or ""))
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \|", PAGE, re.MULTILINE))
    assert {code for code, severity in rows.items() if severity == "warning"} <= named
    assert named <= rows.keys()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
