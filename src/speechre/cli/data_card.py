"""``speechre data card``: the README.md of a published data set."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechre.cli.data_stats import read_parts
from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message, open_output
from speechre.errors import UsageError

_DESCRIPTION = """\
Write a data card: figures of one or more manifests under the YAML head that the Hugging Face hub reads (license,
language, task categories, size, and which file is which split). Every manifest is a split, called as its file is."""


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("card", help="a data card with its YAML head", description=_DESCRIPTION)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="M.jsonl")
    parser.add_argument("--output", type=Path, metavar="README.md", help="write here, not to standard output")
    parser.add_argument("--name", required=True, metavar="TEXT", help="the data set's name for people")
    parser.add_argument(
        "--license", required=True, metavar="ID", help="as the hub spells it: cc0-1.0, cc-by-4.0, other"
    )
    parser.add_argument("--language", required=True, nargs="+", metavar="CODE", help="ISO 639 codes: en")
    parser.add_argument("--description", type=Path, metavar="FILE.md", help="what the card says under its title")
    parser.add_argument(
        "--data-file",
        action="append",
        default=[],
        metavar="SPLIT=PATH",
        help="the file or pattern of a split on the hub, as train=data/train-*.parquet (default: the manifests)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card."""
    from speechre.data.annotator_names import notes_on_names
    from speechre.data.card import CardFacts, data_card
    from speechre.data.stats import manifest_stats

    check_replaces_no_input(args.output, [*args.manifests, *([args.description] if args.description else [])])
    folder = Path() if args.output is None else args.output.parent
    files = _given_files(args.data_file) or _manifest_files(args.manifests, folder)
    description = "" if args.description is None else _read(args.description)
    facts = CardFacts(args.name, args.license, args.language, files, description)
    utterances = read_parts(args.manifests)
    card = data_card(facts, manifest_stats(utterances))
    with open_output(args.output) as out:
        out.write(card)
    for note in notes_on_names(utterances):
        message(note)
    if args.output is not None:
        message(f"wrote {args.output}")
    return 0


def _given_files(pairs: Sequence[str]) -> Mapping[str, str]:
    files: dict[str, str] = {}
    for pair in pairs:
        split, equals, path = pair.partition("=")
        if not equals or split in files:
            raise UsageError(f'--data-file "{pair}": expected SPLIT=PATH, each split once')
        files[split] = path
    return files


def _manifest_files(manifests: Sequence[Path], folder: Path) -> Mapping[str, str]:
    files: dict[str, str] = {}
    for path in manifests:
        if path.stem in files:
            raise UsageError(f'two manifests would both be the split "{path.stem}"; rename one or use --data-file')
        files[path.stem] = Path(os.path.relpath(path, folder)).as_posix()
    return files


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
