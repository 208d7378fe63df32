"""benchmarks/reading.py, and the sentences that it reads."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from speechre.data.store import read_manifest, write_manifest
from speechre.metrics import Counts
from speechre.schemas import CONLL04
from speechre.types import Utterance
from tests.reader.conftest import annotate


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("reading")


@pytest.fixture
def sentences(script: ModuleType) -> list[Utterance]:
    return read_manifest(script.SENTENCES)


def test_the_sentences_are_well_made(sentences: list[Utterance]) -> None:
    assert len({utterance.text for utterance in sentences}) == 240
    assert set(Counter(utterance.extra["register"] for utterance in sentences).values()) == {20}
    assert sum(not utterance.relations for utterance in sentences) == 120
    for utterance in sentences:
        for entity in utterance.entities:
            assert utterance.text[entity.start : entity.end] == entity.text, utterance.id
        for triplet in utterance.triplets:
            assert CONLL04.allows(triplet.head.type, triplet.relation, triplet.tail.type), utterance.id


def test_no_sentence_is_one_of_the_training_corpus(sentences: list[Utterance]) -> None:
    """Nor a template filled in: no eight words in a row stand in both."""
    corpus = Path(__file__).parents[2] / "scripts" / "wide-corpus"
    templates = " ".join(path.read_text(encoding="utf-8") for path in sorted(corpus.glob("*.txt"))).lower()
    assert templates
    for utterance in sentences:
        words = utterance.text.lower().split()
        for start in range(len(words) - 7):
            assert " ".join(words[start : start + 8]) not in templates, utterance.id


def test_what_is_measured(script: ModuleType) -> None:
    ends = {"Ann": "Peop", "Rome": "Loc", "Bonn": "Loc"}
    two = annotate("a", "Ann of Rome and Bonn", ends, ("Ann", "Live_In", "Rome"), ("Ann", "Live_In", "Bonn"))
    none = annotate("b", "Ann saw Rome and Bonn", ends)
    utterances = [replace(two, extra={"register": "talk"}), replace(none, extra={"register": "news"})]
    right, wrong = two.triplets[0], replace(two.triplets[0], head=two.triplets[1].tail, relation="Located_In")
    row = script.measure(utterances, {"a": [right], "b": [wrong]})
    assert (row["num_hits"], row["num_predicted"], row["num_gold"]) == (1, 2, 2)
    assert row["registers"] == {"talk": Counts(1, 1, 2).to_dict(), "news": Counts(0, 1, 0).to_dict()}
    assert (row["num_false_alarms"], row["num_relation_free"], row["num_utterances"]) == (1, 1, 2)
    assert row["intervals"]["f1"][0] <= row["f1"] <= row["intervals"]["f1"][1]


def test_the_shipped_reader_reads_a_manifest(
    script: ModuleType, sentences: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [utterance for utterance in sentences if utterance.id in ("read-001", "read-113")]
    write_manifest(tmp_path / "few.jsonl", few)
    figures = tmp_path / "figures.json"
    assert script.main([str(tmp_path / "few.jsonl"), "--mistakes", "--json", str(figures)]) == 0
    (row,) = json.loads(figures.read_text())["rows"]
    assert row["num_utterances"] == len(few) == 2
    assert f"| few.jsonl | speechre-tiny-conll04 | 2 | {100 * row['f1']:.1f} (" in capsys.readouterr().out
