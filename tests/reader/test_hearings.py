"""A recording is heard at several speeds, and the reader reads what was heard at any of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechre import Extractor
from speechre.cli import main
from speechre.data.store import read_manifest
from speechre.decode.memory import predicted_growth_mib
from speechre.decode.readings import Hearing, by_expected_errors, pooled_transcripts
from speechre.errors import ConfigError
from speechre.extract.hearings import FurtherHearings
from speechre.extract.listener import Listener, mel_of
from speechre.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from speechre.reader.mixture import expected_beliefs
from speechre.reader.reader import TextModel, TextReader
from speechre.samples import at_speed
from tests.conftest import noise

BEAMS = 3
SLOWER = 0.8
MELS = [torch.full((80, 2), float(i)) for i in range(3)]  # as good as any: only an adapter hears these again


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path, credulous_reader: TextModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a reader. Do not change."""
    tiny = load_checkpoint(str(tiny_model_dir))
    folder = tmp_path_factory.mktemp("hearings") / "reading"
    decode = replace(tiny.config.decode, transcript_beams=BEAMS)
    config = replace(tiny.config, name="reading", decode=decode)
    save_checkpoint(folder, tiny.network, tiny.tokenizer, tiny.schema, config, reader=credulous_reader)
    return str(folder)


def checkpoint_at(model: str, *speeds: float) -> Checkpoint:
    checkpoint = load_checkpoint(model)
    config = replace(checkpoint.config, decode=replace(checkpoint.config.decode, speeds=speeds))
    return replace(checkpoint, config=config)


def test_slower_is_longer_and_lower() -> None:
    tone = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000).astype(np.float32)
    slow = at_speed(tone, SLOWER)
    assert slow.dtype == np.float32
    assert len(slow) == 20_000
    spectrum = np.abs(np.fft.rfft(slow))
    assert np.argmax(spectrum) * 16_000 / len(slow) == pytest.approx(440 * SLOWER, abs=1)


def test_the_reader_reads_what_was_heard_at_each_speed(model: str) -> None:
    both = Extractor(checkpoint_at(model, 1.0, SLOWER))
    alone = Extractor(checkpoint_at(model, 1.0))
    assert both.checkpoint.reader is not None
    num_new = 0
    for seed in range(3):
        sound = noise(2.0, seed)
        analysis = next(both.analyze_many([(sound, 16_000)]))[1]
        first, slower = (
            alone.engine.transcribe([mel_of(samples, both.checkpoint)])[0]
            for samples in (sound, at_speed(sound, SLOWER))
        )
        pooled = pooled_transcripts(first, [Hearing(slower, 0.5)])
        num_new += len({one.text for one in slower} - {one.text for one in first})
        assert analysis.transcript == by_expected_errors(pooled)[0].text
        assert {analysis.transcript, *analysis.other_transcripts} == {one.text for one in pooled}
        (expected,) = expected_beliefs(TextReader(both.checkpoint.reader), [[(o.text, o.share) for o in pooled]])
        assert analysis.read is not None
        assert [t.confidence for t in analysis.read] == pytest.approx([t.confidence for t in expected], abs=1e-4)
    assert num_new  # other things are heard at another speed


def test_belief_in_a_listener_is_divided_over_its_hearings(model: str) -> None:
    checkpoint = checkpoint_at(model, 1.0, SLOWER)
    decode = replace(checkpoint.config.decode, second_share=0.4)
    checkpoint = replace(checkpoint, config=replace(checkpoint.config, decode=decode))
    listener = Listener(model, "cpu", checkpoint)
    short, long = noise(1.0, 1), noise(26.0, 2)  # 26 s are 32.5 at this speed
    hearings = FurtherHearings(checkpoint, listener, is_read=True)
    (replay,) = hearings.replays([long, short], MELS[:2])
    assert (replay.utterance, replay.share) == (1, pytest.approx(0.3))
    assert torch.equal(replay.mel, mel_of(at_speed(short, SLOWER), checkpoint))
    of_short, of_long = hearings.by_the_second([short, long])
    assert [one.share for one in of_short] == pytest.approx([0.2, 0.2])
    assert [one.share for one in of_long] == [0.4]
    for heard, sound in zip(of_short, (short, at_speed(short, SLOWER)), strict=True):
        # Beside a neighbour sums are rounded otherwise.
        alone = listener.transcribe([sound])[0]
        assert [one.text for one in heard.readings] == [one.text for one in alone]
        assert [one.share for one in heard.readings] == pytest.approx([one.share for one in alone], abs=1e-5)
    slower_only = replace(decode, second_speeds=(SLOWER,))
    elsewhere = replace(checkpoint, config=replace(checkpoint.config, decode=slower_only))
    apart = FurtherHearings(elsewhere, listener, is_read=True)
    assert [replay.share for replay in apart.replays([long, short], MELS[:2])] == [pytest.approx(0.3)]
    of_short, of_long = apart.by_the_second([short, long])
    assert [one.share for one in of_short] == [0.4]
    assert [one.text for one in of_short[0].readings] == [
        one.text for one in listener.transcribe([at_speed(short, SLOWER)])[0]
    ]
    assert of_long == []
    unread = FurtherHearings(checkpoint, listener, is_read=False)
    assert (unread.replays([short], MELS[:1]), unread.by_the_second([short])) == ([], [[]])
    once = FurtherHearings(checkpoint_at(model, 1.0), None, is_read=True)
    assert (once.replays([short], MELS[:1]), once.by_the_second([short])) == ([], [[]])


