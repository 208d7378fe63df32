"""What comes in: recordings of a request as files of the service's own, counted while they are read.

Nothing that a client sends is ever opened as a path: names are labels. What was sent lies on disk and not in memory, as
the extractor reads recordings block by block.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speechre.audio import audio_duration_s, read_blocks
from speechre.audio_files import recording_ids
from speechre.samples import SAMPLE_RATE_HZ
from speechre.serve.limits import (
    LEAST_BYTES_PER_S,
    MAX_FILES,
    MAX_NAME_CHARS,
    READ_TIMEOUT_S,
    BadRequestError,
    GoneError,
    Limits,
    SlowUploadError,
    TooLargeError,
    TooLongError,
)

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request
    from starlette.types import Message, Receive

UNNAMED = "recording"
"""What a recording is called that came without a name."""


@dataclass(frozen=True)
class Upload:
    """One recording: what its client calls it, the id of its extraction, and the service's own copy."""

    name: str
    id: str
    path: Path


def check_name(name: str) -> str:
    """``name`` itself. Raises :class:`BadRequestError` on what names nothing."""
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise BadRequestError(
            f"a recording's name has {len(name)} characters; expected 1 to {MAX_NAME_CHARS}; it is only a label"
        )
    return name


async def receive_uploads(request: Request, folder: Path, limits: Limits, name: str | None) -> list[Upload]:
    """The recordings of a request's body, one at least, written to ``folder``.

    Raises :class:`RefusedError` on a body that is too large, malformed, or stops coming.
    """
    from python_multipart.exceptions import FormParserError
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request

    _check_declared_size(request, limits)
    request = Request(request.scope, _counting(request.receive, limits))
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    try:
        if is_form:
            return await _receive_form(Request(request.scope, _to_its_end(request)), folder, name)
        path = folder / "0"
        with path.open("wb") as file:
            async for piece in request.stream():
                file.write(piece)
    except ClientDisconnect as error:
        raise GoneError("the client went away in the middle of its request") from error
    except (HTTPException, FormParserError) as error:  # Starlette 1.0 lets the parser's own through
        detail = str(getattr(error, "detail", error)).rstrip(".")
        raise BadRequestError(
            f"the multipart body cannot be read: {detail}; expected at most {MAX_FILES} parts with a "
            'file, as "curl -F file=@talk.wav" sends them'
        ) from error
    return _named([check_name(UNNAMED if name is None else name)], folder)


def _check_declared_size(request: Request, limits: Limits) -> None:
    """What a request says of itself can only speak against it: all bytes are counted anyway."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limits.max_upload_bytes:
        raise _too_large(limits)


def _too_large(limits: Limits) -> TooLargeError:
    return TooLargeError(
        f"the request has more than {limits.max_upload_mib} MiB; send FLAC or Ogg Opus in place of WAV, or fewer or "
        "shorter recordings; --max-upload-mib of the service sets the limit"
    )


def _counting(receive: Receive, limits: Limits) -> Receive:
    """As ``receive``, until there are too many bytes or none for too long, or too few for a client that means it."""
    num_bytes, came_s = 0, time.monotonic()

    async def counted() -> Message:
        nonlocal num_bytes
        try:
            message = await asyncio.wait_for(receive(), READ_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            raise SlowUploadError(
                f"nothing came for {READ_TIMEOUT_S:g} s in the middle of the request; send it again without a pause"
            ) from error
        num_bytes += len(message.get("body", b""))
        if num_bytes > limits.max_upload_bytes:
            raise _too_large(limits)
        passed_s = time.monotonic() - came_s
        if passed_s > READ_TIMEOUT_S and num_bytes < passed_s * LEAST_BYTES_PER_S:
            raise SlowUploadError(
                f"{num_bytes} bytes came in {passed_s:.0f} s; expected {LEAST_BYTES_PER_S} a second or more; send the "
                "request again over a faster connection"
            )
        return message

    return counted


def _to_its_end(request: Request) -> Receive:
    """As the request's ``receive``, but a multipart body must have the boundary that ends it: without one its parser
    takes the parts before for all.
    """
    from python_multipart.multipart import parse_options_header
    from starlette.formparsers import MultiPartException

    _, options = parse_options_header(request.headers.get("content-type", ""))
    mark = b"\r\n--" + options.get(b"boundary", b"") + b"--"
    tail = b"\r\n"  # a body may begin with it
    is_ended = False

    async def receive() -> Message:
        nonlocal tail, is_ended
        message = await request.receive()
        seen = tail + message.get("body", b"")
        is_ended = is_ended or mark in seen
        tail = seen[-len(mark) :]
        if message["type"] == "http.request" and not message.get("more_body", False) and not is_ended:
            raise MultiPartException("it ends without its last boundary, so parts may be missing")
        return message

    return receive


async def _receive_form(request: Request, folder: Path, name: str | None) -> list[Upload]:
    if name is not None:
        raise BadRequestError("?name= names a recording that is the whole body; in multipart each part has a file name")
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES) as form:
        parts: list[UploadFile] = []
        for key, value in form.multi_items():
            if key != "file" or isinstance(value, str):
                what = "without a file name" if key == "file" else f'called "{key[:40]}"'
                raise BadRequestError(f'got a part {what}; expected parts called "file", each with a file name')
            parts.append(value)
        if not parts:
            raise BadRequestError('the multipart body has no part; expected one or more called "file"')
        names = [check_name(part.filename or UNNAMED) for part in parts]
        for number, part in enumerate(parts):
            await asyncio.to_thread(_copy, part.file, folder / str(number))
    return _named(names, folder)


def _copy(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def _named(names: Sequence[str], folder: Path) -> list[Upload]:
    """With ids as ``speechre extract`` gives them."""
    ids = recording_ids(names)
    return [Upload(*each, folder / str(number)) for number, each in enumerate(zip(names, ids, strict=True))]


def measure_sound(upload: Upload, limits: Limits) -> float:
    """How long a recording is, in seconds, once it was decoded to its end, in constant memory: who waits in line with
    others can be heard.

    Raises :class:`AudioError` on one that cannot be, :class:`TooLongError` on one that is too long.
    """
    max_bytes = limits.max_upload_bytes
    claimed_s = audio_duration_s(upload.path, max_bytes=max_bytes, name=upload.name)
    if claimed_s > limits.max_duration_s:
        raise TooLongError(
            f"{upload.name}: {claimed_s:.1f} s; at most {limits.max_duration_s} s are heard; send it in parts; "
            "--max-duration-s of the service sets the limit"
        )
    blocks = read_blocks(upload.path, max_bytes=max_bytes, name=upload.name)
    return sum(len(block) for block in blocks) / SAMPLE_RATE_HZ
