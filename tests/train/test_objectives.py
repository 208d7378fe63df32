"""One pass over packed branches is the same as each branch in a pass of its own; padding takes no part."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from speechre.config import Config
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import IGNORE, Packed, Sequencer
from speechre.orders import ORDERS
from speechre.schemas import CONLL04
from speechre.train.examples import Example, Sample, sample_rng
from speechre.train.objectives import compute_loss, pack_samples, prompt_relations, stack
from speechre.types import Entity, Triplet
from tests.tiny import random_mels, tiny_network

ANN, BO, OSLO = Entity("Ann Berg", "Peop"), Entity("Bo", "Peop"), Entity("Oslo", "Loc")
TRIPLETS = [
    (Triplet(ANN, "Live_In", OSLO), Triplet(BO, "Live_In", OSLO), Triplet(BO, "Kill", ANN)),
    (Triplet(BO, "Live_In", OSLO),),
    (),
]


def config(**sections: Any) -> Config:
    return Config.from_dict({"train": {"prompt_source": "gold"}} | sections)


def make_samples(sequencer: Sequencer, entity_target: bool = True) -> list[Sample]:
    """Three utterances of different lengths with all six orders."""
    samples = []
    for number, (triplets, mel) in enumerate(zip(TRIPLETS, random_mels(3, seed=8), strict=True)):
        entities = tuple(dict.fromkeys(e for t in triplets for e in (t.head, t.tail)))
        text = " ".join(entity.text for entity in entities) or "Nothing at all"
        example = Example(
            f"u{number}",
            torch.zeros(1).numpy().astype("int16"),
            tuple(sequencer.text_ids(text)),
            triplets,
            entities,
            frozenset(t.relation for t in triplets),
        )
        branches = [sequencer.triplet_branch(triplets, order) for order in ORDERS.values()]
        if entity_target:
            branches.append(sequencer.entity_branch(entities))
        samples.append(Sample(example, mel, tuple(branches), sample_rng(1, 0, example.id)))
    return samples


def plain_losses(
    network: SpeechReNetwork, sequencer: Sequencer, sample: Sample, prompt_ids: list[int]
) -> tuple[list[float], list[float]]:
    """Losses of transcript and answers: every branch a plain causal sequence in a forward pass of its own."""
    start = sequencer.start_ids()
    transcript = list(sample.example.transcript_ids)
    encoded = network.encode([sample.mel])
    cross = network.cross_memory(encoded)
    from_transcript: list[float] = []
    from_answers: list[float] = []
    for branch in sample.branches:
        ids = [*start, *transcript, *prompt_ids, *branch.prompt_ids, *branch.answer_ids]
        fed = torch.tensor([ids[:-1]])
        causal = torch.ones(len(ids) - 1, len(ids) - 1, dtype=torch.bool).tril()
        hidden = network.whisper.decoder(fed, torch.arange(len(ids) - 1)[None], causal, cross, None)
        losses = F.cross_entropy(network.whisper.logits(hidden[0]), torch.tensor(ids[1:]), reduction="none")
        from_answers += losses[-len(branch.answer_ids) :].tolist()
        first = len(start) - 1
        from_transcript = losses[first : first + len(transcript) + 1].tolist()
    return from_transcript, from_answers


@torch.no_grad()
@pytest.mark.parametrize("transcript", [True, False])
def test_packed_branches_equal_separate_passes(transcript: bool) -> None:
    network, sequencer = tiny_network()
    settings = config(model={"transcript": transcript})
    samples = make_samples(sequencer)
    loss = compute_loss(network, samples, sequencer, settings)
    transcripts: list[float] = []
    answers: list[float] = []
    for sample in samples:
        if not transcript:
            sample = replace(sample, example=replace(sample.example, transcript_ids=()))
        prompt = sequencer.relation_prompt_ids(sample.example.relations)
        one, other = plain_losses(network, sequencer, sample, prompt)
        transcripts += one
        answers += other
    assert loss.triplets.item() == pytest.approx(sum(answers) / len(answers), abs=1e-5)
    expected = sum(transcripts) / len(transcripts) if transcript else 0.0
    assert loss.transcript.item() == pytest.approx(expected, abs=1e-5)
    train = settings.train
    total = loss.triplets + train.transcript_weight * loss.transcript + train.relation_weight * loss.relations
    assert loss.total.item() == pytest.approx(total.item(), abs=1e-6)


@torch.no_grad()
def test_a_branch_does_not_see_the_others() -> None:
    """Another answer in one branch leaves the losses of all others, to the bit of a float."""
    network, sequencer = tiny_network()
    (sample, *_) = make_samples(sequencer)
    changed = sequencer.triplet_branch([Triplet(OSLO, "Located_In", OSLO)] * 3, ORDERS["hrt"])

    def branch_losses(branches: tuple[Any, ...]) -> list[torch.Tensor]:
        packed = pack_samples([replace(sample, branches=branches)], [set()], sequencer, config())
        ids, positions, targets, _, mask = stack(packed, sequencer.tokenizer.eot_id, IGNORE)
        cross = network.cross_memory(network.encode([sample.mel]))
        hidden = network.whisper.decoder(ids, positions, mask, cross, None)
        losses = F.cross_entropy(network.whisper.logits(hidden[0]), targets[0], reduction="none", ignore_index=IGNORE)
        number = torch.tensor(packed[0].branch)
        return [losses[number == i] for i in range(1, len(branches) + 1)]

    before = branch_losses(sample.branches)
    after = branch_losses((changed, *sample.branches[1:]))
    assert len(before) == 7
    for old, new in zip(before[1:], after[1:], strict=True):
        assert torch.allclose(old, new, atol=1e-5)
    assert before[0].shape != after[0].shape or not torch.allclose(before[0], after[0], atol=1e-3)


def test_the_mask_shows_the_prefix_and_the_own_branch_up_to_here() -> None:
    one = Packed([1] * 6, [0, 1, 2, 3, 2, 3], [0, 0, 1, 1, 2, 2], [IGNORE] * 6, [False] * 6)
    short = Packed([1] * 3, [0, 1, 2], [0, 1, 2], [IGNORE] * 3, [False] * 3)
    *_, mask = stack([one, short], 9, IGNORE)
    assert mask.shape == (2, 1, 6, 6)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert mask[1, 0, :3, :3].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert mask.any(dim=-1).all()  # a row without anything to look at would be NaN


@torch.no_grad()
def test_padding_takes_no_part_in_the_loss() -> None:
    """A batch's triplet loss is the mean over its answer tokens, however long its longest sequence is."""
    network, sequencer = tiny_network()
    samples = make_samples(sequencer)
    alone = [compute_loss(network, [sample], sequencer, config()) for sample in samples]
    counts = [sum(len(branch.answer_ids) for branch in sample.branches) for sample in samples]
    together = compute_loss(network, samples, sequencer, config())
    mean = sum(one.triplets.item() * n for one, n in zip(alone, counts, strict=True)) / sum(counts)
    assert together.triplets.item() == pytest.approx(mean, abs=1e-5)
    relations = sum(one.relations.item() for one in alone) / 3
    assert together.relations.item() == pytest.approx(relations, abs=1e-5)


