"""How much work so many utterances deserve, and what a resumed run must have in common."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.errors import UsageError
from speechre.finetune import plan as plan_module
from speechre.finetune.plan import Plan, num_dev, reader_epochs, speech_steps
from speechre.schemas import CONLL04


def test_the_numbers_in_the_docstrings_are_so() -> None:
    assert doctest.testmod(plan_module).failed == 0


def test_more_data_get_more_steps_in_fewer_passes() -> None:
    sizes = [10, 30, 100, 300, 1000, 3000, 5000]
    passes = [speech_steps(size) * 8 / size for size in sizes]
    assert passes == sorted(passes, reverse=True)
    assert [speech_steps(size) for size in sizes] == sorted(speech_steps(size) for size in sizes)
    epochs = [reader_epochs(size) for size in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] == 2
    assert all(2 <= num_dev(size) <= size / 5 for size in sizes)


def test_a_plan_knows_its_name_and_what_makes_it_another(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("1")
    plan = Plan(manifest, CONLL04, "start", tmp_path / "out")
    assert plan.model_name == "out"
    assert replace(plan, name="mine").model_name == "mine"
    assert plan.work == tmp_path / "out.work"
    before = plan.fingerprint()
    assert replace(plan, device="cpu", output=tmp_path / "sub" / "out").fingerprint() == before
    assert replace(plan, seed=2).fingerprint() != before
    manifest.write_text("2")
    assert plan.fingerprint() != before


def test_numbers_that_make_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--steps 0"):
        Plan(tmp_path, CONLL04, "start", tmp_path, steps=0)
    with pytest.raises(UsageError, match="--no-speech"):
        Plan(tmp_path, CONLL04, "start", tmp_path, steps=3, speech=False)
