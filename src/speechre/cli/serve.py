"""``speechre serve``: recordings in over HTTP, extractions out."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from speechre.cli.options import Commands, add_decoding, add_model, add_names, add_vad, positive_int
from speechre.cli.output import message

_DESCRIPTION = """\
A web service: POST /v1/extract takes recordings and answers with their extractions,
GET / is a page to try it, /v1/model, /healthz and /metrics say how it is (docs/service.md).

It has no passwords and no encryption: by default only this machine reaches it. Put a
reverse proxy with TLS and authentication in front before others do.

SIGTERM and Ctrl-C finish what was taken; the exit code is then 0."""


def port_number(text: str) -> int:
    """A whole number from 0 to 65535."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f'got "{text}", expected a whole number from 0 to 65535')
    return int(text)


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("serve", help="recordings in over HTTP, triplets out", description=_DESCRIPTION)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=port_number,
        default=8000,
        metavar="N",
        help="on which port (default: 8000; 0: any free one, which is printed)",
    )
    add_model(parser)
    parser.add_argument(
        "--max-upload-mib",
        type=positive_int,
        default=200,
        metavar="M",
        help="the largest request, in MiB (default: 200)",
    )
    parser.add_argument(
        "--max-duration-s",
        type=positive_int,
        default=4 * 3600,
        metavar="S",
        help="the longest recording, in seconds (default: 14400)",
    )
    parser.add_argument(
        "--max-waiting",
        type=positive_int,
        default=32,
        metavar="N",
        help="so many requests may be received, wait or be heard at a time; who comes then is told to come again "
        "(default: 32)",
    )
    parser.add_argument(
        "--grace-s",
        type=positive_int,
        default=60,
        metavar="S",
        help="so long requests that were taken may still need after SIGTERM, in seconds (default: 60)",
    )
    add_decoding(parser)
    add_names(parser)
    add_vad(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; 1 if requests were left unanswered."""
    from speechre.extract.vad import check_detector
    from speechre.serve.limits import Limits
    from speechre.serve.server import HttpServer, bind, check_packages, load_for_a_thread

    check_packages()
    check_detector(args.vad)
    # Bound before the model is loaded, so that a port that is taken is told at once; opened when it can answer.
    with bind(args.host, args.port) as sock:
        # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
        from speechre.cli.model import load_extractor
        from speechre.serve.connections import raise_file_limit

        raise_file_limit()
        extractor, on_start = load_for_a_thread(partial(load_extractor, args))
        limits = Limits(args.max_upload_mib, args.max_duration_s, args.max_waiting, args.grace_s)
        server = HttpServer(extractor, sock, limits, message, on_start)
        code = server.run()
    if server.service.model.is_alive:  # in the middle of a batch: the interpreter would end under it, with SIGABRT
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
