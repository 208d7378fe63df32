"""All stages in their sequence. What a stage has made lies in the plan's work folder, so that a stopped run goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechre.config import Config
from speechre.data.store import read_json, read_manifest, write_atomically, write_manifest
from speechre.data.transcripts import read_transcripts
from speechre.errors import ConfigError, DataError, OnMessage, UsageError
from speechre.evaluate.report_folder import write_report
from speechre.evaluate.run import describe_machine
from speechre.finetune.assess import answers_of, calibrate, summary
from speechre.finetune.card import before_line, model_card
from speechre.finetune.plan import Plan, reader_epochs
from speechre.finetune.prepare import make_parts
from speechre.finetune.reading import hearing_only, train_text_reader, transcribe
from speechre.finetune.speech import grow, load_start, speech_config, stored_dtype, train_speech, with_provenance
from speechre.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from speechre.model.device import choose_device
from speechre.model.folders import prepare_place, replaced_folder
from speechre.reader.folder import load_text_model
from speechre.types import Utterance

_MARK = "plan.json"
_OUTCOME = "finetune.json"


class _Stages:
    """What is done already, and how long it took: ``stages.json``, written after each stage."""

    def __init__(self, folder: Path, report: OnMessage) -> None:
        self._path = folder / "stages.json"
        self._report = report
        self.seconds: dict[str, float] = read_json(self._path) if self._path.exists() else {}

    def run(self, name: str, what: str, work: Callable[[], object]) -> None:
        """``work``, unless it was done in an earlier run; what is half done is done anew."""
        if name in self.seconds:
            self._report(f"{what}: done already")
            return
        self._report(f"{what} ...")
        started = time.monotonic()
        work()
        self.seconds[name] = round(time.monotonic() - started, 1)
        write_atomically(self._path, json.dumps(self.seconds) + "\n")
        self._report(f"{what}: {self.seconds[name]:.0f} s")


def finetune(plan: Plan, report: OnMessage = lambda line: None, *, resume: bool = False) -> dict[str, Any]:
    """Train, calibrate and judge a model, and put its folder at ``plan.output``; returns what finetune.json holds.

    The data was checked (:func:`speechre.finetune.prepare.check_data`). The folder appears whole or not at all; until
    then the work folder beside it has what is done. Raises :class:`UsageError` when there is a run already and
    ``resume`` is off, or none and it is on, or when either folder cannot be written or holds something else, and
    :class:`ConfigError` when it is another plan's run.
    """
    if resume and (outcome := _arrived(plan)) is not None:
        report(f"{plan.output} is whole already")
        return outcome
    start = _begin(plan, resume)
    work, stages = plan.work, _Stages(plan.work, report)
    stages.run("prepare", "splitting the data", lambda: _write_parts(plan, report))
    train, dev = read_manifest(work / "train.jsonl"), read_manifest(work / "dev.jsonl")
    shared = [name for name in plan.schema.relation_types if name in start.schema.relation_types]
    config = speech_config(start.config, plan, len(train), [work / "train.jsonl"], work / "schema.yaml")
    what = f"{start.model_id} on dev as it is"
    stages.run("before", what, lambda: _judge_before(start, shared, dev, work / "before.json"))
    speech = _train_speech_half(plan, stages, start, config, report)
    _train_reader_half(plan, stages, start, speech, train, report)
    provenance = with_provenance(config, plan)
    stages.run("calibrate", "calibration", lambda: _calibrate(speech, plan, provenance, dev, report))
    report("scores on dev ...")
    outcome = {
        "from": start.model_id,
        "num_train": len(train),
        "num_dev": len(dev),
        **read_json(work / "parts.json"),
        "shared_relations": shared,
        "steps": config.train.steps if plan.speech else 0,
        "epochs": plan.epochs or reader_epochs(len(train)),
        "seed": plan.seed,
        "fault": (work / "fault.txt").read_text(encoding="utf-8"),
        "stages_s": stages.seconds,
        "before": read_json(work / "before.json"),
    }
    outcome = _finish(plan, outcome, dev)
    report(before_line(outcome))
    return outcome


def _arrived(plan: Plan) -> dict[str, Any] | None:
    """The outcome of a run that was stopped between its model's arrival and the end of its work folder."""
    if not (plan.output / _OUTCOME).is_file():
        return None
    _check_work(plan, resume=True)
    _remove_work(plan)
    outcome: dict[str, Any] = read_json(plan.output / _OUTCOME)
    return outcome


def _remove_work(plan: Plan) -> None:
    shutil.rmtree(os.path.realpath(plan.work))
    if plan.work.is_symlink():
        plan.work.unlink()


def _begin(plan: Plan, resume: bool) -> Checkpoint:
    """The model to start from, once nothing is in the way; the work folder is there and says whose run it is."""
    if plan.output.exists():
        raise UsageError(f"{plan.output} is there already; choose another --output")
    _check_work(plan, resume)
    prepare_place(plan.output)
    choose_device(plan.device)
    if not resume:
        make_parts(plan, lambda line: None)  # what it refuses must leave no run behind
    start = load_start(plan.start)
    plan.work.mkdir(parents=True, exist_ok=True)
    write_atomically(plan.work / _MARK, json.dumps(plan.fingerprint(), indent=1) + "\n")
    return start


