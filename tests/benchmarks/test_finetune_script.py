"""benchmarks/finetune.py and scripts/make-football, on tiny models and without a voice."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from speechre.data.store import read_manifest
from speechre.data.validate import validate_manifest
from speechre.errors import DataError
from speechre.schemas import load_schema
from tests.finetune.conftest import WriteDomain, bert_dir, credulous_reader, schema_file, start_dir, write_domain

__all__ = ["bert_dir", "credulous_reader", "schema_file", "start_dir", "write_domain"]  # fixtures

ROOT = Path(__file__).parents[2]
FOOTBALL = ROOT / "scripts" / "football"


def load(path: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(path.stem.replace("-", "_"), str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_curve_is_made_point_by_point_and_none_twice(
    write_domain: WriteDomain,
    schema_file: Path,
    start_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load(ROOT / "benchmarks" / "finetune.py")
    train, held_out, output = write_domain(count=14), write_domain("held.jsonl", 4, first=30), tmp_path / "curve"
    options = [str(train), str(held_out), "--schema", str(schema_file), "--output", str(output)]
    options += ["--from", str(start_dir), "--steps", "1", "--epochs", "1", "--limit", "3"]
    assert script.main([*options, "--counts", "12"]) == 0
    table = capsys.readouterr().out
    assert "3 held-out utterances" in table
    assert [line.split("|")[1:3] for line in table.splitlines()[-2:]] == [[" 0 ", " - "], [" 12 ", " both halves "]]
    figures = json.loads((output / "12.json").read_text())
    assert figures["minutes"] == pytest.approx(sum(figures["stages_s"].values()) / 60)
    assert [one.id for one in read_manifest(output / "12.jsonl")] == [one.id for one in read_manifest(train)[:12]]
    monkeypatch.setattr(script, "finetune", lambda *args, **options: pytest.fail("a point was made twice"))
    monkeypatch.setattr(script, "answers_of", lambda *args: pytest.fail("a point was scored twice"))
    assert script.main([*options, "--counts", "12"]) == 0
    assert capsys.readouterr().out == table
    with pytest.raises(SystemExit):
        script.main([*options, "--counts", "15"])
    assert "has 14 utterances" in capsys.readouterr().err


def test_football_is_sound_and_its_parts_share_no_sentence(tmp_path: Path) -> None:
    pytest.importorskip("faker")
    script = load(ROOT / "scripts" / "make-football")
    command = ["--count", "120", "--held-out", "40", "--text-only"]
    assert script.main([*command, "--output", str(tmp_path / "a")]) == 0
    schema = load_schema(FOOTBALL / "football.yaml")
    parts = {part: read_manifest(tmp_path / "a" / f"{part}.jsonl") for part in ("football", "held-out")}
    assert [len(part) for part in parts.values()] == [120, 40]
    for name, utterances in parts.items():
        assert validate_manifest(tmp_path / "a" / f"{name}.jsonl", schema, check_audio=False) == []
        assert {r.type for u in utterances for r in u.relations} == set(schema.relation_types)
        assert 0.15 < sum(not u.relations for u in utterances) / len(utterances) < 0.4
    templates = [{u.extra["template"] for u in part} for part in parts.values()]
    assert not templates[0] & templates[1]
    assert not {u.text for u in parts["football"]} & {u.text for u in parts["held-out"]}
    assert script.main([*command, "--output", str(tmp_path / "b")]) == 0
    for name in parts:
        assert (tmp_path / "a" / f"{name}.jsonl").read_bytes() == (tmp_path / "b" / f"{name}.jsonl").read_bytes()


def test_football_templates_can_be_read_and_too_many_sentences_are_refused() -> None:
    pytest.importorskip("faker")
    script = load(ROOT / "scripts" / "make-football")
    schema = load_schema(FOOTBALL / "football.yaml")
    lines = {
        part: (FOOTBALL / f"{part}.txt").read_text(encoding="utf-8").splitlines() for part in ("train", "held-out")
    }
    found = {part: script.read_templates(ours, part, schema, script.CLASSES) for part, ours in lines.items()}
    assert len(found["train"]) > 80
    assert len(found["held-out"]) > 40
    assert not {t.parts for t in found["train"]} & {t.parts for t in found["held-out"]}
    (plain,) = (
        t
        for t in found["train"]
        if t.parts
        == script.read_templates(["A goalkeeper must have good hands and a cool head."], "x", schema, script.CLASSES)[
            0
        ].parts
    )
    with pytest.raises(DataError, match="do not give 2 different sentences"):
        script.draw([plain], 2, "football", 1)
