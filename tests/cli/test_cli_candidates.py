"""``speechre data candidates`` from a made release to a manifest, with spaCy as it comes from PyPI."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from speechre.cli import candidates as cli_candidates
from speechre.cli import main
from speechre.data import candidates, entity_tagger
from speechre.data.candidates import REASONS
from speechre.data.store import read_manifest
from tests.releases import WordTagger, make_release, row, write_release


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recognizer that takes no time to load."""
    monkeypatch.setattr(entity_tagger, "open_tagger", lambda *_: nullcontext(WordTagger()))


def test_a_release_to_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = make_release(tmp_path / "en", 150), tmp_path / "out" / "c.jsonl"
    command = ["data", "candidates", "--common-voice", str(folder), "--output", str(output)]
    assert main([*command, "--max-per-speaker", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    kept = read_manifest(output)
    others = tmp_path / "out" / "c.dropped.tsv"
    table = others.read_text(encoding="utf-8").splitlines()
    assert table[0].split("\t") == ["line", "clip", "reason", "detail"]
    assert report["num_rows"] == len(kept) + len(table) - 1 == 150
    assert (report["num_kept"], report["num_dropped"]) == (len(kept), len(table) - 1)
    assert sum(report["dropped"].values()) == report["num_dropped"]
    assert list(report["dropped"]) == list(REASONS)
    assert json.loads((tmp_path / "out" / "c.report.json").read_text(encoding="utf-8")) == report
    assert err == f"wrote {len(kept)} utterances to {output}, why not the others to {others}\n"
    assert len(kept) > 10
    assert all(len(one.extra["ner"]["entities"]) >= 2 and not one.entities for one in kept)
    assert max(sum(one.speaker == other.speaker for other in kept) for one in kept) == 3
    assert main(["data", "validate", str(output), "--schema", "ace05"]) == 0
    assert capsys.readouterr().out == ""
    first = output.read_bytes()
    assert main([*command, "--max-per-speaker", "3"]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert printed.pop("rows") == "150"
    assert sum(map(int, printed.values())) == 150
    assert output.read_bytes() == first


@pytest.mark.usefixtures("words")
def test_nothing_found_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_release(tmp_path / "en", [row(1, "Nothing happened."), row(2, "Nor here.")])
    output = tmp_path / "c.jsonl"
    assert main(["data", "candidates", "--common-voice", str(folder), "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert ["few-entities", "2"] in [line.split() for line in out.splitlines()]
    assert err.startswith("wrote 0 utterances")
    assert output.read_bytes() == b""


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--split", "train"], "DataError: {dir}: there is no train.tsv; it has the splits validated"),
        (["--schema", "none"], 'UnknownSchemaError: no schema "none"'),
        (["--max-duration", "0"], 'UsageError: argument --max-duration: got "0", expected seconds above 0'),
        (["--max-per-speaker", "-1"], 'UsageError: argument --max-per-speaker: got "-1"'),
        (["--output", "{dir}/validated.tsv"], "UsageError: {dir}/validated.tsv: would replace the input"),
        (["--output", "{dir}/clips/x.mp3/c.jsonl"], "UsageError: "),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, options: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_release(tmp_path / "en", [row(1, "Ann Lee lives in Oslo.", path="x.mp3")])
    command = ["data", "candidates", "--common-voice", str(folder), "--output", str(tmp_path / "c.jsonl")]
    assert main([*command, *(option.format(dir=folder) for option in options)]) in (1, 2)
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith(error.format(dir=folder))
    assert not (tmp_path / "c.jsonl").exists()


def test_a_recognizer_that_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_release(tmp_path / "en", [row(1, "Ann Lee lives in Oslo.")])
    command = ["data", "candidates", "--common-voice", str(folder), "--output", str(tmp_path / "c.jsonl")]
    assert main([*command, "--ner", "none"]) == 2
    assert capsys.readouterr().err.startswith('UsageError: unknown recognizer "none"')


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("words")
def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_release(tmp_path / "en", [row(i, f"Ann Lee left Oslo in {i}.") for i in range(6)], sounds=False)
    command = ["data", "candidates", "--common-voice", str(folder), "--output", str(tmp_path / "c.jsonl"), "--no-audio"]
    monkeypatch.setattr(candidates, "CHUNK_ROWS", 2)
    monkeypatch.setattr(cli_candidates, "_MESSAGE_ROWS", 4)
    assert main(command) == 0
    assert capsys.readouterr().err.splitlines()[:-1] == ["4 rows, 73%: 4 kept"]
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert main(command) == 0
    assert "100 % 6 rows, 6 kept" in terminal.getvalue()


def workers_of(pid: int) -> list[int]:
    """Its children, by Linux's own account."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in children.read_text().split()] if children.exists() else []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_kill_9_with_workers_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "en", 6_000)
    common = [sys.executable, "-m", "speechre", "data", "candidates", "--common-voice", str(folder), "--output"]
    killed = subprocess.Popen([*common, str(tmp_path / "a.jsonl"), "--processes", "2"])
    work = tmp_path / ".a.work" / "kept.jsonl"
    while not work.exists() or work.stat().st_size == 0:
        assert killed.poll() is None
        time.sleep(0.05)
    workers = workers_of(killed.pid)
    assert len(workers) >= 2
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "a.jsonl").exists()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the search"
        time.sleep(0.1)
    assert subprocess.run([*common, str(tmp_path / "a.jsonl"), "--processes", "2"], check=False).returncode == 0
    assert subprocess.run([*common, str(tmp_path / "b.jsonl")], check=False).returncode == 0
    for suffix in (".jsonl", ".dropped.tsv", ".report.json"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
