"""A model is a folder in the Hugging Face way: config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
preprocessor_config.json, README.md. No pickle anywhere.

config.json holds the Whisper sizes, the schema, the resolved run and the SHA-256 of the weights, so that a partial,
corrupt or mismatched folder is refused before it can answer wrongly. A model with a text reader has that one's weights
in reader.safetensors (earlier models: in model.safetensors, under "reader.") and its tokenizer in
reader_tokenizer.json; one that can listen with changed weights too has the changes in adapter.safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechre.config import Config
from speechre.digests import file_sha256
from speechre.errors import CheckpointError, SpeechreError, UnknownModelError
from speechre.model.adapter import Adapter, load_adapter, save_adapter
from speechre.model.backbone import sinusoids
from speechre.model.blank import blank_modules
from speechre.model.card import model_card
from speechre.model.device import use_one_thread_after_fork
from speechre.model.folders import replaced_folder
from speechre.model.network import SpeechReNetwork
from speechre.model.quantize import pack, unpack
from speechre.model.sequence import Sequencer
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperConfig
from speechre.reader.reader import TextModel, text_model_of
from speechre.schema import Schema

FORMAT = 1
PRETRAINED_DIR = Path(__file__).parent.parent / "pretrained"
DEFAULT_MODEL = "speechre-tiny-conll04"
_ENCODER_POSITIONS = "whisper.encoder.embed_positions.weight"
_READER = "reader."
_READER_WEIGHTS = "reader.safetensors"
_READER_TOKENIZER = "reader_tokenizer.json"
ADAPTER = "adapter.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model: everything that inference needs."""

    name: str
    network: SpeechReNetwork
    tokenizer: Tokenizer
    schema: Schema
    config: Config
    weights_sha256: str
    reader: TextModel | None = None
    adapter: Adapter | None = None

    @property
    def model_id(self) -> str:
        """``name@hash``: which weights answered."""
        return f"{self.name}@{self.weights_sha256[:6]}"

    def sequencer(self) -> Sequencer:
        return Sequencer(self.tokenizer, self.schema, self.config.model.prompt_style)


def save_checkpoint(
    folder: Path,
    network: SpeechReNetwork,
    tokenizer: Tokenizer,
    schema: Schema,
    config: Config,
    dtype: torch.dtype = torch.float32,
    reader: TextModel | None = None,
    adapter: Adapter | None = None,
) -> None:
    """Write the folder whole or not at all: built beside its place, then moved.

    ``dtype`` float16 halves the file, int8 quarters it (see :mod:`speechre.model.quantize`). ``reader`` has the model's
    schema, ``adapter`` changes its network. Raises :class:`UsageError` when the folder cannot be written.
    """
    with replaced_folder(folder) as building:
        sha256 = {"weights_sha256": _write_weights(building / "model.safetensors", _without_sinusoids(network), dtype)}
        if reader is not None:
            sha256["reader_sha256"] = _write_weights(building / _READER_WEIGHTS, reader.network.state_dict(), dtype)
            (building / _READER_TOKENIZER).write_text(reader.tokenizer.json, encoding="utf-8")
        if adapter is not None:
            adapter.check(network, "the adapter")
            save_adapter(building / ADAPTER, adapter)
            sha256["adapter_sha256"] = file_sha256(building / ADAPTER)
        tokenizer.save(building / "tokenizer.json")
        _write_json(
            building / "config.json",
            {
                "model_type": "speechre",
                "format": FORMAT,
                "name": config.name,
                "whisper": network.config.to_dict(),
                "schema": schema.to_dict(),
                "run": config.to_dict(),
                **sha256,
                **({} if reader is None else {"reader": reader.describe()}),
            },
        )
        _write_json(building / "tokenizer_config.json", _tokenizer_config(network.config))
        _write_json(building / "preprocessor_config.json", _preprocessor_config(network.config))
        card = model_card(config, schema, network.config, reader is not None, adapter is not None)
        (building / "README.md").write_text(card, encoding="utf-8", newline="\n")


