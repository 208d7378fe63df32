"""A second listener's transcripts are read beside the model's own, each as far as it is likely."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre import Extractor
from speechre.audio import read_audio
from speechre.cli import main
from speechre.config import Config
from speechre.data.store import read_manifest
from speechre.decode.engine import DecodingEngine
from speechre.decode.readings import Hearing, WeighedTranscript, by_expected_errors, pooled_transcripts
from speechre.decode.search import Generation
from speechre.errors import UsageError
from speechre.evaluate.plain_whisper import Transcriber
from speechre.extract.extractor import with_decoding
from speechre.extract.listener import Listener, mel_of
from speechre.metrics import normalize_text
from speechre.model.adapter import Adapter, save_adapter
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.model.half import has_half_kernel
from speechre.reader.folder import save_text_model
from speechre.reader.mixture import expected_beliefs
from speechre.reader.reader import TextModel, TextReader
from speechre.types import Triplet
from tests.conftest import noise
from tests.tiny import random_adapter

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


def test_a_listener_gains_belief_by_finding_likely_words() -> None:
    first = [WeighedTranscript("Ann Lee", 0.75, math.log(0.06)), WeighedTranscript("Anne Lee", 0.25, math.log(0.02))]
    second = [WeighedTranscript("Anne Lee", 0.5, math.log(0.3)), WeighedTranscript("Annely", 0.5, math.log(0.3))]
    pooled = pooled_transcripts(first, [Hearing(tuple(second), 0.2)])
    beliefs = 0.8 * 0.08 ** (1 / 8), 0.2 * 0.6 ** (1 / 8)
    ours, theirs = (belief / sum(beliefs) for belief in beliefs)
    assert theirs > 0.2
    assert [one.text for one in pooled] == ["Ann Lee", "Anne Lee", "Annely"]
    assert [one.share for one in pooled] == pytest.approx([0.75 * ours, 0.25 * ours + 0.5 * theirs, 0.5 * theirs])


def test_what_came_to_no_end_gives_way_to_what_did() -> None:
    circle = WeighedTranscript("no no no", 1.0, -math.inf)
    pooled = pooled_transcripts([circle], [Hearing((WeighedTranscript("no", 1.0, -90.0),), 0.01)])
    assert [(one.text, one.share) for one in pooled] == [("no no no", 0.0), ("no", 1.0)]
    neither = pooled_transcripts([circle], [Hearing((WeighedTranscript("oh oh oh", 1.0, -math.inf),), 0.25)])
    assert [one.share for one in neither] == pytest.approx([0.75, 0.25])
    assert pooled_transcripts([], [Hearing((), 0.5)]) == ()


def test_the_fewest_errors_are_expected_where_most_agree() -> None:
    odd = WeighedTranscript("Ann Lea lives in Also", 0.375)
    agreed = [WeighedTranscript("Ann Lee lives in Oslo", 0.25), WeighedTranscript("Ann Lee lives in, oslo", 0.125)]
    near = WeighedTranscript("Anne Lee lives in Oslo", 0.25)
    assert by_expected_errors([odd, *agreed, near]) == [*agreed, odd, near]
    # As many errors either way: the earlier comes first.
    assert by_expected_errors([odd, *agreed]) == [odd, *agreed]
    assert by_expected_errors([]) == []


def test_the_reader_reads_what_both_heard(models: dict[str, str], manifest: Path) -> None:
    utterances = read_manifest(manifest)
    settings = {"transcript_beams": BEAMS, "second_listener": models["other"], "second_share": 0.3}
    both = Extractor.from_pretrained(models["reading"], **settings)
    alone = Extractor.from_pretrained(models["reading"], transcript_beams=BEAMS)
    listener = Listener(models["other"], "cpu", both.checkpoint)
    assert both.model_id == f"{alone.model_id}+{listener.model_id}"
    sounds = [noise(2.0, seed) for seed in range(3)]
    heard = listener.transcribe(sounds)
    assert both.checkpoint.reader is not None
    num_other = 0
    for sound, second in zip(sounds, heard, strict=True):
        analysis = next(both.analyze_many([(sound, 16_000)]))[1]
        own = alone.engine.transcribe([mel_of(sound, both.checkpoint)])[0]
        pooled = pooled_transcripts(own, [Hearing(second, 0.3)])
        num_other += len({one.text for one in second} - {one.text for one in own})
        expected = expected_beliefs(TextReader(both.checkpoint.reader), [[(o.text, o.share) for o in pooled]])[0]
        assert told(analysis.read) == pytest.approx(told(expected), abs=1e-4)
        # What is shown and what the orders go on from is what both expect the fewest errors in.
        believed = by_expected_errors(pooled)[0]
        assert analysis.transcript == believed.text
        assert set(analysis.other_transcripts) == {one.text for one in pooled if one is not believed}
    assert num_other  # the two networks do hear differently
    extraction = both(utterances)[0]
    assert extraction.model == both.model_id


def test_a_listener_must_write_and_somebody_must_read(models: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"mute@\w+ writes no transcript; choose one that does"):
        Extractor.from_pretrained(models["reading"], second_listener=models["mute"])
    with pytest.raises(UsageError, match=r"other@\w+ has no text reader to read its transcripts"):
        Extractor.from_pretrained(models["other"], second_listener=models["reading"])


def test_another_listener_stands_in_for_a_transcript_without_an_end(models: dict[str, str]) -> None:
    checkpoint = load_checkpoint(models["reading"])
    config = replace(checkpoint.config.decode, transcript_beams=BEAMS)
    engine = DecodingEngine(checkpoint.network, checkpoint.sequencer(), checkpoint.config.model, config)
    mel = mel_of(noise(2.0, 1), checkpoint)
    (own,) = engine.decode([mel])
    tokenizer = checkpoint.tokenizer

    def heard(text: str, log_prob: float) -> list[list[Hearing]]:
        return [[Hearing((WeighedTranscript(text, 1.0, log_prob),), 0.1)]]

    (sure,) = engine.decode([mel], heard=heard("Ann Lee lives in Oslo.", -0.5))
    assert (sure.transcript, sure.is_transcript_finished) == ("Ann Lee lives in Oslo.", True)
    assert [one.text for one in sure.transcripts[1:]] == [one.text for one in own.transcripts]
    # Told to go on from this text, the engine answers as if it had written it.
    written = Generation(tuple(tokenizer.encode_text(" Ann Lee lives in Oslo.")), 0.0, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._writer, "search", lambda *args: [(written,)])
        (told,) = engine.decode([mel])
    assert sure.generations == told.generations
    assert sure.times == told.times

    with pytest.MonkeyPatch.context() as patch:
        finished = Generation(tuple(tokenizer.encode_text(" And lives in Rome.")), -5.0, True)
        patch.setattr(engine._writer, "search", lambda *args: [(finished,)])
        (kept,) = engine.decode([mel], heard=heard("Ann Lee lives in Oslo.", -0.5))
    assert [one.text for one in kept.transcripts] == ["And lives in Rome.", "Ann Lee lives in Oslo."]
    assert kept.transcript == "And lives in Rome."

    (unsure,) = engine.decode([mel], heard=heard("Ann Lee lives in Oslo.", -math.inf))
    believed = pooled_transcripts(own.transcripts, heard("Ann Lee lives in Oslo.", -math.inf)[0])
    assert unsure.transcript == by_expected_errors(believed)[0].text
    too_long = " ".join(["long"] * 400)
    (long,) = engine.decode([mel], heard=heard(too_long, -0.5))
    likely = by_expected_errors(pooled_transcripts(own.transcripts, heard(too_long, -0.5)[0]))
    assert likely[0].text == too_long
    assert long.transcript == likely[1].text
    assert too_long in {one.text for one in long.transcripts}


def test_a_transcript_without_beams_is_the_models_own(models: dict[str, str]) -> None:
    settings = {"transcript_beams": 1, "second_listener": models["other"]}
    both = Extractor.from_pretrained(models["reading"], **settings, second_share=0.9)
    alone = Extractor.from_pretrained(models["reading"], transcript_beams=1)
    sound = (noise(2.0, 1), 16_000)
    (_, ours), (_, own) = next(both.analyze_many([sound])), next(alone.analyze_many([sound]))
    assert ours.transcript == own.transcript
    assert ours.hypotheses == own.hypotheses
    assert len(ours.other_transcripts) == 1


def test_a_plain_whisper_listens(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    sound = Path(__file__).parents[2] / "samples" / "parker.flac"
    samples = read_audio(sound)
    expected = Transcriber.from_pretrained("tiny.en").transcribe([torch.from_numpy(samples)])
    reading = load_checkpoint(models["reading"])
    for beams in (1, 2):
        decode = replace(reading.config.decode, transcript_beams=beams)
        first = replace(reading, config=replace(reading.config, decode=decode))
        (heard,) = Listener("whisper:tiny.en", "cpu", first).transcribe([samples])
        assert heard[0].text == expected[0]
        assert len(heard) == beams
    command = ["extract", str(sound), "--model", models["reading"], "--format", "jsonl", "--transcript-beams", "2"]
    assert main([*command, "--second-listener", "whisper:tiny.en"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"].endswith("+whisper:tiny.en")
    assert told["transcript"] in {one.text for one in heard}  # the random network's own comes to no end
    assert main([*command, "--second-listener", "whisper:no such"]) == 1
    assert '"no such" is neither a known model, a folder nor a hub id' in capsys.readouterr().err


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


# --- a model that listens with its adapter ---


@pytest.fixture(scope="module")
def adapted(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model that reads, with an adapter that makes it hear something else. Do not change."""
    reading = load_checkpoint(models["reading"])
    folder = tmp_path_factory.mktemp("adapted") / "model"
    save_checkpoint(
        folder,
        reading.network,
        reading.tokenizer,
        reading.schema,
        reading.config,
        torch.float32,
        reading.reader,
        random_adapter(reading.network),
    )
    return str(folder)


