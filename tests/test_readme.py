"""The README says what is so: its commands exist, its example runs, its output is the output."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from speechre.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_under(heading: str) -> str:
    """The first fenced block under a heading."""
    match = re.search(rf"^## {heading}\n.*?^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert match, f"README.md has no fenced block under {heading}"
    return match.group(1).strip()


def test_the_front_door_is_two_commands() -> None:
    for heading in ("Run it", "Test it"):
        command = block_under(heading)
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q torch==")
    assert block_under("Run it").endswith("&& .venv/bin/speechre extract samples/*.flac")
    assert README.index("## Run it") < README.index("## Test it") < 4000, "the two commands belong on the first screen"


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("line", [x for x in block_under("Train your own").splitlines() if x.startswith("speechre")])
def test_commands_have_the_options_that_the_readme_gives_them(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = words[:2] if words[0] == "data" else words[:1]
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert word in text, f"{' '.join(command)} has no {word}"


@pytest.mark.slow
@pytest.mark.usefixtures("hears_in_float32")
def test_the_output_shown_is_the_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    match = re.search(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert match
    command, *shown = [line.rstrip() for line in match.group(1).splitlines() if line.strip()]
    assert command.startswith("$ speechre ")
    assert main(shlex.split(command)[2:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert shown == printed


@pytest.mark.slow
def test_the_python_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(block_under("In Python"), "README.md", "exec"), {})
    assert "General Motors" in capsys.readouterr().out
