"""The command line: ``speechre COMMAND``. stdout is data, stderr is messages and progress.

Exit codes: 0 done, 1 findings or failed items, 2 usage, 130 interrupted, 141 when the reader of stdout went
away. A command's module is loaded when that command is asked for, and what it needs when it runs.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from speechre import __version__
from speechre.cli.options import Parser
from speechre.cli.output import discard_stdout, message, report_error
from speechre.cli.overrides import split_overrides
from speechre.errors import SpeechreError, UsageError, is_out_of_memory

INTERRUPTED = 130
BROKEN_PIPE = 141

_DESCRIPTION = """\
Speech in, relation triplets out.

  speechre extract talk.wav                     what is said about whom
  speechre evaluate dev.jsonl --model MODEL     how good a model is
  speechre finetune my.jsonl --schema my.yaml   your own relations, from annotated recordings
  speechre train --config conll04               a model from a recipe"""

_EPILOG = "Exit codes: 0 done, 1 findings or failed items, 2 usage. stdout is data, stderr is messages."


_COMMANDS = {
    "extract": "triplets from recordings",
    "bulk": "triplets from very many recordings",
    "serve": "recordings in over HTTP, triplets out",
    "evaluate": "a model on a manifest",
    "score": "predictions against annotation",
    "compare": "two reports against each other",
    "finetune": "your own relations, from annotated recordings",
    "train": "a model from a recipe",
    "train-reader": "a text model that reads transcripts",
    "calibrate": "a model's thresholds and confidence",
    "data": "manifests: import, export, candidates, annotate, validate, split, synthesize",
}
"""What there is, and what each one's own parser says of it."""


def build_parser(wanted: Collection[str] = tuple(_COMMANDS)) -> Parser:
    """The parser of all commands, with the arguments of those that are ``wanted``."""
    parser = Parser(prog="speechre", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"speechre {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in _COMMANDS.items():
        if name in wanted:
            import_module(f"speechre.cli.{name.replace('-', '_')}").add_parser(commands)
        else:
            commands.add_parser(name, help=what)
    return parser


def run_program() -> int:
    """The program ``speechre``: :func:`main` in a process of its own, which ends at once."""
    try:
        return main()
    finally:
        # At its end Python looks for garbage once more, in all of torch for 0.3 s; what is left goes with the process.
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every :class:`SpeechreError` becomes one line on stderr."""
    _write_utf8()
    try:
        with _quiet_libraries():
            code = _run(sys.argv[1:] if argv is None else list(argv))
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        message("interrupted")
        return INTERRUPTED
    except SpeechreError as error:
        report_error(error)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message("MemoryError: not enough memory; use fewer beams, a smaller batch, fewer workers or shorter recordings")
        discard_stdout()
        return 1
    except OSError as error:
        # Commands name the files they fail on; what is left is the machine: a full disk, too many open files.
        where = f"{error.filename}: " if error.filename else ""
        message(f"{type(error).__name__}: {where}{error.strerror or error}")
        discard_stdout()
        return 1
    return code


def _run(argv: list[str]) -> int:
    parser = build_parser(argv)
    argv, overrides = split_overrides(argv)
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # --help and --version; errors raise UsageError
        return int(stop.code or 0)
    if overrides and "overrides" not in args:
        key = next(iter(overrides))
        raise UsageError(f'unknown argument --{key}; settings like this belong to "speechre train"')
    args.overrides = {**overrides, **getattr(args, "overrides", {})}
    code: int = args.run(args)
    return code


def _write_utf8() -> None:
    """UTF-8 whatever the locale; a lone surrogate (in a file name) becomes JSON's own escape of it. Line ends are those
    that a format asks for, on Windows too: CSV's would else get a second carriage return.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n" if stream is sys.stdout else None)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """No warnings of libraries between the messages; ``python -W`` and PYTHONWARNINGS bring them back."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
