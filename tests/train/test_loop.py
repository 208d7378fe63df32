"""Training runs: they learn, stop, resume to the bit, and survive being killed at any moment."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speechre.config import Config, load_config
from speechre.data.store import read_manifest, write_manifest
from speechre.errors import CheckpointError, ConfigError, DataError, TrainingError, UsageError
from speechre.evaluate.development import dev_evaluator
from speechre.model.checkpoint import load_checkpoint
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.schemas import CONLL04
from speechre.train.examples import Example
from speechre.train.learner import make_optimizer
from speechre.train.loop import interpolate, run_training
from speechre.train.setup import build_network, start_training
from speechre.train.state import Progress, find_state, load_state, save_state
from speechre.types import AudioRef, Entity, Relation, Triplet, Utterance

ROOT = Path(__file__).parents[2]
NAMES = ["Ann", "Bo", "Cleo", "Dan"]
PLACES = ["Oslo", "Rome", "Lima", "Bern"]


def run_config(**train: Any) -> Config:
    """Six small steps."""
    settings = {"steps": 6, "batch_size": 2, "orders_per_utterance": 2, "warmup_steps": 1, "save_every": 100}
    return Config.from_dict(
        {"name": "run", "model": {"backbone": "random"}, "train": {**settings, "device": "cpu", **train}}
    )


def tone(number: int, duration_s: float = 0.6) -> np.ndarray:
    time_s = np.arange(int(16_000 * duration_s)) / 16_000
    return np.sin(2 * np.pi * 220 * (number + 1) * time_s) * 0.4


@cache
def _start() -> tuple[SpeechReNetwork, Sequencer]:
    return build_network(run_config(), CONLL04)


def fresh() -> tuple[SpeechReNetwork, Sequencer]:
    """A network of one's own at the start of its training."""
    network, sequencer = _start()
    return copy.deepcopy(network), sequencer


def four_examples() -> list[Example]:
    """Four tones, each with a triplet of its own."""
    _, sequencer = _start()
    out = []
    for number, (name, place) in enumerate(zip(NAMES, PLACES, strict=True)):
        head, tail = Entity(name, "Peop"), Entity(place, "Loc")
        samples = (tone(number, 0.5 + 0.1 * number) * 32767).astype(np.int16)
        ids = tuple(sequencer.text_ids(f"{name} lives in {place}."))
        triplet = Triplet(head, "Live_In", tail)
        out.append(Example(f"u{number}", samples, ids, (triplet,), (head, tail), frozenset({"Live_In"})))
    return out


def train(folder: Path, config: Config, **options: Any) -> SpeechReNetwork:
    """A run in ``folder`` with a network of its own, which is returned."""
    network, sequencer = fresh()
    run_training(config, network, sequencer, four_examples(), folder, **options)
    return network


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_weights(one: SpeechReNetwork, other: SpeechReNetwork) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


class CrashError(Exception):
    """As good as a power cut: nothing after it is saved."""


def crash(network: SpeechReNetwork) -> dict[str, float]:
    raise CrashError


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """All runs on one thread, as those that are killed: where gradients vanish, Adam makes whole steps of what more
    threads round otherwise.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SpeechReNetwork]:
    """The run that was never stopped. Do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, run_config())


# --- learning ---