def test_a_model_listens_with_its_adapter_too(adapted: str, models: dict[str, str]) -> None:
    checkpoint = load_checkpoint(adapted)
    assert checkpoint.adapter is not None
    changed = replace(checkpoint, network=checkpoint.adapter.applied_to(checkpoint.network))
    sounds = [noise(2.0, seed) for seed in range(3)]
    settings = replace(checkpoint.config.decode, transcript_beams=BEAMS)
    first = replace(checkpoint, config=replace(checkpoint.config, decode=settings))
    engine = DecodingEngine(changed.network, changed.sequencer(), changed.config.model, settings)
    expected = engine.transcribe([mel_of(sound, checkpoint) for sound in sounds])
    for name, told_as in (("adapter:", "adapter"), (f"adapter:{adapted}", f"adapter:{checkpoint.model_id}")):
        listener = Listener(name, "cpu", first)
        assert listener.transcribe(sounds) == expected
        assert listener.model_id == told_as
    alone = DecodingEngine(checkpoint.network, checkpoint.sequencer(), checkpoint.config.model, settings)
    assert alone.transcribe([mel_of(sound, checkpoint) for sound in sounds]) != expected
    both = Extractor.from_pretrained(adapted, transcript_beams=BEAMS, second_listener="adapter:")
    assert both.model_id == f"{checkpoint.model_id}+adapter"
    analysis = next(both.analyze_many([(sounds[0], 16_000)]))[1]
    assert {one.text for one in expected[0]} <= {analysis.transcript, *analysis.other_transcripts}


