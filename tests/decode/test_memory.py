"""The prediction of a batch's memory, against what a process of its own then took."""

from __future__ import annotations

import dataclasses
import mmap
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.memory import peak_resident_mib, predicted_growth_mib, resident_mib, start_peak
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.model.weights import WhisperConfig

TINY_EN = WhisperConfig(51_881, 80, 384, 4, 6, 4, 6, 1536, 1536)
FACTOR = 2.0
ON_GLIBC = pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="asks glibc")
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")

# Answers run to their limit, which the prediction is for: on noise they hardly end by themselves, here not even where
# they repeat themselves.
MEASURE = """
import sys, torch
from dataclasses import replace
from speechre.decode import memory
from speechre.decode.engine import DecodingEngine
from speechre.decode.memory import peak_resident_mib, resident_mib, start_peak
from speechre.decode.repetition import ToldRows
from speechre.model.checkpoint import load_checkpoint
from speechre.model.log_mel import log_mel
ToldRows.restrict = lambda *arguments: None
model, batch, orders, beams, seconds, longest = sys.argv[1], *map(int, sys.argv[2:7])
torch.set_num_threads(1)
checkpoint = load_checkpoint(model)
config = checkpoint.config
decode = replace(
    config.decode,
    orders=config.decode.orders[:orders],
    beams=beams,
    transcript_beams=1,  # of noise the likeliest transcript is empty, and then there is nothing to answer
    max_new_tokens=longest,
    hearing="float32",
)
engine = DecodingEngine(checkpoint.network, checkpoint.sequencer(), config.model, decode)
torch.manual_seed(0)
memory.trim_heap()  # what loading took and freed would serve the batch unseen
start_peak()
before = resident_mib()
engine.decode([log_mel(torch.randn(seconds * 16000), 80, True, config.model.tail_s) for _ in range(batch)])
print(peak_resident_mib() - before)
"""


