"""What the decoder reads and writes, as token ids: prefix (transcript, relation prompt) and branches (one an order).

compact: ``<|startoftranscript|><|notimestamps|> transcript <|relations|><Work_For> |
<|order|><head_entity><relation_type> <tail_entity><|triplets|> tree <|endoftext|>``; paper: the same with the paper's
sentences in place of the three tokens. All branches of an utterance continue one prefix, in training (a packed sequence
with a branch mask) as in decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from speechre.linearize import MARKERS, Piece, linearize
from speechre.metrics import normalize_text
from speechre.model.tokenizer import Tokenizer
from speechre.orders import Order
from speechre.schema import Schema, add_brackets, strip_brackets
from speechre.types import Entity, Triplet

RELATIONS = "<|relations|>"
ORDER = "<|order|>"
ENTITIES = "<|entities|>"
TRIPLETS = "<|triplets|>"
RELATION_PADDING = "<relation_type_padding_token>"

_STRUCTURE_WORDS = {
    RELATIONS: "relations",
    ORDER: "order",
    ENTITIES: "entities",
    TRIPLETS: "result",
    RELATION_PADDING: "none",
    MARKERS["head"]: "head",
    MARKERS["relation"]: "relation",
    MARKERS["tail"]: "tail",
}
_PAPER_RELATIONS = " The sequence of potential relations is:"
_PAPER_ORDER = " The order of the elements is:"
_PAPER_RESULT = " The relation triple extraction result is:"

PromptStyle = Literal["compact", "paper"]
Spellings = Mapping[str, tuple[int, ...]]
"""Entity text -> its tokens as they stand in a transcript."""
IGNORE = -100
"""A target that takes no part in the loss."""


def new_tokens(schema: Schema) -> dict[str, str]:
    """Token -> the plain words whose embeddings it starts from; the dict's order is the order of the ids."""
    tokens = dict(_STRUCTURE_WORDS)
    for name in (*schema.entity_types, *schema.relation_types):
        tokens[add_brackets(name)] = schema.words_of(name)
    return tokens


@dataclass(frozen=True)
class Branch:
    """One continuation of a prefix: a prompt that is given and an answer that is to be written."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


class Sequencer:
    """Between triplets and token ids, for one tokenizer, schema and prompt style."""

    def __init__(self, tokenizer: Tokenizer, schema: Schema, prompt_style: PromptStyle = "compact") -> None:
        self.tokenizer = tokenizer
        self.schema = schema
        self.prompt_style = prompt_style
        self.relations_id = tokenizer.token_id(RELATIONS)
        self.relation_padding_id = tokenizer.token_id(RELATION_PADDING)
        self.relation_ids = {name: tokenizer.token_id(add_brackets(name)) for name in schema.relation_types}
        self._piece_by_id = self._pieces()
        self._id_by_piece = {piece: token_id for token_id, piece in self._piece_by_id.items()}

    def _pieces(self) -> dict[int, Piece]:
        token_id = self.tokenizer.token_id
        out = {token_id(token): Piece("marker", element) for element, token in MARKERS.items()}
        out |= {token_id(add_brackets(name)): Piece("entity_type", name) for name in self.schema.entity_types}
        return out | {token_id: Piece("relation", name) for name, token_id in self.relation_ids.items()}

    def piece_id(self, piece: Piece) -> int:
        """The token of a marker, an entity type or a relation."""
        return self._id_by_piece[piece]

    def text_ids(self, text: str) -> list[int]:
        """Text as Whisper writes it: with a leading blank."""
        return self.tokenizer.encode_text(" " + text)

    def start_ids(self) -> list[int]:
        """What every sequence begins with."""
        return list(self.tokenizer.start_ids())

    def relation_prompt_ids(self, relations: Iterable[str], padding: int = 0) -> list[int]:
        """The explicit relation prompt: the types in the schema's order, then ``padding`` padding tokens."""
        named = set(relations)
        ids = [token_id for name, token_id in self.relation_ids.items() if name in named]
        ids += [self.relation_padding_id] * padding
        if self.prompt_style == "paper":
            return [*self.tokenizer.encode_text(_PAPER_RELATIONS), *ids]
        return [self.relations_id, *ids]

    def order_prompt_ids(self, order: Order) -> list[int]:
        """Which element comes first, second and third."""
        token_id = self.tokenizer.token_id
        elements = [token_id(MARKERS[element]) for element in order.elements]
        if self.prompt_style == "paper":
            encode = self.tokenizer.encode_text
            return [*encode(_PAPER_ORDER), *elements, *encode(_PAPER_RESULT)]
        return [token_id(ORDER), *elements, token_id(TRIPLETS)]

    def spellings(self, transcript_ids: Sequence[int], entities: Iterable[Entity]) -> Spellings:
        """Entity text -> its tokens in the transcript, for entities whose span (``start``, ``end``) is known.

        A name behind a hyphen or an opening bracket is tokenized otherwise there than alone, and the copy constraint
        lets only the transcript's own tokens through. Where no run of tokens is the entity, it has no spelling.
        """
        ends = [len(self.tokenizer.decode_text(transcript_ids[: i + 1])) for i in range(len(transcript_ids))]
        found: dict[str, tuple[int, ...]] = {}
        for entity in entities:
            if entity.start is None or entity.end is None or entity.text in found:
                continue
            # text_ids puts a blank before the text.
            first = next((i for i, end in enumerate(ends) if end > entity.start + 1), len(ends))
            last = next((i for i, end in enumerate(ends) if end >= entity.end + 1), len(ends) - 1)
            ids = tuple(transcript_ids[first : last + 1])
            if normalize_text(self.tokenizer.decode_text(ids)) == normalize_text(entity.text):
                found[entity.text] = ids
        return found

    def tree_ids(self, pieces: Iterable[Piece], spellings: Spellings = MappingProxyType({})) -> list[int]:
        """A linearized tree as tokens."""
        ids: list[int] = []
        for piece in pieces:
            ids += self._entity_ids(piece.value, spellings) if piece.kind == "text" else [self.piece_id(piece)]
        return ids

    def _entity_ids(self, text: str, spellings: Spellings) -> Sequence[int]:
        return spellings.get(text) or self.text_ids(text)

    def pieces(self, ids: Sequence[int]) -> list[Piece]:
        """Any token sequence as pieces, for the parser; the sequence ends at the first end-of-text. Total."""
        out: list[Piece] = []
        text: list[int] = []

        def flush() -> None:
            if text:
                out.append(Piece("text", self.tokenizer.decode_text(text)))
                text.clear()

        for token_id in ids:
            if token_id == self.tokenizer.eot_id:
                break
            if token_id < self.tokenizer.num_text_tokens:
                text.append(token_id)
                continue
            flush()
            piece = self._piece_by_id.get(token_id)
            if piece is None:  # another special token, a timestamp: the parser will call it unknown
                piece = Piece("marker", strip_brackets(self.tokenizer.token_name(token_id)))
            out.append(piece)
        flush()
        return out

    def triplet_branch(
        self, triplets: Iterable[Triplet], order: Order, spellings: Spellings = MappingProxyType({})
    ) -> Branch:
        """The order prompt and the tree that answers it."""
        answer = [*self.tree_ids(linearize(triplets, order), spellings), self.tokenizer.eot_id]
        return Branch(tuple(self.order_prompt_ids(order)), tuple(answer))

    def entity_branch(self, entities: Iterable[Entity], spellings: Spellings = MappingProxyType({})) -> Branch:
        """The auxiliary target: every entity with its type, in the order they are said."""
        ids: list[int] = []
        for entity in dict.fromkeys(entities):
            ids += [*self._entity_ids(entity.text, spellings), self.piece_id(Piece("entity_type", entity.type))]
        prompt = [self.tokenizer.token_id(ENTITIES), self.tokenizer.token_id(TRIPLETS)]
        return Branch(tuple(prompt), (*ids, self.tokenizer.eot_id))


