"""``Extractor``: the front door for programs. ::

from speechre import Extractor

extractor = Extractor.from_pretrained("speechre-tiny-conll04")
extraction = extractor("talk.wav")
for triplet in extraction.triplets:
    print(triplet.head.text, triplet.relation, triplet.tail.text, triplet.confidence)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from speechre.config import ADAPTED, check_names
from speechre.decode.engine import DecodingEngine, writes_in_half
from speechre.decode.ensemble import Analysis, analyze, is_said_again, merge_analyses
from speechre.decode.memory import FreedMemory
from speechre.errors import UsageError
from speechre.extract.batching import Batching, BatchSize
from speechre.extract.chunks import Chunk
from speechre.extract.hearings import FurtherHearings
from speechre.extract.listener import Listener, mel_of
from speechre.extract.listening import Event, Job, Listening, OnError, OnProgress
from speechre.extract.recordings import (
    BYTES,
    Recording,
    Source,
    is_open_file,
)
from speechre.extract.rows import RowExtractor
from speechre.extract.vad import check_detector
from speechre.model.adapter import Adapter
from speechre.model.checkpoint import DEFAULT_MODEL, Checkpoint, load_checkpoint
from speechre.model.device import choose_device, use_one_thread_after_fork
from speechre.reader.mixture import expected_beliefs
from speechre.reader.reader import TextReader
from speechre.types import Extraction, Triplet, Utterance
from speechre.vote import PaperVote, VoteRule, vote, vote_rule

NO_SPEECH = "no speech was found"


def with_decoding(checkpoint: Checkpoint, decode: Mapping[str, Any]) -> Checkpoint:
    """The model with other fields of its :class:`speechre.config.DecodeConfig`. Raises :class:`ConfigError`."""
    data = checkpoint.config.to_dict()
    data["decode"] |= decode
    if data["decode"]["second_listener"] == "none":
        data["decode"]["second_listener"] = ""
    return replace(checkpoint, config=type(checkpoint.config).from_dict(data, "options"))


class Extractor:
    """Turns recordings into triplets with one model. Answers do not depend on the batch size or on the other
    recordings.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        batch_size: BatchSize = 8,
        relations_of: Callable[[str], Collection[str]] | None = None,
        memory_mib: int | None = None,
        vad: str = "energy",
    ) -> None:
        """``batch_size`` "auto" sorts chunks by length and makes batches as large as ``memory_mib`` MiB for the whole
        process allow (default 2,048), see :class:`speechre.extract.batching.Batching`. ``vad`` finds the speech in
        recordings of more than 30 s: ``energy``, or ``silero`` with the extra ``vad``.

        ``relations_of`` gives the types of the relation prompt for a recording's id in place of the relation head:
        the annotated ones, none or all, to see what a prompt is worth.
        """
        check_detector(vad)
        use_one_thread_after_fork()
        self._lock = threading.Lock()  # threads take turns: the engine keeps notes of the batch that it decodes
        self.vad = vad
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.memory_mib = memory_mib
        self.relations_of = relations_of
        self._sequencer = checkpoint.sequencer()
        config = checkpoint.config
        check_names(config)
        self._rule = vote_rule(config.decode)
        adapter = self._own_adapter()
        self.engine = DecodingEngine(checkpoint.network, self._sequencer, config.model, config.decode, adapter=adapter)
        self._reader: TextReader | None = None
        if checkpoint.reader is not None and config.decode.reader and config.model.transcript:
            is_rounded = self.engine.hears_in_bfloat16 and self.engine.network.device.type == "cpu"
            self._reader = TextReader(checkpoint.reader.in_bfloat16() if is_rounded else checkpoint.reader)
        self._second = None if adapter is not None else self._second_listener()
        self._listeners = self._second.model_id if self._second else "adapter" if adapter is not None else ""
        self._hearings = FurtherHearings(
            checkpoint, self._second, is_read=self._reader is not None, is_changed=adapter is not None
        )
        sizes, model = checkpoint.network.config, config.model
        if self._second is not None:  # memory is planned for the wider of the two, and for the longer window
            sizes = max(sizes, self._second.sizes, key=lambda one: one.d_model)
            model = replace(model, exact_length=model.exact_length and self._second.model.exact_length)
        self._freed_memory = FreedMemory()
        self._batching = Batching.of(batch_size, memory_mib, sizes, model, config.decode)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it is made of, and made again where it is loaded: packed matrices do not travel. So another
        process can be given one, and ``datasets`` knows an answer that it has already.
        """
        return type(self), (self.checkpoint, self.batch_size, self.relations_of, self.memory_mib, self.vad)

    def _own_adapter(self) -> Adapter | None:
        """The model's adapter, where it is the second listener and one search can write the transcripts of both."""
        checkpoint, decode = self.checkpoint, self.checkpoint.config.decode
        is_heard = decode.second_listener == ADAPTED and decode.reader and checkpoint.config.model.transcript
        is_read = checkpoint.reader is not None and writes_in_half(checkpoint.network, decode)
        return checkpoint.adapter if is_heard and is_read else None

    def _second_listener(self) -> Listener | None:
        decode = self.checkpoint.config.decode
        if not decode.second_listener or not decode.reader:  # a reader that is switched off reads nobody's transcripts
            return None
        if self._reader is None:
            raise UsageError(
                f"second listener {decode.second_listener}: {self.checkpoint.model_id} has no text reader to read its "
                'transcripts; choose a model that has one, or "none"'
            )
        device = str(self.checkpoint.network.device)
        return Listener(decode.second_listener, device, self.checkpoint)

    @property
    def model_id(self) -> str:
        """Which weights answer: ``name@hash``, and behind a plus those of a second listener."""
        own = self.checkpoint.model_id
        return f"{own}+{self._listeners}" if self._listeners else own

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str = "auto",
        batch_size: BatchSize = 8,
        memory_mib: int | None = None,
        vad: str = "energy",
        **decode: Any,
    ) -> Extractor:
        """A shipped model by name, or a model folder.

        ``device`` is ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` is a GPU where there is one, else the CPU.
        ``decode`` overrides fields of :class:`speechre.config.DecodeConfig` for this extractor: ``orders``, ``beams``,
        ``threshold``, ``vote``, ... Raises :class:`CheckpointError` and :class:`UsageError`.
        """
        checkpoint = load_checkpoint(os.fspath(name_or_path), choose_device(device))
        return cls(with_decoding(checkpoint, decode), batch_size, memory_mib=memory_mib, vad=vad)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # bytes and open files iterate too, and are recordings here
        self, source: Source
    ) -> Extraction: ...
    @overload
    def __call__(self, source: NDArray[Any], rate_hz: int) -> Extraction: ...
    @overload
    def __call__(self, source: list[Source]) -> list[Extraction]: ...
    @overload
    def __call__(self, source: Iterator[Source]) -> Iterator[Extraction]: ...
    @overload
    def __call__(self, source: Mapping[str, Any]) -> dict[str, Any]: ...
    def __call__(self, source: Any, rate_hz: int | None = None) -> Any:
        """One recording gives one Extraction, a list gives a list, an iterator (a generator) gives an iterator.

        A recording is a path, the bytes of a file, an open file, an array with ``rate_hz`` (or as a pair), or an
        :class:`Utterance`. An array is (samples,) or (samples, channels). Raises :class:`AudioError` on one that cannot
        be heard.

        A mapping is a row of a data set with a column ``audio``, or a batch of rows, and gives the column
        ``extraction``: ``dataset.map(extractor)``. See :meth:`rows` for other names.
        """
        if isinstance(source, Mapping):
            return self.rows()(source)
        if isinstance(source, np.ndarray | torch.Tensor):
            if rate_hz is None:
                raise UsageError("an array has no sampling rate of its own; pass it: extractor(array, 16000)")
            return next(self.extract_many([(source, rate_hz)]))
        if rate_hz is not None:
            raise UsageError(
                f"got {type(source).__name__} with a sampling rate; only an array needs one: files say their own, and "
                "samples in a list become an array by numpy.asarray(samples)"
            )
        # An open file is here, for it would else pass for an iterator over its lines.
        if isinstance(source, (str, os.PathLike, tuple, Utterance, *BYTES)) or is_open_file(source):
            return next(self.extract_many([source]))
        if isinstance(source, list):
            return list(self.extract_many(source))
        if isinstance(source, Iterator):
            return self.extract_many(source)
        raise UsageError(
            f"got {type(source).__name__}; expected a path, bytes, an open file, (array, rate), an Utterance, "
            "a list or an iterator of these, or a row of a data set"
        )

    def rows(self, column: str = "audio", into: str = "extraction") -> RowExtractor:
        """What ``datasets.Dataset.map`` calls, with and without ``batched=True``: from the recordings in ``column`` to
        extractions as dicts in ``into``.
        """
        relation_types = self.checkpoint.schema.relation_types
        return RowExtractor(self.extract_many, tuple(relation_types), column, into)

    def extract_many(
        self, sources: Iterable[Source], on_error: OnError | None = None, on_progress: OnProgress | None = None
    ) -> Iterator[Extraction]:
        """An Extraction for each recording, in the same sequence, heard and decoded ``batch_size`` chunks at a time.

        With ``on_error``, a recording that cannot be read is reported there and left out; without, it raises.
        """
        for recording, analysis in self.analyze_many(sources, on_error, on_progress):
            yield self.extraction(recording, analysis)

    def stream(self, source: Source) -> Iterator[Extraction]:
        """One recording of any length, an Extraction for each chunk as soon as its batch is decoded.

        Each is named after its seconds (``talk#t=12.30,31.85``, a media fragment) and lasts as long as its chunk; times
        are on the recording's own clock. A statement in the overlap of two chunks is told once, by the first. With
        ``batch_size`` 1 nothing waits for later chunks. Raises :class:`AudioError` where the recording cannot be read.
        """
        before: tuple[Triplet, ...] = ()
        for event in self._events([source], None, None):
            if event.chunk is None or event.analysis is None:
                continue
            analysis, clock, opened = event.analysis, event.chunk.clock, event.job.opened
            told = [t for t in analysis.triplets if not any(is_said_again(t, earlier) for earlier in before)]
            before = analysis.triplets if clock.is_shared else ()
            name = f"{opened.id}#t={clock.start_s:.2f},{clock.end_s:.2f}"
            recording = Recording(name, opened.source, clock.end_s - clock.start_s)
            yield self.extraction(recording, replace(analysis, triplets=tuple(told)))

    def extraction(self, recording: Recording, analysis: Analysis) -> Extraction:
        """The public form of an analysis."""
        return Extraction(
            id=recording.id,
            source=recording.source,
            duration_s=recording.duration_s,
            model=self.model_id,
            triplets=analysis.triplets,
            transcript=analysis.transcript,
            relation_probabilities=analysis.relation_probabilities,
            warnings=analysis.warnings,
        )

    def analyze_many(
        self, sources: Iterable[Source], on_error: OnError | None = None, on_progress: OnProgress | None = None
    ) -> Iterator[tuple[Recording, Analysis]]:
        """As :meth:`extract_many`, with what each order said, all beams and all parse problems.

        Of a recording of several chunks the beams are not kept: scores of different chunks cannot be compared.
        """
        for recording, job in self._finished(sources, on_error, on_progress):
            yield recording, self._merged(job.parts)

    def analyze_with_candidates(
        self, sources: Iterable[Source], on_error: OnError | None = None
    ) -> Iterator[tuple[Recording, Analysis, tuple[Triplet, ...]]]:
        """As :meth:`analyze_many`, and every triplet that the vote weighed, whatever came of it.

        The candidates carry confidence and votes as answers do; answers are those that pass the model's threshold (or,
        under the paper's vote, have enough votes). For curves over thresholds and for calibration.
        """
        rule = without_threshold(self._rule)
        for recording, job in self._finished(sources, on_error, None, rule):
            yield recording, self._merged(job.parts), self._merged(job.candidates).triplets

    def _finished(
        self,
        sources: Iterable[Source],
        on_error: OnError | None,
        on_progress: OnProgress | None,
        candidates_rule: VoteRule | None = None,
    ) -> Iterator[tuple[Recording, Job]]:
        """Each recording with what its chunks said, once all is said."""
        for event in self._events(sources, on_error, on_progress):
            job, analysis = event.job, event.analysis
            if analysis is None:
                yield Recording(job.opened.id, job.opened.source, job.heard_s), job
                continue
            if candidates_rule is not None:
                weighed = vote(analysis.hypotheses, candidates_rule, analysis.read)
                job.candidates.append(_told(replace(analysis, triplets=weighed)))
            # Beams and beliefs of an hour's chunks would fill the memory, and serve recordings of one chunk only.
            if job.parts:
                job.parts[0] = _told(job.parts[0])
                analysis = _told(analysis)
            job.parts.append(analysis)

    def _merged(self, parts: Sequence[Analysis]) -> Analysis:
        if parts:
            return merge_analyses(parts)
        config = self.checkpoint.config
        return Analysis(
            triplets=(),
            by_order={order.name: () for order in self.engine.orders},
            hypotheses={},
            problems={order.name: () for order in self.engine.orders},
            transcript="" if config.model.transcript else None,
            relation_probabilities=dict.fromkeys(self.checkpoint.schema.relation_types, 0.0),
            warnings=(NO_SPEECH,),
        )

    def _events(
        self, sources: Iterable[Source], on_error: OnError | None, on_progress: OnProgress | None
    ) -> Iterator[Event]:
        return Listening(self._batching, self.vad, self._analyze).events(sources, on_error, on_progress)

    def _analyze(self, chunks: Sequence[tuple[Job, Chunk]]) -> list[Analysis]:
        use_one_thread_after_fork()
        with self._lock:
            return self._analyze_alone(chunks)

    def _analyze_alone(self, chunks: Sequence[tuple[Job, Chunk]]) -> list[Analysis]:
        prompts = None
        if self.relations_of is not None:
            prompts = [self.relations_of(job.opened.id) for job, _ in chunks]
        self._freed_memory.hears(sum(chunk.duration_s for _, chunk in chunks))
        sounds = [chunk.samples for _, chunk in chunks]
        start = perf_counter()
        heard = self._hearings.by_the_second(sounds)
        self.engine.timing.hearings_s += perf_counter() - start
        mels = [mel_of(samples, self.checkpoint) for samples in sounds]
        decoded = self.engine.decode(mels, prompts, heard, self._hearings.replays(sounds, mels))
        read: Sequence[tuple[Triplet, ...] | None] = [None] * len(decoded)
        if self._reader is not None:
            read = expected_beliefs(
                self._reader, [[(other.text, other.share) for other in one.transcripts] for one in decoded]
            )
        constrained = self.checkpoint.config.decode.constrained
        return [
            analyze(one, self._sequencer, self._rule, constrained, beliefs)
            for one, beliefs in zip(decoded, read, strict=True)
        ]


def without_threshold(rule: VoteRule) -> VoteRule:
    """The same vote, which keeps whatever was written: of confidence 0, or by one order alone."""
    return PaperVote(min_votes=1) if isinstance(rule, PaperVote) else replace(rule, threshold=0.0)


def _told(analysis: Analysis) -> Analysis:
    """Without what only matters while a chunk is weighed."""
    return replace(analysis, hypotheses={}, read=None, times=None, other_transcripts=())
