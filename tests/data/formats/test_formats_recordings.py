"""Recordings that an import or export writes: never over another, and none before it is sure that all have a place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechre.audio import read_audio_ref
from speechre.cli import main
from speechre.data.formats.carry import to_carry
from speechre.data.formats.huggingface import from_row, to_row
from speechre.data.formats.recordings import is_written, write_recordings
from speechre.data.formats.table import FORMATS, ExportOptions, ImportOptions
from speechre.data.store import read_manifest, write_manifest
from speechre.data.validate import validate_manifest
from speechre.errors import DataError, UsageError
from speechre.types import AudioRef, Utterance
from tests.conftest import noise

Capture = pytest.CaptureFixture[str]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def swapped(manifest: Path) -> Path:
    """The manifest with the recordings of its first two utterances swapped: u0 names u1.wav, u1 names u0.wav."""
    first, second, *rest = read_manifest(manifest)
    pair = [replace(first, audio=second.audio), replace(second, audio=first.audio)]
    write_manifest(manifest, [*pair, *rest])
    return manifest


# --- the one piece of code ---


def test_recordings_are_made_only_when_they_are_needed(tmp_path: Path) -> None:
    made: list[str] = []

    def content(name: str) -> Callable[[], bytes]:
        def make() -> bytes:
            made.append(name)
            return name.encode()

        return make

    (tmp_path / "b").write_bytes(b"b")
    recordings = [(tmp_path / name, content(name)) for name in "abc"]
    write_recordings(recordings)
    assert made == ["b", "a", "c"]
    assert contents(tmp_path) == {"a": b"a", "b": b"b", "c": b"c"}


def test_another_recording_is_refused_before_the_first_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"another")
    with pytest.raises(UsageError) as caught:
        write_recordings([(tmp_path / "a", lambda: b"a"), (tmp_path / "b", lambda: b"b")], "--worklist")
    assert str(caught.value) == (
        f"{tmp_path / 'b'} is another recording of that name; choose an empty folder for --worklist"
    )
    assert contents(tmp_path) == {"b": b"another"}


def test_one_place_is_not_given_to_two_recordings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a is another recording of that name"):
        write_recordings([(tmp_path / "a", lambda: b"1"), (tmp_path / "a", lambda: b"2")])
    assert contents(tmp_path) == {"a": b"1"}


def test_a_folder_in_the_place_of_a_recording(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match=r"a: cannot be read: .*; choose an empty folder for --audio-output"):
        is_written(tmp_path / "a", lambda: b"1")


# --- speechre-json ---


def export_json(manifest: Path, target: Path, audio: Path, *options: str) -> int:
    arguments = ["data", "export", "speechre-json", str(manifest), "--output", str(target)]
    return main([*arguments, "--audio-output", str(audio), *options])


def test_sources_are_not_written_over(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    audio, target = manifest.parent / "audio", tmp_path / "x.json"
    swapped(manifest)
    before = contents(tmp_path)
    assert export_json(manifest, target, audio) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"UsageError: {audio / 'u0.wav'} is another recording of that name; choose an empty folder for --audio-output"
    )
    assert contents(tmp_path) == before
    assert export_json(manifest, target, tmp_path / "new") == 0
    assert (tmp_path / "new" / "u0.wav").read_bytes() == before["audio/u1.wav"]
    assert (tmp_path / "new" / "u1.wav").read_bytes() == before["audio/u0.wav"]


def test_the_last_recording_is_looked_at_before_the_first_is_written(
    manifest: Path, tmp_path: Path, make_sound: Callable[..., Path], capsys: Capture
) -> None:
    theirs = make_sound("new/u2.wav", 0.3, 9)
    before = contents(tmp_path)
    assert export_json(manifest, tmp_path / "x.json", theirs.parent) == 2
    assert f"{theirs} is another recording" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_the_same_set_is_exported_again(manifest: Path, tmp_path: Path) -> None:
    *others, last = read_manifest(manifest)
    assert last.audio is not None
    write_manifest(manifest, [*others, replace(last, audio=replace(last.audio, start_s=0.25, duration_s=0.5))])
    audio, target = tmp_path / "new", tmp_path / "x.json"
    assert export_json(manifest, target, audio) == 0
    assert sorted(contents(audio)) == ["u0.wav", "u1.wav", "u2.flac"]
    first = contents(tmp_path)
    assert export_json(manifest, target, audio, "--plain") == 0
    assert {f"new/{name}": sound for name, sound in contents(audio).items()}.items() <= first.items()
    assert export_json(manifest, target, audio) == 0
    assert contents(tmp_path) == first
    assert export_json(manifest, target, manifest.parent / "audio") == 0  # whole files, each its own copy


# --- commonvoice-speechre ---


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Two splits of an utterance each, as the data set comes."""
    folder = tmp_path / "cv"
    (folder / "audio_npy").mkdir(parents=True)
    for seed, (split, name) in enumerate({"train": "a", "dev": "b"}.items()):
        item = {"sentence": "x", "audio_id": name, "data_annotation": []}
        (folder / f"{split}.json").write_text(json.dumps([item]))
        np.save(folder / "audio_npy" / f"{name}.npy", noise(0.3, seed))
    return folder


