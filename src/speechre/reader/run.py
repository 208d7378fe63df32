"""One training of a text reader from annotated texts to a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechre.errors import UsageError
from speechre.reader.folder import load_text_model, save_text_model
from speechre.reader.reader import TextModel
from speechre.reader.texts import TextSource, training_texts
from speechre.reader.training import Report, TextTraining, build_network, make_examples, train
from speechre.schema import Schema
from speechre.types import Utterance


def train_reader(
    settings: TextTraining,
    schema: Schema,
    utterances: Sequence[Utterance],
    source: TextSource,
    transcripts: Mapping[str, str] | None,
    output: Path,
    name: str,
    report: Report,
) -> TextModel:
    """Train on one kind of text (see :func:`training_texts`), save, and return the model as it was saved.

    Raises :class:`UsageError` when ``output`` is there already, :class:`DataError` when nothing can be trained on.
    """
    if output.exists():
        raise UsageError(f"{output} is there already; choose another folder")
    texts = training_texts(utterances, source, transcripts)
    network, tokenizer = build_network(settings, schema)
    examples = make_examples(texts, tokenizer, schema, report)
    num_entities = sum(len(example.entities) for example in examples)
    num_relations = sum(len(kinds) for example in examples for kinds in example.relations.values())
    report(f"{name}: {len(examples)} texts, {num_entities} entities, {num_relations} relations")
    started = time.monotonic()
    train(network, examples, settings, tokenizer.pad_id, report)
    report(f"{name}: trained in {time.monotonic() - started:.0f} s")
    save_text_model(output, TextModel(name, network, tokenizer, schema, settings))
    return load_text_model(output)
