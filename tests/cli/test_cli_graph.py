"""``speechre extract --format`` with a graph: the options of merging, and what is found before a model is loaded.
test_cli_extract_formats.py has every format.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.cli.graph import SUFFIXES
from speechre.graph_formats.neo4j import FILES
from tests.conftest import MakeSound
from tests.graphs import TALKS, Told

NO_MODEL = ["--model", "there is no such model"]


@pytest.fixture
def sounds(make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two recordings, of which the model says :data:`TALKS`."""
    monkeypatch.setattr("speechre.cli.model.make_extractor", lambda args: Told())
    return [str(make_sound(f"in/{talk.id}.wav", 0.5)) for talk in TALKS]


def output_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["extract", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == "3 entities, 2 triplets, 3 merges, 0 to look at"
    return out


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".jsonl"])
def test_the_outputs_suffix_chooses_the_format(
    suffix: str, sounds: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = SUFFIXES[suffix]
    assert output_of([*sounds, "--output", str(tmp_path / f"graph{suffix}")], capsys) == ""
    assert output_of([*sounds, "--format", style, "--output", str(tmp_path / "graph.txt")], capsys) == ""
    by_suffix, by_name = ((tmp_path / name).read_text(encoding="utf-8") for name in (f"graph{suffix}", "graph.txt"))
    # An Ogg stream has a random number of its own.
    assert re.sub(r"base64,[^\"]+", "", by_suffix) == re.sub(r"base64,[^\"]+", "", by_name)


def test_neo4j_is_a_folder(sounds: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "some" / "where"
    assert output_of([*sounds, "--format", "neo4j", "--output", str(folder)], capsys) == ""
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (["--merge", "none"], "6 entities, 3 triplets, 0 merges, 0 to look at"),
        (["--merge", "title, known_name"], "4 entities, 2 triplets, 2 merges, 0 to look at"),
        (
            ["--merge", "all", "--apart", "WHO = World Health Organization"],
            "4 entities, 3 triplets, 2 merges, 0 to look at",
        ),
        (
            ["--apart", "Parker=Helen Parker", "--apart", "Parker=Dr. Helen Parker"],
            "4 entities, 2 triplets, 2 merges, 0 to look at",
        ),
    ],
)
def test_merging_can_be_chosen(
    options: list[str], counts: str, sounds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", *sounds, "--format", "csv", *options]) == 0
    assert capsys.readouterr().err.splitlines() == [counts]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "neo4j"], "--format neo4j writes a folder; name it with --output DIR"),
        (["--format", "jsonl", "--merge", "none"], "--merge has no effect on jsonl; leave it out"),
        (["--apart", "a=b"], "--apart has no effect on table; leave it out"),
        (["--format", "csv", "--merge", "magic"], 'unknown merge rule "magic"'),
        (["--format", "csv", "--apart", "Bush"], 'got "Bush", expected two names with "=" between them'),
        (["--format", "csv", "--merge", "none", "--apart", "a=b"], "--apart has no effect with --merge none"),
        (["--format", "xls"], "invalid choice: 'xls'"),
    ],
)
def test_wrong_options_are_found_before_the_model_loads(
    options: list[str], message: str, make_sound: MakeSound, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", str(make_sound()), *NO_MODEL, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("style", "package"), [("turtle", "rdflib"), ("gexf", "networkx")])
def test_a_missing_library_is_found_before_the_model_loads(
    style: str, package: str, make_sound: MakeSound, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["extract", str(make_sound()), *NO_MODEL, "--format", style]) == 2
    assert 'run "pip install speechre[graph]"' in capsys.readouterr().err


def test_no_input_is_replaced_by_a_folder_of_files(
    make_sound: MakeSound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = make_sound("out/entities.csv.wav")
    sound.rename(sound.with_name("import.sh"))
    sound.with_name("talk.wav").symlink_to(sound.with_name("import.sh"))
    arguments = [str(tmp_path / "out" / "talk.wav"), *NO_MODEL, "--format", "neo4j", "--output", str(tmp_path / "out")]
    assert main(["extract", *arguments]) == 2
    assert "would replace the input" in capsys.readouterr().err
