"""Text to token ids and back: Whisper's byte-level BPE, its special tokens and ours behind them.

The id space has three parts: plain text below :attr:`Tokenizer.num_text_tokens`, then Whisper's special
tokens (end, start, languages, tasks, 1,501 timestamps), then, from Whisper's own vocabulary size on, the
tokens of a schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import tokenizers

from speechre.errors import CheckpointError

_END, _START = "<|endoftext|>", "<|startoftranscript|>"
_NO_TIMESTAMPS, _TRANSCRIBE = "<|notimestamps|>", "<|transcribe|>"
_TIMESTAMPS = tuple(f"<|{index * 0.02:.2f}|>" for index in range(1501))
# The English-only models know 51,864 tokens; those of many languages have at least one more.
_MIN_MULTILINGUAL_VOCAB = 51865


class Tokenizer:
    """Whisper's tokenizer with new special tokens at the end.

    Text and special tokens never mix: :meth:`encode_text` gives plain text ids only, whatever the text says;
    special tokens are asked for by name (:meth:`token_id`).
    """

    def __init__(self, tokenizer_json: str, where: str = "tokenizer.json") -> None:
        """From the text of a complete tokenizer.json; ``where`` names it in errors.

        Raises :class:`CheckpointError` if it is malformed, is not byte-level BPE, or lacks one of Whisper's
        tokens.
        """
        data = _parse(tokenizer_json, where)
        self._json = tokenizer_json
        self._where = where
        self._id_of = _all_tokens(data, where)
        self._name_of = {token_id: name for name, token_id in self._id_of.items()}
        self._vocab_size = _check_contiguous(self._name_of, where)
        self.sot_id = self.token_id(_START)
        self.eot_id = self.token_id(_END)
        self.notimestamps_id = self.token_id(_NO_TIMESTAMPS)
        self._whisper_vocab_size = self.token_id(_TIMESTAMPS[-1]) + 1
        self._text = _text_tokenizer(data, where)
        _check_characters(self._name_of, self.eot_id, where)

    @classmethod
    def from_whisper(cls, tokenizer_json: str, new_tokens: Sequence[str]) -> Tokenizer:
        """Whisper's tokenizer, as :func:`speechre.model.weights.load_whisper` gives it, plus ``new_tokens``
        in this order.

        The first new id is Whisper's vocabulary size (51,864 for tiny.en). Raises :class:`CheckpointError` if
        a new token is empty, stands twice or is known already, or if ``tokenizer_json`` lacks timestamps.
        """
        data = _parse(tokenizer_json, "Whisper's tokenizer.json")
        known = _all_tokens(data, "Whisper's tokenizer.json")
        first_id = max(known.values()) + 1
        if known.get(_TIMESTAMPS[-1]) != first_id - 1:
            raise CheckpointError(
                "Whisper's tokenizer.json does not end with its timestamp tokens, so new tokens would take "
                "their ids; complete it with speechre.model.tokenizer.complete_timestamps"
            )
        for index, name in enumerate(new_tokens):
            if not name or name in known:
                raise CheckpointError(f'new token "{name}" is empty, stands twice or is in the vocabulary; rename it')
            known[name] = first_id + index
            data["added_tokens"].append(_added_token(name, first_id + index, special=True))
        return cls(json.dumps(data, ensure_ascii=False), "Whisper's tokenizer.json with new tokens")

    def with_new_tokens(self, new_tokens: Sequence[str]) -> Tokenizer:
        """The same Whisper's tokenizer with ``new_tokens`` in place of those behind its vocabulary; raises as
        :meth:`from_whisper` does.
        """
        data = _parse(self._json, self._where)
        data["added_tokens"] = [token for token in data["added_tokens"] if int(token["id"]) < self._whisper_vocab_size]
        return Tokenizer.from_whisper(json.dumps(data, ensure_ascii=False), new_tokens)

    # --- disk ---

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json that the ``tokenizers`` library reads too; a folder gets it under that
        name."""
        _file_of(path).write_text(self._json, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """The inverse of :meth:`save`. Raises :class:`CheckpointError` if the file is missing or
        malformed."""
        file = _file_of(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{file}: the tokenizer cannot be read: {error}") from error
        return cls(text, str(file))

    # --- text ---

    def encode_text(self, text: str) -> list[int]:
        """Plain BPE ids of ``text``, each below :attr:`num_text_tokens`.

        A literal ``<|endoftext|>`` or ``<Peop>`` in the text stays text. Raises ``UnicodeEncodeError`` on
        lone surrogates, which are not text.
        """
        text.encode("utf-8")
        return [int(token_id) for token_id in self._text.encode(text, add_special_tokens=False).ids]

    def decode_text(self, token_ids: Iterable[int]) -> str:
        """The text of ``token_ids``; bytes that are not UTF-8 (a character cut in two) become U+FFFD.

        A special token is written by its name, so that nothing is dropped; strip what should not show before
        the call. Raises :class:`CheckpointError` on an id outside the vocabulary.
        """
        return b"".join(self.token_bytes(token_id) for token_id in token_ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; of a special token, its name. Raises :class:`CheckpointError` if
        unknown."""
        if 0 <= token_id < self.num_text_tokens:
            return bytes(map(_byte_of_character().__getitem__, self._name_of[token_id]))
        return self.token_name(token_id).encode("utf-8")

    # --- ids ---

    def token_id(self, name: str) -> int:
        """The id of the token ``name`` (``<|order|>``). Raises :class:`CheckpointError` if there is none."""
        if name not in self._id_of:
            raise CheckpointError(
                f'{self._where}: there is no token "{name}" among {self._vocab_size}; '
                "the tokenizer belongs to another model or schema"
            )
        return self._id_of[name]

    def token_name(self, token_id: int) -> str:
        """The name of the token ``token_id``. Raises :class:`CheckpointError` on an id outside the
        vocabulary."""
        if token_id not in self._name_of:
            raise CheckpointError(f"{self._where}: there is no token {token_id}; expected 0 to {self._vocab_size - 1}")
        return self._name_of[token_id]

    def is_special(self, token_id: int) -> bool:
        """Whether the id is one of Whisper's special tokens or ours, not text."""
        return token_id >= self.num_text_tokens

    def start_ids(self, language: str = "en") -> tuple[int, ...]:
        """How a transcript without timestamps starts: start, language and task (if multilingual), no
        timestamps.

        Raises :class:`CheckpointError` on a language that the model does not know.
        """
        if self.is_multilingual:
            return (self.sot_id, self.language_id(language), self.token_id(_TRANSCRIBE), self.notimestamps_id)
        if language != "en":
            raise CheckpointError(f'{self._where}: the model knows English only; got language "{language}"')
        return (self.sot_id, self.notimestamps_id)

    def language_id(self, language: str) -> int:
        """The token of a language by its code (``en``, ``de``). Raises :class:`CheckpointError` on an unknown
        one."""
        return self.token_id(f"<|{language}|>")

    @property
    def is_multilingual(self) -> bool:
        """Whether the Whisper underneath was trained on more than English."""
        return self._whisper_vocab_size >= _MIN_MULTILINGUAL_VOCAB

    @property
    def num_text_tokens(self) -> int:
        """Ids below this are plain text (50,256 for English-only models, 50,257 for others)."""
        return self.eot_id

    @property
    def whisper_vocab_size(self) -> int:
        """Whisper's own vocabulary size: the id of the first new token."""
        return self._whisper_vocab_size

    @property
    def vocab_size(self) -> int:
        """All tokens, the new ones included."""
        return self._vocab_size


def complete_timestamps(tokenizer_json: str, vocab_size: int, where: str) -> str:
    """Adds those of Whisper's 1,501 timestamp tokens that a tokenizer.json lacks, at the ids behind
    ``<|notimestamps|>``.

    The result has exactly ``vocab_size`` tokens with the ids 0 to ``vocab_size`` - 1. Raises
    :class:`CheckpointError`, naming ``where``, if the file is malformed, another token holds a timestamp's
    id, or the sizes differ.
    """
    data = _parse(tokenizer_json, where)
    known = _all_tokens(data, where)
    if _NO_TIMESTAMPS not in known:
        raise CheckpointError(f"{where}: the tokenizer has no {_NO_TIMESTAMPS}; it is not Whisper's")
    first_id = known[_NO_TIMESTAMPS] + 1
    taken = {token_id: name for name, token_id in known.items()}
    missing = []
    for token_id, name in enumerate(_TIMESTAMPS, start=first_id):
        if known.get(name, token_id) != token_id or taken.get(token_id, name) != name:
            raise CheckpointError(
                f'{where}: token {token_id} of the tokenizer is "{taken.get(token_id)}"; expected "{name}"'
            )
        if name not in known:
            missing.append(_added_token(name, token_id, special=False))
    # The tokenizers library numbers added tokens as it meets them, so the list must stay in the order of the
    # ids.
    data["added_tokens"] = sorted([*data["added_tokens"], *missing], key=lambda token: int(token["id"]))
    completed = _check_contiguous({i: name for name, i in _all_tokens(data, where).items()}, where)
    if completed != vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {completed} tokens, the weights have {vocab_size}; they belong to two models"
        )
    return json.dumps(data, ensure_ascii=False) if missing else tokenizer_json


def _added_token(name: str, token_id: int, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": token_id, "content": name, **flags}


def _file_of(path: str | Path) -> Path:
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path


def _parse(tokenizer_json: str, where: str) -> dict[str, Any]:
    """The JSON object, with ``model.vocab`` and a list ``added_tokens`` in it, or a CheckpointError."""
    try:
        data = json.loads(tokenizer_json)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{where}: the tokenizer is not JSON: {error}") from error
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise CheckpointError(f"{where}: the tokenizer has no BPE vocabulary; expected a tokenizer.json of Whisper")
    if not isinstance(data.setdefault("added_tokens", []), list):
        raise CheckpointError(f"{where}: added_tokens is not a list; expected a tokenizer.json of Whisper")
    return cast("dict[str, Any]", data)


def _all_tokens(data: dict[str, Any], where: str) -> dict[str, int]:
    """Name -> id of the BPE vocabulary and the added tokens together."""
    try:
        tokens = {str(name): int(token_id) for name, token_id in data["model"]["vocab"].items()}
        for token in data["added_tokens"]:
            name, token_id = str(token["content"]), int(token["id"])
            if tokens.setdefault(name, token_id) != token_id:
                raise CheckpointError(f'{where}: token "{name}" has the ids {tokens[name]} and {token_id}')
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: malformed token: {error!r}; expected a tokenizer.json of Whisper") from error
    return tokens


def _check_contiguous(name_of: dict[int, str], where: str) -> int:
    """The number of tokens; raises unless the ids are 0, 1, 2, ... without a gap."""
    gap = next((index for index in range(len(name_of)) if index not in name_of), None)
    if gap is not None:
        raise CheckpointError(
            f"{where}: the tokenizer's ids have a gap or a duplicate at {gap}; expected every id once"
        )
    return len(name_of)


def _text_tokenizer(data: dict[str, Any], where: str) -> Any:
    """The BPE alone. Without added tokens and templates there is nothing in a text that could become a
    special token.

    ``encode_special_tokens`` of the library is not enough: it lets added tokens that are not flagged as
    special (the timestamps in Whisper's own file) through.
    """
    plain = {**data, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    # The library raises a bare Exception for every malformed file.
    except Exception as error:
        raise CheckpointError(f"{where}: the tokenizers library refuses the tokenizer: {error}") from error


@lru_cache(maxsize=1)
def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable character: itself if it is one, else shifted up from
    U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(shifted)}


def _check_characters(name_of: dict[int, str], num_text_tokens: int, where: str) -> None:
    unknown = set("".join(name_of[token_id] for token_id in range(num_text_tokens))) - _byte_of_character().keys()
    if unknown:
        raise CheckpointError(
            f"{where}: {min(unknown)!r} is not a character of byte-level BPE; expected Whisper's vocabulary"
        )
