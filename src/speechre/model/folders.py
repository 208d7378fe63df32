"""Folders that appear whole or not at all: built under a hidden name beside their place, then moved there.

Needs no torch, so that a command can ask whether its output can be written before it loads anything.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from speechre.errors import UsageError

_ABANDONED_AFTER_S = 3600.0
"""No folder takes so long between two writes."""


def prepare_place(folder: Path) -> None:
    """Make the parent of a folder to be written later and try to write there, so that what cannot be written fails
    before hours of work. Raises :class:`UsageError`.
    """
    try:
        _new_building(_real(folder)).rmdir()
    except (OSError, ValueError) as error:
        raise _cannot_write(folder, error) from error


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A new, hidden folder to fill. At the end of the block it takes the place of ``folder``, or of what this links to.

    When the block fails ``folder`` stays as it was. Raises :class:`UsageError` when it cannot be written.
    """
    try:
        building = _new_building(_real(folder))
        try:
            yield building
            replace_folder(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)  # is elsewhere by now, unless something failed
    except (OSError, SafetensorError) as error:
        raise _cannot_write(folder, error) from error


def replace_folder(building: Path, folder: Path) -> None:
    """Move a finished folder to its place; at every moment either the old or the new one can be found whole.

    Where ``folder`` is a link, it stays one and what it points at is replaced; ``building`` must lie on that disk.
    """
    for path in building.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    target = _real(folder)
    old = _hidden(target, "old")
    is_replaced = target.is_dir()
    if is_replaced:
        if old.exists():  # of an interrupted run that had this process's number
            shutil.rmtree(old)
        target.rename(old)
    try:
        building.rename(target)
    except OSError:
        if is_replaced:
            old.rename(target)
        raise
    # Only now: after a kill between the two renames such a folder is the only one.
    for one in _hidden_ones(target, "old"):
        shutil.rmtree(one, ignore_errors=True)  # the new folder is in place: nothing left behind may end a training


def replaced_by_interrupted(folder: Path) -> list[Path]:
    """What stood at ``folder`` when a kill hit the middle of a replacement, the newest first."""
    return sorted(_hidden_ones(_real(folder), "old"), key=lambda one: one.stat().st_mtime, reverse=True)


def _real(folder: Path) -> Path:
    """What a link points at: the link is the user's, and often leads to a larger disk."""
    return Path(os.path.realpath(folder))


def _hidden(target: Path, what: str) -> Path:
    """A name beside ``target`` that nobody gives a folder of their own, unlike "mine.old" or "mine.tmp"."""
    return target.with_name(f".{target.name}.{os.getpid()}.{what}")


def _hidden_ones(target: Path, what: str) -> list[Path]:
    """The folders that this process and earlier ones named by :func:`_hidden`."""
    name = re.compile(rf"\.{re.escape(target.name)}\.\d+\.{what}")
    if not target.parent.is_dir():
        return []
    with os.scandir(target.parent) as entries:
        return [Path(e.path) for e in entries if name.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]


def _new_building(target: Path) -> Path:
    """An empty folder beside ``target``. What killed runs left half built is removed."""
    if target.parent.is_file():  # mkdir would say "File exists", of what the user takes for a folder
        raise NotADirectoryError(errno.ENOTDIR, f"{target.parent} is a file, not a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    building = _hidden(target, "building")
    for left in _hidden_ones(target, "building"):
        if left == building or _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    building.mkdir()
    return building


def _is_abandoned(building: Path) -> bool:
    """Whether nobody writes there any more. Its process number says nothing: that may be another machine's."""
    try:
        newest = max(path.stat().st_mtime for path in (building, *building.rglob("*")))
    except OSError:  # it is being moved to its place
        return False
    return time.time() - newest > _ABANDONED_AFTER_S


def _cannot_write(folder: Path, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or error
    return UsageError(f"{folder}: cannot be written: {reason}; make room there, or choose another folder")
