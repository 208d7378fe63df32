"""An adapter: low-rank changes of a network's matrices (LoRA, Hu et al. 2021), kept in a small file of their own.

Where a model has one, its weights are two networks in little more than the space of one: as they are, and changed. Both
can listen (:mod:`speechre.extract.listener`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechre.errors import CheckpointError
from speechre.model.network import SpeechReNetwork
from speechre.model.quantize import pack

_DOWN, _UP = ".down", ".up"
_ENCODER_LAYER = re.compile(r"whisper\.encoder\.layers\.(\d+)\.")
_HEARD = re.compile(r"whisper\.encoder\.|whisper\.decoder\.layers\.\d+\.encoder_attn\.[kv]_proj$")


@dataclass(frozen=True)
class Adapter:
    """Changes by the names of linear layers: a matrix W (O, I) becomes W + up @ down, with ``down`` (r, I) and ``up``
    (O, r) in float32.
    """

    changes: Mapping[str, tuple[Tensor, Tensor]]

    def to(self, device: torch.device) -> Adapter:
        """The same changes, for a network on another device."""
        return Adapter({name: (down.to(device), up.to(device)) for name, (down, up) in self.changes.items()})

    def check(self, network: SpeechReNetwork, where: str) -> None:
        """Raises :class:`CheckpointError`, which says ``where`` the adapter is from, unless its changes fit."""
        linears = {name: one for name, one in network.named_modules() if isinstance(one, nn.Linear)}
        for name, (down, up) in self.changes.items():
            size = up.shape[0], down.shape[1]
            found = f"of {tuple(linears[name].weight.shape)}" if name in linears else "missing"
            if name not in linears or linears[name].weight.shape != size:
                raise CheckpointError(
                    f"{where}: changes {name}, a matrix of {size}, which in this model is {found}; an adapter belongs "
                    "to the model that its training started from"
                )

    def heard_part(self) -> Adapter:
        """The changes alone of the encoder, and of what makes keys and values of what was heard."""
        return Adapter({name: change for name, change in self.changes.items() if _HEARD.match(name)})

    def num_equal_layers(self, network: SpeechReNetwork) -> int:
        """How many of the encoder's first layers it does not change."""
        numbers = [int(found[1]) for name in self.changes if (found := _ENCODER_LAYER.match(name))]
        return min(numbers, default=len(network.whisper.encoder.layers))

    @torch.no_grad()
    def applied_to(self, network: SpeechReNetwork) -> SpeechReNetwork:
        """The changed network; what does not change is shared with ``network``, embeddings above all. The changes fit
        it (:meth:`check`).
        """
        shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        changed = copy.deepcopy(network, shared)
        for name, (down, up) in self.changes.items():
            linear = changed.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            linear.weight = nn.Parameter(linear.weight + (up @ down).to(linear.weight), requires_grad=False)
        return changed


def combined(adapters: Sequence[Adapter], weights: Sequence[float], rank: int) -> tuple[Adapter, list[float]]:
    """The weighted sum of changes of the same matrices, each as the nearest change of this rank (or less); and of each
    matrix the share of the sum's squared length that is lost.
    """
    changes, lost = {}, []
    for name in adapters[0].changes:
        downs, ups = zip(*(one.changes[name] for one in adapters), strict=True)
        left, left_triangle = torch.linalg.qr(torch.cat([w * up for w, up in zip(weights, ups, strict=True)], dim=1))
        right, right_triangle = torch.linalg.qr(torch.cat(downs).T)
        # The singular values of the whole product are those of the small one between two orthogonal matrices.
        before, strengths, behind = torch.linalg.svd(left_triangle @ right_triangle.T)
        roots = strengths[:rank].sqrt()
        changes[name] = (roots[:, None] * behind[:rank]) @ right.T, left @ before[:, :rank] * roots
        total = float(strengths.square().sum())
        lost.append(float(strengths[rank:].square().sum()) / total if total else 0.0)
    return Adapter(changes), lost


def save_adapter(path: Path, adapter: Adapter) -> None:
    """One safetensors file, in float16, written whole or not at all."""
    state: dict[str, Tensor] = {}
    for name, (down, up) in adapter.changes.items():
        state |= {name + _DOWN: down, name + _UP: up}
    building = path.with_name(path.name + ".tmp")
    save_file(pack(state, torch.float16), building, metadata={"format": "pt"})
    building.chmod(0o644)  # safetensors writes 0600, and a service runs as another user
    building.replace(path)


def load_adapter(path: Path) -> Adapter:
    """Raises :class:`CheckpointError` on what is no adapter."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    names = sorted({name.removesuffix(_DOWN).removesuffix(_UP) for name in state})
    changes = {}
    for name in names:
        down, up = state.get(name + _DOWN), state.get(name + _UP)
        if down is None or up is None or down.dim() != 2 or up.dim() != 2 or up.shape[1] != down.shape[0]:
            raise CheckpointError(
                f"{path}: {name} is no low-rank change; expected the adapter.safetensors of speechre train with "
                "train.lora_rank"
            )
        changes[name] = down.float(), up.float()
    if not changes:
        raise CheckpointError(
            f"{path}: holds no change; expected the adapter.safetensors of speechre train with train.lora_rank"
        )
    return Adapter(changes)
