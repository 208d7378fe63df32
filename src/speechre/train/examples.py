"""From manifests to what a training step reads: augmented log-mels and the parts of the decoder sequence.

All randomness comes from (seed, epoch, utterance id), never from a global state: an epoch can be repeated, a run
resumed at any step, and no worker process can make every sample of a batch take the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechre.audio import read_audio_ref
from speechre.config import Config
from speechre.data.plain_text import plain_utterance
from speechre.errors import DataError, SchemaError
from speechre.linearize import canonical
from speechre.model.log_mel import log_mel
from speechre.model.sequence import Branch, Sequencer, Spellings
from speechre.model.weights import WhisperConfig
from speechre.orders import Order, select_orders
from speechre.samples import SAMPLE_RATE_HZ
from speechre.train.augment import augment, mask_mel
from speechre.types import Entity, Triplet, Utterance

MAX_TOKENS = WhisperConfig.max_target_positions
"""The decoder's positions, the same in every Whisper."""
PAUSE_S = (0.1, 0.8)
"""The shortest and the longest pause between joined utterances."""


@dataclass(frozen=True)
class Example:
    """One utterance, ready: sound as 16-bit integers (half the memory of floats) and the answers in token ids."""

    id: str
    samples: NDArray[np.int16]
    transcript_ids: tuple[int, ...]
    triplets: tuple[Triplet, ...]
    entities: tuple[Entity, ...]
    relations: frozenset[str]
    spellings: Spellings = field(default_factory=dict)
    copy: int = 0  # which of an utterance's repeats in an epoch
    num_tokens: int = 0  # of the decoder's positions, in the order that takes the most
    then: tuple[Example, ...] = ()  # heard behind it, after pauses, in the same sample

    @property
    def duration_s(self) -> float:
        """Of this utterance alone."""
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def whole_duration_s(self) -> float:
        """With all that is heard behind it and the longest pauses."""
        return self.duration_s + sum(PAUSE_S[1] + other.duration_s for other in self.then)


def prepare_example(utterance: Utterance, sequencer: Sequencer, config: Config) -> Example:
    """Read the sound and tokenize the text.

    Raises :class:`DataError` if there is no sound or sound or text are too long, :class:`SchemaError` on a type that
    the sequencer's schema lacks.
    """
    if utterance.audio is None:
        raise DataError(f'utterance "{utterance.id}" has no audio; training needs one for each utterance')
    samples = read_audio_ref(utterance.audio)
    duration_s = len(samples) / SAMPLE_RATE_HZ
    if duration_s > config.data.max_duration_s:
        raise DataError(
            f'utterance "{utterance.id}": {utterance.audio.path} lasts {duration_s:.1f} s, the limit is '
            f"{config.data.max_duration_s:g} s; leave it out or cut it"
        )
    _check_types(utterance, sequencer)
    if config.data.text_style == "plain":
        utterance = plain_utterance(utterance)
    spoken_first = sorted(utterance.entities, key=lambda e: e.start if e.start is not None else len(utterance.text))
    position = {entity.id: i for i, entity in enumerate(spoken_first)}
    links = sorted(utterance.relations, key=lambda r: (position[r.head_id], position[r.tail_id]))
    triplets = canonical(replace(utterance, relations=tuple(links)).triplets)
    transcript_ids = sequencer.text_ids(utterance.text) if utterance.text.strip() else []
    example = Example(
        id=utterance.id,
        samples=np.clip(np.round(samples * 32767.0), -32768, 32767).astype(np.int16),
        transcript_ids=tuple(transcript_ids),
        triplets=triplets,
        entities=tuple(spoken_first),
        relations=frozenset(t.relation for t in triplets),
        spellings=sequencer.spellings(transcript_ids, spoken_first) if config.model.transcript else {},
    )
    return replace(example, num_tokens=_checked_length(example, sequencer, config))


def _check_types(utterance: Utterance, sequencer: Sequencer) -> None:
    """Raises :class:`SchemaError` on a type that the model has no token for."""
    try:
        for entity in utterance.entities:
            sequencer.schema.check_entity(entity.type)
        for relation in utterance.relations:
            sequencer.schema.check_relation(relation.type)
    except SchemaError as error:
        raise SchemaError(f'utterance "{utterance.id}": {error}; choose the schema with data.schema') from error


def _checked_length(example: Example, sequencer: Sequencer, config: Config) -> int:
    """How many of the decoder's positions the longest order takes. Raises :class:`DataError` if it does not fit.

    Counted with every relation type in the prompt: which of them will stand there is not known yet.
    """
    model = config.model
    num_tokens = len(sequencer.start_ids())
    if model.relation_prompt:
        num_tokens += len(sequencer.relation_prompt_ids(sequencer.schema.relation_types))
    if model.transcript:
        num_tokens += len(example.transcript_ids) + (not model.relation_prompt)
    branches = _branches(example, select_orders(model.orders), sequencer, config)
    # The last token of an answer is not fed.
    num_tokens += max(len(branch.prompt_ids) + len(branch.answer_ids) - 1 for branch in branches)
    if num_tokens > MAX_TOKENS:
        raise DataError(
            f'utterance "{example.id}": its text and triplets take up to {num_tokens} tokens, the decoder knows '
            f"{MAX_TOKENS}; leave it out or cut it"
        )
    return num_tokens


