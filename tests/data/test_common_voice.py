"""The tables of Common Voice releases, old and new, and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechre.audio import audio_duration_s
from speechre.data.common_voice import BadRow, Row, SplitTable, iter_durations, open_release, unquote
from speechre.errors import DataError
from tests.releases import COLUMNS, make_release, row, write_release

OLD = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent")


def rows_of(folder: Path) -> list[Row | BadRow]:
    table = SplitTable(folder / "validated.tsv")
    return [table.row(line, raw) for line, (_, raw) in enumerate(table.lines(), start=2)]


def test_a_row_of_2024(tmp_path: Path) -> None:
    ours = row(7, "Ann Lee lives in Oslo.", accents="England English", age="twenties", variant="")
    (found,) = rows_of(write_release(tmp_path, [ours], sounds=False))
    assert found == Row(
        2,
        "common_voice_en_7.mp3",
        "speaker-7",
        "Ann Lee lives in Oslo.",
        2,
        0,
        {"sentence_id": "sentence-7", "age": "twenties", "accents": "England English", "locale": "en"},
    )
    assert found.id == "common_voice_en_7"


def test_a_row_of_2019_has_accent_and_sometimes_no_extension(tmp_path: Path) -> None:
    ours = row(7, "Ann Lee lives in Oslo.", path="abc123", accent="us", age="")
    (found,) = rows_of(write_release(tmp_path, [ours], columns=OLD, sounds=False))
    assert isinstance(found, Row)
    assert (found.clip, dict(found.other)) == ("abc123.mp3", {"accents": "us"})


def test_columns_are_found_by_name_and_new_ones_come_along(tmp_path: Path) -> None:
    columns = (*reversed(COLUMNS), "mood")
    (found,) = rows_of(write_release(tmp_path, [row(1, "One.", mood="glad")], columns=columns, sounds=False))
    assert isinstance(found, Row)
    assert (found.sentence, found.other["mood"]) == ("One.", "glad")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": " "}, "client_id is empty"),
        ({"path": "../../etc/passwd"}, 'the path "../../etc/passwd" is not the name of a recording'),
        ({"path": ""}, 'the path "" is not'),
        ({"path": "x" * 300}, "the path has 300 bytes"),
        ({"up_votes": "two"}, 'up_votes is "two"'),
        ({"down_votes": "-1"}, 'down_votes is "-1"'),
        ({"down_votes": ""}, 'down_votes is ""'),
        ({"down_votes": "²"}, 'down_votes is "²"'),
        ({"sentence": "a\tb"}, "14 fields, the header has 13"),
    ],
)
def test_a_bad_row_says_why(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    (found,) = rows_of(write_release(tmp_path, [{**row(1, "One."), **changes}], sounds=False))
    assert isinstance(found, BadRow)
    assert (found.line, reason in found.reason) == (2, True)


def test_bytes_that_are_no_utf8_spoil_their_row_alone(tmp_path: Path) -> None:
    table = write_release(tmp_path, [row(1, "One."), row(2, "Two."), row(3, "Three.")], sounds=False) / "validated.tsv"
    table.write_bytes(table.read_bytes().replace(b"Two", b"T\xffo").replace(b"\n", b"\r\n"))
    one, two, three = rows_of(tmp_path)
    assert isinstance(one, Row)
    assert isinstance(two, BadRow)
    assert isinstance(three, Row)
    assert "not UTF-8" in two.reason
    assert (three.line, three.sentence) == (4, "Three.")


def test_reading_goes_on_from_any_line(tmp_path: Path) -> None:
    table = SplitTable(
        write_release(tmp_path, [row(i, f"Line {i}.") for i in range(5)], sounds=False) / "validated.tsv"
    )
    lines = list(table.lines())
    assert lines[-1][0] == table.path.stat().st_size
    for index, (end, _) in enumerate(lines):
        assert list(table.lines(end)) == lines[index + 1 :]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", 'no column "client_id"'),
        ("client_id\tpath\tup_votes\tdown_votes", 'no column "sentence"'),
        ("client_id,path,sentence,up_votes,down_votes", 'no column "client_id"'),
        ("client_id\tpath\tsentence\tup_votes\tdown_votes\taccent\taccents", "a column stands twice"),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, header: str, reason: str) -> None:
    (tmp_path / "validated.tsv").write_text(header + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        SplitTable(tmp_path / "validated.tsv")


def test_where_a_release_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_release(tmp_path / "none")
    with pytest.raises(DataError, match="expected one language of a Common Voice release"):
        open_release(tmp_path)
    write_release(tmp_path / "en", [], sounds=False)
    with pytest.raises(DataError, match=r"name a language's folder, as .*/en"):
        open_release(tmp_path)
    with pytest.raises(DataError, match="it has the splits validated"):
        open_release(tmp_path / "en", "train")
    with pytest.raises(DataError, match="is no split"):
        open_release(tmp_path / "en", "../validated")


def test_durations(tmp_path: Path) -> None:
    path = tmp_path / "clip_durations.tsv"
    path.write_text("clip\tduration[ms]\na.mp3\t4320\nb.mp3\t12.5\n", encoding="utf-8")
    assert dict(iter_durations(path)) == {"a.mp3": 4.32, "b.mp3": 0.0125}
    for bad, reason in (("a.mp3", "1 fields"), ("a.mp3\tlong", "long"), ("a.mp3\tnan", "nan"), ("a.mp3\t-1", "-1")):
        path.write_text(f"clip\tduration[ms]\n{bad}\n", encoding="utf-8")
        with pytest.raises(DataError, match=rf"clip_durations.tsv:2: .*{reason}"):
            list(iter_durations(path))


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ('"It did not seem fair."', "It did not seem fair."),
        ('"He said ""no"" to Ann."', 'He said "no" to Ann.'),
        ('"Yes," said Ann, "no."', '"Yes," said Ann, "no."'),
        ('The "end"', 'The "end"'),
        ('"', '"'),
        ('""', ""),
        ("", ""),
    ],
)
def test_quotation_marks_around_all_of_a_sentence(sentence: str, plain: str) -> None:
    assert unquote(sentence) == plain


@pytest.mark.parametrize("release", [6, 17])
def test_the_generator_makes_what_it_says(tmp_path: Path, release: int) -> None:
    folder = make_release(tmp_path / "en", 60, recordings=2, release=release)
    rows = rows_of(folder)
    assert len(rows) == 60
    assert all(isinstance(one, Row) for one in rows)
    assert {"validated", "train", "dev", "test", "other", "invalidated", "reported"} <= {
        path.stem for path in folder.glob("*.tsv")
    }
    lengths = {one.clip: audio_duration_s(folder / "clips" / one.clip) for one in rows}
    assert (folder / "clip_durations.tsv").is_file() == (release == 17)
    if release == 17:
        stated = dict(iter_durations(folder / "clip_durations.tsv"))
        assert all(abs(stated[clip] - length_s) < 0.1 for clip, length_s in lengths.items())
    again = make_release(tmp_path / "again", 60, recordings=2, release=release)
    assert (again / "validated.tsv").read_bytes() == (folder / "validated.tsv").read_bytes()
