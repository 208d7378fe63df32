"""Cost of our engine over duration, batch, orders and beams: one point of a curve each."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from engines_sides import Clip, Ours, Side, Task, checkpoint_of
from speechre.decode.memory import predicted_growth_mib
from speechre.samples import SAMPLE_RATE_HZ

CURVES: dict[str, list[dict[str, float | int]]] = {
    "duration": [{"duration_s": seconds} for seconds in (2, 5, 10, 15, 20, 25, 30)],
    "batch": [{"batch": size} for size in (1, 2, 4, 8, 16, 32, 64)],
    "orders": [{"orders": count} for count in range(1, 7)],
    "beams": [{"beams": count} for count in range(1, 9)],
}
"""Each varies one thing; the rest is greedy search, all orders, one recording at a time, the recordings as they are."""


class CurvePoint:
    """Our engine with some beams, orders and batch size, on recordings of one length where ``duration_s`` says so."""

    def __init__(
        self, task: Task, beams: int = 1, orders: int | None = None, batch: int = 1, duration_s: float | None = None
    ) -> None:
        side = Side("speechre", beams)
        checkpoint = checkpoint_of(side, task)
        config = checkpoint.config
        names = config.decode.orders[:orders]
        checkpoint = replace(checkpoint, config=replace(config, decode=replace(config.decode, orders=names)))
        self._engine = Ours(checkpoint, side, task)
        self._batch = batch
        recordings = list(task.recordings)
        if duration_s is not None:
            recordings = _of_length(recordings, duration_s)
        self._recordings = list(islice(cycle(recordings), max(batch, len(recordings) // batch * batch)))
        self.num_tokens = 0.0
        """Tokens an utterance of the last run."""
        longest_s = max(one.duration_s for one in self._recordings)
        self.predicted_mib = round(
            predicted_growth_mib(checkpoint.network.config, config.model, checkpoint.config.decode, batch, longest_s)
        )

    def warm_up(self) -> None:
        """The first batch, not timed."""
        self._engine.run(self._recordings[: self._batch], ())

    def run(self) -> dict[str, float]:
        """Seconds an utterance, in all and by stage."""
        self._engine.take_stages()
        num_tokens, count = 0, len(self._recordings)
        start = time.perf_counter()
        for first in range(0, count, self._batch):
            answers = self._engine.run(self._recordings[first : first + self._batch], ())
            num_tokens += sum(answer.num_tokens for answer in answers)
        seconds = time.perf_counter() - start
        self.num_tokens = num_tokens / count
        stages = {stage: spent / count for stage, spent in self._engine.take_stages().items()}
        return {"s": seconds / count, **stages}


def _of_length(recordings: list[Clip], duration_s: float) -> list[Clip]:
    """Recordings of one length, cut from all of them said one behind the other."""
    everything = np.concatenate([one.samples for one in recordings])
    length = round(duration_s * SAMPLE_RATE_HZ)
    whole = np.tile(everything, -(-length * len(recordings) // len(everything)))
    return [replace(one, samples=whole[i * length : (i + 1) * length]) for i, one in enumerate(recordings)]