def _branches(example: Example, orders: Sequence[Order], sequencer: Sequencer, config: Config) -> list[Branch]:
    """What is to be written behind the prompt: the triplets in each order, and the entities if they are a target."""
    branches = [sequencer.triplet_branch(example.triplets, order, example.spellings) for order in orders]
    if config.train.entity_target:
        branches.append(sequencer.entity_branch(example.entities, example.spellings))
    return branches


def sample_rng(seed: int, epoch: int, utterance_id: str, copy: int = 0) -> random.Random:
    """The source of all random choices for one sample in one epoch."""
    return random.Random(f"{seed}/{epoch}/{utterance_id}" + (f"/{copy}" if copy else ""))


def choose_orders(orders: Sequence[Order], count: int, rng: random.Random) -> list[Order]:
    """``count`` distinct orders in random sequence; all of them when ``count`` is their number."""
    return rng.sample(list(orders), count)


@dataclass(frozen=True)
class Sample:
    """An example as one training step sees it."""

    example: Example
    mel: Tensor
    branches: tuple[Branch, ...]
    rng: random.Random


def make_sample(example: Example, epoch: int, sequencer: Sequencer, config: Config, num_mel_bins: int) -> Sample:
    """Augment the sound and write the targets in this epoch's orders."""
    rng = sample_rng(config.train.seed, epoch, example.id, example.copy)
    example = joined(example, rng)
    orders = choose_orders(select_orders(config.model.orders), config.train.orders_per_utterance, rng)
    branches = _branches(example, orders, sequencer, config)
    samples = augment(example.samples.astype(np.float32) / 32767.0, config.augment, rng)
    mel = log_mel(torch.from_numpy(samples), num_mel_bins, config.model.exact_length, config.model.tail_s)
    return Sample(example, mask_mel(mel, config.augment, rng), tuple(branches), rng)


def joined(example: Example, rng: random.Random) -> Example:
    """The example and those that are heard behind it as one; pauses between them are silence of random lengths."""
    if not example.then:
        return example
    parts = (example, *example.then)
    sounds = [example.samples]
    for other in example.then:
        sounds += [np.zeros(int(rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ), np.int16), other.samples]
    spellings: dict[str, tuple[int, ...]] = {}
    for one in reversed(parts):  # a name is written as it was first said
        spellings |= one.spellings
    return replace(
        example,
        samples=np.concatenate(sounds),
        transcript_ids=tuple(token for one in parts for token in one.transcript_ids),
        triplets=canonical([triplet for one in parts for triplet in one.triplets]),
        entities=tuple(entity for one in parts for entity in one.entities),
        relations=frozenset().union(*(one.relations for one in parts)),
        spellings=spellings,
        num_tokens=sum(one.num_tokens for one in parts),
        then=(),
    )


def _in_a_row(shuffled: Sequence[Example], config: Config, rng: random.Random) -> list[Example]:
    """Each example once: alone, or behind others with which it fits into what is heard and written at once."""
    if not config.augment.join:
        return list(shuffled)
    rows: list[Example] = []
    for example in shuffled:
        if rows and rng.random() < config.augment.join:
            longer = replace(rows[-1], then=(*rows[-1].then, example))
            num_tokens = longer.num_tokens + sum(one.num_tokens for one in longer.then)
            if longer.whole_duration_s <= config.data.max_duration_s and num_tokens <= MAX_TOKENS:
                rows[-1] = longer
                continue
        rows.append(example)
    return rows


def epoch_batches(examples: Sequence[Example], epoch: int, config: Config) -> list[list[Example]]:
    """One epoch in batches of neighbours in length: little padding, still random. The last batch may be smaller.

    Shuffled, joined as ``augment.join`` says, cut into pools of 16 batches, sorted by length in each pool; then the
    batches are shuffled.
    """
    rng = random.Random(f"{config.train.seed}/{epoch}")
    shuffled = list(examples)
    rng.shuffle(shuffled)
    rows = _in_a_row(shuffled, config, rng)
    size = config.train.batch_size
    batches: list[list[Example]] = []
    for start in range(0, len(rows), size * 16):
        pool = sorted(rows[start : start + size * 16], key=lambda example: example.whole_duration_s)
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(batches)
    return batches


def batches_from(examples: Sequence[Example], step: int, config: Config) -> Iterator[tuple[int, list[Example]]]:
    """(epoch, batch) for every step from ``step`` on, without end: resuming starts where the run stopped. There is an
    example at least.
    """
    epoch, skip = 0, step
    while True:
        batches = epoch_batches(examples, epoch, config)
        for batch in batches[skip:]:
            yield epoch, batch
        assert batches, "no epoch has an end"
        epoch, skip = epoch + 1, max(0, skip - len(batches))
