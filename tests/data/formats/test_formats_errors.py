"""Faults of foreign files: a DataError with file and line, whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechre.data.formats.recordings import safe_name
from speechre.data.formats.table import FORMATS, ExportOptions, ImportOptions, format_named
from speechre.data.store import read_manifest
from speechre.errors import AudioError, DataError, UsageError
from speechre.types import AudioRef, Entity, Utterance

SAMPLES = Path(__file__).parents[3] / "samples" / "samples.jsonl"
TSV = "id\taudio\tduration_ms\tn_frames\ttgt_text\tspeaker\ttgt_lang\n"


def fault(name: str, content: str, tmp_path: Path, file: str = "train.json") -> str:
    path = tmp_path / file
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        FORMATS[name].read(
            path, ImportOptions(allow_missing_audio="allow_missing_audio" in FORMATS[name].import_options)
        )
    return str(caught.value).removeprefix(str(tmp_path) + "/")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("nemo", '{"audio_filepath": "a.wav"}\n{"text": 1}\n', 'train.json:2: no "audio_filepath"'),
        ("nemo", '{"audio_filepath": "a.wav"}\nx\n', "train.json:2: not JSON"),
        (
            "nemo",
            '{"audio_filepath": "a.wav", "duration": "9"}\n',
            "train.json:1: \"duration\" is '9'; expected a number",
        ),
        ("nemo", "[1]\n", "train.json:1: '[1]'; expected an object"),
        ("nemo", "\n", "train.json: holds no utterance"),
        ("nemo", '{"audio_filepath": "a.wav", "speechre": 5}', 'train.json:1 (utterance "a"): "speechre" is 5'),
        ("rebel", '{"id": "u"}', 'train.json:1: no "triplets"'),
        ("rebel", '{"triplets": "Ann <subj> Oslo"}', 'train.json:1: the target begins with "Ann"; expected <triplet>'),
        ("rebel", '{"triplets": "<triplet> Ann <subj> Oslo"}', "ends within a triplet"),
        ("rebel", '{"triplets": "<triplet> Ann <subj> <obj> r"}', "has an empty tail"),
        ("rebel", "<triplet> Ann <peop> Oslo <loc> Live_In", "train.json:1: the target has <peop> and <loc>"),
        ("rebel", '{"id": "u", "triplets": ""}\n{"id": "u", "triplets": ""}', "its id stands at "),
        ("spert", '[\n{"tokens": ["a"]},\n\n{"tokens": "a"}]', 'train.json:4: "tokens" is not a list of words'),
        ("spert", '[{"tokens": ["a"], "entities": [{"type": "T", "start": 1, "end": 1}]}]', '"start" is 1; expected'),
        ("spert", '[{"tokens": ["a"], "relations": [{"type": "T", "head": 0, "tail": 0}]}]', '"head" is 0; expected'),
        ("spert", "{}", "train.json: expected a list of objects"),
        ("speechre-json", '[\n{"sentence": "a", "audio_id": "1"}]', "train.json:2: item 0: "),
        ("speechre-tsv", TSV + "a\tb\n", "train.json:2: 2 cells; expected 7"),
        ("speechre-tsv", "id\taudio\n", "train.json:1: no column tgt_text"),
        ("speechre-tsv", TSV + "a\t/x.wav:0:9\t1\t9\tAnn\t0\ten\n", "train.json:2: the target begins with"),
    ],
)
def test_where_and_what(name: str, content: str, expected: str, tmp_path: Path) -> None:
    assert expected in fault(name, content, tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"text": "u Ann"}, "wav.scp: no such file"),
        ({"wav.scp": "u /x.wav"}, "text: no such file"),
        ({"wav.scp": "u /x.wav", "text": "u a\nv b"}, 'text:2: utterance "v" has no recording'),
        ({"wav.scp": "u /x.wav\nu /y.wav", "text": "u a"}, 'wav.scp:2: "u" stands on line 1 already'),
        ({"wav.scp": "u rm -rf / |", "text": "u a"}, "names 0 audio files; commands are not run"),
        (
            {"wav.scp": "r /x.wav", "segments": "u r 2 1", "text": "u a"},
            'segments:1 (utterance "u"): the times 2 and 1',
        ),
        ({"wav.scp": "r /x.wav", "segments": "u q 0 1", "text": "u a"}, 'recording "q" is not in wav.scp'),
        ({"wav.scp": "r /x.wav", "segments": "u r 0 1", "text": "v a"}, 'text:1: utterance "v" has no recording'),
        ({"wav.scp": "u /x.wav", "text": "u a", "utt2speechre": "u {"}, "utt2speechre:1: "),
    ],
)
def test_kaldi_folders(files: dict[str, str], expected: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content + "\n")
    with pytest.raises(DataError) as caught:
        FORMATS["kaldi"].read(tmp_path, ImportOptions(allow_missing_audio=True))
    assert expected in str(caught.value)


def test_a_field_that_was_changed_since_is_no_longer_believed(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    FORMATS["nemo"].write(path, read_manifest(SAMPLES), ExportOptions())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["text"] = rows[3]["text"].replace("Hayes", "Haze")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match=r'm\.json:4 \(utterance "hayes"\): its own fields were changed.*delete "speechre"'
    ):
        FORMATS["nemo"].read(path, ImportOptions())
    del rows[3]["speechre"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    back = FORMATS["nemo"].read(path, ImportOptions()).utterances
    assert "Haze" in back[3].text
    assert back[3].entities == ()


@pytest.mark.parametrize("name", ["kaldi", "nemo", "lhotse", "speechre-tsv", "commonvoice-speechre"])
def test_an_utterance_without_recording_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf'utterance "u" has no recording, which {name} cannot do without'):
        FORMATS[name].write(tmp_path / "x", [Utterance("u", None, "Ann")], ExportOptions())


@pytest.mark.parametrize("name", ["spert", "speechre-json"])
def test_an_entity_that_cannot_be_placed_is_refused_by_name(name: str, tmp_path: Path) -> None:
    text = "Ann met Ann ."
    utterance = Utterance("u", None, text, (Entity("Ann", "Peop", "e7"),))
    with pytest.raises(DataError, match=r'utterance "u": e7 without offsets'):
        FORMATS[name].write(tmp_path / "x.json", [utterance], ExportOptions())


def lhotse_folder(folder: Path, source: dict[str, object], recording: dict[str, object]) -> Path:
    """One recording of one supervision, as Lhotse names them, with what is special about it."""
    plain = {"type": "file", "channels": [0], "source": "/x/call.wav"}
    about = {"id": "call", "sources": [{**plain, **source}], "channel_ids": [0], **recording}
    said = {"id": "u", "recording_id": "call", "start": 0.0, "duration": 1.0, "channel": 0, "text": "Hi."}
    for kind, row in (("recordings", about), ("supervisions", said)):
        (folder / f"{kind}.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize(
    ("source", "recording"), [({"channels": [0, 1]}, {}), ({}, {"channel_ids": [0, 1]}), ({"channels": [0, 1, 2]}, {})]
)
def test_a_lhotse_recording_of_several_channels_is_refused(
    source: dict[str, object], recording: dict[str, object], tmp_path: Path
) -> None:
    """Read as one, each supervision's text would get the mix of all speakers."""
    with pytest.raises(DataError) as caught:
        FORMATS["lhotse"].read(lhotse_folder(tmp_path, source, recording), ImportOptions(allow_missing_audio=True))
    assert str(caught.value).startswith(f'{tmp_path / "recordings.jsonl"}:1: recording "call" has ')
    assert "only recordings of one channel are read. Write each channel to a file of its own" in str(caught.value)


