"""The data card is read back by the library that owns its form."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace

import pytest
from huggingface_hub import DatasetCard

import speechre.data.card
from speechre.data.card import CardFacts, data_card, size_category
from speechre.data.stats import manifest_stats
from speechre.errors import UsageError
from speechre.types import Entity, Relation, Utterance

FACTS = CardFacts("My set: speech", "cc0-1.0", ["en", "no"], {"train": "train.jsonl", "dev": "parts/dev.jsonl"})


def stats(size: int = 3) -> dict[str, object]:
    entities = (Entity("Ann", "Peop", "e0"), Entity("Oslo", "Loc", "e1"))
    links = (Relation("e0", "e1", "Live_In"),)
    return manifest_stats([Utterance(f"u{i}", None, "Ann in Oslo", entities, links) for i in range(size)])


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.data.card)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_the_head_is_what_the_hub_reads() -> None:
    head = DatasetCard(data_card(FACTS, stats())).data.to_dict()
    assert head == {
        "pretty_name": "My set: speech",
        "license": "cc0-1.0",
        "language": ["en", "no"],  # Norwegian, not the boolean
        "task_categories": ["automatic-speech-recognition", "token-classification"],
        "tags": ["speech", "relation-extraction", "speech-relation-extraction", "knowledge-graph", "speechre"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.jsonl"},
                    {"split": "dev", "path": "parts/dev.jsonl"},
                ],
            }
        ],
    }
    assert size_category(1500) == "1K<n<10K"


def test_the_body_tells_what_it_is_and_how_to_load_it() -> None:
    card = data_card(FACTS, stats())
    assert "3 utterances, 0 hours, 3 triplets" in card
    assert "- Relations: `Live_In`" in card
    assert "| Live_In | 3 | 100.0 |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(code, "README.md", "exec")
    assert "read_manifest('train.jsonl')" in code
    own = data_card(replace(FACTS, description="Recorded by hand.", files={"train": "data/train-*.parquet"}), stats())
    assert "Recorded by hand." in own
    assert "read_manifest" not in own


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"license": "CC0 1.0"}, "not as the hub spells it"),
        ({"license": ""}, "not as the hub spells it"),
        ({"languages": ["English"]}, "not an ISO 639 code"),
        ({"files": {"my split": "a"}}, "cannot be called so"),
        ({"files": {"train": "../a.jsonl"}}, "outside the card's folder"),
        ({"files": {"train": "/a.jsonl"}}, "outside the card's folder"),
    ],
)
def test_facts_that_the_hub_would_refuse(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        replace(FACTS, **changes)  # type: ignore[arg-type]
