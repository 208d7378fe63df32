"""``speechre data``: import, validate, stats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest
from tests.conftest import MakeSound

ITEM = {
    "sentence": "Ann Lee lives in Oslo .",
    "audio_id": "s1",
    "data_annotation": [
        {
            "type": "entity",
            "id": 1,
            "value": {"text": "Ann Lee", "start": 0, "end": 7, "labels": ["<Peop>"]},
        },
        {"type": "entity", "id": 2, "value": {"text": "Oslo", "start": 17, "end": 21, "labels": ["<Loc>"]}},
        {"type": "relation", "from_id": 1, "to_id": 2, "labels": ["<Live_In>"]},
    ],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([ITEM]), encoding="utf-8")
    return path


def test_import_validate_stats(
    source: Path, tmp_path: Path, make_sound: MakeSound, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sound("joe/s1.wav", 1.5)
    make_sound("ann/s1.flac", 1.0)
    output = tmp_path / "out" / "m.jsonl"
    folders = ["--audio", str(tmp_path / "joe"), "--audio", str(tmp_path / "ann")]
    assert main(["data", "import", "speechre-json", str(source), "--output", str(output), *folders]) == 0
    assert capsys.readouterr() == ("", f"wrote 2 utterances to {output}, 0 of them without audio\n")
    assert [(u.id, u.split, u.speaker) for u in read_manifest(output)] == [
        ("s1", "train", "joe"),
        ("s1@ann", "train", "ann"),
    ]
    assert main(["data", "validate", str(output), "--schema", "conll04"]) == 0
    assert capsys.readouterr() == ("", f"{output}: 0 errors, 0 warnings\n")
    assert main(["data", "stats", str(output), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["num_utterances"], stats["relation_types"]) == (2, {"Live_In": 2})
    assert main(["data", "stats", str(output)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["utterances", "2"] in lines
    assert ["Peop", "Live_In", "Loc", "2", "100.0"] in lines


def test_two_folders_after_one_option(source: Path, tmp_path: Path, make_sound: MakeSound) -> None:
    folders = [str(make_sound(f"{name}/s1.wav").parent) for name in ("joe", "ann")]
    output = tmp_path / "m.jsonl"
    arguments = ["data", "import", "speechre-json", str(source), "--output", str(output)]
    assert main([*arguments, "--split", "dev", "--audio", *folders]) == 0
    assert [(u.id, u.split) for u in read_manifest(output)] == [("s1", "dev"), ("s1@ann", "dev")]


def test_missing_recordings_must_be_allowed(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "joe").mkdir()
    output = tmp_path / "m.jsonl"
    arguments = ["data", "import", "speechre-json", str(source), "--output", str(output)]
    arguments += ["--audio", str(tmp_path / "joe")]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("DataError: ")
    assert not output.exists()
    assert main([*arguments, "--allow-missing-audio"]) == 0
    assert capsys.readouterr().err == f"wrote 1 utterances to {output}, 1 of them without audio\n"


def test_validate_lists_every_fault(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = manifest.read_text().replace('"Live_In"', '"Kill"', 1).replace('"u1"', '"u0"')
    manifest.write_text(text)
    (manifest.parent / "audio" / "u2.wav").unlink()
    assert main(["data", "validate", str(manifest), "--schema", "conll04"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f'{manifest}:1 (utterance "u0"): error pair-not-allowed: ')
    assert lines[1].startswith(f'{manifest}:2 (utterance "u0"): error duplicate-id: ')
    assert lines[2].startswith(f'{manifest}:2 (utterance "u0"): warning contradicting-triplets: ')
    assert lines[3].startswith(f'{manifest}:3 (utterance "u2"): error missing-audio: ')
    assert (len(lines), err) == (4, f"{manifest}: 3 errors, 1 warnings\n")
    assert main(["data", "validate", str(manifest), "--no-audio", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["num_errors", "num_warnings", "issues"]
    assert (data["num_errors"], [issue["code"] for issue in data["issues"]]) == (
        1,
        ["duplicate-id", "contradicting-triplets"],
    )


def test_warnings_alone_are_no_findings(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.write_text('{"id": "a", "audio": null, "text": "", "entities": [], "relations": [], "extra": {}}\n')
    assert main(["data", "validate", str(manifest)]) == 0
    out, err = capsys.readouterr()
    assert out.count(" warning ") == 2
    assert err == f"{manifest}: 0 errors, 2 warnings\n"


def test_an_unknown_schema(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "validate", str(manifest), "--schema", "none"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('UnknownSchemaError: no schema "none"')


def test_import_replaces_none_of_its_inputs(
    source: Path, tmp_path: Path, make_sound: MakeSound, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = make_sound("joe/s1.wav")
    table = tmp_path / "spoken.tsv"
    table.write_text("audio_id\tspoken_text\n", encoding="utf-8")
    before = [path.read_bytes() for path in (source, sound, table)]
    arguments = ["data", "import", "speechre-json", str(source), "--audio", str(sound.parent)]
    for output in (source, sound, table):
        assert main([*arguments, "--spoken-tsv", str(table), "--output", str(output)]) == 2
        assert capsys.readouterr().err.startswith(f"UsageError: {output}: would replace the input {output}; ")
    assert [path.read_bytes() for path in (source, sound, table)] == before