def test_four_utterances_are_learned_by_heart(tmp_path: Path) -> None:
    config = Config.from_dict(
        {
            "model": {"backbone": "random"},
            "augment": {"pad_s": 0, "speed": 0, "noise_snr_db": 0, "time_masks": 0, "mel_masks": 0},
            "train": {
                **run_config().to_dict()["train"],
                "steps": 30,
                "batch_size": 4,
                "learning_rate": 5e-3,
                "encoder_learning_rate": 1e-3,
                "head_learning_rate": 1e-2,
                "prompt_source": "gold",
            },
        }
    )
    train(tmp_path, config)
    rows = metrics(tmp_path)
    assert rows[0]["triplet_loss"] > 8
    for part in ("triplet_loss", "transcript_loss"):
        assert rows[-1][part] < 0.3 * rows[0][part], part
    assert rows[-1]["relation_loss"] < rows[0]["relation_loss"]
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_a_run_leaves_a_model_metrics_and_a_state(whole: tuple[Path, SpeechReNetwork]) -> None:
    folder, network = whole
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "metrics.jsonl", "model", "tensorboard"]
    assert [row["step"] for row in metrics(folder)] == [1, 2, 3, 4, 5, 6]
    assert all(row["seconds"] > 0 and row["gradient_norm"] > 0 for row in metrics(folder))
    assert metrics(folder)[0]["learning_rate"] == run_config().train.learning_rate
    loaded = load_checkpoint(str(folder / "model"))
    assert loaded.config == run_config()
    for name, tensor in network.state_dict().items():
        assert torch.allclose(loaded.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-3), name


def test_every_parameter_has_one_rate_and_vectors_do_not_decay() -> None:
    network, _ = fresh()
    config = run_config(weight_decay=0.1)
    groups = make_optimizer(network, config).param_groups
    parameters = [p for group in groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(network.parameters()))
    rate_of = {p: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        rate, decay = rate_of[parameter]
        expected = "head_" if name.startswith("relation_head.") else "encoder_" * name.startswith("whisper.encoder.")
        assert rate == getattr(config.train, f"{expected}learning_rate"), name
        assert decay == (0.1 if parameter.dim() > 1 else 0.0), name


def test_the_best_model_on_dev_is_kept(tmp_path: Path) -> None:
    scores = iter([0.2, 0.6, 0.4])
    seen: list[bool] = []

    def evaluate(network: SpeechReNetwork) -> dict[str, float]:
        seen.append(network.training or torch.is_grad_enabled())
        return {"f1": next(scores)}

    train(tmp_path, run_config(eval_every=2), evaluate=evaluate)
    assert seen == [False] * 3
    assert [row.get("dev_f1") for row in metrics(tmp_path)] == [None, 0.2, None, 0.6, None, 0.4]
    assert json.loads((tmp_path / "checkpoint/state.json").read_text())["best"] == {"f1": 0.6, "step": 4}
    best, last = (load_file(tmp_path / name / "model.safetensors") for name in ("best", "model"))
    assert any(not torch.equal(best[name], last[name]) for name in best)


def test_a_loss_that_is_no_number_names_the_utterances(tmp_path: Path) -> None:
    network, sequencer = fresh()
    with torch.no_grad():
        network.whisper.decoder.layer_norm.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"the loss of step 1 is nan \(utterances u\d, u\d\)"):
        run_training(run_config(), network, sequencer, four_examples(), tmp_path)
    assert find_state(tmp_path / "checkpoint") is None


def test_a_gradient_that_is_no_number_ends_the_training_before_it_moves_a_weight(tmp_path: Path) -> None:
    network, sequencer = fresh()
    weight = network.whisper.decoder.layer_norm.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, math.nan))
    before = weight.detach().clone()
    with pytest.raises(TrainingError, match=r"the gradient of step 1 is nan \(utterances u\d, u\d\); start a new run"):
        run_training(run_config(), network, sequencer, four_examples(), tmp_path)
    assert torch.equal(weight, before)
    assert find_state(tmp_path / "checkpoint") is None


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device: str, tmp_path: Path) -> None:
    config = load_config("smoke", {"data.train": "never read.jsonl", "train.device": device})
    with pytest.raises(UsageError, match=device):
        start_training(config, tmp_path / "run")
    with pytest.raises(UsageError, match=device):
        train(tmp_path / "run", run_config(device=device))


def test_a_precision_that_the_machine_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.utils.is_bf16_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train\.precision bf16 on train\.device cpu: the device has no bfloat16"):
        train(tmp_path, run_config(precision="bf16"))


def test_one_process_trains_in_one_precision_after_the_other(tmp_path: Path) -> None:
    weights = {
        name: train(tmp_path / name, run_config(precision=name[:-1], steps=2)).state_dict()
        for name in ("no1", "bf162", "no3")
    }
    name = "whisper.decoder.layers.0.fc1.weight"
    assert torch.equal(weights["no1"][name], weights["no3"][name])
    assert not torch.equal(weights["no1"][name], weights["bf162"][name])


