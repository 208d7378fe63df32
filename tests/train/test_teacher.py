"""A plain Whisper teaches the words that it expects, and nothing of what it never knew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from speechre.config import Config
from speechre.errors import ConfigError
from speechre.schemas import CONLL04
from speechre.train.examples import Sample
from speechre.train.loop import run_training
from speechre.train.objectives import compute_loss
from speechre.train.setup import build_teacher
from speechre.train.teacher import Teacher
from tests.tiny import tiny_network
from tests.train.test_loop import four_examples, fresh, metrics, run_config
from tests.train.test_objectives import make_samples


def config(share: float) -> Config:
    train = {"prompt_source": "gold", "teacher_share": share}
    return Config.from_dict({"model": {"backbone": "random", "tail_s": 3.0}, "train": train})


def taught_config(share: float) -> Config:
    """Two steps on tones with silence behind them."""
    data = run_config(steps=2, teacher_share=0.0).to_dict()
    data["model"]["tail_s"], data["train"]["teacher_share"] = 2.0, share
    return Config.from_dict(data)


def expected(sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """At each place of a transcript the log-probabilities of the tiny network, and what the untrained one teaches."""
    network, sequencer = tiny_network()
    plain, _ = fresh()
    ids = torch.tensor([[*sequencer.start_ids(), *sample.example.transcript_ids]])
    first, length = len(sequencer.start_ids()) - 1, ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    found = []
    for one in (network, plain.eval()):
        memory = one.cross_memory(one.encode([sample.mel]))
        hidden = one.whisper.decoder(ids, torch.arange(length)[None], causal, memory, None)
        found.append(one.whisper.logits(hidden[0, first:]))
    teacher = found[1]
    teacher[:, sequencer.tokenizer.whisper_vocab_size :] = -torch.inf
    teacher[:, sequencer.relations_id] = teacher[:, sequencer.tokenizer.eot_id]  # a copy of the end, as it starts
    teacher[:, sequencer.tokenizer.eot_id] = -torch.inf
    return found[0].log_softmax(-1), teacher.softmax(-1)


@torch.no_grad()
def test_the_teacher_expects_what_plain_whisper_does_in_a_batch_as_alone() -> None:
    network, sequencer = tiny_network()
    samples = make_samples(sequencer)
    settings = config(0.25)
    teacher = build_teacher(settings, CONLL04)
    loss = compute_loss(network, samples, sequencer, settings, teacher)
    wanted = []
    for sample in samples:
        ours, theirs = expected(sample)
        annotated = F.one_hot(torch.tensor([*sample.example.transcript_ids, sequencer.relations_id]), ours.shape[1])
        target = 0.75 * annotated + 0.25 * theirs
        wanted += (-(target * ours.nan_to_num(neginf=0)).sum(-1)).tolist()
    assert loss.transcript.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)
    alone = compute_loss(network, samples, sequencer, config(0.0))
    assert abs(alone.transcript.item() - loss.transcript.item()) > 1e-3
    assert loss.triplets.item() == alone.triplets.item()


@torch.no_grad()
def test_where_nobody_speaks_nothing_is_taught() -> None:
    network, sequencer = tiny_network()
    silent = [replace(one, example=replace(one.example, transcript_ids=())) for one in make_samples(sequencer)]
    settings = config(0.5)
    taught = compute_loss(network, silent, sequencer, settings, build_teacher(settings, CONLL04))
    alone = compute_loss(network, silent, sequencer, config(0.0))
    assert taught.transcript.item() == pytest.approx(alone.transcript.item())


def test_a_run_learns_from_a_teacher_that_stays_as_it_is(tmp_path: Path) -> None:
    settings = taught_config(0.5)
    teacher = build_teacher(settings, CONLL04)
    assert isinstance(teacher, Teacher)
    before = {name: tensor.clone() for name, tensor in teacher._network.state_dict().items()}
    network, sequencer = fresh()
    run_training(settings, network, sequencer, four_examples(), tmp_path / "taught", teacher=teacher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher._network.state_dict().items())
    network, sequencer = fresh()
    run_training(taught_config(0.0), network, sequencer, four_examples(), tmp_path / "alone")
    taught, alone = (metrics(tmp_path / name)[0]["transcript_loss"] for name in ("taught", "alone"))
    assert taught != pytest.approx(alone, abs=1e-4)


def test_without_a_share_there_is_no_teacher() -> None:
    assert build_teacher(config(0.0), CONLL04) is None


def test_a_share_needs_transcripts_and_silence_behind_them_and_is_less_than_all() -> None:
    with pytest.raises(ConfigError, match=r"train\.teacher_share is 1\.0"):
        config(1.0)
    with pytest.raises(ConfigError, match=r"train\.teacher_share needs model\.transcript true"):
        Config.from_dict({"model": {"transcript": False}, "train": {"teacher_share": 0.2}})
    with pytest.raises(ConfigError, match=r"and a train\.transcript_weight"):
        Config.from_dict({"model": {"tail_s": 3.0}, "train": {"teacher_share": 0.2, "transcript_weight": 0}})
    with pytest.raises(
        ConfigError, match=r"needs model\.tail_s of 2 or more \(3 is usual\), or model\.exact_length false"
    ):
        Config.from_dict({"train": {"teacher_share": 0.2}})
    assert Config.from_dict({"model": {"exact_length": False}, "train": {"teacher_share": 0.2}}).train.teacher_share
