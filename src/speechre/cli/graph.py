"""``speechre extract`` as a graph: the options of merging, and the writing of all recordings as one graph."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Parser
from speechre.cli.output import Output, check_replaces_no_input, message, write_folder
from speechre.errors import UsageError
from speechre.graph import DEFAULT_RULES, RULE_NAMES, KnowledgeGraph, build_graph
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
Formats: table for people; jsonl, one extraction a line: both as it is found. The others show all recordings as one
graph, with the entities merged (docs/graphs.md): csv, a row for each mention of a triplet; turtle and jsonld, RDF
with PROV-O; graphml and gexf, for Gephi, yEd and networkx; cypher, JSON lines of statements and parameters; neo4j,
a folder for its bulk import; html, a page with the graph, the transcripts and the sound. They are written when all is
heard, because a later recording can explain a name; with --merge none, csv, turtle and cypher come as it is heard."""


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
    if args.apart and args.merge == frozenset():
        raise UsageError("--apart has no effect with --merge none; leave one of the two out")
    if style == FOLDER_FORMAT:
        _prepare_folder(args.output, files)
        return
    GRAPH_FORMATS[style].check()


def _prepare_folder(folder: Path | None, files: Iterable[Path]) -> None:
    if folder is None:
        raise UsageError("--format neo4j writes a folder; name it with --output DIR")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: cannot be written: it is a file, and neo4j writes a folder; choose another place")
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


class GraphWriter:
    """Writes extractions as one graph: each at once where it needs no other (nothing is merged, and the format can be
    written in parts), else all together at the end. They are held until then, without their sound.
    """

    def __init__(self, args: argparse.Namespace, style: str, out: Output) -> None:
        self._folder: Path = args.output
        self._rules = DEFAULT_RULES if args.merge is None else args.merge
        self._apart = args.apart or ()
        self._out = out
        self._format = GRAPH_FORMATS.get(style)
        self._write_more = None if self._rules or self._format is None else self._format.write_more
        self._held: list[Extraction] = []
        self._counts: Counter[str] = Counter()

    @property
    def is_streaming(self) -> bool:
        """Whether what is added is written at once."""
        return self._write_more is not None

    def add(self, extraction: Extraction) -> None:
        """The next recording. Raises :class:`UsageError` when it cannot be written."""
        if self._write_more is None:
            self._held.append(extraction)
            return
        graph, is_first = self._build([extraction]), not self._counts["recordings"]
        self._count(graph)
        self._out.write(self._whole(graph) if is_first else self._write_more(graph))

    def finish(self) -> None:
        """All is heard. Raises :class:`UsageError` when it cannot be written."""
        if self._write_more is None or not self._counts["recordings"]:
            graph = self._build(self._held)
            self._count(graph)
            self._tell()
            if self._format is None:
                write_folder(self._folder, to_neo4j_files(graph))
            else:
                self._out.write(self._whole(graph))
            return
        self._tell()

    def _build(self, extractions: Iterable[Extraction]) -> KnowledgeGraph:
        return build_graph(extractions, rules=self._rules, apart=self._apart)

    def _whole(self, graph: KnowledgeGraph) -> str:
        assert self._format is not None
        return self._format.write(graph, message)

    def _count(self, graph: KnowledgeGraph) -> None:
        num_merges = sum(len(node.merges) for node in graph.nodes)
        counts = {"entities": len(graph.nodes), "triplets": len(graph.edges), "merges": num_merges}
        self._counts.update(counts, recordings=len(graph.recordings), conflicts=len(graph.conflicts))

    def _tell(self) -> None:
        counts = ", ".join(f"{self._counts[what]} {what}" for what in ("entities", "triplets", "merges"))
        message(f"{counts}, {self._counts['conflicts']} to look at")
