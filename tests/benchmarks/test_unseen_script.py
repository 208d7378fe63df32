"""benchmarks/unseen.py: sentences of training are found, and what is scored without them."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.data.store import write_manifest
from speechre.types import Utterance
from tests.reader.conftest import annotate

SAME = "Ann Lee lives in Oslo."
NEAR = "Ann Lee now lives in the old north of Oslo with Bo."
NEW = "Bo Ray works for Acme in Rome."


@pytest.fixture
def dev() -> list[Utterance]:
    people = {"Ann Lee": "Peop", "Oslo": "Loc"}
    return [
        annotate("same", SAME, people, ("Ann Lee", "Live_In", "Oslo")),
        annotate("near", NEAR, people, ("Ann Lee", "Live_In", "Oslo")),
        annotate("new", NEW, {"Bo Ray": "Peop", "Acme": "Org"}, ("Bo Ray", "Work_For", "Acme")),
    ]


def test_scores_with_and_without(dev: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = importlib.import_module("unseen")
    seen = [replace(dev[0], id="t1", text="ann lee lives in Oslo !"), replace(dev[1], id="t2", text=NEAR + " Ray")]
    far = replace(dev[2], id="t3", text="Somebody else works for nobody at all.", entities=(), relations=())
    assert script.shared_ids(dev, [*(replace(s, entities=(), relations=()) for s in seen), far]) == ({"same"}, {"near"})
    train = [replace(one, entities=(), relations=()) for one in (*seen, far)]
    for name, utterances in (("dev", dev), ("train", train)):
        write_manifest(tmp_path / f"{name}.jsonl", utterances)
    rows = [{"id": one.id, "triplets": [t.to_dict() for t in one.triplets if one.id != "new"]} for one in dev]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [str(tmp_path / "dev.jsonl"), "--train", str(tmp_path / "train.jsonl")]
    command += ["--predictions", str(tmp_path / "p.jsonl"), "--json", str(tmp_path / "out.json")]
    assert script.main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("of 3 utterances 1 have a sentence of training, 1 more a nearly equal one")
    found = {
        row["part"]: (row["utterances"], row["hits"], row["predicted"], row["gold"], row["f1"])
        for row in json.loads((tmp_path / "out.json").read_text())
    }
    assert found == {
        "all": (3, 2, 2, 3, 80.0),
        "without the same": (2, 1, 1, 2, 66.7),
        "without the same and the nearly same": (1, 0, 0, 1, 0.0),
        "these alone": (2, 2, 2, 2, 100.0),
    }
