"""Bad input is one line on stderr and exit code 1 or 2, never a traceback and never an answer."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechre import errors
from speechre.cli import main
from tests.conftest import MakeSound, noise


def wav_header(num_data_bytes: int, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * 2 * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", num_data_bytes)
    return b"RIFF" + struct.pack("<I", (4 + len(chunks) + num_data_bytes) % 2**32) + b"WAVE" + chunks


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    soundfile.write(path, noise(1.0), 16_000)
    path.write_bytes(path.read_bytes()[:8000])


def not_a_number(path: Path) -> None:
    samples = noise(0.5)
    samples[100] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def zero_length(path: Path) -> None:
    soundfile.write(path, noise(0.0), 16_000)


def text(path: Path) -> None:
    path.write_text("Ann Lee lives in Oslo.\n" * 100)


def absurd_length(path: Path) -> None:
    path.write_bytes(wav_header(0xFFFFFF00) + bytes(3200))


def absurd_rate(path: Path) -> None:
    path.write_bytes(wav_header(3200, rate_hz=0xFFFFFFFF // 4) + bytes(3200))


def absurd_channels(path: Path) -> None:
    path.write_bytes(wav_header(60_000, channels=30_000) + bytes(60_000))


@pytest.mark.parametrize(
    "spoil",
    [empty, truncated, not_a_number, zero_length, text, absurd_length, absurd_rate, absurd_channels],
    ids=lambda spoil: spoil.__name__,
)
def test_a_bad_recording(
    spoil: Callable[[Path], None], tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.wav"
    spoil(path)
    assert main(["extract", str(path), "--model", str(tiny_model_dir), "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"AudioError: {path}: ")


def flip_a_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_the_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def drop_a_tensor(folder: Path) -> None:
    """A whole file with the right hash, but of another model."""
    from safetensors.torch import load_file, save_file

    from speechre.digests import file_sha256

    path = folder / "model.safetensors"
    state = load_file(path)
    state.pop(sorted(state)[0])
    save_file(state, path)
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = file_sha256(path)
    (folder / "config.json").write_text(json.dumps(config))


def cut_the_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:500])


def empty_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def lose_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "spoil",
    [flip_a_byte, cut_the_file, drop_a_tensor, cut_the_config, empty_the_tokenizer, lose_the_weights],
    ids=lambda spoil: spoil.__name__,
)
def test_a_bad_model(
    spoil: Callable[[Path], None],
    tmp_path: Path,
    tiny_model_dir: Path,
    make_sound: MakeSound,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    spoil(folder)
    assert main(["extract", str(make_sound()), "--model", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"CheckpointError: {folder}")


USAGE_FAULTS = [
    ("extract SOUND --orders hrt,xyz", 'unknown order "xyz"'),
    ("extract SOUND --orders ,", "no order given"),
    ("extract SOUND --beams 0", "whole number from 1 on"),
    ("extract SOUND --beams two", "whole number from 1 on"),
    ("extract SOUND --threshold 1.5", "number from 0 to 1"),
    ("extract SOUND --threshold nan", "number from 0 to 1"),
    ("extract SOUND --batch-size -1", "--batch-size"),
    ("extract SOUND --format ntriples", "invalid choice: 'ntriples'"),
    ("extract SOUND --device toaster", 'unknown device "toaster"'),
    ("extract SOUND --device meta", 'there is no device "meta"'),
    ("extract SOUND --device cuda:99", 'there is no device "cuda:99"'),
    ("extract SOUND --mod x", "--mod"),
    ("extract SOUND --decode.beams 3", "unknown argument --decode.beams"),
    ("extract", "FILE"),
    ("extract EMPTY", "holds no audio file"),
    ("extract MISSING.wav", "no such file or folder"),
    ("evaluate SOUND", "--model"),
    ("score a b --protocol loose", "invalid choice: 'loose'"),
    ("train --config conll04 --train.steps", "has no value"),
    ("train --config conll04 --train.stepps 3", 'unknown key "stepps"'),
    ("train --config conll04 --train.steps many", "train.steps"),
    ("train --config there-is-none", 'no recipe "there-is-none"'),
    ("train --config conll04 --resume --output MISSING", "there is no run to resume"),
    ("data", "COMMAND"),
    ("data import csv SOUND --output x.jsonl", 'unknown format "csv"'),
    ("", "COMMAND"),
    ("listen", "invalid choice: 'listen'"),
]


@pytest.mark.parametrize(("command", "said"), USAGE_FAULTS, ids=[command for command, _ in USAGE_FAULTS])
def test_a_usage_fault(
    command: str, said: str, tmp_path: Path, make_sound: MakeSound, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "SOUND": str(make_sound()),
        "EMPTY": str(tmp_path / "empty"),
        "MISSING": str(tmp_path / "missing"),
        "MISSING.wav": str(tmp_path / "missing.wav"),
    }
    assert main([places.get(word, word) for word in command.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(("UsageError: ", "ConfigError: "))
    assert said in line


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '{"id": "u9"}{',
        "[]",
        '{"id": "u9", "audio": null, "text": 3}',
        '{"id": "u9", "audio": null, "text": "a", "entities": [], '
        '"relations": [{"head": "e0", "tail": "e1", "type": "Kill"}]}',
        "\x00\x1b[31m",
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "score", "stats"])
def test_an_unreadable_manifest_line(
    line: str, command: str, manifest: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with manifest.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    arguments = {
        "evaluate": ["evaluate", str(manifest), "--model", str(tiny_model_dir)],
        "score": ["score", str(manifest), str(manifest)],
        "stats": ["data", "stats", str(manifest)],
    }[command]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (said,) = err.splitlines()
    assert said.startswith(f"DataError: {manifest}:4")
    assert "\x1b" not in said


LONG = "x" * 300  # no file system takes such a name, and some system calls say so in their own way


@pytest.mark.parametrize(
    "command",
    [
        "extract LONG",
        "extract SOUND --model LONG",
        "extract SOUND --output LONG",
        "evaluate LONG --model MODEL",
        "evaluate GOLD --model LONG",
        "train --config LONG",
        "train --config smoke --model.backbone LONG --data.train GOLD --output OUT",
        "score LONG LONG",
        "compare LONG LONG",
        "data validate LONG",
        "data validate GOLD --schema LONG",
        "data validate GOLD --fix LONG",
        "data stats GOLD --report LONG",
        "data split GOLD --output LONG --by sentence --leave-out",
        "data candidates --common-voice LONG --output OUT",
        "data to-label-studio LONG --output OUT",
        "data to-label-studio GOLD --output LONG",
        "data from-label-studio LONG --output OUT",
        "data agreement GOLD LONG",
        "data import speechre-json LONG --output OUT",
        "data import commonvoice-speechre LONG --output OUT",
        "data import kaldi LONG --output OUT",
        "data import lhotse LONG --output OUT",
        "data import nemo LONG --output OUT",
        "data import huggingface LONG --output OUT",
        "data export nemo GOLD --output LONG",
        "data export kaldi GOLD --output LONG",
        "data export commonvoice-speechre GOLD --output LONG",
        "data export huggingface GOLD --output LONG",
    ],
)
def test_a_name_that_no_file_can_have(
    command: str,
    manifest: Path,
    make_sound: MakeSound,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"LONG": LONG, "SOUND": make_sound(), "GOLD": manifest, "OUT": tmp_path / "out", "MODEL": tiny_model_dir}
    assert main([str(places.get(word, word)) for word in command.split()]) in (1, 2)
    name = capsys.readouterr().err.splitlines()[-1].split(": ")[0]
    assert issubclass(getattr(errors, name), errors.SpeechreError)


@pytest.mark.parametrize("name", ["missing.jsonl", ""])
def test_a_manifest_that_is_not_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model_dir: Path
) -> None:
    path = str(tmp_path / name)
    commands = [
        ["evaluate", path, "--model", str(tiny_model_dir)],
        ["score", path, path],
        ["data", "validate", path],
        ["data", "stats", path],
        ["data", "import", "speechre-json", path, "--output", str(tmp_path / "out.jsonl")],
    ]
    for command in commands:
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("MissingFileError: ")
