"""A second listener's transcripts are read beside the model's own, each listener with its share of the belief."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre import Extractor
from speechre.cli import main
from speechre.config import Config
from speechre.data.store import read_manifest
from speechre.decode.transcripts import WeighedTranscript, pooled_transcripts
from speechre.errors import UsageError
from speechre.extract.listener import Listener, mel_of
from speechre.metrics import normalize_text
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.mixture import expected_beliefs
from speechre.reader.reader import TextModel, TextReader
from speechre.types import Triplet
from tests.conftest import noise

BEAMS = 3


@pytest.fixture(scope="module")
def models(
    tiny_model_dir: Path, credulous_reader: TextModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Three folders: one that reads, another network that hears, and one that writes no transcript. Do not change."""
    tiny = load_checkpoint(str(tiny_model_dir))
    other = load_checkpoint(str(tiny_model_dir)).network
    with torch.no_grad():
        other.whisper.encoder.conv1.weight.mul_(-2)
    data = tiny.config.to_dict()
    mute = Config.from_dict({**data, "model": {**data["model"], "transcript": False}})
    folder = tmp_path_factory.mktemp("listeners")
    parts = {
        "reading": (tiny.network, tiny.config, credulous_reader),
        "other": (other, tiny.config, None),
        "mute": (tiny.network, mute, None),
    }
    for name, (network, config, reader) in parts.items():
        named = replace(config, name=name)
        save_checkpoint(folder / name, network, tiny.tokenizer, tiny.schema, named, torch.float32, reader)
    return {name: str(folder / name) for name in parts}


def told(triplets: tuple[Triplet, ...] | None) -> dict[tuple[str, str, str], float]:
    keys = {(normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)): t for t in triplets or ()}
    return {key: t.confidence or 0.0 for key, t in keys.items()}


def test_each_listener_has_its_share_and_a_text_of_both_has_both() -> None:
    first = [WeighedTranscript("Ann Lee", 0.75), WeighedTranscript("Anne Lee", 0.25)]
    second = [WeighedTranscript("Anne Lee", 0.5), WeighedTranscript("Annely", 0.5)]
    pooled = pooled_transcripts(first, second, 0.4)
    assert [one.text for one in pooled] == ["Ann Lee", "Anne Lee", "Annely"]
    assert [one.share for one in pooled] == pytest.approx([0.45, 0.35, 0.2])


def test_the_reader_reads_what_both_heard(models: dict[str, str], manifest: Path) -> None:
    utterances = read_manifest(manifest)
    settings = {"transcript_beams": BEAMS, "second_listener": models["other"], "second_share": 0.3}
    both = Extractor.from_pretrained(models["reading"], **settings)
    alone = Extractor.from_pretrained(models["reading"], transcript_beams=BEAMS)
    listener = Listener(models["other"], "cpu", BEAMS)
    assert both.model_id == f"{alone.model_id}+{listener.model_id}"
    sounds = [noise(2.0, seed) for seed in range(3)]
    heard = listener.transcribe(sounds)
    assert both.checkpoint.reader is not None
    num_other = 0
    for sound, second in zip(sounds, heard, strict=True):
        analysis = next(both.analyze_many([(sound, 16_000)]))[1]
        own = alone.engine.transcribe([mel_of(sound, both.checkpoint)])[0]
        pooled = pooled_transcripts(own, second, 0.3)
        num_other += len({one.text for one in second} - {one.text for one in own})
        expected = expected_beliefs(TextReader(both.checkpoint.reader), [[(o.text, o.share) for o in pooled]])[0]
        assert told(analysis.read) == pytest.approx(told(expected), abs=1e-4)
        assert analysis.transcript == own[0].text  # what is shown and what the orders go on from is the model's own
        assert set(analysis.other_transcripts) == {one.text for one in pooled[1:]}
    assert num_other  # the two networks do hear differently
    extraction = both(utterances)[0]
    assert extraction.model == both.model_id


def test_a_listener_must_write_and_somebody_must_read(models: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"mute@\w+ writes no transcript; choose one that does"):
        Extractor.from_pretrained(models["reading"], second_listener=models["mute"])
    with pytest.raises(UsageError, match=r"other@\w+ has no text reader to read its transcripts"):
        Extractor.from_pretrained(models["other"], second_listener=models["reading"])


def test_a_reader_that_is_switched_off_needs_no_second_listener(models: dict[str, str]) -> None:
    extractor = Extractor.from_pretrained(models["reading"], second_listener="no such model", reader=False)
    assert "+" not in extractor.model_id


def test_from_the_command_line(models: dict[str, str], manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = str(next(iter(read_manifest(manifest))).audio.path)  # type: ignore[union-attr]
    command = ["extract", sound, "--model", models["reading"], "--format", "jsonl"]
    ids = []
    for option in (["--second-listener", models["other"], "--transcript-beams", "2"], ["--second-listener", "none"]):
        assert main([*command, *option]) == 0
        ids.append(json.loads(capsys.readouterr().out)["model"])
    assert "+other@" in ids[0]
    assert "+" not in ids[1]
