"""Connections that are of no use: never asked on, asked on a byte at a time, not read, too many, not HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from speechre.extract.extractor import Extractor
from tests.serve.conftest import sound
from tests.serving import PATIENCE_S, Gated, Running, running, wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE = HEALTH.replace(b"/healthz", b"/")
LARGE_BYTES = 50_000_000
"""More than the sockets of both sides hold."""


@contextmanager
def connected(service: Running) -> Iterator[socket.socket]:
    host, port = service.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while piece := sock.recv(2**16):
        received += piece
    return received


def error_of(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]


def is_let_go(sock: socket.socket, piece: bytes) -> bool:
    """Whether the service ends a connection on which ``piece`` comes again and again."""
    latest_s = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < latest_s:
            sock.sendall(piece)
            time.sleep(0.05)
    except OSError:
        return True
    return False


@pytest.fixture
def impatient(tiny_extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("speechre.serve.connections.IDLE_TIMEOUT_S", 0.3)
    with running(tiny_extractor) as service:
        yield service


@pytest.fixture
def large_page(tmp_path: Path, tiny_extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    (tmp_path / "index.html").write_bytes(b"x" * LARGE_BYTES)
    monkeypatch.setattr("speechre.serve.app._UI", tmp_path)
    monkeypatch.setattr("speechre.serve.connections.IDLE_TIMEOUT_S", 0.3)
    with running(tiny_extractor) as service:
        yield service


def test_who_never_asks_is_let_go_without_a_word(impatient: Running) -> None:
    with connected(impatient) as sock:
        assert read_to_end(sock) == b""


def test_who_sends_half_a_head_is_told_and_let_go(impatient: Running) -> None:
    with connected(impatient) as sock:
        sock.sendall(HEALTH[:20])
        status, error = error_of(read_to_end(sock))
    assert status == 408
    assert error == {
        "type": "SlowUploadError",
        "message": "in 0.3 s no request's head came whole; send it again without a pause",
    }
    assert impatient.metric('speechre_requests_total{path="other",status="408"}') == 1


def test_a_head_that_comes_in_drops_does_not_last(impatient: Running) -> None:
    with connected(impatient) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert is_let_go(sock, b"y")


def test_what_drips_on_behind_an_answer_does_not_last(impatient: Running) -> None:
    with connected(impatient) as sock:
        sock.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert sock.recv(2**16).startswith(b"HTTP/1.1 404")
        assert is_let_go(sock, b"x")


def test_what_takes_longer_is_waited_for(tiny_extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechre.serve.connections.IDLE_TIMEOUT_S", 0.1)
    gated = Gated(tiny_extractor)
    with running(gated) as service:
        Timer(0.5, gated.gate.set).start()
        answer = service.post(sound())
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() > 0.4


def test_who_does_not_read_the_answer_is_let_go(large_page: Running) -> None:
    with connected(large_page) as sock:
        sock.sendall(PAGE)
        time.sleep(1.5)
        with suppress(ConnectionResetError):
            assert len(read_to_end(sock)) < LARGE_BYTES


def test_who_reads_slowly_gets_all_of_it(large_page: Running) -> None:
    num_bytes = 0
    with connected(large_page) as sock:
        sock.sendall(PAGE)
        while piece := sock.recv(2**20):
            num_bytes += len(piece)
            time.sleep(1.5 * len(piece) / LARGE_BYTES)
            if num_bytes > LARGE_BYTES:  # the head besides
                break
    assert num_bytes > LARGE_BYTES


def test_there_are_no_more_connections_than_there_may_be(
    tiny_extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechre.serve.connections.MAX_CONNECTIONS", 3)
    with running(tiny_extractor) as service, ExitStack() as stack:
        idle = [stack.enter_context(connected(service)) for _ in range(3)]
        with connected(service) as sock:
            answer = read_to_end(sock)
            status, error = error_of(answer)
            assert (status, error["type"]) == (503, "CrowdedError")
            assert b"retry-after: 5" in answer.lower()
        idle[0].close()
        wait_until(lambda: _is_healthy(service), "a place for another one")
        idle[1].sendall(HEALTH)
        assert idle[1].recv(2**16).startswith(b"HTTP/1.1 200")


def _is_healthy(service: Running) -> bool:
    with connected(service) as sock:
        sock.sendall(HEALTH)
        with suppress(ConnectionResetError):
            return sock.recv(2**16).startswith(b"HTTP/1.1 200")
    return False


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET /healthz"])
def test_what_is_not_http_is_told_so(nonsense: bytes, service: Running) -> None:
    with connected(service) as sock:
        sock.sendall(nonsense + b"\r\n\r\n")
        status, error = error_of(read_to_end(sock))
    assert (status, error["type"]) == (400, "BadRequestError")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_service_may_open_as_many_files_as_the_system_lets_it() -> None:
    code = (
        "import resource as r; from speechre.serve.connections import raise_file_limit; most = "
        "r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, most)); raise_file_limit(); "
        "assert r.getrlimit(r.RLIMIT_NOFILE)[0] > 64"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
