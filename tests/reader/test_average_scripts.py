"""scripts/average-models and scripts/average-readers, on tiny networks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.folder import load_text_model, save_text_model
from speechre.reader.reader import TextModel
from speechre.reader.training import TextTraining, build_network
from speechre.schemas import CONLL04

SCRIPTS = Path(__file__).parents[2] / "scripts"
WORDS = "whisper.decoder.embed_tokens.weight"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)


def test_models_meet_half_way_and_go_back_to_their_backbone(tiny_model_dir: Path, tmp_path: Path) -> None:
    tiny = load_checkpoint(str(tiny_model_dir))
    before = {name: tensor.clone() for name, tensor in tiny.network.state_dict().items()}
    folders = [tmp_path / "up", tmp_path / "down"]
    for folder, step in zip(folders, (0.5, -0.25), strict=True):
        tiny.network.load_state_dict({n: t + step if t.is_floating_point() else t for n, t in before.items()})
        save_checkpoint(folder, tiny.network, tiny.tokenizer, tiny.schema, tiny.config)
    tiny.network.load_state_dict(before)  # other tests share it
    done = run(SCRIPTS / "average-models", *folders, "--encoder", 0, "--output", tmp_path / "mean")
    assert done.returncode == 0, done.stderr
    mean = load_checkpoint(str(tmp_path / "mean")).network.state_dict()
    head = next(name for name in before if name.startswith("relation_head.") and before[name].dim() > 1)
    torch.testing.assert_close(mean[head], before[head] + 0.125, atol=2e-3, rtol=2e-3)  # float16
    torch.testing.assert_close(mean[WORDS], before[WORDS] + 0.125, atol=2e-3, rtol=2e-3)
    encoder = next(name for name in before if name.startswith("whisper.encoder.layers") and before[name].dim() > 1)
    torch.testing.assert_close(mean[encoder], before[encoder], atol=2e-3, rtol=2e-3)  # the backbone's own
    again = run(SCRIPTS / "average-models", *folders, "--output", tmp_path / "mean")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_readers_of_one_start_have_a_mean(bert_dir: Path, tmp_path: Path) -> None:
    settings = TextTraining(encoder=str(bert_dir), max_span_words=3, width_embedding=4)
    network, tokenizer = build_network(settings, CONLL04)
    reader = TextModel("a", network, tokenizer, CONLL04, settings)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_text_model(tmp_path / "a", reader)
    network.load_state_dict({name: tensor + 1.0 for name, tensor in start.items()})
    save_text_model(tmp_path / "b", reader)
    save_text_model(tmp_path / "c", replace(reader, training=replace(settings, seed=2)))
    script = SCRIPTS / "average-readers"
    done = run(script, tmp_path / "a", tmp_path / "b", "--share", 0.25, "--name", "m", "--output", tmp_path / "mean")
    assert done.returncode == 0, done.stderr
    mean = load_text_model(tmp_path / "mean")
    assert mean.name == "m"
    for name, tensor in mean.network.state_dict().items():
        torch.testing.assert_close(tensor, start[name] + 0.25)
    other = run(script, tmp_path / "a", tmp_path / "c", "--output", tmp_path / "none")
    assert (other.returncode, "no mean" in other.stderr) == (2, True)
