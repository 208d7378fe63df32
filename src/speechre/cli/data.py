"""``speechre data``: import, validate, count and synthesize annotated speech, and find what to annotate."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from speechre.cli import agreement, candidates, data_card, data_split, data_stats, data_validate, labeling
from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message
from speechre.errors import UsageError


def add_parser(commands: Commands) -> None:
    """The arguments of this command's own commands."""
    parser = commands.add_parser(
        "data", help="manifests: import, validate, stats, split, synthesize, card", description="Work on manifests."
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_import(kinds)
    data_validate.add_parser(kinds)
    data_stats.add_parser(kinds)
    _add_synthesize(kinds)
    data_split.add_parser(kinds)
    data_card.add_parser(kinds)
    candidates.add_parser(kinds)
    labeling.add_parsers(kinds)
    agreement.add_parser(kinds)


def _add_import(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "import",
        help="a published data set to a manifest",
        description="Turn a data set's own files into a manifest. FORMAT is speechre-json: the JSON of "
        "Speech-CoNLL04, Speech-ReTACRED and CommonVoice-SpeechRE.",
    )
    parser.add_argument("format", metavar="FORMAT", help="speechre-json")
    parser.add_argument("source", type=Path, metavar="SRC", help="the file to import")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="M.jsonl",
        help="the manifest to write; replaces one there",
    )
    parser.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="folders with the recordings, one a rendition; the first gives the plain ids",
    )
    parser.add_argument("--split", metavar="NAME", help="the split's name (default: the file's)")
    parser.add_argument("--allow-missing-audio", action="store_true", help="keep utterances that have no recording")
    parser.add_argument(
        "--repair-offsets",
        action="store_true",
        help="move entities whose offsets do not match, where that is safe",
    )
    parser.add_argument(
        "--spoken-tsv", type=Path, metavar="FILE", help="a table of the words and voices as they were spoken"
    )
    parser.set_defaults(run=run_import)


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


def run_import(args: argparse.Namespace) -> int:
    """Import."""
    from speechre.data.readers import FORMATS
    from speechre.data.store import write_manifest

    if args.format not in FORMATS:
        raise UsageError(f'unknown format "{args.format}"; expected one of {", ".join(FORMATS)}')
    check_replaces_no_input(args.output, [args.source, *([args.spoken_tsv] if args.spoken_tsv else [])])
    utterances = FORMATS[args.format](
        args.source,
        audio_dirs=args.audio,
        split=args.split,
        allow_missing_audio=args.allow_missing_audio,
        repair_offsets=args.repair_offsets,
        spoken_tsv=args.spoken_tsv,
    )
    check_replaces_no_input(args.output, [u.audio.path for u in utterances if u.audio is not None])
    count = write_manifest(args.output, utterances)
    num_silent = sum(utterance.audio is None for utterance in utterances)
    message(f"wrote {count} utterances to {args.output}, {num_silent} of them without audio")
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
