"""Manifests and predictions: the canonical form, and every fault named with file, line and utterance."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.predictions import Prediction, read_predictions, read_predictions_for_report
from speechre.data.store import from_dict, iter_manifest, read_manifest, to_dict, write_manifest
from speechre.errors import DataError, UsageError
from speechre.types import AudioRef, Entity, Extraction, Relation, Triplet, Utterance


def record(**changes: Any) -> dict[str, Any]:
    """A sound manifest line."""
    return {
        "id": "t-1",
        "audio": {"path": "clips/t-1.flac", "start_s": 0.0, "duration_s": 2.5},
        "text": "Zoë Quill works for Blau & Söhne .",
        "split": "train",
        "speaker": "s1",
        "entities": [
            {"id": "e0", "text": "Zoë Quill", "type": "Peop", "start": 0, "end": 9},
            {
                "id": "e1",
                "text": "Blau & Söhne",
                "type": "Org",
                "start": 20,
                "end": 32,
                "start_s": 1.5,
                "end_s": 2.25,
            },
        ],
        "relations": [{"head": "e0", "tail": "e1", "type": "Work_For"}],
        "extra": {"note": ["ü", 1, None]},
        **changes,
    }


def save(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def test_read_then_write_is_byte_identical(tmp_path: Path) -> None:
    bare = {"id": "t-2", "audio": None, "text": "", "entities": [], "relations": [], "extra": {}}
    away = record(id="t-3", audio={"path": "../other/x.wav", "start_s": 1.25})
    path = save(tmp_path / "in.jsonl", record(), bare, away)
    before = path.read_bytes()
    utterances = read_manifest(path)
    assert write_manifest(path, utterances) == 3
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["in.jsonl"]  # no temporary file is left


def test_what_is_read(tmp_path: Path) -> None:
    (utterance,) = iter_manifest(save(tmp_path / "m.jsonl", record()))
    assert utterance.audio == AudioRef(str(tmp_path / "clips" / "t-1.flac"), 0.0, 2.5)
    assert utterance.triplets == (Triplet(Entity("Zoë Quill", "Peop"), "Work_For", Entity("Blau & Söhne", "Org")),)
    assert (utterance.entities[1].start, utterance.entities[1].end_s) == (20, 2.25)
    assert (utterance.split, utterance.speaker, utterance.extra) == ("train", "s1", {"note": ["ü", 1, None]})


def test_a_manifest_can_move_without_losing_its_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = read_manifest(save(tmp_path / "m.jsonl", record()))
    write_manifest(tmp_path / "a" / "b.jsonl", utterances)
    assert json.loads((tmp_path / "a" / "b.jsonl").read_text())["audio"]["path"] == "../clips/t-1.flac"
    assert read_manifest(tmp_path / "a" / "b.jsonl") == utterances
    monkeypatch.chdir(tmp_path)
    (relative,) = read_manifest("m.jsonl")
    assert relative.audio == AudioRef("clips/t-1.flac", 0.0, 2.5)
    write_manifest("c.jsonl", [relative])
    assert (tmp_path / "c.jsonl").read_bytes() == (tmp_path / "m.jsonl").read_bytes()


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda r: r.pop(key)


def put(value: object, *keys: str | int) -> Callable[[dict[str, Any]], None]:
    def change(target: Any) -> None:
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop("id"), 'the utterance has no "id"'),
        (put(7, "id"), 'a number as "id"; expected a string'),
        (put("", "id"), 'an empty "id"'),
        (put(None, "text"), 'null as "text"'),
        (put("\ud800", "text"), "half a character"),
        (put(1, "split"), 'a number as "split"'),
        (put(1, "lang"), 'unknown key "lang"; expected id, audio, text'),
        (put([], "extra"), '"extra" is a list'),
        (put("a.wav", "audio"), '"audio" is a string; expected an object'),
        (put(1, "audio", "rate"), '"audio" has the unknown key "rate"'),
        (put("", "audio", "path"), '"audio" has an empty "path"'),
        (put(-1, "audio", "start_s"), "start_s -1; expected seconds, from 0 on"),
        (put("1", "audio", "start_s"), "start_s '1'; expected seconds"),
        (put(0, "audio", "duration_s"), "duration_s 0; expected seconds, above 0"),
        (put(True, "audio", "duration_s"), "duration_s True; expected seconds"),
        (put({}, "entities"), '"entities" is an object; expected a list'),
        (put(None, "relations"), '"relations" is null; expected a list'),
        (put("x", "entities", 0), "entity 0 is a string; expected an object"),
        (put(1, "entities", 0, "label"), 'entity 0 has the unknown key "label"'),
        (put("<Peop>", "entities", 0, "type"), 'write it without brackets: "Peop"'),
        (put("e1", "entities", 0, "id"), 'entity 1 has the id "e1" of another entity'),
        (put(1, "entities", 0, "start"), 'entity 0 is "Zoë Quill", but 1 to 9 of the text is "oë Quill"'),
        (put(99, "entities", 0, "end"), "entity 0 has the span 0 to 99, but the text has 34 characters"),
        (put(1.0, "entities", 0, "start"), "entity 0 has the span 1.0 to 9; expected two whole numbers"),
        (put(None, "entities", 0, "end"), "entity 0 has the span 0 to None"),
        (put(-1, "entities", 0, "start_s"), "entity 0 has start_s -1"),
        (put(9, "entities", 1, "start_s"), "entity 1 ends at 2.25 s, before it starts at 9 s"),
        (put(0, "relations", 0), "relation 0 is a number; expected an object"),
        (
            put("e9", "relations", 0, "tail"),
            'relation 0 points at entity "e9", but there are 2 entities (e0-e1)',
        ),
        (put(1, "relations", 0, "head"), 'relation 0 has a number as "head"'),
        (put("left", "relations", 0, "direction"), 'relation 0 has the unknown key "direction"'),
    ],
)
def test_faults_of_a_line(tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    bad = record(id="t-2")
    change(bad)
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(record()) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2")
    assert reason in message
    assert message.endswith(f'. Run "speechre data validate {path}" to list all such faults.')
    if isinstance(bad.get("id"), str) and bad["id"]:
        assert '(utterance "t-2"): ' in message
        with pytest.raises(DataError, match="t-2"):
            from_dict(bad)


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (b"", "", "holds no utterance"),
        (b"\n\n", "", "holds no utterance"),
        (b"\xef\xbb\xbf{}", ":1", "byte order mark"),
        ("{}".encode("utf-16"), ":1", "byte order mark"),
        (b"\n{}\n", ":1", "blank line"),
        (b'{"id": "\xff"}', ":1", "not UTF-8"),
        (b"{'id'}", ":1", "not JSON: Expecting property name"),
        (b'{"id": 1, "id": 2}', ":1", 'the key "id" stands twice'),
        (b'{"id": NaN}', ":1", "NaN is not a JSON number"),
        (b"[" * 100_000, ":1", "nested too deeply"),
        (b"[1]", ":1", "the line is a list; expected an object"),
        (b"1" * 5000, ":1", "not JSON"),
    ],
)
def test_faults_of_the_text(tmp_path: Path, content: bytes, place: str, reason: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}{place}: ")
    assert reason in str(caught.value)


def test_blank_lines_at_the_end_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps(record(text="a\u2028b", entities=[], relations=[])).encode() + b"\r\n\r\n \n")
    assert read_manifest(path)[0].text == "a\u2028b"


def test_only_the_id_is_needed(tmp_path: Path) -> None:
    assert read_manifest(save(tmp_path / "m.jsonl", {"id": "a"})) == [Utterance("a", None)]


def test_duplicate_ids_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r':3 \(utterance "t-1"\): its id stands on line 1 already'):
        read_manifest(save(tmp_path / "m.jsonl", record(), record(id="t-2"), record()))
    with pytest.raises(DataError, match="no such file"):
        read_manifest(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="this is a folder"):
        read_manifest(tmp_path)


def test_nothing_is_written_that_cannot_be_read(tmp_path: Path) -> None:
    path = save(tmp_path / "m.jsonl", record())
    before = path.read_bytes()
    good = Utterance("a", None, "x")
    for bad, reason in [
        (Utterance("b", None, "x", relations=(Relation("e0", "e1", "Kill"),)), "there are no entities"),
        (Utterance("b", None, "x", extra={"k": object()}), '"extra" holds something'),
        (Utterance("b", None, "x", extra={"k": float("nan")}), '"extra" holds something'),
        (Utterance("b", AudioRef("a.wav", float("inf")), "x"), "start_s inf"),
        (good, "comes twice"),
    ]:
        with pytest.raises(DataError, match=reason):
            write_manifest(path, [good, bad])
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_a_file_that_is_replaced_keeps_its_permissions(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "m.jsonl", record())
    path.chmod(mode)
    seen: list[int] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        seen.append(stat.S_IMODE(os.stat(source).st_mode))
        real(source, target)

    monkeypatch.setattr("os.replace", replace)
    write_manifest(path, [from_dict(record(id="new"), tmp_path)])
    assert [u.id for u in read_manifest(path)] == ["new"]
    assert seen == [stat.S_IMODE(path.stat().st_mode)] == [mode]


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = save(tmp_path / "far" / "real.jsonl", record()), tmp_path / "m.jsonl"
    link.symlink_to(Path("far") / "real.jsonl")
    new = from_dict(record(id="new"), tmp_path)
    write_manifest(link, [new])
    assert link.is_symlink()
    assert os.listdir(target.parent) == ["real.jsonl"]  # no temporary file is left
    assert json.loads(target.read_text())["id"] == "new"
    assert read_manifest(link) == [new]
    # To a file that is not there yet.
    target.unlink()
    write_manifest(link, [new])
    assert link.is_symlink()
    assert target.is_file()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "m.jsonl"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_manifest(path, [Utterance("a", None, "x")])
    assert os.listdir(tmp_path) == ["file"]


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(str.strip)
numbers = st.floats(0, 1e6)


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    text = draw(words)
    spans = draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))), max_size=4))
    kinds = words.filter(lambda w: not (w[0] == "<" and w[-1] == ">"))
    entities = tuple(
        Entity(
            text[a:b],
            draw(kinds),
            f"e{i}",
            a,
            b,
            draw(st.none() | st.just(0.5)),
            draw(st.none() | st.just(1.5)),
        )
        for i, (a, b) in enumerate(spans)
        if a < b and text[a:b].strip()
    )
    ids = [entity.id for entity in entities]
    relation = st.builds(Relation, st.sampled_from(ids), st.sampled_from(ids), kinds) if ids else st.nothing()
    return Utterance(
        draw(words),
        draw(st.none() | st.builds(AudioRef, st.just("a/b.wav"), numbers, st.none() | st.floats(0.1, 1e3))),
        text,
        entities,
        tuple(draw(st.lists(relation, max_size=3))) if ids else (),
        draw(st.none() | words),
        draw(st.none() | words),
        draw(st.dictionaries(words, st.none() | words | st.integers() | st.lists(st.booleans()), max_size=2)),
    )


@given(utterances())
def test_to_dict_and_back(utterance: Utterance) -> None:
    text = json.dumps(to_dict(utterance), ensure_ascii=False)
    back = from_dict(json.loads(text))
    assert back == utterance
    assert json.dumps(to_dict(back), ensure_ascii=False) == text


def test_predictions_are_what_an_extraction_writes(tmp_path: Path) -> None:
    triplet = Triplet(
        Entity("A", "Peop", start_s=0.5), "Kill", Entity("B", end_s=4.0, times_of="chunk"), 0.75, 2, ("hrt", "rht")
    )
    rows = [Extraction(i, "a.wav", 1.0, "m", triplets).to_dict() for i, triplets in (("x", (triplet,)), ("y", ()))]
    read = read_predictions(save(tmp_path / "p.jsonl", *rows))
    assert read == {"x": [triplet], "y": []}
    back = read["x"][0]
    assert (back.confidence, back.votes, back.orders, back.head.start_s) == (0.75, 2, ("hrt", "rht"), 0.5)
    assert (back.head.times_of, back.tail.times_of) == ("entity", "chunk")
    assert read_predictions(save(tmp_path / "none.jsonl")) == {}


def test_a_report_reads_what_else_a_prediction_says(tmp_path: Path) -> None:
    rows = [
        Extraction("x", "a.wav", 1.25, "m@1", (), "said so").to_dict(),
        {"id": "y", "triplets": [], "extra": [1]},
    ]
    read = read_predictions_for_report(save(tmp_path / "p.jsonl", *rows))
    assert read == {"x": Prediction((), "said so", 1.25, "m@1"), "y": Prediction(())}


@pytest.mark.parametrize(
    ("key", "value"), [("transcript", ["a"]), ("model", 3), ("duration_s", "1"), ("duration_s", -1)]
)
def test_a_report_wants_the_right_kinds_and_scoring_alone_does_not_look(
    key: str, value: object, tmp_path: Path
) -> None:
    path = save(tmp_path / "p.jsonl", {"id": "x", "triplets": [], key: value})
    with pytest.raises(DataError, match=rf':1 \(utterance "x"\): {key} .*; expected'):
        read_predictions_for_report(path)
    assert read_predictions(path) == {"x": []}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], 'no "id"'),
        ({"triplets": []}, 'no "id"'),
        ({"id": "x"}, 'no "triplets"'),
        ({"id": "x", "triplets": {}}, 'no "triplets"'),
        ({"id": "x", "error": "no such file"}, "the extraction failed ('no such file')"),
        ({"id": "x", "triplets": ["t"]}, "triplet 't'"),
        ({"id": "x", "triplets": [{"head": {"text": "A"}, "tail": {"text": "B"}}]}, "the relation None"),
        ({"id": "x", "triplets": [{"head": "A", "relation": "R", "tail": {"text": "B"}}]}, "the head 'A'"),
        (
            {
                "id": "x",
                "triplets": [{"head": {"text": "A", "type": 1}, "relation": "R", "tail": {"text": "B"}}],
            },
            "head has the type 1",
        ),
        *(
            (
                {
                    "id": "x",
                    "triplets": [{"head": {"text": "A"}, "relation": "R", "tail": {"text": "B"}, **more}],
                },
                why,
            )
            for more, why in [
                ({"confidence": 2}, "the confidence 2.0"),
                ({"confidence": "high"}, "confidence 'high'"),
                ({"confidence": 10**400}, "expected a number"),
                ({"head": {"text": "A", "start_s": 10**400}}, "expected a number"),
                ({"head": {"text": "A", "times_of": "song"}}, 'times_of \'song\'; expected "entity" or "chunk"'),
                ({"votes": -1}, "-1 votes"),
                ({"orders": "hrt"}, "the orders 'hrt'"),
            ]
        ),
    ],
)
def test_malformed_predictions(tmp_path: Path, row: object, reason: str) -> None:
    path = save(tmp_path / "p.jsonl", {"id": "ok", "triplets": []}, row)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}:2")
    assert reason in str(caught.value)


def test_duplicate_predictions(tmp_path: Path) -> None:
    path = save(tmp_path / "p.jsonl", {"id": "x", "triplets": []}, {"id": "x", "triplets": []})
    with pytest.raises(DataError, match=r':2 \(utterance "x"\): its id stands on line 1 already'):
        read_predictions(path)


def test_the_store_needs_the_standard_library_only() -> None:
    code = (
        "import sys, speechre.data.store, speechre.data.predictions, speechre.data.stats, speechre.schemas;"
        "sys.exit(bool({'numpy', 'soundfile', 'soxr', 'torch', 'yaml'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
