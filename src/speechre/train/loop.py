"""The training loop: read in one sitting. A step of it is :mod:`speechre.train.learner`'s."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechre.config import Config
from speechre.errors import OnMessage
from speechre.model.adapter import save_adapter
from speechre.model.checkpoint import ADAPTER, save_checkpoint
from speechre.model.heap import keep_freed_memory
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.train.examples import Example, Sample, batches_from, make_sample
from speechre.train.learner import Learner
from speechre.train.low_rank import adapter_of, merged_network, only_changes_learn
from speechre.train.objectives import Loss
from speechre.train.state import Progress, load_state, save_state
from speechre.train.teacher import Teacher

Evaluate = Callable[[SpeechReNetwork], dict[str, float]]
"""Scores the network on dev; the key "f1" decides which model is the best."""


def run_training(
    config: Config,
    network: SpeechReNetwork,
    sequencer: Sequencer,
    examples: Sequence[Example],
    folder: Path,
    *,
    resume: bool = False,
    evaluate: Evaluate | None = None,
    teacher: Teacher | None = None,
    report: OnMessage = lambda line: None,
) -> Path:
    """Train ``network``, as :func:`build_network` made it, on ``examples``; returns the final model's folder.

    ``folder`` also gets ``checkpoint`` (the state to resume from), ``metrics.jsonl``, ``tensorboard``, where
    ``evaluate`` is given ``best``, and where low-rank changes alone learn ``adapter.safetensors``. SIGTERM and Ctrl-C
    save before they stop; after ``kill -9`` the last ``train.save_every`` steps are repeated.
    """
    keep_freed_memory()
    learner = Learner(config, network, sequencer, teacher, report)
    start = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    progress = Progress(0, {})
    if resume:
        progress = load_state(folder / "checkpoint", network, learner.optimizer, config)
        report(f"resuming after step {progress.step}")
    keep_best = None if evaluate is None else _BestModel(folder / "best", progress.best, evaluate, sequencer, config)
    clock = _Clock(progress.step)
    with (
        closing(_MetricsLog(folder, progress.step)) as log,
        _Stopper() as stopper,
        _prefetch(
            batches_from(examples, progress.step, config), sequencer, config, network.config.num_mel_bins
        ) as samples_of,
    ):
        for step in range(progress.step, config.train.steps):
            clock.start_step()
            loss, norm = learner.step(next(samples_of), step)
            done = step + 1
            rate = config.train.learning_rate * learner.rate_factor(step)
            row = _metrics_row(done, loss, norm, rate, clock.step_s())
            is_last = done == config.train.steps
            if keep_best is not None and (done % config.train.eval_every == 0 or is_last):
                row |= keep_best(network, done)
            log.write(row)
            if done % 10 == 0 or is_last:
                report(_progress_line(row, config.train.steps, clock.seconds_per_step(done)))
            if done % config.train.save_every == 0 or is_last or stopper.asked:
                best = progress.best if keep_best is None else keep_best.best
                save_state(folder / "checkpoint", network, learner.optimizer, Progress(done, best), config)
            if stopper.asked:
                report(f"stopped after step {done}; continue with --resume")
                raise KeyboardInterrupt
    return _save_results(folder, network, start, sequencer, config)


def _save_results(
    folder: Path, network: SpeechReNetwork, start: Mapping[str, Tensor], sequencer: Sequencer, config: Config
) -> Path:
    """What a run that came to its end leaves, and where the model lies."""
    if only_changes_learn(network):
        save_adapter(folder / ADAPTER, adapter_of(network))
    network = merged_network(network)
    interpolate(network, start, sequencer, config)
    save_model(folder / "model", network, sequencer, config)
    return folder / "model"


class _BestModel:
    """Scores a network on dev and keeps the model with the best F1 in a folder of its own."""

    def __init__(
        self, folder: Path, best: Mapping[str, Any], evaluate: Evaluate, sequencer: Sequencer, config: Config
    ) -> None:
        """``best`` says which one was kept so far."""
        self.best = dict(best)
        self._folder, self._evaluate, self._sequencer, self._config = folder, evaluate, sequencer, config

    def __call__(self, network: SpeechReNetwork, step: int) -> dict[str, float]:
        """The scores after ``step``, for its line in metrics.jsonl."""
        answering = merged_network(network)
        answering.eval()
        with torch.inference_mode():
            found = {f"dev_{name}": value for name, value in self._evaluate(answering).items()}
        if found["dev_f1"] >= self.best.get("f1", 0.0):
            self.best = {"f1": found["dev_f1"], "step": step}
            save_model(self._folder, answering, self._sequencer, self._config)
        return found


class _Clock:
    """How long steps take."""

    def __init__(self, first_step: int) -> None:
        self._first_step, self._started = first_step, time.monotonic()

    def start_step(self) -> None:
        self._tick = time.monotonic()

    def step_s(self) -> float:
        """Of the step at hand so far."""
        return time.monotonic() - self._tick

    def seconds_per_step(self, done: int) -> float:
        """Of all steps to ``done``, with what was between them."""
        return (time.monotonic() - self._started) / (done - self._first_step)


def _metrics_row(done: int, loss: Loss, norm: float, rate: float, seconds: float) -> dict[str, Any]:
    """One line of metrics.jsonl, before any dev scores."""
    return {
        "step": done,
        "loss": loss.total.item(),
        "triplet_loss": loss.triplets.item(),
        "transcript_loss": loss.transcript.item(),
        "relation_loss": loss.relations.item(),
        "gradient_norm": norm,
        "learning_rate": rate,
        "seconds": seconds,
    }


def interpolate(network: SpeechReNetwork, start: Mapping[str, Tensor], sequencer: Sequencer, config: Config) -> None:
    """Move Whisper's own weights part of the way back to where training started (WiSE-FT, Wortsman et al. 2022).

    A model fine-tuned on little speech forgets how to hear the rest; between the two lies one that has both. What is
    new (the relation head, the embeddings of the new tokens) stays as trained.
    """
    first_new = sequencer.tokenizer.whisper_vocab_size
    for name, trained in network.state_dict().items():
        if not name.startswith("whisper.") or not trained.is_floating_point():
            continue
        is_encoder = name.startswith("whisper.encoder.")
        share = config.train.encoder_interpolation if is_encoder else config.train.decoder_interpolation
        mixed = torch.lerp(start[name].to(trained), trained, share)
        if name == "whisper.decoder.embed_tokens.weight":
            mixed[first_new:] = trained[first_new:]
        trained.copy_(mixed)


def save_model(folder: Path, network: SpeechReNetwork, sequencer: Sequencer, config: Config) -> None:
    """The network as a model folder, in float16: half the size, and inference differs by less than its own noise."""
    save_checkpoint(folder, network, sequencer.tokenizer, sequencer.schema, config, torch.float16)


def _progress_line(row: dict[str, Any], steps: int, seconds_per_step: float) -> str:
    left_s = int((steps - row["step"]) * seconds_per_step)
    dev = "".join(f"  {k} {v:.3f}" for k, v in row.items() if k.startswith("dev_"))
    return (
        f"step {row['step']}/{steps}  loss {row['loss']:.3f}  triplets {row['triplet_loss']:.3f}  transcript "
        f"{row['transcript_loss']:.3f}  relations {row['relation_loss']:.3f}  {seconds_per_step:.2f} s/step  "
        f"ETA {left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02}{dev}"
    )


@contextmanager
def _prefetch(
    batches: Iterator[tuple[int, list[Example]]], sequencer: Sequencer, config: Config, num_mel_bins: int
) -> Iterator[Iterator[list[Sample]]]:
    """Batches of samples, the next one made in a thread while the network learns from this one."""

    def make(epoch: int, batch: list[Example]) -> list[Sample]:
        return [make_sample(example, epoch, sequencer, config, num_mel_bins) for example in batch]

    def samples(executor: ThreadPoolExecutor) -> Iterator[list[Sample]]:
        ahead: Future[list[Sample]] = executor.submit(make, *next(batches))
        while True:
            following = executor.submit(make, *next(batches))
            yield ahead.result()
            ahead = following

    with ThreadPoolExecutor(max_workers=1) as executor:
        yield samples(executor)


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; behind every step for a line that a kill cut short."""
    try:
        return int(json.loads(line)["step"])
    except (KeyError, TypeError, ValueError):
        return math.inf


class _MetricsLog:
    """metrics.jsonl and TensorBoard. A resumed run drops the lines behind the step it resumes from."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if step and path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        # Written beside its place: a kill here must not cost the run its history.
        building = path.with_name(path.name + ".tmp")
        building.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        building.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
        self._file.flush()
        for key, value in row.items():
            if key != "step":
                self._board.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self._file.close()
        self._board.close()


class _Stopper:
    """Turns SIGTERM and Ctrl-C into a wish that the loop grants after the step at hand."""

    def __enter__(self) -> _Stopper:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        except ValueError:  # not in the main thread: signals stay with whoever has them
            pass
        return self

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
