"""The plain Whisper as the teacher of what it becomes (learning without forgetting, Li and Hoiem 2016; distillation,
Hinton et al. 2015).

A network that is trained on the speech of a few voices forgets how others are heard. The teacher says of the same sound
how likely each next word of the transcript is to it; staying near that takes no other speech than the training data's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer

_NEVER = float("-inf")


class Teacher:
    """A Whisper that has the new tokens and has not learned to use them."""

    def __init__(self, network: SpeechReNetwork, sequencer: Sequencer) -> None:
        """``network`` and ``sequencer`` as :func:`speechre.model.untrained.untrained_network` makes them."""
        self._network = network.eval().requires_grad_(False)
        tokenizer = sequencer.tokenizer
        # Whisper's own end is not what ends a transcript here, but the token that started as its copy.
        blocked = torch.arange(tokenizer.vocab_size) >= tokenizer.whisper_vocab_size
        blocked[tokenizer.eot_id], blocked[sequencer.relations_id] = True, False
        self._blocked_V = blocked

    def to(self, device: torch.device) -> None:
        """Move it to where the network learns."""
        self._network.to(device)
        self._blocked_V = self._blocked_V.to(device)

    @torch.no_grad()
    def next_tokens(
        self, mels: Sequence[Tensor], mel_multiple_of: int, ids_BT: Tensor, is_transcript_BT: Tensor
    ) -> Tensor:
        """How likely each token of the vocabulary is to follow, (N, V), at the N places that are marked, item by item.

        ``ids_BT`` begin with start and transcript; what stands behind the last marked place of all is not read.
        """
        length = int(is_transcript_BT.any(dim=0).nonzero().max()) + 1
        network, ids_BT = self._network, ids_BT[:, :length]
        encoded = network.encode(mels, mel_multiple_of)
        cross_mask = None if encoded.mask is None else encoded.mask[:, None, None, :]
        positions_BT = torch.arange(length, device=ids_BT.device).expand_as(ids_BT)
        causal = torch.ones(length, length, dtype=torch.bool, device=ids_BT.device).tril()
        memory = network.cross_memory(encoded)
        hidden_BTD = network.whisper.decoder(ids_BT, positions_BT, causal, memory, cross_mask)
        logits_NV = network.whisper.logits(hidden_BTD[is_transcript_BT[:, :length]]).float()
        return nn.functional.softmax(logits_NV.masked_fill(self._blocked_V, _NEVER), dim=-1)
