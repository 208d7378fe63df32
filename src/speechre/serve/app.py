"""The addresses of the service, as an ASGI application. What needs Starlette imports it when it runs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre import __version__
from speechre.errors import OnMessage, SpeechreError
from speechre.extract.extractor import Extractor
from speechre.serve.answers import MEDIA_TYPES, Outcome, check_format, to_json, write_answer
from speechre.serve.limits import (
    BadRequestError,
    BusyError,
    FaultError,
    ForbiddenError,
    GoneError,
    Limits,
    MethodError,
    NotFoundError,
    RefusedError,
    StoppingError,
    status_of,
)
from speechre.serve.metrics import MEDIA_TYPE as METRICS_TYPE
from speechre.serve.metrics import Metrics
from speechre.serve.model_thread import Job, ModelThread
from speechre.serve.uploads import Upload, measure_sound, receive_uploads
from speechre.types import Extraction

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Endpoint = Callable[["Request"], Awaitable["Response"]]

_UI = Path(__file__).parent / "ui"
UI_FILES = {"/": ("index.html", "text/html"), "/ui.css": ("ui.css", "text/css"), "/ui.js": ("ui.js", "text/javascript")}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: run its own script, ask its own service, play what its user chose."""
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class Service:
    """One extractor behind HTTP. ``report`` is told, in a line each, what whoever runs it should know. ``on_start``
    is called in the model's thread.
    """

    def __init__(
        self,
        extractor: Extractor,
        limits: Limits,
        report: OnMessage,
        report_fault: Callable[[BaseException], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.num_requests = 0  # of those for an extraction that are in the house
        self.is_stopping = False
        self.model = ModelThread(extractor.extract_many, self.metrics, report_fault, on_start)
        self._about = about_model(extractor, limits)
        self._report = report
        self._report_fault = report_fault

    # -- the addresses

    async def extract(self, request: Request) -> Response:
        """``POST /v1/extract``: recordings in, extractions out."""
        _check_same_site(request)
        query = _query(request, ("name", "format"))
        style = query.get("format")
        if style is not None:
            check_format(style)
        self._check_room()
        self.num_requests += 1
        try:
            with tempfile.TemporaryDirectory(prefix="speechre-", ignore_cleanup_errors=True) as folder:
                uploads = await receive_uploads(request, Path(folder), self.limits, query.get("name"))
                style = style or ("json" if len(uploads) == 1 else "jsonl")
                if style == "json" and len(uploads) > 1:
                    raise BadRequestError(f"format json is one object, and {len(uploads)} came; leave it out for jsonl")
                outcomes = await self._hear(request, uploads)
                body = await asyncio.to_thread(write_answer, style, uploads, outcomes, self._report)
        finally:
            self.num_requests -= 1
        return _response(body, MEDIA_TYPES[style])

    async def about(self, request: Request) -> Response:
        """``GET /v1/model``: whose answers these are."""
        _query(request, ())
        return _response(to_json(self._about), "application/json")

    async def health(self, request: Request) -> Response:
        """``GET /healthz``: whether requests are taken."""
        if self.is_stopping:
            raise StoppingError("the service is being shut down")
        if not self.model.is_alive:
            raise FaultError("the model's thread has ended; start the service again")
        return _response(to_json({"status": "ready"}), "application/json")

    async def show_metrics(self, request: Request) -> Response:
        """``GET /metrics``: for Prometheus."""
        return _response(self.metrics.to_text(self.num_requests, self.model.num_waiting).encode(), METRICS_TYPE)

    # -- a request's way

    def _check_room(self) -> None:
        if self.is_stopping:
            raise StoppingError("the service is being shut down; send the request again to the one that follows")
        if self.num_requests >= self.limits.max_waiting:
            raise BusyError(
                f"{self.num_requests} requests are being received, wait or are heard, and no more are taken at a time; "
                "send it again later; --max-waiting of the service sets the limit"
            )

    async def _hear(self, request: Request, uploads: Sequence[Upload]) -> list[Outcome]:
        """What became of each recording, in their sequence. Raises :class:`GoneError` when the client went away."""
        jobs: list[Job | SpeechreError] = []
        try:
            for upload in uploads:
                jobs += [await self._admitted(upload)]
            answers = [asyncio.wrap_future(job.answer) for job in jobs if isinstance(job, Job)]
            found = iter(await _while_wanted(answers, request.receive))
        finally:
            for job in jobs:
                if isinstance(job, Job):
                    job.answer.cancel()  # of one that is there already, nothing; else nobody wants it any more
        return [_outcome(next(found)) if isinstance(job, Job) else job for job in jobs]

    async def _admitted(self, upload: Upload) -> Job | SpeechreError:
        """A recording in the model's line, or why it is not: each fails alone, and before others wait with it."""
        try:
            duration_s = await asyncio.to_thread(measure_sound, upload, self.limits)
            job = Job(str(upload.path), upload.name, upload.id, duration_s)
            self.model.submit(job)
        except SpeechreError as error:
            self.metrics.count_recording("refused")
            return error
        return job

    # -- what went wrong

    async def on_error(self, request: Request, error: Exception) -> Response:
        """Every error as one JSON object."""
        known = _known(request, error)
        if not isinstance(error, SpeechreError) and known.__class__ is FaultError:
            self._report_fault(error)
        headers = dict(known.headers) if isinstance(known, RefusedError) else {}
        return _response(to_json({"error": known.to_dict()}), "application/json", status_of(known), headers)


def about_model(extractor: Extractor, limits: Limits) -> dict[str, Any]:
    """What ``GET /v1/model`` says. Known names are told by their number only: they may be people's."""
    checkpoint = extractor.checkpoint
    settings = checkpoint.config.to_dict()["decode"]
    settings["names"] = len(settings["names"])
    return {
        "name": checkpoint.name,
        "model": extractor.model_id,
        "speechre": __version__,
        "entity_types": [*checkpoint.schema.entity_types],
        "relation_types": [*checkpoint.schema.relation_types],
        "settings": {"batch_size": extractor.batch_size, "vad": extractor.vad, **settings},
        "limits": {
            "max_upload_mib": limits.max_upload_mib,
            "max_duration_s": limits.max_duration_s,
            "max_waiting": limits.max_waiting,
        },
    }


def make_app(service: Service) -> ASGIApp:
    """The application: addresses, errors, counting, and the headers that every answer has."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    endpoints: list[tuple[str, Endpoint, str]] = [
        ("/v1/extract", service.extract, "POST"),
        ("/v1/model", service.about, "GET"),
        ("/healthz", service.health, "GET"),
        ("/metrics", service.show_metrics, "GET"),
        *((path, partial(_show_file, *file), "GET") for path, file in UI_FILES.items()),
    ]
    handlers: Any = {HTTPException: service.on_error, SpeechreError: service.on_error}
    app: Starlette = Starlette(
        routes=[
            Route(path, _answering(service, endpoint), methods=[method], name=path)
            for path, endpoint, method in endpoints
        ],
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return _counting(app, service.metrics, {path for path, _, _ in endpoints})


def _answering(service: Service, endpoint: Endpoint) -> Endpoint:
    """An endpoint whose faults are answers too, and that does not end the connection."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # of any kind: the service goes on, and the traceback is reported
            return await service.on_error(request, error)

    return answer


def _counting(app: ASGIApp, metrics: Metrics, paths: set[str]) -> ASGIApp:
    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                metrics.count_request(scope["path"] if scope["path"] in paths else "other", message["status"])
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS.items() if pair[0] not in given)]
            await send(message)

        await app(scope, receive, send_with_headers)

    return counted


