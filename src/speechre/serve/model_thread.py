"""The one thread that owns the model. Recordings wait in a line; those that wait together are decoded together.

The extractor pulls its recordings one by one and fills its batches across them, so nothing is grouped here: whenever
the extractor asks for the next recording, it gets the first that waits, and when none does it decodes what it has.
Nobody waits for a batch to become full, and answers do not depend on who else is in it (the extractor's promise).

A long recording fills many batches by itself. Between them it lets short ones pass: whoever waits with a short
recording is served then, for at most half of the time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from speechre.errors import SpeechreError
from speechre.serve.limits import FaultError, StoppingError
from speechre.serve.metrics import Metrics
from speechre.types import Extraction

if TYPE_CHECKING:
    from speechre.extract.listening import OnError, OnProgress

LONG_S = 120.0
"""A longer recording lets shorter ones pass. It is about what one batch of eight holds."""
_GUESTS = 16  # that one pause of a long recording lets pass


class ExtractMany(Protocol):
    """As :meth:`Extractor.extract_many`, on paths."""

    def __call__(
        self, sources: Iterable[Path | str], on_error: OnError, on_progress: OnProgress, /
    ) -> Iterator[Extraction]: ...


@dataclass(eq=False)
class Job:
    """One recording: the service's own copy of it, what the client calls it, and the answer to be.

    Who cancels ``answer`` does not want it any more.
    """

    path: str
    name: str
    id: str
    duration_s: float
    answer: Future[Extraction] = field(default_factory=Future)
    came_s: float = field(default_factory=time.monotonic)
    taken_s: float = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the answer."""
        return not self.answer.cancelled()

    @property
    def is_long(self) -> bool:
        """Whether it lets others pass."""
        return self.duration_s > LONG_S


class _StoppedError(Exception):
    """Nobody waits for the rest of a long recording."""


