"""A trained text model as a folder, and what it reads in a text: extractions like everyone else's.

The folder holds config.json (sizes, schema, how it was trained, the SHA-256 of the weights), model.safetensors and
tokenizer.json.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechre.errors import CheckpointError, SpeechreError, UsageError
from speechre.metrics import normalize_text
from speechre.model.checkpoint import file_sha256, replace_folder
from speechre.pipeline.network import RangeMax, SpertNetwork
from speechre.pipeline.spans import Sentence, Span, WordTokenizer, iter_spans
from speechre.pipeline.text_encoder import BertConfig, TextEncoder, load_state
from speechre.pipeline.training import TextTraining, make_network
from speechre.schema import Schema
from speechre.types import Entity, Extraction, Triplet, Utterance

MODEL_TYPE = "speechre-text"
FORMAT = 1
RELATION_THRESHOLD = 0.4
"""SpERT's on CoNLL04."""


PairProbabilities = dict[tuple[Span, Span], list[float]]
"""Head and tail to a probability for each relation type."""


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
        found = iter(self._find(filled) if filled else [])
        return [self._reading(sentence, *(next(found) if sentence.chars else ({}, {}))) for sentence in sentences]

    def _find(self, sentences: Sequence[Sentence]) -> list[tuple[dict[Span, int], PairProbabilities]]:
        """The entities of each sentence and a probability of each relation type for every two of them."""
        network = self.model.network
        hidden_BTD = network.encode(sentences, self.model.tokenizer.pad_id)
        range_max = RangeMax(hidden_BTD)
        spans = [list(iter_spans(len(sentence.chars), network.max_span_words)) for sentence in sentences]
        logits = network.entity_logits(hidden_BTD, range_max, network.span_batch(sentences, spans))
        entities = [choose_entities(*one) for one in zip(spans, _split(logits.softmax(1), spans), strict=True)]
        pairs = [list(permutations(ours, 2)) for ours in entities]
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


def save_text_model(folder: Path, model: TextModel) -> None:
    """Write the folder whole or not at all. Raises :class:`UsageError` when it cannot be written."""
    building = folder.with_name(folder.name + ".tmp")
    try:
        if building.exists():
            shutil.rmtree(building)
        building.mkdir(parents=True)
        weights = building / "model.safetensors"
        save_file({name: tensor.contiguous().cpu() for name, tensor in model.network.state_dict().items()}, weights)
        weights.chmod(0o644)
        (building / "tokenizer.json").write_text(model.tokenizer.json, encoding="utf-8")
        config = {
            "model_type": MODEL_TYPE,
            "format": FORMAT,
            "name": model.name,
            "encoder": model.network.encoder.config.to_dict(),
            "schema": model.schema.to_dict(),
            "training": model.training.to_dict(),
            "weights_sha256": file_sha256(weights),
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (building / "config.json").write_text(text, encoding="utf-8")
        replace_folder(building, folder)
    except OSError as error:
        raise UsageError(f"{folder}: the model cannot be written: {error}") from error


def load_text_model(folder: Path) -> TextModel:
    """The inverse of :func:`save_text_model`, in evaluation mode.

    Raises :class:`CheckpointError` when a file is missing, unreadable, of another format or does not fit the others.
    """
    try:
        data: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        sha256 = file_sha256(folder / "model.safetensors")
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be read as a text model: {error}") from error
    kind = data.get("model_type") if isinstance(data, dict) else type(data).__name__
    if kind != MODEL_TYPE or data.get("format") != FORMAT:
        raise CheckpointError(
            f'{folder / "config.json"}: model_type is {kind!r}, expected "{MODEL_TYPE}" of format {FORMAT}; '
            "train one with benchmarks/pipeline.py train"
        )
    if data.get("weights_sha256") != sha256:
        raise CheckpointError(f"{folder}: model.safetensors is not the file that config.json was written for")
    known = {field.name for field in fields(TextTraining)}
    try:
        schema = Schema.from_dict(data["schema"])
        training = TextTraining(**{key: value for key, value in data["training"].items() if key in known})
        with torch.device("meta"):
            network = make_network(TextEncoder(BertConfig.from_dict(data["encoder"])), schema, training)
        name = str(data["name"])
    except (AttributeError, KeyError, TypeError, SpeechreError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: not a complete config of a text model: {error}") from error
    load_state(network, state, str(folder / "model.safetensors"))
    sizes = network.encoder.config
    tokenizer = WordTokenizer(tokenizer_json, sizes.max_position_embeddings)
    if tokenizer.vocab_size > sizes.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the encoder {sizes.vocab_size}"
        )
    return TextModel(name, network.eval(), tokenizer, schema, training, sha256)
