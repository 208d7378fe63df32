"""The service's page in a real browser: Debian's Chromium without a window, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import sync_playwright

from speechre.extract.extractor import Extractor
from tests.serve.conftest import sound
from tests.serving import Gated, Running, running, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='needs a browser: "apt-get install chromium"'),
]


@dataclass
class Opened:
    """The page, and what it said and asked for."""

    page: Any
    said: list[str]
    asked: list[str]

    def status(self) -> str:
        return str(self.page.inner_text("#status"))

    def wait_for_status(self, text: str) -> None:
        self.page.wait_for_selector(f"#status:has-text('{text}')", timeout=30_000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    arguments = [
        "--no-sandbox",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",  # a microphone that beeps
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, service: Running) -> Iterator[Opened]:
    with open_page(chromium, service) as opened:
        yield opened


class open_page:  # noqa: N801  # a context manager
    def __init__(self, chromium: Any, service: Running, **options: Any) -> None:
        self.page = chromium.new_page(viewport={"width": 1000, "height": 900}, **options)
        self.url = service.server.url

    def __enter__(self) -> Opened:
        opened = Opened(self.page, [], [])
        self.page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
        self.page.on("request", lambda request: opened.asked.append(request.url))
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready=true]")
        return opened

    def __exit__(self, *_: object) -> None:
        self.page.close()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A recording in which the tiny model hears four triplets."""
    path = tmp_path / "talk.flac"
    path.write_bytes(sound(1.5, 5))
    return path


def test_a_chosen_file_is_heard_shown_and_played(opened: Opened, service: Running, talk: Path) -> None:
    page = opened.page
    assert page.inner_text("#model").startswith("tiny@")
    page.set_input_files("#file", talk)
    opened.wait_for_status("talk.flac: 1.5 s heard, 4 triplets.")
    answer = service.post(talk.read_bytes(), name="talk.flac").json()
    assert page.inner_text("#transcript").strip() == " ".join(answer["transcript"].split())
    rows = page.query_selector_all("#triplets tbody tr")
    assert len(rows) == len(answer["triplets"]) == 4
    for row, triplet in zip(rows, answer["triplets"], strict=True):
        cells = [cell.inner_text() for cell in row.query_selector_all("th, td")]
        assert cells[0].startswith(triplet["head"]["text"].strip())
        assert cells[1] == triplet["relation"]
        assert cells[3].strip() == f"{triplet['confidence']:.2f}"
    assert page.evaluate("document.activeElement.id") == "result-title"
    page.click("#triplets tbody button >> nth=0")
    wait_until(lambda: page.evaluate("player.currentTime") > 0, "it plays")
    assert opened.said == []
    assert all(url.startswith((service.server.url, "blob:", "data:,")) for url in opened.asked)


def test_what_cannot_be_heard_is_told_and_the_page_goes_on(opened: Opened, tmp_path: Path, talk: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    opened.page.set_input_files("#file", bad)
    opened.wait_for_status("bad.wav: not an audio file that can be read")
    assert opened.page.is_hidden("#result")
    opened.page.set_input_files("#file", talk)
    opened.wait_for_status("talk.flac: 1.5 s heard")
    assert not [line for line in opened.said if "422" not in line], "browsers tell of failed requests themselves"


def test_a_dropped_file_is_heard(opened: Opened, talk: Path) -> None:
    opened.page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.flac"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(talk.read_bytes()),
    )
    opened.wait_for_status("dropped.flac: 1.5 s heard")
    assert opened.said == []


def test_a_recording_is_made_with_the_keyboard_alone(opened: Opened) -> None:
    """Chromium records WebM, which the service does not decode: the page makes WAV of it."""
    page = opened.page
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "record":
            break
    assert page.evaluate("document.activeElement.id") == "record"
    page.keyboard.press("Enter")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(1500)
    page.keyboard.press("Enter")
    opened.wait_for_status("microphone.wav: ")
    page.wait_for_selector("#result:not([hidden])")
    heard_s = float(opened.status().split(": ")[1].split(" s heard")[0])
    assert 1.0 < heard_s < 20.0
    assert opened.said == []


def test_other_containers_are_converted_in_the_page(opened: Opened, tmp_path: Path, talk: Path) -> None:
    samples, rate_hz = soundfile.read(talk)
    path = tmp_path / "talk.unknown"
    soundfile.write(path, samples, rate_hz, format="FLAC")
    opened.page.set_input_files("#file", path)
    opened.wait_for_status("talk.unknown: 1.5 s heard, 4 triplets.")
    assert opened.said == []


def test_a_request_can_be_cancelled(chromium: Any, tiny_extractor: Extractor, talk: Path) -> None:
    gated = Gated(tiny_extractor)
    with running(gated) as service, open_page(chromium, service) as opened:
        opened.page.set_input_files("#file", talk)
        wait_until(lambda: gated.taken, "the model has it")
        opened.page.click("#cancel")
        opened.wait_for_status("Cancelled.")
        wait_until(lambda: service.server.service.num_requests == 0, "the service knows")
        gated.gate.set()
        assert opened.page.is_hidden("#result")
        opened.page.set_input_files("#file", talk)
        opened.wait_for_status("talk.flac: 1.5 s heard")


def test_names_and_answers_are_text(opened: Opened, service: Running, talk: Path, tmp_path: Path) -> None:
    nasty = tmp_path / "<img src=x onerror=window.broken=1>.flac"
    nasty.write_bytes(talk.read_bytes())
    opened.page.set_input_files("#file", nasty)
    opened.page.wait_for_selector("#result:not([hidden])")
    assert opened.page.inner_text("#result-title") == nasty.name
    assert opened.page.evaluate("[window.broken, document.images.length]") == [None, 0]


def test_the_policy_stops_a_script_that_is_not_the_pages(opened: Opened) -> None:
    opened.page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1'; "
        "document.body.append(s); fetch('https://example.org/').catch(() => null); })()"
    )
    wait_until(lambda: len([line for line in opened.said if "Content Security Policy" in line]) >= 2, "both refused")
    assert opened.page.evaluate("window.broken") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_and_text_has_contrast(
    scheme: str, chromium: Any, service: Running, talk: Path
) -> None:
    with open_page(chromium, service, color_scheme=scheme) as opened:
        opened.page.set_input_files("#file", talk)
        opened.page.wait_for_selector("#result:not([hidden])")
        unnamed = opened.page.evaluate(
            """[...document.querySelectorAll("button, input, audio, summary")].filter((e) =>
                !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length))).length"""
        )
        assert unnamed == 0
        for selector in ("h1", ".lead", ".meta", "#transcript", "#record", "thead th", "td button"):
            assert opened.page.evaluate(CONTRAST, selector) >= 4.5, selector


CONTRAST = """(selector) => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = (colour) => {
        const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = numbers(colour).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const element = document.querySelector(selector);
    let behind = element;
    while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
