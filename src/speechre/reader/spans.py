"""Sentences as words and tokens, and which spans of words are entities: what the text model learns from.

A word is a run of letters and digits or one mark of punctuation, as BERT's own splitting has it, so that "N.C." can end
where the annotation says. Spans are half-open intervals of words, written (start, end).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import tokenizers

from speechre.errors import CheckpointError, DataError
from speechre.metrics import normalize_text
from speechre.schema import Schema
from speechre.types import Utterance

_WORD = re.compile(r"\w+|[^\w\s]")

Span = tuple[int, int]
"""A half-open interval."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text as the encoder reads it.

    ``chars`` and ``tokens`` give each word's place in the text and in ``token_ids``, which start with [CLS] and end
    with [SEP]. ``is_cut``: the encoder's positions did not suffice, and words at the end are left out.
    """

    text: str
    chars: tuple[Span, ...]
    tokens: tuple[Span, ...]
    token_ids: tuple[int, ...]
    is_cut: bool

    def text_of(self, span: Span) -> str:
        """The text from the first to the last word of a span."""
        return self.text[self.chars[span[0]][0] : self.chars[span[1] - 1][1]]

    def tokens_of(self, span: Span) -> Span:
        """The tokens of a span of words."""
        return self.tokens[span[0]][0], self.tokens[span[1] - 1][1]


class WordTokenizer:
    """WordPiece that keeps account of words."""

    def __init__(self, tokenizer_json: str, max_tokens: int = 512) -> None:
        """From the text of a BERT's tokenizer.json. ``max_tokens`` is how many positions the encoder has.

        Raises :class:`CheckpointError` if it is malformed or lacks BERT's special tokens.
        """
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # the library raises a bare Exception for every malformed file
            raise CheckpointError(f"the tokenizers library refuses the text encoder's tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.json = tokenizer_json
        self.max_tokens = max_tokens
        self.cls_id, self.sep_id, self.pad_id = (self._special_id(name) for name in ("[CLS]", "[SEP]", "[PAD]"))

    def _special_id(self, name: str) -> int:
        token_id = self._tokenizer.token_to_id(name)
        if token_id is None:
            raise CheckpointError(f"the text encoder's tokenizer has no {name}; expected a BERT's")
        return int(token_id)

    @property
    def vocab_size(self) -> int:
        """All tokens, special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def sentence(self, text: str) -> Sentence:
        """``text`` in words and tokens. A word that has no token (a lone control character) is no word."""
        found = words_of(text)
        written = [text[start:end] for start, end in found]
        encoding = self._tokenizer.encode(written, is_pretokenized=True, add_special_tokens=False)
        counts = [0] * len(found)
        for word in encoding.word_ids:
            counts[word] += 1
        chars: list[Span] = []
        tokens: list[Span] = []
        position, is_cut = 1, False  # behind [CLS]
        for span, count in zip(found, counts, strict=True):
            if position + count > self.max_tokens - 1:  # one is for [SEP]
                is_cut = True
                break
            if count:
                chars.append(span)
                tokens.append((position, position + count))
            position += count
        token_ids = (self.cls_id, *encoding.ids[: position - 1], self.sep_id)
        return Sentence(text, tuple(chars), tuple(tokens), token_ids, is_cut)


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence with its annotation as the network's targets.

    ``entities`` maps spans to indices of entity types, ``relations`` (head, tail) pairs of such spans to the indices of
    the relation types that hold between them.
    """

    id: str
    sentence: Sentence
    entities: dict[Span, int]
    relations: dict[tuple[Span, Span], frozenset[int]]


def words_of(text: str) -> list[Span]:
    """The place of each word in ``text``.

    >>> [text[start:end] for text in ["U.S.-based"] for start, end in words_of(text)]
    ['U', '.', 'S', '.', '-', 'based']
    """
    return [match.span() for match in _WORD.finditer(text)]


def iter_spans(num_words: int, max_words: int) -> Iterator[Span]:
    """All spans of one to ``max_words`` words.

    >>> list(iter_spans(3, 2))
    [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    for start in range(num_words):
        for end in range(start + 1, min(start + max_words, num_words) + 1):
            yield start, end


def make_example(utterance: Utterance, tokenizer: WordTokenizer, schema: Schema) -> Example:
    """The targets of ``utterance``; an entity takes every word that it touches. Where two entities touch the same
    words, the first one's type counts.

    Raises :class:`DataError`, naming the utterance, when its text is too long or an entity has no place in it, and
    :class:`SchemaError` on a type that ``schema`` lacks.
    """
    sentence = tokenizer.sentence(utterance.text)
    if sentence.is_cut:
        raise DataError(
            f'utterance "{utterance.id}": its text takes more than the {tokenizer.max_tokens} tokens that the text '
            "encoder knows; cut it into sentences"
        )
    spans: dict[str, Span] = {}
    entities: dict[Span, int] = {}
    for entity in utterance.entities:
        schema.check_entity(entity.type)
        start, end = (-1 if place is None else place for place in (entity.start, entity.end))
        touched = [i for i, (first, last) in enumerate(sentence.chars) if first < end and last > start]
        if start < 0 or not touched:
            raise DataError(
                f'utterance "{utterance.id}": entity "{entity.id}" ("{entity.text}") has no place in the text; '
                'expected "start" and "end"'
            )
        span = spans[entity.id] = (touched[0], touched[-1] + 1)
        entities.setdefault(span, schema.entity_types.index(entity.type))
    relations: dict[tuple[Span, Span], frozenset[int]] = {}
    for relation in utterance.relations:
        schema.check_relation(relation.type)
        pair = (spans[relation.head_id], spans[relation.tail_id])
        if pair[0] != pair[1]:
            index = schema.relation_types.index(relation.type)
            relations[pair] = relations.get(pair, frozenset()) | {index}
    return Example(utterance.id, sentence, entities, relations)


def sample_spans(example: Example, count: int, max_words: int, draw: random.Random) -> list[Span]:
    """At most ``count`` spans that are no entity, at random: what the entity classifier learns to say no to."""
    others = [span for span in iter_spans(len(example.sentence.chars), max_words) if span not in example.entities]
    return others if len(others) <= count else draw.sample(others, count)


def sample_pairs(example: Example, count: int, draw: random.Random) -> list[tuple[Span, Span]]:
    """At most ``count`` pairs of entities between which nothing holds: strong negatives, as SpERT calls them."""
    others = [pair for pair in permutations(example.entities, 2) if pair not in example.relations]
    return others if len(others) <= count else draw.sample(others, count)


def standing_texts(text: str, max_words: int) -> frozenset[str]:
    """What spans of ``text`` say under the scoring's normalization: no reader of spans can find anything else."""
    words = words_of(text)
    spans: Sequence[Span] = list(iter_spans(len(words), max_words))
    return frozenset(normalize_text(text[words[start][0] : words[end - 1][1]]) for start, end in spans)
