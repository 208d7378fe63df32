"""A process for each side, so that its memory is its own; only one of them works at a time.

A pass is timed inside the process, from samples to triplets. Peak memory is the process's largest resident set since
the model was loaded; interpreter and libraries are in it, torch also where a side does not need it.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from engines_bound import Bound, Written, lower_bound
from engines_curves import CurvePoint
from engines_export import export_ctranslate2, export_hugging_face
from engines_others import CTranslate2, FasterWhisper, HuggingFace
from engines_sides import STAGES, Answer, Authors, Engine, Ours, Shipped, Side, Task, Told, checkpoint_of
from speechre.decode.memory import peak_resident_mib, resident_mib, start_peak

# OpenMP's threads spin for up to 0.2 s after their work: the next side should not pay for that.
_REST_S = 0.3


@dataclass(frozen=True)
class Pass:
    """One pass of one side over all recordings: seconds in all, an answer each, seconds by stage of our engine."""

    seconds: float
    answers: list[Answer]
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """Resident MiB of a side's process when its model was loaded, and the most since."""

    loaded_mib: float
    peak_mib: float


class SideProcess:
    """A side that waits in its own process to be asked for passes."""

    def __init__(self, side: Side, task: Task) -> None:
        self.side = side
        context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's threads and memory
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side, task), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()  # loaded, or why not

    def ask(self, what: str, *arguments: Any) -> Any:
        """Call the method ``what`` of :class:`Served` there. Raises ``RuntimeError`` with that process's traceback."""
        time.sleep(_REST_S)
        self._ours.send((what, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            is_fine, answer = self._ours.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"{self.side.name}: its process ended with code {self._process.exitcode}; "
                "where that is -9 the machine's memory was not enough: leave sides out with --sides"
            ) from None
        if not is_fine:
            raise RuntimeError(f"{self.side.name}: {answer}")
        return answer

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.is_alive():
            self._ours.send(("stop", ()))
        self._process.join()


def _serve(pipe: Connection, side: Side, task: Task) -> None:
    """The process: load, then answer until told to stop."""
    try:
        served = Served(side, task)
    except Exception:  # the parent raises it
        pipe.send((False, traceback.format_exc()))
        return
    pipe.send((True, None))
    while True:
        what, arguments = pipe.recv()
        if what == "stop":
            return
        try:
            pipe.send((True, getattr(served, what)(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Served:
    """What can be asked of a side."""

    def __init__(self, side: Side, task: Task) -> None:

        self.side = side
        self.task = task
        self.engine = load_side(side, task)
        start_peak()
        self._loaded_mib = resident_mib()

    def run(self, limit: int | None = None) -> Pass:
        """A pass over the first ``limit`` recordings."""
        task = self.task
        recordings, told = task.recordings[:limit], task.told[:limit]
        answers: list[Answer] = []
        self._take_stages()
        start = time.perf_counter()
        for first in range(0, len(recordings), task.batch_size):
            batch = slice(first, first + task.batch_size)
            answers += self.engine.run(recordings[batch], told[batch])
        return Pass(time.perf_counter() - start, answers, self._take_stages())

    def _take_stages(self) -> dict[str, float]:

        return self.engine.take_stages() if isinstance(self.engine, Ours) else {}

    def _ours(self) -> Ours:
        if not isinstance(self.engine, Ours):
            raise TypeError(f"{self.side.name} is not our engine")
        return self.engine

    def memory(self) -> Memory:
        """So far."""

        return Memory(self._loaded_mib, peak_resident_mib())

    def tell(self) -> list[Told]:
        """What the engines without a relation head are told."""

        return self._ours().tell(self.task.recordings)

    def export(self, folder: str, precisions: Sequence[str]) -> dict[str, str]:
        """CTranslate2's folders of this model, by precision."""

        source = Path(folder) / "hugging-face"
        export_hugging_face(self._ours().checkpoint, source)
        folders = {precision: Path(folder) / precision for precision in precisions}
        for precision, target in folders.items():
            export_ctranslate2(source, target, precision)
        return {precision: str(target) for precision, target in folders.items()}

    def bound(self, answers: Sequence[Answer], told: Sequence[Told]) -> list[Bound]:
        """The arithmetic of what this side of ours answered, at the rates of this machine."""

        written = [self._written(*pair) for pair in zip(answers, told, strict=True)]
        return lower_bound(self._ours().checkpoint.network.config, written, self.side.beams)

    def _written(self, answer: Answer, told: Told) -> Written:
        engine = self._ours()

        sequencer, config = engine.sequencer, engine.checkpoint.config
        num_words = engine.checkpoint.network.config.vocab_size
        if config.decode.constrained and config.decode.copy_entities and config.model.transcript:
            num_symbols = len(sequencer.schema.entity_types) + len(sequencer.schema.relation_types) + 4
            num_words = len(set(told.transcript_ids)) + num_symbols  # three markers and the end
        num_prompt = len(engine.engine.prompt_ids(told))
        if config.model.transcript:
            num_prompt -= len(told.transcript_ids)
        orders = engine.engine.orders
        return Written(
            told.num_frames,
            answer.num_transcript_tokens,
            num_prompt,
            len(sequencer.order_prompt_ids(orders[0])),
            len(orders),
            answer.lengths,
            num_words,
        )

    def curve(self, points: Sequence[Mapping[str, Any]], repeat: int) -> list[dict[str, Any]]:
        """Median seconds an utterance at each point, turn by turn; points are arguments of :class:`CurvePoint`."""

        ready = [CurvePoint(self.task, **point) for point in points]
        for one in ready:
            one.warm_up()
        turns = [[one.run() for one in ready] for _ in range(repeat)]
        return [
            {
                **point,
                "s_per_utterance": statistics.median(turn[i]["s"] for turn in turns),
                **{f"{stage}_s": statistics.median(turn[i][stage] for turn in turns) for stage in STAGES},
                "tokens": ready[i].num_tokens,
                "predicted_mib": ready[i].predicted_mib,
            }
            for i, point in enumerate(points)
        ]


def load_side(side: Side, task: Task) -> Engine:
    """The engine of a row; to be called in a process of its own, whose threads it sets."""
    torch.set_num_threads(task.threads)
    if side.kind == "faster-whisper":
        return FasterWhisper(side, task)
    if side.kind == "shipped":
        return Shipped(side, task)
    checkpoint = checkpoint_of(side, task)
    engines: dict[str, Any] = {
        "speechre": Ours,
        "authors": Authors,
        "ctranslate2": CTranslate2,
        "hugging-face": HuggingFace,
    }
    engine: Engine = engines[side.kind](checkpoint, side, task)
    return engine
