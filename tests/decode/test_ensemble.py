from __future__ import annotations

from dataclasses import replace

from speechre.decode.engine import Decoded
from speechre.decode.ensemble import SAME_ENDS, UNFINISHED, Analysis, analyze, merge_analyses
from speechre.decode.search import Generation
from speechre.linearize import linearize
from speechre.orders import ORDERS
from speechre.types import Entity, Triplet
from speechre.vote import WeightedVote
from tests.tiny import tiny_network

ANN = Triplet(Entity("Ann", "Peop"), "Live_In", Entity("Bergen", "Loc"))
BO = Triplet(Entity("Bo", "Peop"), "Work_For", Entity("NRK", "Org"))


def decoded(
    written: dict[str, list[Triplet]], finished: bool = True, transcript: str = "Ann lives in Bergen."
) -> Decoded:
    _, sequencer = tiny_network()
    return Decoded(
        transcript=transcript,
        is_transcript_finished=finished,
        relation_probabilities={"Live_In": 0.5},
        generations={
            name: (Generation(tuple(sequencer.tree_ids(linearize(triplets, ORDERS[name]))), -1.0, finished),)
            for name, triplets in written.items()
        },
    )


def analysis(
    written: dict[str, list[Triplet]],
    finished: bool = True,
    threshold: float = 0.5,
    transcript: str = "Ann lives in Bergen.",
) -> Analysis:
    return analyze(decoded(written, finished, transcript), tiny_network()[1], WeightedVote(threshold))


def test_what_enough_orders_wrote_stays() -> None:
    result = analysis({"hrt": [ANN, BO], "trh": [ANN], "rth": []})
    assert result.triplets == (ANN,)
    assert result.triplets[0].votes == 2
    assert result.triplets[0].orders == ("hrt", "trh")
    assert result.by_order == {"hrt": (ANN, BO), "trh": (ANN,), "rth": ()}
    assert not any(result.problems.values())
    assert not result.warnings


def test_what_did_not_end_is_a_problem_and_a_warning() -> None:
    result = analysis({"hrt": [ANN]}, finished=False)
    assert UNFINISHED in result.problems["hrt"]
    assert result.warnings == ("the transcript did not end; it was cut",)


def test_a_comma_that_was_copied_along_is_left_behind() -> None:
    with_comma = Triplet(Entity("Ann", "Peop"), "Live_In", Entity("N.Y.,", "Loc"))
    without = Triplet(Entity("Ann", "Peop"), "Live_In", Entity("N.Y.", "Loc"))
    assert analysis({"hrt": [with_comma, without]}).by_order["hrt"] == (without,)


def test_a_relation_of_a_thing_with_itself_is_dropped() -> None:
    itself = Triplet(Entity("(AP)", "Org"), "OrgBased_In", Entity("ap", "Loc"))
    result = analysis({"hrt": [itself, ANN], "trh": [ANN]})
    assert result.by_order == {"hrt": (ANN,), "trh": (ANN,)}
    assert result.hypotheses["hrt"][0].triplets == (ANN,)
    assert result.problems == {"hrt": (SAME_ENDS,), "trh": ()}


def test_chunks_become_one_recording() -> None:
    first, second = analysis({"hrt": [ANN], "trh": []}), analysis({"hrt": [ANN, BO], "trh": [ANN]}, finished=False)
    merged = merge_analyses([first, second])
    assert [(t, t.confidence) for t in merged.triplets] == [(ANN, 1.0), (BO, 0.5)]
    assert merged.by_order == {"hrt": (ANN, BO), "trh": (ANN,)}
    assert merged.transcript == "Ann lives in Bergen. Ann lives in Bergen."
    assert merged.warnings == ("chunk 2 of 2: the transcript did not end; it was cut",)
    assert merge_analyses([first]) is first


def test_characters_become_those_of_the_joined_transcript() -> None:
    ann = replace(ANN, head=replace(ANN.head, start=0, end=3), tail=replace(ANN.tail, start=13, end=19), confidence=0.9)
    parts = [
        replace(analysis({"hrt": []}, transcript=text), triplets=(found,))
        for text, found in (
            ("Hello.", replace(BO, confidence=0.5)),
            ("", replace(BO, confidence=0.4)),
            ("Ann lives in Bergen.", ann),
        )
    ]
    merged = merge_analyses(parts)
    assert merged.transcript == "Hello. Ann lives in Bergen."
    first, second = merged.triplets
    for entity in (first.head, first.tail):
        assert merged.transcript[entity.start : entity.end] == entity.text
    assert second.head.start is None


def test_what_two_chunks_heard_at_once_is_told_once_and_what_was_said_again_stays() -> None:
    def at(start_s: float, confidence: float) -> Triplet:
        head = replace(ANN.head, start_s=start_s, end_s=start_s + 0.5)
        return replace(
            ANN, head=head, tail=replace(ANN.tail, start_s=start_s + 1, end_s=start_s + 2), confidence=confidence
        )

    told = [(at(28.0, 0.4),), (at(28.1, 0.7), at(40.0, 0.9)), (at(900.0, 0.5),)]
    merged = merge_analyses([replace(analysis({"hrt": []}), triplets=triplets) for triplets in told])
    assert [(t.start_s, t.confidence) for t in merged.triplets] == [(40.0, 0.9), (28.1, 0.7), (900.0, 0.5)]


def test_without_constraints_triplets_stay_as_written() -> None:
    same = Triplet(Entity("Ann", "Peop"), "Kill", Entity("Ann,", "Peop"))
    written = decoded({"hrt": [same]})
    assert analyze(written, tiny_network()[1], WeightedVote(0.5), constrained=False).triplets == (same,)
    assert analyze(written, tiny_network()[1], WeightedVote(0.5)).triplets == ()
