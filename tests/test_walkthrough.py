"""docs/walkthrough.md is run: its commands, all of them, in their sequence, and what it shows is what they print."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from speechre.cli import main
from speechre.data.annotator_names import named_annotators
from speechre.data.store import read_manifest
from speechre.types import Utterance
from tests.releases import load_script

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")


class Step(NamedTuple):
    """A command of the page and the lines that the page shows under it."""

    command: str
    shown: list[str]


def steps() -> Iterator[Step]:
    """Every ``$`` line of every fenced block; a backslash at its end goes on in the next line."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        first, *rest = re.split(r"^\$ ", block, flags=re.MULTILINE)
        assert not first, f"a fenced block that no test runs: {block}"
        for part in rest:
            command, _, shown = part.replace("\\\n", " ").partition("\n")
            yield Step(command, shown.splitlines())


def run(command: str) -> tuple[int, list[str]]:
    """The exit code, and what a person sees in a terminal: both streams in their sequence."""
    if not command.startswith("speechre "):
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": path},
        )
        return done.returncode, done.stdout.splitlines()
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = main(shlex.split(command)[1:])
    return code, out.getvalue().splitlines()


def pattern_of(shown: list[str]) -> str:
    """An expression that fits what was printed: ``...`` is any lines, ``…`` any piece of a line."""
    lines = [r"(.*\n)*?" if line == "..." else re.escape(line).replace("…", ".*") + r" *\n" for line in shown]
    return "".join(lines)


def annotation(utterance: Utterance) -> tuple[set[tuple[int, int, str]], set[tuple[int, str, int]]]:
    """Spans with their types, and relations from start to start."""
    spans = {(e.start or 0, e.end or 0, e.type) for e in utterance.entities}
    start = {e.id: e.start or 0 for e in utterance.entities}
    return spans, {(start[r.head_id], r.type, start[r.tail_id]) for r in utterance.relations}


@pytest.mark.timeout(900)  # half a minute on a quiet machine
def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    monkeypatch.chdir(tmp_path)
    done = []
    for command, shown in steps():
        code, printed = run(command)
        text = "".join(f"{line}\n" for line in printed)
        assert re.fullmatch(pattern_of(shown), text), f"{command}\nprints\n{text}"
        has_errors = re.search(r": [1-9]\d* errors", text) is not None
        assert code == has_errors, command
        done.append(command.split("--")[0])
    said = " ".join(done)
    assert [word for word in WORDS if f"speechre {word} " not in said] == []
    check_the_annotation()
    check_what_is_published()
    report = json.loads(Path("runs/smoke/report/report.json").read_text(encoding="utf-8"))
    assert report["num_utterances"] == len(read_manifest("parts/test.jsonl"))


WORDS = (
    *(f"data {name}" for name in ("candidates", "to-label-studio", "from-label-studio", "agreement", "validate")),
    *(f"data {name}" for name in ("split", "stats", "card", "export", "import")),
    *("train", "evaluate", "extract"),
)


def check_the_annotation() -> None:
    """What is left after two people's habits, a decision and a repair is what the sentences state."""
    script = load_script("annotate-common-voice")
    annotated = read_manifest("annotated.jsonl")
    assert [u.id for u in annotated] == [u.id for u in read_manifest("candidates.jsonl")]
    for utterance in annotated:
        spans, links = script.read(utterance.text)
        assert annotation(utterance) == (
            set(spans),
            {(spans[head][0], kind, spans[tail][0]) for head, kind, tail in links},
        )
    assert sum(bool(u.extra["agreement"].get("decided")) for u in annotated) == 15


def check_what_is_published() -> None:
    """The folder for the hub holds every utterance of the parts as it is, with its recording; no annotator is named."""
    parts = [u for name in ("train", "dev", "test") for u in read_manifest(f"parts/{name}.jsonl")]
    copy = read_manifest("copy/all.jsonl")
    assert [replace(u, audio=None) for u in copy] == [replace(u, audio=None) for u in parts]
    assert {tuple(u.extra["agreement"]["annotators"]) for u in copy} == {("a1", "a2")}
    assert named_annotators(copy) == []
    for old, new in zip(parts, copy, strict=True):
        assert old.audio is not None
        assert new.audio is not None
        assert Path(new.audio.path).read_bytes() == Path(old.audio.path).read_bytes()
    assert {path.name for path in Path("speechre").glob("*.json")} >= {"train.json", "dev.json", "test.json"}
    assert len(list(Path("speechre/audio_npy").iterdir())) == len(parts)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
