"""``speechre data import`` and ``export`` of foreign formats, and ``synthesize``, from the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.formats.table import FORMATS, OPTION_FLAGS
from speechre.data.store import read_manifest, write_manifest


@pytest.mark.parametrize("name", FORMATS)
def test_out_and_in_again(name: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fmt = FORMATS[name]
    target = tmp_path / "train.json" if fmt.place == "file" else tmp_path / "out"
    assert main(["data", "export", name, str(manifest), "--output", str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"wrote 3 utterances to {target}"
    back = manifest.parent / "back.jsonl"
    arguments = ["data", "import", name, str(target), "--output", str(back)]
    if name in ("commonvoice-speechre", "huggingface"):
        assert main(arguments) == 2
        assert "--audio-output" in capsys.readouterr().err
        assert main([*arguments, "--audio-output", str(tmp_path / "sound")]) == 0
        assert [(u.id, u.text, u.entities, u.triplets) for u in read_manifest(back)] == [
            (u.id, u.text, u.entities, u.triplets) for u in read_manifest(manifest)
        ]
    else:
        assert main(arguments) == 0
        assert back.read_bytes() == manifest.read_bytes()


def test_parts_are_exported_together(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = read_manifest(manifest)
    parts = [manifest.with_name("train.jsonl"), manifest.with_name("dev.jsonl")]
    write_manifest(parts[0], others)
    write_manifest(parts[1], [replace(first, split="test")])
    out, back = tmp_path / "release", manifest.with_name("back.jsonl")
    assert main(["data", "export", "huggingface", *map(str, parts), "--output", str(out)]) == 0
    assert sorted(path.name.split("-")[0] for path in (out / "data").iterdir()) == ["test", "train"]
    arguments = ["data", "import", "huggingface", str(out), "--output", str(back)]
    assert main([*arguments, "--audio-output", str(tmp_path / "sound")]) == 0
    assert [(u.id, u.split) for u in read_manifest(back)] == [("u1", "train"), ("u2", "train"), ("u0", "test")]
    capsys.readouterr()
    write_manifest(parts[1], [first, others[1]])
    assert main(["data", "export", "nemo", *map(str, parts), "--output", str(tmp_path / "m.json")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('DataError: utterance "u2" stands in two of ')
    assert not (tmp_path / "m.json").exists()


def test_plain_says_what_is_left_out(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "m.json"
    assert main(["data", "export", "nemo", str(manifest), "--output", str(target), "--plain"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "nemo has no place of its own for (utterances): entities in no relation (1), entities (2), relations (2); "
        "they are left out",
        f"wrote 3 utterances to {target}",
    ]
    assert {tuple(json.loads(line)) for line in target.read_text().splitlines()} == {
        ("audio_filepath", "duration", "text")
    }


@pytest.mark.parametrize(
    ("name", "options", "is_told"),
    [("nemo", [], True), ("nemo", ["--plain"], False), ("huggingface", ["--plain"], True)],
)
def test_who_annotated_is_not_published_in_silence(
    name: str, options: list[str], is_told: bool, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [replace(u, extra={"agreement": {"annotators": ["ann@example.com"]}}) for u in read_manifest(manifest)]
    write_manifest(manifest, named)
    assert main(["data", "export", name, str(manifest), "--output", str(tmp_path / "out"), *options]) == 0
    assert ('"extra" names who annotated: "ann@example.com"; to publish' in capsys.readouterr().err) == is_told


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["export", "x", "M", "--output", "O"], 'unknown format "x"; expected one of speechre-json, '),
        (["import", "x", "M", "--output", "O"], 'unknown format "x"; expected one of speechre-json, '),
        (["import", "nemo", "M", "--output", "O", "--repair-offsets"], "--repair-offsets means nothing to nemo"),
        (["export", "nemo", "M", "--output", "O", "--audio-as-paths"], "--audio-as-paths means nothing to nemo"),
        (["export", "nemo", "M", "--output", "M"], "would replace the input"),
        (["export", "nemo", "M", "--output", "."], "is a folder; nemo is a file"),
        (["export", "kaldi", "M", "--output", "M"], "is a file; kaldi is a folder"),
    ],
)
def test_usage(arguments: list[str], named: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    places = {"M": str(manifest), "O": str(tmp_path / "out"), ".": str(tmp_path)}
    before = manifest.read_bytes()
    assert main(["data", *(places.get(word, word) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("UsageError: ")
    assert named in line
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_lists_every_format_and_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", command, "--help"]) == 0
    text = capsys.readouterr().out
    for fmt in FORMATS.values():
        assert f"{fmt.place}: {fmt.summary}" in text
        assert all(OPTION_FLAGS[option] in text for option in getattr(fmt, f"{command}_options"))


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
def test_what_cannot_be_spoken_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "m.jsonl"
    texts = {"a": "Hello .", "b": "``", "c": "Bye ."}
    manifest.write_text(
        "".join(json.dumps({"id": key, "audio": None, "text": text}) + "\n" for key, text in texts.items())
    )
    arguments = ["data", "synthesize", str(manifest), "--output", str(tmp_path / "o"), "--workers", "1"]
    assert main([*arguments, "--spoken-text"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith('utterance "b" (flite:')
    assert err[-1] == f"1 could not be spoken; they are in {tmp_path / 'o' / 'failures.jsonl'}"
    assert [(u.id, u.text) for u in read_manifest(tmp_path / "o" / "speech.jsonl")] == [("a", "Hello."), ("c", "Bye.")]
    (failure,) = [json.loads(line) for line in (tmp_path / "o" / "failures.jsonl").read_text().splitlines()]
    assert (failure["id"], failure["error"]) == ("b", "there is no text to speak")
    manifest.write_text(manifest.read_text().replace("``", "Well ."))
    assert main(arguments) == 0
    assert not (tmp_path / "o" / "failures.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--engine", "x"], "expected NAME=COMMAND"),
        (["--engine", "x=say {text}"], "no {output}"),
        (["--voices", "flite:nobody"], "nobody"),
        (["--rooms", "2"], "expected a number from 0 to 1"),
    ],
)
def test_usage_of_synthesize(
    options: list[str], named: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["data", "synthesize", str(manifest), "--output", str(tmp_path / "o"), *options]) == 2
    err = capsys.readouterr().err
    assert named in err or "apt install flite" in err