def import_arrays(folder: Path, audio: Path) -> int:
    output = folder.parent / "m.jsonl"
    arguments = ["data", "import", "commonvoice-speechre", str(folder), "--output", str(output)]
    return main([*arguments, "--audio-output", str(audio)])


def test_an_import_writes_over_no_other_recording(
    arrays: Path, tmp_path: Path, make_sound: Callable[..., Path], capsys: Capture
) -> None:
    theirs = make_sound("mine/b.flac", 0.3, 9)
    before = contents(tmp_path)
    assert import_arrays(arrays, theirs.parent) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"UsageError: {theirs} is another recording of that name; choose an empty folder for --audio-output"
    assert contents(tmp_path) == before


def test_the_same_set_is_imported_again(arrays: Path, tmp_path: Path) -> None:
    assert import_arrays(arrays, tmp_path / "new") == 0
    first = contents(tmp_path)
    assert {"new/a.flac", "new/b.flac", "m.jsonl"} <= set(first)
    assert import_arrays(arrays, tmp_path / "new") == 0
    assert contents(tmp_path) == first
    (a, b) = read_manifest(tmp_path / "m.jsonl")
    for utterance, seed in ((a, 0), (b, 1)):
        assert utterance.audio is not None
        sound, _ = soundfile.read(utterance.audio.path, dtype="float32")
        assert np.allclose(sound, noise(0.3, seed), atol=1.2e-7)


