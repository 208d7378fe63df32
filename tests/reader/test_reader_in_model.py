"""A text reader as part of a speech model: trained, put into the folder, loaded, voting."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from speechre import Extractor
from speechre.cli import main
from speechre.data.store import read_manifest
from speechre.errors import CheckpointError, UsageError
from speechre.metrics import normalize_text
from speechre.model.bfloat16 import RoundedLinear
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.folder import load_text_model
from speechre.reader.reader import TextModel, TextReader
from speechre.reader.run import train_reader
from speechre.reader.training import TextTraining
from speechre.schemas import CONLL04, load_schema

TEXTS = ["Ann Lee lives in Oslo.", "", "Bo works for Acme and Ann Lee in Bergen.", "Oslo", " ... "]


@pytest.fixture(scope="module")
def reader(credulous_reader: TextModel) -> TextModel:
    return credulous_reader


@pytest.fixture(scope="module")
def model_dir(tiny_model_dir: Path, reader: TextModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with that reader, in 8-bit weights. Do not change it."""
    tiny = load_checkpoint(str(tiny_model_dir))
    folder = tmp_path_factory.mktemp("models") / "with-reader"
    save_checkpoint(folder, tiny.network, tiny.tokenizer, tiny.schema, tiny.config, torch.int8, reader)
    return folder


# -- beliefs


def test_beliefs_are_probabilities_of_what_the_schema_allows_said_of_two_places(reader: TextModel) -> None:
    beliefs = TextReader(reader).beliefs(TEXTS)
    assert [len(one) > 0 for one in beliefs] == [True, False, True, False, False]
    for text, read in zip(TEXTS, beliefs, strict=True):
        confidences = [triplet.confidence or 0.0 for triplet in read]
        assert confidences == sorted(confidences, reverse=True)
        assert all(0.02 <= confidence <= 1 for confidence in confidences)
        keys = [(normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)) for t in read]
        assert len(keys) == len(set(keys))
        for triplet in read:
            assert CONLL04.allows(triplet.head.type, triplet.relation, triplet.tail.type)
            for entity in (triplet.head, triplet.tail):
                assert text[entity.start : entity.end] == entity.text
            head, tail = ((entity.start or 0, entity.end or 0) for entity in (triplet.head, triplet.tail))
            assert head[1] <= tail[0] or tail[1] <= head[0]


def test_a_belief_does_not_depend_on_the_other_texts(reader: TextModel) -> None:
    together = TextReader(reader).beliefs(TEXTS)
    alone = [TextReader(reader).beliefs([text])[0] for text in TEXTS]
    assert together == alone
    assert [t.confidence for t in together[2]] == pytest.approx([t.confidence for t in alone[2]], abs=1e-5)


def test_a_transcript_that_is_missing_holds_nothing(reader: TextModel) -> None:
    assert TextReader(reader).beliefs([None]) == [()]


def test_beliefs_in_bfloat16_are_nearly_those_in_float32_and_the_model_stays_as_it_was(reader: TextModel) -> None:
    before = {name: tensor.clone() for name, tensor in reader.network.state_dict().items()}
    exact, rough = ([*TextReader(one).beliefs(TEXTS)[0]] for one in (reader, reader.in_bfloat16()))
    of = {(t.head, t.relation, t.tail): t.confidence for t in rough}
    common = [(t.confidence, of[t.head, t.relation, t.tail]) for t in exact if (t.head, t.relation, t.tail) in of]
    assert len(common) > 0.9 * len(exact) > 0
    ours, theirs = zip(*common, strict=True)
    assert ours == pytest.approx(theirs, abs=0.02)
    assert ours != theirs
    after = reader.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("hearing", "kind"), [("float32", nn.Linear), ("bfloat16", RoundedLinear)])
def test_what_is_heard_in_bfloat16_is_read_in_it(model_dir: Path, hearing: str, kind: type[nn.Module]) -> None:
    reader = Extractor.from_pretrained(model_dir, hearing=hearing)._reader
    assert reader is not None
    linears = [one for one in reader.model.network.encoder.modules() if isinstance(one, nn.Linear)]
    assert len(linears) > 5
    assert {type(one) for one in linears} == {kind}


# -- in a model folder


def test_the_reader_comes_back_from_the_models_folder(model_dir: Path, reader: TextModel) -> None:
    loaded = load_checkpoint(str(model_dir)).reader
    assert loaded is not None
    assert (loaded.name, loaded.schema, loaded.training) == (reader.name, reader.schema, reader.training)
    for name, tensor in reader.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor, atol=0.02, rtol=0.02)


def test_it_votes_and_can_be_told_not_to(model_dir: Path, tiny_model_dir: Path, manifest: Path) -> None:
    utterances = read_manifest(manifest)
    with_reader, without = (Extractor.from_pretrained(model_dir, threshold=0.0, reader=on) for on in (True, False))
    analyses = [analysis for _, analysis in with_reader.analyze_many(utterances)]
    assert all(analysis.read is not None for analysis in analyses)
    assert with_reader.checkpoint.reader is not None
    read = TextReader(with_reader.checkpoint.reader).beliefs([a.transcript for a in analyses])
    for analysis, beliefs in zip(analyses, read, strict=True):
        keys = {(normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)) for t in analysis.triplets}
        for t in beliefs:
            assert (normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)) in keys
    assert all(analysis.read is None for _, analysis in without.analyze_many(utterances))


