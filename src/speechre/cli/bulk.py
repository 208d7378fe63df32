"""``speechre bulk``: a long run over a manifest's recordings, in parts that can be stopped and gone on with."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.loading import loading
from speechre.cli.options import Commands, add_decoding, add_model, add_names, add_vad, positive_int
from speechre.cli.output import message, report_error
from speechre.cli.progress import AudioProgress, audio_progress
from speechre.errors import SpeechreError, UsageError
from speechre.types import Utterance

if TYPE_CHECKING:
    from speechre.bulk.run import BulkRun, Summary
    from speechre.bulk.shards import Shard
    from speechre.extract.listening import OnProgress

_DESCRIPTION = """\
Extract relation triplets from all recordings of a manifest, a JSON object a line in
DIR/shard-I-of-N.jsonl, by one process or by many on any number of machines. A run that
was stopped goes on where it was when the same call is repeated.

  speechre bulk calls.jsonl --output out                    one process
  speechre bulk calls.jsonl --output out --shard 2/8        the second of eight
  speechre bulk calls.jsonl --output out --ray auto         the parts as tasks of a Ray cluster

A recording that cannot be heard becomes a row of DIR/shard-I-of-N.errors.jsonl, the rest
goes on, and the exit code is 1; the next call tries it again."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("bulk", help="triplets from very many recordings", description=_DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the recordings; annotation is not looked at")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder for the rows")
    add_model(parser)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--shard", type=_shard, metavar="I/N", help="only part I of N (default: 1/1, everything)")
    parts.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="all parts, as tasks of the Ray cluster there: auto, ray://HOST:10001, or local to start one here; its "
        'machines must see the same folders (pip install "speechre[ray]")',
    )
    parser.add_argument(
        "--ray-shards",
        type=positive_int,
        metavar="N",
        help="so many parts (default: as many as the run in DIR has, else as many as the cluster works on at once)",
    )
    parser.add_argument(
        "--ray-cpus", type=positive_int, metavar="N", help="cores for each part on a cluster (default: 2)"
    )
    add_decoding(parser)
    add_names(parser)
    add_vad(parser)
    parser.set_defaults(run=run)


def _shard(text: str) -> Shard:
    from speechre.bulk.shards import Shard

    try:
        return Shard.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    """Extract; 1 if a recording failed."""
    from speechre.bulk.shards import Shard
    from speechre.extract.vad import check_detector

    if args.ray is None and (args.ray_shards is not None or args.ray_cpus is not None):
        raise UsageError("--ray-shards and --ray-cpus have no effect without --ray; add it, or leave them out")
    if args.ray is not None and args.device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {args.device} with --ray: expected cpu, or cuda for a GPU for each part")
    check_detector(args.vad)
    bulk_run = _bulk_run(args)
    if args.ray is not None:
        return _on_ray(args, bulk_run)
    summary = _in_this_process(bulk_run, args.shard or Shard(1, 1))
    message(str(summary))
    return 1 if summary.failures else 0


def _bulk_run(args: argparse.Namespace) -> BulkRun:
    # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
    from speechre.cli.model import extractor_settings, make_extractor

    with loading():
        from speechre.bulk.run import BulkRun

    if args.ray is None:
        settings = extractor_settings(args)
    else:  # each machine of a cluster chooses its own device, in a folder of its own
        settings = extractor_settings(argparse.Namespace(**{**vars(args), "device": "cpu"}))
        model = os.path.abspath(settings.model) if os.path.isdir(settings.model) else settings.model
        settings = replace(settings, device=args.device, model=model)
    # What answers depend on; how much is heard at a time is no part of it.
    told = settings.overrides if settings.vad == "energy" else {**settings.overrides, "vad": settings.vad}
    # Links stay, for paths in a manifest are relative to the folder in which it is named.
    manifest, folder = (Path(os.path.abspath(path)) for path in (args.manifest, args.output))
    return BulkRun(manifest, folder, partial(make_extractor, settings), told)


def _in_this_process(bulk_run: BulkRun, shard: Shard) -> Summary:
    from speechre.bulk.run import run_shard

    with ExitStack() as stack:
        bars: list[AudioProgress] = []

        def start(to_do: Sequence[Utterance]) -> OnProgress:
            bars.append(stack.enter_context(audio_progress(lambda: _durations(to_do))))
            return bars[0].advance

        def on_error(name: str, error: SpeechreError) -> None:
            bars[0].finish(name)
            with bars[0].hidden():
                report_error(error)

        return run_shard(bulk_run, shard, on_error, start)


def _durations(utterances: Sequence[Utterance]) -> dict[str, float]:
    """Seconds by id, where the manifest says them: a million files are not opened for a bar."""
    return {one.id: (one.audio.duration_s if one.audio is not None else None) or 0.0 for one in utterances}


def _on_ray(args: argparse.Namespace, bulk_run: BulkRun) -> int:
    from speechre.bulk.ray_cluster import run_on_ray

    num_gpus = 1.0 if args.device == "cuda" else 0.0
    code = 0
    errors: set[str] = set()  # what all parts say is told once
    for found in run_on_ray(bulk_run, args.ray, args.ray_shards, args.ray_cpus or 2, num_gpus):
        if isinstance(found, SpeechreError):
            code = max(code, found.exit_code)
            if str(found) not in errors:
                report_error(found)
            errors.add(str(found))
            continue
        message(str(found))
        for name, why in found.failures:
            message(f"{name}: {why}")
        code = max(code, 1 if found.failures else 0)
    return code