def _train_speech_half(plan: Plan, stages: _Stages, start: Checkpoint, config: Config, report: OnMessage) -> Checkpoint:
    """The network with the new types, trained where the plan says so."""
    grown, trained = plan.work / "grown", plan.work / "speech"
    stages.run("grow", "new types", lambda: grow(start, plan, config, grown))
    if plan.speech:
        what = f"speech half, {config.train.steps} steps"
        stages.run("speech", what, lambda: train_speech(config, grown, trained, report))
    speech = load_checkpoint(str(trained / "model" if plan.speech else grown))
    # What the adapter changes are the same matrices, which a few steps have moved little.
    return replace(speech, adapter=start.adapter)


def _train_reader_half(
    plan: Plan, stages: _Stages, start: Checkpoint, speech: Checkpoint, train: list[Utterance], report: OnMessage
) -> None:
    """The text reader, which learns from what ``speech`` hears too."""
    place, heard = plan.work / "reader", plan.work / "transcripts.jsonl"

    def read() -> None:
        if place.exists():
            shutil.rmtree(place)
        train_text_reader(start.reader, plan, train, read_transcripts(heard), place, report)

    stages.run("hear", "transcripts", lambda: _hear(speech, train, plan.seed, heard))
    stages.run("reader", "text reader", read)


def _check_work(plan: Plan, resume: bool) -> None:
    """Raises unless there is no run yet and no other content, which would be lost in the end, or with ``resume`` a run
    of this very plan.
    """
    mark = plan.work / _MARK
    if not resume:
        if mark.is_file():
            raise UsageError(
                f"{plan.work} holds a run that did not end; continue it with --resume, or remove it to start anew"
            )
        if os.path.lexists(plan.work) and not (plan.work.is_dir() and not any(plan.work.iterdir())):
            raise UsageError(
                f"{plan.work} is needed for work in progress, and what is there is no run of finetune; move it away, "
                "or choose another --output"
            )
        return
    if not mark.is_file():
        raise UsageError(f"{plan.work}: there is no run to resume; start one without --resume")
    before, now = read_json(mark), json.loads(json.dumps(plan.fingerprint()))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise ConfigError(
            f"{plan.work}: the run was started with another {changed[0]}; resume with what it was started with, or "
            "remove the folder to start anew"
        )


def _write_parts(plan: Plan, report: OnMessage) -> None:
    import yaml

    parts = make_parts(plan, report)
    write_manifest(plan.work / "train.jsonl", parts.train)
    write_manifest(plan.work / "dev.jsonl", parts.dev)
    schema = yaml.safe_dump(plan.schema.to_dict(), sort_keys=False, allow_unicode=True)
    write_atomically(plan.work / "schema.yaml", schema)
    facts = {"dev_shares_speakers": parts.shares_speakers, "dev_ids": [utterance.id for utterance in parts.dev]}
    write_atomically(plan.work / "parts.json", json.dumps(facts) + "\n")


def _judge_before(start: Checkpoint, shared: list[str], dev: list[Utterance], place: Path) -> None:
    """The model as it is, on dev. One that knows none of the relations can only be judged by what it hears."""
    if not shared:
        start = hearing_only(start)
    write_atomically(place, json.dumps(summary(answers_of(start, dev))) + "\n")


def _hear(speech: Checkpoint, train: list[Utterance], seed: int, place: Path) -> None:
    heard = transcribe(speech, train, seed)
    lines = [json.dumps({"id": one, "transcript": text}, ensure_ascii=False) + "\n" for one, text in heard.items()]
    write_atomically(place, "".join(lines))


def _calibrate(speech: Checkpoint, plan: Plan, provenance: Any, dev: list[Utterance], report: OnMessage) -> None:
    """Put both halves together, fit their confidence and store the model, small as shipped ones are."""
    reader = load_text_model(plan.work / "reader")
    found = calibrate(replace(speech, reader=reader), dev, report)
    model = found.checkpoint
    config = replace(provenance, decode=model.config.decode)
    dtype = stored_dtype(plan.weights)
    save_checkpoint(
        plan.work / "model", model.network, model.tokenizer, model.schema, config, dtype, reader, speech.adapter
    )
    write_atomically(plan.work / "fault.txt", found.fault)


def _finish(plan: Plan, outcome: Mapping[str, Any], dev: list[Utterance]) -> dict[str, Any]:
    """Judge the stored model, write report, card and finetune.json into its folder, and move it to its place."""
    started = time.monotonic()
    model = load_checkpoint(str(plan.work / "model"))
    answers = answers_of(model, dev)
    folder = plan.work / "model"
    write_report(folder / "report", answers.report, answers.extractions)
    seconds = {**outcome["stages_s"], "scores": round(time.monotonic() - started, 1)}
    found = {"model": model.model_id, **outcome, "stages_s": seconds, "after": summary(answers)}
    found["machine"] = describe_machine()
    write_atomically(folder / "README.md", model_card(plan, found))
    write_atomically(folder / _OUTCOME, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if plan.output.exists():
        raise DataError(f"{plan.output} came into being meanwhile; the model lies in {folder}")
    with replaced_folder(plan.output) as building:
        shutil.copytree(folder, building, dirs_exist_ok=True)  # not moved: the work folder may link to another disk
    _remove_work(plan)
    return found
