"""A trained text model as a folder: config.json (sizes, schema, how it was trained, the SHA-256 of the weights),
model.safetensors and tokenizer.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from speechre.digests import file_sha256
from speechre.errors import CheckpointError
from speechre.model.folders import replaced_folder
from speechre.reader.reader import TextModel, text_model_of

MODEL_TYPE = "speechre-text"
FORMAT = 1


def save_text_model(folder: Path, model: TextModel) -> None:
    """Write the folder whole or not at all. Raises :class:`UsageError` when it cannot be written."""
    with replaced_folder(folder) as building:
        weights = building / "model.safetensors"
        save_file({name: tensor.contiguous().cpu() for name, tensor in model.network.state_dict().items()}, weights)
        weights.chmod(0o644)
        (building / "tokenizer.json").write_text(model.tokenizer.json, encoding="utf-8")
        config = {
            "model_type": MODEL_TYPE,
            "format": FORMAT,
            **model.describe(),
            "weights_sha256": file_sha256(weights),
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (building / "config.json").write_text(text, encoding="utf-8")


def is_text_model(folder: Path) -> bool:
    """Whether ``folder`` says that it holds a text model, whole or not."""
    try:
        data: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("model_type") == MODEL_TYPE


def load_text_model(folder: Path) -> TextModel:
    """The inverse of :func:`save_text_model`, in evaluation mode.

    Raises :class:`CheckpointError` when a file is missing, unreadable, of another format or does not fit the others.
    """
    try:
        data: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        sha256 = file_sha256(folder / "model.safetensors")
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be read as a text model: {error}") from error
    kind = data.get("model_type") if isinstance(data, dict) else type(data).__name__
    if kind != MODEL_TYPE or data.get("format") != FORMAT:
        raise CheckpointError(
            f'{folder / "config.json"}: model_type is {kind!r}, expected "{MODEL_TYPE}" of format {FORMAT}; '
            "train one with speechre train-reader"
        )
    if data.get("weights_sha256") != sha256:
        raise CheckpointError(f"{folder}: model.safetensors is not the file that config.json was written for")
    return text_model_of(data, tokenizer_json, state, str(folder), sha256)
