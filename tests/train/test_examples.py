"""From manifests to samples: seeded choices, complete epochs, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechre.config import AugmentConfig, Config
from speechre.data.store import read_manifest, write_manifest
from speechre.errors import ConfigError, DataError, SchemaError
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.orders import ORDERS
from speechre.train.augment import augment, mask_mel
from speechre.train.examples import (
    MAX_TOKENS,
    PAUSE_S,
    Example,
    batches_from,
    choose_orders,
    epoch_batches,
    joined,
    make_sample,
    prepare_example,
    sample_rng,
)
from speechre.train.setup import prepare_examples, read_utterances
from speechre.types import AudioRef, Entity, Relation, Triplet, Utterance
from tests.tiny import tiny_network

ONE_ORDER = Config.from_dict({"train": {"orders_per_utterance": 1, "entity_target": False, "batch_size": 4}})
SIX_ORDERS = Config.from_dict({})


def example(number: int, num_samples: int = 8000) -> Example:
    tone = (np.sin(np.arange(num_samples) * (0.05 + 0.01 * number)) * 8000).astype(np.int16)
    ann, oslo = Entity("Ann", "Peop"), Entity("Oslo", "Loc")
    return Example(f"u{number}", tone, (1, 2, 3), (Triplet(ann, "Live_In", oslo),), (ann, oslo), frozenset({"Live_In"}))


def written_order(one: Example, epoch: int, config: Config) -> str:
    """The order of a sample's only branch, from its prompt."""
    _, sequencer = tiny_network()
    (branch,) = make_sample(one, epoch, sequencer, config, 80).branches
    prompts = {tuple(sequencer.order_prompt_ids(order)): name for name, order in ORDERS.items()}
    return prompts[branch.prompt_ids]


# --- orders ---


def test_orders_are_random_per_sample_and_all_six_occur_in_one_batch() -> None:
    found = [written_order(example(i), 0, ONE_ORDER) for i in range(40)]
    assert set(found) == set(ORDERS)
    assert max(Counter(found).values()) < 20


def test_orders_change_with_the_epoch_and_repeat_with_the_seed() -> None:
    one = example(1)
    epochs = [written_order(one, epoch, ONE_ORDER) for epoch in range(40)]
    assert set(epochs) == set(ORDERS)
    assert epochs == [written_order(one, epoch, ONE_ORDER) for epoch in range(40)]
    other = Config.from_dict({**ONE_ORDER.to_dict(), "train": {**ONE_ORDER.to_dict()["train"], "seed": 2}})
    assert epochs != [written_order(one, epoch, other) for epoch in range(40)]


def test_six_of_six_orders_are_all_orders_and_the_entities_come_last() -> None:
    _, sequencer = tiny_network()
    sample = make_sample(example(1), 0, sequencer, SIX_ORDERS, 80)
    prompts = [branch.prompt_ids for branch in sample.branches]
    assert set(prompts[:6]) == {tuple(sequencer.order_prompt_ids(order)) for order in ORDERS.values()}
    assert sample.branches[6] == sequencer.entity_branch(example(1).entities)


def test_chosen_orders_are_distinct() -> None:
    for seed in range(20):
        names = [order.name for order in choose_orders(list(ORDERS.values()), 3, sample_rng(seed, 0, "u"))]
        assert len(set(names)) == 3


def test_a_sample_repeats_whatever_the_global_random_state() -> None:
    _, sequencer = tiny_network()
    torch.manual_seed(1)
    np.random.seed(1)
    one = make_sample(example(3), 5, sequencer, SIX_ORDERS, 80)
    torch.manual_seed(2)
    np.random.seed(2)
    two = make_sample(example(3), 5, sequencer, SIX_ORDERS, 80)
    assert torch.equal(one.mel, two.mel)
    assert one.branches == two.branches
    assert one.rng.random() == two.rng.random()
    assert not torch.equal(one.mel[:, :50], make_sample(example(3), 6, sequencer, SIX_ORDERS, 80).mel[:, :50])


# --- sound ---


def test_augmented_sound_stays_in_the_window() -> None:
    samples = np.ones(WINDOW_SAMPLES, dtype=np.float32)
    for seed in range(4):
        out = augment(samples, AugmentConfig(), sample_rng(seed, 0, "u"))
        assert out.dtype == np.float32
        assert len(out) <= WINDOW_SAMPLES
        assert np.isfinite(out).all()


