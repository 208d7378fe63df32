"""The losses of one step: triplets, transcript and relation types, all on one encoder pass.

Paper (arXiv 2509.08438, section 3.4): cross-entropy of the generation plus binary cross-entropy of the relation head.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.config import Config
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import IGNORE, Packed, Sequencer, pack
from speechre.schema import Schema
from speechre.train.examples import Sample
from speechre.train.teacher import Teacher

# Lengths are rounded up: the math libraries keep memory for every shape that they have met.
_MEL_FRAMES_STEP = 100
_TOKENS_STEP = 32


@dataclass(frozen=True)
class Loss:
    """``total`` to minimize and its parts before weighting."""

    total: Tensor
    triplets: Tensor
    transcript: Tensor
    relations: Tensor


def prompt_relations(
    gold: frozenset[str], probabilities: Sequence[float], schema: Schema, config: Config, rng: random.Random
) -> set[str]:
    """The relation types that the decoder is told during training.

    gold: the annotated ones; predicted: those that the head gives 0.5 or more; noisy: gold with some dropped and some
    added, so that at inference a wrong prompt is nothing new.
    """
    source = config.train.prompt_source
    names = schema.relation_types
    if source == "gold":
        return set(gold)
    if source == "predicted":
        return {name for name, p in zip(names, probabilities, strict=True) if p >= 0.5}
    noise = config.train.prompt_noise
    return {name for name in names if (name in gold) != (rng.random() < noise)}


def pack_samples(
    samples: Sequence[Sample], prompts: Sequence[set[str]], sequencer: Sequencer, config: Config
) -> list[Packed]:
    """Every sample's decoder sequence."""
    model = config.model
    longest = max((len(prompt) for prompt in prompts), default=0)
    packed = []
    for sample, prompt in zip(samples, prompts, strict=True):
        padding = max(longest, 1) - len(prompt) if model.relation_padding else 0
        prompt_ids = sequencer.relation_prompt_ids(prompt, padding) if model.relation_prompt else []
        if model.transcript and not model.relation_prompt:
            prompt_ids = [sequencer.relations_id]  # it also ends the transcript
        transcript_ids = sample.example.transcript_ids if model.transcript else None
        everything = config.train.loss_on == "everything"
        packed.append(pack(sequencer.start_ids(), transcript_ids, prompt_ids, sample.branches, everything))
    return packed


