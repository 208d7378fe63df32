"""``speechre extract`` as a graph: the options of merging, and all formats that need every extraction at once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Parser
from speechre.cli.output import Output, check_replaces_no_input, message
from speechre.errors import UsageError
from speechre.graph import DEFAULT_RULES, RULE_NAMES, build_graph
from speechre.graph.rules import select_rules
from speechre.graph_formats import GRAPH_FORMATS
from speechre.graph_formats.neo4j import FILES, to_neo4j_files

if TYPE_CHECKING:
    from speechre.types import Extraction

FOLDER_FORMAT = "neo4j"
FORMATS = (*GRAPH_FORMATS, FOLDER_FORMAT)
SUFFIXES = {".jsonl": "jsonl", **{suffix: name for name, one in GRAPH_FORMATS.items() for suffix in one.suffixes}}
"""The format of an output whose name ends so, where ``--format`` does not say it."""
FORMATS_HELP = """\
Formats: table for people; jsonl, one extraction a line as it is found. The others show all recordings as one
graph, with the entities merged (docs/graphs.md): csv, a row for each mention of a triplet; turtle and jsonld, RDF
with PROV-O; graphml and gexf, for Gephi, yEd and networkx; cypher, JSON lines of statements and parameters; neo4j,
a folder for its bulk import; html, a page with the graph, the transcripts and the sound."""


def rule_names(text: str) -> frozenset[str]:
    """``all``, ``none`` or ``same_text,title``."""
    if text in ("all", "none"):
        return frozenset(RULE_NAMES if text == "all" else ())
    try:
        return select_rules(name.strip() for name in text.split(","))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def pair_of_texts(text: str) -> tuple[str, str]:
    """``Bush=George Bush`` as two texts."""
    one, sign, other = (part.strip() for part in text.partition("="))
    if not (one and sign and other):
        raise argparse.ArgumentTypeError(f'got "{text}", expected two names with "=" between them')
    return one, other


def add_merging(parser: Parser) -> None:
    """What decides which names are one entity; ``None`` where it was not given."""
    parser.add_argument(
        "--merge",
        type=rule_names,
        metavar="RULE,...",
        help=f"rules that may join names to one entity: none, all, or some of {', '.join(RULE_NAMES)} (default: all "
        f"but {', '.join(name for name in RULE_NAMES if name not in DEFAULT_RULES)}); graph formats only",
    )
    parser.add_argument(
        "--apart",
        type=pair_of_texts,
        action="append",
        metavar="NAME=NAME",
        help="two names that no rule may join; can be given again; graph formats only",
    )


def check_graph_arguments(args: argparse.Namespace, style: str, files: Iterable[Path]) -> None:
    """All that can be wrong with a graph's options, its libraries and its place, found before a model is loaded.

    Makes the folder of a format that is one. Raises :class:`UsageError`.
    """
    if style not in FORMATS:
        for option in ("merge", "apart"):
            if getattr(args, option) is not None:
                raise UsageError(f"--{option} has no effect on {style}; leave it out or choose a graph format")
        return
    if style == FOLDER_FORMAT:
        _prepare_folder(args.output, files)
        return
    GRAPH_FORMATS[style].check()


def _prepare_folder(folder: Path | None, files: Iterable[Path]) -> None:
    if folder is None:
        raise UsageError("--format neo4j writes a folder; name it with --output DIR")
    inputs = list(files)
    for name in FILES:
        check_replaces_no_input(folder / name, inputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".neo4j.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{folder}: cannot be written: {reason}; choose another folder or make room") from error


def write_graph(args: argparse.Namespace, style: str, out: Output, extractions: Iterable[Extraction]) -> None:
    """Build the graph and write it to ``out``, or to the folder that ``args.output`` names."""
    rules = DEFAULT_RULES if args.merge is None else args.merge
    graph = build_graph(extractions, rules=rules, apart=args.apart or ())
    num_merges = sum(len(node.merges) for node in graph.nodes)
    counts = f"{len(graph.nodes)} entities, {len(graph.edges)} triplets, {num_merges} merges"
    message(f"{counts}, {len(graph.conflicts)} to look at")
    if style == FOLDER_FORMAT:
        from speechre.data.store import write_atomically

        for name, content in to_neo4j_files(graph).items():
            write_atomically(args.output / name, content)
    else:
        out.write(GRAPH_FORMATS[style].write(graph, message))
