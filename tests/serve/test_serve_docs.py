"""docs/service.md says what is so: its commands answer as shown, its tables are the code's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from speechre.cli import build_parser
from speechre.extract.extractor import Extractor
from speechre.serve import limits
from speechre.serve.answers import MEDIA_TYPES
from speechre.serve.app import UI_FILES
from speechre.serve.limits import MAX_FILES, GoneError, Limits, RefusedError
from speechre.serve.metrics import HELP
from tests.serving import running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the tables of a section, without their headers."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for table in tables for row in table.splitlines()]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def pattern_of(shown: str) -> str:
    """An expression that fits what was printed: ``…`` is any piece of a line."""
    return re.escape(shown).replace("…", ".*")


@pytest.mark.slow
@pytest.mark.usefixtures("hears_in_float32")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_answer_as_shown_and_python_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    steps = [block.removeprefix("$ ").partition("\n") for block in blocks("console")]
    assert len(steps) == 3
    with running(Extractor.from_pretrained(device="cpu")) as service:
        assert service.said[0].replace(service.server.url, ADDRESS) in " ".join(PAGE.split())
        for command, _, shown in steps:
            command = command.replace(ADDRESS, service.server.url)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
            assert re.fullmatch(pattern_of(shown), done.stdout), f"{command}\nprints\n{done.stdout}"
        (code,) = blocks("python")
        exec(compile(code.replace(ADDRESS, service.server.url), "docs/service.md", "exec"), {})
        assert capsys.readouterr().out == "Work_For\n"


def test_the_addresses_are_those_that_there_are() -> None:
    first = [cell for row in rows_under("Addresses") for cell in row[:2]]
    named = {path for cell in first for path in re.findall(r"`(?:GET |POST )?(/[\w./]*)`", cell)}
    assert named == {"/v1/extract", "/v1/model", "/healthz", "/metrics", *UI_FILES}


def test_the_formats_are_those_that_there_are() -> None:
    rows = [row for row in rows_under("Addresses") if quoted(row[0])[0] in MEDIA_TYPES]
    shown = {name: kind for row in rows for name, kind in zip(quoted(row[0]), quoted(row[1]), strict=True)}
    assert shown == {name: kind.split(";")[0] for name, kind in MEDIA_TYPES.items()}


def test_the_statuses_are_those_of_the_errors() -> None:
    shown = {(kind, int(row[0])) for row in rows_under("Errors") for kind in quoted(row[1])}
    ours = {
        (kind.__name__, kind.status)
        for kind in vars(limits).values()
        if isinstance(kind, type) and issubclass(kind, RefusedError) and kind not in (RefusedError, GoneError)
    }
    assert shown == ours | {("AudioError", 422), ("SpeechreError", 500)}


def test_the_limits_are_the_code_s() -> None:
    shown = {quoted(row[0])[0].lstrip("-").replace("-", "_"): int(row[1]) for row in rows_under("Limits")}
    assert Limits(**shown) == Limits()
    assert f"at most {MAX_FILES} recordings" in PAGE


def test_the_metrics_are_the_code_s() -> None:
    assert [quoted(row[0])[0] for row in rows_under("Metrics")] == list(HELP)


def test_the_commands_are_understood() -> None:
    text = "\n".join(blocks("bash") + blocks("ini"))
    for line in re.findall(r"\bspeechre (serve.*)$", text, re.MULTILINE):
        assert build_parser().parse_args(line.split()).port == 8000
    host = re.findall(r'"speechre", "serve", "--host", "([\d.]+)"', PAGE)
    assert host == ["0.0.0.0"]


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
