"""The SpeechRE network: a Whisper backbone with the latent relation head on its encoder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechre.errors import CheckpointError
from speechre.model.backbone import Encoder, KeyValues, Whisper
from speechre.model.relation_head import RelationHead
from speechre.model.sequence import RELATIONS
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperConfig, WhisperWeights

# oneDNN keeps what it prepared for the last 1,024 shapes, torch's layer over it keeps as many once more, and every
# recording has a length of its own: a process that works for an hour grew by 100 MiB for the one and 70 for the other.
# Read when they first prepare one; a user's own settings stay.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")

MAX_MEL_FRAMES = 3000
"""Whisper's window: 30 s."""


class Encoded(NamedTuple):
    """What the encoder heard: states (B, S, D), each item's number of true frames (B,), and the mask (B, S) or None."""

    states: Tensor
    num_frames: Tensor
    mask: Tensor | None

    def part(self, items: slice) -> Encoded:
        """Some items alone, no longer than the longest of these."""
        num_frames_B = self.num_frames[items]
        shortest, longest = int(num_frames_B.min()), int(num_frames_B.max())
        is_padded = self.mask is not None and shortest < longest
        mask_BS = self.mask[items, :longest] if is_padded and self.mask is not None else None
        return Encoded(self.states[items, :longest], num_frames_B, mask_BS)

    def before(self, others: Encoded) -> Encoded:
        """These items and, behind them, others."""
        num_frames_B = torch.cat([self.num_frames, others.num_frames])
        states_BSD = one_behind_the_other(self.states, others.states)
        mask_BS = None
        if int(num_frames_B.min()) < states_BSD.shape[1]:
            mask_BS = torch.arange(states_BSD.shape[1], device=num_frames_B.device) < num_frames_B[:, None]
        return Encoded(states_BSD, num_frames_B, mask_BS)


def one_behind_the_other(first: Tensor, second: Tensor) -> Tensor:
    """Two batches (B, ..., S, D) as one, the shorter filled up with zeros at the end of S."""
    longest = max(first.shape[-2], second.shape[-2])
    return torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[-2])) for part in (first, second)])


@dataclass
class LowerLayers:
    """What an encoder's first layers made of recordings, for another encoder that has the same first layers to go on
    from.
    """

    num_layers: int
    states: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # by the log-mel's identity; and the log-mel

    def of(self, mel: Tensor, encoder: Encoder) -> Tensor:
        """States (1, S, D) of one recording."""
        if id(mel) not in self.states:
            state_1SD = encoder.lower(mel[None].to(encoder.conv1.weight.dtype), None, self.num_layers)
            self.states[id(mel)] = state_1SD, mel  # which is kept, so that no other can have its identity
        return self.states[id(mel)][0]


