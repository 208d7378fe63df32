"""Exports of Label Studio as manifests: nothing lost on the way, nothing wrong taken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.data.label_studio import to_task
from speechre.data.label_studio_export import (
    Reading,
    annotator_of,
    annotators_of,
    from_export,
    read_export,
)
from speechre.data.record import record_faults
from speechre.data.store import to_dict, write_manifest
from speechre.errors import DataError, SpeechreError, UsageError
from speechre.types import Entity, Utterance
from tests.data.annotated import hard_utterances

HARD = hard_utterances()
Change = Callable[[dict[str, Any]], None]


def exported(utterance: Utterance, number: int = 0, **annotation: Any) -> dict[str, Any]:
    """The utterance's task as Label Studio gives it back when somebody accepts its pre-annotation."""
    task = to_task(utterance)
    results = task["predictions"][0]["result"] if task["predictions"] else []
    done = {"id": 100 + number, "completed_by": 1, "was_cancelled": False, "result": results, **annotation}
    return {
        "id": number,
        "data": task["data"],
        "annotations": [done],
        "predictions": [number],
        "meta": {},
        "inner_id": 9,
    }


def read(tmp_path: Path, tasks: object, **options: Any) -> Reading:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return from_export(path, read_export(path), **options)


def minimal(task: dict[str, Any]) -> dict[str, Any]:
    """A task as JSON_MIN has it."""
    (annotation,) = task["annotations"]
    regions = [item["value"] for item in annotation["result"] if item["type"] == "labels"]
    return {
        **task["data"], "id": task["id"], **({"entities": regions} if regions else {}), "annotator": 1,
        "annotation_id": annotation["id"], "created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 3.5,
    }  # fmt: skip


# --- the round trip ---


def test_what_was_accepted_comes_back_to_the_byte(tmp_path: Path) -> None:
    tasks = [exported(utterance, number) for number, utterance in enumerate(HARD)]
    reading = read(tmp_path, tasks, keep_provenance=False)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    write_manifest(before, HARD)
    write_manifest(after, reading.utterances)
    assert after.read_bytes() == before.read_bytes()
    assert (reading.unannotated, reading.skipped) == ((), ())


def test_the_sequence_of_the_results_does_not_matter(tmp_path: Path) -> None:
    tasks = [exported(utterance, number) for number, utterance in enumerate(HARD)]
    for task in tasks:
        task["annotations"][0]["result"].reverse()
    assert list(map(to_dict, read(tmp_path, tasks, keep_provenance=False).utterances)) == list(map(to_dict, HARD))


words = st.sampled_from(["Ann", "Åse", "🎉", "Oslo,", "Rio", '"x"', "\n", "<b>", "  ", "#"])


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    from speechre.types import Relation

    text = " ".join(draw(st.lists(words, min_size=1, max_size=12)))
    spans = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 9))
    found = []
    for number, (start, length) in enumerate(draw(st.lists(spans, max_size=5))):
        end = min(len(text), start + length)
        if text[start:end].strip():
            span = (start, end) if draw(st.booleans()) else (None, None)
            found.append(Entity(text[start:end], draw(st.sampled_from(["A", "B"])), f"e{number}", *span))
    ids = st.sampled_from([entity.id for entity in found] or [""])
    links = draw(st.lists(st.builds(Relation, ids, ids, st.sampled_from(["R", "S"])), max_size=5)) if found else []
    return Utterance("u", None, text, tuple(found), tuple(links), extra={"k": 1})


@settings(max_examples=60)
@given(utterances())
def test_any_utterance_comes_back(tmp_path_factory: pytest.TempPathFactory, utterance: Utterance) -> None:
    folder = tmp_path_factory.getbasetemp()
    (back,) = read(folder, [exported(utterance)], keep_provenance=False).utterances
    assert to_dict(back) == to_dict(utterance)


