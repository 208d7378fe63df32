"""``speechre calibrate``: a model's thresholds and confidence, fitted on annotated recordings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.cli.evaluate import check_recordings
from speechre.cli.loading import loading
from speechre.cli.options import Commands, add_decoding, add_protocol, positive_int, probability
from speechre.cli.output import message, open_output, print_tables, with_progress
from speechre.errors import UsageError
from speechre.page.table import Table

if TYPE_CHECKING:
    from speechre.config import Config
    from speechre.decode.ensemble import Analysis
    from speechre.evaluate.fitting import Fitted
    from speechre.extract.extractor import Extractor
    from speechre.model.checkpoint import Checkpoint
    from speechre.types import Utterance

_DESCRIPTION = """\
Fit what a model needs beyond its weights, and write the model with it to a new folder:
the relation head's threshold (of three, the one whose prompts give the best triplets),
the curve from support to confidence (so that 0.8 means right in 8 of 10 cases),
the threshold of confidence (half of the best F1, or what --max-relation-free asks for), and with
--num-orders the best choice of so many element orders. With --reader the model gets a text reader (made by
"speechre train-reader"), which reads the transcript and votes beside the orders; with --adapter an
adapter (made by "speechre train" with train.lora_rank), with which it listens a second time.

Use a development set: recordings of neither training nor test. Some of them should state no relation."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("calibrate", help="a model's thresholds and confidence", description=_DESCRIPTION)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="M.jsonl", help="annotated recordings")
    parser.add_argument("--model", required=True, metavar="DIR|NAME", help="a model folder or a shipped model's name")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the calibrated model; a new folder")
    parser.add_argument(
        "--reader", type=Path, metavar="DIR", help="a text reader's folder, to become part of the model"
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="the adapter.safetensors of a training with train.lora_rank that started from this model, to become part "
        "of it and, where it has no second listener, that one (--second-listener adapter:)",
    )
    parser.add_argument("--name", help="the calibrated model's name (default: as before)")
    parser.add_argument(
        "--max-relation-free",
        type=probability,
        default=1.0,
        metavar="P",
        help="the largest share of recordings without a relation that may get a triplet (default: 1, no limit)",
    )
    parser.add_argument(
        "--num-orders", type=positive_int, metavar="K", help="keep only the best K orders (default: all asked for)"
    )
    parser.add_argument(
        "--keep-prompts",
        action="store_true",
        help="leave the relation head's threshold as it is: everything is decoded once, not up to three times",
    )
    parser.add_argument(
        "--weights",
        choices=("float16", "int8"),
        default="float16",
        help="how the weights are stored: int8 takes half of float16's bytes and costs a little accuracy",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in place of tables")
    add_protocol(parser)
    add_decoding(parser, fits_threshold=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate."""
    if args.threshold is not None:
        raise UsageError("--threshold is what this command fits; leave it out")
    if os.path.exists(args.output):
        raise UsageError(f"{args.output} exists already; choose a new folder")
    from speechre.model.folders import prepare_place

    prepare_place(args.output)
    utterances = _annotated(args.manifests)
    from speechre.evaluate.fitting import check_can_fit, fit_decoding, short_enough

    extractor = _completed_extractor(args)
    config = extractor.checkpoint.config
    check_can_fit(config, args.num_orders)
    utterances = short_enough(utterances, message)

    def analyze(config: Config) -> dict[str, Analysis]:
        sources = with_progress(utterances, len(utterances), "utterances")
        return {recording.id: found for recording, found in _with_config(extractor, config).analyze_many(sources)}

    fitted = fit_decoding(
        config,
        utterances,
        analyze,
        args.protocol,
        max_relation_free=args.max_relation_free,
        num_orders=args.num_orders,
        keep_prompts=args.keep_prompts,
        report=message,
    )
    _save(args, extractor.checkpoint, fitted.config)
    message(f"wrote {args.output}")
    found = _result(fitted, len(utterances))
    with open_output(None) as out:
        if args.json:
            out.write_json(found)
        else:
            print_tables(out, _tables(found))
    return 0


def _annotated(manifests: Sequence[Path]) -> list[Utterance]:
    """All utterances. Raises :class:`UsageError` where two have one id."""
    from speechre.data.store import read_manifest

    utterances: list[Utterance] = []
    for manifest in manifests:
        some = read_manifest(manifest)
        check_recordings(manifest, some)
        utterances += some
    if len({utterance.id for utterance in utterances}) < len(utterances):
        raise UsageError("an utterance id stands in more than one manifest; make them differ")
    return utterances


def _save(args: argparse.Namespace, checkpoint: Checkpoint, config: Config) -> None:
    """The model with the settings that were fitted, under the name that was asked for."""
    import torch

    from speechre.model.checkpoint import save_checkpoint

    save_checkpoint(
        args.output,
        checkpoint.network,
        checkpoint.tokenizer,
        checkpoint.schema,
        replace(config, name=config.name if args.name is None else args.name),
        getattr(torch, args.weights),
        checkpoint.reader,
        checkpoint.adapter,
    )


@loading()
def _completed_extractor(args: argparse.Namespace) -> Extractor:
    """The model with what ``--reader`` and ``--adapter`` add to it, as it is to be calibrated.

    Raises :class:`CheckpointError` on an adapter that does not fit, :class:`UsageError` on a reader that does not.
    """
    from speechre.cli.model import extractor_settings
    from speechre.config import ADAPTED
    from speechre.extract.extractor import Extractor, with_decoding
    from speechre.model.adapter import load_adapter
    from speechre.model.checkpoint import load_checkpoint

    settings = extractor_settings(args)
    overrides = dict(settings.overrides)
    checkpoint = load_checkpoint(settings.model, settings.device)
    if args.reader is not None:
        checkpoint = _with_reader(checkpoint, args.reader)
    if args.adapter is not None:
        adapter = load_adapter(args.adapter).to(checkpoint.network.device)
        adapter.check(checkpoint.network, str(args.adapter))
        checkpoint = replace(checkpoint, adapter=adapter)
        if not checkpoint.config.decode.second_listener:  # an adapter that nobody listens with is of no use
            overrides.setdefault("second_listener", ADAPTED)
    return Extractor(with_decoding(checkpoint, overrides), settings.batch_size, memory_mib=settings.memory_mib)


def _with_reader(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The same model with a text reader. Raises :class:`UsageError` where the two do not go together."""
    from speechre.reader.folder import load_text_model

    reader = load_text_model(folder)
    if reader.schema != checkpoint.schema:
        raise UsageError(f"{folder} reads relations of another schema than {checkpoint.model_id}'s")
    if not (checkpoint.config.model.transcript and checkpoint.config.decode.reader):
        raise UsageError(f"{checkpoint.model_id} writes no transcript that a reader could read")
    return replace(checkpoint, reader=reader)


def _with_config(extractor: Extractor, config: Config) -> Extractor:
    return type(extractor)(
        replace(extractor.checkpoint, config=config), extractor.batch_size, memory_mib=extractor.memory_mib
    )


def _result(fitted: Fitted, num_utterances: int) -> dict[str, Any]:
    decode, fit = fitted.config.decode, fitted.fit
    return {
        "num_utterances": num_utterances,
        "relation_threshold": decode.relation_threshold,
        "prompt_choices": [asdict(choice) for choice in fitted.prompts],
        "calibration": list(decode.calibration),
        "reader_calibration": list(decode.reader_calibration),
        "threshold": fit.threshold,
        "triplet": fit.triplet.to_dict(),
        "relation_free_share": fit.relation_free_share,
        "held_out_calibration_error": fit.held_out_error,
        "orders": list(decode.orders),
        "order_choices": [{"orders": list(c.orders), "f1": c.f1, "mean_f1": c.mean_f1} for c in fitted.choices],
    }


def _tables(found: dict[str, Any]) -> list[Table]:
    def text(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)

    triplet = found["triplet"]
    rows = [
        ("utterances", text(found["num_utterances"])),
        ("threshold of the relation head", text(found["relation_threshold"])),
        ("calibration: slope, intercept", ", ".join(map(text, found["calibration"]))),
        ("the same with the reader: slopes, intercept", ", ".join(map(text, found["reader_calibration"])) or "-"),
        ("threshold of confidence", text(found["threshold"])),
        ("precision, recall, F1 there", ", ".join(text(triplet[k]) for k in ("precision", "recall", "f1"))),
        ("relation-free utterances with a triplet", text(found["relation_free_share"])),
        ("calibration error, held out", text(found["held_out_calibration_error"])),
        ("orders", ",".join(found["orders"])),
    ]
    tables = [Table("fitted", ("what", "value"), tuple(rows))]
    if found["prompt_choices"]:
        names = ("threshold", "relation_f1", "triplet_f1")
        tried = tuple(tuple(text(choice[name]) for name in names) for choice in found["prompt_choices"])
        heading = ("threshold of the relation head", "F1 of its relations", "F1 of the orders' triplets")
        tables.append(Table("relation prompts", heading, tried))
    if found["order_choices"]:
        choices = tuple((",".join(c["orders"]), text(c["f1"]), text(c["mean_f1"])) for c in found["order_choices"])
        tables.append(Table("best orders", ("orders", "F1", "mean F1 of as many"), choices))
    return tables
