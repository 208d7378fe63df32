"""Fine-tuning of the text model: one loop over sentences, spans that are no entity drawn anew in each epoch.

Losses as in SpERT: cross-entropy over the entities and the sampled other spans, binary cross-entropy over the pairs of
annotated entities. It is summed over the relation types, where SpERT's own code takes their mean: relations weigh as
many times more as there are types.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.errors import ConfigError, DataError, OnMessage, TrainingError
from speechre.model.device import choose_precision
from speechre.model.schedule import rate_factor
from speechre.reader.network import RangeMax, SpertNetwork
from speechre.reader.spans import Example, Span, WordTokenizer, make_example, sample_pairs, sample_spans
from speechre.reader.text_encoder import TextEncoder, load_text_encoder
from speechre.schema import Schema
from speechre.types import Utterance


@dataclass(frozen=True)
class TextTraining:
    """How the text model is made and trained; stored with it. The defaults are SpERT's, but for the learning rates and
    the batch size, which fit a smaller encoder.
    """

    encoder: str = "minilm"  # or a folder with a BERT
    epochs: int = 20
    batch_size: int = 8
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3  # the two classifiers start at random
    warmup: float = 0.1  # share of the steps in which the rates rise from zero
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    negative_spans: int = 100  # a sentence and epoch
    negative_pairs: int = 100
    max_span_words: int = 10
    width_embedding: int = 25
    dropout: float = 0.1
    precision: Literal["auto", "no", "bf16"] = (
        "no"  # no: float32; bf16: bfloat16 where the operation allows it; auto: what is faster here
    )
    seed: int = 1

    def __post_init__(self) -> None:
        limits = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": 0 < self.learning_rate < 1,
            "head_learning_rate": 0 < self.head_learning_rate < 1,
            "warmup": 0 <= self.warmup < 1,
            "weight_decay": 0 <= self.weight_decay < 1,
            "max_grad_norm": self.max_grad_norm > 0,
            "negative_spans": self.negative_spans >= 0,
            "negative_pairs": self.negative_pairs >= 0,
            "max_span_words": self.max_span_words >= 1,
            "width_embedding": self.width_embedding >= 1,
            "dropout": 0 <= self.dropout < 1,
            "precision": self.precision in ("auto", "no", "bf16"),
        }
        for name, fits in limits.items():
            if not fits:
                raise ConfigError(f"text training: {name} is {getattr(self, name)!r}, which is out of range")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def build_network(settings: TextTraining, schema: Schema) -> tuple[SpertNetwork, WordTokenizer]:
    """The network at its start: the pretrained encoder under classifiers that the seed makes."""
    encoder, tokenizer_json = load_text_encoder(settings.encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = make_network(encoder, schema, settings)
    return network, WordTokenizer(tokenizer_json, encoder.config.max_position_embeddings)


def make_network(encoder: TextEncoder, schema: Schema, settings: TextTraining) -> SpertNetwork:
    """``encoder`` under new classifiers of the right sizes."""
    return SpertNetwork(
        encoder,
        len(schema.entity_types),
        len(schema.relation_types),
        settings.max_span_words,
        settings.width_embedding,
        settings.dropout,
    )


def make_examples(
    utterances: Sequence[Utterance], tokenizer: WordTokenizer, schema: Schema, report: OnMessage
) -> list[Example]:
    """The utterances' targets; one that cannot be trained on is left out and reported by name."""
    examples = []
    for utterance in utterances:
        try:
            example = make_example(utterance, tokenizer, schema)
        except DataError as error:
            report(f"left out: {error}")
            continue
        if example.sentence.chars:
            examples.append(example)
        else:
            report(f'left out: utterance "{utterance.id}": its text holds no word')
    if not examples:
        raise DataError(f"none of the {len(utterances)} utterances can be trained on; see the messages above")
    return examples


