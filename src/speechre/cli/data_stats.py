"""``speechre data stats``: what a data set holds."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message, open_output, print_tables
from speechre.errors import UsageError

if TYPE_CHECKING:
    from speechre.types import Utterance

_DESCRIPTION = """\
Count what one or more manifests hold: utterances, triplets, relations, entities, overlap, durations, speakers, words.

Of several manifests, utterances that name no part count as of the part that their file is called."""


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("stats", help="manifests in numbers", description=_DESCRIPTION)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="M.jsonl")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--markdown", action="store_true", help="a page in Markdown")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write stats.json, stats.md and stats.html here")
    parser.add_argument("--title", metavar="TEXT", help="of the page (default: the files' names)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count."""
    from speechre.data.stats import manifest_stats
    from speechre.data.stats_report import stats_markdown, stats_tables

    title = args.title or ", ".join(path.stem for path in args.manifests)
    if args.report is not None:
        _check_report(args.report, args.manifests)
    stats = manifest_stats(read_parts(args.manifests))
    if args.report is not None:
        _write_report(args.report, title, stats)
    with open_output(None) as out:
        if args.json:
            out.write_json(stats)
        elif args.markdown:
            out.write(stats_markdown(title, stats))
        else:
            print_tables(out, stats_tables(stats))
    return 0


def read_parts(manifests: Sequence[Path]) -> list[Utterance]:
    """All utterances; of several manifests, those that name no part are of the part that their file is called."""
    from speechre.data.store import iter_manifest

    places: dict[str, Path] = {}
    utterances = []
    for path in manifests:
        other = places.setdefault(os.path.realpath(path), path)
        if other is not path:
            raise UsageError(f"{path} and {other} are one file, which would be counted twice; name it once")
        for utterance in iter_manifest(path):
            is_named = utterance.split is not None or len(manifests) == 1
            utterances.append(utterance if is_named else replace(utterance, split=path.stem))
    return utterances


def _check_report(folder: Path, manifests: Sequence[Path]) -> None:
    """Raises :class:`UsageError` before the work where the report could not be written."""
    from speechre.data.stats_report import STATS_FILES
    from speechre.page.document import check_template_engine

    check_template_engine()
    for name in STATS_FILES:
        check_replaces_no_input(folder / name, manifests)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{folder}: not a folder; choose another place")


def _write_report(folder: Path, title: str, stats: dict[str, Any]) -> None:
    from speechre.data.stats_report import STATS_FILES, stats_markdown, stats_page
    from speechre.data.store import write_atomically

    contents = (
        json.dumps(stats, indent=2, ensure_ascii=False) + "\n",
        stats_markdown(title, stats),
        stats_page(title, stats),
    )
    for name, content in zip(STATS_FILES, contents, strict=True):
        write_atomically(folder / name, content)
    message(f"wrote {folder}")
