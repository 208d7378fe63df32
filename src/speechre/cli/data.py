"""``speechre data``: import, validate, count and synthesize annotated speech."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechre.cli import formats
from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message, one_line, open_output, print_tables
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
    _add_synthesize(kinds)


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


def _add_synthesize(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "synthesize",
        help="a manifest's texts as speech",
        description="Speak every text of a manifest and write the recordings and a manifest of them. Treebank-style "
        "text is read as people write it, abbreviations in full; texts and annotations stay as they are. What is "
        "there already is kept, so an interrupted run goes on.",
    )
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets speech.jsonl and audio/")
    parser.add_argument(
        "--voices",
        default="flite:slt,flite:rms",
        metavar="V,V,...",
        help="engine:name, as flite:awb, festival:kal_diphone, espeak:en-us, pico:en-US, piper:joe (default: "
        "flite:slt,flite:rms); one that is named twice speaks twice as much",
    )
    parser.add_argument(
        "--suffix", default="", metavar="TEXT", help="put behind each id, to use both manifests at once"
    )
    parser.add_argument("--once", action="store_true", help="leave out utterances whose text has been spoken")
    parser.add_argument("--steady", action="store_true", help="voices as they are, without changes of speed and pitch")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of voices, speeds and pitches (default: 1)")
    parser.set_defaults(run=run_synthesize)


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


def run_synthesize(args: argparse.Namespace) -> int:
    """Speak."""
    from speechre.data.store import read_manifest, write_manifest
    from speechre.data.synthesize import speak_manifest

    voices = Counter(name.strip() for name in args.voices.split(",") if name.strip())
    target = args.output / "speech.jsonl"
    check_replaces_no_input(target, [args.manifest])
    utterances = read_manifest(args.manifest)
    if args.once:
        utterances = list({utterance.text: utterance for utterance in reversed(utterances)}.values())[::-1]
    done = []
    for utterance in speak_manifest(utterances, voices, args.output / "audio", args.suffix, args.seed, args.steady):
        done.append(utterance)
        if len(done) % 100 == 0:
            message(f"{len(done)} of {len(utterances)}")
    count = write_manifest(target, done)
    message(f"wrote {count} utterances to {target}")
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
