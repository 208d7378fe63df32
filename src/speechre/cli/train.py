"""``speechre train``: a model from a recipe."""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from speechre.cli.options import Commands
from speechre.cli.output import message, open_output
from speechre.errors import UsageError

_DESCRIPTION = """\
Train a model as a recipe says. Any setting of the recipe can be changed:

  speechre train --config conll04 --train.steps 100 --data.train my.jsonl

The output folder gets model (the last), best (the best on dev), metrics.jsonl, tensorboard and checkpoint
(what --resume continues). Ctrl-C saves before it stops. The last model's folder is printed at the end."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser(
        "train",
        help="a model from a recipe",
        description=_DESCRIPTION,
        usage="speechre train --config RECIPE [--output DIR] [--resume] [--name NAME] [--KEY.KEY VALUE]...",
    )
    parser.add_argument(
        "--config", required=True, metavar="RECIPE", help="a YAML file, or a shipped recipe's name (conll04)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the run's folder (default: runs/ and the recipe's name)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: the recipe's)")
    parser.set_defaults(run=run, overrides={})


def run(args: argparse.Namespace) -> int:
    """Train."""
    from speechre.config import load_config

    named = {} if args.name is None else {"name": args.name}
    config = load_config(args.config, {**args.overrides, **named})
    folder = args.output or Path("runs") / config.name
    check_installed("accelerate", "tensorboard")
    # Torch takes seconds to load: only after all that can be wrong with the config was checked.
    from speechre.evaluate.development import dev_evaluator
    from speechre.train.setup import start_training
    from speechre.train.state import find_state

    if args.resume and find_state(folder / "checkpoint") is None:
        raise UsageError(f"{folder}: there is no run to resume; check --output, or start one without --resume")
    make_folder(folder)
    model = start_training(
        config, folder, resume=args.resume, evaluate_factory=partial(dev_evaluator, report=message), report=message
    )
    with open_output(None) as out:
        out.write(f"{model}\n")
    return 0


def check_installed(*packages: str) -> None:
    """Raises :class:`UsageError`, naming the extra, unless the packages that training needs are there."""
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(f'training needs {package}; install it with "pip install speechre[train]"')


def make_folder(folder: Path) -> None:
    """The run's folder. Raises :class:`UsageError` if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder}: cannot be made: {getattr(error, 'strerror', None) or error}; choose another --output"
        ) from error
