"""``speechre data validate``: languages and repairs. What it lists is tested in test_cli_data.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main


def test_fix_writes_a_new_file_and_a_list_of_changes(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = manifest.read_text(encoding="utf-8").replace('"start": 17', '"start": 16').replace('"Peop"', '"<Peop>"', 1)
    manifest.write_text(broken, encoding="utf-8")
    fixed = manifest.parent / "fixed" / "m.jsonl"
    assert main(["data", "validate", str(manifest)]) == 1
    capsys.readouterr()
    assert main(["data", "validate", str(manifest), "--fix", str(fixed), "--schema", "conll04"]) == 0
    out, err = capsys.readouterr()
    listed = fixed.with_name("m.changes.jsonl")
    assert (out, err) == (
        "",
        f"wrote {fixed}; 4 changes, listed in {listed}\n{fixed}: 0 errors, 0 warnings\n",
    )
    assert manifest.read_text(encoding="utf-8") == broken
    changes = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    assert [(c["line"], c["utterance_id"], c["code"]) for c in changes] == [
        (1, "u0", "bracketed-type"),
        (1, "u0", "offset-mismatch"),
        (2, "u1", "offset-mismatch"),
        (3, "u2", "offset-mismatch"),
    ]


def test_what_cannot_be_fixed_is_listed_and_counts(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace('"tail": "e1"', '"tail": "e9"', 1), encoding="utf-8"
    )
    fixed = manifest.with_name("fixed.jsonl")
    assert main(["data", "validate", str(manifest), "--fix", str(fixed), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["num_errors", "num_warnings", "issues", "changes"]
    assert (record["num_errors"], record["changes"]) == (1, [])
    assert record["issues"][0]["file"] == str(fixed)


def test_the_input_is_never_replaced(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = manifest.read_bytes()
    assert main(["data", "validate", str(manifest), "--fix", str(manifest)]) == 2
    assert "would replace the input" in capsys.readouterr().err
    changes = manifest.with_name("x.changes.jsonl")
    changes.write_bytes(before)
    assert main(["data", "validate", str(changes), "--fix", str(manifest.with_name("x.jsonl"))]) == 2
    assert (manifest.read_bytes(), changes.read_bytes()) == (before, before)


def test_language(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("py3langid")
    assert main(["data", "validate", str(manifest), "--no-audio", "--language", "en"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["data", "validate", str(manifest), "--no-audio", "--language", "xx"]) == 2
