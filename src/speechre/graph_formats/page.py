"""One self-contained HTML page: the graph, the transcripts with their entities, and the sound behind each edge.

The page is static but for three texts: its title, escaped, and the data, as JSON in a script element that does not run.
Whatever a transcript holds, JSON's ``<`` is written as an escape there, and page.js shows texts only as text. A content
security policy in the page allows its own style and two scripts, by their hashes, and sound from data URIs: no other
script runs and no address is asked for anything.

The graph is drawn by Cytoscape.js (``vendor/``, MIT): layout, zoom, dragging and hit testing on a canvas are 430 kB of
well-kept code that we would else write again, badly.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechre import __version__
from speechre.errors import AudioError
from speechre.graph import KnowledgeGraph, Recording
from speechre.graph_formats.text import clean_text, cleaned

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a35b8", "#8c564b", "#5b6678", "#c02434",
)  # fmt: skip
"""For types, then relations: distinct to colour-blind eyes first (Okabe and Ito), then a few more."""
MAX_SOUND_BYTES = 32_000_000
"""Of all recordings together, about three hours at 3 kB a second; base64 makes 4 of 3."""

_FOLDER = Path(__file__).parent
_FIELD = re.compile(r"\{\{(\w+)\}\}")


def read_sounds(graph: KnowledgeGraph, max_bytes: int = MAX_SOUND_BYTES) -> tuple[dict[str, bytes], dict[str, str]]:
    """Each recording's sound as Ogg Opus, by recording id, while there is room; and why the others have none."""
    from speechre.audio import encode_opus, read_audio

    sounds: dict[str, bytes] = {}
    notes: dict[str, str] = {}
    bytes_left = max_bytes
    for recording in graph.recordings:
        if not Path(recording.source).is_file():
            notes[recording.id] = f"no player: {recording.source} is no file"
            continue
        try:
            sound = encode_opus(read_audio(recording.source))
        except AudioError as error:
            notes[recording.id] = f"no player: {error}"
            continue
        if len(sound) > bytes_left:
            notes[recording.id] = f"no player: more than {max_bytes / 1e6:g} MB of sound would make the page too large"
            continue
        sounds[recording.id] = sound
        bytes_left -= len(sound)
    return sounds, notes


def to_html(
    graph: KnowledgeGraph,
    title: str = "",
    sounds: Mapping[str, bytes] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """The page. ``sounds`` are Ogg Opus files by recording id, as :func:`read_sounds` gives them with ``notes``."""
    graph = cleaned(graph)
    if not title:
        sources = [recording.source for recording in graph.recordings]
        title = sources[0] if len(sources) == 1 else f"{len(sources)} recordings"
    style, script = ((_FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    library = (_FOLDER / "vendor" / "cytoscape.min.js").read_text(encoding="utf-8")
    values = {
        "title": html.escape(clean_text(title)),
        "version": __version__,
        "style": style,
        "script": script,
        "library": library,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "library_hash": _hash(library),
        "data": script_json(_data(graph, sounds or {}, notes or {})),
    }
    # One pass over the template: what is put in is not looked at again.
    return _FIELD.sub(lambda match: values[match[1]], (_FOLDER / "page.html").read_text(encoding="utf-8"))


def script_json(value: Any) -> str:
    """JSON that cannot end a script element or open a comment in it, and that no line separator breaks."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _data(graph: KnowledgeGraph, sounds: Mapping[str, bytes], notes: Mapping[str, str]) -> dict[str, Any]:
    from speechre.audio import sound_uri

    content = graph.to_dict()
    for node, as_dict in zip(graph.nodes, content["nodes"], strict=True):
        as_dict["texts"] = list(node.texts)
    for recording, as_dict in zip(graph.recordings, content["recordings"], strict=True):
        sound = sounds.get(recording.id)
        as_dict["sound"] = sound_uri(sound) if sound else None
        as_dict["sound_note"] = clean_text(notes.get(recording.id, "no player: the page was made without sound"))
        as_dict["segments"] = list(_segments(graph, recording))
    return {
        **content,
        "colours": COLOURS,
        "types": sorted({node.type for node in graph.nodes}),
        "relations": sorted({edge.relation for edge in graph.edges}),
    }


def _segments(graph: KnowledgeGraph, recording: Recording) -> Iterator[tuple[str, str | None]]:
    """The transcript in pieces: plain text, and mentions with their node's id. Longer mentions go before shorter ones
    that they contain.
    """
    text = recording.transcript or ""
    node_of = {
        mention.text: node.id
        for node in graph.nodes
        for mention in node.mentions
        if mention.recording_id == recording.id and mention.text
    }
    if not node_of:
        if text:
            yield text, None
        return
    longest_first = sorted(node_of, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    position = 0
    for match in pattern.finditer(text):
        if match.start() > position:
            yield text[position : match.start()], None
        yield match.group(), node_of[match.group()]
        position = match.end()
    if position < len(text):
        yield text[position:], None