def test_what_only_the_reader_found_is_told(model_dir: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor.from_pretrained(model_dir, threshold=0.4)
    assert extractor.checkpoint.reader is not None
    belief = TextReader(extractor.checkpoint.reader).beliefs([TEXTS[0]])[0][0]
    sure = replace(belief, confidence=1.0)
    monkeypatch.setattr(TextReader, "beliefs", lambda self, texts: [(sure,)] * len(texts))
    (told, *_) = extractor(read_manifest(manifest))
    found = {t: t for t in told.triplets}[sure]
    assert found.confidence is not None
    assert found.confidence >= 0.5
    assert (found.votes, found.orders) == (0, ())


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (lambda f: (f / "reader_tokenizer.json").unlink(), "reader_tokenizer.json is missing"),
        (lambda f: edit(f, lambda data: data.pop("reader")), "says nothing of the reader"),
        (lambda f: edit(f, lambda data: data["reader"].pop("encoder")), "not a complete config of a text model"),
        (lambda f: edit(f, lambda data: data["reader"]["encoder"].update(hidden_size=32)), "has shape"),
        (
            lambda f: edit(f, lambda data: data["reader"].update(schema=load_schema("retacred").to_dict())),
            "expected",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(fault: object, named: str, model_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "broken"))
    fault(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(str(folder))


def edit(folder: Path, change: object) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)  # type: ignore[operator]
    path.write_text(json.dumps(data), encoding="utf-8")


# -- from the command line


def test_from_annotated_texts_to_a_model_that_reads(
    manifest: Path, tiny_model_dir: Path, bert_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcripts = tmp_path / "heard.jsonl"
    transcripts.write_text('{"id": "u0", "transcript": "Anne Lee lives in Oslo."}\n')
    trained, output = tmp_path / "reader", tmp_path / "model"
    command = ["train-reader", str(manifest), "--output", str(trained), "--encoder", str(bert_dir), "--epochs", "2"]
    assert main([*command, "--text", "both", "--transcripts", str(transcripts), "--name", "mine"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{trained}\n"
    assert "mine: 3 texts" in printed.err  # two gold ones, for one sentence is in two utterances, and one heard
    assert load_text_model(trained).name == "mine"
    calibrate = ["calibrate", str(manifest), "--model", str(tiny_model_dir), "--output", str(output), "--json"]
    calibrate += ["--beams", "4", "--num-orders", "2", "--weights", "int8"]
    assert main([*calibrate, "--reader", str(trained)]) == 0
    found = json.loads(capsys.readouterr().out)
    checkpoint = load_checkpoint(str(output))
    assert checkpoint.reader is not None
    assert list(checkpoint.config.decode.reader_calibration) == found["reader_calibration"]
    assert len(found["reader_calibration"]) == 3
    assert main(["evaluate", str(manifest), "--model", str(output), "--json"]) == 0
    assert main(["evaluate", str(manifest), "--model", str(output), "--json", "--no-reader"]) == 0
    capsys.readouterr()
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_reader_goes_on_from_another_or_from_a_models_own(
    manifest: Path, model_dir: Path, bert_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    rates = ["--epochs", "1", "--learning-rate", "1e-9", "--head-learning-rate", "1e-9"]
    command = ["train-reader", str(manifest), *rates]
    assert main([*command, "--encoder", str(bert_dir), "--output", str(first)]) == 0
    twice = ["train-reader", str(manifest), str(manifest), "--repeats", "2", "1", *rates]
    assert main([*twice, "--start-from", str(first), "--output", str(second)]) == 0
    assert "reader: 6 texts" in capsys.readouterr().err  # two texts, twice and once
    assert main([*command, "--start-from", str(model_dir), "--output", str(third)]) == 0

    def state(model: TextModel | None) -> dict[str, torch.Tensor]:
        assert model is not None
        return dict(model.network.state_dict())

    # With rates of next to nothing, what comes out is what went in.
    for came, went in (
        (load_text_model(second), load_text_model(first)),
        (load_text_model(third), load_checkpoint(str(model_dir)).reader),
    ):
        assert came.training.encoder == (went.training.encoder if went else None)
        ours, theirs = state(came), state(went)
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--start-from", "MODEL"], "has no text reader"),
        (["--repeats", "1", "2"], "2 numbers for 1 manifests"),
        (["--start-from", "READER", "--schema", "retacred"], "another schema"),
    ],
)
def test_what_cannot_be_gone_on_from_is_named(
    extra: list[str],
    named: str,
    manifest: Path,
    tiny_model_dir: Path,
    model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"MODEL": str(tiny_model_dir), "READER": str(model_dir)}
    command = ["train-reader", str(manifest), "--output", str(tmp_path / "new")]
    assert main([*command, *(places.get(one, one) for one in extra)]) == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(
    bert_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "new"
    assert main(["train-reader", str(tmp_path / "no.jsonl"), "--output", str(output)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{output}: cannot be written: {output.parent} is a file, not a folder" in said
    with pytest.raises(UsageError, match="cannot be written"):  # before it finds that there is nothing to train on
        train_reader(TextTraining(encoder=str(bert_dir)), CONLL04, [], "gold", None, output, "new", lambda line: None)


@pytest.mark.parametrize("extra", [["--text", "both"], ["--transcripts", "t.jsonl"]])
def test_transcripts_and_text_go_together(
    extra: list[str], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-reader", str(manifest), "--output", str(tmp_path / "new"), *extra]) == 2
    assert "--text gold has no use for them" in capsys.readouterr().err
