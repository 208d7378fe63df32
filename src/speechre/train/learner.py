"""One step of training: samples in, better weights out. accelerate brings devices, the rest stands here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from speechre.config import Config
from speechre.errors import ConfigError, OnMessage, TrainingError
from speechre.model.device import choose_device, choose_precision
from speechre.model.network import SpeechReNetwork
from speechre.model.schedule import rate_factor
from speechre.model.sequence import Sequencer
from speechre.train.examples import Sample
from speechre.train.objectives import Loss, compute_loss
from speechre.train.teacher import Teacher

Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens the context in which a step computes its loss."""


class Learner:
    """A network that learns, and what it learns with: device, precision, optimizer and, where there is one, teacher."""

    def __init__(
        self,
        config: Config,
        network: SpeechReNetwork,
        sequencer: Sequencer,
        teacher: Teacher | None,
        report: OnMessage,
    ) -> None:
        """Moves ``network`` and ``teacher`` to their device. Raises :class:`ConfigError` if the machine cannot do what
        ``config`` wants.
        """
        from accelerate import Accelerator

        train = config.train
        precision = _precision(config, report)
        # Precision is left to autocast: accelerate's is the process's for good, and the next run may want another.
        self._accelerator = Accelerator(mixed_precision="no", cpu=train.device == "cpu")
        if self._accelerator.num_processes > 1:
            raise ConfigError("training runs in one process; start it with speechre train, not with accelerate launch")
        network.to(self._accelerator.device if train.device in ("auto", "cpu") else train.device)
        if teacher is not None:
            teacher.to(network.device)
        is_full = precision == "no"
        self._autocast: Autocast = (
            nullcontext if is_full else partial(torch.autocast, network.device.type, torch.bfloat16)
        )
        self.network = network
        self.optimizer = make_optimizer(network, config)
        self._config, self._sequencer, self._teacher = config, sequencer, teacher

    def step(self, samples: list[Sample], number: int) -> tuple[Loss, float]:
        """Learn from one batch in step ``number``, from 0; its loss, and the length of its gradient before clipping.

        Raises :class:`TrainingError` where either is no number: one such step and all weights are lost.
        """
        self.network.train()
        factor = self.rate_factor(number)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = compute_loss(self.network, samples, self._sequencer, self._config, self._teacher)
        if not torch.isfinite(loss.total):
            raise TrainingError(f"the loss of step {number + 1} is {loss.total.item()}{_advice(samples)}")
        self._accelerator.backward(loss.total)
        norm = float(self._accelerator.clip_grad_norm_(self.network.parameters(), self._config.train.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of step {number + 1} is {norm}{_advice(samples)}")
        self.optimizer.step()
        return loss, norm

    def rate_factor(self, number: int) -> float:
        """What the learning rates are multiplied with in step ``number``, from 0."""
        return rate_factor(number, self._config.train.steps, self._config.train.warmup_steps)


def _precision(config: Config, report: OnMessage) -> str:
    from accelerate.utils import is_bf16_available

    train = config.train
    precision = choose_precision(train.precision, choose_device(train.device))
    if train.precision == "auto":
        report(f"train.precision auto: {'bfloat16' if precision == 'bf16' else 'float32'} is faster here")
    if precision == "bf16" and not is_bf16_available():
        raise ConfigError(
            f"train.precision bf16 on train.device {train.device}: the device has no bfloat16; use no or auto"
        )
    return precision


def _advice(samples: Sequence[Sample]) -> str:
    ids = ", ".join(sample.example.id for sample in samples)
    return f" (utterances {ids}); start a new run with a lower train.learning_rate or with train.precision no"


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
