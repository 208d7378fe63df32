"""benchmarks/recordings.py and benchmarks/evidence.py, on a tiny model and spoken tones."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from speechre.audio import read_audio
from speechre.data.store import read_manifest
from speechre.decode.alignment import TranscriptTimes
from speechre.decode.engine import Decoded
from speechre.errors import DataError
from speechre.extract.extractor import Extractor
from speechre.types import Entity, Triplet
from tests.tiny import tones


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_recordings_measures_a_long_recording_and_nothing_at_all(
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, made, path = load("recordings"), load("recordings_made"), tmp_path / "report.json"
    monkeypatch.setattr(made, "PAUSES_S", (12.0, 13.0))  # three short utterances, twice, make more than a minute
    monkeypatch.setattr(made, "synthesize", lambda text, voice, speed: tones(len(text), len(text) / 16))
    options = ["--model", str(tiny_model_dir), "--minutes", "1", "--nothing-minutes", "0.6", "--json", str(path)]
    options += ["--threads", "1"]
    monkeypatch.setattr("sys.argv", ["recordings.py", str(manifest), *options, "--folder", str(tmp_path / "made")])
    script.main()
    report = json.loads(path.read_text())
    long, alone = report["long"]
    assert (report["num_utterances"], report["num_different_utterances"]) == (5, 3)
    assert long["audio_s"] > 60
    assert long["num_chunks"] >= 2
    assert long["num_triplets"] >= long["num_nowhere"]
    assert list(long["peak_mib_at_minute"]) == ["1"]
    assert 0 < long["before_mib"] <= long["peak_mib_at_minute"]["1"] <= long["peak_mib"]
    assert alone["audio_s"] == pytest.approx(0.4 + 0.7 + 1.0)
    nothing = {row["recording"]: row["num_chunks"] for row in report["nothing"]}
    assert list(nothing) == [*made.NOTHING, script.SPEECH]
    assert [nothing[name] for name in ("silence", "white noise", "tones: a held chord")] == [0, 0, 0]
    shown = capsys.readouterr().out
    assert "| all in one | energy |" in shown
    assert re.search(rf"^\| {script.SPEECH} \| energy \| \d+ s \| [1-9]\d* \|", shown, re.MULTILINE)
    assert re.search(r"\(\d+ cores\), Python 3\.", shown)
    assert (tmp_path / "made" / "long.flac").is_file()


def test_a_long_recording_s_utterances_lie_where_they_were_put(manifest: Path, tmp_path: Path) -> None:
    made, utterances = load("recordings_made"), read_manifest(manifest)
    placed = made.write_utterances(tmp_path / "long.flac", utterances, 0.2, 1)
    assert placed == made.write_utterances(tmp_path / "again.flac", utterances, 0.2, 1)
    assert len({one.id for one in placed}) == len(placed) > 3
    first_three = {one.utterance.id for one in placed[:3]}
    assert first_three == {utterance.id for utterance in utterances}, "each comes once before one comes again"
    sound = read_audio(tmp_path / "long.flac")
    for one in placed:
        assert one.utterance.audio is not None
        speech = read_audio(one.utterance.audio.path)
        start = round(one.start_s * 16_000)
        assert np.abs(sound[start : start + len(speech)] - speech).max() < 0.01
        assert one.end_s == pytest.approx(one.start_s + len(speech) / 16_000)
    with pytest.raises(DataError, match="no utterance with a recording"):
        made.write_utterances(tmp_path / "none.flac", [], 0.2, 1)


def test_a_triplet_belongs_to_the_utterance_in_which_it_was_said() -> None:
    script, made = load("recordings"), load("recordings_made")
    placed = [made.Placed("a", None, 0.0, 4.0), made.Placed("b", None, 4.2, 6.0), made.Placed("c", None, 9.0, 12.0)]

    def at(start_s: float, end_s: float) -> str:
        ends = [Entity(str(second), start_s=second, end_s=second) for second in (start_s, end_s)]
        return script.owner(Triplet(ends[0], "r", ends[1]), placed)

    assert [at(1, 2), at(4.0, 4.6), at(5, 6), at(9, 11)] == ["a", "b", "b", "c"]
    assert at(7, 8) == script.NOWHERE
    assert at(5.5, 7.2) == "b"  # not far out


def test_scores_count_an_utterance_as_often_as_it_was_said(manifest: Path) -> None:
    script, made = load("recordings"), load("recordings_made")
    first, second, quiet = read_manifest(manifest)
    placed = [
        made.Placed(name, one, 0.0, 1.0) for name, one in (("1", first), ("2", first), ("3", second), ("4", quiet))
    ]
    found = {"1": first.triplets, script.NOWHERE: second.triplets}
    assert script.scores(placed, found) == pytest.approx({"precision": 0.5, "recall": 1 / 3, "f1": 0.4})


def test_memory_is_told_by_the_minute() -> None:
    script = load("recordings")
    memory = [(30.0, 100.0), (70.0, 120.0), (290.0, 130.0), (310.0, 131.0), (400.0, 140.0)]
    assert script.peaks(memory, 400.0) == {1: 120.0, 5: 131.0}
    assert script.peaks([(700.0, 90.0)], 700.0) == {1: 90.0, 5: 90.0, 10: 90.0}


def test_evidence_measures_the_distance_to_where_things_were_said(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("evidence")

    def tone(text: str, voice: str) -> np.ndarray:
        return np.full(len(text.strip(".,")) * 1600, 0.5, np.float32)  # a tenth of a second a letter

    monkeypatch.setattr(script, "synthesize", tone)
    known = script.by_parts([("Ann", True), (" lives in ", False), ("Oslo", True), (".", False)], "any:voice")
    assert known.entities["Ann"] == pytest.approx((0.0, 0.3))
    assert known.entities["Oslo"] == pytest.approx((1.2, 1.6))
    times = TranscriptTimes((0, 4, 10, 13, 17, 18), (0.1, 0.4, 0.9, 1.3, 1.7, 1.75))
    heard = Decoded("Ann lives in Oslo.", True, {}, {}, times)
    extractor = Extractor.from_pretrained(tiny_model_dir)
    monkeypatch.setattr(extractor.engine, "decode", lambda mels: [heard])
    errors = script.errors_s(extractor, [known], None)
    assert errors == [pytest.approx((0.1, 0.1)), pytest.approx((0.1, 0.1))]
    assert script.summary(errors)["median_s"] == pytest.approx(0.1)
    assert script.summary([*errors, (0.5, -0.5)])["share_under_0.2_s"] == pytest.approx(2 / 3)
