"""The formats against the libraries that own them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechre.audio import read_audio
from speechre.data.formats.huggingface import features, from_row, to_row
from speechre.data.formats.table import FORMATS, ExportOptions, ImportOptions
from speechre.data.store import read_manifest
from speechre.errors import DataError
from speechre.types import AudioRef, Utterance

SAMPLES = Path(__file__).parents[3] / "samples" / "samples.jsonl"
# Both libraries warn about their own dependencies' future; that is not ours to fail on.
pytestmark = pytest.mark.filterwarnings("ignore")


def triplets(utterances: list) -> list[list[tuple[str, str, str]]]:
    return [[(t.head.text, t.relation, t.tail.text) for t in u.triplets] for u in utterances]


# --- Lhotse ---


def test_lhotse_reads_what_we_write(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    utterances = read_manifest(SAMPLES)
    FORMATS["lhotse"].write(tmp_path, utterances, ExportOptions())
    recordings = lhotse.RecordingSet.from_file(tmp_path / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(tmp_path / "supervisions.jsonl.gz")
    lhotse.validate(recordings)
    lhotse.validate(supervisions)
    cuts = list(lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions))
    assert len(cuts) == len(utterances)
    for cut, utterance in zip(cuts, utterances, strict=True):
        (supervision,) = cut.supervisions
        assert (supervision.id, supervision.text, supervision.speaker) == (
            utterance.id,
            utterance.text,
            utterance.speaker,
        )
        assert np.allclose(cut.load_audio()[0], read_audio(utterance.audio.path), atol=1e-6)


def test_we_read_what_lhotse_wrote(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    utterances = read_manifest(SAMPLES)
    FORMATS["lhotse"].write(tmp_path / "ours", utterances, ExportOptions())
    for kind, cls in (("recordings", lhotse.RecordingSet), ("supervisions", lhotse.SupervisionSet)):
        cls.from_file(tmp_path / "ours" / f"{kind}.jsonl.gz").to_file(tmp_path / f"mine_{kind}_dev.jsonl.gz")
    back = FORMATS["lhotse"].read(tmp_path, ImportOptions()).utterances
    assert back == utterances
    assert [[(e.id, e.start) for e in u.entities] for u in back] == [
        [(e.id, e.start) for e in u.entities] for u in utterances
    ]


def test_lhotse_reads_our_kaldi_folder(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    utterances = read_manifest(SAMPLES)
    FORMATS["kaldi"].write(tmp_path, utterances, ExportOptions())
    recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(tmp_path, 16_000)
    assert len(recordings) == len(supervisions) == len(utterances)
    for utterance in utterances:
        found = supervisions[utterance.id]
        assert (found.text, found.speaker) == (utterance.text, utterance.speaker)
        assert (found.start, found.duration) == (0.0, pytest.approx(utterance.audio.duration_s, abs=1e-3))


def test_we_read_the_kaldi_folder_that_lhotse_wrote(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    utterances = read_manifest(SAMPLES)
    FORMATS["lhotse"].write(tmp_path / "l", utterances, ExportOptions())
    recordings = lhotse.RecordingSet.from_file(tmp_path / "l" / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(tmp_path / "l" / "supervisions.jsonl.gz")
    lhotse.kaldi.export_to_kaldi(recordings, supervisions, tmp_path / "k", map_underscores_to=None)
    back = {u.text: u for u in FORMATS["kaldi"].read(tmp_path / "k", ImportOptions()).utterances}
    assert len(back) == len(utterances)
    for utterance in utterances:
        found = back[utterance.text]
        assert (found.speaker, Path(found.audio.path)) == (utterance.speaker, Path(utterance.audio.path))


# --- Hugging Face datasets ---


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


def load(datasets: Any, folder: Path) -> Any:
    data = datasets.load_dataset("parquet", data_files=str(folder / "data" / "*.parquet"), split="train")
    assert data.features["audio"] == datasets.Audio()  # declared by the file
    return data.cast_column("audio", datasets.Audio(decode=False))


def test_datasets_reads_our_parquet_without_a_decoder(datasets: Any, tmp_path: Path) -> None:
    utterances = read_manifest(SAMPLES)
    FORMATS["huggingface"].write(tmp_path / "ours", utterances, ExportOptions())
    data = load(datasets, tmp_path / "ours")
    assert data.column_names == list(features())
    for row, utterance in zip(data, utterances, strict=True):
        assert row["audio"]["bytes"] == Path(utterance.audio.path).read_bytes()
        assert [(e["text"], e["type"], e["start"]) for e in row["entities"]] == [
            (e.text, e.type, e.start) for e in utterance.entities
        ]
        assert len(row["relations"]) == len(utterance.relations)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_we_read_what_datasets_wrote(kind: str, datasets: Any, tmp_path: Path) -> None:
    utterances = read_manifest(SAMPLES)
    FORMATS["huggingface"].write(tmp_path / "ours", utterances, ExportOptions())
    data = load(datasets, tmp_path / "ours").add_column("accent", ["us"] * len(utterances))
    theirs = tmp_path / "train"
    if kind == "parquet":
        theirs.mkdir()
        data.to_parquet(str(theirs / "train-00000-of-00001.parquet"))
    else:
        data.save_to_disk(str(theirs))
    back = FORMATS["huggingface"].read(theirs, ImportOptions(audio_output=tmp_path / "audio", split="dev")).utterances
    assert triplets(back) == triplets(utterances)
    assert {u.split for u in back} == {"dev"}
    for old, new in zip(utterances, back, strict=True):
        assert Path(new.audio.path).read_bytes() == Path(old.audio.path).read_bytes()


def test_rows_in_memory_with_paths_or_bytes(datasets: Any, tmp_path: Path) -> None:
    utterances = read_manifest(SAMPLES)
    for as_path in (True, False):
        rows = [to_row(utterance, audio_as_path=as_path) for utterance in utterances]
        # As docs/formats.md shows it: the library's own encoder of the Audio feature wants torchcodec, a cast does not.
        struct = {key: {"dtype": kind, "_type": "Value"} for key, kind in (("bytes", "binary"), ("path", "string"))}
        schema = datasets.Features.from_dict(features() | {"audio": struct})
        data = datasets.Dataset.from_list([row | {"speechre": None} for row in rows], features=schema)
        data = data.cast_column("audio", datasets.Audio(decode=False))
        out = tmp_path / "audio"
        back = [from_row(row, folder=tmp_path, audio_output=out) for row in data]
        assert back == [
            type(old)(**{f: getattr(old, f) for f in old.__slots__} | {"audio": new.audio})
            for old, new in zip(utterances, back, strict=True)
        ]
        assert all(u.audio.path.startswith(str(out)) != as_path for u in back)


def test_columns_of_others_are_kept_or_understood(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = Path(read_manifest(SAMPLES)[0].audio.path).read_bytes()
    row = {"audio": {"bytes": content, "path": "clips/a.flac"}, "sentence": "Hi.", "client_id": "c1", "up_votes": 2}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "validation.parquet")
    (found,) = FORMATS["huggingface"].read(tmp_path, ImportOptions(audio_output=tmp_path / "a")).utterances
    assert (found.id, found.text, found.speaker, found.split) == ("a", "Hi.", "c1", "validation")
    assert found.extra == {"huggingface": {"up_votes": 2}}
    assert found.audio.path == str(tmp_path / "a" / "a.flac")


def test_embedded_bytes_that_are_no_recording(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"id": "x", "audio": {"bytes": b"RIFFjunk", "path": "../../x.wav"}, "text": "Hi."}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: row 1: the embedded x\.wav"):
        FORMATS["huggingface"].read(tmp_path, ImportOptions(audio_output=tmp_path / "a"))


def parquet_rows(folder: Path, *parts: list[dict[str, Any]]) -> Path:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number, rows in enumerate(parts):
        name = f"train-{number:05}-of-{len(parts):05}.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder


def test_recordings_without_any_name_are_called_after_their_rows(tmp_path: Path) -> None:
    """Many data sets of the hub are bytes and a sentence; the rows are counted on over a split's files."""
    utterances = read_manifest(SAMPLES)[:3]
    contents = [Path(u.audio.path).read_bytes() for u in utterances]
    rows = [{"audio": {"bytes": content, "path": None}, "sentence": "Hi."} for content in contents]
    folder = parquet_rows(tmp_path, rows[:2], rows[2:])
    found = FORMATS["huggingface"].read(folder, ImportOptions(audio_output=tmp_path / "a")).utterances
    assert [u.id for u in found] == ["train-1", "train-2", "train-3"]
    assert [Path(u.audio.path).read_bytes() for u in found] == contents
    assert [Path(u.audio.path).name for u in found] == ["train-1.flac", "train-2.flac", "train-3.flac"]
    with pytest.raises(ValueError, match=r'no "id", and the embedded recording has no "path".*; add a column "id"'):
        from_row(rows[0], folder=folder, audio_output=tmp_path / "a")


