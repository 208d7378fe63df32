"""What is checked before anything is trained, and what is held out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.data.store import read_manifest, write_manifest
from speechre.errors import DataError
from speechre.finetune.plan import Plan, num_dev
from speechre.finetune.prepare import check_data, make_parts
from speechre.schemas import load_schema
from speechre.types import AudioRef
from tests.conftest import MakeSound
from tests.finetune.conftest import WriteDomain


def plan_of(manifest: Path, schema: Path, dev: Path | None = None, seed: int = 1) -> Plan:
    return Plan(manifest, load_schema(schema), "start", manifest.with_name("out"), dev=dev, seed=seed)


def test_dev_has_speakers_and_sentences_of_its_own(write_domain: WriteDomain, schema_file: Path) -> None:
    plan = plan_of(write_domain(count=30, num_speakers=15), schema_file)
    parts = make_parts(plan, lambda line: None)
    assert not parts.shares_speakers
    assert len(parts.train) + len(parts.dev) == 30
    assert abs(len(parts.dev) - num_dev(30)) <= 2
    assert not {u.speaker for u in parts.train} & {u.speaker for u in parts.dev}
    assert any(u.relations for u in parts.dev)
    assert make_parts(plan, lambda line: None) == parts


def test_one_speaker_is_told_and_shared(write_domain: WriteDomain, schema_file: Path) -> None:
    for name, num_speakers in (("one.jsonl", 1), ("none.jsonl", 0)):
        told: list[str] = []
        parts = make_parts(plan_of(write_domain(name, 20, num_speakers=num_speakers), schema_file), told.append)
        assert parts.shares_speakers
        assert len(parts.dev) == num_dev(20)
        assert any("shares its speakers" in line for line in told)


def test_one_sentence_cannot_be_split(write_domain: WriteDomain, schema_file: Path, tmp_path: Path) -> None:
    utterances = [
        json.loads(line) | {"text": "Ann keeps Rex.", "entities": [], "relations": []}
        for line in write_domain(count=12, num_speakers=0).read_text().splitlines()
    ]
    (tmp_path / "same.jsonl").write_text("".join(json.dumps(one) + "\n" for one in utterances))
    with pytest.raises(DataError, match=r"no part can be held out; pass other recordings with --dev"):
        make_parts(plan_of(tmp_path / "same.jsonl", schema_file), lambda line: None)


def test_a_given_dev_is_taken_and_its_leaks_are_told(write_domain: WriteDomain, schema_file: Path) -> None:
    train, dev = write_domain("train.jsonl", 12), write_domain("dev.jsonl", 5, first=20)
    told: list[str] = []
    parts = make_parts(plan_of(train, schema_file, dev), told.append)
    assert ([u.id for u in parts.train], [u.id for u in parts.dev]) == (
        [u.id for u in read_manifest(train)],
        [u.id for u in read_manifest(dev)],
    )
    assert told == ["12 utterances to learn from, 5 held out (dev)"]
    renamed = dev.with_name("renamed.jsonl")
    lines = [json.loads(line) for line in train.read_text().splitlines()[:3]]
    renamed.write_text("".join(json.dumps(one | {"id": f"again-{one['id']}"}) + "\n" for one in lines))
    make_parts(plan_of(train, schema_file, renamed), told.append)
    assert any("its scores flatter" in line for line in told)
    with pytest.raises(DataError, match='utterance "u0" stands in'):
        make_parts(plan_of(train, schema_file, train), told.append)


def test_a_dev_without_relations_and_a_type_without_examples(
    write_domain: WriteDomain, schema_file: Path, tmp_path: Path
) -> None:
    train, dev = write_domain("train.jsonl", 12), tmp_path / "dev.jsonl"
    write_manifest(dev, [u for u in read_manifest(write_domain("more.jsonl", 8, first=20)) if not u.relations])
    with pytest.raises(DataError, match="states a relation"):
        make_parts(plan_of(train, schema_file, dev), lambda line: None)
    schema_file.write_text(schema_file.read_text().replace("[Keeps]", "[Keeps, Sells]"))
    told: list[str] = []
    make_parts(plan_of(train, schema_file), told.append)
    assert "no training utterance states Sells; the model will not find it" in told


def test_every_fault_is_told_at_once(write_domain: WriteDomain, schema_file: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write_domain(count=12).read_text().splitlines()]
    lines[0]["entities"][0]["type"] = "Person"
    lines[1]["relations"][0]["type"] = "Eats"
    lines[2]["audio"]["path"] = "nowhere.wav"
    del lines[4]["audio"]
    lines[5]["text"] += " \ufeff"
    lines[6]["text"] += " \ufeff"
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(json.dumps(one) + "\n" for one in lines))
    told: list[str] = []
    with pytest.raises(DataError, match=r"4 errors, listed above; nothing was trained"):
        check_data(plan_of(broken, schema_file), told.append)
    codes = ("unknown-entity-type", "unknown-relation-type", "missing-audio", "no-audio", "odd-characters")
    assert [code for code in codes if any(code in line for line in told)] == list(codes)
    (odd,) = (line for line in told if "odd-characters" in line)
    assert odd.endswith("(1 more such warnings)")


def test_few_and_no_utterances(
    write_domain: WriteDomain, schema_file: Path, tmp_path: Path, make_sound: MakeSound
) -> None:
    check_data(plan_of(write_domain("ten.jsonl", 10), schema_file), lambda line: None)
    with pytest.raises(DataError, match="9 utterances; expected 10 or more"):
        check_data(plan_of(write_domain("nine.jsonl", 9), schema_file), lambda line: None)
    some = read_manifest(write_domain("some.jsonl", 12))
    long = str(make_sound("long.wav", 31.0))
    some = [replace(u, audio=AudioRef(long)) if n < 4 else u for n, u in enumerate(some)]
    write_manifest(tmp_path / "some.jsonl", some)
    with pytest.raises(DataError, match=r"8 utterances of 30 s at most \(4 longer ones; cut them\); expected 10"):
        check_data(plan_of(tmp_path / "some.jsonl", schema_file), lambda line: None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="1 error"):
        check_data(plan_of(tmp_path / "empty.jsonl", schema_file), lambda line: None)
