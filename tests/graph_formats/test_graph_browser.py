"""The page in a real browser: Debian's Chromium without a window, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from speechre.graph import KnowledgeGraph, build_graph
from speechre.graph_formats.page import read_sounds, to_html
from speechre.types import Extraction, Triplet
from tests.conftest import MakeSound
from tests.graphs import NASTY_TALK, TALKS, extraction, org, person, place

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='needs a browser: "apt-get install chromium"'),
]


class Browser:
    """A page that was opened, and what it said and asked for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]")

    def edge_at(self, index: int) -> tuple[float, float]:
        """The middle of an edge on the screen, in pixels."""
        x, y = self.page.evaluate(
            f"""(() => {{
                const middle = cy.edges()[{index}].renderedMidpoint();
                const box = document.getElementById("graph").getBoundingClientRect();
                return [middle.x + box.x, middle.y + box.y];
            }})()"""
        )
        return x, y

    def wait_until(self, condition: str) -> None:
        """Poll; Playwright's own wait_for_function evaluates a text in the page, which the page's policy forbids."""
        for _ in range(300):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"in 15 s never: {condition}")

    def players(self) -> list[tuple[float, bool]]:
        script = "[...document.querySelectorAll('audio')].map((player) => [player.currentTime, player.paused])"
        return [tuple(player) for player in self.page.evaluate(script)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})

    def open_graph(graph: KnowledgeGraph, **options: Any) -> Browser:
        path = tmp_path / "graph.html"
        path.write_text(to_html(graph, **options), encoding="utf-8", newline="\n")
        return Browser(page, path)

    yield open_graph
    page.close()


def talk_with_sound(make_sound: MakeSound) -> Extraction:
    return extraction(
        "talk",
        Triplet(person("Helen Parker", 1.0, 1.4), "Work_For", org("Intel", 1.5, 2.0), 0.75, 5),
        Triplet(person("Ann Lee"), "Live_In", place("Oslo"), 0.25, 1),
        transcript="Helen Parker works for Intel. Ann Lee lives in Oslo.",
        source=str(make_sound("talk.wav", 4.0)),
        duration_s=4.0,
    )


def test_a_click_on_an_edge_plays_its_seconds_and_stops(open_page: Any, make_sound: MakeSound) -> None:
    graph = build_graph([talk_with_sound(make_sound)])
    sounds, notes = read_sounds(graph)
    browser = open_page(graph, sounds=sounds, notes=notes)
    assert browser.players() == [(0, True)]
    browser.page.mouse.click(*browser.edge_at(0))
    browser.wait_until("document.querySelector('audio').currentTime > 1.2")
    assert browser.players()[0][1] is False
    browser.wait_until("document.querySelector('audio').paused")
    ((time_s, _),) = browser.players()
    assert 2.0 <= time_s < 3.0  # timeupdate comes a few times a second
    details = browser.page.inner_text("#details")
    assert "0:01.0 to 0:02.0" in details
    assert "where it was said" in details
    assert browser.said == []
    assert all(url.startswith(("file:", "data:")) for url in browser.asked)


def test_without_times_the_whole_recording_is_played_and_the_page_says_so(
    open_page: Any, make_sound: MakeSound
) -> None:
    graph = build_graph([talk_with_sound(make_sound)])
    sounds, _ = read_sounds(graph)
    browser = open_page(graph, sounds=sounds)
    browser.page.click("#triplets button >> nth=1")
    browser.wait_until("document.querySelector('audio').currentTime > 0.3")
    assert "the whole recording: its entities have no times" in browser.page.inner_text("#details")


