"""The training loop: read in one sitting. accelerate brings devices and precision, the rest stands here."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechre.config import Config
from speechre.errors import ConfigError, OnMessage, TrainingError
from speechre.model.adapter import save_adapter
from speechre.model.checkpoint import ADAPTER, save_checkpoint
from speechre.model.device import choose_device, choose_precision
from speechre.model.heap import keep_freed_memory
from speechre.model.network import SpeechReNetwork
from speechre.model.schedule import rate_factor
from speechre.model.sequence import Sequencer
from speechre.train.examples import Example, Sample, batches_from, make_sample
from speechre.train.low_rank import adapter_of, merged_network, only_changes_learn
from speechre.train.objectives import Loss, compute_loss
from speechre.train.state import Progress, load_state, save_state
from speechre.train.teacher import Teacher

Evaluate = Callable[[SpeechReNetwork], dict[str, float]]
"""Scores the network on dev; the key "f1" decides which model is the best."""


def make_optimizer(network: SpeechReNetwork, config: Config) -> torch.optim.AdamW:
    """AdamW; no decay on vectors (biases, normalization); encoder and relation head have rates of their own."""
    train = config.train
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = train.learning_rate
        if name.startswith("relation_head."):
            rate = train.head_learning_rate
        elif name.startswith("whisper.encoder."):
            rate = train.encoder_learning_rate
        is_kept = train.keeps_words and name == "whisper.decoder.embed_tokens.weight"
        if is_kept:  # only the new tokens learn there, and those start at random
            rate = train.head_learning_rate
        decay = train.weight_decay if parameter.dim() > 1 and not is_kept else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
        eps=1e-8,
        fused=True,  # one pass over the weights
    )


Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens the context in which a step computes its loss."""


def _set_up(config: Config, network: SpeechReNetwork, report: OnMessage) -> tuple[Any, Autocast, torch.optim.AdamW]:
    """Accelerator, precision and optimizer, with the network on its device. Raises :class:`ConfigError` if the machine
    cannot.
    """
    from accelerate import Accelerator
    from accelerate.utils import is_bf16_available

    train = config.train
    precision = choose_precision(train.precision, choose_device(train.device))
    if train.precision == "auto":
        report(f"train.precision auto: {'bfloat16' if precision == 'bf16' else 'float32'} is faster here")
    if precision == "bf16" and not is_bf16_available():
        raise ConfigError(
            f"train.precision bf16 on train.device {train.device}: the device has no bfloat16; use no or auto"
        )
    # Precision is left to autocast: accelerate's is the process's for good, and the next run in it may want another.
    accelerator = Accelerator(mixed_precision="no", cpu=train.device == "cpu")
    if accelerator.num_processes > 1:
        raise ConfigError("training runs in one process; start it with speechre train, not with accelerate launch")
    network.to(accelerator.device if train.device in ("auto", "cpu") else train.device)
    autocast = nullcontext if precision == "no" else partial(torch.autocast, network.device.type, torch.bfloat16)
    return accelerator, autocast, make_optimizer(network, config)


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
    accelerator, autocast, optimizer = _set_up(config, network, report)
    if teacher is not None:
        teacher.to(network.device)
    start = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    progress = Progress(0, {})
    if resume:
        progress = load_state(folder / "checkpoint", network, optimizer, config)
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
            loss, norm = _train_step(
                accelerator, autocast, network, optimizer, next(samples_of), sequencer, config, step, teacher
            )
            done = step + 1
            row = _metrics_row(done, loss, norm, config, clock.step_s())
            is_last = done == config.train.steps
            if keep_best is not None and (done % config.train.eval_every == 0 or is_last):
                row |= keep_best(network, done)
            log.write(row)
            if done % 10 == 0 or is_last:
                report(_progress_line(row, config.train.steps, clock.seconds_per_step(done)))
            if done % config.train.save_every == 0 or is_last or stopper.asked:
                best = progress.best if keep_best is None else keep_best.best
                save_state(folder / "checkpoint", network, optimizer, Progress(done, best), config)
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


def _metrics_row(done: int, loss: Loss, norm: float, config: Config, seconds: float) -> dict[str, Any]:
    """One line of metrics.jsonl, before any dev scores."""
    return {
        "step": done,
        "loss": loss.total.item(),
        "triplet_loss": loss.triplets.item(),
        "transcript_loss": loss.transcript.item(),
        "relation_loss": loss.relations.item(),
        "gradient_norm": norm,
        "learning_rate": config.train.learning_rate * _rate_factor(done - 1, config),
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


def _train_step(
    accelerator: Any,
    autocast: Autocast,
    network: SpeechReNetwork,
    optimizer: torch.optim.Optimizer,
    samples: list[Sample],
    sequencer: Sequencer,
    config: Config,
    step: int,
    teacher: Teacher | None,
) -> tuple[Loss, float]:
    network.train()
    factor = _rate_factor(step, config)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    optimizer.zero_grad(set_to_none=True)
    with autocast():
        loss = compute_loss(network, samples, sequencer, config, teacher)
    if not torch.isfinite(loss.total):
        raise TrainingError(f"the loss of step {step + 1} is {loss.total.item()}{_advice(samples)}")
    accelerator.backward(loss.total)
    norm = float(accelerator.clip_grad_norm_(network.parameters(), config.train.max_grad_norm))
    if not math.isfinite(norm):  # one such step and all weights are lost
        raise TrainingError(f"the gradient of step {step + 1} is {norm}{_advice(samples)}")
    optimizer.step()
    return loss, norm


def _rate_factor(step: int, config: Config) -> float:
    return rate_factor(step, config.train.steps, config.train.warmup_steps)


def _advice(samples: Sequence[Sample]) -> str:
    ids = ", ".join(sample.example.id for sample in samples)
    return f" (utterances {ids}); start a new run with a lower train.learning_rate or with train.precision no"


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
