"""``speechre score``: predictions of any system against a manifest; no model, no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechre.cli.options import Commands, add_protocol, add_report
from speechre.cli.output import message, open_output, print_tables
from speechre.cli.report import open_report
from speechre.data.predictions import Prediction, read_predictions, read_predictions_for_report
from speechre.evaluate.details import Answer, describe
from speechre.evaluate.report import Report, score_report, score_table
from speechre.metrics import ScoreReport, TripletsById
from speechre.types import Utterance

_DESCRIPTION = """\
Score a file of predictions, as "speechre extract --format jsonl" and "speechre evaluate --predictions" write
it, against the annotation of a manifest. Both must have the same ids."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("score", help="predictions against annotation", description=_DESCRIPTION)
    parser.add_argument("gold", type=Path, metavar="GOLD.jsonl", help="the manifest")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl", help="one extraction a line")
    add_protocol(parser)
    add_report(parser, "report.html, report.json and report.md")
    parser.add_argument("--json", action="store_true", help="one JSON object, fractions from 0 to 1")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score."""
    from speechre.data.store import read_manifest
    from speechre.metrics import score

    utterances = read_manifest(args.gold)
    write = open_report(args, _inputs(args, utterances))
    if write is None:
        predicted: TripletsById = read_predictions(args.predictions)
    else:
        predictions = read_predictions_for_report(args.predictions)
        predicted = {key: prediction.triplets for key, prediction in predictions.items()}
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    scores = score(gold, predicted, args.protocol)
    found = [triplet for triplets in predicted.values() for triplet in triplets]
    if args.protocol == "strict" and found and not any(t.head.type or t.tail.type for t in found):
        message(
            f"{args.predictions}: no entity has a type, so nothing can be right under --protocol strict; "
            "add the types, or use boundary"
        )
    if write is not None:
        write(_report(args, utterances, predictions, scores), None)
    with open_output(None) as out:
        if args.json:
            out.write_json(scores.to_dict())
        else:
            print_tables(out, [score_table(scores)])
    return 0


def _inputs(args: argparse.Namespace, utterances: Sequence[Utterance]) -> list[str | Path]:
    return [args.gold, args.predictions, *(u.audio.path for u in utterances if u.audio is not None)]


def _report(
    args: argparse.Namespace,
    utterances: Sequence[Utterance],
    predictions: Mapping[str, Prediction],
    scores: ScoreReport,
) -> Report:
    """What the file's lines say about their model, transcripts and durations; other durations are the manifest's."""
    from speechre.metrics import per_relation

    answers = {}
    for utterance in utterances:
        said = predictions[utterance.id]
        duration_s = said.duration_s
        if duration_s is None and utterance.audio is not None:
            duration_s = utterance.audio.duration_s
        answers[utterance.id] = Answer(said.triplets, transcript=said.transcript, duration_s=duration_s)
    models = {said.model for said in predictions.values()}
    (model,) = models if len(models) == 1 else (None,)
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    relations = per_relation(gold, {key: answer.triplets for key, answer in answers.items()}, args.protocol)
    details = describe(utterances, answers, args.protocol)
    return score_report(scores, relations, details, model or args.predictions.name)
