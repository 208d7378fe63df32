"""``speechre extract``: recordings in, one extraction each out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.graph import (
    FOLDER_FORMAT,
    FORMATS,
    FORMATS_HELP,
    SUFFIXES,
    add_merging,
    check_graph_arguments,
    write_graph,
)
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

_DESCRIPTION = f"""\
Extract relation triplets from recordings (WAV, FLAC, Ogg Vorbis/Opus, MP3; up to 2 hours).

{FORMATS_HELP}

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
        choices=("table", "jsonl", *FORMATS),
        help="see above (default: what --output ends in: "
        f"{', '.join(f'{suffix} {name}' for suffix, name in SUFFIXES.items())}; else table)",
    )
    add_output(parser, "the extractions")
    add_merging(parser)
    add_decoding(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Extract; 1 if a recording failed."""
    from speechre.audio import find_audio_files

    files = find_audio_files(args.files)
    check_replaces_no_input(args.output, files)
    suffix = "" if args.output is None else args.output.suffix.lower()
    style = args.format or SUFFIXES.get(suffix, "table")
    check_graph_arguments(args, style, files)
    failed: list[str] = []

    def on_error(name: str, error: SpeechreError) -> None:
        failed.append(name)
        report_error(error)

    with open_output(None if style == FOLDER_FORMAT else args.output) as out:
        # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
        from speechre.cli.model import load_extractor
        from speechre.model.checkpoint import DEFAULT_MODEL

        args.model = DEFAULT_MODEL if args.model is None else args.model
        extractor = load_extractor(args)
        num_orders = len(extractor.engine.orders)
        sources = with_progress(files, len(files), "recordings", out)
        together: list[Extraction] = []
        for extraction in _extractions(extractor, sources, files, on_error):
            if style in FORMATS:
                together.append(extraction)
            elif style == "jsonl":
                out.write_json(extraction.to_dict())
            else:
                print_extraction(out, extraction, num_orders)
        if style in FORMATS:
            write_graph(args, style, out, together)
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
