"""What is asked for, and how much work so many utterances deserve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from speechre.digests import file_sha256
from speechre.errors import UsageError
from speechre.schema import Schema

MIN_UTTERANCES = 10
"""With fewer there is nothing left to train on once some are held out."""

_STEPS_PER_ROOT = 5.0
_STEPS_MIN = 20
_PASSES_PER_ROOT = 150.0
_DEV_PER_ROOT = 2.0
_DEV_SHARE_MAX = 0.2


@dataclass(frozen=True)
class Plan:
    """One fine-tuning. ``steps`` of the speech half and ``epochs`` of the reader; ``None``: by the number of
    utterances. ``speech`` off leaves the speech half as it is, but for its vocabulary. ``schema_source`` is the file or
    name that ``schema`` came from.
    """

    manifest: Path
    schema: Schema
    start: str
    output: Path
    schema_source: str = ""
    dev: Path | None = None
    name: str = ""
    speech: bool = True
    steps: int | None = None
    epochs: int | None = None
    seed: int = 1
    precision: Literal["auto", "no", "bf16"] = "auto"
    device: str = "auto"
    weights: Literal["int8", "float16"] = "int8"

    def __post_init__(self) -> None:
        for name, value in (("--steps", self.steps), ("--epochs", self.epochs)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}; expected 1 or more")
        if self.steps is not None and not self.speech:
            raise UsageError("--steps has no effect with --no-speech; leave one of them out")

    @property
    def model_name(self) -> str:
        """What the model is called: the folder's name unless told otherwise."""
        return self.name or self.output.resolve().name

    @property
    def work(self) -> Path:
        """The folder beside the output in which finished stages lie until the model is whole."""
        return self.output.with_name(self.output.name + ".work")

    def fingerprint(self) -> dict[str, Any]:
        """All that the result depends on, but for the model to start from: what a resumed run must have in common."""
        return {
            "manifest": file_sha256(self.manifest),
            "dev": None if self.dev is None else file_sha256(self.dev),
            "schema": self.schema.to_dict(),
            "from": self.start,
            "name": self.model_name,
            "speech": self.speech,
            "steps": self.steps,
            "epochs": self.epochs,
            "seed": self.seed,
            "precision": self.precision,
            "weights": self.weights,
        }


def speech_steps(num_utterances: int) -> int:
    """Batches of 8 for the speech half: more data deserve more steps, but fewer passes.

    >>> [speech_steps(number) for number in (10, 50, 200, 800, 5000)]
    [20, 35, 71, 141, 354]
    """
    return max(_STEPS_MIN, round(_STEPS_PER_ROOT * math.sqrt(num_utterances)))


def reader_epochs(num_utterances: int) -> int:
    """Passes of the text reader over annotated texts and transcripts.

    >>> [reader_epochs(number) for number in (10, 50, 200, 800, 5000)]
    [47, 21, 11, 5, 2]
    """
    return max(1, round(_PASSES_PER_ROOT / math.sqrt(num_utterances)))


def num_dev(num_utterances: int) -> int:
    """How many utterances are held out where no dev manifest is given.

    >>> [num_dev(number) for number in (10, 50, 200, 800, 5000)]
    [2, 10, 28, 57, 141]
    """
    return round(min(_DEV_PER_ROOT * math.sqrt(num_utterances), _DEV_SHARE_MAX * num_utterances))
