"""The frame of the command line: help, version, exit codes, what stays unloaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import speechre
from speechre.cli import build_parser, main
from speechre.data.formats.table import FORMATS
from speechre.errors import DataError, UsageError

COMMANDS = (
    "",
    "extract",
    "bulk",
    "serve",
    "evaluate",
    "score",
    "train",
    "data",
    "data import",
    "data validate",
    "data stats",
)


SHORTAGE = "MemoryError: not enough memory; use fewer beams, a smaller batch, fewer workers or shorter recordings"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {f'speechre {command}'.strip()} ")
    assert err == ""


def test_help_says_of_each_command_what_its_own_parser_says() -> None:
    assert build_parser(()).format_help() == build_parser().format_help()


def test_the_program_says_what_the_command_returns() -> None:
    for arguments, code in ((["--version"], 0), (["extract"], 2), (["data", "validate", "missing.jsonl"], 2)):
        done = subprocess.run([sys.executable, "-m", "speechre", *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, f"speechre {speechre.__version__}\n" if code == 0 else "")
        assert bool(done.stderr) == (code != 0)


def test_help_loads_nothing_heavy() -> None:
    code = "\n".join(
        (
            "import sys, io, contextlib",
            "from speechre.cli import main",
            f"for command in {COMMANDS}:",
            "    with contextlib.redirect_stdout(io.StringIO()):",
            "        assert main([*command.split(), '--help']) == 0",
            "print(sorted({'torch', 'numpy', 'rich', 'yaml', 'soundfile'} & set(sys.modules)))",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_version_of_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "speechre", "--version"], capture_output=True, text=True, check=True)
    assert main(["--version"]) == 0
    assert done.stdout == capsys.readouterr().out == f"speechre {speechre.__version__}\n"


def test_the_help_of_import_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in FORMATS)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a\nb\x1b"), 1, r"DataError: a\nb\x1b"),
        (UsageError("u"), 2, "UsageError: u"),
        (MemoryError(), 1, SHORTAGE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 1, SHORTAGE),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), 1, SHORTAGE),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/tmp/x"), 1, "OSError: /tmp/x: No space left on device"),
    ],
)
def test_every_error_is_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr("speechre.data.store.iter_manifest", fail)
    assert main(["data", "stats", "x.jsonl"]) == code
    assert capsys.readouterr() == ("", line + "\n")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("speechre.data.store.iter_manifest", fail)
    with pytest.raises(AssertionError, match="a bug"):
        main(["data", "stats", "x.jsonl"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_behind_stdout() -> None:
    command = ["data", "stats", "samples/samples.jsonl", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "speechre", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    (line,) = done.stderr.splitlines()
    assert line.startswith("UsageError: standard output: cannot be written: No space left on device")
    assert done.returncode == 2
