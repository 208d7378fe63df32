"""Evaluations of analyses that are written out by hand, so that every figure can be counted on paper."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from speechre.config import Config
from speechre.decode.ensemble import Analysis
from speechre.errors import DataError, UsageError
from speechre.evaluate.run import Evaluation, evaluate
from speechre.metrics import score
from speechre.types import Entity, Relation, Triplet, Utterance

ANN, OSLO, NRK = Entity("Ann Lee", "Peop", "e0"), Entity("Oslo", "Loc", "e1"), Entity("NRK", "Org", "e2")
LIVES, WORKS = Triplet(ANN, "Live_In", OSLO), Triplet(ANN, "Work_For", NRK)
WRONG = Triplet(OSLO, "Live_In", ANN)
CONFIG = Config.from_dict({"name": "by-hand", "decode": {"relation_threshold": 0.6}})

UTTERANCES = (
    Utterance("a", None, "Ann Lee 's in Oslo .", (ANN, OSLO, NRK), (Relation("e0", "e1", "Live_In"),), extra={}),
    Utterance("b", None, "Ann Lee , of NRK", (ANN, OSLO, NRK), (Relation("e0", "e2", "Work_For"),)),
    Utterance("c", None, "", ()),
)


def analysis(
    vote: Sequence[Triplet],
    hrt: Sequence[Triplet],
    trh: Sequence[Triplet],
    problems: tuple[Sequence[str], Sequence[str]] = ((), ()),
    transcript: str | None = None,
    **probabilities: float,
) -> Analysis:
    return Analysis(
        triplets=tuple(vote),
        by_order={"hrt": tuple(hrt), "trh": tuple(trh)},
        hypotheses={},
        problems={"hrt": tuple(problems[0]), "trh": tuple(problems[1])},
        transcript=transcript,
        relation_probabilities={"Live_In": 0.0, "Work_For": 0.0, **probabilities},
    )


ANALYSES = {
    "a": analysis([LIVES], [LIVES], [WRONG], transcript="Ann Lee's in Olso.", Live_In=0.6, Work_For=0.9),
    "b": analysis([WORKS, LIVES], [], [WORKS], (["odd", "odder"], []), "Ann Lee of N R K", Work_For=0.59),
    "c": analysis([WRONG], [], [], (["odd"], ["odd"]), "said nothing", Live_In=0.61),
}


def evaluation(protocol: str = "boundary") -> Evaluation:
    return evaluate(UTTERANCES, ANALYSES.items(), protocol, model="by-hand@123456", config=CONFIG)


def test_the_vote_and_each_order_are_scored_against_the_annotation() -> None:
    result = evaluation()
    gold = {utterance.id: utterance.triplets for utterance in UTTERANCES}
    assert result.vote == score(gold, {key: a.triplets for key, a in ANALYSES.items()}, "boundary")
    assert (result.vote.triplet.num_hits, result.vote.triplet.num_predicted) == (2, 4)
    assert list(result.orders) == ["hrt", "trh"]
    hrt, trh = (result.orders[name].triplet for name in ("hrt", "trh"))
    assert (hrt.num_hits, hrt.num_predicted, hrt.num_gold) == (1, 1, 2)
    assert (trh.num_hits, trh.num_predicted, trh.num_gold) == (1, 2, 2)


def test_relations_sum_to_the_vote() -> None:
    result = evaluation()
    assert set(result.per_relation) == {"Live_In", "Work_For"}
    counts = result.per_relation.values()
    assert sum(c.num_hits for c in counts) == result.vote.triplet.num_hits
    assert sum(c.num_predicted for c in counts) == result.vote.triplet.num_predicted


def test_problems_are_counted_by_generation_not_by_problem() -> None:
    result = evaluation()
    assert (result.problems["hrt"].num_with_problems, result.problems["trh"].num_with_problems) == (2, 1)
    assert (result.all_problems.num_generations, result.all_problems.share) == (6, 0.5)


def test_the_relation_head_is_scored_at_its_threshold() -> None:
    """Over 0.6: Live_In and Work_For in a (one right), nothing in b (one missed), Live_In in c (wrong)."""
    head = evaluation().relation_head
    assert (head.num_hits, head.num_predicted, head.num_gold) == (1, 3, 2)


def test_words_are_counted_where_there_is_a_text() -> None:
    """a: "Ann Lees in Oslo" has one wrong word; b: "NRK" became three; c has no text."""
    words = evaluation().transcript
    assert words is not None
    assert (words.num_errors, words.num_words, words.num_utterances) == (1 + 3, 4 + 4, 2)
    assert words.wer == 0.5


def test_the_annotated_style_keeps_the_text_as_it_is() -> None:
    config = Config.from_dict({"data": {"text_style": "annotated"}})
    words = evaluate(UTTERANCES, ANALYSES.items(), model="m", config=config).transcript
    assert words is not None
    assert (words.num_errors, words.num_words) == (3 + 3, 5 + 4)  # "Lee", "s" against "Lees"


def test_without_transcripts_there_is_no_word_error_rate() -> None:
    silent = {key: replace(a, transcript=None) for key, a in ANALYSES.items()}
    result = evaluate(UTTERANCES, silent.items(), model="m", config=CONFIG)
    assert result.transcript is None
    assert result.to_dict()["transcript"] is None


def test_the_json_starts_with_the_scoring_object() -> None:
    result = evaluation("strict")
    data = result.to_dict()
    scoring = result.vote.to_dict()
    assert list(data) == [
        "protocol",
        "num_utterances",
        "triplet",
        "entity",
        "relation",
        "orders",
        "problems",
        "per_relation",
        "transcript",
        "relation_head",
        "model",
        "config",
        "machine",
    ]
    assert {key: data[key] for key in scoring} == scoring
    assert data["orders"]["hrt"] == result.orders["hrt"].to_dict()
    assert data["problems"]["share"] == 0.5
    assert data["problems"]["orders"]["trh"]["num_with_problems"] == 1
    assert data["relation_head"]["threshold"] == 0.6
    assert Config.from_dict(data["config"]) == CONFIG
    assert data["machine"]["torch"]
    assert json.loads(json.dumps(data, allow_nan=False))["model"] == "by-hand@123456"


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("ab", '1 of 3 gold utterances have no prediction: "c"'),
        ("", "3 of 3 gold utterances have no prediction"),
        ("abca", 'utterance "a" was analyzed twice'),
        ("abcd", '1 of 4 predictions have no gold utterance: "d"'),
    ],
)
def test_what_goes_in_must_come_out(ids: str, said: str) -> None:
    pairs = [(key, ANALYSES.get(key, ANALYSES["a"])) for key in ids]
    with pytest.raises(DataError, match=said):
        evaluate(UTTERANCES, pairs, model="m", config=CONFIG)


def test_ids_that_stand_twice_are_refused_and_so_is_nothing() -> None:
    with pytest.raises(DataError, match="4 utterances have 3 ids"):
        evaluate([*UTTERANCES, UTTERANCES[0]], ANALYSES.items(), model="m", config=CONFIG)
    with pytest.raises(DataError, match="0 utterances"):
        evaluate([], [], model="m", config=CONFIG)


def test_different_orders_are_refused() -> None:
    odd = {**ANALYSES, "c": replace(ANALYSES["c"], by_order={"hrt": ()})}
    with pytest.raises(DataError, match=r'utterance "c" was read in the orders hrt, "a" in hrt,trh'):
        evaluate(UTTERANCES, odd.items(), model="m", config=CONFIG)


def test_an_unknown_protocol_is_a_usage_fault() -> None:
    with pytest.raises(UsageError, match="loose"):
        evaluation("loose")


def test_scoring_needs_no_torch() -> None:
    code = "import sys, speechre.evaluate.run, speechre.evaluate.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
