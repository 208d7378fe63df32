"""Folders that appear whole or not at all, whatever stands beside them and whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from speechre.errors import UsageError
from speechre.model.folders import replace_folder, replaced_folder


def write(folder: Path, text: str) -> Path:
    """A folder with one file, made or replaced as models are."""
    with replaced_folder(folder) as building:
        (building / "x").write_text(text, encoding="utf-8")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replacing_after_a_kill_between_the_renames_keeps_the_old_folder_until_the_new_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, building = tmp_path / "f", tmp_path / ".f.1.old", tmp_path / "new"
    for path in (old, building):  # the kill: f has the name of the old one already, the new f is not there yet
        path.mkdir()
        (path / "x").write_text(path.name, encoding="utf-8")
    events = []
    rename, remove = Path.rename, shutil.rmtree
    monkeypatch.setattr(Path, "rename", lambda s, t: (events.append(f"{s.name} -> {t.name}"), rename(s, t))[1])
    monkeypatch.setattr(shutil, "rmtree", lambda p, **k: (events.append(f"remove {p.name}"), remove(p, **k))[1])
    replace_folder(building, folder)
    assert events == ["new -> f", "remove .f.1.old"]
    assert (folder / "x").read_text(encoding="utf-8") == "new"


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    for name in (".f.7.old", ".f.7.building", f".f.{os.getpid()}.building"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    for path in (tmp_path / ".f.7.building" / "x", tmp_path / ".f.7.building"):
        os.utime(path, (0, 0))  # long ago
    assert (write(tmp_path / "f", "new") / "x").read_text(encoding="utf-8") == "new"
    assert names_in(tmp_path) == ["f"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "run" / "best"
    (disk / "there").mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(disk / "there", target_is_directory=True)
    for text in ("one", "two"):
        write(link, text)
        assert link.is_symlink()
        assert (disk / "there" / "x").read_text(encoding="utf-8") == text
        assert (names_in(disk), names_in(link.parent)) == (["there"], ["best"])


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "f", "old")
    rename = Path.rename

    def fails_for_new(path: Path, target: Path) -> Path:
        if path.name.endswith(".building"):
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_for_new)
    with pytest.raises(UsageError, match="f: cannot be written: Device or resource busy"):
        write(folder, "new")
    assert (folder / "x").read_text(encoding="utf-8") == "old"
    assert names_in(tmp_path) == ["f"]