def test_an_adapter_hears_the_same_features_again(model: str) -> None:
    checkpoint = checkpoint_at(model, 1.0, SLOWER)
    decode = replace(checkpoint.config.decode, second_share=0.4)
    checkpoint = replace(checkpoint, config=replace(checkpoint.config, decode=decode))
    short, long = noise(1.0, 1), noise(26.0, 2)
    hearings = FurtherHearings(checkpoint, None, is_read=True, is_changed=True)
    replays = hearings.replays([long, short], MELS[:2])
    found = [(replay.utterance, replay.is_changed, replay.share) for replay in replays]
    of_itself, of_its_adapter = [(1, False, 0.3)], [(0, True, 0.4), (1, True, 0.2), (1, True, 0.2)]
    assert found == [(i, changed, pytest.approx(share)) for i, changed, share in (*of_itself, *of_its_adapter)]
    assert replays[1].mel is MELS[0]
    assert replays[2].mel is MELS[1]
    assert torch.equal(replays[3].mel, mel_of(at_speed(short, SLOWER), checkpoint))
    unread = FurtherHearings(checkpoint, None, is_read=False, is_changed=True)
    assert unread.replays([short], MELS[:1]) == []


@pytest.mark.parametrize("rows_at_once", [40, 6])  # 6: two sounds a search
@pytest.mark.parametrize("longest_s", [26.0, 3.0])  # 26 s are too long to be heard slower
@pytest.mark.parametrize("transcript_beams", [1, BEAMS])
def test_replays_are_heard_as_apart(
    model: str, transcript_beams: int, longest_s: float, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechre.decode.transcripts.ROWS_AT_ONCE", rows_at_once)
    checkpoint = checkpoint_at(model, 1.0, SLOWER)
    decode = replace(checkpoint.config.decode, transcript_beams=transcript_beams)
    checkpoint = replace(checkpoint, config=replace(checkpoint.config, decode=decode))
    engine = Extractor(checkpoint).engine
    sounds = [noise(1.0, 1), noise(longest_s, 2), noise(2.0, 3)]
    mels = [mel_of(sound, checkpoint) for sound in sounds]
    replays = FurtherHearings(checkpoint, None, is_read=True).replays(sounds, MELS)
    assert [replay.utterance for replay in replays] == ([0, 2] if longest_s > 24 else [0, 1, 2])
    heard: list[list[Hearing]] = [[] for _ in sounds]
    for replay in replays:
        heard[replay.utterance].append(Hearing(engine.transcribe([replay.mel])[0], replay.share))
    together, apart = engine.decode(mels, replays=replays), engine.decode(mels, heard=heard)
    for one, other in zip(together, apart, strict=True):
        assert one.transcript == other.transcript
        assert one.times == other.times
        assert {o: [g.ids for g in gs] for o, gs in one.generations.items()} == {
            o: [g.ids for g in gs] for o, gs in other.generations.items()
        }
        assert [t.text for t in one.transcripts] == [t.text for t in other.transcripts]
        shares = [[t.share for t in decoded.transcripts] for decoded in (one, other)]
        assert shares[0] == pytest.approx(shares[1], abs=1e-4)


def test_memory_is_planned_for_all_hearings_of_the_slowest(model: str) -> None:
    checkpoint = checkpoint_at(model, 1.0, 0.5)
    sizes, config = checkpoint.network.config, checkpoint.config
    usual = replace(config.decode, speeds=(1.0,))
    twice = predicted_growth_mib(sizes, config.model, config.decode, 2, 10.0)
    as_long = predicted_growth_mib(sizes, config.model, usual, 2, 20.0)
    as_many = predicted_growth_mib(sizes, config.model, usual, 4, 20.0)
    assert as_long < twice
    assert as_many < twice < 1.3 * as_many
    unread, usual_unread = replace(config.decode, reader=False), replace(usual, reader=False)
    assert predicted_growth_mib(sizes, config.model, unread, 2, 10.0) == predicted_growth_mib(
        sizes, config.model, usual_unread, 2, 10.0
    )


def test_from_the_command_line(model: str, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = str(next(iter(read_manifest(manifest))).audio.path)  # type: ignore[union-attr]
    command = ["extract", sound, "--model", model, "--format", "jsonl"]
    told = []
    for option in (["--speeds", "1,0.8,1.25"], ["--speeds", "1"], []):
        assert main([*command, *option]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] != told[1]
    assert told[1] == told[2]  # the model's own setting
    assert main([*command, "--speeds", "1;0.9"]) == 2
    assert 'got "1;0.9", expected numbers with commas between them' in capsys.readouterr().err


@pytest.mark.parametrize("speeds", [(), (0.9,), (1.0, 1.0), (1.0, 0.4), (1.0, 2.5)])
def test_speeds_that_make_no_sense(model: str, speeds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"decode\.speeds is \(.*\); expected 1 first, then others from 0\.5 to 2"):
        Extractor.from_pretrained(model, speeds=speeds)