def _query(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The query's keys, each once. Raises :class:`BadRequestError` on others."""
    pairs = request.query_params.multi_items()
    for key, _ in pairs:
        if key not in known:
            expected = ", ".join(known) or "none"
            raise BadRequestError(f'unknown query parameter "{key[:40]}"; expected: {expected}')
    query = dict(pairs)
    if len(query) < len(pairs):
        raise BadRequestError("a query parameter is given twice; expected each once")
    return query


def _check_same_site(request: Request) -> None:
    """No other site's page makes a browser use a service on its user's own machine."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise ForbiddenError(
            "the request comes from another site's page; open the service's own page, or use a program"
        )


async def _while_wanted(answers: Sequence[asyncio.Future[Any]], receive: Receive) -> list[Any]:
    """All answers, errors among them. Raises :class:`GoneError` when the client goes away before."""
    together = asyncio.gather(*answers, return_exceptions=True)
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    gone.add_done_callback(lambda _: together.cancel())
    try:
        return await together
    except asyncio.CancelledError:
        if not gone.done():  # the server itself is being ended
            raise
        raise GoneError("the client went away before its recordings were heard") from None
    finally:
        gone.cancel()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _outcome(answer: Extraction | BaseException) -> Outcome:
    if isinstance(answer, Extraction | SpeechreError):
        return answer
    raise answer


def _known(request: Request, error: Exception) -> SpeechreError:
    """Any error as one of ours."""
    from starlette.exceptions import HTTPException

    if isinstance(error, SpeechreError):
        return error
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        path = request.url.path
        return MethodError(f"{request.method[:20]} {path}: this address takes {allowed} only", allowed)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return NotFoundError(f"{request.url.path[:200]}: there is no such address; docs/service.md has all of them")
    return FaultError(
        f"a fault of the service ({type(error).__name__}); its own log says more; send the request again, and if that "
        "fails too tell whoever runs the service"
    )


def _response(body: bytes, media_type: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(body, status, headers, media_type)


async def _show_file(name: str, media_type: str, request: Request) -> Response:
    """A file of the page."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "Permissions-Policy": "microphone=(self)"}
    body = await asyncio.to_thread((_UI / name).read_bytes)
    return _response(body, f"{media_type}; charset=utf-8", 200, headers)
