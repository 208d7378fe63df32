"""The port: bound before the model is loaded, opened behind it, closed when all that was taken is answered."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from speechre.errors import OnMessage, UsageError
from speechre.serve.limits import Limits

if TYPE_CHECKING:
    from speechre.extract.extractor import Extractor

_LOOK_EVERY_S = 0.05
_LAST_WORDS_S = 5.0  # for answers that are being written, and for the model's thread to end


def check_packages() -> None:
    """Raises :class:`UsageError` where Starlette, uvicorn or python-multipart is missing."""
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'the service needs the package {error.name}, which is not installed; run "pip install speechre[serve]"'
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """A socket with that address, on which nobody listens yet; port 0 is any free one.

    Raises :class:`UsageError` where the address is taken, or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # a port that a service had a moment ago can be had again
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {host} port {port}: {reason}; choose another --port (0: any free one) or --host"
        ) from error
    return sock


def url_of(sock: socket.socket) -> str:
    """Where a bound socket can be reached."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"http://{host}:{port}"


def print_fault(error: BaseException) -> None:
    """The traceback of a fault, on stderr, if anybody reads it."""
    with suppress(OSError, ValueError):
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()


def load_for_a_thread(load: Callable[[], Extractor]) -> tuple[Extractor, Callable[[], None]]:
    """A model, and what the one thread that will use it must call first, to have all cores.

    Two threads with a team of OpenMP each have more threads than there are cores, and those of libgomp then sleep after
    every operation in place of waiting for the next: an extraction takes 1.4 times as long on two cores. So this thread
    gets no team.
    """
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return load(), partial(torch.set_num_threads, num_threads)


class HttpServer:
    """Serves one extractor on one socket, until it is stopped."""

    def __init__(
        self,
        extractor: Extractor,
        sock: socket.socket,
        limits: Limits,
        report: OnMessage,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """``report`` is told, in a line, where it listens, and what else whoever runs it should know. ``on_start`` is
        what :func:`load_for_a_thread` gave.
        """
        from speechre.serve.app import Service

        self.service = Service(extractor, limits, report, print_fault, on_start)
        self.url = url_of(sock)
        self._sock = sock
        self._report = report
        self._name = extractor.model_id
        self._num_stops = 0

    def stop(self, *_: Any) -> None:
        """Take no more requests, finish those that are there, and end; a second time: end at once. From any thread, and
        as a signal's handler.
        """
        self._num_stops += 1
        self.service.is_stopping = True

    def run(self) -> int:
        """Serve until stopped, in the main thread by SIGINT or SIGTERM too; 1 if requests were left unanswered."""
        with self._signals():
            return asyncio.run(self._run())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _run(self) -> int:
        server = self._uvicorn()
        serving = asyncio.create_task(server.serve([self._sock]))
        while not (self._num_stops or serving.done()):
            await asyncio.sleep(_LOOK_EVERY_S)
        is_all_done = await self._finish()
        server.should_exit = True
        await serving
        self.service.model.close(_LAST_WORDS_S)
        return 0 if is_all_done else 1

    async def _finish(self) -> bool:
        """Wait for the requests that are in the house, as long as the limits allow; whether all were answered."""
        service, latest_s = self.service, time.monotonic() + self.service.limits.grace_s
        while service.num_requests and self._num_stops < 2 and time.monotonic() < latest_s:
            await asyncio.sleep(_LOOK_EVERY_S)
        if not service.num_requests:
            return True
        self._report(f"{service.num_requests} requests are given up")
        service.model.give_up()
        return False

    def _uvicorn(self) -> Any:
        import uvicorn

        from speechre.serve.app import make_app
        from speechre.serve.connections import watched_protocol

        tell = self._tell

        class Server(uvicorn.Server):
            """Which leaves signals to us: its own handling drops the port first, and ends by the signal."""

            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                tell()

        return Server(
            uvicorn.Config(
                make_app(self.service),
                # h11 reads on behind an early refusal, so that the client can read it
                http=watched_protocol(partial(self.service.metrics.count_request, "other")),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(_LAST_WORDS_S),
            )
        )

    def _tell(self) -> None:
        self._report(f"listening on {self.url} with {self._name}")
