"""``speechre finetune``: your own entity and relation types, from a model that is there."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechre.cli.options import Commands, positive_int
from speechre.cli.output import message, open_output, print_tables
from speechre.cli.train import check_installed, make_folder
from speechre.errors import UsageError

_DESCRIPTION = """\
Your own entity and relation types in one command: from 50 to 5,000 annotated recordings, a schema and a model that is
there to a model folder that extract, evaluate and Extractor take at once.

  speechre finetune my.jsonl --schema my.yaml --output models/mine

The data is checked first, every fault at once. Without --dev a part of it is held out, by sentence and speaker. Then
the speech half learns the new types and names in a few steps, the text reader learns from the texts and from what was
heard, and confidence is fitted on what was held out. The folder has a model card with the scores before and after, a
report (report/report.html) and finetune.json. A run that was stopped goes on with --resume: what is done is not
repeated."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    what = "your own relations, from annotated recordings"
    parser = commands.add_parser("finetune", help=what, description=_DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MY.jsonl", help="annotated recordings to learn from")
    parser.add_argument("--schema", required=True, metavar="NAME|YAML", help="entity types, relation types and pairs")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the model's folder; a new one")
    parser.add_argument(
        "--from",
        dest="start",
        default="speechre-tiny-conll04",
        metavar="DIR|NAME",
        help="the model to start from: a folder or a shipped model's name (default: speechre-tiny-conll04)",
    )
    parser.add_argument(
        "--dev", type=Path, metavar="M.jsonl", help="held-out recordings (default: a part of MY.jsonl, by the seed)"
    )
    parser.add_argument("--name", default="", help="the model's name (default: the folder's)")
    parser.add_argument(
        "--no-speech",
        dest="speech",
        action="store_false",
        help="train the text reader alone: faster, but names are heard as before, and the orders know nothing",
    )
    parser.add_argument(
        "--steps", type=positive_int, metavar="N", help="of the speech half (default: by the number of utterances)"
    )
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="of the text reader (default: likewise)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all random choices (default: 1)")
    parser.add_argument(
        "--precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="bf16 where this machine is faster in it, else float32 (default: auto)",
    )
    parser.add_argument(
        "--weights",
        choices=("float16", "int8"),
        default="int8",
        help="how the weights are stored: int8 (the default, as shipped models are) takes half of float16's bytes",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (the default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--json", action="store_true", help="one JSON object, as finetune.json, in place of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fine-tune."""
    from speechre.finetune.plan import Plan
    from speechre.schemas import load_schema

    if args.output.exists() and not args.resume:
        raise UsageError(f"{args.output} is there already; choose another --output")
    plan = Plan(
        manifest=args.manifest,
        schema=load_schema(args.schema),
        schema_source=args.schema,
        start=args.start,
        output=args.output,
        dev=args.dev,
        name=args.name,
        speech=args.speech,
        steps=args.steps,
        epochs=args.epochs,
        seed=args.seed,
        precision=args.precision,
        device=args.device,
        weights=args.weights,
    )
    from speechre.finetune.prepare import check_data
    from speechre.page.document import check_template_engine

    check_template_engine()
    if plan.speech:
        check_installed("accelerate", "tensorboard")
    make_folder(plan.output.parent)
    check_data(plan, message)
    # Torch takes seconds to load: only after all that can be wrong with the data was checked.
    from speechre.finetune.card import score_table
    from speechre.finetune.run import finetune

    outcome = finetune(plan, message, resume=args.resume)
    message(f"wrote {plan.output}")
    with open_output(None) as out:
        if args.json:
            out.write_json(outcome)
        else:
            print_tables(out, [score_table(outcome)])
    return 0
