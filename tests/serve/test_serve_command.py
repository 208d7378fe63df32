"""``speechre serve`` as its users start and stop it."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

import speechre
from speechre.audio import read_audio
from speechre.cli import build_parser, main
from speechre.serve.app import UI_FILES
from speechre.serve.limits import Limits
from speechre.serve.server import bind, url_of
from tests.serve.conftest import sound
from tests.serving import PATIENCE_S, wait_until


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and where it listens."""
    command = [sys.executable, "-m", "speechre", "serve", "--port", "0", "--device", "cpu", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+) with \S+@[0-9a-f]{6}\S*\n", line)
        assert match, line + process.stderr.read()
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_there(number: signal.Signals, tiny_model_dir: Path) -> None:
    """Three minutes of sound are long enough to be heard still when the signal comes."""
    answers: list[httpx.Response] = []
    with (
        started("--model", str(tiny_model_dir), "--batch-size", "1") as (process, url),
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        content = sound(200, 5)
        sender = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/v1/extract", content=content, timeout=PATIENCE_S))
        )
        sender.start()
        wait_until(lambda: "speechre_requests_in_progress 1" in client.get("/metrics").text, "it is there")
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        sender.join()
    assert [answer.status_code for answer in answers] == [200]
    assert answers[0].json()["duration_s"] == 200
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_batch_that_outlasts_the_grace_ends_with_it() -> None:
    """The model's thread is inside of torch then, where the interpreter's end would abort the process."""
    samples = np.concatenate(
        [read_audio(path) for path in sorted((Path(__file__).parents[2] / "samples").glob("*.flac"))] * 15
    )
    content = io.BytesIO()
    soundfile.write(content, samples, 16_000, format="FLAC")
    with (
        started("--batch-size", "48", "--grace-s", "1") as (process, url),
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        sender = threading.Thread(
            target=lambda: httpx.post(f"{url}/v1/extract", content=content.getvalue(), timeout=PATIENCE_S)
        )
        sender.start()
        wait_until(lambda: "speechre_requests_in_progress 1" in client.get("/metrics").text, "it is there")
        time.sleep(4)  # until it is decoded
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
        sender.join()
    assert (process.returncode, err) == (1, "1 requests are given up\n")


def test_a_port_that_is_taken_is_told_before_a_model_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--model", "/there/is/none"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"UsageError: cannot listen on 127.0.0.1 port {port}: ")
    assert err.endswith("choose another --port (0: any free one) or --host\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "65536"], 'got "65536", expected a whole number from 0 to 65535'),
        (["--port", "-1"], 'got "-1", expected a whole number from 0 to 65535'),
        (["--max-waiting", "0"], 'got "0", expected a whole number from 1 on'),
        (["--host", "256.0.0.1", "--port", "0"], "cannot listen on 256.0.0.1 port 0: "),
        (["--vad", "silent"], "invalid choice"),
        (["--port", "0", "--model", "/there/is/none"], "/there/is/none"),
        (["--port", "0", "--memory-mib", "10"], "--memory-mib has no effect without --batch-size auto"),
    ],
)
def test_arguments_that_cannot_be(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *arguments]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_package_is_told(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", "--port", "0"]) == 2
    assert capsys.readouterr().err == (
        f'UsageError: the service needs the package {package}, which is not installed; run "pip install '
        'speechre[serve]"\n'
    )


def test_help_and_the_room_need_none_of_them() -> None:
    code = "\n".join(
        (
            "import sys",
            "sys.modules |= dict.fromkeys(('starlette', 'uvicorn', 'python_multipart'))",
            "import speechre.serve.app, speechre.serve.server, speechre.serve.uploads, speechre.serve.answers",
            "from speechre.cli import main",
            "assert main(['serve', '--help']) == 0",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_defaults_of_the_command_are_the_limits_own() -> None:
    args = build_parser(["serve"]).parse_args(["serve"])
    assert Limits(args.max_upload_mib, args.max_duration_s, args.max_waiting, args.grace_s) == Limits()
    assert args.host == "127.0.0.1", "who did not ask for it is not reached by others"


def test_the_options_are_those_of_extract() -> None:
    def options(command: str, *files: str) -> set[str]:
        return set(vars(build_parser([command]).parse_args([command, *files])))

    only_of_files = {"files", "format", "output", "merge", "apart", "workers"}
    only_of_serve = {"host", "port", "max_upload_mib", "max_duration_s", "max_waiting", "grace_s"}
    assert options("serve") - only_of_serve == options("extract", "x.wav") - only_of_files


def test_nobody_can_connect_before_the_model_is_loaded() -> None:
    """A bound socket holds its port and refuses; a load balancer sees a service that is not there yet."""
    with bind("127.0.0.1", 0) as sock, pytest.raises(httpx.ConnectError):
        httpx.get(url_of(sock), trust_env=False)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    try:
        sock = bind("::1", 0)
    except speechre.errors.UsageError:
        pytest.skip("this machine has no ::1")
    with sock:
        assert re.fullmatch(r"http://\[::1\]:\d+", url_of(sock))


def test_the_page_s_files_are_package_data() -> None:
    """A wheel carries what pyproject.toml names."""
    root = Path(speechre.__file__).parents[2]
    data = re.search(r"^speechre = \[(.*)\]", (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert data
    patterns = re.findall(r'"([^"]+)"', data[1])
    folder = Path(speechre.__file__).parent
    carried = {path for pattern in patterns for path in folder.glob(pattern)}
    assert {folder / "serve" / "ui" / name for name, _ in UI_FILES.values()} <= carried
