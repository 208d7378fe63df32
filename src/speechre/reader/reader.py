"""What a trained text model reads in a text: extractions like everyone else's, or a belief in every triplet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechre.errors import CheckpointError, SpeechreError, UsageError
from speechre.metrics import normalize_text
from speechre.model.bfloat16 import linears_in_bfloat16
from speechre.model.blank import blank_modules
from speechre.model.twin import twin_of
from speechre.reader.network import RangeMax, SpertNetwork
from speechre.reader.spans import Sentence, Span, WordTokenizer, iter_spans
from speechre.reader.text_encoder import BertConfig, TextEncoder, load_state
from speechre.reader.training import TextTraining, make_network
from speechre.schema import Schema
from speechre.types import Entity, Extraction, Triplet, Utterance

RELATION_THRESHOLD = 0.4
"""SpERT's on CoNLL04."""
_MIN_BELIEF = 0.02  # what is less likely is as good as unread

PairProbabilities = dict[tuple[Span, Span], list[float]]
"""Head and tail to a probability for each relation type."""
Kinds = dict[int, float]
"""Indices of entity types to probabilities."""
_Kind = TypeVar("_Kind", int, Kinds)


@dataclass(frozen=True)
class TextModel:
    """A network with all that it takes to use it. ``weights_sha256`` is empty while it was never saved."""

    name: str
    network: SpertNetwork
    tokenizer: WordTokenizer
    schema: Schema
    training: TextTraining
    weights_sha256: str = ""

    @property
    def model_id(self) -> str:
        """``name@hash``: which weights answered."""
        return f"{self.name}@{self.weights_sha256[:6]}" if self.weights_sha256 else self.name

    def in_bfloat16(self) -> TextModel:
        """The same, with a text encoder that multiplies in bfloat16; for inference on a CPU that does so fast."""
        network: SpertNetwork = twin_of(self.network)
        network.encoder = linears_in_bfloat16(network.encoder)
        return replace(self, network=network)

    def describe(self) -> dict[str, Any]:
        """What a config.json says of it; :func:`text_model_of` reads it."""
        return {
            "name": self.name,
            "encoder": self.network.encoder.config.to_dict(),
            "schema": self.schema.to_dict(),
            "training": self.training.to_dict(),
        }