@torch.no_grad()
def test_the_papers_loss_counts_prompts_and_padding() -> None:
    network, sequencer = tiny_network("paper")
    paper = Config.from_dict(
        {
            "model": {"prompt_style": "paper", "transcript": False, "relation_padding": True},
            "train": {"loss_on": "everything", "prompt_source": "gold", "orders_per_utterance": 1},
        }
    )
    samples = [replace(s, branches=s.branches[:1]) for s in make_samples(sequencer, entity_target=False)]
    prompts = [set(sample.example.relations) for sample in samples]
    packed = pack_samples(samples, prompts, sequencer, paper)
    eot = sequencer.tokenizer.eot_id
    ids, positions, targets, _, mask = stack(packed, eot, eot)
    assert bool((targets != IGNORE).all())
    for row, one in enumerate(packed):
        assert ids[row, : len(one.ids)].tolist() == one.ids
        assert targets[row, : len(one.ids) - 1].tolist() == one.ids[1:]
        assert set(targets[row, len(one.ids) :].tolist()) <= {eot}
    encoded = network.encode([sample.mel for sample in samples])
    assert encoded.mask is not None
    cross = network.cross_memory(encoded)
    hidden = network.whisper.decoder(ids, positions, mask, cross, encoded.mask[:, None, None, :])
    everything = F.cross_entropy(network.whisper.logits(hidden).flatten(0, 1), targets.flatten())
    loss = compute_loss(network, samples, sequencer, paper)
    assert loss.triplets.item() == pytest.approx(everything.item(), abs=1e-5)
    answers = Config.from_dict({**paper.to_dict(), "train": {**paper.to_dict()["train"], "loss_on": "answer"}})
    assert abs(compute_loss(network, samples, sequencer, answers).triplets.item() - everything.item()) > 0.1


