"""The model's thread with an extractor of paper: long recordings let short ones pass, and stop when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch

from speechre.errors import AudioError, SpeechreError
from speechre.serve.limits import StoppingError
from speechre.serve.metrics import Metrics
from speechre.serve.model_thread import LONG_S, Job, ModelThread
from speechre.serve.server import load_for_a_thread, print_fault
from speechre.types import Extraction
from tests.serving import PATIENCE_S, wait_until


class Paper:
    """Hears a recording in pieces of 60 s, each when it is allowed to, and writes down what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.allowed = threading.Semaphore(0)
        self.lengths_s: dict[str, float] = {}
        self.errors: dict[str, SpeechreError | Exception] = {}

    def extract_many(
        self,
        sources: Iterable[object],
        on_error: Callable[[str, SpeechreError], None],
        on_progress: Callable[[str, float], None],
    ) -> Iterator[Extraction]:
        for source in sources:
            path = str(source)
            error = self.errors.get(path)
            if isinstance(error, AudioError):
                on_error(path, error)
                continue
            for start in range(0, int(self.lengths_s[path]), 60):
                assert self.allowed.acquire(timeout=PATIENCE_S)
                if error is not None:
                    raise error
                self.done.append(f"{path}:{start}")
                on_progress(path, start + 60.0)
            yield Extraction(path, path, self.lengths_s[path], "paper")

    def job(self, name: str, duration_s: float) -> Job:
        self.lengths_s[f"/copies/{name}"] = duration_s
        return Job(f"/copies/{name}", f"{name}.wav", name, duration_s)

    def allow(self, num_pieces: int) -> None:
        for _ in range(num_pieces):
            self.allowed.release()


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def faults() -> list[BaseException]:
    return []


@pytest.fixture
def thread(paper: Paper, faults: list[BaseException]) -> Iterator[ModelThread]:
    thread = ModelThread(paper.extract_many, Metrics(), faults.append)
    yield thread
    paper.allow(1000)
    thread.close(PATIENCE_S)
    assert not thread.is_alive


def begun(paper: Paper, thread: ModelThread, *jobs: Job) -> None:
    """Put jobs into the line once the first piece of the first one is being heard."""
    thread.submit(jobs[0])
    wait_until(lambda: thread.num_waiting == 0, "the first is taken")
    for job in jobs[1:]:
        thread.submit(job)


def test_an_answer_is_called_as_the_client_calls_the_recording(paper: Paper, thread: ModelThread) -> None:
    job = paper.job("a", 60)
    thread.submit(job)
    paper.allow(1)
    answer = job.answer.result(PATIENCE_S)
    assert (answer.id, answer.source, answer.duration_s) == ("a", "a.wav", 60)


def test_short_recordings_pass_a_long_one(paper: Paper, thread: ModelThread) -> None:
    long, short, other = paper.job("long", 300), paper.job("short", 60), paper.job("other", LONG_S)
    begun(paper, thread, long, short, other)
    paper.allow(4)
    assert short.answer.result(PATIENCE_S).id == "short"
    assert other.answer.result(PATIENCE_S).id == "other"
    assert not long.answer.done()
    assert paper.done == [f"/copies/{name}" for name in ("long:0", "short:0", "other:0", "other:60")]
    paper.allow(4)
    assert long.answer.result(PATIENCE_S).duration_s == 300


def test_long_ones_wait_for_each_other_and_hold_nobody_up(paper: Paper, thread: ModelThread) -> None:
    long, second, short = paper.job("long", 180), paper.job("second", 180), paper.job("short", 60)
    begun(paper, thread, long, second, short)
    paper.allow(7)
    for job in (long, second, short):
        job.answer.result(PATIENCE_S)
    assert [one.removeprefix("/copies/").split(":")[0] for one in paper.done] == [
        "long", "short", "long", "long", "second", "second", "second",
    ]  # fmt: skip


