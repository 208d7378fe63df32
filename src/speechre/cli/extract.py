"""``speechre extract``: recordings in, one extraction each out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Commands, add_decoding, add_output
from speechre.cli.output import (
    check_replaces_no_input,
    message,
    open_output,
    print_extraction,
    report_error,
    with_progress,
)
from speechre.errors import SpeechreError
from speechre.types import Extraction

if TYPE_CHECKING:
    from speechre.extract.extractor import Extractor, OnError

_DESCRIPTION = """\
Extract relation triplets from recordings (WAV, FLAC, Ogg Vorbis/Opus, MP3; up to 2 hours).

A recording that cannot be read is named on stderr and left out; the rest goes on, and the exit code is 1."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("extract", help="triplets from recordings", description=_DESCRIPTION)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="an audio file, or a folder with audio files at any depth",
    )
    parser.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="a model folder or a shipped model's name (default: the shipped one)",
    )
    parser.add_argument(
        "--format",
        choices=("table", "jsonl"),
        help="table for people, or jsonl for programs: one object a line (default: table, but jsonl where "
        "--output ends in .jsonl)",
    )
    add_output(parser, "the extractions")
    add_decoding(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Extract; 1 if a recording failed."""
    from speechre.audio import find_audio_files

    files = find_audio_files(args.files)
    check_replaces_no_input(args.output, files)
    style = args.format or ("jsonl" if str(args.output).endswith(".jsonl") else "table")
    failed: list[str] = []

    def on_error(name: str, error: SpeechreError) -> None:
        failed.append(name)
        report_error(error)

    with open_output(args.output) as out:
        # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
        from speechre.cli.model import load_extractor
        from speechre.model.checkpoint import DEFAULT_MODEL

        args.model = DEFAULT_MODEL if args.model is None else args.model
        extractor = load_extractor(args)
        num_orders = len(extractor.engine.orders)
        sources = with_progress(files, len(files), "recordings", out)
        for extraction in _extractions(extractor, sources, files, on_error):
            if style == "jsonl":
                out.write_json(extraction.to_dict())
            else:
                print_extraction(out, extraction, num_orders)
    if failed and len(files) > 1:
        message(f"{len(failed)} of {len(files)} recordings failed")
    return 1 if failed else 0


def _extractions(
    extractor: Extractor, sources: Iterator[Path], files: Sequence[Path], on_error: OnError
) -> Iterator[Extraction]:
    """With ids that are unique: two files of one name in different folders go by their paths."""
    counts = Counter(file.stem for file in files)
    for extraction in extractor.extract_many(sources, on_error):
        is_unique = counts[Path(extraction.source).stem] == 1
        yield extraction if is_unique else replace(extraction, id=extraction.source)
