"""The importer of the SpeechRE data sets' JSON, on invented items and, where there is a copy, on
Speech-CoNLL04.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechre.data.readers import read_dataset_info, read_speechre_json
from speechre.data.stats import manifest_stats
from speechre.data.store import read_manifest, write_manifest
from speechre.data.validate import validate_manifest
from speechre.errors import AudioError, DataError, SchemaError
from speechre.schemas import CONLL04

CORPUS = Path(os.environ.get("SPEECHRE_CONLL04", Path(__file__).parents[3] / "shared" / "data" / "conll04"))
TEXT = "In Velden , Uma Reyes runs Orbitcorp ."


def entity(entity_id: object, text: str, start: int, label: object = "<Peop>") -> dict[str, Any]:
    value = {"start": start, "end": start + len(text), "text": text, "labels": label}
    return {"id": entity_id, "type": "entity", "value": value}


def relation(head: object, tail: object, labels: object) -> dict[str, Any]:
    return {"type": "relation", "from_id": head, "to_id": tail, "labels": labels, "direction": "right"}


def item(audio_id: object = "t-0", *parts: object, text: object = TEXT) -> dict[str, Any]:
    return {"sentence": text, "audio_id": audio_id, "data_annotation": list(parts) or PARTS}


PARTS = [
    relation(1, "0", ["Live_In"]),  # before its entities, tail first, ids as numbers and strings
    entity("0", "Velden", 3, "<Loc>"),
    entity("1", "Uma Reyes", 12),
    entity(2, "Orbitcorp", 27, ["<Org>"]),
    relation(1, 2, ["Work_For"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, suffix in [("own/t-0", "wav"), ("own/t-1", "opus"), ("more/t-1", "flac")]:
        path = tmp_path / f"{place}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(
            path,
            np.random.default_rng(0).uniform(-0.1, 0.1, 24000),
            16000,
            format={"opus": "OGG"}.get(suffix),
        )
    return tmp_path


def save(folder: Path, items: object) -> Path:
    path = folder / "dev.json"
    path.write_text(json.dumps(items))
    return path


def test_entities_relations_and_renditions(folder: Path) -> None:
    (folder / "spoken.tsv").write_text('audio_id\tmore_voice\tspoken_text\nt-1\tslt\tIn "Velden".\n')
    utterances = read_speechre_json(
        save(folder, [item("t-0"), item("t-1")]),
        audio_dirs=[folder / "own", folder / "more"],
        spoken_tsv=folder / "spoken.tsv",
    )
    assert [u.id for u in utterances] == ["t-0", "t-1", "t-1@more"]
    assert [u.speaker for u in utterances] == ["own", "own", "slt"]
    assert [u.extra for u in utterances] == [
        {},
        {"spoken_text": 'In "Velden".'},
        {"spoken_text": 'In "Velden".'},
    ]
    assert {u.split for u in utterances} == {"dev"}
    first = utterances[0]
    assert [(e.id, e.text, e.type, e.start, e.end) for e in first.entities] == [
        ("e0", "Velden", "Loc", 3, 9),
        ("e1", "Uma Reyes", "Peop", 12, 21),
        ("e2", "Orbitcorp", "Org", 27, 36),
    ]
    assert [(t.head.text, t.relation, t.tail.text) for t in first.triplets] == [
        ("Uma Reyes", "Live_In", "Velden"),
        ("Uma Reyes", "Work_For", "Orbitcorp"),
    ]
    assert first.audio is not None
    assert first.audio.duration_s == 1.5
    write_manifest(folder / "m.jsonl", utterances)
    assert read_manifest(folder / "m.jsonl") == utterances
    assert {issue.code for issue in validate_manifest(folder / "m.jsonl", CONLL04)} <= {"repeated-utterance"}


def test_without_audio(folder: Path) -> None:
    path = save(folder, [item("t-0"), item("t-9")])
    assert [u.audio for u in read_speechre_json(path)] == [None, None]
    with pytest.raises(DataError, match=r"no recording t-9\.\* in .*--allow-missing-audio"):
        read_speechre_json(path, audio_dirs=[folder / "own"])
    found = read_speechre_json(path, audio_dirs=[folder / "own"], split="test", allow_missing_audio=True)
    assert [u.audio is None for u in found] == [False, True]
    assert found[0].split == "test"


def test_faults_of_the_audio_folders(folder: Path) -> None:
    path = save(folder, [item("t-0")])
    with pytest.raises(DataError, match="no such folder of recordings"):
        read_speechre_json(path, audio_dirs=[folder / "none"])
    with pytest.raises(DataError, match="same name"):
        read_speechre_json(path, audio_dirs=[folder / "own", folder / "own"])
    (folder / "own" / "t-0.mp3").touch()
    with pytest.raises(DataError, match="have the same id"):
        read_speechre_json(path, audio_dirs=[folder / "own"])
    (folder / "own" / "t-0.wav").unlink()
    with pytest.raises(AudioError, match="is empty"):
        read_speechre_json(path, audio_dirs=[folder / "own"])


def test_offsets_are_repaired_only_when_asked_and_only_when_clear(folder: Path) -> None:
    path = save(folder, [item("t-0", entity(0, "Velden", 4))])
    with pytest.raises(DataError, match=r'"Velden", but 4 to 10 of the text is "elden ".*--repair-offsets'):
        read_speechre_json(path)
    (repaired,) = read_speechre_json(path, repair_offsets=True)
    assert (repaired.entities[0].start, repaired.entities[0].end) == (3, 9)
    assert repaired.extra == {"repaired_offsets": ["e0"]}
    for text in ("Velden and Velden", "elsewhere"):
        with pytest.raises(DataError, match="item 0"):
            read_speechre_json(save(folder, [item("t-0", entity(0, "Velden", 4), text=text)]), repair_offsets=True)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ({}, "expected a list of objects"),
        ([], "expected a list of objects"),
        ([7], "item 0: not an object"),
        ([item(text=None)], '"sentence" is None'),
        ([item(None)], '"audio_id" is None'),
        ([item("../t-0")], "without folders"),
        ([item("t-0"), item("t-0")], "its audio_id stands twice"),
        ([{"sentence": "", "audio_id": 1, "data_annotation": {}}], '"data_annotation" is not a list'),
        ([item("t-0", 7)], '"data_annotation" is not a list of objects'),
        ([item("t-0", {"type": "event"})], "neither"),
        ([item("t-0", {"type": ["entity"]})], "neither"),
        ([item("t-0", {"type": "entity", "id": "0"})], "no value"),
        ([item("t-0", entity(None, "Velden", 3))], '"id" is None'),
        ([item("t-0", entity(0, "Velden", 3), entity("0", "Velden", 3))], 'two entities have the id "0"'),
        ([item("t-0", entity(0, "", 3))], "the text ''"),
        ([item("t-0", entity(0, "Velden", 3, ["<Loc>", "<Org>"]))], "expected one"),
        ([item("t-0", entity(0, "Velden", -3))], "offset -3"),
        ([item("t-0", entity(0, "Velden", 99))], "span 99 to 105"),
        ([item("t-0", entity(0, "Velden", 3), relation(0, 5, ["R"]))], 'points at entity "5"'),
        ([item("t-0", entity(0, "Velden", 3), relation(0, 0, []))], "the labels []"),
        (
            [item("t-0", entity(0, "Velden", 4)), item("t-1", entity(0, "Velden", 4))],
            "(2 such faults in all)",
        ),
    ],
)
def test_malformed_items(folder: Path, items: object, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read_speechre_json(save(folder, items))
    assert str(caught.value).startswith(str(folder / "dev.json"))
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[NaN]"])
def test_files_that_are_no_json(folder: Path, content: bytes) -> None:
    path = folder / "x.json"
    path.write_bytes(content)
    for reader in (read_speechre_json, read_dataset_info):
        with pytest.raises(DataError, match=r"not UTF-8|not JSON"):
            reader(path)  # type: ignore[operator]
        with pytest.raises(DataError, match="no such file"):
            reader(folder / "missing.json")  # type: ignore[operator]


@pytest.mark.parametrize(
    "content", ["audio_id\tspoken_text\nt-0\n", "id\ttext\na\tb\n", "audio_id\tspoken_text\na\tb\na\tc\n"]
)
def test_malformed_tables(folder: Path, content: str) -> None:
    (folder / "spoken.tsv").write_text(content)
    with pytest.raises(DataError, match=r"spoken\.tsv:[23]: "):
        read_speechre_json(save(folder, [item("t-0")]), spoken_tsv=folder / "spoken.tsv")


def test_dataset_info(tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    info: dict[str, Any] = {
        "datasets": "mine",
        "entities_type_num": 2,
        "entities_type": ["<A>", "B"],
        "relations_type_num": 1,
        "relations_type": ["R"],
    }
    path.write_text(json.dumps(info))
    schema = read_dataset_info(path)
    assert (schema.name, schema.entity_types, schema.relation_types, schema.pairs) == (
        "mine",
        ("A", "B"),
        ("R",),
        {},
    )
    known = {
        "entities_type": [f"<{t}>" for t in reversed(CONLL04.entity_types)],
        "relations_type": CONLL04.relation_types,
    }
    path.write_text(json.dumps(known))
    schema = read_dataset_info(path)
    assert schema.entity_types == CONLL04.entity_types[::-1]
    assert (schema.pairs, schema.words) == (CONLL04.pairs, CONLL04.words)
    for change, reason in [
        ({"entities_type": "A"}, '"entities_type" is'),
        ({"relations_type_num": 5}, "has 1 names"),
    ]:
        path.write_text(json.dumps(info | change))
        with pytest.raises(DataError, match=reason):
            read_dataset_info(path)
    path.write_text(json.dumps(info | {"relations_type": ["A"]}))
    with pytest.raises(SchemaError, match="both entity and relation"):
        read_dataset_info(path)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="needs Speech-CoNLL04")
def test_speech_conll04_loads_whole(tmp_path: Path) -> None:
    assert read_dataset_info(CORPUS / "dataset_info.json") == CONLL04
    for split, num_utterances, num_triplets in [("train", 922, 1283), ("dev", 231, 343)]:
        plain = read_speechre_json(CORPUS / f"{split}.json")
        stats = manifest_stats(plain)
        assert (stats["num_utterances"], stats["num_triplets"]) == (num_utterances, num_triplets)
        write_manifest(tmp_path / f"{split}.jsonl", plain)
        issues = validate_manifest(tmp_path / f"{split}.jsonl", CONLL04)
        assert {issue.code for issue in issues} <= {
            *("no-audio", "duplicate-triplet", "both-directions", "spaced-punctuation", "contradicting-triplets")
        }
    dev = read_speechre_json(CORPUS / "dev.json", audio_dirs=[CORPUS / "audio" / "joe", CORPUS / "audio" / "mixed"])
    assert len(dev) == 385
    assert all(u.audio is not None and u.audio.duration_s for u in dev)


def test_types_are_checked_against_the_dataset_info_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([item()]), encoding="utf-8")
    info = {"datasets": "own", "entities_type": ["<Loc>", "<Peop>", "<Org>"], "relations_type": ["Live_In", "Work_For"]}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    assert len(read_speechre_json(path)) == 1
    info["relations_type"] = ["Live_In"]
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(DataError, match=r'type "Work_For" is not listed in .*dataset_info\.json'):
        read_speechre_json(path)