def test_everything_off_changes_nothing() -> None:
    off = AugmentConfig(pad_s=0, speed=0, noise_snr_db=0, time_masks=0, mel_masks=0)
    samples = np.random.default_rng(1).standard_normal(5000, dtype=np.float32)
    assert np.array_equal(augment(samples, off, sample_rng(1, 0, "u")), samples)
    mel = torch.randn(80, 50)
    assert torch.equal(mask_mel(mel, off, sample_rng(1, 0, "u")), mel)


def test_silence_speed_and_noise() -> None:
    samples = np.random.default_rng(1).standard_normal(16_000, dtype=np.float32) * 0.1
    padded = augment(samples, AugmentConfig(pad_s=0.5, speed=0, noise_snr_db=0), sample_rng(1, 0, "u"))
    assert 16_000 < len(padded) <= 16_000 + 16_000
    lengths = [
        len(augment(samples, AugmentConfig(pad_s=0, speed=0.1, noise_snr_db=0), sample_rng(i, 0, "u")))
        for i in range(30)
    ]
    assert 16_000 / 1.1 - 2 <= min(lengths) < 15_500
    assert 16_500 < max(lengths) <= 16_000 / 0.9 + 2
    noisy = [
        augment(samples, AugmentConfig(pad_s=0, speed=0, noise_snr_db=15), sample_rng(i, 0, "u")) for i in range(30)
    ]
    ratios = [np.square(samples).mean() / np.square(out - samples).mean() for out in noisy if (out != samples).any()]
    assert 5 < len(ratios) < 25
    assert 10 * np.log10(min(ratios)) > 14.8


def test_masks_cover_no_more_than_asked_and_leave_the_input() -> None:
    mel = torch.randn(80, 200)
    before = mel.clone()
    config = AugmentConfig(time_masks=1, time_mask_s=0.4, mel_masks=0)
    for seed in range(20):
        changed = (mask_mel(mel, config, sample_rng(seed, 0, "u")) != mel).any(dim=0).sum()
        assert changed <= 40
    assert torch.equal(mel, before)
    assert mask_mel(torch.randn(80, 2), AugmentConfig(), sample_rng(1, 0, "u")).shape == (80, 2)
    wide = AugmentConfig(mel_mask_bins=500)
    assert all(mask_mel(mel, wide, sample_rng(seed, 0, "u")).isfinite().all() for seed in range(20))


def test_padding_to_thirty_seconds() -> None:
    _, sequencer = tiny_network()
    padded = Config.from_dict({"model": {"exact_length": False}})
    assert make_sample(example(1), 0, sequencer, padded, 80).mel.shape == (80, 3000)
    assert make_sample(example(1), 0, sequencer, SIX_ORDERS, 80).mel.shape[1] < 200


# --- batches ---


@pytest.mark.parametrize("count", [1, 4, 63, 150])
def test_every_example_once_an_epoch(count: int) -> None:
    examples = [example(i, 400 + 37 * (i * 7919 % 101)) for i in range(count)]
    for epoch in range(3):
        batches = epoch_batches(examples, epoch, ONE_ORDER)
        assert Counter(one.id for batch in batches for one in batch) == Counter(one.id for one in examples)
        assert all(1 <= len(batch) <= 4 for batch in batches)
        assert batches == epoch_batches(examples, epoch, ONE_ORDER)


def ids(batches: list[list[Example]]) -> list[list[str]]:
    return [[one.id for one in batch] for batch in batches]


def test_epochs_differ_and_batches_hold_neighbours_in_length() -> None:
    examples = [example(i, 400 + 37 * (i * 7919 % 101)) for i in range(100)]
    first, second = (epoch_batches(examples, epoch, ONE_ORDER) for epoch in (0, 1))
    assert ids(first) != ids(second)
    lengths = [len(one.samples) for one in examples]
    spreads = [max(map(len, s)) - min(map(len, s)) for s in ([one.samples for one in batch] for batch in first)]
    assert sum(spreads) / len(spreads) < (max(lengths) - min(lengths)) / 4


def test_resuming_at_any_step_gives_the_rest_of_the_run() -> None:
    examples = [example(i) for i in range(10)]  # three batches an epoch
    whole = batches_from(examples, 0, ONE_ORDER)
    run = [(epoch, [one.id for one in batch]) for epoch, batch in (next(whole) for _ in range(8))]
    assert [epoch for epoch, _ in run] == [0, 0, 0, 1, 1, 1, 2, 2]
    for step in range(8):
        epoch, batch = next(batches_from(examples, step, ONE_ORDER))
        assert (epoch, [one.id for one in batch]) == run[step]


