"""Token ids against the tokenizers library; text that looks like special tokens; round trips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.errors import CheckpointError
from speechre.model.tokenizer import Tokenizer, complete_timestamps
from speechre.model.weights import load_whisper

NEW_TOKENS = ["<|relations|>", "<Peop>", "<Work_For>"]


@pytest.fixture(scope="module")
def whisper_json() -> str:
    return load_whisper("tiny.en").tokenizer_json


@pytest.fixture(scope="module")
def tokenizer(whisper_json: str) -> Tokenizer:
    return Tokenizer.from_whisper(whisper_json, NEW_TOKENS)


def small_tokenizer_json(*, num_languages: int = 1, special: tuple[str, ...] = ()) -> dict[str, Any]:
    """A byte-level tokenizer of 256 bytes, no merges and no timestamps, in the layout of Whisper's."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    languages = ["en", *(f"l{index}" for index in range(num_languages - 1))]
    names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in languages)]
    names += ["<|transcribe|>", *special, "<|notimestamps|>"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 256 + i, "content": name, **flags} for i, name in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(characters)}, "merges": []},
    }


# --- ids ---


def test_new_tokens_stand_behind_whispers_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.whisper_vocab_size == 51_864
    assert [tokenizer.token_id(name) for name in NEW_TOKENS] == [51_864, 51_865, 51_866]
    assert tokenizer.vocab_size == 51_867


def test_ids_of_tiny_en(tokenizer: Tokenizer) -> None:
    assert (tokenizer.sot_id, tokenizer.eot_id, tokenizer.notimestamps_id) == (50_257, 50_256, 50_362)
    assert tokenizer.token_id("<|0.00|>") == 50_363
    assert tokenizer.token_id("<|30.00|>") == 51_863
    assert tokenizer.num_text_tokens == 50_256
    assert not tokenizer.is_multilingual
    assert tokenizer.start_ids() == (50_257, 50_362)
    with pytest.raises(CheckpointError, match='English only; got language "de"'):
        tokenizer.start_ids("de")


def test_only_text_is_not_special(tokenizer: Tokenizer) -> None:
    special = [tokenizer.is_special(token_id) for token_id in range(tokenizer.vocab_size)]
    assert special.index(True) == tokenizer.num_text_tokens == special.count(False)


def test_unknown_tokens_are_checkpoint_errors(tokenizer: Tokenizer) -> None:
    with pytest.raises(CheckpointError, match='no token "<Loc>" among 51867'):
        tokenizer.token_id("<Loc>")
    for token_id in (-1, tokenizer.vocab_size):
        with pytest.raises(CheckpointError, match=f"no token {token_id}; expected 0 to 51866"):
            tokenizer.decode_text([token_id])


def test_names_and_ids_are_inverse(tokenizer: Tokenizer) -> None:
    ids = range(0, tokenizer.vocab_size, 101)
    assert [tokenizer.token_id(tokenizer.token_name(token_id)) for token_id in ids] == list(ids)


@pytest.mark.parametrize("new_tokens", [["<A>", "<A>"], [""], ["hello"], ["<|endoftext|>"], ["<|1.00|>"]])
def test_a_new_token_must_be_new(whisper_json: str, new_tokens: list[str]) -> None:
    with pytest.raises(CheckpointError, match="is empty, stands twice or is in the vocabulary"):
        Tokenizer.from_whisper(whisper_json, new_tokens)


def test_a_multilingual_model_starts_with_language_and_task() -> None:
    # What makes a model multilingual is the size of its vocabulary.
    filler = tuple(f"<|filler{index}|>" for index in range(51_865 - 256 - 1501 - 6))
    data = small_tokenizer_json(num_languages=2, special=filler)
    tokenizer = Tokenizer.from_whisper(complete_timestamps(json.dumps(data), 51_865, "small"), ["<A>"])
    assert tokenizer.is_multilingual
    expected = [
        "<|startoftranscript|>",
        "<|l0|>",
        "<|transcribe|>",
        "<|notimestamps|>",
    ]
    assert [tokenizer.token_name(token_id) for token_id in tokenizer.start_ids("l0")] == expected
    assert tokenizer.token_id("<A>") == 51_865
    with pytest.raises(CheckpointError, match=r'no token "<\|xx\|>"'):
        tokenizer.start_ids("xx")


# --- the library agrees ---


def test_the_tokenizers_library_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.get_vocab_size() == tokenizer.vocab_size
    vocabulary = library.get_vocab()
    assert all(vocabulary[tokenizer.token_name(i)] == i for i in range(tokenizer.vocab_size))
    written = "<|startoftranscript|><|notimestamps|> John Smith<|0.00|><|relations|><Work_For><|endoftext|>"
    expected = [50_257, 50_362, *tokenizer.encode_text(" John Smith"), 50_363, 51_864, 51_866, 50_256]
    assert library.encode(written, add_special_tokens=False).ids == expected


def test_save_and_load_are_inverse(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "mine.json")
    loaded = Tokenizer.load(tmp_path / "mine.json")
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.whisper_vocab_size == 51_864
    assert loaded.encode_text(" a <Peop> b") == tokenizer.encode_text(" a <Peop> b")
    assert [loaded.token_id(name) for name in NEW_TOKENS] == [51_864, 51_865, 51_866]


