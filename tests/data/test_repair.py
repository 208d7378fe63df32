"""Repairs have one right answer, are listed one by one, and never take anything away."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.repair import Change, repair_manifest, repair_record
from speechre.data.store import read_manifest
from speechre.data.validate import validate_manifest
from speechre.errors import DataError, SpeechreError
from tests.mutation import mutate

TEXT = "Uma Reyes left Orbitcorp for Velden ."


def record(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "audio": None,
        "text": TEXT,
        "entities": [
            {"id": "e0", "text": "Uma Reyes", "type": "Peop", "start": 0, "end": 9},
            {"id": "e1", "text": "Velden", "type": "Loc", "start": 29, "end": 35},
        ],
        "relations": [{"head": "e0", "tail": "e1", "type": "Live_In"}],
        "extra": {},
        **changes,
    }


def with_entity(**changes: Any) -> dict[str, Any]:
    first, second = record()["entities"]
    return record(entities=[first | changes, second])


def repaired(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    copy = json.loads(json.dumps(given))
    return copy, [code for code, _ in repair_record(copy)]


def repair(tmp_path: Path, *lines: object, raw: bytes = b"") -> tuple[list[Change], list[Any]]:
    path, output = tmp_path / "in" / "m.jsonl", tmp_path / "out" / "fixed.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw or "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines).encode())
    before = path.read_bytes()
    changes = repair_manifest(path, output)
    assert path.read_bytes() == before
    return changes, [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (with_entity(type="<Peop>"), "bracketed-type"),
        (record(relations=[{"head": "e0", "tail": "e1", "type": "<Live_In>"}]), "bracketed-type"),
        (with_entity(start=4, end=13), "offset-mismatch"),
        (with_entity(start=4), "offset-mismatch"),
        (with_entity(start=90, end=99), "bad-span"),
        (with_entity(start="0", end=None), "bad-span"),
        (with_entity(start=None, end=None), "no-span"),
    ],
)
def test_an_entity_is_put_right(given: dict[str, Any], code: str) -> None:
    fixed, codes = repaired(given)
    assert codes == [code]
    assert fixed == record()


@pytest.mark.parametrize(("said", "start", "left"), [("Uma Reyes ", 0, 0), (" left", 9, 10), (" Velden ", 28, 29)])
def test_blanks_at_the_ends_go_and_the_offsets_follow(said: str, start: int, left: int) -> None:
    fixed, codes = repaired(
        record(entities=[{"id": "e0", "text": said, "type": "X", "start": start, "end": start + len(said)}])
    )
    assert codes == ["edge-space"]
    (entity,) = fixed["entities"]
    assert (entity["text"], entity["start"], entity["end"]) == (said.strip(), left, left + len(said.strip()))
    assert TEXT[entity["start"] : entity["end"]] == entity["text"]


@pytest.mark.parametrize(
    "given",
    [
        record(),
        with_entity(text="Rome", start=0, end=4),  # nowhere in the text
        record(
            text="Uma Reyes met Uma Reyes in Velden",
            entities=[{"id": "e0", "text": "Uma Reyes", "type": "X", "start": 2, "end": 11}],
        ),
        record(text="Annandale", entities=[{"id": "e0", "text": "Anna", "type": "X"}]),  # a part of a word
        record(relations=[{"head": "e0", "tail": "e9", "type": "Live_In"}]),
        record(relations=[{"head": "e0", "tail": "e1", "type": "Kill"}, {"head": "e1", "tail": "e0", "type": "Kill"}]),
        record(text=None, entities=7, relations="x", extra=[]),
        record(entities=[None, 7, {"id": []}], relations=[None, {}, 3]),
    ],
)
def test_what_needs_a_judgement_stays(given: dict[str, Any]) -> None:
    assert repaired(given) == (given, [])


def test_an_entity_that_is_annotated_twice_is_merged() -> None:
    first, second = record()["entities"]
    links = [{"head": "e2", "tail": "e1", "type": kind} for kind in ("Live_In", "Work_For")]
    given = record(entities=[first, second, first | {"id": "e2"}], relations=[*record()["relations"], *links])
    fixed, codes = repaired(given)
    assert codes == ["duplicate-entity", "duplicate-triplet"]
    assert fixed["entities"] == [first, second]
    assert [(r["head"], r["type"]) for r in fixed["relations"]] == [("e0", "Live_In"), ("e0", "Work_For")]


def test_times_that_differ_and_ids_that_stand_twice_stay_apart() -> None:
    first = record()["entities"][0]
    for other in (first | {"id": "e2", "start_s": 1.0}, first | {"type": "Org", "id": "e2"}, first):
        given = record(entities=[first, other])
        assert repaired(given) == (given, [])


@pytest.mark.parametrize(
    "more", [{"note": "ask Ann"}, {"note": None, "sure": 0.5}, {"start_s": 1.0, "note": "ask Ann"}]
)
def test_an_entity_that_says_more_than_the_first_is_not_merged(more: dict[str, Any]) -> None:
    first, second = record()["entities"]
    for known in ({}, dict.fromkeys(more, "other")):
        given = record(entities=[first | known, second, first | {"id": "e2"} | more])
        assert repaired(given) == (given, [])
    # What the first says too is not lost with the second.
    fixed, codes = repaired(record(entities=[first | more, second, first | {"id": "e2"} | more]))
    assert codes == ["duplicate-entity"]
    assert fixed["entities"] == [first | more, second]
    fixed, _ = repaired(record(entities=[first | more, second, first | {"id": "e2"}]))
    assert fixed["entities"] == [first | more, second]


def test_a_relation_with_a_key_of_its_own_stays() -> None:
    (link,) = record()["relations"]
    given = record(relations=[link, link | {"note": "ask Ann"}, link | {"note": "asked"}])
    assert repaired(given) == (given, [])
    fixed, codes = repaired(record(relations=[link | {"note": "x"}, link | {"note": "x"}]))
    assert (fixed["relations"], codes) == ([link | {"note": "x"}], ["duplicate-triplet"])


def test_mentions_are_not_merged_though_their_triplets_are_the_same_words() -> None:
    entities = [{"id": f"e{i}", "text": "Bo", "type": "Peop", "start": i * 3, "end": i * 3 + 2} for i in range(3)]
    links = [{"head": "e0", "tail": "e1", "type": "Kill"}, {"head": "e1", "tail": "e2", "type": "Kill"}]
    given = record(text="Bo Bo Bo", entities=entities, relations=links)
    assert repaired(given) == (given, [])


def test_unknown_keys_move_into_extra() -> None:
    fixed, codes = repaired(record(accent="Kenyan", gender="female", extra={"gender": "f"}))
    assert codes == ["unknown-key"]
    assert fixed["extra"] == {"gender": "f", "accent": "Kenyan"}
    assert fixed["gender"] == "female"  # two answers: neither is thrown away


def test_lines(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbf" + b"\n".join(
        json.dumps(x).encode() if x else b"" for x in (record(), None, record(), record(id="b"), record(split="dev"))
    )
    changes, records = repair(tmp_path, raw=raw)
    assert [(c.line, c.code) for c in changes] == [(1, "byte-order-mark"), (2, "blank-line"), (3, "duplicate-id")]
    assert changes[2].message == "removed: line 1 says the same, word for word"
    assert [r["id"] for r in records] == ["a", "b", "a"]  # the last one differs, so it stays and is told
    assert [i.code for i in validate_manifest(tmp_path / "out" / "fixed.jsonl") if i.severity == "error"] == [
        "duplicate-id"
    ]


def test_audio_paths_follow_the_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"")
    elsewhere = str(tmp_path / "b.wav")
    changes, records = repair(tmp_path, record(audio={"path": "a.wav"}), record(id="b", audio={"path": elsewhere}))
    assert changes == []
    assert [r["audio"]["path"] for r in records] == ["../in/a.wav", elsewhere]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("{", "not JSON"), ("[1]", "not an object"), ('{"id": NaN}', "NaN"), ('{"a": 1, "a": 2}', "twice")],
)
def test_a_line_that_cannot_be_carried_over_stops_everything(tmp_path: Path, bad: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"m.jsonl:2: cannot be repaired: .*{reason}"):
        repair(tmp_path, record(), bad)
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be repaired: not UTF-8"):
        repair(tmp_path, raw=b'{"id": "\xff"}\n')
    with pytest.raises(DataError, match="holds no utterance that can be read"):
        repair(tmp_path, raw="{}".encode("utf-16"))


@pytest.mark.parametrize("num_files", [300, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_mutated_manifests_give_issues_or_an_error_never_a_traceback(
    tmp_path: Path, num_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is repaired has no more errors than before, and as many utterances."""
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of them take minutes and prove nothing here
    rng = random.Random(0)
    path, output = tmp_path / "m.jsonl", tmp_path / "fixed.jsonl"
    num_repaired = 0
    for _ in range(num_files):
        records = [record(), record(id="b"), record(id="c")]
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(3)
            records[place] = mutate(rng, records[place])
        path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        before = validate_manifest(path, check_audio=False)
        try:
            changes = repair_manifest(path, output)
        except SpeechreError as error:
            assert "cannot be repaired" in str(error)  # noqa: PT017
            continue
        num_repaired += bool(changes)
        after = validate_manifest(output, check_audio=False)
        num_removed = sum("removed" in c.message and c.code == "duplicate-id" for c in changes)
        assert len(output.read_text(encoding="utf-8").splitlines()) == 3 - num_removed
        errors = [sum(issue.severity == "error" for issue in issues) for issues in (before, after)]
        assert errors[1] <= errors[0]
        assert changes or [i.message for i in before] == [i.message for i in after]
    assert num_repaired > num_files / 10


def test_a_second_repair_finds_nothing_left(tmp_path: Path) -> None:
    given = [with_entity(type="<Peop>", start=4), record(id="b", accent="x"), record(id="c", entities=[], relations=[])]
    changes, _ = repair(tmp_path, *given)
    assert len(changes) == 3
    assert repair_manifest(tmp_path / "out" / "fixed.jsonl", tmp_path / "again.jsonl") == []
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out" / "fixed.jsonl").read_bytes()
    assert len(read_manifest(tmp_path / "again.jsonl")) == 3


@given(st.text(alphabet="ab \u0301", max_size=12), st.text(alphabet="ab ", min_size=1, max_size=3))
def test_offsets_that_were_repaired_match(text: str, said: str) -> None:
    given = record(text=text, entities=[{"id": "e0", "text": said, "type": "X", "start": 0, "end": 1}], relations=[])
    fixed, codes = repaired(given)
    (entity,) = fixed["entities"]
    if "offset-mismatch" in codes or "bad-span" in codes:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert text.count(entity["text"]) == 1
