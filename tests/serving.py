"""The service in a thread of the tests, on a free port, and extractors that do what a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from speechre.extract.extractor import Extractor
from speechre.serve.limits import Limits
from speechre.serve.server import HttpServer, bind

PATIENCE_S = 60.0
"""A busy machine is slow, not wrong."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll ``condition``; fails when it does not come true."""
    latest_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < latest_s, f"in {PATIENCE_S:g} s never: {what}"
        time.sleep(0.01)


@dataclass
class Running:
    """A service that runs: how to reach it, and what it said to whoever runs it."""

    server: HttpServer
    client: httpx.Client
    said: list[str]
    codes: list[int] = field(default_factory=list)

    def post(self, content: bytes, **query: str) -> httpx.Response:
        """One recording as the body."""
        return self.client.post("/v1/extract", content=content, params=query)

    def post_files(self, *files: tuple[str, bytes], **query: str) -> httpx.Response:
        """Some recordings as multipart."""
        return self.client.post("/v1/extract", files=[("file", one) for one in files], params=query)

    def metric(self, name: str) -> float:
        """A number from /metrics; 0 where it is not there yet."""
        values = [line.rsplit(" ", 1) for line in self.client.get("/metrics").text.splitlines()]
        return next((float(value) for key, value in values if key == name), 0.0)


@contextmanager
def running(extractor: Any, **limits: int) -> Iterator[Running]:
    """A service in a thread, which must have ended by itself behind the block."""
    said: list[str] = []
    server = HttpServer(extractor, bind("127.0.0.1", 0), Limits(**limits), said.append)
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as client:
        service = Running(server, client, said)
        thread = threading.Thread(target=lambda: service.codes.append(server.run()))
        thread.start()
        try:
            wait_until(lambda: said or not thread.is_alive(), "listening")
            yield service
        finally:
            server.stop()
            thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not server.service.model.is_alive


class Gated:
    """An extractor that hears nothing until it is let, and says how many recordings it was given together."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.gate = threading.Event()
        self.taken: list[list[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def extract_many(self, sources: Iterable[Any], *told: Any) -> Iterator[Any]:
        """As the extractor's own, behind the gate."""
        together: list[Any] = []
        self.taken.append(together)

        def gated() -> Iterator[Any]:
            for source in sources:
                together.append(source)
                assert self.gate.wait(PATIENCE_S)
                yield source

        return self._extractor.extract_many(gated(), *told)


class Faulty:
    """An extractor that raises ``error`` when it is given a recording of the length ``duration_s``."""

    def __init__(self, extractor: Extractor, is_bad: Callable[[Any], bool], error: Exception) -> None:
        self._extractor = extractor
        self._is_bad = is_bad
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def extract_many(self, sources: Iterable[Any], *told: Any) -> Iterator[Any]:
        """As the extractor's own, but for the bad one."""
        given = list(sources)
        if any(self._is_bad(source) for source in given):
            raise self._error
        return self._extractor.extract_many(iter(given), *told)