def test_what_else_the_export_says_is_kept(tmp_path: Path) -> None:
    task = exported(HARD[0], 7, lead_time=3.5, ground_truth=True, future={"a": [1]})
    task["data"]["own"] = "mine"
    results = task["annotations"][0]["result"]
    results[0]["meta"] = {"text": ["sure?"]}
    results[0]["value"]["hypertext"] = 1
    results[-1]["readonly"] = True
    results.append({"id": "c", "from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["ok"]}})
    (utterance,) = read(tmp_path, [task]).utterances
    assert utterance.extra["source"] == {"corpus": "own", "line": 7}
    assert utterance.extra["label_studio"] == {
        "task": {"id": 7, "meta": {}, "inner_id": 9},
        "data": {"own": "mine"},
        "annotation": {
            "id": 107, "completed_by": 1, "was_cancelled": False, "lead_time": 3.5, "ground_truth": True,
            "future": {"a": [1]},
        },
        "regions": {"e0": {"meta": {"text": ["sure?"]}, "hypertext": 1}},
        "relations": [{"head": "e0", "tail": "e1", "readonly": True}],
        "results": [results[-1]],
    }  # fmt: skip


# --- what people change ---


def region(start: int, end: int, text: str, label: str, region_id: str = "Zx_9-Ab") -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text, "labels": [label]}
    return {"id": region_id, "from_name": "entities", "to_name": "text", "type": "labels", "value": value}


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("right", [("Acme", "Live_In", "Oslo")]),
        ("left", [("Oslo", "Live_In", "Acme")]),
        ("bi", [("Acme", "Live_In", "Oslo"), ("Oslo", "Live_In", "Acme")]),
    ],
)
def test_the_direction_of_a_relation(direction: str, expected: list[tuple[str, str, str]], tmp_path: Path) -> None:
    task = exported(HARD[0])
    results = task["annotations"][0]["result"]
    results[3:] = [{"type": "relation", "from_id": "e2", "to_id": "e1", "direction": direction, "labels": ["Live_In"]}]
    (utterance,) = read(tmp_path, [task]).utterances
    assert [(t.head.text, t.relation, t.tail.text) for t in utterance.triplets] == expected


def test_an_entity_that_moved_has_no_times_and_one_that_did_not_keeps_them(tmp_path: Path) -> None:
    utterance = Utterance("u", None, "Ann Lee", (Entity("Ann", "Peop", "e0", 0, 3, 1.0, 1.5),))
    for change, times in (({"end": 7, "text": "Ann Lee"}, (None, None)), ({"labels": ["Org"]}, (1.0, 1.5))):
        task = exported(utterance)
        task["annotations"][0]["result"][0]["value"].update(change)
        ((entity,),) = (u.entities for u in read(tmp_path, [task]).utterances)
        assert (entity.id, entity.start_s, entity.end_s) == ("e0", *times)


def test_a_region_over_a_line_end_is_written_with_a_backslash(tmp_path: Path) -> None:
    task = exported(Utterance("u", None, "in Umeå,\n  then"))
    task["annotations"][0]["result"] = [region(3, 15, "Umeå,\\n  then", "Loc")]
    ((entity,),) = (u.entities for u in read(tmp_path, [task]).utterances)
    assert (entity.id, entity.text) == ("e0", "Umeå,\n  then")


def test_brackets_go(tmp_path: Path) -> None:
    task = exported(Utterance("u", None, "Ann"))
    task["annotations"][0]["result"] = [region(0, 3, "Ann", "<Peop>")]
    (utterance,) = read(tmp_path, [task]).utterances
    assert utterance.entities[0].type == "Peop"


# --- who, and whether ---


def test_tasks_that_nobody_annotated_or_that_were_skipped_are_told(tmp_path: Path) -> None:
    tasks = [exported(utterance, number) for number, utterance in enumerate(HARD[:3])]
    tasks[0]["annotations"] = []
    tasks[1]["annotations"][0]["was_cancelled"] = True
    reading = read(tmp_path, tasks)
    assert [u.id for u in reading.utterances] == ["many"]
    assert (reading.unannotated, reading.skipped) == (("plain",), ("emoji",))
    kept = read(tmp_path, tasks, keep_unannotated=True, keep_provenance=False)
    assert list(map(to_dict, kept.utterances)) == list(map(to_dict, HARD[:3]))


