"""The other addresses: the model, health, metrics, the page's files, and those that do not exist."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

import speechre
from speechre.schemas import CONLL04
from speechre.serve.app import PAGE_POLICY, UI_FILES
from speechre.serve.metrics import BUCKETS_S, HELP, Metrics
from tests.serve.conftest import sound
from tests.serving import Running


def test_the_model_says_who_answers(service: Running) -> None:
    about = service.client.get("/v1/model").json()
    assert about["name"] == "tiny"
    assert re.fullmatch(r"tiny@[0-9a-f]{6}", about["model"])
    assert about["speechre"] == speechre.__version__
    assert about["entity_types"] == list(CONLL04.entity_types)
    assert about["relation_types"] == list(CONLL04.relation_types)
    assert about["settings"]["batch_size"] == 4
    assert about["settings"]["vad"] == "energy"
    assert about["settings"]["threshold"] == 0.0
    assert about["settings"]["names"] == 0, "a number: known names may be people's"
    assert about["limits"] == {"max_upload_mib": 2, "max_duration_s": 40, "max_waiting": 32}


def test_health(service: Running) -> None:
    response = service.client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("path", ["/v2/extract", "/v1/extract/", "/ui/index.html", "/../etc/passwd", "/docs"])
def test_unknown_addresses(path: str, service: Running) -> None:
    response = service.client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "NotFoundError"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/extract", {"POST"}), ("POST", "/", {"GET", "HEAD"}), ("DELETE", "/healthz", {"GET", "HEAD"})],
)
def test_wrong_methods(method: str, path: str, allowed: set[str], service: Running) -> None:
    response = service.client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed
    assert response.json()["error"]["message"].startswith(f"{method} {path}: this address takes ")


def test_a_query_where_none_is(service: Running) -> None:
    assert service.client.get("/v1/model?x=1").status_code == 400


def test_every_answer_has_the_headers(service: Running) -> None:
    for path in ("/", "/healthz", "/nowhere", "/v1/extract"):
        assert service.client.get(path).headers["x-content-type-options"] == "nosniff"


class Links(HTMLParser):
    """What a page loads, and what runs in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.targets += [value for key in ("src", "href") if (value := given.get(key))]
        self.inline += [key for key in given if key.startswith("on") or key == "style"]
        if tag in ("script", "style") and "src" not in given:
            self.inline.append(tag)


def test_the_page_loads_its_own_files_only_and_runs_nothing_inline(service: Running) -> None:
    for path, (_, media_type) in UI_FILES.items():
        response = service.client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert response.headers["content-security-policy"] == PAGE_POLICY
        assert "://" not in response.text.replace("http://www.w3.org/", "")
    links = Links(service.client.get("/").text)
    assert sorted(links.targets) == ["data:,", "ui.css", "ui.js"]  # relative: a proxy may put the service under a path
    assert links.inline == []
    assert "unsafe" not in PAGE_POLICY
    assert PAGE_POLICY.startswith("default-src 'none';")


def test_metrics_add_up(service: Running) -> None:
    names = {
        "answered": 'speechre_recordings_total{outcome="answered"}',
        "refused": 'speechre_recordings_total{outcome="refused"}',
        "ok": 'speechre_requests_total{path="/v1/extract",status="200"}',
        "bad": 'speechre_requests_total{path="/v1/extract",status="422"}',
        "audio_s": "speechre_audio_seconds_total",
        "waited": "speechre_waiting_seconds_count",
        "extracted": 'speechre_extracting_seconds_bucket{le="+Inf"}',
        "extracting_s": "speechre_extracting_seconds_sum",
    }
    before = {key: service.metric(name) for key, name in names.items()}
    service.post(sound(0.5))
    service.post_files(("a.flac", sound(0.25)), ("b.flac", sound(0.75)), ("c.wav", b"none"))
    service.post(b"none")
    now = {key: service.metric(name) for key, name in names.items()}
    gained = {key: round(now[key] - before[key], 3) for key in names}
    assert gained.pop("extracting_s") > 0
    assert gained == {
        "answered": 3, "refused": 2, "ok": 2, "bad": 1, "audio_s": 1.5, "waited": 3, "extracted": 3,
    }  # fmt: skip
    assert service.metric("speechre_requests_in_progress") == service.metric("speechre_recordings_waiting") == 0


def test_metrics_are_of_the_exposition_format(service: Running) -> None:
    response = service.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    sample = re.compile(r'(\w+?)(_bucket|_sum|_count)?(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [0-9.]+')
    kinds: dict[str, str] = {}
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = sample.fullmatch(line)
            assert match, line
            assert match[1] in kinds
            assert (match[2] is not None) == (kinds[match[1]] == "histogram")
    assert kinds == {name: kind for name, (kind, _) in HELP.items()}


def test_a_histogram_s_buckets_hold_all_below_their_ends() -> None:
    metrics = Metrics()
    for waiting_s in (0.1, 0.2, 1e9):
        metrics.count_answer(1.0, waiting_s, 0.0)
    text = metrics.to_text(0, 0)
    assert 'speechre_waiting_seconds_bucket{le="0.1"} 1\n' in text
    assert 'speechre_waiting_seconds_bucket{le="0.25"} 2\n' in text
    assert f'speechre_waiting_seconds_bucket{{le="{BUCKETS_S[-1]:g}"}} 2\n' in text
    assert 'speechre_waiting_seconds_bucket{le="+Inf"} 3\n' in text
    assert 'speechre_extracting_seconds_bucket{le="0.1"} 3\n' in text
