"""Which texts the text model learns from, and what a text allows to be found at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from speechre.data.plain_text import plain_utterance
from speechre.errors import DataError, UsageError
from speechre.metrics import normalize_text, statement_key
from speechre.reader.projection import project
from speechre.reader.spans import standing_texts
from speechre.types import Utterance

TextSource = Literal["gold", "transcript", "both"]
TEXT_SOURCES: tuple[TextSource, ...] = ("gold", "transcript", "both")


def training_texts(
    utterances: Sequence[Utterance], source: TextSource, transcripts: Mapping[str, str] | None = None
) -> list[Utterance]:
    """The annotated texts to learn from.

    ``gold``: the plain form of each sentence (:mod:`speechre.data.plain_text`), once however many voices read it.
    ``transcript``: what was heard of each recording, with the annotation projected onto it. ``both``: the gold text of
    all, then what was heard of those that have a transcript. Raises :class:`DataError` on an utterance without a
    transcript under ``transcript``, and under ``both`` when there is none at all.
    """
    if source not in TEXT_SOURCES:
        raise UsageError(f'unknown text source "{source}"; expected one of {", ".join(TEXT_SOURCES)}')
    plain = [plain_utterance(utterance) for utterance in utterances]
    texts: list[Utterance] = []
    if source in ("gold", "both"):
        unique: dict[object, Utterance] = {}
        for utterance in plain:
            unique.setdefault((utterance.text, utterance.entities, utterance.triplets), utterance)
        texts += unique.values()
    heard = transcripts or {}
    if source == "transcript":
        check_transcripts(utterances, heard)
    if source in ("transcript", "both"):
        known = [project(utterance, heard[utterance.id]) for utterance in plain if utterance.id in heard]
        if not known:
            check_transcripts(utterances, heard)
        texts += known
    return texts


def with_transcripts(utterances: Sequence[Utterance], transcripts: Mapping[str, str]) -> list[Utterance]:
    """The utterances with their transcripts as text and no annotation: what is read in evaluation.

    Raises :class:`DataError` on an utterance without a transcript.
    """
    heard = check_transcripts(utterances, transcripts)
    return [replace(u, text=heard[u.id], entities=(), relations=()) for u in utterances]


def check_transcripts(utterances: Sequence[Utterance], transcripts: Mapping[str, str]) -> Mapping[str, str]:
    """``transcripts`` as they are. Raises :class:`DataError` unless every utterance has one."""
    missing = [utterance.id for utterance in utterances if utterance.id not in transcripts]
    if missing:
        raise DataError(
            f'{len(missing)} of {len(utterances)} utterances have no transcript, the first is "{missing[0]}"; '
            'make them with "speechre extract --format jsonl"'
        )
    return transcripts


@dataclass(frozen=True, slots=True)
class Reach:
    """How much of the annotation stands in the texts word by word, under the scoring's normalization.

    A reader of spans finds no more: its recall of triplets is at most ``triplets``. Entities and triplets count once an
    utterance, entities by their text.
    """

    num_entities: int
    num_entities_standing: int
    num_triplets: int
    num_triplets_standing: int

    @property
    def entities(self) -> float:
        """The share of entities that stand in the texts; 0/0 is 0.0."""
        return self.num_entities_standing / self.num_entities if self.num_entities else 0.0

    @property
    def triplets(self) -> float:
        """The share of triplets of which both ends do; 0/0 is 0.0."""
        return self.num_triplets_standing / self.num_triplets if self.num_triplets else 0.0


def reach(gold: Sequence[Utterance], texts: Mapping[str, str], max_span_words: int) -> Reach:
    """What spans of up to ``max_span_words`` words of ``texts`` can hit of the annotation of ``gold``.

    Raises :class:`DataError` on an utterance without a text.
    """
    counts = [0, 0, 0, 0]
    check_transcripts(gold, texts)
    for utterance in gold:
        standing = standing_texts(texts[utterance.id], max_span_words)
        entities = {normalize_text(entity.text) for entity in utterance.entities}
        triplets = {statement_key(triplet) for triplet in utterance.triplets}
        counts[0] += len(entities)
        counts[1] += len(entities & standing)
        counts[2] += len(triplets)
        counts[3] += sum(head in standing and tail in standing for head, _, tail in triplets)
    return Reach(*counts)