def test_the_evidence_s_seconds_are_played_and_a_chunk_is_called_one(open_page: Any, make_sound: MakeSound) -> None:
    """Two parts of one recording, as a stream gives them, share one sound."""
    source = str(make_sound("talk.wav", 6.0))
    parts = [
        extraction(
            "talk#t=0.00,3.00",
            Triplet(person("Ann", 0.5, 1.0), "Work_For", org("Intel", 1.2, 1.5), 0.75),
            source=source,
        ),
        extraction(
            "talk#t=3.00,6.00",
            Triplet(
                replace(person("Bo", 3.0, 4.5), times_of="chunk"),
                "Live_In",
                replace(place("Oslo"), start_s=3.5, end_s=4.0),
                0.5,
            ),
            source=source,
        ),
    ]
    graph = build_graph(parts)
    browser = open_page(graph, sounds=read_sounds(graph)[0])
    browser.page.click("#triplets button >> nth=1")
    browser.wait_until("document.querySelectorAll('audio')[1].currentTime >= 3.0")
    assert "0:03.0 to 0:04.5" in browser.page.inner_text("#details")
    assert "the whole chunk in which it was heard" in browser.page.inner_text("#details")
    browser.wait_until("document.querySelectorAll('audio')[1].paused")
    (first_s, _), (second_s, _) = browser.players()
    assert first_s == 0
    assert 4.5 <= second_s < 5.5
    assert browser.said == []


def test_a_large_graph_is_drawn_and_searched(open_page: Any) -> None:
    talks = [
        extraction(
            f"r{n}", *(Triplet(person(f"P{n} Q{k}"), "Live_In", place(f"Town {(n * 7 + k) % 300}")) for k in range(15))
        )
        for n in range(100)
    ]
    browser = open_page(build_graph(talks))
    browser.page.fill("#search", "p99 q3")
    assert browser.page.inner_text("#num-shown") == "1 of 1500"
    assert browser.page.evaluate("cy.nodes().length") == 1800
    assert browser.said == []


def test_slider_and_search_hide_what_does_not_fit(open_page: Any, make_sound: MakeSound) -> None:
    browser = open_page(build_graph([talk_with_sound(make_sound)]))
    page = browser.page
    assert page.inner_text("#num-shown") == "2 of 2"
    page.locator("#slider").fill("0.5")
    assert page.inner_text("#num-shown") == "1 of 2"
    assert page.inner_text("#least") == "0.50"
    # What is hidden is known to the canvas with its next frame.
    shown = "cy.elements(':visible').map((e) => e.data('label')).sort().join()"
    browser.wait_until(f"{shown} === 'Helen Parker,Intel,Work_For'")
    page.click("#fit")
    page.fill("#search", "oslo")
    assert page.inner_text("#num-shown") == "1 of 2"
    assert "Ann Lee" in page.inner_text("#triplets")
    assert "Helen" not in page.inner_text("#triplets")


def test_transcripts_lead_to_their_entities(open_page: Any) -> None:
    browser = open_page(build_graph(TALKS))
    assert browser.page.inner_text("article >> nth=0 >> p >> nth=-1") == TALKS[0].transcript
    browser.page.click("article >> nth=0 >> .entity >> text=Parker >> nth=1")
    details = browser.page.inner_text("#details")
    assert "also told as “Dr. Helen Parker”" in details
    assert 'title: "' in details
    assert browser.page.evaluate("cy.$(':selected').data('label')") == "Helen Parker"
    assert browser.said == []


def test_nothing_that_a_transcript_holds_runs(open_page: Any) -> None:
    browser = open_page(build_graph([NASTY_TALK]))
    page = browser.page
    for index in range(len(NASTY_TALK.triplets)):
        page.click(f"#triplets button >> nth={index}")
    for entity in page.query_selector_all("article .entity")[:4]:
        entity.click()
    assert page.evaluate("window.broken") is None
    assert page.evaluate("document.images.length") == 0
    assert page.evaluate("cy.nodes().length") == len(build_graph([NASTY_TALK]).nodes)
    assert "<script>window.broken=1</script>" in page.inner_text("h3 >> nth=-1")
    assert browser.said == []
    assert len(browser.asked) == 1


def test_the_policy_stops_a_script_that_is_not_the_pages(open_page: Any) -> None:
    browser = open_page(build_graph(TALKS))
    browser.page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1'; "
        "document.body.append(s); fetch('https://example.org/').catch(() => null); })()"
    )
    assert browser.page.evaluate("window.broken") is None
    assert [line for line in browser.said if "Content Security Policy" in line]


def test_an_empty_graph_is_a_page(open_page: Any) -> None:
    browser = open_page(build_graph([extraction("quiet", transcript="Nothing.")]))
    assert browser.page.inner_text("#lead") == "1 recording · 0 entities · 0 triplets"
    assert browser.said == []
