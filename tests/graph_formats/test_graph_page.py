"""The page as text: complete in itself, and deaf to what a transcript holds. test_graph_browser.py lives in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from speechre.audio import read_audio
from speechre.graph import build_graph
from speechre.graph_formats.notebook import to_table_html
from speechre.graph_formats.page import read_sounds, script_json, to_html
from speechre.graph_formats.text import clean_text
from speechre.types import Entity, Extraction, Triplet
from tests.conftest import MakeSound
from tests.graphs import NASTY, NASTY_TALK, NASTY_TEXTS, TALKS, UNALIGNED, WHO, extraction, person, place


class Page(HTMLParser):
    """Tags with their attributes, and the text of script and style elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.raw: list[tuple[str, str]] = []
        self.title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)
        if tag in ("script", "style"):
            self.raw.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in ("script", "style"):
            tag, text = self.raw[-1]
            self.raw[-1] = (tag, text + data)
        if self.inside and self.inside[-1] == "title":
            self.title += data

    @property
    def data(self) -> dict:
        return json.loads(next(text for tag, text in self.raw if tag == "script"))


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = Page(to_html(build_graph(TALKS)))
    assert not [a for _, attributes in page.tags for a in attributes if a in ("src", "href", "srcset", "action")]
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_policy_allows_this_script_and_style_by_their_hashes() -> None:
    page = Page(to_html(build_graph(TALKS)))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    (data_tag, _), *rest = [raw for raw in page.raw if raw[0] == "script"]
    assert data_tag == "script"
    assert len(rest) == 2
    for _, text in [*rest, *[raw for raw in page.raw if raw[0] == "style"]]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy)


def test_the_data_is_the_graph_with_transcripts_in_pieces() -> None:
    graph = build_graph(TALKS)
    data = Page(to_html(graph, "Two talks")).data
    assert [edge["relation"] for edge in data["edges"]] == ["Work_For", "Live_In"]
    assert data["types"] == ["Loc", "Org", "Peop"]
    names = {node["id"]: node["name"] for node in data["nodes"]}
    pieces = [(text, names.get(node_id)) for text, node_id in data["recordings"][0]["segments"]]
    assert pieces == [
        ("Helen Parker", "Helen Parker"),
        (" works for the ", None),
        (WHO, WHO),
        (". ", None),
        ("Parker", "Helen Parker"),
        (" lives in ", None),
        ("Geneva", "Geneva"),
        (".", None),
    ]


def test_transcripts_are_whole_whatever_stands_in_them() -> None:
    for talk in (*TALKS, NASTY_TALK, extraction("quiet", transcript="Nothing. At all."), extraction("mute")):
        (recording,) = Page(to_html(build_graph([talk]))).data["recordings"]
        assert "".join(text for text, _ in recording["segments"]) == clean_text(talk.transcript or "")


def test_a_name_inside_a_word_is_not_marked() -> None:
    talk = extraction(
        "x", Triplet(person("Ann"), "Live_In", place("Oslo")), transcript="Annie met Ann, an Annual guest."
    )
    (recording,) = Page(to_html(build_graph([talk]))).data["recordings"]
    assert [text for text, node_id in recording["segments"] if node_id] == ["Ann"]


def test_markup_in_a_transcript_stays_text() -> None:
    page = Page(to_html(build_graph([NASTY_TALK]), NASTY))
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert NASTY in page.title
    heads = {edge["evidence"][0]["head"] for edge in page.data["edges"]}
    assert heads == {clean_text(text) for text in NASTY_TEXTS}
    assert page.data["recordings"][0]["warnings"] == [NASTY]


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"<!--": ["</script>", "&amp;", "\u2028\u2029", "]]>"]})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"<!--": ["</script>", "&amp;", "\u2028\u2029", "]]>"]}


def test_sound_is_inside_as_long_as_there_is_room(make_sound: MakeSound, tmp_path: Path) -> None:
    path, bad = make_sound("talk.wav", 0.5), tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    graph = build_graph(
        [
            extraction("talk", source=str(path), duration_s=0.5),
            extraction("gone", source="no/such.wav"),
            extraction("bad", source=str(bad)),
        ]
    )
    sounds, notes = read_sounds(graph)
    assert list(sounds) == ["talk"]
    assert len(read_audio(sounds["talk"])) == 8000
    assert notes["gone"] == "no player: no/such.wav is no file"
    assert notes["bad"].startswith(f"no player: {bad}")
    data = Page(to_html(graph, sounds=sounds, notes=notes)).data
    recordings = data["recordings"]
    assert data["sounds"][0].startswith("data:audio/ogg;base64,T2dnUw")
    assert [r["sound"] for r in recordings] == [0, None, None]
    assert recordings[1]["sound_note"] == notes["gone"]
    _, small = read_sounds(graph, max_bytes=100)
    assert small["talk"] == "no player: more than 0.0001 MB of sound would make the page too large"