# --- resuming ---


def test_a_crashed_and_resumed_run_is_the_whole_run(whole: tuple[Path, SpeechReNetwork], tmp_path: Path) -> None:
    folder, network = whole
    with pytest.raises(CrashError):
        train(tmp_path, run_config(save_every=3, eval_every=5), evaluate=crash)
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]  # and 3 is what was saved
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')  # a line that was cut short
    resumed = train(tmp_path, run_config(), resume=True)
    assert_same_weights(resumed, network)
    rows, expected = metrics(tmp_path), metrics(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, other in zip(rows, expected, strict=True):
        row["seconds"] = other["seconds"] = 0
        assert row == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(whole: tuple[Path, SpeechReNetwork], tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def stop(network: SpeechReNetwork) -> dict[str, float]:
        os.kill(os.getpid(), number)
        return {"f1": 0.0}

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, run_config(eval_every=2), evaluate=stop, report=said.append)
    assert said[-1] == "stopped after step 2; continue with --resume"
    assert signal.getsignal(number) is before
    resumed = train(tmp_path, run_config(), resume=True, report=said.append)
    assert "resuming after step 2" in said
    assert_same_weights(resumed, whole[1])


def test_a_finished_run_resumes_to_the_same_model(whole: tuple[Path, SpeechReNetwork], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    assert_same_weights(train(tmp_path / "run", run_config(), resume=True), whole[1])
    assert load_checkpoint(str(tmp_path / "run/model")).name == "run"


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run to resume"):
        train(tmp_path, run_config(), resume=True)


@pytest.fixture
def state(whole: tuple[Path, SpeechReNetwork], tmp_path: Path) -> Path:
    """A saved state to break."""
    return Path(shutil.copytree(whole[0] / "checkpoint", tmp_path / "checkpoint"))


def load(state: Path, config: Config | None = None) -> Progress:
    network, _ = fresh()
    config = config or run_config()
    return load_state(state, network, make_optimizer(network, config), config)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("network.safetensors", flip),
        ("optimizer.safetensors", flip),
        ("network.safetensors", lambda path: path.write_bytes(path.read_bytes()[:1000])),
        ("optimizer.safetensors", Path.unlink),
        ("state.json", lambda path: path.write_text("{")),
        ("state.json", lambda path: path.write_text("[]")),
        ("state.json", lambda path: path.write_text('{"step": 3}')),
        ("state.json", lambda path: path.write_bytes(b"\xff")),
    ],
)
def test_a_damaged_state_is_refused(state: Path, name: str, damage: Callable[[Path], object]) -> None:
    assert load(state) == Progress(6, {})
    damage(state / name)
    with pytest.raises(CheckpointError, match="checkpoint"):
        load(state)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "learning_rate", 2e-4),
        ("train", "steps", 7),
        ("train", "seed", 2),
        ("data", "train", ["other.jsonl"]),
        ("model", "transcript", False),
        ("augment", "speed", 0.0),
    ],
)
def test_another_config_is_refused_by_its_key(state: Path, section: str, key: str, value: Any) -> None:
    data = run_config().to_dict()
    data[section][key] = value
    with pytest.raises(ConfigError, match=rf"started with {section}\.{key} = "):
        load(state, Config.from_dict(data))


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_all_of_the_optimizers_state_lies_where_its_parameters_are(state: Path) -> None:
    """A fused optimizer on a GPU wants the count of steps there too; "meta" stands for the GPU."""
    network, _ = fresh()
    optimizer = make_optimizer(network, run_config())
    network.to("meta")
    load_state(state, network, optimizer, run_config())
    kept = [value for values in optimizer.state.values() for value in values.values()]
    assert len(kept) > 30
    assert {value.device.type for value in kept} == {"meta"}


