"""One self-contained HTML page: the graph, the transcripts with their entities, and the sound behind each edge.

The page is static but for three texts: its title, escaped, and the data, as JSON in a script element that does not run.
Whatever a transcript holds, JSON's ``<`` is written as an escape there, and page.js shows texts only as text. A content
security policy in the page allows its own style and two scripts, by their hashes, and sound from data URIs: no other
script runs and no address is asked for anything.

The graph is drawn by Cytoscape.js (``vendor/``, MIT): layout, zoom, dragging and hit testing on a canvas are 430 kB of
well-kept code that we would else write again, badly.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre import __version__
from speechre.digests import policy_hash
from speechre.errors import AudioError
from speechre.graph import KnowledgeGraph, Mention
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
    """Each recording's sound as Ogg Opus, by recording id, while there is room; and why the others have none.

    Recordings of one source (the chunks of a stream) share its sound. It is read block by block.
    """
    sounds: dict[str, bytes] = {}
    notes: dict[str, str] = {}
    of_source: dict[str, bytes | None] = {}
    bytes_left = max_bytes
    for recording in graph.recordings:
        source = recording.source
        if not Path(source).is_file():
            notes[recording.id] = f"no player: {source} is no file"
            continue
        try:
            if source not in of_source:
                of_source[source] = _read_sound(source, bytes_left)
                bytes_left -= len(of_source[source] or b"")
        except AudioError as error:
            notes[recording.id] = f"no player: {error}"
            continue
        sound = of_source[source]
        if sound is None:
            notes[recording.id] = f"no player: more than {max_bytes / 1e6:g} MB of sound would make the page too large"
        else:
            sounds[recording.id] = sound
    return sounds, notes


def _read_sound(source: str, max_bytes: int) -> bytes | None:
    from speechre.audio import read_blocks
    from speechre.page.sound import encode_opus_blocks

    return encode_opus_blocks(read_blocks(source), max_bytes)


def to_html(
    graph: KnowledgeGraph,
    title: str = "",
    sounds: Mapping[str, bytes] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """The page. ``sounds`` are Ogg Opus files by recording id, as :func:`read_sounds` gives them with ``notes``."""
    data = _data(graph, sounds or {}, notes or {})
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
        "style_hash": policy_hash(style),
        "script_hash": policy_hash(script),
        "library_hash": policy_hash(library),
        "data": script_json(data),
    }
    # One pass over the template: what is put in is not looked at again.
    return _FIELD.sub(lambda match: values[match[1]], (_FOLDER / "page.html").read_text(encoding="utf-8"))


def script_json(value: Any) -> str:
    """JSON that cannot end a script element or open a comment in it, and that no line separator breaks."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _data(graph: KnowledgeGraph, sounds: Mapping[str, bytes], notes: Mapping[str, str]) -> dict[str, Any]:
    from speechre.page.sound import sound_uri

    raw_ids = [recording.id for recording in graph.recordings]  # by which sounds and notes go
    graph = cleaned(graph)
    content = graph.to_dict()
    mentions: dict[str, list[tuple[Mention, str]]] = defaultdict(list)
    for node, as_dict in zip(graph.nodes, content["nodes"], strict=True):
        as_dict["texts"] = list(node.texts)
        for mention in node.mentions:
            mentions[mention.recording_id].append((mention, node.id))
    uris: dict[bytes, int] = {sound: number for number, sound in enumerate(dict.fromkeys(sounds.values()))}
    for raw_id, recording, as_dict in zip(raw_ids, graph.recordings, content["recordings"], strict=True):
        sound = sounds.get(raw_id)
        as_dict["sound"] = uris[sound] if sound else None
        as_dict["sound_note"] = clean_text(notes.get(raw_id, "no player: the page was made without sound"))
        as_dict["segments"] = list(_segments(recording.transcript or "", mentions[recording.id]))
    return {
        **content,
        "sounds": [sound_uri(sound) for sound in uris],
        "colours": COLOURS,
        "types": sorted({node.type for node in graph.nodes}),
        "relations": sorted({edge.relation for edge in graph.edges}),
    }


def _segments(text: str, mentions: Sequence[tuple[Mention, str]]) -> Iterator[tuple[str, str | None]]:
    """A transcript in pieces: plain text, and mentions with their node's id, where they stand. Elsewhere a mention's
    words are marked too, longer ones before shorter ones that they contain.
    """
    known = {
        (m.start, m.end): node_id
        for m, node_id in mentions
        if m.start is not None and m.end is not None and text[m.start : m.end] == m.text != ""
    }
    node_of = {m.text: node_id for m, node_id in reversed(mentions) if m.text}
    longest_first = "|".join(re.escape(name) for name in sorted(node_of, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)") if node_of else None
    position = 0
    for (start, end), node_id in sorted(known.items(), key=lambda item: (item[0][0], -item[0][1])):
        if start >= position:
            yield from _marked(text, position, start, pattern, node_of)
            yield text[start:end], node_id
            position = end
    yield from _marked(text, position, len(text), pattern, node_of)


def _marked(
    text: str, start: int, end: int, pattern: re.Pattern[str] | None, node_of: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Characters [start, end) of a transcript, with the names that ``pattern`` finds there."""
    for match in pattern.finditer(text, start, end) if pattern else ():
        if match.start() > start:
            yield text[start : match.start()], None
        yield match.group(), node_of[match.group()]
        start = match.end()
    if start < end:
        yield text[start:end], None
