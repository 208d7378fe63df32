"""A network for another schema: what stays, where new types start, and that the old network is left alone."""

from __future__ import annotations

import pytest
import torch

from speechre.model.grow import grown_rows, with_schema
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer, new_tokens
from speechre.schema import Schema, add_brackets
from speechre.schemas import CONLL04
from tests.tiny import random_mels, tiny_network

# Peop and Live_In are CONLL04's too, at other places.
TOWN = Schema("town", ("Street", "Peop"), ("Leads_To", "Live_In", "Owns"), words={"Leads_To": "leads to"})
EMBEDDINGS = "whisper.decoder.embed_tokens.weight"


@pytest.fixture(scope="module")
def grown() -> tuple[SpeechReNetwork, Sequencer]:
    network, sequencer = tiny_network()
    new_network, tokenizer = with_schema(network, sequencer.tokenizer, CONLL04, TOWN)
    return new_network, Sequencer(tokenizer, TOWN)


def row(network: SpeechReNetwork, sequencer: Sequencer, token: str) -> torch.Tensor:
    return network.state_dict()[EMBEDDINGS][sequencer.tokenizer.token_id(token)]


def words(text: str) -> torch.Tensor:
    network, sequencer = tiny_network()
    return network.state_dict()[EMBEDDINGS][sequencer.tokenizer.encode_text(" " + text)].mean(dim=0)


def test_all_but_the_types_is_as_it_was(grown: tuple[SpeechReNetwork, Sequencer]) -> None:
    before, old = tiny_network()
    network, sequencer = grown
    first_new = old.tokenizer.whisper_vocab_size
    changed = {EMBEDDINGS, "relation_head.classifier.weight", "relation_head.classifier.bias"}
    for name, tensor in before.state_dict().items():
        if name not in changed:
            assert torch.equal(network.state_dict()[name], tensor), name
    assert torch.equal(network.state_dict()[EMBEDDINGS][:first_new], before.state_dict()[EMBEDDINGS][:first_new])
    types = {add_brackets(name) for name in (*TOWN.entity_types, *TOWN.relation_types)}
    kept = [token for token in new_tokens(TOWN) if token not in types] + ["<Peop>", "<Live_In>"]
    for token in kept:
        assert torch.equal(row(network, sequencer, token), row(before, old, token)), token
    assert network.config.vocab_size == sequencer.tokenizer.vocab_size == first_new + len(new_tokens(TOWN))
    assert network.relation_head.classifier.out_features == 3


def test_old_types_are_gone_and_text_is_tokenized_as_before(grown: tuple[SpeechReNetwork, Sequencer]) -> None:
    _, old = tiny_network()
    _, sequencer = grown
    names = {sequencer.tokenizer.token_name(i) for i in range(sequencer.tokenizer.vocab_size)}
    assert "<Kill>" not in names
    text = "Ann owns Mill Lane, <Street> or not."
    assert sequencer.text_ids(text) == old.text_ids(text)
    # Growing back gives the tokenizer that it was.
    back = sequencer.tokenizer.with_new_tokens(list(new_tokens(CONLL04)))
    assert [back.token_name(i) for i in range(back.vocab_size)] == [
        old.tokenizer.token_name(i) for i in range(old.tokenizer.vocab_size)
    ]


def test_a_new_type_starts_at_its_words_moved_as_the_old_types_have_moved(
    grown: tuple[SpeechReNetwork, Sequencer],
) -> None:
    before, old = tiny_network()
    network, sequencer = grown
    moves = {
        kind: torch.stack(
            [row(before, old, add_brackets(name)) - words(CONLL04.words_of(name)) for name in names]
        ).mean(dim=0)
        for kind, names in (("entity", CONLL04.entity_types), ("relation", CONLL04.relation_types))
    }
    assert torch.allclose(row(network, sequencer, "<Street>"), words("street") + moves["entity"], atol=1e-6)
    assert torch.allclose(row(network, sequencer, "<Leads_To>"), words("leads to") + moves["relation"], atol=1e-6)
    assert not torch.allclose(moves["entity"], moves["relation"], atol=1e-2)


@torch.inference_mode()
def test_a_relation_of_the_same_name_is_heard_as_before(grown: tuple[SpeechReNetwork, Sequencer]) -> None:
    before, _ = tiny_network()
    mels = random_mels(2)
    old, new = (one.relation_logits(one.encode(mels)) for one in (before, grown[0]))
    assert torch.allclose(new[:, 1], old[:, CONLL04.relation_types.index("Live_In")], atol=1e-5)
    for fresh in (0, 2):  # and a new one as the mean of the old ones
        assert torch.allclose(new[:, fresh], old.mean(dim=1), atol=1e-5)


def test_the_old_network_shares_nothing_with_the_new_one() -> None:
    network, sequencer = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    new_network, _ = with_schema(network, sequencer.tokenizer, CONLL04, TOWN)
    with torch.no_grad():
        for parameter in new_network.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_rows_of_a_classifier() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert grown_rows(rows, ("a", "b"), ("b", "c")).tolist() == [[3.0, 6.0], [2.0, 4.0]]
    assert grown_rows(rows[:, 0], ("a", "b"), ("c", "a")).tolist() == [2.0, 1.0]