def test_an_id_of_two_splits_is_found_before_a_recording_is_written(arrays: Path, tmp_path: Path) -> None:
    (arrays / "dev.json").write_text((arrays / "train.json").read_text())
    with pytest.raises(DataError, match='audio_id "a" stands in train and dev'):
        FORMATS["commonvoice-speechre"].read(arrays, ImportOptions(audio_output=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


# --- huggingface, whose rows embed recordings under names of their own ---


def test_an_embedded_recording_replaces_no_other(
    manifest: Path, tmp_path: Path, make_sound: Callable[..., Path], capsys: Capture
) -> None:
    pytest.importorskip("pyarrow")
    assert main(["data", "export", "huggingface", str(manifest), "--output", str(tmp_path / "hf")]) == 0
    theirs = make_sound("mine/u1.wav", 0.3, 9)
    before = theirs.read_bytes()
    arguments = ["data", "import", "huggingface", str(tmp_path / "hf"), "--output", str(tmp_path / "m.jsonl")]
    capsys.readouterr()
    assert main([*arguments, "--audio-output", str(theirs.parent)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("DataError: ")
    assert f": row 2: {theirs} is another recording of that name; choose an empty folder" in line
    assert theirs.read_bytes() == before
    for _ in range(2):
        assert main([*arguments, "--audio-output", str(tmp_path / "new")]) == 0


def through_parquet(utterances: list[Utterance], folder: Path, **options: bool) -> tuple[list[str], list[Utterance]]:
    """What the writer says, and what the reader reads, twice: the recordings are there the second time."""
    pytest.importorskip("pyarrow")
    fmt = FORMATS["huggingface"]
    notes = fmt.write(folder / "hf", utterances, ExportOptions(**options))
    first, second = (fmt.read(folder / "hf", ImportOptions(audio_output=folder / "new")) for _ in range(2))
    assert first == second
    return notes, first.utterances


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("duration_s", [0.5, None])
def test_an_embedded_window_is_the_whole_of_its_file(
    duration_s: float | None, is_plain: bool, make_sound: Callable[..., Path], tmp_path: Path
) -> None:
    audio = AudioRef(str(make_sound("talk.wav", 3.0)), 2.25, duration_s)
    heard = read_audio_ref(audio)
    notes, (back,) = through_parquet([Utterance("u", audio, "x")], tmp_path, is_plain=is_plain)
    assert back.audio is not None
    assert (back.audio.start_s, back.audio.duration_s) == (0.0, duration_s)
    assert np.array_equal(read_audio_ref(back.audio), heard)
    write_manifest(tmp_path / "back.jsonl", [back])
    assert [issue.code for issue in validate_manifest(tmp_path / "back.jsonl")] == []
    assert "1 recordings are windows of longer files; they were cut out as FLAC" in notes


def test_a_window_that_an_earlier_export_kept_beside_the_cut_sound_is_not_used(
    make_sound: Callable[..., Path], tmp_path: Path
) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = to_row(Utterance("u", AudioRef(str(make_sound("talk.wav", 3.0)), 2.25, 0.5), "x"))
    plain = from_row(row, folder=tmp_path, audio_output=tmp_path / "old")
    assert plain.audio is not None
    was = replace(plain, audio=replace(plain.audio, start_s=2.25), split="train")
    (tmp_path / "hf").mkdir()
    rows = [row | {"speechre": json.dumps(to_carry(was, plain))}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "hf" / "part.parquet")
    options = ImportOptions(audio_output=tmp_path / "new")
    (back,) = FORMATS["huggingface"].read(tmp_path / "hf", options).utterances
    assert (back.audio.start_s, back.audio.duration_s, back.split) == (0.0, 0.5, "train")


def test_recordings_of_one_name_get_names_of_their_own(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    """Also where letter case does not count, where an id is the name of another, and where an id names no file."""
    names = {"a": "s1/001.wav", "b": "s2/001.wav", "c": "s3/B.wav", "d": "s4/d.wav", "e/1": "s5/001.wav"}
    utterances = [
        Utterance(name, AudioRef(str(make_sound(path, 0.3, seed))), "x")
        for seed, (name, path) in enumerate(names.items())
    ]
    _, back = through_parquet(utterances, tmp_path)
    assert [Path(u.audio.path).name for u in back] == ["001.wav", "b.wav", "c.wav", "d.wav", "001-2.wav"]
    for old, new in zip(utterances, back, strict=True):
        assert new.id == old.id
        assert Path(new.audio.path).read_bytes() == Path(old.audio.path).read_bytes()


def test_rows_of_others_may_share_a_file_name(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    """As where somebody embedded s1/001.wav and s2/001.wav; without ids the second is called after its row."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = [make_sound(f"{n}.wav", 0.3, n).read_bytes() for n in range(2)]
    for ids, expected in ((["x", "y"], ["x", "y"]), ([None, None], ["001", "train-2"])):
        rows = [
            {"id": name, "audio": {"bytes": content, "path": "001.wav"}, "text": "Hi."}
            for name, content in zip(ids, contents, strict=True)
        ]
        source, audio = tmp_path / "train.parquet", tmp_path / str(ids[0])
        parquet.write_table(pa.Table.from_pylist(rows), source)
        for _ in range(2):
            back = FORMATS["huggingface"].read(source, ImportOptions(audio_output=audio)).utterances
            assert [u.id for u in back] == expected
            assert [Path(u.audio.path).read_bytes() for u in back] == contents
        assert sorted(path.name for path in audio.iterdir()) == ["001.wav", f"{expected[1]}.wav"]


# --- ids that are no file names ---


@pytest.mark.parametrize("name", ["speechre-json", "commonvoice-speechre"])
@pytest.mark.parametrize("options", [[], ["--plain"]], ids=" ".join)
@pytest.mark.parametrize("utterance_id", ["spk1/utt1", "spk1\\utt1"])
def test_an_id_with_a_slash_is_refused_by_name(
    name: str, options: list[str], utterance_id: str, manifest: Path, tmp_path: Path, capsys: Capture
) -> None:
    *others, last = read_manifest(manifest)
    write_manifest(manifest, [*others, replace(last, id=utterance_id)])
    target = tmp_path / "out" / "x"
    assert main(["data", "export", name, str(manifest), "--output", str(target), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f'DataError: utterance "{utterance_id}": {name} finds recordings by their id, a file name without folders; '
        "give the utterance an id without slashes"
    )
    assert not target.parent.exists()


def test_an_id_that_only_the_copy_cannot_have(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    utterance = Utterance("a:b", AudioRef(str(make_sound())), "x")
    write = FORMATS["speechre-json"].write
    assert write(tmp_path / "x.json", [utterance], ExportOptions())
    with pytest.raises(DataError, match="the id 'a:b' cannot name a file"):
        write(tmp_path / "y.json", [utterance], ExportOptions(audio_output=tmp_path / "new"))
    assert not (tmp_path / "new").exists()
