"""A second listener: another model that hears the same sound, of which only the transcripts count.

Two networks mishear different names. The text reader reads what both wrote, each listener with its share of the belief,
so what both heard alike is believed more than what one of them heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from speechre.decode.engine import DecodingEngine
from speechre.decode.transcripts import WeighedTranscript
from speechre.errors import UsageError
from speechre.model.checkpoint import Checkpoint, load_checkpoint
from speechre.model.log_mel import log_mel


def mel_of(samples: NDArray[Any], checkpoint: Checkpoint) -> torch.Tensor:
    """The features (bins, frames) of samples at 16 kHz as a model's encoder wants them."""
    model, num_mel_bins = checkpoint.config.model, checkpoint.network.config.num_mel_bins
    return log_mel(torch.from_numpy(samples), num_mel_bins, model.exact_length, model.tail_s)


class Listener:
    """Hears recordings and writes down what may have been said."""

    def __init__(self, name_or_path: str, device: str, transcript_beams: int) -> None:
        """Raises :class:`CheckpointError` on what is no model, :class:`UsageError` on one that writes no transcript."""
        checkpoint = load_checkpoint(name_or_path, device)
        config = checkpoint.config
        if not config.model.transcript:
            raise UsageError(
                f"second listener {name_or_path}: {checkpoint.model_id} writes no transcript; choose one that does, or "
                '"none"'
            )
        # Its own text reader and its orders are not asked.
        decode = replace(config.decode, transcript_beams=transcript_beams, second_listener="")
        self.model_id = checkpoint.model_id
        self.sizes = checkpoint.network.config
        self._checkpoint = replace(checkpoint, reader=None)
        self._engine = DecodingEngine(checkpoint.network, checkpoint.sequencer(), config.model, decode)

    def transcribe(self, sounds: Sequence[NDArray[Any]]) -> list[tuple[WeighedTranscript, ...]]:
        """The transcripts of each of some sounds (samples at 16 kHz, at most 30 s), the likeliest first."""
        return self._engine.transcribe([mel_of(samples, self._checkpoint) for samples in sounds])
