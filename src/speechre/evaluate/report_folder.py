"""A report folder: report.html, report.json, report.md, and what a model answered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from speechre.data.store import write_atomically
from speechre.errors import UsageError
from speechre.evaluate.gallery import NUM_SOUNDS
from speechre.evaluate.page import render_page
from speechre.evaluate.report import Report
from speechre.page.document import check_template_engine
from speechre.types import Extraction

REPORT_FILES = ("predictions.jsonl", "report.md", "report.html", "report.json")
"""What :func:`write_report` writes."""


def prepare_report_folder(folder: Path) -> None:
    """Make the folder, so that one that cannot be written fails before hours of work.

    Raises :class:`UsageError`, also where the template engine is missing.
    """
    check_template_engine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".report.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _cannot_write(folder, error) from error


def write_report(
    folder: Path, report: Report, extractions: Iterable[Extraction] | None = None, num_sounds: int = NUM_SOUNDS
) -> None:
    """Write report.md, report.html and report.json into ``folder``; each appears whole or not at all.

    With ``extractions``, what a model answered, predictions.jsonl too. ``num_sounds`` utterances of the page's gallery
    get a player. Raises :class:`UsageError` when the folder cannot be written.
    """
    prepare_report_folder(folder)
    content = json.dumps(report.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    page = render_page(report, num_sounds)
    if extractions is not None:
        predictions = [json.dumps(e.to_dict(), ensure_ascii=False) + "\n" for e in extractions]
        write_atomically(folder / "predictions.jsonl", "".join(predictions))
    write_atomically(folder / "report.md", report.markdown)
    write_atomically(folder / "report.html", page)
    write_atomically(folder / "report.json", content + "\n")


def _cannot_write(path: Path, error: OSError | ValueError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")
