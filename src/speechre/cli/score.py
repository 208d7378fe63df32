"""``speechre score``: predictions of any system against a manifest; no model, no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechre.cli.options import Commands, add_protocol
from speechre.cli.output import open_output, print_tables
from speechre.evaluate.report import score_table

_DESCRIPTION = """\
Score a file of predictions, as "speechre extract --format jsonl" and "speechre evaluate --predictions" write
it, against the annotation of a manifest. Both must have the same ids."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("score", help="predictions against annotation", description=_DESCRIPTION)
    parser.add_argument("gold", type=Path, metavar="GOLD.jsonl", help="the manifest")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl", help="one extraction a line")
    add_protocol(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, fractions from 0 to 1")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score."""
    from speechre.data.predictions import read_predictions
    from speechre.data.store import iter_manifest
    from speechre.metrics import score

    gold = {utterance.id: utterance.triplets for utterance in iter_manifest(args.gold)}
    report = score(gold, read_predictions(args.predictions), args.protocol)
    with open_output(None) as out:
        if args.json:
            out.write_json(report.to_dict())
        else:
            print_tables(out, [score_table(report)])
    return 0