# --- several utterances in a row ---

IN_A_ROW = Config.from_dict(
    {
        "train": {"orders_per_utterance": 1, "entity_target": False, "batch_size": 4},
        "augment": {"join": 0.7, "pad_s": 0, "speed": 0, "noise_snr_db": 0, "time_masks": 0, "mel_masks": 0},
    }
)


def parts_of(one: Example) -> list[str]:
    return [part.id for part in (one, *one.then)]


def test_in_a_row_too_every_utterance_is_heard_once_an_epoch_and_no_row_is_too_long() -> None:
    examples = [replace(example(i, 16_000 * (1 + i % 12)), num_tokens=20 * (i % 9)) for i in range(200)]
    rows = [one for batch in epoch_batches(examples, 0, IN_A_ROW) for one in batch]
    assert Counter(part for row in rows for part in parts_of(row)) == Counter(one.id for one in examples)
    lengths = Counter(len(row.then) for row in rows)
    assert lengths[0] > 0 < lengths[2]
    assert max(row.whole_duration_s for row in rows) <= 30
    assert max(sum(part.num_tokens for part in (row, *row.then)) for row in rows) <= MAX_TOKENS
    again = [one for batch in epoch_batches(examples, 1, IN_A_ROW) for one in batch]
    assert [parts_of(row) for row in rows] != [parts_of(row) for row in again]
    alone = replace(IN_A_ROW, augment=replace(IN_A_ROW.augment, join=0.0))
    assert not any(one.then for batch in epoch_batches(examples, 0, alone) for one in batch)