def _write_weights(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype) -> str:
    """The file's SHA-256."""
    save_file(pack(state, dtype), path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes 0600, and a service runs as another user
    return file_sha256(path)


def _without_sinusoids(network: SpeechReNetwork) -> dict[str, Tensor]:
    """A network's tensors without the encoder's positions, where these are the fixed ones that Whisper came with.

    A table that can be computed costs base 0.8 MB of the 95 that a shipped file may have. Published weights hold it in
    float16.
    """
    state = network.state_dict()
    positions_FD = state[_ENCODER_POSITIONS]
    is_fixed = torch.allclose(positions_FD.float().cpu(), sinusoids(*positions_FD.shape), atol=1e-3)
    return {name: tensor for name, tensor in state.items() if not (is_fixed and name == _ENCODER_POSITIONS)}


def _tokenizer_config(whisper: WhisperConfig) -> dict[str, Any]:
    """What transformers' AutoTokenizer wants beside tokenizer.json; ours needs nothing of it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": whisper.max_target_positions,
    }


def _preprocessor_config(whisper: WhisperConfig) -> dict[str, Any]:
    """The spectrogram, as transformers' AutoFeatureExtractor reads it."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "sampling_rate": 16000,
        "feature_size": whisper.num_mel_bins,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_folder(name_or_path: str) -> Path:
    """A shipped model's name or a folder's path to the folder.

    Raises :class:`UnknownModelError` listing the shipped names.
    """
    shipped = PRETRAINED_DIR / name_or_path
    if re.fullmatch(r"\w[\w.-]*", name_or_path) and os.path.isfile(shipped / "config.json"):
        return shipped
    path = Path(name_or_path)
    if name_or_path and os.path.isdir(path):  # an empty name is no model, but to Path it is the folder one is in
        return path
    known = ", ".join(sorted(p.name for p in PRETRAINED_DIR.glob("*/") if (p / "config.json").is_file())) or "none"
    what = "is a file, not a model folder" if os.path.isfile(path) else "is neither a folder nor a shipped model"
    raise UnknownModelError(f'model "{name_or_path}" {what}; shipped models: {known}')


def load_checkpoint(name_or_path: str, device: str = "cpu") -> Checkpoint:
    """Load a model folder in float32.

    Raises :class:`CheckpointError` when a file is missing, unreadable, from another format or does not fit the others.
    """
    use_one_thread_after_fork()
    folder = model_folder(name_or_path)
    _check_files(folder, ("config.json", "model.safetensors", "tokenizer.json"))
    data = _read_config(folder / "config.json")
    if "reader" in data:
        _check_files(folder, (_READER_TOKENIZER, *([_READER_WEIGHTS] if "reader_sha256" in data else [])))
    if "adapter_sha256" in data:
        _check_files(folder, (ADAPTER,))
    try:
        whisper = WhisperConfig.from_dict(data["whisper"])
        schema = Schema.from_dict(data["schema"])
        config = Config.from_dict(data["run"], str(folder / "config.json"))
        name = str(data["name"])
        sha256 = {"model.safetensors": str(data["weights_sha256"])}
        if "reader_sha256" in data:
            sha256[_READER_WEIGHTS] = str(data["reader_sha256"])
        if "adapter_sha256" in data:
            sha256[ADAPTER] = str(data["adapter_sha256"])
    except (AttributeError, KeyError, TypeError, ValueError, SpeechreError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: not a complete speechre config: {error}") from error
    for file_name, expected in sha256.items():
        if file_sha256(folder / file_name) != expected:
            raise CheckpointError(
                f"{folder / file_name}: the file is not the one config.json was written for (SHA-256 differs); "
                "it is incomplete, corrupt or from another model. Copy the folder again"
            )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    state, reader_state = _split_reader(_load_weights(folder / "model.safetensors"))
    if _READER_WEIGHTS in sha256:
        reader_state = _load_weights(folder / _READER_WEIGHTS)
    network = _make_network(state, folder / "model.safetensors", whisper, len(schema.relation_types))
    if tokenizer.vocab_size != whisper.vocab_size:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: has {tokenizer.vocab_size} tokens, the model {whisper.vocab_size}"
        )
    network.to(device).eval()
    reader = None
    if "reader" in data or reader_state:
        reader = _load_reader(folder, data.get("reader"), reader_state, schema)
        reader.network.to(device)
    adapter = None
    if ADAPTER in sha256:
        adapter = load_adapter(folder / ADAPTER).to(network.device)
        adapter.check(network, str(folder / ADAPTER))
    checkpoint = Checkpoint(
        name, network, tokenizer, schema, config, _digest_of(list(sha256.values())), reader, adapter
    )
    checkpoint.sequencer()  # raises if the tokenizer belongs to another schema
    return checkpoint


def _read_config(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(data, dict) or data.get("model_type") != "speechre":
        got = data.get("model_type") if isinstance(data, dict) else type(data).__name__
        raise CheckpointError(f'{path}: model_type is {got!r}, expected "speechre"; train one with speechre train')
    if data.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {data.get('format')!r}, this version of speechre reads {FORMAT}")
    return data


def _check_files(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; a model folder is written by speechre train")


def _digest_of(sha256: Sequence[str]) -> str:
    """One digest for all files of weights: with another reader it is another model."""
    return sha256[0] if len(sha256) == 1 else hashlib.sha256("".join(sha256).encode()).hexdigest()


def _load_weights(path: Path) -> dict[str, Tensor]:
    """A file's tensors in float32."""
    try:
        return unpack(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def _split_reader(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The speech model's tensors, and the reader's where they lie in the same file."""
    ours = {name: tensor for name, tensor in state.items() if not name.startswith(_READER)}
    reader = {name.removeprefix(_READER): tensor for name, tensor in state.items() if name.startswith(_READER)}
    return ours, reader


def _load_reader(folder: Path, data: Any, state: dict[str, Tensor], schema: Schema) -> TextModel:
    if not isinstance(data, dict):
        raise CheckpointError(f"{folder / 'config.json'}: says nothing of the reader whose weights are in the model")
    try:
        tokenizer_json = (folder / _READER_TOKENIZER).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder / _READER_TOKENIZER}: cannot be read: {error}") from error
    reader = text_model_of(data, tokenizer_json, state, str(folder))
    if reader.schema != schema:
        raise CheckpointError(f"{folder / 'config.json'}: the reader's schema is not the model's")
    return reader


def _make_network(state: dict[str, Tensor], path: Path, whisper: WhisperConfig, num_relations: int) -> SpeechReNetwork:
    with blank_modules():
        network = SpeechReNetwork(whisper, num_relations)
    if _ENCODER_POSITIONS not in state:
        state = {**state, _ENCODER_POSITIONS: sinusoids(whisper.max_source_positions, whisper.d_model)}
    expected = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in network.state_dict().items()}
    for name, (shape, dtype) in expected.items():
        if name not in state:
            raise CheckpointError(f"{path}: tensor {name} is missing")
        if state[name].dtype != dtype:
            raise CheckpointError(f"{path}: tensor {name} holds {state[name].dtype} without a scale, expected {dtype}")
        if tuple(state[name].shape) != shape:
            raise CheckpointError(f"{path}: tensor {name} is {tuple(state[name].shape)}, config.json says {shape}")
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise CheckpointError(f"{path}: unknown tensor {unknown[0]} (and {len(unknown) - 1} more)")
    network.load_state_dict(state, assign=True)
    return network