@dataclass(frozen=True)
class Packed:
    """One utterance for the decoder: the prefix, then its branches one behind the other.

    All lists have the same length T. ``branch[i]`` is 0 in the prefix and 1, 2, ... behind it; a token sees the prefix
    and its own branch up to itself. ``positions`` restart at the prefix's end in every branch. ``targets[i]`` is the
    token that follows token i, or IGNORE; ``is_transcript`` marks the targets of the transcript.
    """

    ids: list[int]
    positions: list[int]
    branch: list[int]
    targets: list[int]
    is_transcript: list[bool]


def pack(
    start_ids: Sequence[int],
    transcript_ids: Sequence[int] | None,
    relation_prompt_ids: Sequence[int],
    branches: Sequence[Branch],
    prompts_are_targets: bool = False,
) -> Packed:
    """Lay out one utterance. ``prompts_are_targets`` is the paper's loss: with one branch, every next token is a
    target.
    """
    transcript = list(transcript_ids or [])
    prefix = [*start_ids, *transcript, *relation_prompt_ids]
    ids, positions, branch = list(prefix), list(range(len(prefix))), [0] * len(prefix)
    targets = [IGNORE] * len(prefix)
    is_transcript = [False] * len(prefix)
    if transcript_ids is not None:
        # The prompt's first token ends the transcript, so it is a target too.
        first = len(start_ids) - 1
        for i in range(first, first + len(transcript) + 1):
            targets[i], is_transcript[i] = prefix[i + 1], True
    if prompts_are_targets:
        for i in range(len(prefix) - 1):
            targets[i] = prefix[i + 1]
        if len(branches) == 1 and branches[0].prompt_ids:
            targets[-1] = branches[0].prompt_ids[0]
    for number, one in enumerate(branches, start=1):
        tokens = [*one.prompt_ids, *one.answer_ids]
        wanted = [*tokens[1:], IGNORE]
        if not prompts_are_targets:
            wanted[: len(one.prompt_ids) - 1] = [IGNORE] * (len(one.prompt_ids) - 1)
        # The last token of an answer is the end: nothing follows it, so it is not fed.
        ids += tokens[:-1]
        targets += wanted[:-1]
        positions += range(len(prefix), len(prefix) + len(tokens) - 1)
        branch += [number] * (len(tokens) - 1)
        is_transcript += [False] * (len(tokens) - 1)
    return Packed(ids, positions, branch, targets, is_transcript)