def text_model_of(
    data: Mapping[str, Any], tokenizer_json: str, state: Mapping[str, Tensor], where: str, weights_sha256: str = ""
) -> TextModel:
    """The model that ``data`` describes with these weights, in evaluation mode.

    Raises :class:`CheckpointError`, naming ``where``, when the parts are incomplete or do not fit each other.
    """
    known = {field.name for field in fields(TextTraining)}
    try:
        schema = Schema.from_dict(data["schema"])
        training = TextTraining(**{key: value for key, value in data["training"].items() if key in known})
        with blank_modules():
            network = make_network(TextEncoder(BertConfig.from_dict(data["encoder"])), schema, training)
        name = str(data["name"])
    except (AttributeError, KeyError, TypeError, SpeechreError) as error:
        raise CheckpointError(f"{where}: not a complete config of a text model: {error}") from error
    load_state(network, state, where)
    sizes = network.encoder.config
    tokenizer = WordTokenizer(tokenizer_json, sizes.max_position_embeddings)
    if tokenizer.vocab_size > sizes.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} tokens, the encoder {sizes.vocab_size}"
        )
    return TextModel(name, network.eval(), tokenizer, schema, training, weights_sha256)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in one text: triplets, the surest first, and the highest probability of each relation type."""

    triplets: tuple[Triplet, ...]
    relation_probabilities: dict[str, float]
    warnings: tuple[str, ...] = ()


class TextReader:
    """Reads triplets in texts. Answers do not depend on the batch size or on the other texts."""

    def __init__(
        self,
        model: TextModel,
        *,
        threshold: float = RELATION_THRESHOLD,
        check_pairs: bool = True,
        batch_size: int = 8,
    ) -> None:
        """``threshold`` is the least probability of a relation that is told; ``check_pairs``: only pairs of entity
        types that the schema allows are told, as in the speech model's grammar.
        """
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold {threshold}; expected 0 to 1")
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; expected 1 or more")
        self.model = model
        self.threshold = threshold
        self.check_pairs = check_pairs
        self.batch_size = batch_size
        model.network.eval()

    def extract(self, utterances: Iterable[Utterance]) -> Iterator[Extraction]:
        """What each utterance's text says, in the same sequence; the text is the transcript."""
        batch: list[Utterance] = []
        for utterance in utterances:
            batch.append(utterance)
            if len(batch) == self.batch_size:
                yield from self._extract(batch)
                batch = []
        if batch:
            yield from self._extract(batch)

    def _extract(self, utterances: Sequence[Utterance]) -> Iterator[Extraction]:
        readings = self.read([utterance.text for utterance in utterances])
        for utterance, reading in zip(utterances, readings, strict=True):
            audio = utterance.audio
            yield Extraction(
                id=utterance.id,
                source="text" if audio is None else audio.path,
                duration_s=0.0 if audio is None or audio.duration_s is None else audio.duration_s,
                model=self.model.model_id,
                triplets=reading.triplets,
                transcript=utterance.text,
                relation_probabilities=reading.relation_probabilities,
                warnings=reading.warnings,
            )

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> list[Reading]:
        """One batch of texts, one :class:`Reading` each; an empty text holds nothing."""
        sentences = [self.model.tokenizer.sentence(text) for text in texts]
        filled = [sentence for sentence in sentences if sentence.chars]
        found = iter(self._find(filled, choose_entities) if filled else [])
        return [self._reading(sentence, *(next(found) if sentence.chars else ({}, {}))) for sentence in sentences]

    @torch.inference_mode()
    def beliefs(self, texts: Sequence[str | None]) -> list[tuple[Triplet, ...]]:
        """All triplets that each text may hold, the likeliest first, with the belief in each as its confidence.

        Belief is the probability that the head is an entity of its type, times that of the tail, times that of the
        relation between them. Spans compete by it, so they may overlap here, but head and tail do not.
        """
        sentences = [self.model.tokenizer.sentence(text or "") for text in texts]
        filled = [sentence for sentence in sentences if sentence.chars]
        found = iter(self._beliefs(filled) if filled else [])
        return [next(found) if sentence.chars else () for sentence in sentences]

    def _beliefs(self, sentences: Sequence[Sentence]) -> list[tuple[Triplet, ...]]:
        schema = self.model.schema
        read = []
        for sentence, (ours, pairs) in zip(sentences, self._find(sentences, _likely_kinds), strict=True):
            best: dict[tuple[str, str, str], Triplet] = {}
            for (head, tail), row in pairs.items():
                names = [normalize_text(sentence.text_of(span)) for span in (head, tail)]
                if names[0] == names[1]:  # nothing is related to itself
                    continue
                for relation, probability in zip(schema.relation_types, row, strict=True):
                    triplet = _believed(sentence, (head, ours[head]), relation, probability, (tail, ours[tail]), schema)
                    key = (names[0], relation, names[1])
                    if triplet and (key not in best or (triplet.confidence or 0) > (best[key].confidence or 0)):
                        best[key] = triplet
            read.append(tuple(sorted(best.values(), key=lambda triplet: -(triplet.confidence or 0.0))))
        return read

    def _find(
        self, sentences: Sequence[Sentence], choose: Callable[[Sequence[Span], Tensor], dict[Span, _Kind]]
    ) -> list[tuple[dict[Span, _Kind], PairProbabilities]]:
        """The spans of each sentence that ``choose`` takes for entities, what it says of them, and the probability of
        each relation type for every two that do not overlap.
        """
        network = self.model.network
        hidden_BTD = network.encode(sentences, self.model.tokenizer.pad_id)
        range_max = RangeMax(hidden_BTD)
        spans = [list(iter_spans(len(sentence.chars), network.max_span_words)) for sentence in sentences]
        logits = network.entity_logits(hidden_BTD, range_max, network.span_batch(sentences, spans))
        entities = [choose(*one) for one in zip(spans, _split(logits.softmax(1), spans), strict=True)]
        pairs = [[(h, t) for h, t in permutations(ours, 2) if h[1] <= t[0] or t[1] <= h[0]] for ours in entities]
        heads, tails = (network.span_batch(sentences, [[pair[i] for pair in ours] for ours in pairs]) for i in (0, 1))
        probabilities = _split(network.relation_logits(range_max, heads, tails).sigmoid(), pairs)
        return [
            (ours, dict(zip(theirs, rows.tolist(), strict=True)))
            for ours, theirs, rows in zip(entities, pairs, probabilities, strict=True)
        ]

    def _reading(self, sentence: Sentence, entities: dict[Span, int], pairs: PairProbabilities) -> Reading:
        """The triplets of one sentence."""
        schema = self.model.schema
        best: dict[Triplet, float] = {}
        highest = dict.fromkeys(schema.relation_types, 0.0)
        for (head_span, tail_span), probabilities in pairs.items():
            head, tail = (
                Entity(sentence.text_of(span), schema.entity_types[entities[span]], "", *_chars(sentence, span))
                for span in (head_span, tail_span)
            )
            if normalize_text(head.text) == normalize_text(tail.text):  # nothing is related to itself
                continue
            for relation, probability in zip(schema.relation_types, probabilities, strict=True):
                if self.check_pairs and not schema.allows(head.type, relation, tail.type):
                    continue
                highest[relation] = max(highest[relation], probability)
                triplet = Triplet(head, relation, tail, probability)
                if probability >= self.threshold and probability > best.get(triplet, -1.0):
                    best.pop(triplet, None)  # the surest place of a triplet that is said twice
                    best[triplet] = probability
        triplets = tuple(sorted(best, key=lambda triplet: -best[triplet]))
        cut = "the text is longer than the text encoder's positions; its end was not read"
        return Reading(triplets, highest, (cut,) if sentence.is_cut else ())


