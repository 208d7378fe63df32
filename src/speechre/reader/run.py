"""One training of a text reader from annotated texts to a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechre.errors import ConfigError, OnMessage, UsageError
from speechre.model.folders import prepare_place
from speechre.reader.folder import load_text_model, save_text_model
from speechre.reader.reader import TextModel
from speechre.reader.spans import Example
from speechre.reader.texts import TextSource, training_texts
from speechre.reader.training import TextTraining, build_network, make_examples, train
from speechre.schema import Schema
from speechre.types import Utterance


def train_reader(
    settings: TextTraining,
    schema: Schema,
    corpora: Sequence[tuple[Sequence[Utterance], int]],
    source: TextSource,
    transcripts: Mapping[str, str] | None,
    output: Path,
    name: str,
    report: OnMessage,
    start: TextModel | None = None,
) -> TextModel:
    """Train on one kind of text (see :func:`training_texts`), save, and return the model as it was saved.

    ``corpora`` are utterances and how often an epoch has them; ``start`` is a reader to go on from (its sizes and
    tokenizer in place of those of ``settings.encoder``).

    Raises :class:`UsageError` when ``output`` is there already or cannot be written, :class:`DataError` when nothing
    can be trained on, :class:`ConfigError` when ``start`` reads another schema.
    """
    if output.exists():
        raise UsageError(f"{output} is there already; choose another folder")
    prepare_place(output)
    if start is None:
        network, tokenizer = build_network(settings, schema)
    else:
        settings = _sizes_of(start, settings, schema)
        network, tokenizer = start.network, start.tokenizer
    examples: list[Example] = []
    for utterances, repeats in corpora:
        own = make_examples(training_texts(utterances, source, transcripts), tokenizer, schema, report)
        # Negatives are drawn by id, so each repetition has a name of its own.
        examples += [replace(example, id=f"{example.id}#{k}") for k in range(repeats) for example in own]
    num_entities = sum(len(example.entities) for example in examples)
    num_relations = sum(len(kinds) for example in examples for kinds in example.relations.values())
    report(f"{name}: {len(examples)} texts, {num_entities} entities, {num_relations} relations")
    started = time.monotonic()
    train(network, examples, settings, tokenizer.pad_id, report)
    report(f"{name}: trained in {time.monotonic() - started:.0f} s")
    save_text_model(output, TextModel(name, network, tokenizer, schema, settings))
    return load_text_model(output)


def _sizes_of(start: TextModel, settings: TextTraining, schema: Schema) -> TextTraining:
    """``settings`` with what the trained network ``start`` fixes."""
    if start.schema != schema:
        raise ConfigError(f"{start.model_id} reads relations of another schema; start from a reader of the same one")
    fixed = start.training
    return replace(
        settings, encoder=fixed.encoder, max_span_words=fixed.max_span_words, width_embedding=fixed.width_embedding
    )
