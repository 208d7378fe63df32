"""Speech-CoNLL04, every utterance: imported, validated, exported to each format and back, the same byte by byte."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechre.audio import read_audio, read_audio_ref
from speechre.cli import main
from speechre.data.formats.carry import PARTS, differences
from speechre.data.formats.table import FORMATS, ExportOptions, Format, ImportOptions
from speechre.data.repair import repair_manifest
from speechre.data.store import manifest_line, read_manifest
from speechre.data.validate import validate_manifest
from speechre.schemas import CONLL04

ROOT = Path(__file__).parents[3]
CORPUS = Path(os.environ.get("SPEECHRE_CONLL04", ROOT.parent / "shared" / "data" / "conll04"))
WITH_SOUND = ("commonvoice-speechre", "huggingface")  # the recordings themselves go through these
BATCH = 100

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs Speech-CoNLL04; SPEECHRE_CONLL04 names its folder"),
    pytest.mark.timeout(3600),
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.jsonl (922 sentences, 615 of them in a second rendition) and dev.jsonl (231), imported by the command."""
    folder = tmp_path_factory.mktemp("conll04")
    for name, voices in (("train", ("joe", "mixed")), ("dev", ("joe",))):
        audio = [str(CORPUS / "audio" / voice) for voice in voices]
        command = ["data", "import", "speechre-json", str(CORPUS / f"{name}.json"), "--audio", *audio]
        assert main([*command, "--output", str(folder / f"{name}.jsonl")]) == 0
        with redirect_stdout(StringIO()):  # hundreds of warnings, which the last test counts
            assert main(["data", "validate", str(folder / f"{name}.jsonl"), "--schema", "conll04", "--no-audio"]) == 0
    return folder


def imported(folder: Path) -> list[Any]:
    utterances = [u for name in ("train", "dev") for u in read_manifest(folder / f"{name}.jsonl")]
    assert len(utterances) == 922 + 615 + 231
    return utterances


def named(notes: Iterable[str]) -> set[str]:
    """The parts that an export said its format cannot hold."""
    parts = set(re.findall(r"[:,] ([a-z ]+) \(\d+\)", " ".join(notes)))
    assert parts <= set(PARTS)
    return parts


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in WITH_SOUND])
def test_every_utterance_comes_back(name: str, folder: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / ("train.json" if FORMATS[name].place == "file" else name)
    parts = [folder / "train.jsonl", folder / "dev.jsonl"]
    assert main(["data", "export", name, *map(str, parts), "--output", str(target)]) == 0
    assert named(capsys.readouterr().err.splitlines()) <= set(FORMATS[name].lacks)
    back = folder / f"{name}.jsonl"
    assert main(["data", "import", name, str(target), "--output", str(back)]) == 0
    assert back.read_bytes() == b"".join(part.read_bytes() for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SOUND)
def test_every_utterance_comes_back_with_its_recording(name: str, folder: Path, tmp_path: Path) -> None:
    """In batches, as the arrays of all are a gigabyte. The recordings are written anew, so only their paths change."""
    utterances = [u for u in imported(folder) if not u.id.endswith("@mixed")]
    assert len(utterances) == 922 + 231
    for first in range(0, len(utterances), BATCH):
        batch = utterances[first : first + BATCH]
        place = tmp_path / str(first)
        notes = FORMATS[name].write(place, batch, ExportOptions())
        assert named(notes) <= set(FORMATS[name].lacks)
        back = FORMATS[name].read(place, ImportOptions(audio_output=place / "audio")).utterances
        for old, new in zip(batch, back, strict=True):
            same = replace(new, audio=replace(new.audio, path=old.audio.path))
            assert manifest_line(same, folder / "m.jsonl") == manifest_line(old, folder / "m.jsonl")
            if name == "huggingface":
                assert Path(new.audio.path).read_bytes() == Path(old.audio.path).read_bytes()
            else:
                heard, was = read_audio(new.audio.path), read_audio_ref(old.audio)
                assert np.abs(heard - np.clip(was, -1, 1)).max() <= 2**-23
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS.values() if fmt.name not in WITH_SOUND], ids=lambda f: f.name)
def test_without_our_field_exactly_what_was_named_is_lost(fmt: Format, folder: Path, tmp_path: Path) -> None:
    utterances = imported(folder)
    target = tmp_path / ("train.json" if fmt.place == "file" else fmt.name)
    said = named(fmt.write(target, utterances, ExportOptions(is_plain=True))) - {"utterance sequence"}
    back = {utterance.id: utterance for utterance in fmt.read(target, ImportOptions()).utterances}
    assert len(back) == len(utterances)
    ids = dict(zip((u.id for u in utterances), back, strict=True)) if "ids" in fmt.lacks else {}
    lost = set().union(*(differences(u, back[ids.get(u.id, u.id)]) for u in utterances))
    assert lost == said
    assert lost <= set(fmt.lacks)


@pytest.mark.slow
def test_what_is_wrong_with_it_is_what_the_page_says(folder: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("### What is wrong with Speech-CoNLL04")[1]
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    for column, name in ((1, "train"), (2, "dev")):
        issues = validate_manifest(folder / f"{name}.jsonl", CONLL04, language="en")
        assert Counter(issue.code for issue in issues) == {
            row[0]: int(row[column]) for row in rows if row[column] != "0"
        }
        assert {issue.severity for issue in issues} == {"warning"}
        assert list(repair_manifest(folder / f"{name}.jsonl", tmp_path / f"{name}.jsonl")) == []
        assert (tmp_path / f"{name}.jsonl").read_text() != ""
