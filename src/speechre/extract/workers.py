"""Many recordings by several processes, each with a model of its own and its share of the processor's cores.

For machines with more cores than one process can use, as the search's matrices are small; on two cores one process with
two threads is as fast (docs/performance.md). Sound is decoded in the processes too.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from speechre.errors import SpeechreError, UsageError
from speechre.extract.extractor import Extractor
from speechre.extract.listening import OnError, OnProgress
from speechre.types import Extraction

SHARD_SIZE = 32
"""Recordings that a process gets at once: enough for batches alike in length."""
_LOOK_EVERY_S = 0.1  # for progress, while a process works
_LAST_WORDS_S = 5.0  # for a shard's last progress: an answer is not held up for what a dying process never sent

_Failure = tuple[str, SpeechreError]
_Outcome = Extraction | _Failure


class _Worker:
    """What a process keeps between its shards."""

    def __init__(self, make: Callable[[], Extractor], progress: Any, stop: Any) -> None:
        self.extractor = make()
        self.progress = progress
        self.stop = stop

    def hear(self, shard: int, files: Sequence[Path]) -> list[_Outcome]:
        """Each recording's extraction, or its name and why there is none; the shard's number ends its progress."""
        outcomes: list[_Outcome] = []
        found = self.extractor.extract_many(
            files,
            on_error=lambda name, error: outcomes.append((name, error)),
            on_progress=self._tell,
        )
        outcomes.extend(found)
        self.progress.put(shard)
        return outcomes

    def _tell(self, name: str, position_s: float) -> None:
        if self.stop.is_set():
            raise _StoppedError
        self.progress.put((name, position_s))


class _StoppedError(Exception):
    """Nobody waits for the answer any more."""


_worker: _Worker | SpeechreError | None = None
"""In a process of the pool: its worker, or why its model could not be loaded."""


def _start(make: Callable[[], Extractor], num_threads: int, progress: Any, stop: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the pool
    progress.cancel_join_thread()  # a parent that has stopped reading must not keep this process from ending
    torch.set_num_threads(num_threads)
    try:
        _worker = _Worker(make, progress, stop)
    except SpeechreError as error:  # an initializer that raises breaks the pool without a word
        _worker = error


def _ours() -> _Worker:
    if isinstance(_worker, SpeechreError):
        raise _worker
    assert _worker is not None, "only the pool's processes work"
    return _worker


def _num_orders() -> int:
    return len(_ours().extractor.engine.orders)


def _hear(shard: int, files: Sequence[Path]) -> list[_Outcome]:
    return _ours().hear(shard, files)


class WorkerPool:
    """``num_workers`` processes that load what ``make`` makes; a context manager.

    ``make`` is pickled: a function of a module with its arguments (:func:`functools.partial`). Raises what it raises.
    """

    def __init__(self, num_workers: int, make: Callable[[], Extractor], shard_size: int = SHARD_SIZE) -> None:
        """A process gets ``shard_size`` recordings at once, or fewer so that all have some."""
        if num_workers < 1:
            raise UsageError(f"{num_workers} workers; expected 1 or more")
        self.num_workers = num_workers
        self.shard_size = shard_size
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads, which do not survive it
        self._progress: Any = context.Queue()
        self._num_shards = 0
        self._ended: set[int] = set()  # shards whose progress was passed on to its end, and not yet their answer
        num_threads = max(1, num_cores() // num_workers)
        self._stop: Any = context.Event()
        self._pool = ProcessPoolExecutor(num_workers, context, _start, (make, num_threads, self._progress, self._stop))

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        """Shards that were handed out end with their next chunk: after Ctrl-C nobody wants to wait for hours of
        sound.
        """
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def num_orders(self) -> int:
        """Of the model; waits for it to be loaded."""
        return int(self._answer(self._pool.submit(_num_orders)))

    def extract_many(
        self,
        files: Sequence[Path],
        on_error: OnError | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Extraction]:
        """As :meth:`Extractor.extract_many`: the same answers in the same sequence."""
        size = max(1, min(self.shard_size, -(-len(files) // self.num_workers)))
        shards = deque(files[start : start + size] for start in range(0, len(files), size))
        running: deque[tuple[int, Future[list[_Outcome]]]] = deque()
        while shards or running:
            while shards and len(running) < 2 * self.num_workers:  # some in reserve, and no more: answers take memory
                self._num_shards += 1
                running.append((self._num_shards, self._pool.submit(_hear, self._num_shards, shards.popleft())))
            shard, future = running.popleft()
            outcomes = self._answer(future, on_progress)
            self._pass_on_all(shard, on_progress)
            for outcome in outcomes:
                if isinstance(outcome, Extraction):
                    yield outcome
                elif on_error is None:
                    raise outcome[1]
                else:
                    on_error(*outcome)

    def _answer(self, future: Future[Any], on_progress: OnProgress | None = None) -> Any:
        """The result, once it is there; progress is passed on while waiting."""
        while not wait([future], timeout=_LOOK_EVERY_S).done:
            self._pass_on(on_progress)
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise SpeechreError(
                f"one of {self.num_workers} worker processes ended by itself; where the machine's memory was not "
                "enough, use fewer workers or smaller batches"
            ) from error

    def _pass_on_all(self, shard: int, on_progress: OnProgress | None) -> None:
        """Pass progress on until the shard's has ended: it comes by another way than its answer, which may be first."""
        latest = time.monotonic() + _LAST_WORDS_S
        while shard not in self._ended and time.monotonic() < latest:
            self._pass_on(on_progress, timeout_s=_LOOK_EVERY_S)
        self._ended.discard(shard)

    def _pass_on(self, on_progress: OnProgress | None, timeout_s: float = 0.0) -> None:
        """Pass on what is there; the first piece is waited for."""
        while True:
            try:
                told = self._progress.get(timeout=timeout_s)
            except queue.Empty:
                return
            timeout_s = 0.0
            if isinstance(told, int):
                self._ended.add(told)
            elif on_progress is not None:
                on_progress(*told)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