def test_what_only_says_how_a_run_is_watched_may_change(state: Path) -> None:
    data = run_config(eval_every=1, eval_utterances=1, save_every=1, device="auto").to_dict()
    data["decode"]["beams"] = 5
    assert load(state, Config.from_dict(data)).step == 6


def test_a_network_of_other_sizes_is_refused(state: Path) -> None:
    network, _ = fresh()
    network.relation_head.classifier = torch.nn.Linear(128, 6)
    with pytest.raises(CheckpointError, match="the run's network has other sizes"):
        load_state(state, network, make_optimizer(network, run_config()), run_config())


# --- kill -9 ---


def test_a_kill_between_the_renames_leaves_the_old_state(state: Path) -> None:
    old = state.rename(state.with_name(".checkpoint.1.old"))
    assert find_state(state) == old
    assert load(state).step == 6
    network, _ = fresh()
    optimizer = make_optimizer(network, run_config())
    load_state(state, network, optimizer, run_config())
    save_state(state, network, optimizer, Progress(7, {}), run_config())
    assert not old.exists()
    assert load(state).step == 7


def test_a_state_that_an_earlier_version_left_is_found(state: Path) -> None:
    old = state.rename(state.with_name("checkpoint.old"))
    assert find_state(state) == old


def test_saving_leaves_a_copy_and_a_link(state: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(state, tmp_path / f"checkpoint.{end}")) for end in ("old", "tmp")]
    (tmp_path / "disk").mkdir()
    real = state.rename(tmp_path / "disk" / "there")
    state.symlink_to(real, target_is_directory=True)
    network, _ = fresh()
    optimizer = make_optimizer(network, run_config())
    load_state(state, network, optimizer, run_config())
    for step in (7, 8):
        save_state(state, network, optimizer, Progress(step, {}), run_config())
        assert load(state).step == load(real).step == step
    assert state.is_symlink()
    assert [load(copy).step for copy in copies] == [6, 6]
    # A kill between the two renames: the link points at nothing.
    old = real.rename(real.with_name(".there.1.old"))
    assert find_state(state) == old


