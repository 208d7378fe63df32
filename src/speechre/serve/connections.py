"""Connections: how many there may be, how long one may be of no use, and an error for what is not HTTP.

A file descriptor each is what they cost, and a process that has none left answers nobody. uvicorn closes a connection
that is idle behind an answer; one that never asks, asks a byte at a time, or does not read its answer it keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from speechre.serve.answers import to_json
from speechre.serve.limits import (
    IDLE_TIMEOUT_S,
    LEAST_BYTES_PER_S,
    MAX_CONNECTIONS,
    BadRequestError,
    CrowdedError,
    RefusedError,
    SlowUploadError,
)

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol
else:  # uvicorn is optional: its class joins in watched_protocol
    H11Protocol = object


def raise_file_limit() -> None:
    """As many open files as the system lets this process have: uploads and connections are files."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):  # macOS says "unlimited" and means 10,240
        return


class Watched(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, on a connection that is looked at every :data:`IDLE_TIMEOUT_S`.

    ``count`` is told the status of every answer that no application gave.
    """

    def __init__(self, count: Callable[[int], None], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._count = count
        self._timer: asyncio.TimerHandle | None = None
        self._num_unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One more, or one too many."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(
                CrowdedError(f"{MAX_CONNECTIONS} connections are open, and no more are taken; send the request later")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing left to look at."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        """From here on the next request is waited for."""
        self._watch()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers in plain text: one JSON object, as every other error."""
        self._refuse(BadRequestError("what came is not a request of HTTP/1.1; docs/service.md has examples of some"))

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._num_unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(IDLE_TIMEOUT_S, self._look)

    def _look(self) -> None:
        """End a connection that waits for nothing, or for a client that does not read."""
        num_unread, before = self.transport.get_write_buffer_size(), self._num_unread
        # An answer is written in one piece, so what is left of it only becomes less.
        if before and num_unread and num_unread > before - LEAST_BYTES_PER_S * IDLE_TIMEOUT_S:
            self.transport.abort()
        elif num_unread or (self.cycle is not None and not self.cycle.response_complete):
            self._watch()
        elif self.conn.trailing_data[0]:
            self._refuse(
                SlowUploadError(f"in {IDLE_TIMEOUT_S:g} s no request's head came whole; send it again without a pause")
            )
        else:  # nothing: a browser's, opened for a request that may come, which would show an answer to another one
            self.transport.close()

    def _refuse(self, error: RefusedError) -> None:
        """Answer in the application's place, and end the connection."""
        import h11

        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = to_json({"error": error.to_dict()})
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
                **error.headers,
            }
            reason = HTTPStatus(error.status).phrase.encode()
            head = h11.Response(status_code=error.status, headers=[*headers.items()], reason=reason)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._count(error.status)
        self.transport.close()


def watched_protocol(count: Callable[[int], None]) -> Any:
    """What uvicorn makes a protocol with, for each connection."""
    from uvicorn.protocols.http import h11_impl

    return partial(type("WatchedProtocol", (Watched, h11_impl.H11Protocol), {}), count)
