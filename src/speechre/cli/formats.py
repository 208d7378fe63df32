"""``speechre data import`` and ``speechre data export``: foreign formats in and out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.data_stats import read_parts
from speechre.cli.options import Commands, Parser
from speechre.cli.output import check_replaces_no_input, message
from speechre.data.formats.table import FORMATS, ExportOptions, ImportOptions, format_named
from speechre.errors import DataError, UsageError

if TYPE_CHECKING:
    from speechre.types import Utterance


def add_parsers(kinds: Commands) -> None:
    """The arguments of both commands."""
    _add_import(kinds)
    _add_export(kinds)


def _table() -> str:
    width = max(map(len, FORMATS)) + 2
    return "formats:\n" + "\n".join(f"  {f.name:<{width}}{f.place}: {f.summary}" for f in FORMATS.values())


def _for(option: str, kind: str = "import_options") -> str:
    """Which formats an option belongs to, where not all."""
    takers = [f.name for f in FORMATS.values() if option in getattr(f, kind)]
    return "" if len(takers) == len(FORMATS) else f" ({', '.join(takers)})"


def _add_import(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "import",
        help="a published data set or a foreign format to a manifest",
        description="Turn a data set's own files into a manifest. What our own export kept beside a format's fields is "
        "restored; entities without\noffsets are found in the text. docs/formats.md says what each format holds.",
        epilog=_table(),
    )
    _add_format(parser)
    parser.add_argument("source", type=Path, metavar="SRC", help="the file or folder to import")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="M.jsonl", help="the manifest to write; replaces one there"
    )
    parser.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="folders with the recordings; of speechre-json one a rendition, the first gives the plain ids; elsewhere "
        "recordings are looked for here by file name",
    )
    parser.add_argument(
        "--audio-output",
        type=Path,
        metavar="DIR",
        help=f"write recordings that come as arrays or embedded here, over no other file{_for('audio_output')}",
    )
    parser.add_argument("--split", metavar="NAME", help="the split's name (default: what the files say)")
    parser.add_argument("--allow-missing-audio", action="store_true", help="keep utterances that have no recording")
    parser.add_argument(
        "--repair-offsets",
        action="store_true",
        help=f"move entities whose offsets do not match, where that is safe{_for('repair_offsets')}",
    )
    parser.add_argument(
        "--spoken-tsv",
        type=Path,
        metavar="FILE",
        help=f"a table of the words and voices as they were spoken{_for('spoken_tsv')}",
    )
    parser.add_argument(
        "--schema", metavar="NAME|YAML", help=f"the letter case of entity types, e.g. conll04{_for('schema')}"
    )
    parser.set_defaults(run=run_import)


def _add_export(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "export",
        help="manifests to a foreign format",
        description="Write a manifest in another format. What the format has no place for is named, and kept in a "
        'field of our own, "speechre",\nso that "data import" gives the same manifest again. Several manifests are one '
        "data set: utterances that name no part are of\nthe part that their file is called.",
        epilog=_table(),
    )
    _add_format(parser)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="M.jsonl")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="the file or folder to write; replaces files there"
    )
    parser.add_argument(
        "--plain", action="store_true", help="the format's own fields alone; what they cannot hold is left out"
    )
    parser.add_argument(
        "--audio-output",
        type=Path,
        metavar="DIR",
        help=f"copy the recordings here, named by id, over no other file{_for('audio_output', 'export_options')}",
    )
    parser.add_argument(
        "--audio-as-paths",
        action="store_true",
        help=f"name the recordings in place of embedding them{_for('audio_as_paths', 'export_options')}",
    )
    parser.set_defaults(run=run_export)


def _add_format(parser: Parser) -> None:
    parser.add_argument("format", metavar="FORMAT", help=", ".join(FORMATS))


def run_import(args: argparse.Namespace) -> int:
    """Import."""
    from speechre.data.store import write_manifest
    from speechre.schemas import load_schema

    fmt = format_named(args.format)
    check_replaces_no_input(args.output, [args.source, *([args.spoken_tsv] if args.spoken_tsv else [])])
    imported = fmt.read(
        args.source,
        ImportOptions(
            audio_dirs=tuple(args.audio),
            audio_output=args.audio_output,
            split=args.split,
            allow_missing_audio=args.allow_missing_audio,
            repair_offsets=args.repair_offsets,
            spoken_tsv=args.spoken_tsv,
            schema=None if args.schema is None else load_schema(args.schema),
        ),
    )
    utterances = imported.utterances
    check_replaces_no_input(args.output, [u.audio.path for u in utterances if u.audio is not None])
    count = write_manifest(args.output, utterances)
    for note in imported.notes:
        message(note)
    num_silent = sum(utterance.audio is None for utterance in utterances)
    message(f"wrote {count} utterances to {args.output}, {num_silent} of them without audio")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Export."""
    from speechre.data.annotator_names import notes_on_names

    fmt = format_named(args.format)
    if fmt.place == "file" and os.path.isdir(args.output):
        raise UsageError(f"{args.output}: is a folder; {fmt.name} is a file, name one in it")
    if fmt.place != "file" and os.path.isfile(args.output):
        raise UsageError(f"{args.output}: is a file; {fmt.name} is a folder, name another place")
    check_replaces_no_input(args.output, args.manifests)
    utterances = _read_all(args.manifests)
    check_replaces_no_input(args.output, [u.audio.path for u in utterances if u.audio is not None])
    options = ExportOptions(args.plain, args.audio_output, args.audio_as_paths)
    has_extra = not args.plain or "extra" not in fmt.lacks
    for note in (*fmt.write(args.output, utterances, options), *(notes_on_names(utterances) if has_extra else ())):
        message(note)
    message(f"wrote {len(utterances)} utterances to {args.output}")
    return 0


def _read_all(manifests: Sequence[Path]) -> list[Utterance]:
    """The utterances of all manifests, as :func:`read_parts` has them. Raises :class:`DataError` on an id of two."""
    utterances = read_parts(manifests)
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise DataError(
                f'utterance "{utterance.id}" stands in two of {", ".join(map(str, manifests))}; expected manifests '
                'that share none. Run "speechre data split --check" to see what else they share'
            )
        seen.add(utterance.id)
    return utterances