def measured_and_predicted(
    model: str, batch: int, orders: int, beams: int, seconds: int, longest: int
) -> tuple[float, float]:
    command = [sys.executable, "-c", MEASURE, model, *map(str, (batch, orders, beams, seconds, longest))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checkpoint = load_checkpoint(model)
    config = checkpoint.config
    decode = dataclasses.replace(
        config.decode,
        orders=config.decode.orders[:orders],
        beams=beams,
        transcript_beams=1,
        speeds=(1.0,),
        second_listener="",
        max_new_tokens=longest,
    )
    sizes = checkpoint.network.config
    return float(done.stdout), predicted_growth_mib(sizes, config.model, decode, batch, seconds)


@ON_LINUX
def test_a_small_network_takes_what_was_predicted(tiny_model_dir: Path) -> None:
    measured, predicted = measured_and_predicted(str(tiny_model_dir), 12, 6, 1, 28, 4)
    assert measured > 60, "too little to tell memory from noise"
    assert predicted / FACTOR < measured < predicted * FACTOR


@pytest.mark.slow
@ON_LINUX
@pytest.mark.parametrize(
    ("batch", "orders", "beams", "seconds", "longest"),
    [(1, 6, 1, 10, 60), (1, 6, 1, 27, 60), (4, 6, 1, 10, 60), (16, 6, 1, 10, 60), (4, 6, 8, 3, 150), (8, 1, 1, 10, 60)],
)
def test_the_shipped_model_takes_what_was_predicted(
    batch: int, orders: int, beams: int, seconds: int, longest: int
) -> None:
    measured, predicted = measured_and_predicted(DEFAULT_MODEL, batch, orders, beams, seconds, longest)
    assert measured < predicted * FACTOR
    # The prediction does not know how many beams are given up, whose memory is forgotten.
    assert beams > 1 or predicted / FACTOR < measured


def test_a_transcript_may_be_as_long_as_the_engine_lets_it_be() -> None:
    """The silence behind a recording counts: with it goes the limit of the transcript, not only what is heard."""
    decode = DecodeConfig(copy_entities=False)
    tail, none = (predicted_growth_mib(TINY_EN, ModelConfig(tail_s=tail_s), decode, 4, 2.0) for tail_s in (3.0, 0.0))
    more_frames, more_tokens = 4 * 150, 4 * 30
    floats = 2 * TINY_EN.decoder_layers * TINY_EN.d_model * 1.5 * (more_frames + more_tokens)
    assert tail - none > 0.9 * floats * 4 / 2**20


def test_more_of_anything_takes_no_less() -> None:
    def predicted(batch: int = 4, seconds: float = 10.0, **decode: object) -> float:
        config = dataclasses.replace(DecodeConfig(), **decode)  # type: ignore[arg-type]
        return predicted_growth_mib(TINY_EN, ModelConfig(), config, batch, seconds)

    once = predicted()
    assert predicted(8) == pytest.approx(2 * once, rel=0.1)
    assert predicted(seconds=20.0) > 1.25 * once
    assert predicted(beams=8) > once
    assert predicted(beams=8, orders=("hrt",)) < predicted(beams=8)
    # So many transcripts are searched at once, whatever the batch.
    assert predicted(16, transcript_beams=64) > predicted(16, transcript_beams=16) == predicted(16, transcript_beams=8)
    assert predicted(16, transcript_beams=8) >= predicted(16)
    # The model's own adapter hears in the same search, another listener in one of its own.
    adapted = predicted(second_listener="adapter:", second_speeds=(1.0,))
    assert adapted == predicted(speeds=(1.0, 1.1)) > predicted(second_listener="other") == once
    # Without the copy constraint every row has logits over the whole vocabulary.
    assert predicted(beams=8, copy_entities=False) > predicted(beams=8)
    padded = predicted_growth_mib(TINY_EN, ModelConfig(exact_length=False), DecodeConfig(), 4, 10.0)
    assert padded == pytest.approx(predicted(seconds=30.0), rel=0.1)


@pytest.mark.parametrize(("batch", "seconds"), [(0, 10.0), (1, 0.0), (1, 31.0)])
def test_sizes_that_no_batch_has(batch: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected 1 or more of 0 to 30 s"):
        predicted_growth_mib(TINY_EN, ModelConfig(), DecodeConfig(), batch, seconds)


@ON_LINUX
def test_what_a_process_holds_is_seen() -> None:
    assert start_peak()
    before = resident_mib()
    with mmap.mmap(-1, 128 * 2**20) as block:  # pages of its own, not what the allocator had kept
        block.write(b"x" * len(block))
        assert resident_mib() - before > 100
    assert peak_resident_mib() - before > 100
    assert start_peak()
    assert peak_resident_mib() - resident_mib() < 30


def test_without_proc_the_peak_stands_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechre.decode.memory._STATUS", Path("/no/such/file"))
    assert resident_mib() == peak_resident_mib() > 10


GROWTH = """
import random
import sys
import torch
from speechre.decode import memory

torch.set_num_threads(1)
random.seed(0)
if sys.argv[1] == "kept":
    memory.trim_heap = lambda: None
freed, kept = memory.FreedMemory(every_s=5.0), []
before = memory.resident_mib()
for number in range(400):  # holes of all sizes between small things that stay
    size = random.randrange(10_000, 4_000_000)
    holes = [torch.ones(size // part) for part in (1, 2, 3, 5, 7)]
    kept.append(torch.ones(1000))
    del holes
    freed.hears(1.0)
print(memory.resident_mib() - before)
"""


@ON_GLIBC
def test_freed_memory_goes_back_to_the_system() -> None:
    def growth_mib(how: str) -> float:
        run = subprocess.run([sys.executable, "-c", GROWTH, how], capture_output=True, text=True, check=True)
        return float(run.stdout)

    assert growth_mib("given back") < growth_mib("kept") / 2


SHAPES = """
import torch
from speechre.decode.memory import resident_mib
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.model.heap import trim_heap

torch.set_num_threads(1)
network, held = load_checkpoint(DEFAULT_MODEL).network.eval(), []
for frames in range(100, 300, 2):
    with torch.inference_mode():
        network.relation_logits(network.encode([torch.zeros(80, frames)]))
    trim_heap()
    held.append(resident_mib())
print(held[-1] - held[39])
"""


@ON_GLIBC
def test_recordings_of_other_lengths_leave_nothing_behind() -> None:
    """Without the limits on what is kept for each shape (model/network.py) these sixty leave 5 MiB or 15."""
    run = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2.0