@pytest.mark.parametrize("row", [{"id": "a/b", "path": None}, {"id": "x", "path": "what?.wav"}])
def test_a_name_that_no_file_can_have_is_told_with_its_row(row: dict[str, Any], tmp_path: Path) -> None:
    content = Path(read_manifest(SAMPLES)[0].audio.path).read_bytes()
    good = {"id": "ok", "audio": {"bytes": content, "path": "ok.flac"}, "text": "Hi."}
    bad = {"id": row["id"], "audio": {"bytes": content, "path": row["path"]}, "text": "Hi."}
    folder = parquet_rows(tmp_path, [good, bad])
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: row 2: the id .* cannot name a file; give"):
        FORMATS["huggingface"].read(folder, ImportOptions(audio_output=tmp_path / "a"))


# --- NeMo: its manifests are JSON lines that its own loader reads key by key ---


def test_nemo_lines_have_its_keys(tmp_path: Path) -> None:
    FORMATS["nemo"].write(tmp_path / "m.json", read_manifest(SAMPLES), ExportOptions(is_plain=True))
    rows = [json.loads(line) for line in (tmp_path / "m.json").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("audio_filepath", "duration", "text", "speaker")}
    assert all(Path(row["audio_filepath"]).is_absolute() for row in rows)


def test_nemo_ids_pass_over_the_names_of_other_recordings(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    names = ["talk.wav", "talk.wav", "talk.wav", "talk-2.wav", "a/talk-3.flac", "talk-2.wav", "b/talk.wav"]
    rows = [{"audio_filepath": name, "offset": number / 2} for number, name in enumerate(names)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = FORMATS["nemo"].read(path, ImportOptions(allow_missing_audio=True)).utterances
    assert [u.id for u in found] == ["talk", "talk-4", "talk-5", "talk-2", "talk-3", "talk-2-2", "talk-6"]


def test_nemo_out_and_back_where_names_clash(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    sounds = [AudioRef(str(make_sound(name))) for name in ("talk.wav", "talk-2.wav")]
    windows = [sounds[0], AudioRef(sounds[0].path, 0.1, 0.2), sounds[1]]
    utterances = [Utterance(utterance_id, audio, "Hi.") for utterance_id, audio in zip("abc", windows, strict=True)]
    for is_plain, ids in ((True, ["talk", "talk-3", "talk-2"]), (False, ["a", "b", "c"])):
        FORMATS["nemo"].write(tmp_path / "m.json", utterances, ExportOptions(is_plain=is_plain))
        assert [u.id for u in FORMATS["nemo"].read(tmp_path / "m.json", ImportOptions()).utterances] == ids