class SpeechReNetwork(nn.Module):
    """``whisper`` and ``relation_head``; the decoding engine and the objectives drive its parts."""

    def __init__(self, config: WhisperConfig, num_relations: int) -> None:
        super().__init__()
        self.config = config
        self.whisper = Whisper(config)
        self.relation_head = RelationHead(num_relations)

    @property
    def device(self) -> torch.device:
        return self.whisper.decoder.embed_tokens.weight.device

    def encode(self, mels: Sequence[Tensor], multiple_of: int = 2, lower: LowerLayers | None = None) -> Encoded:
        """Log-mels (M, F_i), F_i even and at most 3000, to encoder states.

        In training and on a GPU one pass for the batch, filled up to a length that ``multiple_of`` divides, which is
        even; no answer depends on it. Elsewhere what ``lower`` knows of these log-mels is not computed again, and it
        knows them afterwards.
        """
        num_frames = torch.tensor([mel.shape[1] // 2 for mel in mels], device=self.device)
        longest = max(mel.shape[1] for mel in mels)
        if self._works_apart:
            return self._encode_apart(mels, num_frames, lower or LowerLayers(0))
        longest = max(longest, min(-(-longest // multiple_of) * multiple_of, MAX_MEL_FRAMES))
        mel_BMF = torch.zeros(len(mels), mels[0].shape[0], longest, device=self.device)
        for row, mel in zip(mel_BMF, mels, strict=True):
            row[:, : mel.shape[1]] = mel
        mask = None
        if any(mel.shape[1] != longest for mel in mels):
            mask = torch.arange(longest // 2, device=self.device)[None, :] < num_frames[:, None]
        mel_BMF = mel_BMF.to(self.whisper.encoder.conv1.weight.dtype)
        return Encoded(self.whisper.encoder(mel_BMF, mask), num_frames, mask)

    @property
    def _works_apart(self) -> bool:
        """Whether recordings are heard one by one: on a CPU one alone fills the arithmetic units, and a batch would
        add padding, masks and pictures that no cache holds.
        """
        return self.device.type == "cpu" and not self.training

    def _encode_apart(self, mels: Sequence[Tensor], num_frames_B: Tensor, lower: LowerLayers) -> Encoded:
        weight = self.whisper.encoder.conv1.weight
        lengths = num_frames_B.tolist()
        states_BSD = torch.zeros(len(mels), max(lengths), self.config.d_model, dtype=weight.dtype)
        for row, (mel, length) in enumerate(zip(mels, lengths, strict=True)):
            state_1SD = lower.of(mel, self.whisper.encoder)
            states_BSD[row, :length] = self.whisper.encoder.upper(state_1SD, None, lower.num_layers)[0]
        mask = None
        if min(lengths) < max(lengths):
            mask = torch.arange(max(lengths))[None, :] < num_frames_B[:, None]
        return Encoded(states_BSD, num_frames_B, mask)

    def relation_logits(self, encoded: Encoded) -> Tensor:
        """(B, R), one logit per relation type."""
        states, num_frames = encoded.states, encoded.num_frames
        if not self._works_apart:
            return self.relation_head(states, num_frames)  # type: ignore[no-any-return]
        return torch.cat(
            [
                self.relation_head(states[i : i + 1, :n], num_frames[i : i + 1])
                for i, n in enumerate(num_frames.tolist())
            ]
        )

    def cross_memory(self, encoded: Encoded) -> list[KeyValues]:
        """The decoder's cross-attention keys and values, shared by all rows of an utterance."""
        return self.whisper.decoder.cross_memory(encoded.states)


def from_whisper(
    weights: WhisperWeights, tokenizer: Tokenizer, new_tokens: Mapping[str, str], num_relations: int
) -> SpeechReNetwork:
    """A network from pretrained Whisper weights; each new token starts as the mean of the embeddings of its words.

    ``tokenizer`` already knows the new tokens. The token that ends a transcript starts as the end-of-text token, which
    is what plain Whisper writes there. The relation head starts at random.
    """
    config = replace(weights.config, vocab_size=tokenizer.vocab_size)
    network = SpeechReNetwork(config, num_relations)
    state = dict(weights.state)
    old = state["decoder.embed_tokens.weight"]
    embeddings = torch.empty(tokenizer.vocab_size, old.shape[1])
    embeddings[: old.shape[0]] = old
    for token, words in new_tokens.items():
        ids = [tokenizer.eot_id] if token == RELATIONS else tokenizer.encode_text(" " + words)
        embeddings[tokenizer.token_id(token)] = old[ids].mean(dim=0)
    state["decoder.embed_tokens.weight"] = embeddings
    missing, unexpected = network.whisper.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise CheckpointError(
            f"{weights.name}: these weights do not make a Whisper: missing {sorted(missing)[:3]}, "
            f"unknown {sorted(unexpected)[:3]}"
        )
    return network


def random_whisper(tokenizer_json: str, vocab_size: int, seed: int = 0) -> WhisperWeights:
    """A Whisper of two narrow layers with random weights, for tests and the smoke recipe."""
    config = WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=80,
        d_model=64,
        encoder_layers=2,
        encoder_heads=2,
        decoder_layers=2,
        decoder_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Whisper(config)
        for parameter in module.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.05)
    return WhisperWeights("random", config, dict(module.state_dict()), tokenizer_json)