def test_relation_padding_fills_prompts_to_the_longest() -> None:
    _, sequencer = tiny_network()
    samples = make_samples(sequencer)
    prompts = [set(sample.example.relations) for sample in samples]  # two, one, none

    def num_padding(**model: Any) -> list[int]:
        packed = pack_samples(samples, prompts, sequencer, config(model=model))
        return [one.ids.count(sequencer.relation_padding_id) for one in packed]

    assert num_padding(relation_padding=True) == [0, 1, 2]
    assert num_padding(relation_padding=False) == [0, 0, 0]


def test_without_a_relation_prompt_the_transcript_still_ends() -> None:
    _, sequencer = tiny_network()
    (sample, *_) = make_samples(sequencer)
    (packed,) = pack_samples([sample], [{"Kill"}], sequencer, config(model={"relation_prompt": False}))
    assert packed.ids.count(sequencer.relations_id) == 1
    assert packed.targets[packed.ids.index(sequencer.relations_id) - 1] == sequencer.relations_id
    assert sequencer.relation_ids["Kill"] not in packed.ids[: packed.branch.index(1)]


# --- relation prompts ---


def test_prompts_by_source() -> None:
    gold = frozenset({"Kill"})
    probabilities = [0.9, 0.5, 0.49, 0.0, 0.0]

    def prompt(source: str, noise: float = 0.15, seed: int = 0) -> set[str]:
        settings = Config.from_dict({"train": {"prompt_source": source, "prompt_noise": noise}})
        return prompt_relations(gold, probabilities, CONLL04, settings, random.Random(seed))

    assert prompt("gold") == gold
    assert prompt("predicted") == {"OrgBased_In", "Work_For"}
    assert prompt("noisy", 0.0) == gold
    assert prompt("noisy", 1.0) == set(CONLL04.relation_types) - gold
    drawn = [prompt("noisy", 0.15, seed) for seed in range(1000)]
    assert 0.1 < sum("Kill" not in one for one in drawn) / 1000 < 0.2
    assert 0.1 < sum("Live_In" in one for one in drawn) / 1000 < 0.2
    assert prompt("noisy", 0.5, 7) == prompt("noisy", 0.5, 7)


def test_the_relation_loss_is_binary_cross_entropy_in_the_schemas_order() -> None:
    network, sequencer = tiny_network()
    samples = make_samples(sequencer)
    with torch.no_grad():
        loss = compute_loss(network, samples, sequencer, config())
        logits = network.relation_logits(network.encode([sample.mel for sample in samples]))
    gold = torch.tensor([[float(n in sample.example.relations) for n in CONLL04.relation_types] for sample in samples])
    assert gold.sum() == 3
    assert loss.relations.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, gold).item(), abs=1e-6)


def test_gradients_reach_every_part() -> None:
    import copy

    network, sequencer = tiny_network()
    network = copy.deepcopy(network).train()
    compute_loss(network, make_samples(sequencer), sequencer, config()).total.backward()
    without = [
        name
        for name, p in network.named_parameters()
        if "encoder.embed_positions" not in name and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    # A normalization behind a bias takes the bias out again; keys have none.
    assert [name for name in without if not name.startswith("relation_head.blocks")] == []
