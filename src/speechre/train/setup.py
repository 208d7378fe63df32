"""From a config to a running training: manifests, tokenizer, network, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from speechre.config import Config
from speechre.data.store import read_manifest
from speechre.errors import ConfigError, DataError, OnMessage, UsageError
from speechre.model.checkpoint import load_checkpoint
from speechre.model.device import choose_device
from speechre.model.network import SpeechReNetwork, random_whisper
from speechre.model.sequence import Sequencer
from speechre.model.untrained import untrained_network
from speechre.model.weights import WhisperWeights, load_whisper
from speechre.schema import Schema
from speechre.schemas import load_schema
from speechre.train.examples import Example, prepare_example
from speechre.train.loop import Evaluate, run_training
from speechre.train.low_rank import add_low_rank
from speechre.train.state import find_state
from speechre.train.teacher import Teacher
from speechre.types import Utterance

EvaluateFactory = Callable[[Sequence[Utterance], Sequencer, Config], Evaluate]
"""Makes the function that scores a network on these dev utterances during training."""


def load_backbone(source: str, seed: int) -> WhisperWeights:
    """The pretrained Whisper that a config names; ``random`` is a tiny untrained one with tiny.en's vocabulary, for
    tests.
    """
    if source != "random":
        return load_whisper(source)
    real = load_whisper("tiny.en")
    return random_whisper(real.tokenizer_json, real.config.vocab_size, seed)


def build_network(config: Config, schema: Schema) -> tuple[SpeechReNetwork, Sequencer]:
    """A network at its start, with the new tokens of ``schema``, and the sequencer that fits it."""
    if config.model.start_from:
        return _continue_from(config, schema)
    torch.manual_seed(config.train.seed)
    weights = load_backbone(config.model.backbone, config.train.seed)
    return untrained_network(weights, schema, config.model.prompt_style)


def build_teacher(config: Config, schema: Schema) -> Teacher | None:
    """The plain Whisper that teaches, where ``train.teacher_share`` asks for one."""
    if not config.train.teacher_share:
        return None
    weights = load_backbone(config.model.backbone, config.train.seed)
    return Teacher(*untrained_network(weights, schema, config.model.prompt_style))


def _continue_from(config: Config, schema: Schema) -> tuple[SpeechReNetwork, Sequencer]:
    """The network of an earlier run. Raises :class:`ConfigError` where that run read or wrote something else."""
    checkpoint = load_checkpoint(config.model.start_from)
    before, now = checkpoint.config.model, config.model
    for key, old, new in (
        ("model.backbone", before.backbone, now.backbone),
        ("data.schema", checkpoint.schema, schema),
        ("model.prompt_style", before.prompt_style, now.prompt_style),
        ("model.transcript", before.transcript, now.transcript),
    ):
        if old != new:
            raise ConfigError(
                f"model.start_from: {config.model.start_from} was trained with another {key} than this run's; "
                "make them equal, or start from the backbone"
            )
    sequencer = Sequencer(checkpoint.tokenizer, checkpoint.schema, now.prompt_style)
    return checkpoint.network, sequencer


def read_utterances(manifests: Sequence[str], what: str) -> list[Utterance]:
    """All utterances of some manifests. Raises :class:`ConfigError` if there are none, :class:`DataError` on a
    fault.
    """
    utterances = [utterance for path in manifests for utterance in read_manifest(path)]
    repeated = [one for one, count in Counter(utterance.id for utterance in utterances).items() if count > 1]
    if repeated:
        raise DataError(
            f'data.{what}: utterance "{repeated[0]}" stands in more than one manifest ({len(repeated)} such ids); '
            "ids name the random choices and the scores of an utterance, so make them differ"
        )
    if not utterances:
        found = f"{', '.join(manifests)} holds no utterance" if manifests else "no manifest is given"
        raise ConfigError(f"data.{what}: {found}; pass one with --data.{what} PATH")
    return utterances


def prepare_examples(
    utterances: Sequence[Utterance], sequencer: Sequencer, config: Config, report: OnMessage
) -> list[Example]:
    """Training examples; utterances over ``data.max_duration_s`` are left out and reported by name.

    Relations between types that the schema does not let relate are trained on and reported: where decoding is
    constrained, no model can write them.
    """
    examples: list[Example] = []
    for utterance in utterances:
        try:
            examples.append(prepare_example(utterance, sequencer, config))
        except DataError as error:
            report(f"left out: {error}")
    if not examples:
        raise DataError(f"none of the {len(utterances)} utterances can be trained on; see the messages above")
    allows = sequencer.schema.allows
    odd = [(e.id, t) for e in examples for t in e.triplets if not allows(t.head.type, t.relation, t.tail.type)]
    if odd:
        first_id, first = odd[0]
        report(
            f"{len(odd)} relations join types that the schema does not let relate; constrained decoding cannot write "
            f'them. The first: "{first.relation}" from {first.head.type} to {first.tail.type} in utterance "{first_id}"'
        )
    return examples


def freeze(network: SpeechReNetwork, sequencer: Sequencer, config: Config) -> None:
    """Keep what ``train.frozen_encoder_layers``, ``train.frozen_relation_blocks`` and ``train.frozen_words`` say as it
    is, and of the rest of Whisper what ``train.lora_rank`` does.

    Frozen encoder layers, and the convolutions before them, neither learn nor cost a backward pass; where all layers
    are kept, so is the encoder's last normalization.
    """
    num_layers, encoder = config.train.frozen_encoder_layers, network.whisper.encoder
    if num_layers:
        frozen = [encoder.conv1, encoder.conv2, encoder.embed_positions, *encoder.layers[:num_layers]]
        if num_layers >= len(encoder.layers):
            frozen.append(encoder.layer_norm)
        for module in frozen:
            module.requires_grad_(False)
    if config.train.lora_rank:
        add_low_rank(network, config.train.lora_rank, config.train.seed)
    if config.train.frozen_relation_blocks:
        network.relation_head.blocks.requires_grad_(False)
    if not config.train.head_learning_rate:  # its statistics stay too, and nothing is paid for its gradients
        network.relation_head.requires_grad_(False)
    if config.train.keeps_words and not config.train.head_learning_rate:  # the rate of the new tokens
        network.whisper.decoder.embed_tokens.requires_grad_(False)
    elif config.train.keeps_words:
        first_new = sequencer.tokenizer.whisper_vocab_size

        def keep_words(gradient_VD: Tensor) -> Tensor:
            gradient_VD = gradient_VD.clone()
            gradient_VD[:first_new] = 0.0
            return gradient_VD

        network.whisper.decoder.embed_tokens.weight.register_hook(keep_words)  # type: ignore[no-untyped-call]


def repeat_examples(examples: Sequence[Example], times: Mapping[str, int]) -> list[Example]:
    """As many copies of each example as ``times`` says for its id, augmented each in its own way."""
    return [replace(one, copy=copy) for one in examples for copy in range(times.get(one.id, 1))]


def start_training(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    evaluate_factory: EvaluateFactory | None = None,
    report: OnMessage = lambda line: None,
) -> Path:
    """Train as ``config`` says and return the final model's folder.

    Raises :class:`UsageError` when ``folder`` already holds a run and ``resume`` is off: nothing is overwritten.
    """
    if not resume and find_state(folder / "checkpoint") is not None:
        raise UsageError(f"{folder} already holds a run; continue it with --resume, or choose another --output")
    choose_device(config.train.device)  # before hours of audio are read
    schema = load_schema(config.data.schema)
    train = read_utterances(config.data.train, "train")
    dev = read_utterances(config.data.dev, "dev") if config.data.dev else []
    network, sequencer = build_network(config, schema)
    teacher = build_teacher(config, schema)
    evaluate = evaluate_factory(dev, sequencer, config) if evaluate_factory is not None and dev else None
    freeze(network, sequencer, config)
    examples = prepare_examples(train, sequencer, config, report)
    hours = sum(example.duration_s for example in examples) / 3600
    report(f"{len(examples)} utterances, {hours:.2f} h, {sum(len(e.triplets) for e in examples)} triplets")
    if config.data.repeats:
        pairs = zip(config.data.train, config.data.repeats, strict=True)
        times = {utterance.id: count for path, count in pairs for utterance in read_manifest(path)}
        examples = repeat_examples(examples, times)
    return run_training(
        config, network, sequencer, examples, folder, resume=resume, evaluate=evaluate, teacher=teacher, report=report
    )
