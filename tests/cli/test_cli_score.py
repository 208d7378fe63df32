"""``speechre score``: what it says about predictions that cannot be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest


@pytest.mark.parametrize(
    ("protocol", "kind", "is_told"),
    [("strict", None, True), ("strict", "Peop", False), ("boundary", None, False), ("strict", "none found", False)],
)
def test_predictions_without_any_entity_type(
    protocol: str, kind: str | None, is_told: bool, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their strict score is 0 whatever they found, and nothing else would say why."""
    ann, oslo = {"text": "Ann Lee", "type": kind}, {"text": "Oslo"}
    found = [] if kind == "none found" else [{"head": ann, "relation": "Live_In", "tail": oslo}]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": u.id, "triplets": found}) + "\n" for u in read_manifest(manifest)))
    assert main(["score", str(manifest), str(path), "--protocol", protocol]) == 0
    assert (f"{path}: no entity has a type, so nothing can be right" in capsys.readouterr().err) == is_told
