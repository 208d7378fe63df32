"""``speechre data synthesize``: a manifest's texts as speech."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from speechre.cli.options import Commands, positive_int, probability
from speechre.cli.output import check_replaces_no_input, message, open_output, with_progress
from speechre.errors import UsageError


def add_parser(kinds: Commands) -> None:
    """The arguments of the command."""
    parser = kinds.add_parser(
        "synthesize",
        help="a manifest's texts as speech",
        description="Speak every text of a manifest and write the recordings and a manifest of them, with the voice as "
        "speaker. Treebank-style\ntext is read as people write it, abbreviations in full. What was made in this way "
        "already is kept, so an interrupted run\ngoes on. What cannot be spoken is listed, and the exit code is 1.",
    )
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets speech.jsonl, audio/ and failures.jsonl"
    )
    parser.add_argument(
        "--voices",
        default="flite:slt,flite:rms",
        metavar="V,V,...",
        help="engine:name, as flite:awb, festival:kal_diphone, espeak:en-us, pico:en-US, piper:joe (default: "
        "flite:slt,flite:rms); one that is named twice speaks twice as much",
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="any program as an engine: a line with {output} and, where it takes them, {text} (else standard input), "
        "{voice} and {speed}",
    )
    parser.add_argument(
        "--suffix", default="", metavar="TEXT", help="put behind each id, to use both manifests at once"
    )
    parser.add_argument("--once", action="store_true", help="leave out utterances whose text has been spoken")
    parser.add_argument("--steady", action="store_true", help="voices as they are, without changes of speed and pitch")
    parser.add_argument("--rooms", type=probability, default=0.0, metavar="P", help="share with a room's echo (0)")
    parser.add_argument("--noise", type=probability, default=0.0, metavar="P", help="share with noise, 8 to 30 dB (0)")
    parser.add_argument(
        "--spoken-text",
        action="store_true",
        help="the new manifest's texts are the words as they were spoken, entities' offsets carried over (default: "
        'texts as they are, the spoken words in extra "spoken_text")',
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of voices, speeds, pitches, rooms and noise (default: 1)"
    )
    parser.add_argument("--workers", type=positive_int, metavar="N", help="processes (default: one a core)")
    parser.set_defaults(run=run_synthesize)


def run_synthesize(args: argparse.Namespace) -> int:
    """Speak; 1 if an utterance could not be spoken."""
    from speechre.data.speech_engines import Command
    from speechre.data.store import read_manifest, write_manifest
    from speechre.data.synthesize import Failure, Style, speak_manifest

    voices = Counter(name.strip() for name in args.voices.split(",") if name.strip())
    engines = {}
    for engine in args.engine:
        name, is_given, line = engine.partition("=")
        if not is_given or not name.isidentifier():
            raise UsageError(f'--engine "{engine}"; expected NAME=COMMAND, as mine="say -o {{output}}"')
        engines[name] = Command(line)
    style = Style(voices, rooms=args.rooms, noise=args.noise, engines=engines)
    if args.steady:
        style = replace(style, speeds=(1.0, 1.0), pitch=0.0)
    target = args.output / "speech.jsonl"
    check_replaces_no_input(target, [args.manifest])
    utterances = read_manifest(args.manifest)
    if args.once:
        utterances = list({utterance.text: utterance for utterance in reversed(utterances)}.values())[::-1]
    results = speak_manifest(
        utterances,
        style,
        args.output / "audio",
        suffix=args.suffix,
        seed=args.seed,
        processes=args.workers,
        with_spoken_text=args.spoken_text,
    )
    done, failed = [], []
    for result in with_progress(results, len(utterances), "speaking"):
        if isinstance(result, Failure):
            failed.append(result)
            message(str(result))
        else:
            done.append(result)
    list_of_failures = args.output / "failures.jsonl"
    list_of_failures.unlink(missing_ok=True)
    if failed:
        with open_output(list_of_failures) as out:
            for failure in failed:
                out.write_json({"id": failure.utterance_id, "voice": failure.voice, "error": failure.reason})
    count = write_manifest(target, done)
    message(f"wrote {count} utterances to {target}")
    if failed:
        message(f"{len(failed)} could not be spoken; they are in {list_of_failures}")
    return 1 if failed else 0
