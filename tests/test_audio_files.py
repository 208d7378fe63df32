"""Which files are recordings."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from speechre.audio_files import find_audio_files, recording_ids
from speechre.errors import UsageError


def test_find_audio_files(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "sub/c.opus", "sub/deep/d.mp3", "notes.txt", ".hidden.wav", ".git/e.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in find_audio_files([tmp_path, tmp_path / "b.wav"])]
    assert names == ["a.FLAC", "b.wav", "sub/c.opus", "sub/deep/d.mp3"]
    assert find_audio_files([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"folder .*none holds no audio file; expected one of \.wav \.flac"):
        find_audio_files([tmp_path / "b.wav", tmp_path / "none"])
    with pytest.raises(UsageError, match="no such file or folder"):
        find_audio_files([tmp_path / "missing"])
    with pytest.raises(UsageError, match="no audio file given"):
        find_audio_files([])


def test_a_file_is_found_once_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "sub" / "a.wav")
    other = tmp_path / "sub" / ".." / "sub" / "a.wav"
    assert find_audio_files([other, tmp_path, tmp_path / "link.wav"]) == [other]


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.wav").touch()
    scandir = os.scandir

    def deny(path: str) -> object:  # a test may run as root, whom no mode keeps out
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UsageError, match=r"folder .*shut cannot be looked into: Permission denied; make it readable"):
        find_audio_files([tmp_path])


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a/x.wav", "b/y.mp3"], ["x", "y"]),
        (["a/x.wav", "b/x.wav", "z.wav"], ["a/x.wav", "b/x.wav", "z"]),
        (["m.wav", "m.mp3", "m.wav.flac"], ["m.wav", "m.mp3", "m.wav.flac"]),
        (["x", "x", "x#2"], ["x", "x#3", "x#2"]),
        (["x", "x", "x"], ["x", "x#2", "x#3"]),
        (["", "a"], ["", "a"]),
    ],
)
def test_every_recording_has_an_id_of_its_own(names: list[str], ids: list[str]) -> None:
    assert recording_ids(names) == ids