def train(
    network: SpertNetwork,
    examples: Sequence[Example],
    settings: TextTraining,
    pad_id: int,
    report: OnMessage = lambda line: None,
) -> None:
    """Train ``network`` in place; it ends in evaluation mode. The same seed and machine give the same weights.

    Raises :class:`TrainingError` when the loss or its gradient is no longer a number.
    """
    optimizer = _make_optimizer(network, settings)
    in_bfloat16 = choose_precision(settings.precision, network.device.type) == "bf16"
    num_steps = settings.epochs * math.ceil(len(examples) / settings.batch_size)
    num_warmup = round(settings.warmup * num_steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, num_steps, num_warmup))
    network.train()
    with torch.random.fork_rng(devices=[]):  # dropout's choices
        torch.manual_seed(settings.seed)
        for epoch in range(settings.epochs):
            shuffled = random.Random(f"{settings.seed}:{epoch}").sample(list(examples), len(examples))
            losses = []
            for start in range(0, len(shuffled), settings.batch_size):
                batch = shuffled[start : start + settings.batch_size]
                with torch.autocast(network.device.type, torch.bfloat16, enabled=in_bfloat16):
                    entity_loss, relation_loss = batch_losses(network, batch, epoch, settings, pad_id)
                    loss = entity_loss + relation_loss
                if not torch.isfinite(loss):
                    raise TrainingError(f"the loss is {loss.item()}{_advice(batch)}")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                norm = float(nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm))
                if not math.isfinite(norm):  # one such step and all weights are lost
                    raise TrainingError(f"the gradient is {norm}{_advice(batch)}")
                optimizer.step()
                schedule.step()
                losses.append((entity_loss.item(), relation_loss.item()))
            entity_mean, relation_mean = (sum(column) / len(column) for column in zip(*losses, strict=True))
            report(f"epoch {epoch + 1}/{settings.epochs}  entities {entity_mean:.4f}  relations {relation_mean:.4f}")
    network.eval()


def _advice(batch: Sequence[Example]) -> str:
    return f" (utterances {', '.join(example.id for example in batch)}); lower the learning rates"


def batch_losses(
    network: SpertNetwork, batch: Sequence[Example], epoch: int, settings: TextTraining, pad_id: int
) -> tuple[Tensor, Tensor]:
    """The entity loss and the relation loss, two scalars; negatives depend on (seed, epoch, utterance id) only."""
    spans: list[list[Span]] = []
    types: list[int] = []
    pairs: list[list[tuple[Span, Span]]] = []
    relations: list[frozenset[int]] = []
    for example in batch:
        draw = random.Random(f"{settings.seed}:{epoch}:{example.id}")
        others = sample_spans(example, settings.negative_spans, settings.max_span_words, draw)
        spans.append([*example.entities, *others])
        types += [*(1 + kind for kind in example.entities.values()), *(0 for _ in others)]
        other_pairs = sample_pairs(example, settings.negative_pairs, draw)
        pairs.append([*example.relations, *other_pairs])
        relations += [*example.relations.values(), *(frozenset() for _ in other_pairs)]
    sentences = [example.sentence for example in batch]
    hidden_BTD = network.encode(sentences, pad_id)
    range_max = RangeMax(hidden_BTD)
    entity_logits = network.entity_logits(hidden_BTD, range_max, network.span_batch(sentences, spans))
    entity_loss = F.cross_entropy(entity_logits.float(), torch.tensor(types, device=network.device))
    if not relations:
        return entity_loss, entity_loss.new_zeros(())
    heads, tails = (network.span_batch(sentences, [[pair[side] for pair in ours] for ours in pairs]) for side in (0, 1))
    relation_logits = network.relation_logits(range_max, heads, tails).float()
    targets = torch.zeros_like(relation_logits)
    for row, kinds in enumerate(relations):
        targets[row, list(kinds)] = 1.0
    relation_loss = F.binary_cross_entropy_with_logits(relation_logits, targets, reduction="sum") / len(relations)
    return entity_loss, relation_loss


def _make_optimizer(network: SpertNetwork, settings: TextTraining) -> torch.optim.AdamW:
    """AdamW; no decay on vectors (biases, normalization); the classifiers have a rate of their own."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = settings.learning_rate if name.startswith("encoder.") else settings.head_learning_rate
        decay = settings.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": ours, "lr": rate, "weight_decay": decay} for (rate, decay), ours in groups.items()], fused=True
    )
