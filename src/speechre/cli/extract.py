"""``speechre extract``: recordings in, one extraction each out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from speechre.cli.graph import (
    FOLDER_FORMAT,
    FORMATS,
    FORMATS_HELP,
    SUFFIXES,
    GraphWriter,
    add_merging,
    check_graph_arguments,
)
from speechre.cli.options import (
    Commands,
    add_decoding,
    add_model,
    add_names,
    add_output,
    add_vad,
    named_path,
    positive_int,
)
from speechre.cli.output import (
    Output,
    check_replaces_no_input,
    message,
    open_output,
    print_extraction,
    report_error,
)
from speechre.cli.progress import audio_progress, durations_of
from speechre.errors import SpeechreError, UsageError
from speechre.types import Extraction

if TYPE_CHECKING:
    from speechre.extract.listening import OnError, OnProgress

STYLES = ("table", "jsonl", *FORMATS)
"""All that ``--format`` takes."""
_DESCRIPTION = f"""\
Extract relation triplets from recordings (WAV, FLAC, Ogg Vorbis/Opus, MP3) of any
length. What is longer than 30 s is cut at pauses, and only speech is heard.

{FORMATS_HELP}

A recording that cannot be read is named on stderr and left out; the rest goes on, and the exit code is 1."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("extract", help="triplets from recordings", description=_DESCRIPTION)
    parser.add_argument(
        "files",
        nargs="+",
        type=named_path,
        metavar="FILE",
        help="an audio file, or a folder with audio files at any depth",
    )
    add_model(parser)
    parser.add_argument(
        "--format",
        choices=STYLES,
        help="see above (default: what --output ends in: "
        f"{', '.join(f'{suffix} {name}' for suffix, name in SUFFIXES.items())}; else table)",
    )
    add_output(parser, "the extractions")
    add_merging(parser)
    add_decoding(parser)
    add_names(parser)
    add_vad(parser)
    parser.add_argument(
        "--workers",
        type=positive_int,
        default=1,
        metavar="N",
        help="so many processes for many recordings, each with its own model and share of the cores (default: 1)",
    )
    parser.set_defaults(run=run)


_SHOWN = 5


def report_left_out(paths: Iterable[Path]) -> None:
    """Recordings in folders whose format is not read are named, not passed over in silence."""
    from speechre.audio_files import find_unread_files

    unread = find_unread_files(paths)
    if unread:
        named = ", ".join(map(str, unread[:_SHOWN])) + (", ..." if len(unread) > _SHOWN else "")
        message(f"left out, for their format is not read ({len(unread)}): {named}; convert them to WAV or FLAC")


def run(args: argparse.Namespace) -> int:
    """Extract; 1 if a recording failed."""
    from speechre.audio_files import find_audio_files
    from speechre.extract.vad import check_detector

    check_detector(args.vad)
    files = find_audio_files(args.files)
    report_left_out(args.files)
    check_replaces_no_input(args.output, [*files, *([] if args.names is None else [args.names])])
    suffix = "" if args.output is None else args.output.suffix.lower()
    style = args.format or SUFFIXES.get(suffix, "table")
    check_graph_arguments(args, style, files)
    failed: list[str] = []

    def on_error(name: str, error: SpeechreError) -> None:
        failed.append(name)
        report_error(error)

    with (
        open_output(None if style == FOLDER_FORMAT else args.output) as out,
        _model(args, len(files)) as (num_orders, extract_many),
    ):
        writer = _writer(args, style, out, num_orders)
        with audio_progress(lambda: durations_of([str(file) for file in files])) as progress:

            def give_up(name: str, error: SpeechreError) -> None:
                progress.finish(name)
                with progress.hidden():
                    on_error(name, error)

            for extraction in _extractions(extract_many, files, give_up, progress.advance):
                with progress.hidden() if writer.is_streaming else nullcontext():
                    writer.add(extraction)
        out.is_void = len(failed) == len(files)
        if not out.is_void:
            writer.finish()
    if failed and len(files) > 1:
        message(f"{len(failed)} of {len(files)} recordings failed")
    return 1 if failed else 0


@contextmanager
def _model(args: argparse.Namespace, num_files: int) -> Iterator[tuple[int, _ExtractMany]]:
    """The number of the model's orders, and what extracts: in this process or in several."""
    # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
    from speechre.cli.model import extractor_settings, make_extractor

    settings = extractor_settings(args)
    if args.workers > 1 and settings.device != "cpu":
        raise UsageError(f"--workers {args.workers} is for a CPU, the device is {settings.device}; add --device cpu")
    num_workers = min(args.workers, num_files)
    if num_workers == 1:
        extractor = make_extractor(settings)
        yield len(extractor.engine.orders), extractor.extract_many
        return
    from speechre.extract.workers import SHARD_SIZE, WorkerPool

    shard_size = settings.batch_size if isinstance(settings.batch_size, int) else SHARD_SIZE
    with WorkerPool(num_workers, partial(make_extractor, settings), shard_size) as pool:
        yield pool.num_orders(), pool.extract_many


class _ExtractMany(Protocol):
    """As :meth:`Extractor.extract_many`."""

    def __call__(
        self, sources: Sequence[Path], on_error: OnError, on_progress: OnProgress, /
    ) -> Iterator[Extraction]: ...


class _Writer(Protocol):
    """What a format needs to write extractions, as they come or at the end."""

    @property
    def is_streaming(self) -> bool: ...
    def add(self, extraction: Extraction) -> None: ...
    def finish(self) -> None: ...


def _writer(args: argparse.Namespace, style: str, out: Output, num_orders: int) -> _Writer:
    if style in FORMATS:
        return GraphWriter(args, style, out)
    if style == "jsonl":
        return _Streaming(lambda extraction: out.write_json(extraction.to_dict()))
    return _Streaming(lambda extraction: print_extraction(out, extraction, num_orders))


@dataclass(frozen=True)
class _Streaming:
    add: Callable[[Extraction], None]
    is_streaming: bool = True

    def finish(self) -> None:
        """All is written already."""


def _extractions(
    extract_many: _ExtractMany, files: Sequence[Path], on_error: OnError, on_progress: OnProgress
) -> Iterator[Extraction]:
    """With ids that are unique: two files of one name in different folders go by their paths."""
    from speechre.audio_files import recording_ids

    names = [str(file) for file in files]
    ids = dict(zip(names, recording_ids(names), strict=True))
    for extraction in extract_many(files, on_error, on_progress):
        yield replace(extraction, id=ids[extraction.source])