def test_a_long_recording_has_its_half_of_the_time(
    paper: Paper, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd of short ones does not hold it up for ever: after guests it works for as long as they took."""
    now = iter(range(1, 10_000))  # the thread's clock goes on whenever it is looked at: at least twice for each guest
    clock = time.monotonic

    def monotonic() -> float:
        return float(next(now)) if threading.current_thread().name == "model" else clock()

    monkeypatch.setattr("speechre.serve.model_thread.time.monotonic", monotonic)
    long, short = paper.job("long", 60 * 40), [paper.job(f"s{n}", 60) for n in range(60)]
    begun(paper, thread, long, *short)
    paper.allow(100)
    long.answer.result(PATIENCE_S)
    pieces = "".join(one.removeprefix("/copies/")[0] for one in paper.done)
    assert pieces.startswith("l" + "s" * 16 + "l" * 32)
    assert short[-1].answer.result(PATIENCE_S).id == "s59"


def test_nobody_hears_the_rest_of_a_long_recording_for_nobody(paper: Paper, thread: ModelThread) -> None:
    long, after = paper.job("long", 6000), paper.job("after", 180)  # long too: it would not pass
    begun(paper, thread, long)
    assert long.answer.cancel()
    thread.submit(after)
    paper.allow(4)
    assert after.answer.result(PATIENCE_S).id == "after"
    assert paper.done == [f"/copies/{name}" for name in ("long:0", "after:0", "after:60", "after:120")]


def test_a_fault_in_a_long_recording_leaves_its_guests_alone(
    paper: Paper, thread: ModelThread, faults: list[BaseException]
) -> None:
    long, guest, bad = paper.job("long", 300), paper.job("guest", 60), paper.job("bad", 60)
    paper.errors[bad.path] = ValueError("a bug")
    begun(paper, thread, long, guest, bad)
    paper.allow(20)
    assert guest.answer.result(PATIENCE_S).id == "guest"
    with pytest.raises(SpeechreError, match=r"^bad\.wav: the model failed on this recording \(ValueError\)"):
        bad.answer.result(PATIENCE_S)
    assert long.answer.result(PATIENCE_S).id == "long"
    assert {str(fault) for fault in faults} == {"a bug"}


def test_an_error_names_the_client_s_recording_and_not_the_copy(paper: Paper, thread: ModelThread) -> None:
    jobs = [paper.job("cut", 60), paper.job("large", 60)]
    paper.errors[jobs[0].path] = AudioError("/copies/cut: truncated")
    paper.errors[jobs[1].path] = SpeechreError("/copies/large: not enough memory for 30.0 s of sound")
    paper.allow(5)
    for job in jobs:
        thread.submit(job)
    with pytest.raises(AudioError, match=r"^cut\.wav: truncated$"):
        jobs[0].answer.result(PATIENCE_S)
    with pytest.raises(SpeechreError, match=r"^large\.wav: not enough memory for 30.0 s of sound$"):
        jobs[1].answer.result(PATIENCE_S)


def test_a_closed_thread_finishes_and_takes_nothing(paper: Paper, thread: ModelThread) -> None:
    jobs = [paper.job(name, 60) for name in ("a", "b", "c")]
    begun(paper, thread, *jobs)
    thread.close(0)
    with pytest.raises(StoppingError):
        thread.submit(paper.job("d", 60))
    paper.allow(3)
    assert [job.answer.result(PATIENCE_S).id for job in jobs] == ["a", "b", "c"]
    wait_until(lambda: not thread.is_alive, "the thread has ended")


def test_giving_up_fails_all_and_stops_a_long_one(paper: Paper, thread: ModelThread) -> None:
    jobs = [paper.job("long", 6000), paper.job("b", 60)]
    begun(paper, thread, *jobs)
    thread.give_up()
    for job in jobs:
        with pytest.raises(StoppingError, match=rf"^{job.name}: the service was shut down"):
            job.answer.result(PATIENCE_S)
    paper.allow(1)
    wait_until(lambda: not thread.is_alive, "the thread has ended")
    assert len(paper.done) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_itself_leaves_nobody_waiting(paper: Paper) -> None:
    def report(error: BaseException) -> None:
        raise BrokenPipeError("nobody reads what went wrong")

    thread = ModelThread(paper.extract_many, Metrics(), report)
    job, behind = paper.job("a", 60), paper.job("b", 60)
    paper.errors[job.path] = ValueError("a fault")
    begun(paper, thread, job, behind)
    paper.allow(2)
    for one in (job, behind):
        with pytest.raises(StoppingError, match="was shut down before"):
            one.answer.result(PATIENCE_S)
    wait_until(lambda: not thread.is_alive, "it has ended")
    with pytest.raises(SpeechreError):
        thread.submit(paper.job("c", 60))


def test_the_models_thread_has_the_cores_and_the_loading_one_none(paper: Paper) -> None:
    torch.set_num_threads(3)
    found: list[int] = []
    extractor, on_start = load_for_a_thread(lambda: found.append(torch.get_num_threads()) or "extractor")
    assert (extractor, found, torch.get_num_threads()) == ("extractor", [1], 1)

    def extract_many(sources: Iterable[object], *rest: Any) -> Iterator[Extraction]:
        found.append(torch.get_num_threads())
        return paper.extract_many(sources, *rest)

    thread = ModelThread(extract_many, Metrics(), print_fault, on_start)
    job = paper.job("a", 60)
    paper.allow(1)
    thread.submit(job)
    job.answer.result(PATIENCE_S)
    thread.close(PATIENCE_S)
    assert found == [1, 3]


def test_one_of_two_who_answer_at_once_is_the_one(paper: Paper, thread: ModelThread) -> None:
    job = paper.job("a", 60)
    assert [thread._claim(job), thread._claim(job)] == [True, False]


def test_a_fault_that_nobody_reads_is_no_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    class Gone:
        def write(self, text: str) -> int:
            tried.append(text)
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr("sys.stderr", Gone())
    print_fault(ValueError("a fault"))
    assert tried
