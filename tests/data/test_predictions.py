"""Predictions of other systems: types in angle brackets would miss every annotated one, so they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.data.predictions import read_predictions, read_predictions_for_report
from speechre.errors import DataError


def written(path: Path, head: str | None = "Peop", relation: str = "Live_In", tail: str | None = "Loc") -> Path:
    triplet = {"head": {"text": "Ann", "type": head}, "relation": relation, "tail": {"text": "Oslo", "type": tail}}
    path.write_text(json.dumps({"id": "u", "triplets": [triplet]}) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"head": "<Peop>"}, 'triplet whose head has the type "<Peop>"; write it without brackets: "Peop"'),
        ({"tail": "<Loc>"}, 'triplet whose tail has the type "<Loc>"; write it without brackets: "Loc"'),
        ({"relation": "<Live_In>"}, 'triplet with the relation "<Live_In>"; write it without brackets: "Live_In"'),
    ],
)
def test_names_in_brackets(names: dict[str, str], said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", **names)
    for read in (read_predictions, read_predictions_for_report):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value) == f'{path}:1 (utterance "u"): {said}'


@pytest.mark.parametrize("name", ["Peop", "<", "<>", "a<b>", None])
def test_what_is_not_in_brackets(name: str | None, tmp_path: Path) -> None:
    (triplet,) = read_predictions(written(tmp_path / "p.jsonl", head=name))["u"]
    assert triplet.head.type == (name or "")
