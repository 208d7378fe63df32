"""scripts/average-models, scripts/average-readers and scripts/combine-adapters, on tiny networks."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre.model.adapter import load_adapter, save_adapter
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.folder import load_text_model, save_text_model
from speechre.reader.reader import TextModel
from speechre.reader.training import TextTraining, build_network
from speechre.schemas import CONLL04
from tests.tiny import random_adapter, tiny_network

SCRIPTS = Path(__file__).parents[2] / "scripts"
WORDS = "whisper.decoder.embed_tokens.weight"


def run(script: str, *arguments: object) -> int:
    """The script's exit code, without a process of its own, which would take longer to begin than the work takes."""
    loader = importlib.machinery.SourceFileLoader(script.replace("-", "_"), str(SCRIPTS / script))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    code: int = module.main(list(map(str, arguments)))
    return code


def test_models_meet_half_way_and_go_back_to_their_backbone(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = load_checkpoint(str(tiny_model_dir))
    before = {name: tensor.clone() for name, tensor in tiny.network.state_dict().items()}
    folders = [tmp_path / "up", tmp_path / "down"]
    for folder, step in zip(folders, (0.5, -0.25), strict=True):
        tiny.network.load_state_dict({n: t + step if t.is_floating_point() else t for n, t in before.items()})
        save_checkpoint(folder, tiny.network, tiny.tokenizer, tiny.schema, tiny.config)
    tiny.network.load_state_dict(before)  # other tests share it
    assert run("average-models", *folders, "--encoder", 0, "--output", tmp_path / "mean") == 0, capsys.readouterr().err
    mean = load_checkpoint(str(tmp_path / "mean")).network.state_dict()
    for share in ("1.5", "nan"):
        assert run("average-models", *folders, "--encoder", share, "--output", tmp_path / "odd") == 2
        assert "train.encoder_interpolation" in capsys.readouterr().err
    head = next(name for name in before if name.startswith("relation_head.") and before[name].dim() > 1)
    torch.testing.assert_close(mean[head], before[head] + 0.125, atol=2e-3, rtol=2e-3)  # float16
    torch.testing.assert_close(mean[WORDS], before[WORDS] + 0.125, atol=2e-3, rtol=2e-3)
    encoder = next(name for name in before if name.startswith("whisper.encoder.layers") and before[name].dim() > 1)
    torch.testing.assert_close(mean[encoder], before[encoder], atol=2e-3, rtol=2e-3)  # the backbone's own
    again = [sys.executable, str(SCRIPTS / "average-models"), *map(str, folders), "--output", str(tmp_path / "mean")]
    done = subprocess.run(again, capture_output=True, text=True, check=False)  # once as people call it
    assert (done.returncode, "is there already" in done.stderr) == (2, True)


def test_readers_of_one_start_have_a_mean(bert_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TextTraining(encoder=str(bert_dir), max_span_words=3, width_embedding=4)
    network, tokenizer = build_network(settings, CONLL04)
    reader = TextModel("a", network, tokenizer, CONLL04, settings)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_text_model(tmp_path / "a", reader)
    network.load_state_dict({name: tensor + 1.0 for name, tensor in start.items()})
    save_text_model(tmp_path / "b", reader)
    save_text_model(tmp_path / "c", replace(reader, training=replace(settings, seed=2)))
    options = ["--share", 0.25, "--name", "m", "--output", tmp_path / "mean"]
    assert run("average-readers", tmp_path / "a", tmp_path / "b", *options) == 0, capsys.readouterr().err
    mean = load_text_model(tmp_path / "mean")
    assert mean.name == "m"
    for name, tensor in mean.network.state_dict().items():
        torch.testing.assert_close(tensor, start[name] + 0.25)
    assert run("average-readers", tmp_path / "a", tmp_path / "c", "--output", tmp_path / "none") == 2
    assert "no mean" in capsys.readouterr().err


def test_adapters_of_one_start_have_a_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, _ = tiny_network()
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for seed, path in enumerate(paths):
        save_adapter(path, random_adapter(network, seed=seed))
    output = tmp_path / "sum.safetensors"
    options = ["--weights", 0.8, 0.6, "--rank", 4, "--output", output]
    assert run("combine-adapters", *paths, *options) == 0, capsys.readouterr().err
    assert "lost of each change: 0.000 on average" in capsys.readouterr().out
    one, other, both = map(load_adapter, (*paths, output))
    for name, (down, up) in both.changes.items():
        ours, theirs = one.changes[name], other.changes[name]
        expected = 0.8 * ours[1] @ ours[0] + 0.6 * theirs[1] @ theirs[0]
        torch.testing.assert_close(up @ down, expected, atol=2e-2, rtol=1e-2)  # stored in float16
    assert run("combine-adapters", *paths, *options) == 2
    assert "is there already" in capsys.readouterr().err
    assert run("combine-adapters", *paths, "--weights", "nan", 1, "--output", tmp_path / "nan") == 2
    assert "--weights nan 1.0; expected two numbers" in capsys.readouterr().err
    assert run("combine-adapters", *paths, "--output", paths[0] / "below") == 2
    assert "below" in capsys.readouterr().err
    fewer = dict(list(other.changes.items())[1:])
    save_adapter(tmp_path / "fewer.safetensors", replace(other, changes=fewer))
    assert run("combine-adapters", paths[0], tmp_path / "fewer.safetensors", "--output", tmp_path / "no") == 2
    assert "they have no sum" in capsys.readouterr().err
