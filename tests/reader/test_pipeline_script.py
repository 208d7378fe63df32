"""benchmarks/pipeline.py, on a tiny encoder and ready transcripts."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from speechre.data.store import write_manifest
from speechre.types import AudioRef, Utterance

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pipeline.py"
HEARD = {"u0": "Ann Lee lives in Oslo.", "u0@other": "Anne Li lives in Oslo.", "u1": "Bo works for Acme.", "u2": "Bo."}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def manifests(tmp_path: Path, sentences: list[Utterance]) -> tuple[Path, Path]:
    write_manifest(tmp_path / "train.jsonl", sentences)
    write_manifest(tmp_path / "dev.jsonl", sentences[2:])
    return tmp_path / "train.jsonl", tmp_path / "dev.jsonl"


@pytest.fixture
def training(bert_dir: Path) -> list[str]:
    return f"--encoder {bert_dir} --epochs 2 --batch-size 2 --max-span-words 3 --width-embedding 4".split()


def write_transcripts(path: Path, heard: dict[str, str] = HEARD) -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"id": key, "transcript": text, "model": "tiny.en"}) + "\n" for key, text in heard.items()]
    path.write_text("".join(lines))
    return path


def test_all_of_it_and_again(
    script: ModuleType,
    manifests: tuple[Path, Path],
    training: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train, dev = manifests
    write_transcripts(tmp_path / "out" / "transcripts.jsonl")
    arguments = ["all", "--train", str(train), "--dev", str(dev), "--output", str(tmp_path / "out"), *training]
    assert script.main(arguments) == 0
    out, err = capsys.readouterr()
    *_, last = out.splitlines()
    assert last.startswith("dev triplet F1 (boundary/strict): gold-trained: gold text ")
    assert "both-trained" in last
    assert "transcript text holds 3 of 4 entities and both ends of 1 of 1 triplets." in out
    assert "both: 7 texts" in err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["f1"]) == {"gold", "transcript", "both"}
    assert report["f1"]["gold"]["training"]["epochs"] == 2
    # A second run trains nothing and says the same.
    assert script.main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == out
    assert "epoch" not in again.err


def test_steps_one_by_one_and_the_command_line_reads_the_predictions(
    script: ModuleType,
    manifests: tuple[Path, Path],
    training: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from speechre.cli import main as speechre

    train, dev = manifests
    transcripts = str(write_transcripts(tmp_path / "t.jsonl"))
    model, output = str(tmp_path / "model"), str(tmp_path / "p.jsonl")
    assert (
        script.main(["train", str(train), "--text", "both", "--transcripts", transcripts, "--output", model, *training])
        == 0
    )
    predict = ["predict", str(dev), "--model", model, "--output", output, "--threshold", "0.2"]
    assert script.main([*predict, "--any-pair", "--transcripts", transcripts]) == 0
    assert script.main(predict) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("dev triplet F1: boundary ")
    assert speechre(["score", str(dev), output, "--json"]) == 0
    f1 = json.loads(capsys.readouterr().out)["triplet"]["f1"]
    assert f"boundary {100 * f1:.1f}," in lines[1]
    # A finished model is not trained over.
    assert script.main(["train", str(train), "--output", model, *training]) == 2
    assert "is there already" in capsys.readouterr().err


class _Echo:
    """Stands for a Whisper: writes how long each clip is."""

    def transcribe(self, clips: list[torch.Tensor]) -> list[str]:
        return [f"{len(clip) / 16_000:.1f}" for clip in clips]


def test_transcripts_go_on_where_they_were_cut_short(
    script: ModuleType,
    sentences: list[Utterance],
    make_sound: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    def load(source: str) -> _Echo:
        heard.append(source)
        return _Echo()

    monkeypatch.setattr(script.Transcriber, "from_pretrained", load)
    spoken = [
        Utterance(f"u{i}", AudioRef(str(make_sound(f"u{i}.wav", 0.4 + 0.1 * i)))) for i in range(3)
    ]  # fmt: skip
    path = write_transcripts(tmp_path / "t.jsonl", {"u0": "ready"})
    path.write_text(path.read_text() + '{"id": "u1", "transc')
    expected = {"u0": "ready", "u1": "0.5", "u2": "0.6"}
    assert script.transcribe(spoken, path, "tiny.en", 2) == expected
    assert script.transcribe(spoken, path, "tiny.en", 2) == expected
    assert heard == ["tiny.en"]
    with pytest.raises(script.UsageError, match=r'holds transcripts of tiny\.en, not of "base"'):
        script.transcribe(spoken, path, "base", 2)
    with pytest.raises(script.DataError, match='"silent" has no audio'):
        script.transcribe([Utterance("silent", None)], tmp_path / "other.jsonl", "tiny.en", 2)


def test_a_long_recording_is_transcribed_in_parts(
    script: ModuleType, make_sound: Callable[..., Path], tmp_path: Path
) -> None:
    # Bursts of noise with pauses between them: a steady sound would be no speech.
    seconds = np.arange(40 * 16_000) / 16_000
    bursts = np.random.default_rng(1).normal(scale=0.1, size=len(seconds)) * (seconds % 1.0 < 0.6)
    soundfile.write(tmp_path / "long.wav", bursts, 16_000)
    long = Utterance("long", AudioRef(str(tmp_path / "long.wav")))
    short = Utterance("short", AudioRef(str(make_sound("short.wav", 0.5))))
    first, second = script.transcripts_of([long, short], _Echo(), 2)
    parts = [float(part) for part in first.split()]
    assert len(parts) >= 2
    assert max(parts) <= 30.0
    assert 24.0 <= sum(parts) <= 42.0  # all of the noise, and pauses
    assert second == "0.5"


def test_errors_are_one_line(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.jsonl")
    assert script.main(["predict", missing, "--model", "none", "--output", str(tmp_path / "p.jsonl")]) == 2
    assert capsys.readouterr().err == f"pipeline: {missing}: no such file; check the path\n"
