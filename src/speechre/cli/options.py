"""Arguments that several commands share, and the parser whose errors are one line like all others."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from speechre.errors import UsageError
from speechre.metrics import PROTOCOLS
from speechre.orders import ORDERS, select_orders

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises :class:`UsageError` in place of printing its usage and leaving."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # an abbreviation in a script breaks when an option is added
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises :class:`UsageError`."""
        raise UsageError(f'{message}; see "{self.prog} --help"')


def named_path(text: str) -> Path:
    """A path; nothing (a shell variable that is not set) is none."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty name, expected a file or folder; . is this folder")
    return Path(text)


def positive_int(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'got "{text}", expected a whole number from 1 on')
    return int(text)


def batch_size(text: str) -> int | Literal["auto"]:
    """A whole number from 1 on, or auto."""
    if text == "auto":
        return "auto"
    try:
        return positive_int(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from error


def whole_number(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f'got "{text}", expected a whole number from 0 on')
    return int(text)


def probability(text: str) -> float:
    """A number from 0 to 1."""
    return _number_up_to(1, text)


def name_bonus(text: str) -> float:
    """A number from 0 to 20."""
    return _number_up_to(20, text)


def _number_up_to(highest: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= highest:
        raise argparse.ArgumentTypeError(f'got "{text}", expected a number from 0 to {highest}')
    return value


def speed_list(text: str) -> tuple[float, ...]:
    """``1,0.9`` as numbers; what they must be is the config's to say."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f'got "{text}", expected numbers with commas between them, as 1,0.9') from None


def order_names(text: str) -> tuple[str, ...]:
    """``hrt,htr`` as names, each once."""
    try:
        return tuple(order.name for order in select_orders(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_protocol(parser: Parser) -> None:
    """The rule of scoring."""
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="boundary",
        help="what a hit is: texts and relation (boundary, the default), entity types too (strict), or the "
        "released evaluator's rule (paper)",
    )


def add_decoding(parser: Parser, fits_threshold: bool = False) -> None:
    """What changes how a model answers; what is not given stays as the model's own config says. A command that
    ``fits_threshold`` says so itself when it is given one, and does not offer it.
    """
    parser.add_argument(
        "--orders",
        type=order_names,
        metavar="ORDER,...",
        help=f"element orders to ask for, some of {','.join(ORDERS)} (default: the model's)",
    )
    parser.add_argument("--beams", type=positive_int, metavar="K", help="beams an order (default: the model's)")
    parser.add_argument(
        "--transcript-beams",
        type=positive_int,
        metavar="K",
        help="beams of the transcript, all of which the text reader reads (default: the model's)",
    )
    parser.add_argument(
        "--second-listener",
        metavar="DIR|NAME|adapter:|whisper:NAME|none",
        help="a model that hears too and whose transcripts the text reader reads as well; adapter: is the model itself "
        "with its adapter (adapter:NAME another one with its own), whisper:NAME a plain Whisper, as "
        "whisper:openai/whisper-small.en (default: the model's)",
    )
    parser.add_argument(
        "--speeds",
        type=speed_list,
        metavar="1,SPEED,...",
        help="hear each recording at these speeds, from 0.5 to 2, 1 first; the text reader reads what was heard at any "
        "of them (default: the model's)",
    )
    parser.add_argument(
        "--threshold",
        type=probability,
        metavar="P",
        help=argparse.SUPPRESS
        if fits_threshold
        else "keep triplets of this confidence or more, 0 to 1; weighted vote only (default: the model's)",
    )
    parser.add_argument(
        "--no-reader",
        dest="use_reader",
        action="store_false",
        default=None,
        help="the element orders vote alone, without the model's text reader",
    )
    parser.add_argument(
        "--batch-size",
        type=batch_size,
        default=8,
        metavar="N|auto",
        help="recordings at a time (default: 8); auto: sorted by length, as many as --memory-mib holds",
    )
    parser.add_argument(
        "--memory-mib",
        type=positive_int,
        metavar="M",
        help="memory of the whole process that --batch-size auto may plan with, in MiB (default: 2048)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto (the default: a GPU where there is one), cpu, cuda, cuda:1, mps",
    )


def add_names(parser: Parser) -> None:
    """Names that the user knows beforehand."""
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names that may be said, one a line: of participants, customers, places; transcripts rather write these",
    )
    parser.add_argument(
        "--name-bonus",
        type=name_bonus,
        metavar="B",
        help="what each token of a known name scores beside its log-probability, 0 to 20 (default: the model's)",
    )


def add_model(parser: Parser) -> None:
    """Whose answers are asked for; without it the shipped model's."""
    parser.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="a model folder or a shipped model's name (default: the shipped one)",
    )


def add_vad(parser: Parser) -> None:
    """What finds the speech in long recordings."""
    parser.add_argument(
        "--vad",
        choices=("energy", "silero"),
        default="energy",
        help="what finds the speech in recordings of more than 30 s: energy (the default), or silero, a network that "
        'knows voices (pip install "speechre[vad]")',
    )


def add_report(parser: Parser, files: str) -> None:
    """A folder with everything about the scores."""
    parser.add_argument("--report", type=Path, metavar="DIR", help=f"write {files} here")
    parser.add_argument(
        "--report-audio",
        type=whole_number,
        metavar="N",
        help="players in report.html, for as many utterances with a mistake (default: 60; 0: none)",
    )


def add_output(parser: Parser, what: str) -> None:
    """A file in place of standard output."""
    parser.add_argument("--output", type=Path, metavar="PATH", help=f"write {what} here, not to standard output")
