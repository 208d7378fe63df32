"""Scores during training: a part of dev, greedy, the vote's boundary F1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from speechre.audio import read_audio_ref
from speechre.config import Config
from speechre.decode.engine import DecodingEngine
from speechre.decode.ensemble import Analysis, analyze
from speechre.errors import DataError, OnMessage, SchemaError
from speechre.metrics import score
from speechre.model.log_mel import WINDOW_SAMPLES, log_mel
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.schema import Schema
from speechre.types import Triplet, Utterance
from speechre.vote import vote_rule

_T = TypeVar("_T")


def every_nth(items: Sequence[_T], count: int) -> list[_T]:
    """``count`` of the items, spread evenly over all: dev sets are often sorted."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def dev_evaluator(
    utterances: Sequence[Utterance],
    sequencer: Sequencer,
    config: Config,
    report: OnMessage = lambda line: None,
) -> Callable[[SpeechReNetwork], dict[str, float]]:
    """A function that scores a network on ``train.eval_utterances`` of ``utterances``.

    Returns triplet ``f1`` (boundary protocol, the config's vote), ``entity_f1``, ``relation_f1``, ``single_f1`` (the
    mean over the orders alone) and ``problems`` (the share of generations with a parse problem). Utterances over 30 s
    are left out here and told to ``report``; ``speechre evaluate`` scores them too. Raises :class:`DataError` on an
    utterance without audio or with a relation that the schema lacks, and where none of 30 s or less is left.
    """
    chosen = every_nth(utterances, config.train.eval_utterances)
    gold, sounds = _to_score(chosen, sequencer.schema, report)
    decode = replace(config.decode, beams=1, transcript_beams=1, names=())
    rule = vote_rule(decode)

    def evaluate(network: SpeechReNetwork) -> dict[str, float]:
        engine = DecodingEngine(network, sequencer, config.model, decode)
        size = config.train.batch_size
        num_mel_bins = network.config.num_mel_bins
        mels = [log_mel(sound, num_mel_bins, config.model.exact_length, config.model.tail_s) for sound in sounds]
        analyses: list[Analysis] = []
        for start in range(0, len(mels), size):
            analyses += [
                analyze(one, sequencer, rule, decode.constrained) for one in engine.decode(mels[start : start + size])
            ]
        by_id = dict(zip(gold, analyses, strict=True))
        report = score(gold, {key: one.triplets for key, one in by_id.items()}, "boundary")
        singles = [
            score(gold, {key: one.by_order[order] for key, one in by_id.items()}, "boundary").triplet.f1
            for order in decode.orders
        ]
        faults = [bool(problems) for one in analyses for problems in one.problems.values()]
        return {
            "f1": report.triplet.f1,
            "entity_f1": report.entity.f1,
            "relation_f1": report.relation.f1,
            "single_f1": sum(singles) / len(singles),
            "problems": sum(faults) / max(1, len(faults)),
        }

    return evaluate


def _to_score(
    utterances: Sequence[Utterance], schema: Schema, report: OnMessage
) -> tuple[dict[str, tuple[Triplet, ...]], list[torch.Tensor]]:
    """The gold triplets of those that can be heard at once, by id, and their sounds (samples,) in the same sequence."""
    gold: dict[str, tuple[Triplet, ...]] = {}
    sounds: list[torch.Tensor] = []
    for utterance in utterances:
        if utterance.audio is None:
            raise DataError(f'dev utterance "{utterance.id}" has no audio; give it one or leave it out of data.dev')
        try:
            for relation in utterance.relations:
                schema.check_relation(relation.type)
        except SchemaError as error:
            raise DataError(
                f'dev utterance "{utterance.id}": {error}; correct it or choose another data.schema'
            ) from error
        samples = read_audio_ref(utterance.audio)
        if len(samples) <= WINDOW_SAMPLES:
            gold[utterance.id] = utterance.triplets
            sounds.append(torch.from_numpy(samples))
        else:
            report(f'not scored during training: dev utterance "{utterance.id}" is longer than 30 s')
    if not gold:
        raise DataError(
            "data.dev: no utterance of 30 s or less to score during training; cut them or leave data.dev out"
        )
    return gold, sounds