# --- text ---


@pytest.mark.parametrize("name", ["<|endoftext|>", "<|notimestamps|>", "<|0.00|>", "<|30.00|>", *NEW_TOKENS])
def test_a_special_token_in_a_text_stays_text(tokenizer: Tokenizer, name: str) -> None:
    ids = tokenizer.encode_text(f" said {name}.")
    assert all(token_id < tokenizer.num_text_tokens for token_id in ids)
    assert tokenizer.decode_text(ids) == f" said {name}."


def test_text_ids_are_the_librarys(tokenizer: Tokenizer, whisper_json: str) -> None:
    library = tokenizers.Tokenizer.from_str(whisper_json)
    for text in (" Bruno Pusterla works for the Agency.", "don't", "  two  spaces\n\n", " 日本 é 🙂"):
        assert tokenizer.encode_text(text) == library.encode(text, add_special_tokens=False).ids


@settings(deadline=None)
@given(text=st.text())
def test_decode_inverts_encode(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_text(" " + text)
    assert tokenizer.decode_text(ids) == " " + text
    assert not any(map(tokenizer.is_special, ids))


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 51_866), max_size=30))
def test_decode_is_total(tokenizer: Tokenizer, ids: list[int]) -> None:
    text = tokenizer.decode_text(ids)
    assert text.encode("utf-8").decode("utf-8") == text
    assert b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", errors="replace") == text


def test_a_character_cut_in_two_becomes_a_replacement(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_text("🙂")
    assert len(ids) > 1
    assert tokenizer.decode_text(ids[:1]) == "\ufffd"


def test_a_special_token_is_decoded_as_its_name(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode_text(" ok"), tokenizer.token_id("<Peop>"), tokenizer.eot_id]
    assert tokenizer.decode_text(ids) == " ok<Peop><|endoftext|>"


def test_a_lone_surrogate_is_not_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode_text("\ud800")


# --- completing the timestamps ---


def test_missing_timestamps_are_added_behind_notimestamps() -> None:
    data = small_tokenizer_json()
    num_before = 256 + len(data["added_tokens"])
    completed = complete_timestamps(json.dumps(data), num_before + 1501, "small")
    names = [token["content"] for token in json.loads(completed)["added_tokens"]]
    assert names[-1501:][:2] == ["<|0.00|>", "<|0.02|>"]
    assert names[-1] == "<|30.00|>"
    assert complete_timestamps(completed, num_before + 1501, "small") == completed
    assert Tokenizer.from_whisper(completed, ["<A>"]).token_id("<A>") == num_before + 1501


def test_new_tokens_never_take_a_timestamps_id() -> None:
    with pytest.raises(CheckpointError, match="does not end with its timestamp tokens"):
        Tokenizer.from_whisper(json.dumps(small_tokenizer_json()), ["<A>"])
    data = small_tokenizer_json()
    data["added_tokens"].append({**data["added_tokens"][0], "id": 261, "content": "<A>"})
    with pytest.raises(CheckpointError, match=r'token 261 of the tokenizer is "<A>"; expected "<\|0.00\|>"'):
        complete_timestamps(json.dumps(data), 261 + 1501, "small")


def test_a_tokenizer_of_another_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match="the tokenizer has 1762 tokens, the weights have 1763"):
        complete_timestamps(json.dumps(small_tokenizer_json()), 1763, "small")


# --- broken files ---


def without_notimestamps() -> str:
    data = small_tokenizer_json()
    data["added_tokens"].pop()
    return json.dumps(data)


def with_gap() -> str:
    data = small_tokenizer_json()
    data["added_tokens"][-1]["id"] = 999
    return json.dumps(data)


def with_wide_character() -> str:
    data = json.loads(complete_timestamps(json.dumps(small_tokenizer_json()), 1762, "small"))
    data["model"]["vocab"] = {"日" if i == 7 else name: i for name, i in data["model"]["vocab"].items()}
    return json.dumps(data)


def with_unknown_model() -> str:
    data = json.loads(complete_timestamps(json.dumps(small_tokenizer_json()), 1762, "small"))
    data["pre_tokenizer"] = {"type": "Nonsense"}
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "no BPE vocabulary"),
        ('{"model": {"vocab": []}}', "no BPE vocabulary"),
        ('{"model": {"vocab": {}}, "added_tokens": {}}', "added_tokens is not a list"),
        ('{"model": {"vocab": {"a": "x"}}}', "malformed token"),
        ('{"model": {"vocab": {}}, "added_tokens": [{"id": 0}]}', "malformed token"),
        (
            '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "a"}]}',
            "has the ids 0 and 1",
        ),
        (without_notimestamps(), r"no token \"<\|notimestamps\|>\""),
        (with_gap(), "gap or a duplicate"),
        (with_wide_character(), "not a character of byte-level BPE"),
        (with_unknown_model(), "library refuses"),
    ],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=reason) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.json: the tokenizer cannot be read"):
        Tokenizer.load(tmp_path / "absent.json")