def stack(
    packed: Sequence[Packed], padding_id: int, padding_target: int, multiple_of: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """ids, positions, targets, is_transcript (B, T) and the self-attention mask (B, 1, T, T)."""
    length = max(len(one.ids) for one in packed)
    length = -(-length // multiple_of) * multiple_of

    def rows(values: list[list[int]], padding: int) -> Tensor:
        return torch.tensor([row + [padding] * (length - len(row)) for row in values])

    ids_BT = rows([one.ids for one in packed], padding_id)
    positions_BT = rows([one.positions for one in packed], 0)
    targets_BT = rows([one.targets for one in packed], padding_target)
    is_transcript_BT = rows([[int(x) for x in one.is_transcript] for one in packed], 0).bool()
    branch_BT = rows([one.branch for one in packed], -1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = branch_BT[:, :, None] == branch_BT[:, None, :]
    prefix = branch_BT[:, None, :] == 0
    return ids_BT, positions_BT, targets_BT, is_transcript_BT, ((same | prefix) & causal)[:, None]


def compute_loss(
    network: SpeechReNetwork,
    samples: Sequence[Sample],
    sequencer: Sequencer,
    config: Config,
    teacher: Teacher | None = None,
) -> Loss:
    """Forward pass of one batch. With a teacher, ``train.teacher_share`` of each token of a transcript is what the
    teacher expects there.
    """
    encoded = network.encode([sample.mel for sample in samples], _MEL_FRAMES_STEP)
    # A head of no weight still makes prompts, and costs no backward pass.
    with torch.set_grad_enabled(torch.is_grad_enabled() and config.train.relation_weight > 0):
        relation_logits_BR = network.relation_logits(encoded).float()
    ids, positions, targets, is_transcript, mask = (
        tensor.to(network.device) for tensor in _lay_out(samples, relation_logits_BR, sequencer, config)
    )
    cross_mask = None if encoded.mask is None else encoded.mask[:, None, None, :]
    hidden = network.whisper.decoder(ids, positions, mask, network.cross_memory(encoded), cross_mask)
    wanted = targets != IGNORE  # only these positions pay for the vocabulary
    from_transcript, answered = wanted & is_transcript, wanted & ~is_transcript
    vocabulary = answer_vocabulary(ids, sequencer) if config.train.answer_vocabulary == "batch" else None
    triplet_loss = _cross_entropy(network, hidden[answered], targets[answered], vocabulary)
    words = targets[from_transcript]
    if teacher is not None and from_transcript.any():
        mels = [sample.mel for sample in samples]
        words = _taught(teacher, mels, ids, targets, from_transcript, config.train.teacher_share)
    transcript_loss = _cross_entropy(network, hidden[from_transcript], words)
    gold_BR = _gold_relations(samples, sequencer.schema).to(network.device)
    relation_loss = F.binary_cross_entropy_with_logits(relation_logits_BR, gold_BR)
    train = config.train
    total = triplet_loss + train.transcript_weight * transcript_loss + train.relation_weight * relation_loss
    return Loss(total, triplet_loss.detach(), transcript_loss.detach(), relation_loss.detach())


def _lay_out(
    samples: Sequence[Sample], relation_logits_BR: Tensor, sequencer: Sequencer, config: Config
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The batch for the decoder, as :func:`stack` gives it, behind the prompts that the relation head's logits make."""
    probabilities = relation_logits_BR.detach().sigmoid().tolist()
    prompts = [
        prompt_relations(sample.example.relations, row, sequencer.schema, config, sample.rng)
        for sample, row in zip(samples, probabilities, strict=True)
    ]
    packed = pack_samples(samples, prompts, sequencer, config)
    end_id = sequencer.tokenizer.eot_id
    if config.train.loss_on == "everything":  # padding counts, so there must be no more of it than the paper's
        return stack(packed, end_id, padding_target=end_id)
    return stack(packed, end_id, padding_target=IGNORE, multiple_of=_TOKENS_STEP)


def _gold_relations(samples: Sequence[Sample], schema: Schema) -> Tensor:
    """1 for the types that are annotated, (B, R)."""
    names = schema.relation_types
    return torch.tensor([[float(name in sample.example.relations) for name in names] for sample in samples])


def answer_vocabulary(ids_BT: Tensor, sequencer: Sequencer) -> Tensor:
    """The tokens, in ascending sequence, that the answers of a batch can be made of under the copy constraint.

    Those are the schema's tokens, the end, and the words of the transcripts. The constraint knows each row's own
    transcript only; those of its neighbours serve as words that were not said.
    """
    tokenizer = sequencer.tokenizer
    structure = torch.arange(tokenizer.whisper_vocab_size, tokenizer.vocab_size, device=ids_BT.device)
    end = torch.tensor([tokenizer.eot_id], device=ids_BT.device)
    return torch.unique(torch.cat([ids_BT.flatten(), structure, end]))  # type: ignore[no-any-return]


def _taught(
    teacher: Teacher, mels: Sequence[Tensor], ids_BT: Tensor, targets_BT: Tensor, is_transcript_BT: Tensor, share: float
) -> Tensor:
    """The targets (N, V) of transcripts: the annotated token, and ``share`` of what the teacher expects in its place.

    Where nobody speaks the teacher may hear words all the same (Whisper does), so nothing is learned from it there.
    """
    expected_NV = teacher.next_tokens(mels, _MEL_FRAMES_STEP, ids_BT, is_transcript_BT)
    has_words_B = is_transcript_BT.sum(dim=1) > 1
    share_N1 = share * has_words_B[:, None].expand_as(is_transcript_BT)[is_transcript_BT][:, None].float()
    return expected_NV.mul_(share_N1).scatter_add_(1, targets_BT[is_transcript_BT][:, None], 1 - share_N1)


def _cross_entropy(
    network: SpeechReNetwork, hidden_ND: Tensor, targets: Tensor, vocabulary: Tensor | None = None
) -> Tensor:
    """The mean over N tokens, zero for none; over ``vocabulary`` only where given, which holds all targets. ``targets``
    are tokens (N,) or, over the whole vocabulary, probabilities (N, V).
    """
    if vocabulary is not None:
        targets = torch.searchsorted(vocabulary, targets)
    losses = F.cross_entropy(network.whisper.logits(hidden_ND, vocabulary).float(), targets, reduction="sum")
    return losses / max(len(targets), 1)
