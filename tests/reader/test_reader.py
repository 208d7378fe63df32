"""What a text model reads: choice of entities, extractions, model folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre.errors import CheckpointError, UsageError
from speechre.reader.folder import load_text_model, save_text_model
from speechre.reader.reader import TextModel, TextReader, choose_entities
from speechre.schemas import CONLL04
from speechre.types import Extraction, Utterance


@pytest.fixture(scope="module")
def model(credulous_reader: TextModel) -> TextModel:
    return credulous_reader


def read(model: TextModel, texts: list[str], **options: object) -> list[Extraction]:
    reader = TextReader(model, **{"threshold": 0.0, **options})  # type: ignore[arg-type]
    return list(reader.extract(Utterance(f"u{i}", None, text) for i, text in enumerate(texts)))


TEXTS = ["Ann Lee lives in Oslo.", "", "Bo works for Acme and Ann Lee in Bergen.", "Oslo", " ... "]


def rounded(extraction: Extraction) -> list[tuple[object, ...]]:
    return sorted(
        (t.head.text, t.head.type, t.relation, t.tail.text, t.tail.type, round(t.confidence or 0, 4))
        for t in extraction.triplets
    )


def test_of_two_that_overlap_the_surer_one_stays() -> None:
    spans = [(0, 1), (0, 2), (1, 2), (3, 4), (4, 5)]
    probabilities = torch.tensor(
        [[0.1, 0.9, 0.0], [0.05, 0.0, 0.95], [0.0, 0.6, 0.4], [0.2, 0.3, 0.5], [0.5, 0.4, 0.1]]
    )
    assert choose_entities(spans, probabilities) == {(0, 2): 1, (3, 4): 1}
    assert choose_entities([], torch.zeros(0, 3)) == {}


def test_every_utterance_gets_its_extraction(model: TextModel) -> None:
    extractions = read(model, TEXTS)
    assert [(e.id, e.transcript, e.source, e.model) for e in extractions] == [
        (f"u{i}", text, "text", "text") for i, text in enumerate(TEXTS)
    ]
    assert extractions[1].triplets == extractions[3].triplets == extractions[4].triplets == ()
    assert extractions[0].triplets
    for extraction in extractions:
        assert set(extraction.relation_probabilities) == set(CONLL04.relation_types)
        assert len(set(extraction.triplets)) == len(extraction.triplets)
        confidences = [triplet.confidence or 0.0 for triplet in extraction.triplets]
        assert confidences == sorted(confidences, reverse=True)
        for triplet in extraction.triplets:
            for entity in (triplet.head, triplet.tail):
                assert (extraction.transcript or "")[entity.start : entity.end] == entity.text
            highest = extraction.relation_probabilities[triplet.relation]
            assert triplet.confidence is not None
            assert triplet.confidence <= highest


def test_answers_do_not_depend_on_the_batch(model: TextModel) -> None:
    expected = [rounded(extraction) for extraction in read(model, TEXTS, batch_size=1)]
    assert [rounded(e) for e in read(model, TEXTS, batch_size=2)] == expected
    assert [rounded(e) for e in read(model, TEXTS, batch_size=8)] == expected
    assert read(model, TEXTS) == read(model, TEXTS)


def test_the_threshold_and_the_schemas_pairs(model: TextModel) -> None:
    text = ["Ann Lee and Bo works for Acme and lives in Oslo, Bergen."]
    (free,) = read(model, text, check_pairs=False)
    (checked,) = read(model, text)
    allowed = [t for t in free.triplets if CONLL04.allows(t.head.type, t.relation, t.tail.type)]
    assert sorted(map(repr, checked.triplets)) == sorted(map(repr, allowed))
    assert len(allowed) < len(free.triplets)
    middle = sorted(t.confidence or 0.0 for t in free.triplets)[len(free.triplets) // 2]
    (fewer,) = read(model, text, check_pairs=False, threshold=middle)
    assert set(fewer.triplets) == {t for t in free.triplets if (t.confidence or 0.0) >= middle}
    assert not read(model, text, threshold=1.0)[0].triplets


def test_nothing_is_related_to_itself(model: TextModel) -> None:
    (extraction,) = read(model, ["Ann and ann and Ann, ANN."], check_pairs=False)
    assert all(t.head.text.lower() != t.tail.text.lower() for t in extraction.triplets)


def test_the_audio_is_told(model: TextModel, sentences: list[Utterance]) -> None:
    (extraction,) = TextReader(model).extract(sentences[:1])
    assert (extraction.source, extraction.duration_s) == ("u0.wav", 2.5)


def test_a_text_that_is_too_long_is_read_in_part_with_a_warning(model: TextModel) -> None:
    long, short = read(model, ["Ann lives in Oslo. " * 20, "Ann lives in Oslo."])
    assert long.warnings == ("the text is longer than the text encoder's positions; its end was not read",)
    assert short.warnings == ()


def test_a_saved_model_answers_the_same(model: TextModel, tmp_path: Path) -> None:
    save_text_model(tmp_path / "model", model)
    loaded = load_text_model(tmp_path / "model")
    assert loaded.training == model.training
    assert loaded.schema == model.schema
    assert loaded.model_id == f"text@{loaded.weights_sha256[:6]}"
    assert [e.triplets for e in read(loaded, TEXTS)] == [e.triplets for e in read(model, TEXTS)]
    save_text_model(tmp_path / "model", model)  # in the place of the old one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_saving_leaves_other_folders_and_links(model: TextModel, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk", target_is_directory=True)
    for name in ("model.tmp", "model.old", "disk.tmp", "disk.old"):
        (tmp_path / name).mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    for _ in range(2):
        save_text_model(tmp_path / "model", model)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "model").is_symlink()
    assert load_text_model(tmp_path / "disk").training == model.training


def test_a_folder_that_is_no_text_model(model: TextModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(CheckpointError, match="cannot be read as a text model"):
        load_text_model(folder)
    save_text_model(folder, model)
    config = folder / "config.json"
    good = json.loads(config.read_text(encoding="utf-8"))
    for change, problem in (
        ({"model_type": "speechre"}, "model_type is 'speechre'"),
        ({"format": 2}, "of format 1"),
        ({"weights_sha256": "0"}, "not the file that config.json was written for"),
        ({"schema": {}}, "not a complete config"),
        ({"training": {"epochs": 0}}, "not a complete config"),
        ({"encoder": {**good["encoder"], "vocab_size": 3}}, "has shape"),
    ):
        config.write_text(json.dumps({**good, **change}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=problem):
            load_text_model(folder)
    config.write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="model_type is 'list'"):
        load_text_model(folder)
    config.write_text(json.dumps(good), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"\x00")
    with pytest.raises(CheckpointError, match="cannot be read as a text model"):
        load_text_model(folder)


def test_a_model_that_cannot_be_written(model: TextModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="model: cannot be written"):
        save_text_model(tmp_path / "file" / "model", model)


def test_options_out_of_range(model: TextModel) -> None:
    with pytest.raises(UsageError, match=r"threshold 1\.5"):
        TextReader(model, threshold=1.5)
    with pytest.raises(UsageError, match="batch size 0"):
        TextReader(model, batch_size=0)


def test_a_model_that_was_never_saved_has_no_hash(model: TextModel) -> None:
    assert model.model_id == "text"
    assert replace(model, weights_sha256="1a2b3c4d").model_id == "text@1a2b3c"