def test_sound_is_read_no_further_than_there_is_room(monkeypatch: pytest.MonkeyPatch, make_sound: MakeSound) -> None:
    num_read = 0

    def endless(source: str) -> Iterator[np.ndarray]:
        nonlocal num_read
        while True:
            num_read += 1
            yield np.random.default_rng(num_read).uniform(-0.5, 0.5, 16_000).astype(np.float32)

    monkeypatch.setattr("speechre.audio.read_blocks", endless)
    _, notes = read_sounds(build_graph([extraction("talk", source=str(make_sound("talk.wav")))]), max_bytes=50_000)
    assert notes["talk"] == "no player: more than 0.05 MB of sound would make the page too large"
    assert num_read < 60


def test_the_parts_of_one_recording_share_its_sound(make_sound: MakeSound) -> None:
    source = str(make_sound("talk.wav", 0.5))
    parts = [extraction(f"talk#t={n}.00,{n + 1}.00", source=source) for n in range(3)]
    graph = build_graph(parts)
    sounds, _ = read_sounds(graph, max_bytes=4000)
    data = Page(to_html(graph, sounds=sounds)).data
    assert len(data["sounds"]) == 1
    assert [recording["sound"] for recording in data["recordings"]] == [0, 0, 0]


def test_a_name_that_is_not_utf8_keeps_its_sound_and_is_not_another_s(make_sound: MakeSound) -> None:
    source = str(make_sound("talk.wav", 0.5))
    graph = build_graph([extraction(f"caf{byte}", source=source) for byte in ("\udce9", "\udcea")])
    recordings = Page(to_html(graph, sounds=read_sounds(graph)[0])).data["recordings"]
    assert [recording["sound"] for recording in recordings] == [0, 0]
    assert len({recording["id"] for recording in recordings}) == 2


def test_mentions_are_marked_where_they_stand_whatever_else_is_written_alike() -> None:
    transcript = "Washington lives in Washington, he said in Washington."
    talk = extraction(
        "x",
        Triplet(
            Entity("Washington", "Peop", start=0, end=10), "Live_In", Entity("Washington", "Loc", start=20, end=30)
        ),
        transcript=transcript,
    )
    data = Page(to_html(build_graph([talk]))).data
    types = {node["id"]: node["type"] for node in data["nodes"]}
    pieces = [(text, types.get(node_id)) for text, node_id in data["recordings"][0]["segments"]]
    assert pieces[:3] == [("Washington", "Peop"), (" lives in ", None), ("Washington", "Loc")]
    assert "".join(text for text, _ in pieces) == transcript
    assert [kind for text, kind in pieces if text == "Washington"] == ["Peop", "Loc", "Peop"]
    # Characters that are not those of the text are another transcript's: the words are looked for.
    moved = replace(talk, transcript=f"So {transcript}")
    (recording,) = Page(to_html(build_graph([moved]))).data["recordings"]
    assert "".join(text for text, _ in recording["segments"]) == moved.transcript


def test_the_library_comes_with_its_licence() -> None:
    import speechre.graph_formats

    vendor = Path(speechre.graph_formats.__file__).parent / "vendor"
    assert "Permission is hereby granted" in (vendor / "cytoscape.LICENSE").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in to_html(build_graph([]))
    assert "</script" not in (vendor / "cytoscape.min.js").read_text(encoding="utf-8")


# -- notebooks


def test_a_notebook_shows_a_table() -> None:
    shown = TALKS[0]._repr_html_()
    assert shown == to_table_html(TALKS[0])
    assert "<td><bdi>Helen Parker</bdi> <small>Peop</small></td><td>Work_For</td>" in shown
    assert "<td>0.75</td><td>5</td><td>0:00.5 to 0:03.5</td>" in shown
    assert "<td>in 0:31.0 to 0:58.5</td>" in UNALIGNED._repr_html_()
    assert "no triplets" in extraction("quiet")._repr_html_()


def test_a_notebook_runs_no_script() -> None:
    tags = {tag for tag, _ in Page(NASTY_TALK._repr_html_()).tags}
    assert tags == {"p", "b", "table", "thead", "tbody", "tr", "th", "td", "bdi", "small"}


@pytest.mark.parametrize("talk", TALKS)
def test_conversions_load_nothing_before_they_are_asked(talk: Extraction) -> None:
    import subprocess
    import sys

    code = (
        "import sys, speechre; print([m for m in sys.modules if 'graph' in m.split('.')[1:2] or 'graph_formats' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
