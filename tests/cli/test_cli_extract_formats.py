"""``speechre extract --format``: every format of the registry, of one recording and of many, to standard output and to
``--output``; what is written as it comes; and places that cannot be written, found before a model is loaded.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import networkx
import pytest
import rdflib
from rdflib.compare import isomorphic

from speechre.cli import main
from speechre.cli.extract import STYLES
from speechre.cli.graph import FOLDER_FORMAT, FORMATS
from speechre.cli.output import open_output, write_folder
from speechre.errors import SpeechreError, UsageError
from speechre.graph_formats import GRAPH_FORMATS
from speechre.graph_formats.neo4j import FILES
from speechre.types import Extraction
from tests.conftest import MakeSound
from tests.graphs import TALKS, Told

# rdflib's own JSON-LD parser uses what rdflib deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")

FILE_STYLES = [style for style in STYLES if style != FOLDER_FORMAT]
ALWAYS_STREAMED = {"table", "jsonl"}
STREAMED_UNMERGED = {"csv", "turtle", "cypher"}
MERGED_AND_NOT = [*((style, ()) for style in STYLES), *((style, ("--merge", "none")) for style in FORMATS)]

# Each format read back by who owns it: how often each relation was said.
Reader = Callable[[str], Iterable[str]]


def of_table(text: str) -> Iterator[str]:
    return (match for line in text.splitlines() for match in re.findall(r"\) +(\w+) +\S.*\((?:Org|Loc)\) ", line))


def of_rdf(syntax: str) -> Reader:
    def read(text: str) -> list[str]:
        found = rdflib.Graph().parse(data=text, format=syntax)
        predicates = [
            found.value(s, rdflib.RDF.predicate) for s in found.subjects(rdflib.RDF.type, rdflib.RDF.Statement)
        ]
        return [str(predicate).rpartition(":")[2] for predicate in predicates]

    return read


def of_edges(edges: Iterable[tuple[object, object, dict[str, str]]]) -> list[str]:
    return [data["relation"] for *_, data in edges for _ in json.loads(data["evidence"])]


def of_cypher(text: str) -> list[str]:
    rows = [row for line in text.splitlines() for row in json.loads(line)["parameters"]["rows"]]
    return [row["relation"] for row in rows if "relation" in row]


def of_page(text: str) -> list[str]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return [edge["relation"] for edge in json.loads(data)["edges"] for _ in edge["evidence"]]


def of_csv(text: str) -> list[str]:
    return [row["relation"] for row in csv.DictReader(io.StringIO(text, newline=""))]


READERS: dict[str, Reader] = {
    "table": of_table,
    "jsonl": lambda text: [t["relation"] for line in text.splitlines() for t in json.loads(line)["triplets"]],
    "csv": of_csv,
    "turtle": of_rdf("turtle"),
    "jsonld": of_rdf("json-ld"),
    "graphml": lambda text: of_edges(networkx.parse_graphml(text, force_multigraph=True).edges(data=True)),
    "gexf": lambda text: of_edges(networkx.read_gexf(io.BytesIO(text.encode())).edges(data=True)),
    "cypher": of_cypher,
    "neo4j": of_csv,
    "html": of_page,
}


def said(talks: Iterable[Extraction]) -> Counter[str]:
    return Counter(triplet.relation for talk in talks for triplet in talk.triplets)


@pytest.fixture
def sounds(make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two recordings, of which the model says :data:`TALKS`."""
    monkeypatch.setattr("speechre.cli.model.make_extractor", lambda args: Told())
    return [str(make_sound(f"in/{talk.id}.wav", 0.5)) for talk in TALKS]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model has looked at its arguments too late."""

    def load(args: object) -> object:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("speechre.cli.model.make_extractor", load)


def test_every_format_is_read_here() -> None:
    assert set(READERS) == set(STYLES)
    assert set(FORMATS) | ALWAYS_STREAMED == set(STYLES)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("style", STYLES)
def test_every_format_says_the_same_on_standard_output_and_in_a_file(
    style: str, count: int, sounds: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.any"
    arguments = ["extract", *sounds[:count], "--format", style]
    assert main([*arguments, "--output", str(output)]) == 0
    assert capsys.readouterr().out == ""
    written = output / "evidence.csv" if style == FOLDER_FORMAT else output
    content = written.read_bytes().decode("utf-8")
    assert Counter(READERS[style](content)) == said(TALKS[:count])
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith(".tmp")]
    if style != FOLDER_FORMAT:
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        # An Ogg stream has a random number of its own.
        assert re.sub(r"base64,[^\"]+", "", shown) == re.sub(r"base64,[^\"]+", "", content)


@pytest.mark.parametrize(("style", "merge"), MERGED_AND_NOT)
def test_what_can_be_written_as_it_comes_is_there_before_the_next_recording_is_heard(
    style: str,
    merge: tuple[str, ...],
    sounds: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    class Watched(Told):
        def extract_many(self, *arguments: object, **options: object) -> Iterator[Extraction]:
            for extraction in super().extract_many(*arguments, **options):  # type: ignore[arg-type]
                seen.append(capsys.readouterr().out)
                yield extraction

    monkeypatch.setattr("speechre.cli.model.make_extractor", lambda args: Watched())
    place = ["--output", str(tmp_path / "folder")] if style == FOLDER_FORMAT else []
    assert main(["extract", *sounds, "--format", style, *merge, *place]) == 0
    rest = capsys.readouterr().out
    is_streamed = style in ALWAYS_STREAMED or (bool(merge) and style in STREAMED_UNMERGED)
    assert seen[0] == ""
    assert Counter(READERS[style](seen[1])) == said(TALKS[:1]) if is_streamed else seen[1] == ""
    if style != FOLDER_FORMAT:
        assert Counter(READERS[style](seen[1] + rest)) == said(TALKS)


@pytest.mark.parametrize("style", sorted(STREAMED_UNMERGED))
def test_written_in_parts_or_at_once_it_is_the_same(
    style: str, sounds: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["extract", *sounds, "--format", style, "--merge", "none"]
    assert main(arguments) == 0
    parts = capsys.readouterr()
    monkeypatch.setitem(GRAPH_FORMATS, style, replace(GRAPH_FORMATS[style], write_more=None))
    assert main(arguments) == 0
    whole = capsys.readouterr()
    assert parts.err == whole.err == "6 entities, 3 triplets, 0 merges, 0 to look at\n"
    if style == "turtle":
        graphs = [rdflib.Graph().parse(data=one.out, format="turtle") for one in (parts, whole)]
        assert isomorphic(*graphs)
    elif style == "cypher":
        rows = [
            sorted(json.dumps(row) for line in one.out.splitlines() for row in json.loads(line)["parameters"]["rows"])
            for one in (parts, whole)
        ]
        assert rows[0] == rows[1]
    else:
        assert parts.out == whole.out


def test_a_folder_without_a_readable_recording_still_gives_a_file_of_the_format(
    make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Deaf(Told):
        def extract_many(self, *arguments: object, **options: object) -> Iterator[Extraction]:
            return iter(())

    monkeypatch.setattr("speechre.cli.model.make_extractor", lambda args: Deaf())
    for merge in ((), ("--merge", "none")):
        assert main(["extract", str(make_sound()), "--format", "csv", *merge]) == 0
        assert capsys.readouterr().out.startswith("head,head_type,relation,")


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("style", STYLES)
def test_places_that_cannot_be_written_are_found_before_the_model_loads(
    style: str, make_sound: MakeSound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = str(make_sound())
    places = {f"{sound}/out": "", f"{tmp_path}/nul\0": ""}  # below a file; no name at all
    if Path("/proc/self").exists():
        places["/proc/out"] = ""
    if style == FOLDER_FORMAT:
        (tmp_path / "file").write_text("old")
        places[str(tmp_path / "file")] = "it is a file, and neo4j writes a folder"
    else:
        places[str(tmp_path)] = "it is a folder; name a file in it"
        places[str(tmp_path / "missing" / "out")] = f"there is no folder {tmp_path / 'missing'}; make it"
    for place, reason in places.items():
        assert main(["extract", sound, "--format", style, "--output", place]) == 2, place
        (line,) = capsys.readouterr().err.splitlines()
        shown = place.replace("\0", r"\x00")
        assert line.startswith(f"UsageError: {shown}: cannot be written: {reason}")
    assert not list(tmp_path.glob(".*"))
    if style == FOLDER_FORMAT:
        assert (tmp_path / "file").read_text() == "old"


@pytest.mark.usefixtures("no_model")
def test_neo4j_s_folder_cannot_be_standard_output(make_sound: MakeSound, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", str(make_sound()), "--format", FOLDER_FORMAT]) == 2
    assert capsys.readouterr().err == ("UsageError: --format neo4j writes a folder; name it with --output DIR\n")


@pytest.mark.parametrize(("style", "merge"), MERGED_AND_NOT)
def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(
    style: str,
    merge: tuple[str, ...],
    sounds: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    class Breaking(Told):
        def extract_many(self, *arguments: object, **options: object) -> Iterator[Extraction]:
            yield next(super().extract_many(*arguments, **options))  # type: ignore[arg-type]
            raise SpeechreError("it broke")

    monkeypatch.setattr("speechre.cli.model.make_extractor", lambda args: Breaking())
    folder = tmp_path / "place"
    folder.mkdir()
    old = folder / ("entities.csv" if style == FOLDER_FORMAT else "out")
    old.write_text("old")
    output = folder if style == FOLDER_FORMAT else old
    assert main(["extract", *sounds, "--format", style, *merge, "--output", str(output)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "SpeechreError: it broke"
    assert [path.name for path in folder.iterdir()] == [old.name]
    assert old.read_text() == "old"


def test_files_of_a_folder_are_replaced_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (tmp_path / name).write_text("old")
    is_full = os.fsync
    calls = []

    def fill(file: int) -> None:
        calls.append(file)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        is_full(file)

    monkeypatch.setattr("os.fsync", fill)
    with pytest.raises(UsageError, match="cannot be written: No space left on device; choose another place or make"):
        write_folder(tmp_path, dict.fromkeys(FILES, "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    write_folder(tmp_path, dict.fromkeys(FILES, "new"))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"new"}


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
def test_a_folder_s_files_keep_their_permissions_and_links(tmp_path: Path) -> None:
    (tmp_path / "away").write_text("old")
    (tmp_path / "away").chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").symlink_to(tmp_path / "away")
    write_folder(folder, {"a": "new", "b": "new"})
    assert (folder / "a").is_symlink()
    assert ((tmp_path / "away").read_text(), (tmp_path / "away").stat().st_mode & 0o777) == ("new", 0o600)
    assert sorted(os.listdir(folder)) == ["a", "b"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_a_pipe_by_its_path_is_written_as_it_comes() -> None:
    """``--output /dev/stdout``, and a shell's ``>(gzip)``: a link to something that has no path."""
    read_end, write_end = os.pipe()
    with open_output(Path(f"/dev/fd/{write_end}")) as out:
        out.write("first\n")
        assert os.read(read_end, 100) == b"first\n"
    os.close(write_end)
    os.close(read_end)


@pytest.mark.parametrize(("style", "end"), [("csv", b"\r\n"), ("jsonl", b"\n"), ("cypher", b"\n")])
def test_line_ends_are_the_format_s_on_a_system_that_writes_others(
    style: str, end: bytes, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="cp1252", newline="\r\n")  # as Windows opens it
    monkeypatch.setattr("sys.stdout", stdout)
    assert main(["extract", *sounds, "--format", style]) == 0
    stdout.flush()
    lines = raw.getvalue().splitlines(keepends=True)
    assert len(lines) > 1
    assert all(line.removesuffix(end) == line.rstrip(b"\r\n") for line in lines)
