"""A second listener: another network that hears the same sound, of which only the transcripts count.

Two networks mishear different names. The text reader reads what both wrote, each transcript as far as it is likely. The
listener may be another SpeechRE model, a model with the changes of its adapter, or a plain Whisper of any size, which
never saw an annotated sentence but has heard many more voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from speechre.config import ADAPTED, Config, DecodeConfig, ModelConfig
from speechre.decode.engine import DecodingEngine
from speechre.decode.readings import WeighedTranscript
from speechre.errors import UsageError
from speechre.model.checkpoint import Checkpoint, load_checkpoint
from speechre.model.log_mel import log_mel
from speechre.model.untrained import untrained_network
from speechre.model.weights import load_whisper
from speechre.schemas import CONLL04

PLAIN = "whisper:"
"""Before the name of a plain Whisper: ``whisper:tiny.en``, ``whisper:openai/whisper-small.en``, ``whisper:FOLDER``."""


def mel_of(samples: NDArray[Any], checkpoint: Checkpoint) -> torch.Tensor:
    """The features (bins, frames) of samples at 16 kHz as a model's encoder wants them."""
    model, num_mel_bins = checkpoint.config.model, checkpoint.network.config.num_mel_bins
    return log_mel(torch.from_numpy(samples), num_mel_bins, model.exact_length, model.tail_s)


class Listener:
    """Hears recordings and writes down what may have been said."""

    def __init__(self, name: str, device: str, first: Checkpoint) -> None:
        """``name`` is a model folder's or a shipped model's, behind :data:`ADAPTED` too, or, behind :data:`PLAIN`, that
        of a plain Whisper. It searches with as many beams as ``first``, the first listener, and for the same known
        names; a plain Whisper computes like that one too.

        Raises :class:`CheckpointError` on what is no model, :class:`UsageError` on one that writes no transcript and
        on one without an adapter that is asked to listen with it.
        """
        decode = first.config.decode
        checkpoint = _checkpoint_of(name, device, first)
        config = checkpoint.config
        if not config.model.transcript:
            raise UsageError(
                f'second listener {name}: {checkpoint.model_id} writes no transcript; choose one that does, or "none"'
            )
        # Its own text reader and its orders are not asked.
        shared = {key: getattr(decode, key) for key in ("transcript_beams", "names", "name_bonus")}
        settings = replace(config.decode, **shared, second_listener="")
        is_own = name == ADAPTED  # whose weights are named already
        self.model_id = name if name.startswith(PLAIN) else "adapter" if is_own else checkpoint.model_id
        self.sizes = checkpoint.network.config
        self.model = config.model
        self._checkpoint = replace(checkpoint, reader=None)
        self._engine = DecodingEngine(checkpoint.network, checkpoint.sequencer(), config.model, settings)

    def transcribe(self, sounds: Sequence[NDArray[Any]]) -> list[tuple[WeighedTranscript, ...]]:
        """The transcripts of each of some sounds (samples at 16 kHz, at most 30 s), the likeliest first."""
        return self._engine.transcribe([mel_of(samples, self._checkpoint) for samples in sounds])


def _checkpoint_of(name: str, device: str, first: Checkpoint) -> Checkpoint:
    if name.startswith(PLAIN):
        return _plain_whisper(name, device, first.config.decode)
    if not name.startswith(ADAPTED):
        return load_checkpoint(name, device)
    source = name.removeprefix(ADAPTED)
    checkpoint = load_checkpoint(source, device) if source else first
    if checkpoint.adapter is None:
        raise UsageError(
            f'second listener "{name}": {checkpoint.model_id} has no adapter; choose a model that has one, or "none" '
            "(speechre calibrate --adapter makes one a part of a model)"
        )
    network = checkpoint.adapter.applied_to(checkpoint.network)
    return replace(checkpoint, name=f"{ADAPTED}{checkpoint.name}", network=network)


def _plain_whisper(name: str, device: str, decode: DecodeConfig) -> Checkpoint:
    """A Whisper that was not trained here, as a model: it hears every recording filled up to 30 s, as it learned to."""
    source = name.removeprefix(PLAIN)
    network, sequencer = untrained_network(load_whisper(source), CONLL04)  # of the schema it writes nothing
    model = ModelConfig(backbone=source, exact_length=False)
    settings = DecodeConfig(step_weights=decode.step_weights, hearing=decode.hearing)
    config = Config(name=name, model=model, decode=settings)
    return Checkpoint(name, network.to(device).eval(), sequencer.tokenizer, CONLL04, config, "")
