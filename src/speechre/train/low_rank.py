"""Training a small change of Whisper in place of Whisper: low-rank adaptation (LoRA, Hu et al. 2021, section 4.1).

Every matrix W of the layers that learn stays as it is and gets a change B A of a low rank beside it. What is learned is
a small part of the weights, so less of what Whisper could hear is written over. After training the change is added to
W: a model folder knows nothing of it.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.model.adapter import Adapter
from speechre.model.network import SpeechReNetwork


class LowRankLinear(nn.Linear):
    """A linear layer (in: I, out: O) whose weights stay, with a change of rank r that learns: ``down`` (r, I), random,
    and ``up`` (O, r), zero at the start. The change is scaled by 1 / sqrt(r), so that what a learning rate does depends
    little on r (rsLoRA, Kalajdzievski 2023).
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        like = linear.weight
        down = torch.empty(rank, linear.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.down = nn.Parameter(down.to(like))
        self.up = nn.Parameter(like.new_zeros(linear.out_features, rank))
        self.scale = 1 / math.sqrt(rank)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.down), self.up)

    def without(self) -> nn.Linear:
        """The layer as it is without the change."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear


def add_low_rank(network: SpeechReNetwork, rank: int, seed: int = 1) -> None:
    """Let Whisper's layers, but those that are frozen, learn by changes of this rank alone, and nothing else of Whisper
    but the embeddings of tokens. The relation head learns as it did. Changes start as none, in directions that the
    ``seed`` draws.
    """
    whisper = network.whisper
    learning = [name for name, module in whisper.named_modules() if _is_learning(module)]
    for name, parameter in whisper.named_parameters():
        if name != "decoder.embed_tokens.weight":
            parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in learning:
        linear = whisper.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        whisper.set_submodule(name, LowRankLinear(linear, rank, generator))


def _is_learning(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and module.weight.requires_grad


def only_changes_learn(network: SpeechReNetwork) -> bool:
    """Whether low-rank changes are all that training moves, so that they alone say what was learned."""
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    changes = {
        f"{name}.{part}"
        for name, module in network.named_modules()
        if isinstance(module, LowRankLinear)
        for part in ("down", "up")
    }
    return bool(changes) and learning == changes


def adapter_of(network: SpeechReNetwork) -> Adapter:
    """What was learned by changes, for their places in the network that they change."""
    return Adapter(
        {
            name: (module.down.detach(), module.scale * module.up.detach())
            for name, module in network.named_modules()
            if isinstance(module, LowRankLinear)
        }
    )


def merged_network(network: SpeechReNetwork) -> SpeechReNetwork:
    """The network with all changes added to the weights: a copy, or the network itself where it has none."""
    adapter = adapter_of(network)
    if not adapter.changes:
        return network
    plain = copy.deepcopy(network)
    for name in adapter.changes:
        module = plain.get_submodule(name)
        assert isinstance(module, LowRankLinear)
        plain.set_submodule(name, module.without())
    return adapter.applied_to(plain)
