"""What the decoder reads and writes, as token ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.linearize import Piece
from speechre.model.sequence import IGNORE, Branch, Packed, Sequencer, new_tokens, pack
from speechre.orders import ORDERS
from speechre.schema import RESERVED, Schema, strip_brackets
from speechre.schemas import CONLL04
from speechre.types import Entity, Triplet
from tests.tiny import tiny_network

ANN, OSLO = Entity("Ann", "Peop"), Entity("Oslo", "Loc")
TRIPLET = Triplet(ANN, "Live_In", OSLO)
START, TRANSCRIPT, PROMPT = [1, 2], [11, 12, 13], [20, 21]
BRANCHES = [Branch((30, 31), (40, 41, 42, 99)), Branch((30, 32, 33), (99,))]


@pytest.fixture
def sequencer() -> Sequencer:
    return tiny_network()[1]


def names(sequencer: Sequencer, ids: list[int] | tuple[int, ...]) -> list[str]:
    """Each token as it would be read."""
    return [sequencer.tokenizer.decode_text([token_id]) for token_id in ids]


# --- tokens ---


def test_new_tokens_are_the_structure_and_the_schema_each_with_its_words() -> None:
    tokens = new_tokens(CONLL04)
    assert list(tokens)[:5] == [
        "<|relations|>",
        "<|order|>",
        "<|entities|>",
        "<|triplets|>",
        "<relation_type_padding_token>",
    ]
    assert list(tokens)[5:8] == ["<head_entity>", "<relation_type>", "<tail_entity>"]
    assert list(tokens)[8:] == [f"<{n}>" for n in (*CONLL04.entity_types, *CONLL04.relation_types)]
    assert tokens["<Work_For>"] == "work for"
    assert all(tokens.values())


def test_new_tokens_follow_whispers_in_their_sequence(sequencer: Sequencer) -> None:
    first = sequencer.tokenizer.whisper_vocab_size
    assert [sequencer.tokenizer.token_id(name) for name in new_tokens(CONLL04)] == list(
        range(first, sequencer.tokenizer.vocab_size)
    )


def test_compact_prompts(sequencer: Sequencer) -> None:
    assert names(sequencer, sequencer.start_ids()) == ["<|startoftranscript|>", "<|notimestamps|>"]
    # In the schema's sequence, whatever the caller's.
    assert names(sequencer, sequencer.relation_prompt_ids(["Kill", "Work_For"])) == [
        "<|relations|>",
        "<Work_For>",
        "<Kill>",
    ]
    assert names(sequencer, sequencer.relation_prompt_ids([], padding=2)) == [
        "<|relations|>",
        *["<relation_type_padding_token>"] * 2,
    ]
    assert names(sequencer, sequencer.order_prompt_ids(ORDERS["trh"])) == [
        "<|order|>",
        "<tail_entity>",
        "<relation_type>",
        "<head_entity>",
        "<|triplets|>",
    ]


def test_paper_prompts_are_its_sentences() -> None:
    _, paper = tiny_network("paper")
    prompt = paper.relation_prompt_ids(["Kill"]) + paper.order_prompt_ids(ORDERS["hrt"])
    assert "".join(names(paper, prompt)) == (
        " The sequence of potential relations is:<Kill> The order of the elements is:"
        "<head_entity><relation_type><tail_entity> The relation triple extraction result is:"
    )


def test_order_prompts_differ(sequencer: Sequencer) -> None:
    assert len({tuple(sequencer.order_prompt_ids(order)) for order in ORDERS.values()}) == 6


def test_a_triplet_branch_ends_with_the_end(sequencer: Sequencer) -> None:
    branch = sequencer.triplet_branch([TRIPLET], ORDERS["rht"])
    assert list(branch.prompt_ids) == sequencer.order_prompt_ids(ORDERS["rht"])
    assert "".join(names(sequencer, branch.answer_ids)) == (
        "<relation_type><Live_In><head_entity> Ann<Peop><tail_entity> Oslo<Loc><|endoftext|>"
    )
    assert sequencer.triplet_branch([], ORDERS["rht"]).answer_ids == (sequencer.tokenizer.eot_id,)


def test_an_entity_branch_names_each_entity_once(sequencer: Sequencer) -> None:
    branch = sequencer.entity_branch([OSLO, ANN, Entity("Oslo", "Loc", id="other")])
    assert names(sequencer, branch.prompt_ids) == ["<|entities|>", "<|triplets|>"]
    assert "".join(names(sequencer, branch.answer_ids)) == " Oslo<Loc> Ann<Peop><|endoftext|>"


def test_pieces_end_at_the_first_end_and_name_foreign_tokens(sequencer: Sequencer) -> None:
    tokenizer = sequencer.tokenizer
    ids = [*sequencer.text_ids("Ann"), tokenizer.notimestamps_id, tokenizer.eot_id, *sequencer.text_ids("x")]
    assert sequencer.pieces(ids) == [Piece("text", " Ann"), Piece("marker", "|notimestamps|")]


@pytest.mark.parametrize("piece", [Piece("marker", "head"), Piece("entity_type", "Loc"), Piece("relation", "Kill")])
def test_symbols_are_one_token_and_come_back(sequencer: Sequencer, piece: Piece) -> None:
    assert sequencer.pieces([sequencer.piece_id(piece)]) == [piece]


def test_text_that_looks_like_a_token_stays_text(sequencer: Sequencer) -> None:
    ids = sequencer.text_ids("<Peop> <|endoftext|>")
    assert max(ids) < sequencer.tokenizer.num_text_tokens
    assert sequencer.pieces(ids) == [Piece("text", " <Peop> <|endoftext|>")]


def test_a_schema_of_ones_own_gets_tokens_too() -> None:
    schema = Schema("own", ("Thing",), ("partOf",))
    assert new_tokens(schema)["<Thing>"] == "thing"
    assert new_tokens(schema)["<partOf>"] == "part of"


# --- packing ---


def fed(packed: Packed, number: int) -> list[int]:
    """Indices of one branch."""
    return [i for i, branch in enumerate(packed.branch) if branch == number]


def test_packed_ids_positions_and_branches() -> None:
    packed = pack(START, TRANSCRIPT, PROMPT, BRANCHES)
    assert packed.ids == [1, 2, 11, 12, 13, 20, 21, 30, 31, 40, 41, 42, 30, 32, 33]
    assert packed.branch == [0] * 7 + [1] * 5 + [2] * 3
    # Every branch goes on where the prefix ends, as in decoding.
    assert packed.positions == [*range(7), *range(7, 12), *range(7, 10)]


def test_packed_targets_are_transcript_and_answers() -> None:
    packed = pack(START, TRANSCRIPT, PROMPT, BRANCHES)
    no = IGNORE
    #                         1   2  11  12  13  20  21  30  31  40  41  42  30  32  33
    assert packed.targets == [no, 11, 12, 13, 20, no, no, no, 40, 41, 42, 99, no, no, 99]
    assert [i for i, is_one in enumerate(packed.is_transcript) if is_one] == [1, 2, 3, 4]


def test_without_transcript_there_is_no_target_in_the_prefix() -> None:
    packed = pack(START, None, PROMPT, BRANCHES)
    assert packed.targets[:4] == [IGNORE] * 4
    assert not any(packed.is_transcript)


def test_an_empty_transcript_still_ends() -> None:
    packed = pack(START, [], PROMPT, BRANCHES)
    assert packed.targets[1] == 20
    assert packed.is_transcript[:3] == [False, True, False]


def test_the_papers_loss_has_every_next_token_as_target() -> None:
    packed = pack(START, None, PROMPT, BRANCHES[:1], prompts_are_targets=True)
    whole = [*START, *PROMPT, 30, 31, 40, 41, 42, 99]
    assert packed.ids == whole[:-1]
    assert packed.targets == whole[1:]


def test_several_branches_with_the_papers_loss_do_not_predict_each_other() -> None:
    packed = pack(START, None, PROMPT, BRANCHES, prompts_are_targets=True)
    assert packed.targets == [2, 20, 21, IGNORE, 31, 40, 41, 42, 99, 32, 33, 99]


token_lists = st.lists(st.integers(3, 50), max_size=6)


@given(
    st.none() | token_lists,
    token_lists.filter(bool),
    st.lists(st.builds(Branch, token_lists.filter(bool).map(tuple), token_lists.map(lambda x: (*x, 99))), min_size=1),
    st.booleans(),
)
def test_layout(transcript: list[int] | None, prompt: list[int], branches: list[Branch], everything: bool) -> None:
    packed = pack(START, transcript, prompt, branches, everything)
    lengths = {
        len(part) for part in (packed.ids, packed.positions, packed.branch, packed.targets, packed.is_transcript)
    }
    assert len(lengths) == 1
    prefix = [*START, *(transcript or []), *prompt]
    assert [packed.ids[i] for i in fed(packed, 0)] == prefix
    for number, branch in enumerate(branches, start=1):
        indices = fed(packed, number)
        sequence = [*prefix, *branch.prompt_ids, *branch.answer_ids]
        assert [packed.ids[i] for i in indices] == sequence[len(prefix) : -1]
        for i in indices:
            # A target is what a plain sequence of this branch alone has next.
            if packed.targets[i] != IGNORE:
                assert packed.targets[i] == sequence[packed.positions[i] + 1]
        answered = indices[len(branch.prompt_ids) - 1 :]
        assert [packed.targets[i] for i in answered] == list(branch.answer_ids)


# --- entities as they stand in a transcript ---


def test_entities_are_spelled_with_the_transcripts_own_tokens() -> None:
    _, sequencer = tiny_network()
    text = "The (Oslo) talks of Ann-Lee Moe began."
    ids = sequencer.text_ids(text)
    entities = [
        Entity(name, "Loc", start=text.index(name), end=text.index(name) + len(name))
        for name in ("Oslo", "Ann-Lee Moe")
    ]
    spellings = sequencer.spellings(ids, entities)
    assert set(spellings) == {"Oslo", "Ann-Lee Moe"}
    for name, spelled in spellings.items():
        at = [i for i in range(len(ids)) if tuple(ids[i : i + len(spelled)]) == spelled]
        assert at, name
        assert name in sequencer.tokenizer.decode_text(spelled)
    triplet = Triplet(Entity("Ann-Lee Moe", "Peop"), "Live_In", Entity("Oslo", "Loc"))
    plain = sequencer.triplet_branch([triplet], ORDERS["hrt"])
    spelled_branch = sequencer.triplet_branch([triplet], ORDERS["hrt"], spellings)
    assert plain != spelled_branch  # behind the bracket, "Oslo" has no blank of its own
    assert set(spellings["Oslo"]) <= set(spelled_branch.answer_ids)


def test_an_entity_that_is_part_of_a_token_has_no_spelling() -> None:
    _, sequencer = tiny_network()
    text = "Unbelievable things."
    ids = sequencer.text_ids(text)
    assert sequencer.spellings(ids, [Entity("nb", "Loc", start=1, end=3)]) == {}
    assert sequencer.spellings(ids, [Entity("things", "Loc")]) == {}


def test_no_type_is_called_like_a_token_of_the_structure() -> None:
    others = {strip_brackets(token) for token in new_tokens(CONLL04)} - {*CONLL04.entity_types, *CONLL04.relation_types}
    assert {name for name in others if "|" not in name} == RESERVED
