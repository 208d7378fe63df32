"""``POST /v1/extract``: the answers are those of the command line, and what cannot be heard is told."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from speechre.audio import audio_duration_s
from speechre.cli import main
from speechre.graph_formats import GRAPH_FORMATS
from speechre.serve.answers import MEDIA_TYPES
from speechre.serve.limits import MAX_FILES
from tests.serve.conftest import sound
from tests.serving import PATIENCE_S, Running, wait_until

Lines = Callable[[str], list[dict]]


@pytest.fixture
def by_command(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What the command line prints of files in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def extract(*names: str, style: str = "jsonl") -> str:
        assert main(["extract", *names, "--model", str(tiny_model_dir), "--device", "cpu", "--format", style]) == 0
        return capsys.readouterr().out

    return extract


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., bytes]:
    """Writes a recording to ``tmp_path``, where the command line finds it, and gives its bytes."""

    def write_sound(name: str, duration_s: float, seed: int) -> bytes:
        content = sound(duration_s, seed, Path(name).suffix[1:])
        (tmp_path / name).write_bytes(content)
        return content

    return write_sound


def silence(duration_s: float) -> bytes:
    """A long recording of few bytes."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(duration_s * 16_000)), 16_000, format="flac")
    return file.getvalue()


def connect(service: Running) -> socket.socket:
    """For what no client would send."""
    host, port = service.server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """Status, type and message; the form is that of every error."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["type", "message"]
    return response.status_code, body["error"]["type"], body["error"]["message"]


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac", "talk.ogg", "talk.mp3"])
def test_a_body_is_answered_as_the_command_line_does(
    name: str, service: Running, write: Callable[..., bytes], by_command: Callable[..., str]
) -> None:
    response = service.post(write(name, 0.8, 5), name=name)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.text == by_command(name)
    assert response.json()["triplets"], "a test of triplets needs some"


def test_a_long_recording_is_answered_as_the_command_line_does(
    service: Running, write: Callable[..., bytes], by_command: Callable[..., str]
) -> None:
    content = write("long.flac", 33.0, 1)
    assert service.post(content, name="long.flac").text == by_command("long.flac")


def test_several_files_are_lines_in_their_sequence_and_those_that_fail_have_theirs(
    service: Running, write: Callable[..., bytes], by_command: Callable[..., str]
) -> None:
    first, last = write("b.wav", 0.9, 1), write("a.flac", 0.5, 3)
    response = service.post_files(
        ("b.wav", first), ("bad.wav", b"no sound"), ("long.flac", silence(41.0)), ("a.flac", last)
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    one, bad, too_long, other = response.text.splitlines(keepends=True)
    assert one + other == by_command("b.wav", "a.flac")
    assert list(json.loads(bad)) == ["id", "source", "error"]
    assert json.loads(bad)["id"] == "bad"
    assert json.loads(bad)["error"]["type"] == "AudioError"
    assert json.loads(bad)["error"]["message"].startswith("bad.wav: not an audio file that can be read")
    assert json.loads(too_long)["error"]["type"] == "TooLongError"


def test_one_file_in_a_form_is_an_object_and_jsonl_a_line(service: Running) -> None:
    content = sound()
    alone = service.post_files(("x.flac", content))
    assert alone.headers["content-type"] == "application/json"
    assert alone.json()["source"] == "x.flac"
    lines = service.post(content, name="x.flac", format="jsonl")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.text == alone.text


def test_a_body_without_a_name_has_one(service: Running) -> None:
    answer = service.post(sound()).json()
    assert (answer["id"], answer["source"]) == ("recording", "recording")


def test_ids_are_unique(service: Running, read_jsonl: Lines) -> None:
    names = ["x/talk.wav", "y/talk.wav", "other.wav", "twice", "twice", ".."]
    lines = read_jsonl(service.post_files(*((name, sound(0.3)) for name in names)).text)
    assert [line["source"] for line in lines] == names
    assert [line["id"] for line in lines] == ["x/talk.wav", "y/talk.wav", "other", "twice", "twice#2", ".."]


@pytest.mark.parametrize("style", [style for style in GRAPH_FORMATS if style != "html"])
def test_graphs_are_those_of_the_command_line(
    style: str, service: Running, write: Callable[..., bytes], by_command: Callable[..., str]
) -> None:
    response = service.post_files(("talk.wav", write("talk.wav", 0.8, 5)), format=style)
    assert response.headers["content-type"] == MEDIA_TYPES[style]
    assert response.text == by_command("talk.wav", style=style)


def sounds_in(page: str) -> tuple[str, list[float]]:
    """A page without its sounds, and how long these are; the same sound is never encoded to the same bytes twice."""
    pattern = r"data:audio/ogg;base64,([A-Za-z0-9+/=]+)"
    found = re.findall(pattern, page)
    return re.sub(pattern, "", page), [audio_duration_s(base64.b64decode(one)) for one in found]


def test_the_page_of_a_graph_has_the_sound_that_was_sent_and_no_file_s(
    service: Running, write: Callable[..., bytes], by_command: Callable[..., str], tmp_path: Path
) -> None:
    """A name that is a path of this machine is a name: what lies there is not read."""
    content = write("talk.wav", 0.8, 5)
    page, lengths_s = sounds_in(service.post(content, name="talk.wav", format="html").text)
    assert page == sounds_in(by_command("talk.wav", style="html"))[0]
    assert lengths_s == pytest.approx([0.8], abs=0.05)
    write("other.wav", 2.0, 4)
    page, lengths_s = sounds_in(service.post(content, name=str(tmp_path / "other.wav"), format="html").text)
    assert lengths_s == pytest.approx([0.8], abs=0.05)


def test_every_format_is_the_command_line_s_or_json() -> None:
    assert set(MEDIA_TYPES) == {"json", "jsonl", *GRAPH_FORMATS}


def test_a_graph_needs_every_recording(service: Running) -> None:
    response = service.post_files(("x.flac", sound()), ("bad.wav", b"no sound"), format="csv")
    assert error_of(response)[:2] == (422, "AudioError")


def test_a_format_whose_library_is_missing(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    status, kind, message = error_of(service.post(sound(), format="turtle"))
    assert (status, kind) == (501, "UnavailableError")
    assert "rdflib" in message


@pytest.mark.parametrize(
    ("content", "status", "kind", "message"),
    [
        (b"", 422, "AudioError", "talk: the file is empty (0 bytes)"),
        (b"RIFF", 422, "AudioError", "talk: not an audio file that can be read"),
        (b"\x1aE\xdf\xa3" + bytes(99), 422, "AudioError", "talk: this is a WebM or Matroska file; expected WAV, FLAC"),
        (sound()[:-2000], 422, "AudioError", "talk: truncated or damaged after"),
        (silence(40.5), 413, "TooLongError", "talk: 40.5 s; at most 40 s are heard"),
        (bytes(2**21 + 1), 413, "TooLargeError", "the request has more than 2 MiB"),
    ],
    ids=["empty", "no sound", "webm", "cut off", "too long", "too large"],
)
def test_what_cannot_be_heard(content: bytes, status: int, kind: str, message: str, service: Running) -> None:
    found = error_of(service.post(content, name="talk"))
    assert found[:2] == (status, kind)
    assert found[2].startswith(message)


def test_a_body_of_an_unknown_length_is_counted_while_it_is_read(service: Running) -> None:
    """Chunked transfer has no Content-Length to trust; the answer comes when there was too much, not at the end."""
    with connect(service) as raw:
        raw.sendall(b"POST /v1/extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            raw.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")
    form = service.post_files(*((f"{n}.wav", bytes(800_000)) for n in range(3)))
    assert error_of(form)[:2] == (413, "TooLargeError")


def test_a_length_that_is_too_large_is_refused_before_anything_is_sent(service: Running) -> None:
    with connect(service) as raw:
        raw.sendall(b"POST /v1/extract HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_who_stops_sending_is_not_waited_for(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechre.serve.uploads.READ_TIMEOUT_S", 0.2)
    with connect(service) as raw:
        raw.sendall(b"POST /v1/extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nRIFF")
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: service.server.service.num_requests == 0, "the request's place is free again")


def test_who_sends_drop_by_drop_is_not_waited_for(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechre.serve.uploads.READ_TIMEOUT_S", 0.5)
    answer = b""
    with connect(service) as raw:
        raw.sendall(b"POST /v1/extract HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")
        raw.settimeout(0.05)
        while not answer.endswith(b"}\n"):
            if not answer:
                raw.sendall(b"RIFF")
            with suppress(TimeoutError):
                answer += raw.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"expected 1024 a second or more" in answer


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nmae=x", 'unknown query parameter "nmae"; expected: name, format'),
        ("threshold=0.5", 'unknown query parameter "threshold"'),
        ("name=", "a recording's name has 0 characters"),
        (f"name={'x' * 256}", "a recording's name has 256 characters; expected 1 to 255"),
        ("name=a&name=b", "a query parameter is given twice"),
        ("format=table", 'unknown format "table"; expected one of json, jsonl, csv'),
    ],
)
def test_queries_that_say_nothing(query: str, message: str, service: Running) -> None:
    response = service.client.post(f"/v1/extract?{query}", content=sound())
    status, kind, found = error_of(response)
    assert (status, kind) == (400, "BadRequestError")
    assert found.startswith(message)


def test_forms_that_are_none(service: Running) -> None:
    post = service.client.post
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    cases = [
        (post("/v1/extract", content=b"--y\r\n", headers=headers), "the multipart body cannot be read: "),
        (post("/v1/extract", content=b"", headers={"Content-Type": "multipart/form-data"}), "the multipart body"),
        (post("/v1/extract", content=b"--x--\r\n", headers=headers), "the multipart body has no part"),
        (post("/v1/extract", files={"audio": ("a.wav", sound())}), 'got a part called "audio"; expected parts called'),
        (post("/v1/extract", data={"file": "x"}, files={"file": ("a.wav", sound())}), "got a part without a file name"),
        (service.post_files(("a.wav", sound()), name="b.wav"), "?name= names a recording that is the whole body"),
        (service.post_files(*[("a.wav", b"x")] * (MAX_FILES + 1)), "the multipart body cannot be read: Too many files"),
        (service.post_files(*[("a.wav", sound())] * 2, format="json"), "format json is one object, and 2 came"),
    ]
    for response, message in cases:
        status, kind, found = error_of(response)
        assert (status, kind) == (400, "BadRequestError"), message
        assert found.startswith(message)


@pytest.mark.parametrize("num_lost", [4, 9, 100])  # bytes at the end: the last dashes, the boundary, of the sound
def test_a_form_that_breaks_off_loses_no_recording_in_silence(num_lost: int, service: Running) -> None:
    parts = [
        b'--xx\r\nContent-Disposition: form-data; name="file"; filename="%d.wav"\r\n\r\n' % number + sound() + b"\r\n"
        for number in range(2)
    ]
    whole = b"".join(parts) + b"--xx--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=xx"}
    for content in (whole, whole + b"an epilogue"):
        answer = service.client.post("/v1/extract", content=content, headers=headers, params={"format": "jsonl"})
        assert (answer.status_code, len(answer.text.splitlines())) == (200, 2)
    response = service.client.post("/v1/extract", content=whole[:-num_lost], headers=headers)
    status, kind, found = error_of(response)
    assert (status, kind) == (400, "BadRequestError")
    assert found.startswith("the multipart body cannot be read: it ends without its last boundary")


def test_any_content_type_is_a_recording(service: Running) -> None:
    """``curl --data-binary`` calls everything a form."""
    for content_type in ("application/x-www-form-urlencoded", "audio/flac", "text/plain", "nonsense"):
        headers = {"Content-Type": content_type}
        assert service.client.post("/v1/extract", content=sound(), headers=headers).status_code == 200


def test_names_are_labels(service: Running) -> None:
    for name in ("../../etc/passwd", "http://example.org/x.wav", "/etc/hostname", "x\n\x1b[31m<b>.wav", "\u00e5.wav"):
        answer = service.post(sound(), name=name).json()
        assert answer["source"] == name


def test_other_sites_pages_are_refused(service: Running) -> None:
    response = service.client.post("/v1/extract", content=sound(), headers={"Sec-Fetch-Site": "cross-site"})
    assert error_of(response)[:2] == (403, "ForbiddenError")
