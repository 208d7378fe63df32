"""How far the recordings are: a bar on stderr with the time that is left and the real-time factor."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from speechre.errors import SpeechreError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class AudioProgress:
    """Seconds of audio that are done, of all that there are. Without a terminal nothing is shown."""

    def __init__(
        self,
        durations_s: Mapping[str, float],
        console: Console | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``durations_s`` are the recordings by name; ``console`` is where the bar goes, None for nowhere."""
        self._durations_s = durations_s
        self._done_s = dict.fromkeys(durations_s, 0.0)
        self._total_s = 0.0
        self._clock = clock
        self._start_s = clock()
        self._bar = None if console is None else _bar(console)
        self._task = None
        if self._bar is not None:
            self._task = self._bar.add_task("audio", total=sum(durations_s.values()) or None, factor="")

    def __enter__(self) -> AudioProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, name: str, position_s: float) -> None:
        """The recording ``name`` is done up to ``position_s``."""
        self._total_s += position_s - self._done_s.get(name, 0.0)
        self._done_s[name] = position_s
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._total_s, factor=self._factor())

    def finish(self, name: str) -> None:
        """Nothing more will come of the recording ``name``."""
        self.advance(name, self._durations_s.get(name, 0.0))

    def _factor(self) -> str:
        """Seconds of work for a second of audio."""
        return f"real-time factor {(self._clock() - self._start_s) / self._total_s:.2f}" if self._total_s else ""

    def hidden(self) -> AbstractContextManager[None]:
        """While something else is written to the same terminal, the bar is gone."""
        return nullcontext() if self._bar is None else _hidden(self._bar)


def audio_progress(durations_s: Callable[[], Mapping[str, float]]) -> AudioProgress:
    """A bar on stderr where that is a terminal; only then the durations are asked for."""
    if not sys.stderr.isatty():
        return AudioProgress({}, None)
    from rich.console import Console

    return AudioProgress(durations_s(), Console(stderr=True))


def durations_of(names: list[str]) -> dict[str, float]:
    """Each recording's length in seconds; 0 for one that cannot be read, which is reported when its turn comes."""
    from speechre.audio import MAX_STREAM_BYTES, audio_duration_s

    durations = {}
    for name in names:
        try:
            durations[name] = audio_duration_s(name, max_bytes=MAX_STREAM_BYTES)
        except SpeechreError:
            durations[name] = 0.0
    return durations


@contextmanager
def _hidden(bar: Progress) -> Iterator[None]:
    bar.stop()
    try:
        yield
    finally:
        bar.start()


def _bar(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[factor]}"),
    )
    return Progress(*columns, console=console, transient=True)
