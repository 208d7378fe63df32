"""benchmarks/ablation.py, on a tiny model with a tiny reader."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from speechre.data.store import read_manifest, write_manifest
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.reader import TextModel
from speechre.types import AudioRef
from tests.conftest import MakeSound

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablation.py"


def test_every_question_gets_its_table(
    manifest: Path, make_sound: MakeSound, tiny_model_dir: Path, credulous_reader: TextModel, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("ablation_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # its dataclasses look themselves up there
    spec.loader.exec_module(script)
    first = read_manifest(manifest)[0]
    spoken = [AudioRef(str(make_sound(f"audio/{n}.wav", 0.5 + 0.1 * n, n)), 0.0) for n in range(4)]
    write_manifest(
        tmp_path / "dev.jsonl",
        [type(first)(f"d{n}", audio, first.text, first.entities, first.relations) for n, audio in enumerate(spoken)],
    )
    tiny = load_checkpoint(str(tiny_model_dir))
    save_checkpoint(tmp_path / "m", tiny.network, tiny.tokenizer, tiny.schema, tiny.config, reader=credulous_reader)
    command = [str(tmp_path / "dev.jsonl"), "--model", str(tmp_path / "m"), "--beams", "4"]
    assert script.main([*command, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    tables = report["tables"]
    assert [len(rows) for rows in tables.values()] == [10, 4, 6, 2]
    assert tables["number of orders"][-1]["name"].startswith("6: best hrt,htr,rht,rth,thr,trh")
    for row in (row for rows in tables.values() for row in rows):
        assert 0 <= row["low"] <= row["high"] <= 1
    text = (tmp_path / "out.md").read_text()
    assert text.count("|---|---|---|---|---|") == 4
    assert f"4 utterances, {sum(len(u.triplets) for u in read_manifest(tmp_path / 'dev.jsonl'))} triplets" in text