class ModelThread:
    """Hears jobs until it is closed. Whatever happens in it, every job gets an answer or an error."""

    def __init__(
        self,
        extract_many: ExtractMany,
        metrics: Metrics,
        report_fault: Callable[[BaseException], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_start`` is called in the thread, before its first job."""
        self._extract_many = extract_many
        self._metrics = metrics
        self._report_fault = report_fault
        self._on_start = on_start
        self._line: deque[Job] = deque()
        self._taken: set[Job] = set()
        self._changed = threading.Condition()
        self._is_closed = self._is_given_up = False
        self._guests_left_s = self._guests_took_s = 0.0
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether jobs are heard."""
        return self._thread.is_alive()

    @property
    def num_waiting(self) -> int:
        """Jobs that somebody waits for and that the model has not taken yet."""
        with self._changed:
            return sum(job.is_wanted for job in self._line)

    def submit(self, job: Job) -> None:
        """Put a job at the end of the line. Raises :class:`StoppingError` when the thread is closed."""
        with self._changed:
            if self._is_closed:
                raise StoppingError("the service is being shut down; send the recording again to the one that follows")
            if not self._thread.is_alive():
                raise FaultError("the model's thread has ended; tell whoever runs the service to start it again")
            self._line.append(job)
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Take no more jobs, and wait so long for those that are there."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def give_up(self) -> None:
        """Take no more jobs, and fail those that are there: there is no more time."""
        with self._changed:
            self._is_closed = self._is_given_up = True
            unanswered = [*self._line, *self._taken]
            self._line.clear()
            self._changed.notify()
        for job in unanswered:
            error = (
                f"{job.name}: the service was shut down before this was heard; send it again to the one that follows"
            )
            self._fail(job, StoppingError(error))

    # -- in the thread

    def _run(self) -> None:
        try:
            self._on_start()
            while self._wait_for_work():
                self._hear(self._waiting_now())
        finally:  # also when it ends by a fault of its own: nobody waits for ever
            self.give_up()

    def _wait_for_work(self) -> bool:
        """Whether there is work; False once the thread is closed and the line is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._is_closed)
            return bool(self._line)

    def _waiting_now(self, *, only_short: bool = False) -> Iterator[Job]:
        """What waits at the moment at which it is asked for, until nothing does."""
        while (job := self._next(only_short)) is not None:
            yield job

    def _next(self, only_short: bool) -> Job | None:
        with self._changed:
            for job in [job for job in self._line if not job.is_wanted]:
                self._line.remove(job)
                self._metrics.count_recording("dropped")
            found = next((job for job in self._line if not (only_short and job.is_long)), None)
            if found is not None:
                self._line.remove(found)
                self._taken.add(found)
                found.taken_s = time.monotonic()
            return found

    def _hear(self, jobs: Iterator[Job], *, is_guest: bool = False) -> None:
        """Answer jobs, as many as come. A fault fails the job that caused it: the others are heard again, alone."""
        open_jobs: dict[str, Job] = {}

        def sources() -> Iterator[str]:
            for job in jobs:
                open_jobs[job.path] = job
                yield job.path

        def on_error(path: str, error: SpeechreError) -> None:
            self._fail(open_jobs.pop(path), error)

        def on_progress(path: str, position_s: float) -> None:
            job = open_jobs.get(path)
            if self._is_given_up or (job is not None and job.is_long and not job.is_wanted):
                raise _StoppedError
            if job is not None and job.is_long and not is_guest:
                self._let_pass()

        why: SpeechreError | str | None = None
        try:
            for extraction in self._extract_many(sources(), on_error, on_progress):
                self._succeed(open_jobs.pop(extraction.source), extraction)
            if open_jobs:
                raise RuntimeError(f"the extractor ended without a word on {len(open_jobs)} recordings")
        except _StoppedError:
            self._put_back(open_jobs.values())
        except Exception as error:  # of any kind: the service goes on
            self._metrics.count_fault()
            self._report_fault(error)
            why = type(error)(str(error)) if isinstance(error, SpeechreError) else type(error).__name__
        if why is not None:  # out of the handler, for the error holds what was half done
            self._recover([*open_jobs.values()], why)

    def _recover(self, jobs: list[Job], why: SpeechreError | str) -> None:
        """One job is at fault; of several nobody knows which, until each is heard alone."""
        if len(jobs) == 1:
            self._fail(jobs[0], _fault(jobs[0], why) if isinstance(why, str) else why)
            return
        for job in jobs:
            self._hear(iter([job]))

    def _let_pass(self) -> None:
        """Serve short recordings that wait, unless the long one has worked for less time than the last of them took."""
        now_s = time.monotonic()
        if now_s - self._guests_left_s < self._guests_took_s:
            return
        self._hear(islice(self._waiting_now(only_short=True), _GUESTS), is_guest=True)
        self._guests_left_s = time.monotonic()
        self._guests_took_s = self._guests_left_s - now_s

    def _put_back(self, jobs: Iterable[Job]) -> None:
        """To the head of the line, but for those that nobody waits for."""
        with self._changed:
            for job in reversed([*jobs]):
                self._taken.discard(job)
                if not job.answer.done():
                    self._line.appendleft(job)
                elif not job.is_wanted:
                    self._metrics.count_recording("dropped")

    def _succeed(self, job: Job, extraction: Extraction) -> None:
        if self._claim(job):
            self._metrics.count_answer(job.duration_s, job.taken_s - job.came_s, time.monotonic() - job.taken_s)
            job.answer.set_result(replace(extraction, id=job.id, source=job.name))

    def _fail(self, job: Job, error: SpeechreError) -> None:
        if self._claim(job):
            self._metrics.count_recording("failed")
            # What it says of the service's own copy is said of the recording by its client's name for it.
            error.args = (str(error).replace(job.path, job.name),)
            job.answer.set_exception(error)

    def _claim(self, job: Job) -> bool:
        """Whether the caller is the one who answers a job: nobody did, and somebody waits."""
        with self._changed:
            self._taken.discard(job)
            if job.answer.running() or (job.answer.done() and job.is_wanted):  # another thread was quicker
                return False
            if not job.is_wanted:
                self._metrics.count_recording("dropped")
                return False
            return job.answer.set_running_or_notify_cancel()


def _fault(job: Job, kind: str) -> FaultError:
    return FaultError(
        f"{job.name}: the model failed on this recording ({kind}); the service's own log says more; "
        "send it again, and if that fails too tell whoever runs the service"
    )