@pytest.mark.parametrize("recording", [{}, {"channel_ids": None}])
def test_a_lhotse_recording_of_one_channel_is_read(recording: dict[str, object], tmp_path: Path) -> None:
    folder = lhotse_folder(tmp_path, {}, recording)
    (found,) = FORMATS["lhotse"].read(folder, ImportOptions(allow_missing_audio=True)).utterances
    assert (found.id, found.text) == ("u", "Hi.")
    with pytest.raises(DataError, match=r'recordings\.jsonl:1: recording "call": "channel_ids" is 2; expected a list'):
        FORMATS["lhotse"].read(lhotse_folder(tmp_path, {}, {"channel_ids": 2}), ImportOptions())


def test_lhotse_is_not_written_with_a_stereo_recording(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.zeros((1600, 2), dtype=np.float32), 16_000)
    utterances = [Utterance("a", AudioRef(str(make_sound()))), Utterance("b", AudioRef(str(stereo)))]
    with pytest.raises(
        DataError, match=r'utterance "b": \S+stereo\.wav has 2 channels; .*"ffmpeg -i IN -ac 1 OUT.wav"'
    ):
        FORMATS["lhotse"].write(tmp_path / "l", utterances, ExportOptions())
    assert not (tmp_path / "l").exists()


def test_kaldi_refuses_what_its_tables_cannot_hold(make_sound: Callable[..., Path], tmp_path: Path) -> None:
    audio = AudioRef(str(make_sound()))
    with pytest.raises(DataError, match="the id 'u 1' has white space"):
        FORMATS["kaldi"].write(tmp_path / "k", [Utterance("u 1", audio)], ExportOptions())
    with pytest.raises(DataError, match="the speaker 'Ann Lee' has white space"):
        FORMATS["kaldi"].write(tmp_path / "k", [Utterance("u", audio, speaker="Ann Lee")], ExportOptions())


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--spoken-tsv means nothing to nemo; it belongs to speechre-json"):
        FORMATS["nemo"].read(tmp_path, ImportOptions(spoken_tsv=tmp_path))
    with pytest.raises(UsageError, match="--audio-as-paths means nothing to rebel; it belongs to huggingface"):
        FORMATS["rebel"].write(tmp_path, [], ExportOptions(audio_as_paths=True))
    with pytest.raises(UsageError, match=r'unknown format "x"; expected one of speechre-json, .*, huggingface'):
        format_named("x")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no array of samples"),
        (b"\x93NUMPY\x01\x00", "no array of samples"),
        (b"\x80\x04K\x01.", "no array of samples"),  # a pickle
    ],
)
def test_files_that_are_no_arrays(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "audio_npy").mkdir()
    (tmp_path / "audio_npy" / "a.npy").write_bytes(content)
    (tmp_path / "dev.json").write_text('[{"sentence": "x", "audio_id": "a", "data_annotation": []}]')
    with pytest.raises(AudioError, match=expected):
        FORMATS["commonvoice-speechre"].read(tmp_path, ImportOptions(audio_output=tmp_path / "o"))


def test_arrays_need_a_place_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text('[{"sentence": "x", "audio_id": "a", "data_annotation": []}]')
    fmt = FORMATS["commonvoice-speechre"]
    with pytest.raises(DataError, match=r"no a\.npy in .*audio_npy"):
        fmt.read(tmp_path, ImportOptions())
    assert fmt.read(tmp_path, ImportOptions(allow_missing_audio=True)).utterances[0].audio is None
    (tmp_path / "audio_npy").mkdir()
    np.save(tmp_path / "audio_npy" / "a.npy", np.zeros((1, 160), np.float32))
    with pytest.raises(UsageError, match="--audio-output DIR"):
        fmt.read(tmp_path, ImportOptions())


@pytest.mark.parametrize("utterance_id", ["", ".a", "a/b", "..", "a\\b", "a\0b", "x" * 300, "a:b"])
def test_ids_that_name_no_file(utterance_id: str) -> None:
    with pytest.raises(DataError, match="cannot name a file"):
        safe_name(utterance_id)
