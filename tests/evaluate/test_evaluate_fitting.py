"""The sequence of calibration: what is decoded again, what is chosen, and what a model without votes gets."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechre.config import Config
from speechre.decode.ensemble import Analysis
from speechre.errors import UsageError
from speechre.evaluate.fitting import check_can_fit, fit_decoding, short_enough
from speechre.types import AudioRef, Entity, Relation, Triplet, Utterance
from speechre.vote import Hypothesis

ANN, OSLO = Entity("Ann", "Peop", id="a"), Entity("Oslo", "Loc", id="o")
RIGHT = Triplet(ANN, "Live_In", OSLO)
WRONG = Triplet(OSLO, "Located_In", Entity("Ann", "Loc"))
CONFIG = Config.from_dict({"name": "m", "decode": {"orders": ["hrt", "thr"], "relation_threshold": 0.1}})
UTTERANCES = [
    Utterance(f"u{i}", None, "Ann Oslo", (ANN, OSLO), (Relation("a", "o", "Live_In"),) if i % 2 else ())
    for i in range(40)
]


def analysis(written: Triplet | None, probability: float, read: tuple[Triplet, ...] | None = None) -> Analysis:
    triplets = () if written is None else (written,)
    return Analysis(
        triplets=(),
        by_order=dict.fromkeys(("hrt", "thr"), triplets),
        hypotheses={order: (Hypothesis(triplets),) for order in ("hrt", "thr")},
        problems=dict.fromkeys(("hrt", "thr"), ()),
        transcript="Ann Oslo",
        relation_probabilities={"Live_In": probability},
        read=read,
    )


def test_the_prompts_that_serve_the_triplets_best_are_chosen() -> None:
    asked: list[float] = []

    def analyze(config: Config) -> dict[str, Analysis]:
        """Prompts from 0.5 on are right; below, everything is prompted with, and the orders answer it."""
        threshold = config.decode.relation_threshold
        asked.append(threshold)
        found = {}
        for one in UTTERANCES:
            probability = 0.8 if one.relations else 0.3
            written = RIGHT if one.relations and threshold < 1 else None
            found[one.id] = analysis(written or (WRONG if probability >= threshold else None), probability)
        return found

    fitted = fit_decoding(CONFIG, UTTERANCES, analyze)
    assert asked[0] == 0.1
    assert len(asked) == 3  # its own, the best of the head, none
    assert [choice.threshold for choice in fitted.prompts] == asked
    assert 0.3 < fitted.config.decode.relation_threshold <= 0.8
    assert fitted.fit.triplet.f1 == 1.0
    assert fitted.config.decode.threshold == fitted.fit.threshold
    assert fitted.config.decode.reader_calibration == ()

    asked.clear()
    kept = fit_decoding(CONFIG, UTTERANCES, analyze, keep_prompts=True)
    assert (asked, kept.prompts) == ([0.1], ())
    assert kept.config.decode.relation_threshold == 0.1
    assert kept.fit.triplet.num_gold == fitted.fit.triplet.num_gold


def test_orders_that_write_nothing_leave_the_curve_to_the_reader() -> None:
    surely, hardly = replace(RIGHT, confidence=0.9), replace(WRONG, confidence=0.2)
    found = {one.id: analysis(None, 0.5, (surely if one.relations else hardly,)) for one in UTTERANCES}
    fitted = fit_decoding(CONFIG, UTTERANCES, lambda config: found)
    assert fitted.config.decode.calibration == CONFIG.decode.calibration
    slope, reader_slope, intercept = fitted.config.decode.reader_calibration
    assert reader_slope > 0
    assert all(map(math.isfinite, (slope, intercept)))
    assert fitted.fit.triplet.f1 == 1.0
    assert all(choice.triplet_f1 == 0 for choice in fitted.prompts)


def test_orders_that_write_nothing_right_leave_the_curve_to_the_reader() -> None:
    surely, hardly = replace(RIGHT, confidence=0.9), replace(WRONG, confidence=0.2)
    found = {one.id: analysis(WRONG, 0.5, (surely if one.relations else hardly,)) for one in UTTERANCES}
    fitted = fit_decoding(CONFIG, UTTERANCES, lambda config: found)
    assert fitted.config.decode.calibration == CONFIG.decode.calibration
    assert fitted.fit.triplet.f1 == 1.0
    assert fitted.config.decode.threshold < 1


def test_a_model_that_finds_nothing_right_is_told_to_be_silent() -> None:
    found = {one.id: analysis(WRONG, 0.5, None) for one in UTTERANCES}
    said: list[str] = []
    fitted = fit_decoding(CONFIG, UTTERANCES, lambda config: found, report=said.append)
    assert fitted.config.decode.threshold == max(threshold for threshold, _ in fitted.fit.curve)
    assert said[-1].startswith("nothing that the model found in these utterances is right: its threshold is now 0.99")


def test_a_model_that_finds_nothing_cannot_be_fitted() -> None:
    for read in (None, ()):
        found = {one.id: analysis(None, 0.5, read) for one in UTTERANCES}
        with pytest.raises(UsageError, match="found no triplet"):
            fit_decoding(CONFIG, UTTERANCES, lambda config, found=found: found)


def test_what_cannot_be_fitted_is_told_before_anything_is_decoded() -> None:
    check_can_fit(CONFIG, 2)
    with pytest.raises(UsageError, match="only 2 orders"):
        check_can_fit(CONFIG, 3)
    with pytest.raises(UsageError, match="m votes as the paper does"):
        check_can_fit(replace(CONFIG, decode=replace(CONFIG.decode, vote="paper")))


def test_long_recordings_are_left_out_by_name(tmp_path: Path) -> None:
    for name, seconds in (("short", 1), ("long", 31)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(16_000 * seconds, 0.1), 16_000)
    utterances = [Utterance(name, AudioRef(str(tmp_path / f"{name}.wav"), 0.0), "") for name in ("short", "long")]
    told: list[str] = []
    assert [one.id for one in short_enough(utterances, told.append)] == ["short"]
    assert len(told) == 1
    assert '"long"' in told[0]
    with pytest.raises(UsageError, match="30 s or less"):
        short_enough(utterances[1:], told.append)
