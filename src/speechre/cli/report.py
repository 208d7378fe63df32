"""``--report DIR``, which several commands have: checked before the work, written after it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from speechre.cli.output import check_replaces_no_input, message
from speechre.errors import UsageError

if TYPE_CHECKING:
    from speechre.evaluate.report import Report
    from speechre.types import Extraction

WriteReport: TypeAlias = "Callable[[Report, Iterable[Extraction] | None], None]"


def open_report(args: argparse.Namespace, inputs: Iterable[str | Path]) -> WriteReport | None:
    """What writes the report that the arguments of :func:`speechre.cli.options.add_report` ask for, if they do.

    Everything that can be wrong with the place is found here. Raises :class:`UsageError`.
    """
    if args.report is None:
        if args.report_audio is not None:
            raise UsageError("--report-audio has no effect without --report DIR; leave it out or add the folder")
        return None
    from speechre.evaluate.gallery import NUM_SOUNDS
    from speechre.evaluate.report_folder import REPORT_FILES, prepare_report_folder, write_report

    files = list(inputs)
    for name in REPORT_FILES:
        check_replaces_no_input(args.report / name, files)
    prepare_report_folder(args.report)
    num_sounds = NUM_SOUNDS if args.report_audio is None else args.report_audio

    def write(report: Report, extractions: Iterable[Extraction] | None) -> None:
        write_report(args.report, report, extractions, num_sounds)
        message(f"wrote {args.report}")

    return write
