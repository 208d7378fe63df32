"""``speechre data``: import, validate, count and synthesize annotated speech."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechre.cli import formats, synthesize
from speechre.cli.options import Commands
from speechre.cli.output import message, one_line, open_output, print_tables
from speechre.evaluate.report import Table


def add_parser(commands: Commands) -> None:
    """The arguments of this command's own commands."""
    parser = commands.add_parser(
        "data", help="manifests: import, export, validate, stats, synthesize", description="Work on manifests."
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    formats.add_parsers(kinds)
    _add_validate(kinds)
    _add_stats(kinds)
    synthesize.add_parser(kinds)


def _add_validate(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "validate",
        help="every fault of a manifest",
        description="List every fault of a manifest, one a line, with a stable code. "
        "The exit code is 1 if one of them is an error.",
    )
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument(
        "--schema",
        metavar="NAME|YAML",
        help="check types and argument pairs against this schema, e.g. conll04 (default: no check)",
    )
    parser.add_argument("--no-audio", action="store_true", help="open no recording")
    parser.add_argument("--json", action="store_true", help="one JSON object with all issues")
    parser.set_defaults(run=run_validate)


def _add_stats(kinds: Commands) -> None:
    parser = kinds.add_parser("stats", help="a manifest in numbers", description="Count what a manifest holds.")
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run_stats)


def run_validate(args: argparse.Namespace) -> int:
    """Validate; 1 if there is an error."""
    from speechre.data.validate import validate_manifest
    from speechre.schemas import load_schema

    schema = None if args.schema is None else load_schema(args.schema)
    issues = validate_manifest(args.manifest, schema, check_audio=not args.no_audio)
    counts = Counter(issue.severity for issue in issues)
    with open_output(None) as out:
        if args.json:
            out.write_json(
                {
                    "num_errors": counts["error"],
                    "num_warnings": counts["warning"],
                    "issues": [issue.to_dict() for issue in issues],
                }
            )
        else:
            for issue in issues:
                out.write(one_line(str(issue)) + "\n")
    message(f"{args.manifest}: {counts['error']} errors, {counts['warning']} warnings")
    return 1 if counts["error"] else 0


def run_stats(args: argparse.Namespace) -> int:
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
