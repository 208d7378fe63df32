"""From a tiny model to a tiny model of other types, stopped and resumed on the way."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from speechre import Extractor
from speechre.data.store import read_manifest
from speechre.errors import ConfigError, UsageError
from speechre.finetune import run as run_module
from speechre.finetune.assess import calibrate
from speechre.finetune.plan import Plan
from speechre.finetune.run import finetune
from speechre.finetune.speech import load_start
from speechre.model.checkpoint import load_checkpoint
from speechre.schemas import load_schema
from tests.finetune.conftest import WriteDomain


@pytest.fixture
def plan(write_domain: WriteDomain, schema_file: Path, start_dir: Path, tmp_path: Path) -> Plan:
    return Plan(
        write_domain(count=12),
        load_schema(schema_file),
        str(start_dir),
        tmp_path / "models" / "pets",
        schema_source=str(schema_file),
        steps=2,
        epochs=2,
        device="cpu",
    )


def test_the_folder_is_a_model_of_the_new_types(plan: Plan, start_dir: Path, tmp_path: Path) -> None:
    told: list[str] = []
    outcome = finetune(plan, told.append)
    model = load_checkpoint(str(plan.output))
    start = load_checkpoint(str(start_dir))
    assert (model.name, model.schema) == ("pets", plan.schema)
    assert model.reader is not None
    assert model.reader.schema == plan.schema
    # Heard with the same ears: encoder and words are the start's, up to 8-bit weights.
    for name, tensor in start.network.state_dict().items():
        if name.startswith("whisper.encoder.") or ".embed_tokens." in name:
            kept = model.network.state_dict()[name][: start.tokenizer.whisper_vocab_size]
            assert torch.allclose(kept, tensor[: len(kept)], atol=float(tensor.abs().max()) / 120), name
    # And with the same adapter: by 2 steps the matrices that it changes have not moved far.
    assert start.adapter is not None
    assert model.adapter is not None
    for name, (down, up) in start.adapter.changes.items():
        assert all(map(torch.equal, model.adapter.changes[name], (down, up))), name
    assert model.config.data.train == (str(plan.manifest),)
    assert model.config.model.start_from == plan.start
    assert not plan.work.exists()
    # It answers, in types of the schema only.
    utterances = read_manifest(plan.manifest)
    for extraction in Extractor.from_pretrained(plan.output).extract_many(utterances[:3]):
        assert all(t.relation == "Keeps" and t.head.type == "Owner" for t in extraction.triplets)
    assert json.loads((plan.output / "finetune.json").read_text()) == outcome
    assert outcome["num_train"] + outcome["num_dev"] == 12
    assert len(outcome["dev_ids"]) == outcome["num_dev"]
    assert outcome["after"]["model"] == model.model_id
    assert (outcome["steps"], outcome["epochs"], outcome["shared_relations"]) == (2, 2, [])
    assert set(outcome["stages_s"]) == {"prepare", "before", "grow", "speech", "hear", "reader", "calibrate", "scores"}
    assert (plan.output / "report" / "report.html").is_file()
    card = (plan.output / "README.md").read_text(encoding="utf-8")
    assert "knows none of them by name" in card
    assert "| triplet F1 |" in card
    assert any("held out" in line for line in told)


def test_a_stopped_run_repeats_no_finished_stage(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def counting(name: str, work: Any, fails: bool = False) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            done.append(name)
            if fails:
                raise KeyboardInterrupt
            return work(*args, **options)

        return run

    real = {name: getattr(run_module, name) for name in ("train_speech", "transcribe", "train_text_reader")}
    for name, work in real.items():
        monkeypatch.setattr(run_module, name, counting(name, work, fails=name == "train_text_reader"))
    with pytest.raises(KeyboardInterrupt):
        finetune(plan)
    assert done == ["train_speech", "transcribe", "train_text_reader"]
    assert not plan.output.exists()
    with pytest.raises(UsageError, match="continue it with --resume"):
        finetune(plan)
    with pytest.raises(ConfigError, match="another seed"):
        finetune(replace(plan, seed=2), resume=True)
    monkeypatch.setattr(run_module, "train_text_reader", counting("train_text_reader", real["train_text_reader"]))
    done.clear()
    outcome = finetune(plan, resume=True)
    assert done == ["train_text_reader"]
    assert load_checkpoint(str(plan.output)).model_id == outcome["model"]
    with pytest.raises(UsageError, match="no run to resume"):
        finetune(plan, resume=True)
    with pytest.raises(UsageError, match="is there already"):
        finetune(plan)


def test_a_run_stopped_in_training_goes_on_from_another_folder(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("speechre.train.loop._save_results", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(replace(plan, output=Path("models/pets")))
    monkeypatch.chdir("/")
    finetune(plan, resume=True)
    assert load_checkpoint(str(plan.output)).name == "pets"


def test_a_run_stopped_behind_the_arrival_of_its_model_is_cleared_away(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_remove_work", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(plan)
    assert plan.output.is_dir()
    assert plan.work.is_dir()
    with pytest.raises(ConfigError, match="another seed"):
        finetune(replace(plan, seed=2), resume=True)
    outcome = finetune(plan, resume=True)
    assert outcome == json.loads((plan.output / "finetune.json").read_text())
    assert not plan.work.exists()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_folders_beside_the_output_stay(plan: Plan, tmp_path: Path) -> None:
    mine = [plan.output.with_name(f"pets.{end}") for end in ("old", "tmp")]
    for folder in mine:
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
    (tmp_path / "disk").mkdir()
    plan.work.symlink_to(tmp_path / "disk", target_is_directory=True)  # empty: it may be used
    finetune(replace(plan, speech=False, steps=None))
    assert sorted(path.name for path in plan.output.parent.iterdir()) == ["pets", "pets.old", "pets.tmp"]
    assert all((folder / "config.json").is_file() for folder in mine)


@pytest.mark.parametrize("is_file", [False, True])
def test_a_work_folder_of_somebody_else_is_refused(plan: Plan, is_file: bool) -> None:
    thesis = plan.work if is_file else plan.work / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.touch()
    with pytest.raises(UsageError, match=r"pets\.work is needed .* is no run of finetune; move it away"):
        finetune(plan)
    assert thesis.is_file()
    assert not plan.output.exists()


def test_an_output_that_cannot_be_written_is_refused_first(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(UsageError, match=r"pets: cannot be written: .*models is a file, not a folder"):
        finetune(plan)


def test_the_reader_alone(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "train_speech", lambda *args: pytest.fail("the speech half was trained"))
    outcome = finetune(replace(plan, speech=False, steps=None))
    assert outcome["steps"] == 0
    assert "speech" not in outcome["stages_s"]
    assert load_checkpoint(str(plan.output)).schema == plan.schema
    assert "not trained" in (plan.output / "README.md").read_text(encoding="utf-8")


def test_a_model_that_finds_nothing_stays_uncalibrated_and_that_is_told(plan: Plan, start_dir: Path) -> None:
    start = load_checkpoint(str(start_dir))
    assert start.reader is not None
    mute = copy.deepcopy(start.reader.network)
    for layer in (mute.entity_classifier, mute.relation_classifier):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(mute.relation_classifier.bias, -50.0)
    with torch.no_grad():  # the relation markers that an order begins with are never followed by an entity
        start.network.whisper.decoder.layer_norm.weight.zero_()
        start.network.whisper.decoder.layer_norm.bias.zero_()
    told: list[str] = []
    dev = read_manifest(plan.manifest)[:2]
    found = calibrate(replace(start, reader=replace(start.reader, network=mute)), dev, told.append)
    assert found.fault.startswith("the model found no triplet")
    assert found.checkpoint.config == start.config
    assert told[-1] == f"not calibrated: {found.fault}"


def test_a_start_of_another_method_is_refused(start_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = load_checkpoint(str(start_dir))
    other = replace(start, config=replace(start.config, decode=replace(start.config.decode, vote="paper")))
    monkeypatch.setattr("speechre.finetune.speech.load_checkpoint", lambda name: other)
    with pytest.raises(UsageError, match=r"--from mine: .*votes as the paper does"):
        load_start("mine")
