"""Manifests with random changes: every command ends with a result or one line that says what is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from speechre.cli import main
from tests.mutation import mutate


def counted(command: list[str]) -> int:
    """How many utterances the command's output accounts for; all three where it writes none."""
    if command[0] == "stats":
        return int(json.loads(Path("report/stats.json").read_text(encoding="utf-8"))["num_utterances"])
    if command[0] == "split" and "--output" in command:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in Path("parts").glob("*.jsonl"))
    if command[0] == "validate":  # one that stood twice, word for word, is told as a change
        changes = Path("fixed.changes.jsonl").read_text(encoding="utf-8").splitlines()
        num_removed = sum(json.loads(change)["code"] == "duplicate-id" for change in changes)
        return len(Path("fixed.jsonl").read_text(encoding="utf-8").splitlines()) + num_removed
    return 3


@pytest.mark.parametrize("num_files", [60, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_no_command_ends_in_a_traceback(
    manifest: Path, num_files: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of them take minutes and prove nothing here
    monkeypatch.chdir(manifest.parent)
    records = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rng = random.Random(1)
    commands = [
        ["stats", "m.jsonl", "--report", "report"],
        ["split", "m.jsonl", "--output", "parts", "--by", "sentence", "--leave-out"],
        ["split", "--check", "m.jsonl", "gold.jsonl"],
        ["card", "m.jsonl", "--name", "x", "--license", "other", "--language", "en"],
        ["validate", "m.jsonl", "--schema", "conll04", "--fix", "fixed.jsonl"],
    ]
    codes: dict[str, set[int]] = {}
    for number in range(num_files):
        changed = list(records)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(changed))
            changed[place] = mutate(rng, changed[place])
        Path("m.jsonl").write_text("".join(json.dumps(record) + "\n" for record in changed), encoding="utf-8")
        command = commands[number % len(commands)]
        code = main(["data", *command])
        err = capsys.readouterr().err
        assert code in (0, 1, 2)
        assert code == 0 or err
        assert "Traceback" not in err
        assert not err.startswith(("OSError", "MemoryError")), "the command did not expect this"
        if code == 0:
            assert counted(command) == len(records)
        codes.setdefault(command[0], set()).add(code)
    assert codes["stats"] == {0, 1}
    assert codes["validate"] == {0, 1}
