"""``speechre data``: manifests, from what to annotate to what is published; each command is a module beside this."""

from __future__ import annotations

from speechre.cli import (
    agreement,
    candidates,
    data_card,
    data_split,
    data_stats,
    data_validate,
    formats,
    labeling,
    synthesize,
)
from speechre.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """The arguments of this command's own commands."""
    parser = commands.add_parser(
        "data",
        help="manifests: import, export, candidates, annotate, validate, split, synthesize",
        description="Work on manifests.",
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    formats.add_parsers(kinds)
    candidates.add_parser(kinds)
    labeling.add_parsers(kinds)
    agreement.add_parser(kinds)
    data_validate.add_parser(kinds)
    data_stats.add_parser(kinds)
    data_split.add_parser(kinds)
    data_card.add_parser(kinds)
    synthesize.add_parser(kinds)
