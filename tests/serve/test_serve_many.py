"""Many requests at a time: decoded together, each with its own answer; too many, who leaves, faults, the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from speechre.extract.extractor import Extractor
from speechre.serve.limits import RETRY_AFTER_S, Limits
from speechre.serve.uploads import Upload
from tests.serve.conftest import sound
from tests.serving import PATIENCE_S, Faulty, Gated, Running, running, wait_until


@pytest.fixture
def gated(tiny_extractor: Extractor) -> Gated:
    return Gated(tiny_extractor)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def is_inside(service: Running, num_requests: int, num_waiting: int) -> bool:
    """Whether so many requests are in the house, and of their recordings so many wait for the model."""
    inside = service.server.service
    return (inside.num_requests, inside.model.num_waiting) == (num_requests, num_waiting)


def hang_up(service: Running, content: bytes, length: int) -> socket.socket:
    """A client that sends so much of its request and can then leave."""
    host, port = service.server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), PATIENCE_S)
    client.sendall(f"POST /v1/extract HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + content)
    return client


def test_clients_that_wait_together_are_heard_together_and_get_their_own_answers(
    gated: Gated, pool: ThreadPoolExecutor
) -> None:
    """Of different lengths, so that batches mix them; the batch size is 4."""
    contents = {f"talk{n}.flac": sound(0.3 + 0.2 * n, n) for n in range(9)}
    with running(gated) as service:
        gated.gate.set()
        alone = {name: service.post(content, name=name).text for name, content in contents.items()}
        gated.taken.clear()
        gated.gate.clear()
        together = {name: pool.submit(service.post, content, name=name) for name, content in contents.items()}
        wait_until(lambda: is_inside(service, 9, 8), "all are there")
        gated.gate.set()
        assert {name: answer.result().text for name, answer in together.items()} == alone
        assert len(set(alone.values())) == 9
        assert [len(turn) for turn in gated.taken] == [9]


def test_what_cannot_be_heard_joins_no_batch(gated: Gated, pool: ThreadPoolExecutor) -> None:
    with running(gated) as service:
        good = pool.submit(service.post, sound())
        wait_until(lambda: gated.taken, "the model has the first")
        assert service.post(b"no sound").status_code == 422, "it is told at once, and waits for nobody"
        gated.gate.set()
        assert good.result().status_code == 200
        assert [len(turn) for turn in gated.taken] == [1]


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again(gated: Gated, pool: ThreadPoolExecutor) -> None:
    with running(gated, max_waiting=2) as service:
        inside = [pool.submit(service.post, sound()) for _ in range(2)]
        wait_until(lambda: is_inside(service, 2, 1), "both are there")
        refused = service.post(sound())
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == str(RETRY_AFTER_S)
        assert refused.json()["error"]["type"] == "BusyError"
        assert service.client.get("/healthz").status_code == 200
        gated.gate.set()
        assert [one.result().status_code for one in inside] == [200, 200]
        assert service.post(sound()).status_code == 200


def test_who_leaves_while_waiting_is_not_heard(gated: Gated, pool: ThreadPoolExecutor) -> None:
    with running(gated) as service:
        first = pool.submit(service.post, sound())
        wait_until(lambda: gated.taken, "the model has the first")
        content = sound(0.4, 1)
        leaving = hang_up(service, content, len(content))
        wait_until(lambda: is_inside(service, 2, 1), "the second waits")
        leaving.close()
        wait_until(lambda: is_inside(service, 1, 0), "the second is gone")
        third = pool.submit(service.post, sound(0.4, 2))
        wait_until(lambda: is_inside(service, 2, 1), "the third waits")
        gated.gate.set()
        assert first.result().status_code == third.result().status_code == 200
        assert [len(turn) for turn in gated.taken] == [2]
        assert service.metric('speechre_recordings_total{outcome="dropped"}') == 1
        assert service.metric('speechre_requests_total{path="/v1/extract",status="499"}') == 1


def test_who_leaves_in_the_middle_of_sending_leaves_nothing(gated: Gated) -> None:
    with running(gated, max_waiting=1) as service:
        leaving = hang_up(service, b"RIFF", 1000)
        wait_until(lambda: service.server.service.num_requests == 1, "it is being received")
        leaving.close()
        wait_until(lambda: service.server.service.num_requests == 0, "its place is free")
        gated.gate.set()
        assert service.post(sound()).status_code == 200
        assert service.metric('speechre_recordings_total{outcome="dropped"}') == 0


def test_stopping_finishes_what_is_there_and_takes_nothing_new(gated: Gated, pool: ThreadPoolExecutor) -> None:
    with running(gated) as service:
        inside = [pool.submit(service.post, sound(seed=n)) for n in range(3)]
        wait_until(lambda: is_inside(service, 3, 2), "all are there")
        service.server.stop()
        for response in (service.client.get("/healthz"), service.post(sound())):
            assert response.status_code == 503
            assert response.json()["error"]["type"] == "StoppingError"
            assert response.headers["retry-after"] == str(RETRY_AFTER_S)
        assert service.codes == []
        gated.gate.set()
        assert [one.result().status_code for one in inside] == [200] * 3
    assert service.codes == [0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.server.url}/healthz", trust_env=False)


@pytest.mark.parametrize("is_told_twice", [False, True])
def test_what_is_not_finished_in_time_is_told_so(is_told_twice: bool, gated: Gated, pool: ThreadPoolExecutor) -> None:
    with running(gated, grace_s=PATIENCE_S if is_told_twice else 1) as service:
        inside = [pool.submit(service.post, sound(seed=n), name=f"{n}.flac") for n in range(2)]
        wait_until(lambda: is_inside(service, 2, 1), "both are there")
        service.server.stop()
        if is_told_twice:
            service.server.stop()
        for number, response in enumerate(one.result() for one in inside):
            assert response.status_code == 503
            assert response.json()["error"]["message"].startswith(f"{number}.flac: the service was shut down before")
        gated.gate.set()
    assert service.codes == [1]
    assert service.said[-1] == "2 requests are given up"


def test_a_fault_fails_its_own_recording_and_the_service_goes_on(
    tiny_extractor: Extractor, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = sound(0.7)
    faulty = Faulty(tiny_extractor, lambda path: Path(path).read_bytes() == bad, RuntimeError("a bug in a kernel"))
    gated = Gated(faulty)  # type: ignore[arg-type]  # as an extractor behaves
    with running(gated) as service:
        contents = [sound(0.5, 1), bad, sound(0.6, 2)]
        answers = [pool.submit(service.post, content, name=f"{n}.flac") for n, content in enumerate(contents)]
        wait_until(lambda: is_inside(service, 3, 2), "all are there")
        gated.gate.set()
        statuses = [answer.result().status_code for answer in answers]
        assert statuses == [200, 500, 200]
        error = answers[1].result().json()["error"]
        assert error["type"] == "FaultError"
        assert error["message"].startswith("1.flac: the model failed on this recording (RuntimeError)")
        assert "a bug in a kernel" not in error["message"], "what is inside stays inside"
        assert service.post(sound(0.5, 1)).status_code == 200
        assert service.metric("speechre_model_faults_total") == 2  # of all three, then of the one
        assert service.metric('speechre_recordings_total{outcome="failed"}') == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "RuntimeError: a bug in a kernel" in err


def test_an_extractor_that_forgets_a_recording_is_at_fault(tiny_extractor: Extractor) -> None:
    class Forgetful(Gated):
        def extract_many(self, sources, *told):
            return iter([*sources][:0])

    with running(Forgetful(tiny_extractor)) as service:
        response = service.post(sound())
        assert (response.status_code, response.json()["error"]["type"]) == (500, "FaultError")


def test_a_fault_outside_the_model_is_an_answer_too(
    gated: Gated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> float:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("speechre.serve.app.measure_sound", fail)
    with running(gated) as service:
        response = service.post(sound())
        assert response.status_code == 500
        assert response.json()["error"]["message"].startswith("a fault of the service (ZeroDivisionError)")
        assert service.server.service.num_requests == 0
        assert service.client.get("/healthz").status_code == 200
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_request_that_fails_as_a_whole_leaves_none_of_its_recordings_behind(
    gated: Gated, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(upload: Upload, limits: Limits) -> float:
        return 1 / (upload.name != "bug")

    with running(gated) as service:
        first = pool.submit(service.post, sound())
        wait_until(lambda: gated.taken, "the model has the first")
        monkeypatch.setattr("speechre.serve.app.measure_sound", measure)
        assert service.post_files(("good", sound()), ("bug", sound())).status_code == 500
        assert is_inside(service, 1, 0)
        gated.gate.set()
        assert first.result().status_code == 200


def test_a_thread_that_ended_is_seen(gated: Gated) -> None:
    with running(gated) as service:
        service.server.service.model.close(PATIENCE_S)
        response = service.client.get("/healthz")
        assert (response.status_code, response.json()["error"]["type"]) == (500, "FaultError")
        assert service.post(sound()).status_code == 503


def test_nothing_is_left_on_disk(gated: Gated, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with running(gated) as service:
        sender = threading.Thread(target=service.post, args=(sound(),))
        sender.start()
        wait_until(lambda: gated.taken, "the model has it")
        assert [path.name[:9] for path in tmp_path.iterdir()] == ["speechre-"]
        gated.gate.set()
        sender.join()
        service.post(b"no sound")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("hears_in_float32")
def test_the_shipped_model_answers_many_clients_as_it_answers_one(pool: ThreadPoolExecutor) -> None:
    """All samples at once, in batches as they come, beside the same ones one by one without a service."""
    samples = sorted((Path(__file__).parents[2] / "samples").glob("*.flac"))
    extractor = Extractor.from_pretrained(device="cpu")
    alone = {path.name: {**extractor(path).to_dict(), "source": path.name} for path in samples}
    with running(extractor) as service:
        answers = {path.name: pool.submit(service.post, path.read_bytes(), name=path.name) for path in samples}
        assert {name: answer.result().json() for name, answer in answers.items()} == alone
    (triplet,) = alone["miller.flac"]["triplets"]
    assert (triplet["head"]["text"], triplet["relation"]) == ("Thomas Miller", "Work_For")
