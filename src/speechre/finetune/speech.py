"""The speech half: a vocabulary and a relation head of the new schema, then a few steps of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from speechre.config import Config, DataConfig, DecodeConfig, TrainConfig
from speechre.errors import OnMessage, UsageError
from speechre.finetune.plan import Plan, speech_steps
from speechre.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from speechre.model.grow import with_schema
from speechre.train.setup import start_training
from speechre.train.state import find_state

_BATCH_SIZE = 8
_ALL_LAYERS = 1000  # more than any Whisper has
_ORDERS_PER_UTTERANCE = 2


def load_start(name_or_path: str) -> Checkpoint:
    """The model to start from. Raises :class:`CheckpointError`, and :class:`UsageError` for one of another method."""
    checkpoint = load_checkpoint(name_or_path)
    if not checkpoint.config.model.transcript or checkpoint.config.decode.vote != "weighted":
        raise UsageError(
            f"--from {name_or_path}: {checkpoint.model_id} writes no transcript that a text reader could read, or "
            "votes as the paper does; start from a model of our own method, such as the shipped one"
        )
    return checkpoint


def grow(start: Checkpoint, plan: Plan, config: Config, folder: Path) -> None:
    """Write ``start`` with the new schema's types, and with the config of the training to come, as a model folder."""
    network, tokenizer = with_schema(start.network, start.tokenizer, start.schema, plan.schema)
    save_checkpoint(folder, network, tokenizer, plan.schema, config)


def speech_config(start: Config, plan: Plan, num_utterances: int, manifests: Sequence[Path], schema: Path) -> Config:
    """The training of the speech half on ``manifests``.

    What a few steps must not spoil stays as it is: the encoder, the embeddings of all words, the convolutions of the
    relation head. Transcripts count as much as triplets: names that are spelled right are what the reader needs.
    """
    # Fitted for other types; here it is all fitted anew. The relation head's threshold is where its fit starts.
    fresh = DecodeConfig()
    decode = replace(
        start.decode,
        beams=1,
        threshold=fresh.threshold,
        calibration=fresh.calibration,
        reader_calibration=fresh.reader_calibration,
        reader=True,
    )
    steps = plan.steps or speech_steps(num_utterances)
    train = TrainConfig(
        steps=steps,
        batch_size=_BATCH_SIZE,
        learning_rate=1e-4,
        encoder_learning_rate=0.0,
        head_learning_rate=1e-3,
        warmup_steps=max(1, steps // 10),
        orders_per_utterance=min(_ORDERS_PER_UTTERANCE, len(start.model.orders)),
        transcript_weight=1.0,
        answer_vocabulary="batch",
        frozen_words=True,
        frozen_encoder_layers=_ALL_LAYERS,
        frozen_relation_blocks=True,
        precision=plan.precision,
        seed=plan.seed,
        device=plan.device,
    )
    # Resolved: a run that was stopped goes on from any folder, and however the output is spelled.
    paths = tuple(str(path.resolve()) for path in manifests)
    data = DataConfig(paths, schema=str(schema.resolve()), text_style=start.data.text_style)
    return replace(start, name=plan.model_name, data=data, train=train, decode=decode)


def train_speech(config: Config, grown: Path, folder: Path, report: OnMessage) -> Path:
    """Train the ``grown`` model as ``config`` says and return the model's folder; a run that was stopped goes on."""
    config = replace(config, model=replace(config.model, start_from=str(grown.resolve())))
    is_begun = find_state(folder / "checkpoint") is not None
    return start_training(config, folder, resume=is_begun, report=report)


def with_provenance(config: Config, plan: Plan) -> Config:
    """The config that a model keeps: with the manifests as they were given, not with their copies at work."""
    dev = () if plan.dev is None else (str(plan.dev),)
    data = replace(config.data, train=(str(plan.manifest),), dev=dev, schema=plan.schema_source or plan.schema.name)
    return replace(config, data=data, model=replace(config.model, start_from=plan.start))


def stored_dtype(weights: str) -> torch.dtype:
    """``int8`` or ``float16`` as torch has it."""
    dtype = getattr(torch, weights)
    assert isinstance(dtype, torch.dtype)
    return dtype
