"""``speechre compare``: two reports over the same utterances; no model, no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechre.cli.options import Commands, add_protocol, positive_int, whole_number
from speechre.cli.output import open_output, print_tables
from speechre.evaluate.compare import NUM_SAMPLES, compare_reports

_DESCRIPTION = """\
What report B gains over report A: the differences of triplet precision, recall and F1 with their 95 % intervals,
and the two-sided p-value of a paired bootstrap over utterances.

Both are folders that "speechre evaluate --report" or "speechre score --report" wrote, over the same utterances."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("compare", help="two reports against each other", description=_DESCRIPTION)
    parser.add_argument("a", type=Path, metavar="A", help="a report folder, or its report.json")
    parser.add_argument("b", type=Path, metavar="B", help="another over the same utterances")
    add_protocol(parser)
    parser.add_argument(
        "--samples", type=positive_int, default=NUM_SAMPLES, metavar="N", help=f"samples (default: {NUM_SAMPLES})"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object, fractions from 0 to 1")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare."""
    comparison = compare_reports(args.a, args.b, args.protocol, args.samples, args.seed)
    with open_output(None) as out:
        if args.json:
            out.write_json(comparison.to_dict())
        else:
            print_tables(out, comparison.tables())
    return 0