@pytest.mark.skipif(not has_half_kernel(), reason="without float16 matrices each listener searches by itself")
@pytest.mark.parametrize("second_speeds", [(), (1.0,), (0.9, 1.1)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_model_and_its_adapter_write_in_one_search_what_they_write_apart(
    adapted: str, second_speeds: tuple[float, ...], batch_size: int
) -> None:
    sounds = [(noise(seconds, seed), 16_000) for seed, seconds in enumerate((2.0, 1.1, 3.0))]
    checkpoint = load_checkpoint(adapted)
    assert checkpoint.adapter is not None
    # Large changes would show where they are rounded, and nothing else.
    slight = Adapter({name: (down * 0.1, up) for name, (down, up) in checkpoint.adapter.changes.items()})
    checkpoint = replace(checkpoint, adapter=slight)
    found = []
    for name in ("adapter:", adapted):
        decode = {"transcript_beams": BEAMS, "second_listener": name, "step_weights": "float16", "speeds": [1, 0.9]}
        decode["second_speeds"] = second_speeds
        if name == adapted:  # as a listener of its own
            other = replace(checkpoint, network=slight.applied_to(checkpoint.network), adapter=None)
            folder = Path(adapted).with_name(f"changed-{len(second_speeds)}-{batch_size}")
            parts = other.network, other.tokenizer, other.schema, other.config, torch.float32
            save_checkpoint(folder, *parts)
            decode["second_listener"] = str(folder)
        extractor = Extractor(with_decoding(checkpoint, decode), batch_size=batch_size)
        assert extractor.model_id.endswith("+adapter") == (name == "adapter:")
        found.append([analysis for _, analysis in extractor.analyze_many(sounds)])
        assert extractor.engine.timing.hearings_s > 0 or name == "adapter:"
    for together, apart in zip(*found, strict=True):
        assert together.transcript == apart.transcript
        assert set(together.other_transcripts) == set(apart.other_transcripts)
        assert told(together.read) == pytest.approx(told(apart.read), abs=0.01)
    assert any(analysis.other_transcripts for analysis in found[0])


def test_without_an_adapter_nobody_listens_with_one(models: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r'second listener "adapter:": reading@\w+ has no adapter; choose a model'):
        Extractor.from_pretrained(models["reading"], second_listener="adapter:")
    with pytest.raises(UsageError, match=r"other@\w+ has no adapter"):
        Extractor.from_pretrained(models["reading"], second_listener=f"adapter:{models['other']}")


@pytest.fixture
def reader_dir(credulous_reader: TextModel, tmp_path: Path) -> Path:
    save_text_model(tmp_path / "reader", credulous_reader)
    return tmp_path / "reader"


@pytest.mark.parametrize("listener", [[], ["--second-listener", "adapter:"]])
def test_calibrate_makes_reader_and_adapter_parts_of_the_model(
    tiny_model_dir: Path,
    reader_dir: Path,
    listener: list[str],
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = load_checkpoint(str(tiny_model_dir))
    file, output = tmp_path / "adapter.safetensors", tmp_path / "adapted"
    save_adapter(file, random_adapter(tiny.network))
    command = ["calibrate", str(manifest), "--model", str(tiny_model_dir), "--output", str(output), "--keep-prompts"]
    command += ["--transcript-beams", "2", "--reader", str(reader_dir), "--adapter", str(file)]
    assert main([*command, *listener]) == 0
    found = load_checkpoint(str(output))
    assert found.config.decode.second_listener == "adapter:"
    assert found.adapter is not None
    assert found.adapter.changes.keys() == random_adapter(tiny.network).changes.keys()
    sound = Path(__file__).parents[2] / "samples" / "parker.flac"
    capsys.readouterr()
    assert main(["extract", str(sound), "--model", str(output), "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == f"{found.model_id}+adapter"


def test_another_adapter_leaves_the_listener_that_a_model_has(
    adapted: str, models: dict[str, str], manifest: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(adapted)
    save_adapter(tmp_path / "adapter.safetensors", random_adapter(checkpoint.network, seed=4))
    for name in ("adapter:", models["other"]):
        decode = replace(checkpoint.config.decode, second_listener=name, transcript_beams=2)
        config = replace(checkpoint.config, decode=decode)
        parts = checkpoint.network, checkpoint.tokenizer, checkpoint.schema, config, torch.float32, checkpoint.reader
        folder, output = tmp_path / "start", tmp_path / f"out-{len(name)}"
        save_checkpoint(folder, *parts, checkpoint.adapter)
        command = ["calibrate", str(manifest), "--model", str(folder), "--output", str(output), "--keep-prompts"]
        assert main([*command, "--adapter", str(tmp_path / "adapter.safetensors")]) == 0
        found = load_checkpoint(str(output))
        assert found.config.decode.second_listener == name
        assert found.adapter is not None
        assert checkpoint.adapter is not None
        one, other = (next(iter(each.adapter.changes.values())) for each in (found, checkpoint) if each.adapter)
        assert not torch.equal(one[0], other[0])


def test_an_adapter_of_another_network_is_refused_before_anything_is_heard(
    models: dict[str, str], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "adapter.safetensors", tmp_path / "adapted"
    save_adapter(file, Adapter({"whisper.encoder.layers.9.fc1": (torch.ones(2, 64), torch.ones(128, 2))}))
    command = ["calibrate", str(manifest), "--model", models["reading"], "--output", str(output)]
    assert main([*command, "--adapter", str(file)]) == 1
    said = capsys.readouterr().err
    assert (
        f"{file}: changes whisper.encoder.layers.9.fc1, a matrix of (128, 64), which in this model is missing" in said
    )
    assert not output.exists()
