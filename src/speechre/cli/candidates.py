"""``speechre data candidates``: the recordings of a Common Voice release that are worth annotating."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Commands, positive_int, whole_number
from speechre.cli.output import check_replaces_no_input, message, open_output, print_tables
from speechre.page.table import Table

if TYPE_CHECKING:
    from speechre.data.candidate_ledger import Progress
    from speechre.data.candidates import Candidates, OnProgress

_MESSAGE_ROWS = 50_000
"""Where stderr is no terminal: a line each time so many rows have been read."""


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser(
        "candidates",
        help="recordings of Common Voice that are worth annotating",
        description="Search a Common Voice release for recordings whose sentence may hold a relation: at least two "
        "entities of types that the schema allows to relate. Writes M.jsonl, M.dropped.tsv (every other row, and why) "
        "and M.report.json (counts). An interrupted search goes on where it was.",
    )
    parser.add_argument(
        "--common-voice",
        type=Path,
        required=True,
        metavar="DIR",
        help="one language of a release: validated.tsv, clips/",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="M.jsonl", help="the manifest to write")
    parser.add_argument("--split", default="validated", metavar="NAME", help="the table to read (default: validated)")
    parser.add_argument("--schema", default="ace05", metavar="NAME|YAML", help="what can relate (default: ace05)")
    parser.add_argument(
        "--ner",
        metavar="KIND:NAME",
        help="who finds entities: spacy:PIPELINE or hf:ID (default: spaCy's small English pipeline)",
    )
    parser.add_argument(
        "--processes", type=positive_int, default=1, metavar="N", help="cores for a spaCy pipeline (default: 1)"
    )
    parser.add_argument(
        "--max-down-votes", type=whole_number, default=0, metavar="N", help="drop rows with more (default: 0)"
    )
    parser.add_argument(
        "--max-per-speaker", type=whole_number, default=50, metavar="N", help="0: no limit (default: 50)"
    )
    parser.add_argument(
        "--max-duration", type=_seconds, default=30.0, metavar="S", help="drop longer recordings (default: 30)"
    )
    parser.add_argument(
        "--no-audio", action="store_true", help="look at no recording: for a release of which only the tables are here"
    )
    parser.add_argument("--restart", action="store_true", help="throw away what an interrupted search found")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.set_defaults(run=run_candidates)


def run_candidates(args: argparse.Namespace) -> int:
    """Search; 1 if nothing was found."""
    from speechre.data.candidates import Places, Rules, find_candidates
    from speechre.data.common_voice import open_release
    from speechre.data.entity_tagger import DEFAULT_TAGGER, open_tagger
    from speechre.schemas import load_schema

    release = open_release(args.common_voice, args.split)
    schema = load_schema(args.schema)
    places = Places(args.output)
    for path in (places.manifest, places.dropped, places.report):
        check_replaces_no_input(path, [release.table, release.durations])
    rules = Rules(args.max_down_votes, args.max_per_speaker, args.max_duration, not args.no_audio)
    with open_tagger(args.ner or DEFAULT_TAGGER, args.processes) as tagger, _progress(args.split) as on_progress:
        found = find_candidates(
            release, schema, tagger, args.output, rules, restart=args.restart, on_progress=on_progress
        )
    with open_output(None) as out:
        if args.json:
            out.write_json(found.to_dict())
        else:
            print_tables(out, [_table(found)])
    message(f"wrote {found.num_kept} utterances to {places.manifest}, why not the others to {places.dropped}")
    return 0 if found.num_kept else 1


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'got "{text}", expected seconds above 0')
    return value


def _table(found: Candidates) -> Table:
    rows = [("rows", found.num_rows), ("kept", found.num_kept)]
    rows += [(reason, number) for reason, number in found.to_dict()["dropped"].items() if number]
    return Table("", ("what", "number"), tuple((what, str(number)) for what, number in rows))


@contextmanager
def _progress(what: str) -> Iterator[OnProgress]:
    """A bar on stderr where that is a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        told = 0

        def tell(progress: Progress, num_bytes: int) -> None:
            nonlocal told
            if progress.line // _MESSAGE_ROWS > told:
                told = progress.line // _MESSAGE_ROWS
                message(f"{progress.line - 1} rows, {progress.offset / num_bytes:.0%}: {progress.kept} kept")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), "{task.percentage:>3.0f} %", TextColumn("{task.fields[found]}"))
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, found="")

        def show(progress: Progress, num_bytes: int) -> None:
            found = f"{progress.line - 1} rows, {progress.kept} kept"
            bar.update(task, total=num_bytes, completed=progress.offset, found=found)

        yield show
