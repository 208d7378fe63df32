"""Words that a network repeats again and again."""

from __future__ import annotations

import dataclasses
from itertools import count

import pytest
import torch
from torch import Tensor

from speechre.config import DecodeConfig
from speechre.decode.repetition import circle_of, said_once
from speechre.decode.transcripts import TranscriptWriter
from speechre.model.rows import DecoderRows
from tests.tiny import random_mels, tiny_network


@pytest.mark.parametrize(
    ("ids", "period"),
    [
        ((), 0),
        ((1, 2, 3) * 2, 0),
        (tuple(range(20)) * 2, 0),  # a sentence said twice
        ((9, *tuple(range(20)) * 3), 20),
        ((9, *tuple(range(20)) * 3)[:-1], 0),
        ((5,) * 23, 0),  # "no, no, no"
        ((5,) * 24, 1),
        ((1, 2, 3, 4, 5) * 4, 0),
        ((1, 2, 3, 4, 5) * 5, 5),
        ((*tuple(range(20)) * 3, 99), 0),
    ],
)
def test_a_circle_is_said_three_times_and_in_24_tokens(ids: tuple[int, ...], period: int) -> None:
    assert circle_of(ids) == period


def test_what_was_repeated_stands_once() -> None:
    assert said_once((9, *tuple(range(20)) * 3), 20) == (9, *range(20))
    assert said_once((7, 8), 0) == (7, 8)


def test_a_transcript_that_goes_in_circles_is_cut_and_the_one_that_ends_comes_first() -> None:
    network, sequencer = tiny_network()
    config = dataclasses.replace(DecodeConfig(), transcript_beams=2)
    writer = TranscriptWriter(network, sequencer, config)
    circle = list(range(100, 110))
    ends_once = [False]

    def search() -> list[tuple[tuple[int, ...], bool]]:
        steps = count()

        def project(hidden_ND: Tensor) -> Tensor:
            step = next(steps)
            logits_NV = torch.zeros(len(hidden_ND), network.config.vocab_size)
            logits_NV[:, circle[step % 10]] = 30.0
            logits_NV[:, 50] = 20.0
            logits_NV[:, sequencer.relations_id] = 25.0 if ends_once[0] and step == 10 else 0.0
            return logits_NV

        writer._project = project
        encoded = network.encode(random_mels(1, seed=3))
        rows = DecoderRows(network.whisper.decoder, network.cross_memory(encoded))
        ((*beams,),) = writer.search(rows, [1500])
        assert next(steps) < 80  # not to the limit of 91
        return [(beam.ids, beam.is_finished) for beam in beams]

    with torch.inference_mode():
        found = search()
        assert found[0] == (tuple(circle), False)
        assert not any(is_finished for _, is_finished in found)
        ends_once[0] = True
        found = search()
    assert found[0] == (tuple(circle), True)
    assert (tuple(circle), False) in found[1:]
