"""``Extractor``: the front door for programs. ::

from speechre import Extractor

extractor = Extractor.from_pretrained("speechre-tiny-conll04")
extraction = extractor("talk.wav")
for triplet in extraction.triplets:
    print(triplet.head.text, triplet.relation, triplet.tail.text, triplet.confidence)
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from speechre.audio import SAMPLE_RATE_HZ, from_array, read_audio, read_audio_ref
from speechre.decode.engine import DecodingEngine
from speechre.decode.ensemble import Analysis, analyze, merge_analyses
from speechre.errors import AudioError, SpeechreError, UsageError
from speechre.extract.batching import Batching, BatchSize
from speechre.extract.chunks import split_at_pauses
from speechre.model.checkpoint import DEFAULT_MODEL, Checkpoint, load_checkpoint
from speechre.model.log_mel import log_mel
from speechre.reader.reader import TextReader
from speechre.types import Extraction, Triplet, Utterance
from speechre.vote import PaperVote, VoteRule, vote, vote_rule

Samples = NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | tuple[Any, int] | Utterance
"""One recording: a path, the bytes of a file, (array, rate in Hz), or an utterance with audio."""

OnError = Callable[[str, SpeechreError], None]
"""Told the name of a recording that failed and why."""


@dataclass(frozen=True)
class Recording:
    """One recording, read: mono float32 samples at 16 kHz."""

    id: str
    source: str
    samples: Samples

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


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
    ) -> None:
        """``batch_size`` "auto" sorts recordings by length and makes batches as large as ``memory_mib`` MiB for the
        whole process allow (default 2,048), see :class:`speechre.extract.batching.Batching`.

        ``relations_of`` gives the types of the relation prompt for a recording's id in place of the relation head:
        the annotated ones, none or all, to see what a prompt is worth.
        """
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.memory_mib = memory_mib
        self.relations_of = relations_of
        self._sequencer = checkpoint.sequencer()
        config = checkpoint.config
        self._rule = vote_rule(config.decode)
        self._reader: TextReader | None = None
        if checkpoint.reader is not None and config.decode.reader and config.model.transcript:
            self._reader = TextReader(checkpoint.reader)
        self.engine = DecodingEngine(checkpoint.network, self._sequencer, config.model, config.decode)
        sizes = checkpoint.network.config
        self._batching = Batching.of(batch_size, memory_mib, sizes, config.model, config.decode)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str = "cpu",
        batch_size: BatchSize = 8,
        memory_mib: int | None = None,
        **decode: Any,
    ) -> Extractor:
        """A shipped model by name, or a model folder.

        ``decode`` overrides fields of :class:`speechre.config.DecodeConfig` for this extractor: ``orders``, ``beams``,
        ``threshold``, ``vote``, ... Raises :class:`CheckpointError` and :class:`UsageError`.
        """
        checkpoint = load_checkpoint(os.fspath(name_or_path), device)
        data = checkpoint.config.to_dict()
        data["decode"] |= decode
        config = type(checkpoint.config).from_dict(data, "options")
        return cls(replace(checkpoint, config=config), batch_size, memory_mib=memory_mib)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # bytes and open files iterate too, and are recordings here
        self, source: str | os.PathLike[str] | bytes | io.IOBase | tuple[Any, int] | Utterance
    ) -> Extraction: ...
    @overload
    def __call__(self, source: NDArray[Any], rate_hz: int) -> Extraction: ...
    @overload
    def __call__(self, source: list[Source]) -> list[Extraction]: ...
    @overload
    def __call__(self, source: Iterator[Source]) -> Iterator[Extraction]: ...
    def __call__(self, source: Any, rate_hz: int | None = None) -> Extraction | list[Extraction] | Iterator[Extraction]:
        """One recording gives one Extraction, a list gives a list, an iterator (a generator) gives an iterator.

        A recording is a path, the bytes of a file, an open file, an array with ``rate_hz`` (or as a pair), or an
        :class:`Utterance`. An array is (samples,) or (samples, channels). Raises :class:`AudioError` on one that cannot
        be heard.
        """
        if isinstance(source, np.ndarray | torch.Tensor):
            if rate_hz is None:
                raise UsageError("an array has no sampling rate of its own; pass it: extractor(array, 16000)")
            return next(self.extract_many([(source, rate_hz)]))
        if isinstance(source, io.IOBase):  # an open file would else pass for an iterator over its lines
            source = source.read()
        if isinstance(source, str | os.PathLike | bytes | tuple | Utterance):
            return next(self.extract_many([source]))
        if isinstance(source, list):
            return list(self.extract_many(source))
        if isinstance(source, Iterator):
            return self.extract_many(source)
        raise UsageError(
            f"got {type(source).__name__}; expected a path, bytes, an open file, (array, rate), an Utterance, "
            "or a list or an iterator of these"
        )

    def extract_many(self, sources: Iterable[Source], on_error: OnError | None = None) -> Iterator[Extraction]:
        """An Extraction for each recording, in the same sequence, read and decoded ``batch_size`` at a time.

        With ``on_error``, a recording that cannot be read is reported there and left out; without, it raises.
        """
        for recording, analysis in self.analyze_many(sources, on_error):
            yield self.extraction(recording, analysis)

    def extraction(self, recording: Recording, analysis: Analysis) -> Extraction:
        """The public form of an analysis."""
        return Extraction(
            id=recording.id,
            source=recording.source,
            duration_s=recording.duration_s,
            model=self.checkpoint.model_id,
            triplets=analysis.triplets,
            transcript=analysis.transcript,
            relation_probabilities=analysis.relation_probabilities,
            warnings=analysis.warnings,
        )

    def analyze_many(
        self, sources: Iterable[Source], on_error: OnError | None = None
    ) -> Iterator[tuple[Recording, Analysis]]:
        """As :meth:`extract_many`, with what each order said, all beams and all parse problems."""
        for recording, chunks in self._analyze_chunks(sources, on_error):
            yield recording, merge_analyses(chunks)

    def analyze_with_candidates(
        self, sources: Iterable[Source], on_error: OnError | None = None
    ) -> Iterator[tuple[Recording, Analysis, tuple[Triplet, ...]]]:
        """As :meth:`analyze_many`, and every triplet that the vote weighed, whatever came of it.

        The candidates carry confidence and votes as answers do; answers are those that pass the model's threshold (or,
        under the paper's vote, have enough votes). For curves over thresholds and for calibration.
        """
        rule = without_threshold(self._rule)
        for recording, chunks in self._analyze_chunks(sources, on_error):
            weighed = [replace(chunk, triplets=vote(chunk.hypotheses, rule, chunk.read)) for chunk in chunks]
            yield recording, merge_analyses(chunks), merge_analyses(weighed).triplets

    def _analyze_chunks(
        self, sources: Iterable[Source], on_error: OnError | None
    ) -> Iterator[tuple[Recording, list[Analysis]]]:
        """Each recording with the analyses of its chunks."""
        readable = ((recording, recording.duration_s) for recording in self._read(sources, on_error))
        for window in self._batching.windows(readable):
            yield from self._analyze(window)

    def _read(self, sources: Iterable[Source], on_error: OnError | None) -> Iterator[Recording]:
        for number, source in enumerate(sources):
            try:
                yield read_recording(source, number)
            except AudioError as error:
                if on_error is None:
                    raise
                on_error(_name(source, number), error)

    def _analyze(self, recordings: Sequence[Recording]) -> Iterator[tuple[Recording, list[Analysis]]]:
        chunks = [split_at_pauses(recording.samples) for recording in recordings]
        owned = [(one.id, chunk) for one, ours in zip(recordings, chunks, strict=True) for chunk in ours]
        analyses: dict[int, Analysis] = {}
        for batch in self._batching.batches([len(chunk) / SAMPLE_RATE_HZ for _, chunk in owned]):
            found = self._analyze_batch([owned[i] for i in batch])
            analyses |= zip(batch, found, strict=True)
        in_sequence = iter([analyses[i] for i in range(len(owned))])
        for recording, ours in zip(recordings, chunks, strict=True):
            yield recording, list(islice(in_sequence, len(ours)))

    def _analyze_batch(self, owned: Sequence[tuple[str, Samples]]) -> list[Analysis]:
        """Chunks with the ids of their recordings."""
        prompts = None if self.relations_of is None else [self.relations_of(name) for name, _ in owned]
        decoded = self.engine.decode([self._mel(chunk) for _, chunk in owned], prompts)
        constrained = self.checkpoint.config.decode.constrained
        read: Sequence[tuple[Triplet, ...] | None] = [None] * len(decoded)
        if self._reader is not None:
            read = self._reader.beliefs([one.transcript for one in decoded])
        return [
            analyze(one, self._sequencer, self._rule, constrained, beliefs)
            for one, beliefs in zip(decoded, read, strict=True)
        ]

    def _mel(self, samples: Samples) -> torch.Tensor:
        checkpoint = self.checkpoint
        model, num_mel_bins = checkpoint.config.model, checkpoint.network.config.num_mel_bins
        return log_mel(torch.from_numpy(samples), num_mel_bins, model.exact_length, model.tail_s)


def without_threshold(rule: VoteRule) -> VoteRule:
    """The same vote, which keeps whatever was written: of confidence 0, or by one order alone."""
    return PaperVote(min_votes=1) if isinstance(rule, PaperVote) else replace(rule, threshold=0.0)


def _name(source: Source, number: int) -> str:
    if isinstance(source, Utterance):
        return source.id
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"recording-{number}"


def read_recording(source: Source, number: int = 0) -> Recording:
    """Read one recording. ``number`` names those without a name of their own. Raises :class:`AudioError`."""
    name = _name(source, number)
    if isinstance(source, Utterance):
        if source.audio is None:
            raise AudioError(f'utterance "{source.id}" has no audio')
        return Recording(source.id, source.audio.path, read_audio_ref(source.audio))
    if isinstance(source, tuple):
        return Recording(name, "array", from_array(*source))
    if isinstance(source, bytes):
        return Recording(name, "bytes", read_audio(source))
    return Recording(Path(source).stem, name, read_audio(source))
