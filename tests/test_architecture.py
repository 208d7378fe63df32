"""docs/architecture.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from speechre import ORDERS, Entity, Extraction, Triplet, score
from speechre.data.store import from_dict, to_dict
from speechre.metrics import Counts
from test_layers import LAYERS

PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
MANIFEST_LINE, EXTRACTION, SCORE = map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def test_the_table_of_layers_is_the_one_that_is_enforced() -> None:
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", PAGE, flags=re.MULTILINE)
    table = {int(number): set(re.findall(r"`(\w+)/?`", rooms)) for number, rooms in rows}
    assert table == {number: set(rooms) - {"__main__"} for number, rooms in enumerate(LAYERS)}


def test_the_manifest_line_is_read_and_written_as_shown() -> None:
    utterance = from_dict(MANIFEST_LINE)
    assert to_dict(utterance) == MANIFEST_LINE
    assert [(t.head.text, t.relation, t.tail.text) for t in utterance.triplets] == [
        ("Sarah Collins", "Live_In", "Denver")
    ]


def test_an_extraction_has_the_keys_shown_in_their_sequence() -> None:
    (shown,) = EXTRACTION["triplets"]
    head, tail = Entity(**shown["head"]), Entity(**shown["tail"])
    found = Triplet(head, shown["relation"], tail, shown["confidence"], shown["votes"], tuple(shown["orders"]))
    fields = {key: EXTRACTION[key] for key in ("id", "source", "duration_s", "model", "transcript")}
    extraction = Extraction(**fields, triplets=(found,), relation_probabilities=EXTRACTION["relation_probabilities"])
    assert json.dumps(extraction.to_dict()) == json.dumps(EXTRACTION)
    assert list(shown["orders"]) == [name for name in ORDERS if name in shown["orders"]]


def test_a_score_has_the_keys_shown_in_their_sequence_and_the_figures_fit() -> None:
    def keys(data: dict[str, object]) -> list[object]:
        return [(key, keys(value) if isinstance(value, dict) else None) for key, value in data.items()]

    assert keys(score({}, {}, "boundary").to_dict()) == keys(SCORE)
    for level in ("triplet", "entity", "relation"):
        shown = SCORE[level]
        exact = Counts(shown["num_hits"], shown["num_predicted"], shown["num_gold"]).to_dict()
        assert {key: round(value, 3) for key, value in exact.items()} == shown
