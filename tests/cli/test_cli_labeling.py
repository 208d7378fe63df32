"""``speechre data to-label-studio``, ``from-label-studio`` and ``agreement``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechre.cli import main
from speechre.data.store import read_manifest, write_manifest
from speechre.types import AudioRef

Capture = pytest.CaptureFixture[str]


def tasks_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "tasks.json").read_text(encoding="utf-8"))


def accept(folder: Path, path: Path, *, by: tuple[object, ...] = (1,)) -> Path:
    """The export of a project in which everybody accepts the first pre-annotation."""
    tasks = tasks_of(folder)
    for number, task in enumerate(tasks):
        predictions = task.pop("predictions")
        results = predictions[0]["result"] if predictions else []
        task["id"] = number
        task["annotations"] = [
            {"id": 10 * number + n, "completed_by": who, "result": results} for n, who in enumerate(by)
        ]
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def test_there_and_back(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "project"
    assert main(["data", "to-label-studio", str(manifest), "--output", str(folder), "--schema", "conll04"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"wrote 3 tasks and their config to {folder}",
        "to hear the recordings: start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tmp_path.parent}, and add a folder in it as local storage",
    ]
    assert [task["data"]["audio"] for task in tasks_of(folder)] == [
        f"/data/local-files/?d={tmp_path.name}/audio/u{number}.wav" for number in range(3)
    ]
    export, back = accept(folder, tmp_path / "export.json"), tmp_path / "back.jsonl"
    assert main(["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]) == 0
    assert capsys.readouterr() == ("", f"wrote 3 utterances to {back}\n")
    assert back.read_bytes() == manifest.read_bytes()


def test_elsewhere_the_recordings_are_looked_for_where_one_says(
    manifest: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder, back = tmp_path / "project", tmp_path / "elsewhere" / "back.jsonl"
    assert main(["data", "to-label-studio", str(manifest), "--output", str(folder)]) == 0
    command = ["data", "from-label-studio", str(accept(folder, tmp_path / "e.json")), "--output", str(back)]
    assert main(command) == 0
    assert "3 recordings are not where the manifest says" in capsys.readouterr().err
    assert main([*command, "--audio-root", str(tmp_path)]) == 0
    assert "recordings are not" not in capsys.readouterr().err
    assert read_manifest(back)[0].audio == read_manifest(manifest)[0].audio


def test_predictions_sort_and_are_told(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    def line(name: str, confidence: float, head: str = "Ann Lee") -> str:
        ends = {"head": {"text": head, "type": "Peop"}, "tail": {"text": "Oslo", "type": "Loc"}}
        triplet = {**ends, "relation": "Live_In", "confidence": confidence}
        return json.dumps({"id": name, "model": "m@1", "triplets": [triplet]}) + "\n"

    predictions, folder = tmp_path / "p.jsonl", tmp_path / "project"
    predictions.write_text(line("u2", 0.45, "Anne") + line("u0", 0.9))
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder), "--predictions", str(predictions)]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "nothing about 1 of 3 utterances; they come last" in err
    assert "1 predicted triplets have no place in their text" in err
    tasks = tasks_of(folder)
    assert [task["data"]["speechre"]["utterance"]["id"] for task in tasks] == ["u2", "u0", "u1"]
    assert tasks[0]["data"]["speechre"]["not_shown"][0]["head"]["text"] == "Anne"
    assert [p["model_version"] for p in tasks[1]["predictions"]] == ["manifest", "m@1"]
    predictions.write_text(line("other", 0.5))
    assert main(command) == 1
    assert 'p.jsonl: "other" is no utterance of' in capsys.readouterr().err


def found_by_recognizer(label: str, text: str, name: str, kind: str) -> dict[str, Any]:
    start = text.index(name)
    return {"text": name, "type": kind, "start": start, "end": start + len(name), "label": label}


def test_what_the_recognizer_found_is_a_pre_annotation(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    utterances = read_manifest(manifest)
    text = utterances[0].text
    some = [found_by_recognizer("PERSON", text, "Ann Lee", "PER"), found_by_recognizer("CARDINAL", text, "in", "NUM")]
    some[0]["score"] = 0.75
    ner = {"model": "spacy:x@1", "schema": "ace05", "entities": some}
    bare = replace(utterances[0], entities=(), relations=(), extra={"ner": ner})
    other = replace(utterances[1], extra={"ner": ner})  # what somebody annotated counts more
    theirs = replace(utterances[2], entities=(), relations=(), extra={"ner": ["not", "ours"]})
    write_manifest(manifest, [bare, other, theirs])
    folder = tmp_path / "project"
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder), "--schema", "conll04"]
    assert main(command) == 0
    assert "1 entities that the recognizer found have no type in the schema" in capsys.readouterr().err
    first, second, third = tasks_of(folder)
    (prediction,) = first["predictions"]
    value = {"start": 0, "end": 7, "text": "Ann Lee", "labels": ["Peop"]}
    region = {"id": "n0", "from_name": "entities", "to_name": "text", "type": "labels", "value": value, "score": 0.75}
    assert prediction == {"model_version": "spacy:x@1", "result": [region]}
    assert [p["model_version"] for p in second["predictions"]] == ["manifest"]
    assert third["predictions"] == []
    export, back = accept(folder, tmp_path / "e.json"), tmp_path / "back.jsonl"
    assert main(["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]) == 0
    accepted, *rest = read_manifest(back)
    assert [(e.id, e.text, e.type) for e in accepted.entities] == [("e0", "Ann Lee", "Peop")]
    assert (accepted.extra, rest) == (bare.extra, [other, theirs])


@pytest.mark.parametrize(
    ("entities", "said"),
    [
        (None, "has no list of entities"),
        ([3], "entity 0 is a number"),
        ([{"text": "Ann Lee", "type": "PER", "start": 1, "end": 8}], 'entity 0 is "Ann Lee", but 1 to 8'),
        ([{"text": "Ann Lee", "type": "PER"}], "entity 0 has no span"),
        ([{"type": "PER", "start": 0, "end": 7}], 'entity 0 has null as "text"'),
        ([{"text": "Ann Lee", "type": "<PER>", "start": 0, "end": 7}], "without brackets"),
    ],
)
def test_what_no_recognizer_wrote(entities: object, said: str, manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    first, *rest = read_manifest(manifest)
    bare = replace(first, entities=(), relations=(), extra={"ner": {"model": "x", "entities": entities}})
    write_manifest(manifest, [bare, *rest])
    assert main(["data", "to-label-studio", str(manifest), "--output", str(tmp_path / "project")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('DataError: utterance "u0": "extra.ner"')
    assert said in line


def test_what_was_heard_stands_in_for_a_text_that_is_missing(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    utterances = [replace(u, text="", entities=(), relations=()) for u in read_manifest(manifest)]
    write_manifest(manifest, utterances)
    head, tail = {"text": "Bo", "type": "Peop"}, {"text": "Rio", "type": "Loc"}
    found = {"triplets": [{"head": head, "relation": "Live_In", "tail": tail}], "transcript": "Bo lives in Rio."}
    predictions, folder = tmp_path / "p.jsonl", tmp_path / "project"
    predictions.write_text(json.dumps({"id": "u1", **found}) + "\n")
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder), "--schema", "conll04"]
    assert main([*command, "--predictions", str(predictions)]) == 0
    assert "1 utterances have no text; the model's transcript is shown in its place" in capsys.readouterr().err
    export, back = accept(folder, tmp_path / "e.json"), tmp_path / "back.jsonl"
    assert main(["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]) == 0
    by_id = {u.id: u for u in read_manifest(back)}
    assert by_id["u1"].text == "Bo lives in Rio."
    assert [(t.head.text, t.tail.text) for t in by_id["u1"].triplets] == [("Bo", "Rio")]


def test_pieces_are_cut(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    utterances = read_manifest(manifest)
    piece = AudioRef(utterances[2].audio.path, 0.25, 0.5)  # type: ignore[union-attr]
    write_manifest(manifest, [*utterances[:2], replace(utterances[2], audio=piece)])
    folder = tmp_path / "project"
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder)]
    assert main(command) == 1
    assert '"u2" is a piece of a longer recording (1 such utterances)' in capsys.readouterr().err
    assert main([*command, "--cut-audio"]) == 0
    assert soundfile.info(folder / "audio" / "000002.flac").duration == pytest.approx(0.5)
    assert tasks_of(folder)[2]["data"]["audio"] == "/data/local-files/?d=project/audio/000002.flac"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pieces_are_cut_over_no_other_recording(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "project"
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder), "--cut-audio"]
    assert main(command) == 0
    before = contents(tmp_path)
    assert main(command) == 0  # the same project again
    assert contents(tmp_path) == before
    utterances = read_manifest(manifest)
    write_manifest(manifest, [utterances[0], utterances[2], utterances[1]])
    before = contents(tmp_path)
    capsys.readouterr()
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    place = folder / "audio" / "000001.flac"
    assert line == f"UsageError: {place} is another recording of that name; choose an empty folder for the project"
    assert contents(tmp_path) == before


def test_sources_are_not_cut_over(manifest: Path, tmp_path: Path, make_sound: Callable[..., Path]) -> None:
    """Recordings of the very names that the pieces get, in another sequence."""
    sounds = [make_sound(f"project/audio/{2 - number:06d}.flac", 0.4, number) for number in range(3)]
    utterances = read_manifest(manifest)
    write_manifest(
        manifest, [replace(u, audio=AudioRef(str(sound))) for u, sound in zip(utterances, sounds, strict=True)]
    )
    before = contents(tmp_path)
    command = ["data", "to-label-studio", str(manifest), "--cut-audio", "--output"]
    assert main([*command, str(tmp_path / "project")]) == 2
    assert contents(tmp_path) == before
    assert main([*command, str(tmp_path / "other")]) == 0
    assert soundfile.read(tmp_path / "other" / "audio" / "000000.flac")[0] == pytest.approx(
        soundfile.read(sounds[0])[0], abs=1e-4
    )


def test_a_worklist_leaves_the_recordings_of_another(two: list[str], tmp_path: Path, capsys: Capture) -> None:
    worklist = tmp_path / "worklist"
    command = ["data", "agreement", *two, "--worklist", str(worklist), "--cut-audio"]
    assert main(command) == 0
    _, second, *rest = read_manifest(two[1])
    agreed = read_manifest(two[0])[0]
    write_manifest(two[1], [agreed, replace(second, relations=()), *rest])
    before = contents(tmp_path)
    capsys.readouterr()
    assert main(command) == 2
    assert "000000.flac is another recording of that name" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_another_server_has_the_recordings(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "project"
    command = ["data", "to-label-studio", str(manifest), "--output", str(folder)]
    assert main([*command, "--audio-root", str(tmp_path / "audio"), "--audio-url", "https://example.com/a/"]) == 0
    assert tasks_of(folder)[0]["data"]["audio"] == "https://example.com/a/u0.wav"
    assert "LABEL_STUDIO" not in capsys.readouterr().err


def test_by_annotator_and_their_agreement(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    folder, people = tmp_path / "project", tmp_path / "people"
    assert main(["data", "to-label-studio", str(manifest), "--output", str(folder)]) == 0
    export = accept(folder, tmp_path / "e.json", by=(1, {"id": 2, "email": "b/n@example.com"}))
    assert main(["data", "from-label-studio", str(export), "--output", str(tmp_path / "x.jsonl")]) == 1
    assert "mark one as ground truth" in capsys.readouterr().err
    command = ["data", "from-label-studio", str(export), "--output", str(people), "--audio-root", str(tmp_path)]
    assert main([*command, "--by-annotator"]) == 0
    files = sorted(people.iterdir())
    assert [file.name for file in files] == ["1.jsonl", "b_n@example.com.jsonl"]
    capsys.readouterr()
    worklist = tmp_path / "worklist"
    assert main(["data", "agreement", *map(str, files), "--worklist", str(worklist), "--fail-under", "1"]) == 0
    out, err = capsys.readouterr()
    assert "100.00" in out
    assert "0 of 3 utterances are annotated differently" in err
    assert not worklist.exists()


def test_who_is_not_known_has_a_manifest_and_what_is_not_read_is_told(
    manifest: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder, people = tmp_path / "project", tmp_path / "people"
    assert main(["data", "to-label-studio", str(manifest), "--output", str(folder)]) == 0
    export = accept(folder, tmp_path / "e.json", by=(None,))
    tasks = json.loads(export.read_text())
    for task in tasks:
        task["annotations"][0]["result"].append({"id": "c", "type": "choices", "value": {"choices": ["ok"]}})
    export.write_text(json.dumps(tasks))
    command = ["data", "from-label-studio", str(export), "--audio-root", str(tmp_path), "--output", str(people)]
    for options, done in (([], "they are kept in extra.label_studio.results"), (["--no-provenance"], "they are left")):
        capsys.readouterr()
        assert main([*command, "--by-annotator", *options]) == 0
        assert [path.name for path in people.iterdir()] == ["unknown.jsonl"]
        err = capsys.readouterr().err
        assert '3 results of type choices were not read as entities or relations ("task ' in err
        assert done in err


@pytest.fixture
def two(manifest: Path) -> list[str]:
    """The manifest, and a version of it without the relation of the first utterance."""
    first, *rest = read_manifest(manifest)
    other = manifest.with_name("other.jsonl")
    write_manifest(other, [replace(first, relations=()), *rest])
    return [str(manifest), str(other)]


def test_agreement(two: list[str], tmp_path: Path, capsys: Capture) -> None:
    merged, worklist = tmp_path / "merged.jsonl", tmp_path / "worklist"
    assert main(["data", "agreement", *two, "--merge", str(merged), "--worklist", str(worklist)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["gold,", "other", "3", "66.67", "66.67", "100.00", "100.00"] in lines
    assert ["u0", "Ann", "Lee", "Live_In", "Oslo", "gold"] in lines
    assert err.endswith("1 of 3 utterances are annotated differently\n")
    assert f"wrote 3 utterances with 7 entities and relations to {merged}; 1 that no majority marked" in err
    assert len(read_manifest(merged)[0].relations) == 0
    (task,) = tasks_of(worklist)
    assert task["data"]["note"] == "Ann Lee Live_In Oslo: gold"
    assert "$note" in (worklist / "config.xml").read_text()
    assert main(["data", "agreement", *two, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data) == [
        "annotators", "num_utterances", "num_shared", "num_by_all", "mean_f1", "fleiss_kappa", "pairs",
        "num_disagreements", "disagreements",
    ]  # fmt: skip
    assert data["pairs"][0]["triplet"]["strict"] == {"f1": 2 / 3, "num_agreed": 1, "num_a": 2, "num_b": 1}
    item = {"item": "Ann Lee Live_In Oslo", "annotators": ["gold"]}
    assert data["disagreements"] == [{"id": "u0", "share": pytest.approx(2 / 3), "items": [item]}]


def test_nobody_is_named_where_that_is_asked(two: list[str], tmp_path: Path, capsys: Capture) -> None:
    """Neither in a file nor on standard output, nor in what Label Studio said of who annotated or decided."""
    by = {"label_studio": {"annotation": {"completed_by": {"email": "ann@example.com"}}}}
    paths = [tmp_path / f"{name}@example.com.jsonl" for name in ("ann", "ben", "cleo")]
    versions = [read_manifest(two[0]), read_manifest(two[1]), read_manifest(two[0])[:1]]
    for path, utterances in zip(paths, versions, strict=True):
        write_manifest(path, [replace(utterance, extra=by) for utterance in utterances])
    merged, worklist = tmp_path / "merged.jsonl", tmp_path / "worklist"
    ann, ben, cleo = map(str, paths)
    command = ["data", "agreement", ann, ben, "--merge", str(merged), "--decided", cleo, "--worklist", str(worklist)]
    assert main([*command, "--anonymous"]) == 0
    out, err = capsys.readouterr()
    assert f"a1 is {ann}, a2 is {ben}\n" in err
    assert "7 entities" not in err
    assert "wrote 3 utterances with 8 entities and relations" in err
    assert "0 that were not kept stand in" in err
    (task,) = tasks_of(worklist)
    assert task["data"]["note"] == "Ann Lee Live_In Oslo: a1"
    assert read_manifest(merged)[0].extra["agreement"]["relations"] == [["a1"]]
    assert not any("example.com" in text for text in (out, merged.read_text(), (worklist / "tasks.json").read_text()))
    assert main(command) == 0
    assert "ann@example.com" in merged.read_text()


def test_disagreement_is_no_failure_unless_one_says_so(two: list[str], capsys: Capture) -> None:
    assert main(["data", "agreement", *two, "--fail-under", "0.6"]) == 0
    assert main(["data", "agreement", *two, "--fail-under", "0.7"]) == 1
    assert "the strict triplet F1 is 0.6667, below 0.7" in capsys.readouterr().err


Fault = tuple[str, int, str]
FAULTS: list[Fault] = [
    ("to-label-studio GOLD", 2, "--output"),
    ("to-label-studio GONE --output DIR", 2, "no such file"),
    ("to-label-studio GOLD --output DIR --schema none", 2, 'no schema "none"'),
    ("to-label-studio GOLD --output DIR --schema retacred", 1, 'it has the type "Loc"'),
    ("to-label-studio GOLD --output DIR --audio-root DIR", 2, "does not lie under"),
    ("to-label-studio GOLD --output DIR --audio-root DIR --cut-audio", 2, "leave --audio-root out"),
    ("to-label-studio GOLD --output GOLD", 2, "cannot be written"),
    ("from-label-studio GOLD --output OUT", 1, "not JSON"),
    ("from-label-studio EXPORT --output EXPORT", 2, "would replace the input"),
    ("from-label-studio EXPORT --output OUT --annotator 7", 2, 'no annotation by "7"; annotated by 1'),
    ("from-label-studio EXPORT --output OUT --annotator 1 --by-annotator", 2, "not allowed with"),
    ("from-label-studio EMPTY --output OUT", 1, "no task is annotated"),
    ("from-label-studio EMPTY --output OUT --by-annotator", 1, "nobody has annotated anything"),
    ("agreement GOLD", 2, "two annotators or more"),
    ("agreement GOLD GOLD", 2, "is given twice"),
    ("agreement GOLD OTHER --decided GOLD", 2, "give --merge"),
    ("agreement GOLD OTHER --merge GOLD", 2, "would replace the input"),
    ("agreement GOLD OTHER --fail-under 2", 2, "number from 0 to 1"),
    ("agreement GOLD OTHER --worklist DIR --audio-root DIR", 2, "does not lie under"),
]


@pytest.mark.parametrize(("command", "code", "said"), FAULTS, ids=[command for command, _, _ in FAULTS])
def test_a_fault_is_one_line(
    command: str, code: int, said: str, two: list[str], manifest: Path, tmp_path: Path, capsys: Capture
) -> None:
    project = tmp_path / "project"
    assert main(["data", "to-label-studio", str(manifest), "--output", str(project)]) == 0
    export = accept(project, tmp_path / "export.json")
    empty = accept(project, tmp_path / "empty.json", by=())
    places = {
        "GOLD": two[0], "OTHER": two[1], "GONE": str(tmp_path / "gone.jsonl"), "DIR": str(tmp_path / "dir"),
        "OUT": str(tmp_path / "out.jsonl"), "EXPORT": str(export), "EMPTY": str(empty),
    }  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["data", *(places.get(word, word) for word in shlex.split(command))]) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert said in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_missing_recording(manifest: Path, tmp_path: Path, capsys: Capture, read_jsonl: Callable[..., list]) -> None:
    Path(read_manifest(manifest)[1].audio.path).unlink()  # type: ignore[union-attr]
    assert main(["data", "to-label-studio", str(manifest), "--output", str(tmp_path / "p")]) == 1
    assert 'utterance "u1": ' in capsys.readouterr().err