def choose_entities(spans: Sequence[Span], probabilities_NE: Tensor) -> dict[Span, int]:
    """The spans that are likelier some entity type than none, with the type's index; of two that overlap the surer one.

    ``probabilities_NE`` is (N, 1 + E), "none" first. The spans come back in the sequence of the text.
    """
    surest, kinds = probabilities_NE.max(dim=1)
    candidates = [
        (-probability, span, kind - 1)
        for span, probability, kind in zip(spans, surest.tolist(), kinds.tolist(), strict=True)
        if kind
    ]
    chosen: dict[Span, int] = {}
    for _, (start, end), kind in sorted(candidates):
        if all(end <= first or start >= last for first, last in chosen):
            chosen[(start, end)] = kind
    return dict(sorted(chosen.items()))


def _split(rows: Tensor, groups: Sequence[Sequence[object]]) -> list[Tensor]:
    """The rows of each group, which lie one behind the other."""
    return list(torch.split(rows, [len(group) for group in groups]))


def _chars(sentence: Sentence, span: Span) -> Span:
    return sentence.chars[span[0]][0], sentence.chars[span[1] - 1][1]


def _likely_kinds(spans: Sequence[Span], probabilities_NE: Tensor) -> dict[Span, Kinds]:
    """The spans that may be an entity, each with the types that it may be of."""
    kinds: dict[Span, Kinds] = {}
    rows, columns = (probabilities_NE[:, 1:] >= _MIN_BELIEF).nonzero(as_tuple=True)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        kinds.setdefault(spans[row], {})[column] = probabilities_NE[row, 1 + column].item()
    return kinds


def _believed(
    sentence: Sentence,
    head: tuple[Span, Kinds],
    relation: str,
    probability: float,
    tail: tuple[Span, Kinds],
    schema: Schema,
) -> Triplet | None:
    """The likeliest reading of one pair and relation in types that the schema allows; None below the least belief."""
    names = schema.entity_types
    allowed = [
        (probability * ours * theirs, names[h], names[t])
        for h, ours in head[1].items()
        for t, theirs in tail[1].items()
        if schema.allows(names[h], relation, names[t])
    ]
    belief, head_type, tail_type = max(allowed, default=(0.0, "", ""))
    if belief < _MIN_BELIEF:
        return None
    ends = [
        Entity(sentence.text_of(span), kind, "", *_chars(sentence, span))
        for span, kind in ((head[0], head_type), (tail[0], tail_type))
    ]
    return Triplet(ends[0], relation, ends[1], belief)
