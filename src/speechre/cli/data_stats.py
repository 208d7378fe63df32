"""``speechre data stats``: what a data set holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechre.cli.options import Commands
from speechre.cli.output import open_output, print_tables
from speechre.page.table import Table


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("stats", help="a manifest in numbers", description="Count what a manifest holds.")
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count."""
    from speechre.data.stats import manifest_stats
    from speechre.data.store import iter_manifest

    stats = manifest_stats(iter_manifest(args.manifest))
    with open_output(None) as out:
        if args.json:
            out.write_json(stats)
        else:
            print_tables(out, _stats_tables(str(args.manifest), stats))
    return 0


def _stats_tables(title: str, stats: Mapping[str, Any]) -> Iterator[Table]:
    """The plain numbers first, then a table for each distribution."""
    plain = {name: value for name, value in stats.items() if not isinstance(value, Mapping)}
    yield _stats_table(title, plain)
    for name, value in stats.items():
        if isinstance(value, Mapping) and value:
            yield _stats_table(name, value)


def _stats_table(title: str, values: Mapping[str, Any]) -> Table:
    return Table(title, ("what", "number"), tuple((name or "unknown", str(v)) for name, v in values.items()))
