"""The data card is read back by the library that owns its form."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

import speechre.data.card
from speechre.data.card import CardFacts, data_card, size_category
from speechre.data.formats.huggingface import features
from speechre.data.formats.table import FORMATS, ExportOptions
from speechre.data.stats import manifest_stats
from speechre.data.store import read_manifest
from speechre.errors import UsageError
from speechre.types import Entity, Relation, Utterance

SAMPLES = Path(__file__).parents[2] / "samples" / "samples.jsonl"
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
    assert "| `split`, `speaker` |" in card
    other = data_card(replace(FACTS, description="Recorded by hand.", files={"train": "train.csv"}), stats())
    assert "Recorded by hand." in other
    assert "# Format" not in other
    assert "# Loading" not in other


def test_the_body_of_parquet_files_has_their_columns_and_loads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    FORMATS["huggingface"].write(tmp_path, read_manifest(SAMPLES), ExportOptions())
    splits = sorted({utterance.split or "train" for utterance in read_manifest(SAMPLES)})
    files = {split: f"data/{split}-*.parquet" for split in splits}
    card = data_card(replace(FACTS, files=files), stats())
    assert set(re.findall(r"`(\w+)`(?=[^|]*\| )", card.split("# Format")[1].split("# ")[0])) >= set(features())
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "burr Aaron Burr shot" in capsys.readouterr().out


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
