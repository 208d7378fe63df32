"""docs/python.md, recordings.md and names.md say what is so: their examples run, their tables are the code's."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from speechre.extract.evidence import NO_TRANSCRIPT
from speechre.extract.vad import DETECTORS
from speechre.model.checkpoint import PRETRAINED_DIR

ROOT = Path(__file__).parents[2]
PYTHON, RECORDINGS = ((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("python", "recordings"))


@pytest.mark.slow
@pytest.mark.usefixtures("hears_in_float32")
@pytest.mark.parametrize("page", ["python.md", "recordings.md", "names.md"])
def test_the_examples_print_what_is_shown(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.attempted > 3
    assert result.failed == 0


def test_the_files_of_a_model_folder_are_those_of_a_shipped_one() -> None:
    table = PYTHON.split("## Model folders")[1]
    named = {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall("`([^`]+)`", cell)
    }
    assert named == {path.name for folder in PRETRAINED_DIR.iterdir() for path in folder.iterdir()}


def test_the_warnings_and_detectors_shown_are_the_code_s() -> None:
    assert f"| `{NO_TRANSCRIPT}` |" in RECORDINGS
    assert tuple(re.findall(r"^\| `(\w+)`", RECORDINGS.split("| `--vad` |")[1], re.MULTILINE)) == DETECTORS