def test_several_annotators(tmp_path: Path) -> None:
    task = exported(HARD[0])
    (first,) = task["annotations"]
    second = {**first, "id": 101, "completed_by": {"id": 2, "email": "ben@example.com"}, "result": first["result"][:1]}
    task["annotations"].append(second)
    with pytest.raises(DataError, match=r"2 annotations \(by 1, ben@example.com\)"):
        read(tmp_path, [task])
    for name, count in (("1", 3), ("2", 1), ("ben@example.com", 1)):
        (utterance,) = read(tmp_path, [task], annotator=name).utterances
        assert len(utterance.entities) == count
    with pytest.raises(UsageError, match=r'no annotation by "3"; annotated by 1, ben@example\.com'):
        read(tmp_path, [task], annotator="3")
    second["ground_truth"] = True
    assert len(read(tmp_path, [task]).utterances[0].entities) == 1
    assert annotators_of(read_export(tmp_path / "export.json")) == ["1", "ben@example.com"]
    assert annotator_of({}) == "unknown"


def test_several_annotations_by_one_person(tmp_path: Path) -> None:
    """To read one annotator's does not help then, and what helps is said."""
    task = exported(HARD[0])
    task["annotations"].append({**task["annotations"][0], "id": 101})
    for options in ({}, {"annotator": "1"}):
        with pytest.raises(DataError, match=r"2 annotations by 1; delete one, or mark one as ground truth; correct it"):
            read(tmp_path, [task], **options)
    for annotation in task["annotations"]:
        annotation["ground_truth"] = True
    with pytest.raises(DataError, match=r"2 of 2 annotations are marked as ground truth; keep one mark; correct it"):
        read(tmp_path, [task])


@pytest.mark.parametrize("who", [None, {}, {"email": None}])
def test_an_annotator_who_is_not_known_can_be_asked_for(who: object, tmp_path: Path) -> None:
    task = exported(HARD[0], completed_by=who)
    assert len(read(tmp_path, [task], annotator="unknown").utterances) == 1
    assert annotators_of(read_export(tmp_path / "export.json")) == ["unknown"]


# --- JSON_MIN and projects of other origin ---


def test_json_min_has_the_entities_and_needs_leave_for_the_rest(tmp_path: Path) -> None:
    tasks = [minimal(exported(utterance, number)) for number, utterance in enumerate(HARD)]
    with pytest.raises(DataError, match="holds no relations"):
        read(tmp_path, tasks)
    reading = read(tmp_path, tasks, allow_missing_relations=True)
    for before, after in zip(HARD, reading.utterances, strict=True):
        assert [to_dict(after)["entities"]] == [to_dict(before)["entities"]]
    assert reading.utterances[0].relations == ()
    assert reading.utterances[0].extra["label_studio"]["annotation"]["lead_time"] == 3.5


def test_json_min_has_a_record_an_annotation(tmp_path: Path) -> None:
    first = minimal(exported(HARD[0], 3))
    second = {**first, "annotator": 2, "annotation_id": 200, "entities": first["entities"][:1]}
    (utterance,) = read(tmp_path, [first, second], allow_missing_relations=True, annotator="2").utterances
    assert [e.id for e in utterance.entities] == ["e0"]


def test_a_project_of_other_origin(tmp_path: Path) -> None:
    results = [region(0, 3, "Ann", "<Peop>", "a"), region(13, 17, "Oslo", "<Loc>", "b")]
    for item in results:
        item["from_name"] = "ner"
    heard = {"start": 0.5, "end": 1.2, "channel": 0, "labels": ["Speech"]}
    results.append({"id": "s", "from_name": "vad", "to_name": "audio", "type": "labels", "value": heard})
    results.append({"type": "relation", "from_id": "a", "to_id": "b", "direction": "right", "labels": ["<Live_In>"]})
    results.append({"type": "relation", "from_id": "a", "to_id": "s", "direction": "right", "labels": ["said at"]})
    data = {"text": "Ann lives in Oslo", "audio": "/data/upload/1/a.wav"}
    task = {"id": 12, "data": data, "annotations": [{"result": results}]}
    (utterance,) = read(tmp_path, [task]).utterances
    assert (utterance.id, utterance.audio) == ("task-12", None)
    assert [(t.head.text, t.head.type, t.relation, t.tail.text) for t in utterance.triplets] == [
        ("Ann", "Peop", "Live_In", "Oslo")
    ]
    extra = utterance.extra["label_studio"]
    assert extra["data"] == {"audio": "/data/upload/1/a.wav"}
    assert [item["type"] for item in extra["results"]] == ["labels", "relation"]


