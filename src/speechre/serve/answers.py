"""What goes out: extractions as JSON, as lines of JSON, and as the graphs that ``speechre extract --format`` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.audio import read_blocks
from speechre.errors import OnMessage, SpeechreError, UsageError
from speechre.graph import build_graph
from speechre.graph_formats import GRAPH_FORMATS
from speechre.graph_formats.page import MAX_SOUND_BYTES, to_html
from speechre.page.sound import encode_opus_blocks
from speechre.serve.limits import BadRequestError, UnavailableError
from speechre.serve.uploads import Upload
from speechre.types import Extraction

MEDIA_TYPES = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "turtle": "text/turtle; charset=utf-8",
    "jsonld": "application/ld+json",
    "graphml": "application/graphml+xml",
    "gexf": "application/gexf+xml",
    "cypher": "application/x-ndjson",
    "html": "text/html; charset=utf-8",
}
"""By format. Of those of the command line ``table`` is for people only, and ``neo4j`` is a folder."""

Outcome = Extraction | SpeechreError


def to_json(value: Mapping[str, Any]) -> bytes:
    """One object on a line of its own, as the command line writes it."""
    return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


def check_format(style: str) -> None:
    """Raises :class:`BadRequestError` on an unknown format, :class:`UnavailableError` where its library is missing."""
    if style not in MEDIA_TYPES:
        raise BadRequestError(f'unknown format "{style[:40]}"; expected one of {", ".join(MEDIA_TYPES)}')
    try:
        if style in GRAPH_FORMATS:
            GRAPH_FORMATS[style].check()
    except UsageError as error:
        raise UnavailableError(str(error)) from error


def write_answer(style: str, uploads: Sequence[Upload], outcomes: Sequence[Outcome], report: OnMessage) -> bytes:
    """The body of an answer. Raises the error of a recording that failed where the format has no place for it."""
    if style == "jsonl":
        return b"".join(to_json(_line(*pair)) for pair in zip(uploads, outcomes, strict=True))
    extractions = [*_all_heard(outcomes)]
    if style == "json":
        (extraction,) = extractions
        return to_json(extraction.to_dict())
    graph = build_graph(extractions)
    if style == "html":
        # Not by the writer of the command line: that one reads the sound from the path that a recording's source is,
        # and here the source is whatever a client said.
        return to_html(graph, sounds=_sounds(uploads)).encode()
    return GRAPH_FORMATS[style].write(graph, report).encode()


def _line(upload: Upload, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Extraction):
        return outcome.to_dict()
    return {"id": upload.id, "source": upload.name, "error": outcome.to_dict()}


def _all_heard(outcomes: Sequence[Outcome]) -> Iterator[Extraction]:
    for outcome in outcomes:
        if not isinstance(outcome, Extraction):
            raise outcome
        yield outcome


def _sounds(uploads: Sequence[Upload]) -> dict[str, bytes]:
    """The recordings as Ogg Opus by id, from the service's own copies, as many as a page has room for."""
    sounds: dict[str, bytes] = {}
    bytes_left = MAX_SOUND_BYTES
    for upload in uploads:
        sound = encode_opus_blocks(read_blocks(Path(upload.path), max_bytes=2**63), bytes_left)
        if sound is not None:
            sounds[upload.id] = sound
            bytes_left -= len(sound)
    return sounds
