"""Every format of the table: out and back is the same manifest, byte by byte; what a format cannot hold is said."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechre.audio import read_audio
from speechre.data.formats.carry import PARTS, differences
from speechre.data.formats.table import FORMATS, ExportOptions, Format, ImportOptions
from speechre.data.store import read_manifest, write_manifest
from speechre.errors import UsageError
from speechre.types import AudioRef, Entity, Relation, Utterance
from tests.conftest import noise

SAMPLES = Path(__file__).parents[3] / "samples" / "samples.jsonl"
WITH_SOUND = ("commonvoice-speechre", "huggingface")  # the recordings themselves go through these
formats = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)


def out_and_back(fmt: Format, utterances: list[Utterance], folder: Path, plain: bool = False) -> tuple[list[str], list]:
    """What the writer says, and what the reader reads."""
    target = folder / "train.json" if fmt.place == "file" else folder / fmt.name
    notes = fmt.write(target, utterances, ExportOptions(is_plain=plain))
    audio = folder / "audio" if fmt.name in WITH_SOUND else None
    return notes, fmt.read(target, ImportOptions(audio_output=audio)).utterances


def said_in(notes: list[str]) -> set[str]:
    parts = set(re.findall(r"[:,] ([a-z ]+) \(\d+\)", " ".join(notes)))
    assert parts <= set(PARTS)
    return parts


def without_paths(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    for record in records:
        del record["audio"]["path"]
    return records


@formats
def test_the_samples_come_back_byte_by_byte(fmt: Format, tmp_path: Path) -> None:
    utterances = read_manifest(SAMPLES)
    _, back = out_and_back(fmt, utterances, tmp_path)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    write_manifest(before, utterances)
    write_manifest(after, back)
    if fmt.name in WITH_SOUND:
        assert without_paths(after) == without_paths(before)
        for old, new in zip(utterances, back, strict=True):
            assert np.array_equal(read_audio(new.audio.path), read_audio(old.audio.path))
    else:
        assert after.read_bytes() == before.read_bytes()


@formats
def test_without_our_field_exactly_what_was_named_is_lost(fmt: Format, tmp_path: Path) -> None:
    utterances = read_manifest(SAMPLES)
    notes, back = out_and_back(fmt, utterances, tmp_path, plain=True)
    by_id = {utterance.id: utterance for utterance in back}
    lost = set().union(*(differences(utterance, by_id[utterance.id]) for utterance in utterances))
    said = said_in(notes) - {"utterance sequence"}
    assert lost == said
    assert lost <= set(fmt.lacks)
    assert all("left out" in note for note in notes)


# --- any utterance at all ---

names = st.sampled_from(["Ann", "Oslo", "New  York", "the <obj> Co.", "N.C.", "ß\tx", "Ann Lee", "’s-Hertogenbosch"])
fillers = st.sampled_from([" lives in ", ", ", " \n", "\u2028", " . ", "--", "\t", " <triplet> "])


@st.composite
def annotated(draw: st.DrawFn, number: int, audio: AudioRef) -> Utterance:
    text, entities = draw(st.sampled_from(["", " ", "In "])), []
    for index in range(draw(st.integers(0, 4))):
        name = draw(names)
        start = len(text)
        text += name + draw(fillers)
        kind = draw(st.sampled_from(["Peop", "Loc", "per:title"]))
        has_span = draw(st.booleans()) or text.count(name) > 1
        span = (start, start + len(name)) if has_span else (None, None)
        time = draw(st.sampled_from([None, 0.25]))
        entities.append(Entity(name, kind, draw(st.sampled_from([f"e{index}", f"x {index}"])), *span, time, time))
    ids = [entity.id for entity in entities]
    pairs = st.tuples(st.sampled_from(ids), st.sampled_from(ids), st.sampled_from(["Live_In", "org:founded_by"]))
    relations = draw(st.lists(pairs, max_size=4)) if ids else []
    # Found again in the text must be what was meant, or the writers that need spans refuse.
    entities = [e if e.start is not None or text.count(e.text) == 1 else replace(e, text="Ann") for e in entities]
    return Utterance(
        f"u{number}",
        audio,
        text,
        tuple(e for e in entities if e.start is not None or e.text in text),
        tuple(Relation(*pair) for pair in relations),
        draw(st.sampled_from([None, "train", "dev"])),
        draw(st.sampled_from([None, "s1", "flite:slt"])),
        draw(st.sampled_from([{}, {"k": [1, None]}, {"nemo": {"lang": "en"}}])),
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a b.wav"
    soundfile.write(path, noise(2.0), 16_000, subtype="PCM_16")
    return path


def is_sound(utterance: Utterance) -> bool:
    """Whether it is an utterance that formats with spans can hold."""
    ids = [e.id for e in utterance.entities]
    related = {i for r in utterance.relations for i in (r.head_id, r.tail_id)}
    return len(set(ids)) == len(ids) and related <= set(ids)


@formats
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_manifest_comes_back(fmt: Format, sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    windows = [AudioRef(str(sound)), AudioRef(str(sound), 0.0, 2.0), AudioRef(str(sound), 0.5, 0.7513)]
    utterances = []
    for number in range(data.draw(st.integers(1, 3))):
        audio = data.draw(st.sampled_from(windows[:2] if fmt.name in WITH_SOUND else windows))
        drawn = data.draw(annotated(9 - number, audio).filter(is_sound))
        if any(e.start is None and drawn.text.count(e.text) != 1 for e in drawn.entities):
            drawn = replace(drawn, entities=(), relations=())
        utterances.append(drawn)
    shutil.rmtree(tmp_path / fmt.name, ignore_errors=True)
    shutil.rmtree(tmp_path / "audio", ignore_errors=True)
    notes, back = out_and_back(fmt, utterances, tmp_path)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    write_manifest(before, utterances)
    write_manifest(after, back)
    assert without_paths(after) == without_paths(before)
    assert said_in(notes) <= set(fmt.lacks)


# --- the recordings ---


def test_arrays_hold_the_samples(sound: Path, tmp_path: Path) -> None:
    window = Utterance("u1", AudioRef(str(sound), 0.5, 1.0), "Ann", split="dev")
    fmt = FORMATS["commonvoice-speechre"]
    notes = fmt.write(tmp_path / "cv", [window], ExportOptions())
    assert "audio windows (1)" in notes[0]
    array = np.load(tmp_path / "cv" / "audio_npy" / "u1.npy")
    assert (array.dtype, array.shape) == (np.float32, (16_000,))
    (back,) = fmt.read(tmp_path / "cv" / "dev.json", ImportOptions(audio_output=tmp_path / "flac")).utterances
    assert (back.audio.start_s, back.audio.duration_s, back.split) == (0.0, 1.0, "dev")
    assert np.array_equal(read_audio(back.audio.path), array)


def test_arrays_that_are_not_16_bit_lose_less_than_a_24th_bit(tmp_path: Path) -> None:
    folder = tmp_path / "cv"
    (folder / "audio_npy").mkdir(parents=True)
    loud = noise(0.5) * 1.0001
    loud[100] = 1.25
    np.save(folder / "audio_npy" / "a.npy", loud)
    (folder / "test.json").write_text('[{"sentence": "x", "audio_id": "a", "data_annotation": []}]')
    imported = FORMATS["commonvoice-speechre"].read(folder, ImportOptions(audio_output=tmp_path / "flac"))
    assert imported.notes == ["1 recordings had samples beyond full scale, which were clipped"]
    path = imported.utterances[0].audio.path
    assert soundfile.info(path).subtype == "PCM_24"
    assert np.abs(read_audio(path) - np.clip(loud, -1, 1)).max() <= 2**-23  # the highest of 24 bits


def test_recordings_are_copied_by_id_and_windows_cut(sound: Path, tmp_path: Path) -> None:
    utterances = [Utterance("whole", AudioRef(str(sound)), "a"), Utterance("cut", AudioRef(str(sound), 0.5, 1.0), "b")]
    fmt = FORMATS["speechre-json"]
    notes = fmt.write(tmp_path / "train.json", utterances, ExportOptions(audio_output=tmp_path / "audio"))
    assert notes[-1] == "1 recordings are windows of longer files; they were cut out as FLAC"
    assert (tmp_path / "audio" / "whole.wav").read_bytes() == sound.read_bytes()
    assert np.array_equal(read_audio(tmp_path / "audio" / "cut.flac"), read_audio(sound)[8000:24000])
    back = fmt.read(tmp_path / "train.json", ImportOptions(audio_dirs=(tmp_path / "audio",))).utterances
    assert [(u.id, u.speaker, u.audio.start_s) for u in back] == [("whole", None, 0.0), ("cut", None, 0.0)]


@formats
def test_recordings_that_moved_are_found_by_name(fmt: Format, tmp_path: Path) -> None:
    if "audio_dirs" not in fmt.import_options or fmt.name in (*WITH_SOUND, "speechre-json"):
        pytest.skip("names no recordings, or holds them")
    here = tmp_path / "here" / "x.wav"
    here.parent.mkdir()
    soundfile.write(here, noise(0.5), 16_000)
    target = tmp_path / "train.json" if fmt.place == "file" else tmp_path / fmt.name
    fmt.write(target, [Utterance("u", AudioRef(str(here)), "Ann")], ExportOptions())
    there = tmp_path / "there" / "x.wav"
    there.parent.mkdir()
    here.rename(there)
    with pytest.raises(Exception, match=r"no recording .*--audio DIR"):
        fmt.read(target, ImportOptions())
    (silent,) = fmt.read(target, ImportOptions(allow_missing_audio=True)).utterances
    assert silent.audio is None
    (found,) = fmt.read(target, ImportOptions(audio_dirs=(there.parent,))).utterances
    assert found.audio.path == str(there)


@pytest.mark.parametrize("name", WITH_SOUND)
def test_files_of_an_earlier_export_do_not_stay(name: str, sound: Path, tmp_path: Path) -> None:
    one = Utterance("u", AudioRef(str(sound)), "Ann", split="dev")
    FORMATS[name].write(tmp_path, [one], ExportOptions())
    FORMATS[name].write(tmp_path, [one], ExportOptions())
    with pytest.raises(UsageError, match=r"dev.* from another export would stay"):
        FORMATS[name].write(tmp_path, [replace(one, split="train")], ExportOptions())
