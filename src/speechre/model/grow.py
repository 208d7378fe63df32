"""A trained network for another schema: all that it has learned stays, but for the old schema's types.

What a network knows of types stands in few places: a token each in the decoder's vocabulary, and a row each of the
relation head. Types of the same name keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from speechre.model.blank import blank_modules
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import new_tokens
from speechre.model.tokenizer import Tokenizer
from speechre.schema import Schema, add_brackets

_EMBEDDINGS = "whisper.decoder.embed_tokens.weight"
_CLASSIFIER = "relation_head.classifier."


def with_schema(
    network: SpeechReNetwork, tokenizer: Tokenizer, old: Schema, new: Schema
) -> tuple[SpeechReNetwork, Tokenizer]:
    """A new network and tokenizer with the types of ``new`` in place of those of ``old``; what is given stays as it is.

    A new type's token starts as the mean of its words' embeddings, moved as far as the old types of its kind (entity or
    relation) have moved from their words on average: what was learned about being written behind an entity, or as a
    relation, is the same for all of them. A new relation's row of the relation head starts as the mean of the old rows.
    """
    tokens = new_tokens(new)
    grown_tokenizer = tokenizer.with_new_tokens(list(tokens))
    state = dict(network.state_dict())
    embeddings = state[_EMBEDDINGS]
    first_new = tokenizer.whisper_vocab_size
    rows = torch.empty(grown_tokenizer.vocab_size - first_new, embeddings.shape[1])
    moves = {
        kind: _mean_move(names, old, tokenizer, embeddings)
        for kind, names in (("entity", old.entity_types), ("relation", old.relation_types))
    }
    kinds = dict.fromkeys(map(add_brackets, new.entity_types), "entity")
    kinds |= dict.fromkeys(map(add_brackets, new.relation_types), "relation")
    same = {*_same_tokens(old.entity_types, new.entity_types), *_same_tokens(old.relation_types, new.relation_types)}
    for row, (token, words) in zip(rows, tokens.items(), strict=True):
        if token in kinds and token not in same:
            row.copy_(_mean_of_words(words, tokenizer, embeddings) + moves[kinds[token]])
        else:  # a structure token, or a type that both schemas have
            row.copy_(embeddings[tokenizer.token_id(token)])
    state[_EMBEDDINGS] = torch.cat([embeddings[:first_new], rows])
    for part in ("weight", "bias"):
        state[_CLASSIFIER + part] = grown_rows(state[_CLASSIFIER + part], old.relation_types, new.relation_types)
    config = replace(network.config, vocab_size=grown_tokenizer.vocab_size)
    with blank_modules():
        grown = SpeechReNetwork(config, len(new.relation_types))
    grown.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
    return grown.eval(), grown_tokenizer


def grown_rows(rows: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """(types, ...) of a classifier: the row of an old type of the same name, else the mean of the old rows."""
    mean = rows.mean(dim=0)
    known: Mapping[str, Tensor] = dict(zip(old, rows, strict=True))
    return torch.stack([known.get(name, mean) for name in new])


def _same_tokens(old: Sequence[str], new: Sequence[str]) -> list[str]:
    return [add_brackets(name) for name in new if name in old]


def _mean_move(names: Sequence[str], schema: Schema, tokenizer: Tokenizer, embeddings: Tensor) -> Tensor:
    """(D,): how far the tokens of these types are from the words that they started from, on average."""
    moves = [
        embeddings[tokenizer.token_id(add_brackets(name))]
        - _mean_of_words(schema.words_of(name), tokenizer, embeddings)
        for name in names
    ]
    return torch.stack(moves).mean(dim=0)


def _mean_of_words(words: str, tokenizer: Tokenizer, embeddings: Tensor) -> Tensor:
    return embeddings[tokenizer.encode_text(" " + words)].mean(dim=0)
