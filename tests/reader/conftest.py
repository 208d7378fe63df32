"""A tiny random BERT in Hugging Face's layout, and a few annotated sentences."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from speechre.reader.reader import TextModel
from speechre.reader.spans import WordTokenizer
from speechre.reader.training import TextTraining, build_network
from speechre.schemas import CONLL04
from speechre.types import AudioRef, Entity, Relation, Utterance

WORDS = ("ann", "lee", "bo", "lives", "works", "in", "for", "oslo", "bergen", "acme", "and")


def make_tokenizer() -> tokenizers.Tokenizer:
    """WordPiece of a few words, all letters, digits and marks, normalized as BERT's uncased models do."""
    characters = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *characters, *("##" + c for c in characters), *".,'-"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture(scope="session")
def word_tokenizer() -> WordTokenizer:
    return WordTokenizer(make_tokenizer().to_str(), 64)


@pytest.fixture(scope="session")
def bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two narrow layers of random weights. Do not change it."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
        transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def credulous_reader(bert_dir: Path) -> TextModel:
    """Random weights that call much an entity and any pair related. Do not change it."""
    settings = TextTraining(encoder=str(bert_dir), max_span_words=3, width_embedding=4, seed=3)
    network, tokenizer = build_network(settings, CONLL04)
    with torch.no_grad():
        network.entity_classifier.weight.mul_(8.0)
        network.relation_classifier.weight.mul_(8.0)
    return TextModel("text", network.eval(), tokenizer, CONLL04, settings)


def annotate(utterance_id: str, text: str, entities: dict[str, str], *relations: tuple[str, str, str]) -> Utterance:
    """An utterance with an entity at the first place of each text, and relations between such texts."""
    ids = {one: f"e{index}" for index, one in enumerate(entities)}
    return Utterance(
        utterance_id,
        AudioRef(f"{utterance_id}.wav", 0.0, 2.5),
        text,
        tuple(
            Entity(one, kind, ids[one], text.index(one), text.index(one) + len(one)) for one, kind in entities.items()
        ),
        tuple(Relation(ids[head], ids[tail], kind) for head, kind, tail in relations),
    )


@pytest.fixture
def sentences() -> list[Utterance]:
    """Four sentences, two of them the same in two voices."""
    lives = "Ann Lee lives in Oslo .", {"Ann Lee": "Peop", "Oslo": "Loc"}, ("Ann Lee", "Live_In", "Oslo")
    return [
        annotate("u0", *lives),
        annotate("u0@other", *lives),
        annotate("u1", "Bo works for Acme .", {"Bo": "Peop", "Acme": "Org"}, ("Bo", "Work_For", "Acme")),
        annotate("u2", "Ann and Bo .", {"Ann": "Peop", "Bo": "Peop"}),
    ]