def test_a_row_is_one_sample_of_all_that_is_said(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    ann = prepare_example(utterance(tmp_path, 1), sequencer, IN_A_ROW)
    bea = utterance(tmp_path, 2, 0.7, "Bea lives in Oslo .")
    bea = replace(bea, entities=(bea.entities[0], replace(bea.entities[1], text="Bea")))
    second = prepare_example(bea, sequencer, IN_A_ROW)
    row = joined(replace(ann, then=(second, ann)), sample_rng(1, 0, "u1"))
    said = sequencer.tokenizer.decode_text(row.transcript_ids)
    assert said == " Ann lives in Oslo. Bea lives in Oslo. Ann lives in Oslo."
    assert [(t.head.text, t.relation, t.tail.text) for t in row.triplets] == [
        ("Ann", "Live_In", "Oslo"),
        ("Bea", "Live_In", "Oslo"),
    ]
    assert [entity.text for entity in row.entities] == ["Ann", "Oslo", "Bea", "Oslo", "Ann", "Oslo"]
    assert row.relations == {"Live_In"}
    assert set(row.spellings) == {"Ann", "Bea", "Oslo"}
    pauses_s = row.duration_s - 2 * ann.duration_s - second.duration_s
    assert 2 * PAUSE_S[0] <= pauses_s <= 2 * PAUSE_S[1]
    first, last = len(ann.samples), len(row.samples) - len(ann.samples)
    assert np.array_equal(row.samples[:first], ann.samples)
    assert np.array_equal(row.samples[last:], ann.samples)
    sample = make_sample(replace(ann, then=(second,)), 0, sequencer, IN_A_ROW, 80)
    assert len(sample.example.transcript_ids) == len(ann.transcript_ids) + len(second.transcript_ids)
    assert sample.mel.shape[1] > 120
    alone = make_sample(ann, 0, sequencer, IN_A_ROW, 80)
    assert len(sample.branches[0].answer_ids) > len(alone.branches[0].answer_ids)


def test_a_run_of_rows_is_resumed_at_any_step() -> None:
    examples = [example(i) for i in range(24)]
    assert len({len(epoch_batches(examples, epoch, IN_A_ROW)) for epoch in range(4)}) > 1
    whole = batches_from(examples, 0, IN_A_ROW)
    run = [(epoch, [parts_of(one) for one in batch]) for epoch, batch in (next(whole) for _ in range(12))]
    assert run[-1][0] >= 2
    for step in range(12):
        epoch, batch = next(batches_from(examples, step, IN_A_ROW))
        assert (epoch, [parts_of(one) for one in batch]) == run[step]


# --- preparation ---


def utterance(folder: Path, number: int = 0, duration_s: float = 0.5, text: str = "Ann lives in Oslo .") -> Utterance:
    path = folder / f"u{number}.wav"
    soundfile.write(path, np.sin(np.arange(int(duration_s * 16_000)) * 0.1) * 0.3, 16_000)
    return Utterance(
        f"u{number}",
        AudioRef(str(path)),
        text,
        (Entity("Oslo", "Loc", "e0", 13, 17), Entity("Ann", "Peop", "e1", 0, 3)),
        (Relation("e1", "e0", "Live_In"),),
    )


def test_prepared_from_a_manifest(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    write_manifest(tmp_path / "m.jsonl", [utterance(tmp_path)])
    (one,) = read_manifest(tmp_path / "m.jsonl")
    prepared = prepare_example(one, sequencer, SIX_ORDERS)
    assert prepared.duration_s == 0.5
    assert prepared.samples.dtype == np.int16
    assert abs(int(prepared.samples.max()) - round(0.3 * 32767)) < 5
    assert sequencer.tokenizer.decode_text(prepared.transcript_ids) == " Ann lives in Oslo."
    assert [entity.text for entity in prepared.entities] == ["Ann", "Oslo"]  # as they are said
    assert prepared.triplets == (Triplet(Entity("Ann", "Peop"), "Live_In", Entity("Oslo", "Loc")),)
    assert prepared.relations == {"Live_In"}
    annotated = Config.from_dict({"data": {"text_style": "annotated"}})
    kept = prepare_example(one, sequencer, annotated)
    assert sequencer.tokenizer.decode_text(kept.transcript_ids) == " Ann lives in Oslo ."


def test_what_cannot_be_trained_on_is_named(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    short = Config.from_dict({"data": {"max_duration_s": 0.4}})
    with pytest.raises(DataError, match=r'utterance "u0": .*u0\.wav lasts 0\.5 s, the limit is 0\.4 s'):
        prepare_example(utterance(tmp_path), sequencer, short)
    with pytest.raises(DataError, match='utterance "x" has no audio'):
        prepare_example(Utterance("x", None, "text"), sequencer, SIX_ORDERS)
    wordy = utterance(tmp_path, text="Ann lives in Oslo ." + " and so on" * 150)
    with pytest.raises(DataError, match=r'utterance "u0": .* take up to \d+ tokens, the decoder knows 448'):
        prepare_example(wordy, sequencer, SIX_ORDERS)
    without = Config.from_dict({"model": {"transcript": False}})
    prepare_example(wordy, sequencer, without)


def test_a_type_that_the_schema_lacks_ends_the_run(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    path = utterance(tmp_path).audio
    foreign = Utterance("u9", path, "Ann", (Entity("Ann", "PER", "e0", 0, 3),))
    with pytest.raises(SchemaError, match=r'utterance "u9": .*unknown entity type "PER".*data\.schema'):
        prepare_examples([foreign], sequencer, SIX_ORDERS, lambda line: None)


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    short = Config.from_dict({"data": {"max_duration_s": 1.0}})
    said: list[str] = []
    both = [utterance(tmp_path, 0), utterance(tmp_path, 1, 1.5)]
    kept = prepare_examples(both, sequencer, short, said.append)
    assert [one.id for one in kept] == ["u0"]
    assert len(said) == 1
    assert '"u1"' in said[0]
    with pytest.raises(DataError, match="none of the 1 utterances can be trained on"):
        prepare_examples(both[1:], sequencer, short, said.append)


def test_relations_that_the_schema_does_not_allow_are_trained_on_and_reported(tmp_path: Path) -> None:
    _, sequencer = tiny_network()
    good, said = utterance(tmp_path, 0), []
    odd = replace(utterance(tmp_path, 1), relations=(Relation("e0", "e1", "Live_In"),))
    kept = prepare_examples([good, odd], sequencer, SIX_ORDERS, said.append)
    assert [len(one.triplets) for one in kept] == [len(good.relations), 1]
    assert len(said) == 1
    assert said[0].startswith("1 relations join types that the schema does not let relate; ")
    assert said[0].endswith('"Live_In" from Loc to Peop in utterance "u1"')


def test_no_manifest_is_a_usage_fault() -> None:
    with pytest.raises(ConfigError, match=r"data\.train: no manifest is given; pass one with --data\.train"):
        read_utterances((), "train")