def foreign(text: str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"id": 12, "data": {"text": text}, "annotations": [{"result": list(results)}]}


def hypertext(start: int, end: int, text: str, label: str) -> dict[str, Any]:
    value = {
        "start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 1, "endOffset": 4, "text": text,
        "globalOffsets": {"start": start, "end": end}, "hypertextlabels": [label],
    }  # fmt: skip
    return {"id": "h", "from_name": "ner", "to_name": "text", "type": "hypertextlabels", "value": value}


def test_regions_of_other_origin_that_have_offsets_are_entities(tmp_path: Path) -> None:
    silent = region(0, 3, "", "Peop", "a")
    del silent["value"]["text"]
    task = foreign("Ann lives in Oslo", silent, hypertext(13, 17, "Oslo", "Loc"))
    reading = read(tmp_path, [task])
    (utterance,) = reading.utterances
    assert [(e.text, e.type, e.start, e.end) for e in utterance.entities] == [
        ("Ann", "Peop", 0, 3),
        ("Oslo", "Loc", 13, 17),
    ]
    assert reading.unread == {}
    assert utterance.extra["label_studio"]["regions"]["e1"]["start"] == "/p[1]/text()[1]"
    with pytest.raises(DataError, match=r"says 'Bo', but 13 to 17 of the text is \"Oslo\""):
        read(tmp_path, [foreign("Ann lives in Oslo", hypertext(13, 17, "Bo", "Loc"))])


def test_hypertext_in_json_min(tmp_path: Path) -> None:
    value = hypertext(13, 17, "Oslo", "Loc")["value"]
    task = {"id": 3, "text": "Ann lives in Oslo", "ner": [value], "annotator": 1, "annotation_id": 9}
    (utterance,) = read(tmp_path, [task], allow_missing_relations=True).utterances
    assert [(e.text, e.type) for e in utterance.entities] == [("Oslo", "Loc")]


def test_what_is_not_read_is_counted_with_its_tasks(tmp_path: Path) -> None:
    """Seconds of audio are not offsets, however whole; nor is anything whose place in the text is not known."""
    heard = region(0, 3, "", "Speech", "s")
    del heard["value"]["text"]
    heard["original_length"] = 9.5
    lost = hypertext(0, 3, "Ann", "Peop")
    del lost["value"]["globalOffsets"]
    paragraph = {"id": "p", "type": "paragraphlabels", "value": {"start": "0", "end": "0", "paragraphlabels": ["X"]}}
    text = "Ann lives in Oslo"
    tasks = [foreign(text, heard, lost, paragraph), {**foreign(text, heard), "id": 13}]
    assert read(tmp_path, tasks).unread == {
        "labels": ("task 12", "task 13"), "hypertextlabels": ("task 12",), "paragraphlabels": ("task 12",),
    }  # fmt: skip


def test_a_region_that_somebody_wrote_about_keeps_its_relations(tmp_path: Path) -> None:
    """What is written about a region has the region's id."""
    task = exported(HARD[0])
    note = {"id": "e0", "from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": ["sure?"]}}
    task["annotations"][0]["result"].append(note)
    reading = read(tmp_path, [task])
    assert reading.utterances[0].relations == HARD[0].relations
    assert reading.unread == {"textarea": ("task 0",)}


# --- faults ---


def _set(*path: Any, value: Any) -> Change:
    def change(task: dict[str, Any]) -> None:
        place: Any = task
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