def kill_again_and_again(folder: str, num_kills: int) -> None:
    """Run in a process of its own: trains in forked children that die by ``kill -9`` while they step and save.

    Prints the steps that were saved at each death. A child must find a state that it can resume, once one was saved.
    """
    config = run_config(save_every=1)
    run = Path(folder)
    # Everything that is loaded on first use is loaded once here, not in each child.
    train(run.with_name("warm"), run_config(steps=1))
    rng = random.Random()
    deaths: list[int] = []
    while True:
        before = saved_step(run)
        child = os.fork()
        if child == 0:
            try:
                train(run, config, resume=before > 0)
            except BaseException as error:
                print(f"child failed: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if len(deaths) < num_kills:
            # Longer and longer, so that a slow machine gets on too.
            longest_s = 0.06 * (len(deaths) + 1)
            kill_in_the_middle(child, run / "metrics.jsonl", before, rng.uniform(0.0, longest_s))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a child could not resume"
            break
        deaths.append(saved_step(run))
        assert deaths[-1] >= before, "a kill lost the state"
    print(json.dumps(deaths))


def saved_step(run: Path) -> int:
    """The step of the state that would be resumed; 0 where there is none."""
    found = find_state(run / "checkpoint")
    return json.loads((found / "state.json").read_text(encoding="utf-8"))["step"] if found else 0


def kill_in_the_middle(child: int, log: Path, before: int, delay_s: float) -> None:
    """``kill -9``, a moment after the first new line of the log: while a state is written, or in the next step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and len(log.read_text(encoding="utf-8").splitlines()) > before:
            break
        time.sleep(0.002)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_any_moment_leaves_a_state_to_resume(whole: tuple[Path, SpeechReNetwork], tmp_path: Path) -> None:
    call = f"from tests.train.test_loop import kill_again_and_again as f; f({str(tmp_path / 'run')!r}, 8)"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": "src"}
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout), "no child was killed"
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    name = "checkpoint/network.safetensors"
    one, other = load_file(tmp_path / "run" / name), load_file(whole[0] / name)
    for key, tensor in one.items():
        assert torch.allclose(tensor, other[key], atol=1e-5), key


# --- from a recipe ---


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four annotated tones on disk."""
    utterances = []
    for number, (name, place) in enumerate(zip(NAMES, PLACES, strict=True)):
        path = tmp_path / f"u{number}.wav"
        soundfile.write(path, tone(number), 16_000)
        start = len(f"{name} lives in ")
        entities = (
            Entity(name, "Peop", "e0", 0, len(name)),
            Entity(place, "Loc", "e1", start, start + len(place)),
        )
        relations = (Relation("e0", "e1", "Live_In"),)
        text = f"{name} lives in {place} ."
        utterances.append(Utterance(f"u{number}", AudioRef(str(path)), text, entities, relations))
    write_manifest(tmp_path / "few.jsonl", utterances)
    return tmp_path / "few.jsonl"


def test_the_smoke_recipe_trains_evaluates_and_saves(manifest: Path, tmp_path: Path) -> None:
    overrides = {"data.train": str(manifest), "data.dev": str(manifest), "train.device": "cpu"}
    config = load_config("smoke", overrides)
    said: list[str] = []
    model = start_training(config, tmp_path / "run", evaluate_factory=dev_evaluator, report=said.append)
    assert said[0] == "4 utterances, 0.00 h, 4 triplets"
    evaluated = [row for row in metrics(tmp_path / "run") if "dev_f1" in row]
    assert len(evaluated) == 1
    assert {"dev_f1", "dev_entity_f1", "dev_relation_f1", "dev_single_f1", "dev_problems"} <= set(evaluated[0])
    assert load_checkpoint(str(model)).config == load_checkpoint(str(tmp_path / "run/best")).config == config
    with pytest.raises(UsageError, match="already holds a run; continue it with --resume"):
        start_training(config, tmp_path / "run")


def test_what_training_cannot_score_is_told_or_refused(manifest: Path, tmp_path: Path) -> None:
    network, sequencer = fresh()
    config = run_config()
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(31 * 16_000), 16_000)
    short = read_manifest(manifest)
    endless = replace(short[0], id="endless", audio=AudioRef(str(long)))
    said: list[str] = []
    scores = dev_evaluator([*short, endless], sequencer, config, said.append)
    assert said == ['not scored during training: dev utterance "endless" is longer than 30 s']
    with torch.inference_mode():
        assert scores(network)["f1"] >= 0
    with pytest.raises(DataError, match=r"data\.dev: no utterance of 30 s or less"):
        dev_evaluator([endless], sequencer, config)
    strange = replace(short[0], relations=(Relation("e0", "e1", "Nonsense"),))
    with pytest.raises(DataError, match=r'dev utterance "u0": schema "conll04": unknown relation type "Nonsense"'):
        dev_evaluator([strange], sequencer, config)


def test_interpolation_moves_whisper_back_and_nothing_else() -> None:
    network, sequencer = fresh()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    trained = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    config = run_config(encoder_interpolation=0.25, decoder_interpolation=0.5)
    interpolate(network, start, sequencer, config)
    first_new = sequencer.tokenizer.whisper_vocab_size
    for name, tensor in network.state_dict().items():
        if name == "whisper.decoder.embed_tokens.weight":
            torch.testing.assert_close(tensor[:first_new], start[name][:first_new] + 0.5)
            assert torch.equal(tensor[first_new:], trained[name][first_new:])
        elif name.startswith("whisper."):
            torch.testing.assert_close(tensor, start[name] + (0.25 if ".encoder." in name else 0.5))
        else:
            assert torch.equal(tensor, trained[name])


def test_a_run_without_interpolation_ends_with_the_trained_weights(tmp_path: Path) -> None:
    network, sequencer = fresh()
    folder = run_training(run_config(steps=2), network, sequencer, four_examples(), tmp_path)
    kept = load_file(tmp_path / "checkpoint" / "network.safetensors")
    for name, tensor in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(tensor, kept[name].to(tensor.dtype), rtol=0, atol=1e-3)
