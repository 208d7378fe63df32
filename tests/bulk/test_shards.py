"""Parts of a long run: who holds what, and files that survive crashes and quarrels."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import speechre.bulk.shards
from speechre.bulk.shards import Shard, open_rows
from speechre.errors import AudioError, UsageError
from speechre.types import AudioRef, Extraction, Utterance

IDS = ("a", "b", "c")

ReadJsonl = Callable[[Path | str], list[dict]]


def extraction(name: str) -> Extraction:
    return Extraction(id=name, source=f"{name}.wav", duration_s=1.0, model="tiny@123456", transcript="Zoë\ud800.")


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.bulk.shards)
    assert (result.attempted > 0, result.failed) == (True, 0)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_every_recording_is_in_exactly_one_part(count: int) -> None:
    shards = [Shard(number, count) for number in range(1, count + 1)]
    for place in range(50):
        assert sum(shard.holds(place) for shard in shards) == 1
    assert [shard.name for shard in shards] == sorted(shard.name for shard in shards)


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "a/b", "1 / 4", "٣/٤"])
def test_what_is_no_part_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="expected I/N"):
        Shard.parse(text)


def test_rows_stand_in_their_files_at_once(tmp_path: Path, read_jsonl: ReadJsonl) -> None:
    with open_rows(tmp_path / "deep" / "out", Shard(2, 10), IDS) as rows:
        assert rows.done == set()
        rows.add(extraction("a"))
        rows.fail(Utterance("b", AudioRef("b.wav", 0.0)), AudioError("b.wav: no sound"))
        rows.fail(Utterance("c", None), AudioError('utterance "c" has no audio'))
        folder = tmp_path / "deep" / "out"
        assert [row["id"] for row in read_jsonl(folder / "shard-02-of-10.jsonl")] == ["a"]
        assert rows.done == {"a"}
    assert read_jsonl(folder / "shard-02-of-10.jsonl")[0] == json.loads(json.dumps(extraction("a").to_dict()))
    assert read_jsonl(folder / "shard-02-of-10.errors.jsonl") == [
        {"id": "b", "source": "b.wav", "error": {"type": "AudioError", "message": "b.wav: no sound"}},
        {"id": "c", "source": None, "error": {"type": "AudioError", "message": 'utterance "c" has no audio'}},
    ]


@pytest.mark.parametrize("torn", ['{"id": "b"', '{"id": "b", "transcript": "Z\xc3', "{", '{"id": "b"}'])
def test_a_torn_last_row_is_cut_off(tmp_path: Path, torn: str) -> None:
    with open_rows(tmp_path, Shard(1, 1), IDS) as rows:
        rows.add(extraction("a"))
    path = tmp_path / "shard-1-of-1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode("latin-1"))
    with open_rows(tmp_path, Shard(1, 1), IDS) as rows:
        assert rows.done == {"a"}
        rows.add(extraction("b"))
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()] == ["a", "b"]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        *((line, "no extraction") for line in ("no JSON", "[]", '{"name": "a"}', "", '{"id": "b"}')),
        ('{"id": "b", "relations": []}', "no extraction"),  # an utterance: a manifest in the wrong place
        ('{"id": "z", "triplets": []}', '"z" is none of this part\'s recordings'),
        ('{"id": 3, "triplets": []}', '"3" is none of this part\'s recordings'),
        ('{"id": "a", "triplets": []}', '"a" is there twice'),
    ],
)
def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "shard-1-of-1.jsonl"
    path.write_text('{"id": "a", "triplets": []}\n' + line + "\n")
    told = re.escape(f"shard-1-of-1.jsonl:2: {fault}; move the file away")
    with pytest.raises(UsageError, match=told), open_rows(tmp_path, Shard(1, 1), IDS):
        pass
    assert path.read_text() == '{"id": "a", "triplets": []}\n' + line + "\n"


def test_what_failed_is_forgotten_when_it_is_tried_again(tmp_path: Path) -> None:
    with open_rows(tmp_path, Shard(1, 1), IDS) as rows:
        rows.fail(Utterance("b", None), AudioError("no audio"))
    errors = tmp_path / "shard-1-of-1.errors.jsonl"
    with open_rows(tmp_path, Shard(1, 1), IDS) as rows:
        assert rows.done == set()
        assert errors.read_bytes()  # as long as nobody tries again
        rows.forget_failures()
        assert errors.read_bytes() == b""
        rows.fail(Utterance("c", None), AudioError("no audio"))
    assert [json.loads(line)["id"] for line in errors.read_text().splitlines()] == ["c"]


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "shard-1-of-1.errors.jsonl").symlink_to(full)
    with (
        pytest.raises(UsageError, match="cannot be written: No space left"),
        open_rows(tmp_path, Shard(1, 1), IDS) as rows,
    ):
        rows.fail(Utterance("b", None), AudioError("no audio"))


def test_two_processes_do_not_write_one_part(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with open_rows(tmp_path, Shard(1, 2), IDS) as rows:
        rows.add(extraction("a"))
        with pytest.raises(UsageError, match="another process is writing it"), open_rows(tmp_path, Shard(1, 2), IDS):
            pass
        with open_rows(tmp_path, Shard(2, 2), IDS):
            pass
    with open_rows(tmp_path, Shard(1, 2), IDS) as rows:
        assert rows.done == {"a"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file.* cannot be written"), open_rows(tmp_path / "file", Shard(1, 1), IDS):
        pass
