"""benchmarks/known_names.py."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.data.store import read_manifest, write_manifest
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.types import Entity


def test_each_list_with_each_bonus(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module("known_names")
    tiny = load_checkpoint(str(tiny_model_dir))
    config = replace(tiny.config, decode=replace(tiny.config.decode, transcript_beams=2))
    save_checkpoint(tmp_path / "model", tiny.network, tiny.tokenizer, tiny.schema, config)
    one = read_manifest(manifest)[0]
    entities = (Entity("Zoltan Quux", "Peop", "e0"), Entity("Oslo", "Loc", "e1"))
    write_manifest(tmp_path / "others.jsonl", [replace(one, entities=entities, relations=())])
    figures = tmp_path / "figures.json"
    options = ["--bonus", "0,20", "--others", str(tmp_path / "others.jsonl"), "--json", str(figures)]
    assert script.main([str(manifest), "--model", str(tmp_path / "model"), *options]) == 0
    report = json.loads(figures.read_text())
    rows = [(row["names"], row["num_names"], row["bonus"]) for row in report["rows"]]
    lists = [("said", 2), ("said and others", 3), ("others alone", 1)]
    assert rows == [("none", 0, None), *((*one, bonus) for bonus in (0.0, 20.0) for one in lists)]
    assert (report["num_utterances"], report["num_relation_free"]) == (3, 1)
    assert [row["wer"] for row in report["rows"][1:4]] == [report["rows"][0]["wer"]] * 3  # a bonus of nothing
    assert report["rows"][4]["wer"] != report["rows"][0]["wer"]
    assert "| said and others | 3 | 20 | " in capsys.readouterr().out