RESULT = ("annotations", 0, "result")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(*RESULT, 0, "value", "end", value=99), "from 0 to 99, but the text has 41 characters"),
        (_set(*RESULT, 0, "value", "start", value=1.5), "expected whole numbers"),
        (_set(*RESULT, 0, "value", "start", value=True), "expected whole numbers"),
        (_set(*RESULT, 0, "value", "text", value="Bo"), "says 'Bo', but 0 to 7 of the text is \"Ann Lee\""),
        (_set(*RESULT, 0, "value", "labels", value=[]), "expected one type"),
        (_set(*RESULT, 0, "value", "labels", value=["A", "B"]), "expected one type"),
        (_set(*RESULT, 0, "id", value="e1"), "expected one of its own"),
        (_set(*RESULT, 0, value=3), "result 0 is 3"),
        (_set(*RESULT, 3, "labels", value=[]), 'from "Ann Lee" to "Acme" has the labels'),
        (_set(*RESULT, 3, "direction", value="up"), "the direction 'up'"),
        (_set(*RESULT, 3, "to_id", value="gone"), "'gone', which is not there"),
        (_set(*RESULT, 3, "from_id", value=[]), "[], which is not there"),
        (_set(*RESULT, 3, "from_id", value=None), "None, which is not there"),
        (_set("data", "text", value=None), 'has None as "text"'),
        (_set("data", "speechre", value=3), "that speechre did not write"),
        (_set("data", "speechre", "utterance", "id", value=""), 'empty "id"'),
        (_set("data", value=[]), 'no object as "data"'),
        (_set(*RESULT, value=None), 'without a list as "result"'),
    ],
)
def test_a_fault_names_the_task(change: Change, said: str, tmp_path: Path) -> None:
    task = copy.deepcopy(exported(HARD[0], 17))
    change(task)
    with pytest.raises(DataError, match=r"export\.json: .*task 17") as caught:
        read(tmp_path, [task])
    assert said in str(caught.value)


def test_faults_are_counted(tmp_path: Path) -> None:
    tasks = [exported(HARD[0], number) for number in range(6)]
    with pytest.raises(DataError, match=r"task 1: .*task 2: .*task 3: .*\(and 2 more\)"):
        read(tmp_path, tasks)  # five times the id of the first


@pytest.mark.parametrize("content", [{}, [], "x", [3], [{"id": 1}], [{"annotations": []}, {"text": "a"}]])
def test_what_is_no_export(content: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"export\.json: .*(expected .*|export it) as JSON|export\.json: .* an object$"):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_export(tmp_path / "missing.json")


values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 60), st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["", "e0", "e1", "labels", "relation", "left", "Ann Lee", "x-6530"]),
    st.just([]), st.just({}), st.just(["Peop"]), st.just([["Peop"]]), st.just({"start": 0}),
)  # fmt: skip


@pytest.mark.parametrize("examples", [100, pytest.param(6000, marks=pytest.mark.slow)])
def test_a_mutated_export_is_read_or_refused(examples: int, tmp_path: Path) -> None:
    was_read: set[bool] = set()

    @settings(max_examples=examples)
    @given(st.data())
    def read_or_refused(data: st.DataObject) -> None:
        was_read.add(is_mutated_read(tmp_path, data))

    read_or_refused()
    assert was_read == {True, False}  # a mutation that ruins every export, or none, would prove nothing


def is_mutated_read(folder: Path, data: st.DataObject) -> bool:
    """A typed error that names the file (False) or utterances that can be written (True); never a traceback, never a
    task that is not accounted for.
    """
    is_min = data.draw(st.booleans())
    tasks: list[Any] = [copy.deepcopy(exported(utterance, number)) for number, utterance in enumerate(HARD[:3])]
    if is_min:
        tasks = [minimal(task) for task in tasks]
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = tasks
        for _ in range(data.draw(st.integers(1, 7))):
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or data.draw(st.integers(0, 5)) == 0:
                if data.draw(st.booleans()):
                    place[key] = copy.deepcopy(data.draw(values))
                else:
                    del place[key]
                break
            place = place[key]
    try:
        reading = read(folder, tasks, allow_missing_relations=is_min)
    except SpeechreError as error:
        refused = str(error)
    else:
        check_accounted_for(reading, tasks, is_min)
        return True
    assert refused.startswith(f"{folder / 'export.json'}: ")
    return False


def check_accounted_for(reading: Reading, tasks: list[Any], is_min: bool) -> None:
    assert [fault for utterance in reading.utterances for fault in record_faults(to_dict(utterance))] == []
    names = {str(t.get("id", f"number {n + 1}")) for n, t in enumerate(tasks)}
    num_tasks = len(names) if is_min else len(tasks)
    assert len(reading.utterances) + len(reading.unannotated) + len(reading.skipped) == num_tasks
