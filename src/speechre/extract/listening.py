"""Recordings read chunk by chunk, and the chunks analyzed in batches that are filled across recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from speechre.decode.ensemble import Analysis
from speechre.errors import AudioError, SpeechreError, UsageError, is_out_of_memory
from speechre.extract.batching import Batching
from speechre.extract.chunks import Chunk, cut_at_pauses
from speechre.extract.evidence import locate
from speechre.extract.recordings import OpenRecording, Source, open_recording, source_name
from speechre.extract.vad import make_detector
from speechre.model.heap import trim_heap
from speechre.samples import SAMPLE_RATE_HZ, Samples

OnError = Callable[[str, SpeechreError], None]
"""Told the name of a recording that failed and why."""
OnProgress = Callable[[str, float], None]
"""Told the name of a recording and up to which second of it all is done."""


@dataclass(eq=False)
class Job:
    """A recording that is being heard: what its chunks said so far."""

    name: str
    opened: OpenRecording
    heard_s: float = 0.0
    parts: list[Analysis] = field(default_factory=list)
    candidates: list[Analysis] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """A chunk of a recording was analyzed, or (both None) the recording is over."""

    job: Job
    chunk: Chunk | None = None
    analysis: Analysis | None = None


@dataclass(frozen=True)
class _Fault:
    """A recording that cannot be read (on); without a job it could not even be opened."""

    name: str
    error: AudioError | UsageError
    job: Job | None


_Piece: TypeAlias = "tuple[Job, Chunk | None]"
"""A chunk that was read, or (None) the end of its recording."""


@dataclass(frozen=True)
class Listening:
    """How recordings are heard: what makes a full batch, what finds speech, and what analyzes a batch's chunks."""

    batching: Batching
    vad: str
    analyze: Callable[[Sequence[tuple[Job, Chunk]]], list[Analysis]]

    def events(
        self, sources: Iterable[Source], on_error: OnError | None, on_progress: OnProgress | None
    ) -> Iterator[Event]:
        """What happens, in the sequence of recordings and chunks.

        A recording that cannot be read is told to ``on_error``; where there is none, or where ``sources`` itself ends
        in an error, that is raised behind what came before. A fault of analyzing is no recording's, and is raised.
        """
        waiting: list[_Piece] = []
        pieces = _read(sources, self.vad)
        while True:
            try:
                piece = next(pieces, None)
            except Exception:
                yield from self._analyzed(waiting, on_progress)
                raise
            if piece is None:
                break
            if isinstance(piece, _Fault):
                waiting = [one for one in waiting if one[0] is not piece.job]
                if on_error is None:
                    yield from self._analyzed(waiting, on_progress)
                    raise piece.error
                on_error(piece.name, piece.error)
            else:
                waiting.append(piece)
            durations_s = [chunk.duration_s for _, chunk in waiting if chunk is not None]
            if not durations_s or self.batching.is_full(durations_s):
                yield from self._analyzed(waiting, on_progress)
                waiting = []
        yield from self._analyzed(waiting, on_progress)

    def _analyzed(self, waiting: Sequence[_Piece], on_progress: OnProgress | None) -> Iterator[Event]:
        """What waits: its chunks analyzed, batch by batch, and the ends of recordings that lie between them."""
        chunks = [(job, chunk) for job, chunk in waiting if chunk is not None]
        found: dict[int, Analysis] = {}
        for batch in self.batching.batches([chunk.duration_s for _, chunk in chunks]):
            found |= zip(batch, self._analyze_in_memory([chunks[i] for i in batch]), strict=True)
        analyses = iter([found[i] for i in range(len(chunks))])
        for job, chunk in waiting:
            if chunk is None:
                yield Event(job)
            else:
                yield Event(job, chunk, locate(next(analyses), chunk.clock))
            if on_progress is not None:
                on_progress(job.name, job.heard_s if chunk is None else chunk.clock.end_s - job.opened.start_s)

    def _analyze_in_memory(self, chunks: Sequence[tuple[Job, Chunk]]) -> list[Analysis]:
        """The chunks analyzed, in parts where memory is short. Raises :class:`SpeechreError` if it is so for a single
        chunk.
        """
        try:
            return self.analyze(chunks)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(chunks) == 1:
                job, chunk = chunks[0]
                raise SpeechreError(
                    f"{job.name}: not enough memory for {chunk.duration_s:.1f} s of sound; use fewer beams or a "
                    "smaller model, or close what else takes memory"
                ) from error
        # Out of the handler, for the error holds what was half done.
        trim_heap()
        middle = len(chunks) // 2
        return [*self._analyze_in_memory(chunks[:middle]), *self._analyze_in_memory(chunks[middle:])]


def _read(sources: Iterable[Source], vad: str) -> Iterator[_Piece | _Fault]:
    """Each recording's chunks and its end, or its fault."""
    for number, source in enumerate(sources):
        name = source_name(source, number)
        job: Job | None = None
        try:
            job = Job(name, open_recording(source, number))
            for chunk in cut_at_pauses(_listen(job), partial(make_detector, vad), job.opened.start_s):
                yield job, chunk
        except (AudioError, UsageError) as error:  # a sound, or something else, that cannot be heard
            yield _Fault(name, error, job)
        else:
            yield job, None


def _listen(job: Job) -> Iterator[Samples]:
    """The recording's blocks; the job says how far it was heard."""
    num_samples = 0
    for block in job.opened.blocks:
        num_samples += len(block)
        job.heard_s = num_samples / SAMPLE_RATE_HZ
        yield block
