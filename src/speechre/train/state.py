"""A training run on disk: weights, optimizer moments and the step, as safetensors and JSON, written whole or not at
all.

There is no random state to save: every random choice follows from (seed, epoch, utterance id).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechre.config import Config
from speechre.digests import file_sha256
from speechre.errors import CheckpointError, ConfigError
from speechre.model.folders import replaced_by_interrupted, replaced_folder

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")

# What may differ between the two halves of one run: how often it is looked at, and where it is run.
_FREE_TO_CHANGE = (("train", "eval_every"), ("train", "eval_utterances"), ("train", "save_every"), ("train", "device"))


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    best: dict[str, float]


def save_state(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, config: Config
) -> None:
    """Replace the run's state. A ``kill -9`` at any moment leaves the old state or the new one.

    Raises :class:`UsageError` when it cannot be written; the old state is still there then.
    """
    with replaced_folder(folder) as building:
        save_file({k: v.contiguous().cpu() for k, v in network.state_dict().items()}, building / "network.safetensors")
        save_file(_moments(network, optimizer), building / "optimizer.safetensors")
        state = {
            "step": progress.step,
            "best": progress.best,
            "config": config.to_dict(),
            "sha256": {name: file_sha256(building / name) for name in ("network.safetensors", "optimizer.safetensors")},
        }
        (building / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def _moments(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{moment}": torch.as_tensor(optimizer.state[parameter][moment]).contiguous().cpu()
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
        for moment in _MOMENTS
    }


def find_state(folder: Path) -> Path | None:
    """The newest whole state, also after a kill between the two renames of a replacement."""
    earlier_versions = folder.with_name(folder.name + ".old")  # where they left it after such a kill
    for path in (folder, *replaced_by_interrupted(folder), earlier_versions):
        if (path / "state.json").is_file():
            return path
    return None


def load_state(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, config: Config) -> Progress:
    """Restore a run in place.

    Raises :class:`CheckpointError` if there is none or it is damaged, :class:`ConfigError` if it is a run of another
    config.
    """
    found = find_state(folder)
    if found is None:
        raise CheckpointError(f"{folder}: there is no run to resume; start one without --resume")
    try:
        state = json.loads((found / "state.json").read_text(encoding="utf-8"))
        for name, sha256 in state["sha256"].items():
            if file_sha256(found / name) != sha256:
                raise CheckpointError(f"{found / name}: damaged (SHA-256 differs); start the run anew")
        tensors = load_file(found / "network.safetensors")
        moments = load_file(found / "optimizer.safetensors")
        progress = Progress(int(state["step"]), dict(state["best"]))
        old = Config.from_dict(state["config"], str(found / "state.json"))
    except (OSError, AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{found}: not a readable run state: {error!r}; start the run anew") from error
    _check_same_run(old, config, found)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:  # the same config, but another schema file or other backbone weights behind it
        raise CheckpointError(
            f"{found}: the run's network has other sizes than this config makes: {' '.join(str(error).split())}"
        ) from error
    for name, parameter in network.named_parameters():
        values = {moment: moments.get(f"{name}/{moment}") for moment in _MOMENTS}
        if all(value is not None for value in values.values()):
            # The count of steps too: a fused optimizer keeps it where its parameters are.
            optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in values.items() if v is not None}
    return progress


def _check_same_run(old: Config, new: Config, where: Path) -> None:
    def relevant(config: Config) -> dict[str, Any]:
        data = config.to_dict()
        for section, key in _FREE_TO_CHANGE:
            data[section].pop(key)
        data.pop("decode")
        return {
            f"{section}.{k}": v for section, part in data.items() if isinstance(part, dict) for k, v in part.items()
        }

    before, after = relevant(old), relevant(new)
    changed = [key for key in before if before[key] != after[key]]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"{where}: the run was started with {key} = {before[key]!r}, now it is {after[key]!r}; "
            "resume with the same config, or start a new run in another folder"
        )
