"""Fine-tuning: it learns, it is repeatable, and it says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre.errors import ConfigError, DataError, TrainingError
from speechre.reader.network import SpertNetwork
from speechre.reader.reader import TextModel, TextReader
from speechre.reader.training import TextTraining, build_network, make_examples, train
from speechre.schemas import CONLL04
from speechre.types import Utterance


@pytest.fixture
def settings(bert_dir: Path) -> TextTraining:
    return TextTraining(
        encoder=str(bert_dir),
        epochs=40,
        batch_size=2,
        learning_rate=5e-3,
        head_learning_rate=1e-2,
        negative_spans=20,
        max_span_words=3,
        width_embedding=4,
        dropout=0.0,
    )


def trained(settings: TextTraining, sentences: list[Utterance], lines: list[str] | None = None) -> TextModel:
    network, tokenizer = build_network(settings, CONLL04)
    examples = make_examples(sentences, tokenizer, CONLL04, print)
    train(network, examples, settings, tokenizer.pad_id, (lines if lines is not None else []).append)
    return TextModel("text", network, tokenizer, CONLL04, settings)


def same(first: SpertNetwork, second: SpertNetwork) -> bool:
    return all(torch.equal(ours, second.state_dict()[name]) for name, ours in first.state_dict().items())


def test_it_learns_a_few_sentences_by_heart(settings: TextTraining, sentences: list[Utterance]) -> None:
    lines: list[str] = []
    model = trained(settings, sentences, lines)
    assert len(lines) == 40
    assert lines[0].startswith("epoch 1/40  entities ")
    assert not model.network.training
    for utterance, extraction in zip(sentences, TextReader(model).extract(sentences), strict=True):
        assert set(extraction.triplets) == set(utterance.triplets)


def test_the_same_seed_gives_the_same_model(settings: TextTraining, sentences: list[Utterance]) -> None:
    settings = replace(settings, epochs=2, dropout=0.1)
    state = torch.random.get_rng_state()
    first, second = (trained(settings, sentences).network for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(first, second)
    assert not same(first, trained(replace(settings, seed=2), sentences).network)


def test_bfloat16(settings: TextTraining, sentences: list[Utterance]) -> None:
    network = trained(replace(settings, epochs=1, precision="bf16"), sentences).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_sentences_without_relations_or_entities_are_learned_from(
    settings: TextTraining, sentences: list[Utterance]
) -> None:
    bare = [replace(utterance, entities=(), relations=()) for utterance in sentences]
    model = trained(replace(settings, epochs=2), bare)
    assert all(torch.isfinite(parameter).all() for parameter in model.network.parameters())


def test_what_cannot_be_trained_on_is_named(settings: TextTraining, sentences: list[Utterance]) -> None:
    _, tokenizer = build_network(settings, CONLL04)
    lines: list[str] = []
    long = replace(sentences[2], text="Bo " * 80)
    empty = Utterance("nothing", None, " ")
    assert [e.id for e in make_examples([sentences[0], long, empty], tokenizer, CONLL04, lines.append)] == ["u0"]
    assert len(lines) == 2
    assert lines[0].startswith('left out: utterance "u1": its text takes more than')
    assert lines[1] == 'left out: utterance "nothing": its text holds no word'
    with pytest.raises(DataError, match="none of the 1 utterances"):
        make_examples([long], tokenizer, CONLL04, lines.append)


def test_a_loss_that_is_no_number_ends_the_training(settings: TextTraining, sentences: list[Utterance]) -> None:
    network, tokenizer = build_network(settings, CONLL04)
    examples = make_examples(sentences, tokenizer, CONLL04, print)
    torch.nn.init.constant_(network.entity_classifier.bias, torch.nan)
    with pytest.raises(TrainingError, match=r"the loss is nan \(utterances u"):
        train(network, examples, settings, tokenizer.pad_id)


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"precision": "fp8"}, {"dropout": 1.0}, {"max_span_words": 0}],
)
def test_settings_out_of_range_are_named(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"text training: {next(iter(change))} is"):
        TextTraining(**change)  # type: ignore[arg-type]


def test_a_gradient_that_is_no_number_ends_the_training(settings: TextTraining, sentences: list[Utterance]) -> None:
    network, tokenizer = build_network(settings, CONLL04)
    examples = make_examples(sentences, tokenizer, CONLL04, print)
    network.entity_classifier.bias.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    with pytest.raises(TrainingError, match=r"the gradient is nan|the gradient is inf"):
        train(network, examples, settings, tokenizer.pad_id)
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
