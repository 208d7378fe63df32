"""Parts share nothing, hold everything and have their share of every relation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.leaks import find_leaks, parts_by_split
from speechre.data.split import Split, split_utterances
from speechre.data.ties import check_traits, tied_groups
from speechre.errors import DataError, UsageError
from speechre.types import AudioRef, Entity, Relation, Utterance

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def utterance(
    number: int, text: str = "", speaker: str | None = None, relation: str | None = None, path: str | None = None
) -> Utterance:
    relations = () if relation is None else (Relation("e0", "e1", relation),)
    entities = (Entity("Ann", "Peop", "e0"), Entity("Oslo", "Loc", "e1"))
    audio = None if path is None else AudioRef(path)
    return Utterance(f"u{number:04}", audio, text, entities, relations, speaker=speaker)


def corpus(size: int = 600, num_speakers: int = 150, seed: int = 0) -> list[Utterance]:
    """Every speaker reads some sentences, every fifth sentence is read by two of the same village."""
    rng = random.Random(seed)
    kinds = ["Live_In"] * 6 + ["Work_For"] * 3 + ["Kill"] + [None] * 2
    out = []
    for number in range(size):
        speaker = rng.randrange(num_speakers)
        words = f"{number // 5 if number % 5 == 0 else number} " + " ".join(rng.choices("abcdefghijklmnop", k=8))
        out.append(utterance(number, words, f"s{speaker}", rng.choice(kinds)))
    return out


def where(split: Split) -> dict[str, str]:
    return {u.id: part for part, found in split.parts.items() for u in found}


def test_nothing_is_shared_nothing_is_lost_and_the_shares_are_kept() -> None:
    items = corpus()
    split = split_utterances(items, SHARES)
    assert find_leaks(split.parts) == []
    assert sorted(where(split)) == sorted(u.id for u in items)
    assert {u.split for u in split.parts["dev"]} == {"dev"}
    for part, share in SHARES.items():
        assert split.share_of(part) == pytest.approx(share, abs=0.02)
    for name, counts in split.relation_counts.items():
        for part, share in SHARES.items():
            assert counts[part] / sum(counts.values()) == pytest.approx(share, abs=0.04), (name, part)


def test_a_rare_relation_is_dealt_out_too() -> None:
    """Blind dealing would give all ten to train in more than one of ten cases."""
    items = [utterance(i, f"w{i} x{i} y{i}", None, "Kill" if i % 100 == 0 else "Live_In") for i in range(1000)]
    for seed in range(3):
        split = split_utterances(items, SHARES, by=("sentence",), seed=seed)
        assert split.relation_counts["Kill"] == {"train": 8, "dev": 1, "test": 1}


def test_seed_and_sequence() -> None:
    items = corpus()
    first = where(split_utterances(items, SHARES))
    shuffled = random.Random(1).sample(items, len(items))
    assert where(split_utterances(shuffled, SHARES)) == first
    other = where(split_utterances(items, SHARES, seed=2))
    assert sum(other[name] != part for name, part in first.items()) > 50


texts = st.lists(
    st.sampled_from(["ann", "bo", "lee", "lives", "works", "in", "oslo", "bergen", "today"]), max_size=5
).map(" ".join)
traits = st.sampled_from([("speaker",), ("sentence",), ("recording",), ("speaker", "sentence", "recording")])


@given(
    st.lists(st.tuples(texts, st.sampled_from(["a", "b", "c", None]), st.sampled_from(["x", "y", None])), min_size=1),
    traits,
    st.integers(0, 3),
    st.booleans(),
)
def test_parts_never_leak(
    rows: list[tuple[str, str | None, str | None]], by: tuple[str, ...], seed: int, leave_out: bool
) -> None:
    items = [utterance(i, text, speaker, path=path) for i, (text, speaker, path) in enumerate(rows)]
    try:
        split = split_utterances(items, {"a": 2, "b": 1}, by=check_traits(by), seed=seed, leave_out=leave_out)
    except DataError as error:
        assert "group" in str(error) or "no utterance has a" in str(error)  # noqa: PT017
        return
    assert find_leaks(split.parts, check_traits(by)) == []
    ids = [*where(split), *(u.id for u in split.left_out)]
    assert sorted(ids) == [u.id for u in items]
    assert leave_out or not split.left_out


def test_sentences_that_are_nearly_the_same_stay_together() -> None:
    one = "Ann Lee moved from Oslo to Bergen in the autumn"
    items = [utterance(0, one), utterance(1, "Rain fell all day"), utterance(2, one.replace("autumn", "spring"))]
    items += [utterance(3, one.replace("autumn", "spring").replace("Bergen", "Rome"))]  # like the third alone
    assert tied_groups(items, ("sentence",)) == [(0, 2, 3), (1,)]
    assert tied_groups(items, ("sentence",), similarity=1.0) == [(0,), (1,), (2,), (3,)]


def test_speakers_and_recordings_stay_together() -> None:
    items = [utterance(0, "a", "s", path="1.wav"), utterance(1, "b", "s", path="2.wav"), utterance(2, "c", "t")]
    items += [utterance(3, "d", None, path="2.wav"), utterance(4, "", None)]
    assert tied_groups(items, ("speaker", "recording")) == [(0, 1, 3), (2,), (4,)]


def test_where_all_read_the_same_sentences_some_are_left_out() -> None:
    """Forty speakers read all of the same thirty sentences."""
    items = [
        utterance(40 * s + v, f"sentence{s} about{s} something{s}", f"voice{v}") for s in range(30) for v in range(40)
    ]
    with pytest.raises(DataError, match=r"1200 utterances, tied by speaker and sentence .*form 1 group"):
        split_utterances(items, SHARES)
    split = split_utterances(items, SHARES, leave_out=True)
    assert find_leaks(split.parts) == []
    assert all(split.parts.values())
    assert split.num_utterances + len(split.left_out) == 1200
    assert not {u.id for u in split.left_out} & set(where(split))
    assert {u.split for u in split.left_out} == {None}


def test_shares_are_kept_and_little_is_left_out() -> None:
    """Where two thirds of the sentences are read by one speaker, no more than the others' second readings goes."""
    rng = random.Random(3)
    items = []
    for number in range(3000):
        sentence = number if number % 3 else number - 1
        text = f"a{sentence} b{sentence} c{sentence}"
        items.append(utterance(number, text, f"v{rng.randrange(300)}", rng.choice(["Kill", "Live_In"])))
    split = split_utterances(items, SHARES, leave_out=True)
    assert find_leaks(split.parts) == []
    assert 0 < len(split.left_out) < 400
    for part, share in SHARES.items():
        assert split.share_of(part) == pytest.approx(share, abs=0.01)


def refused(items: list[Utterance], **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        split_utterances(items, {"a": 1, "b": 1}, **options)
    return str(caught.value)


def test_what_cannot_be_split_says_why() -> None:
    items = [utterance(i, f"w{i}", "s") for i in range(4)]
    with pytest.raises(DataError, match="4 utterances, tied by speaker, form 1 group; expected at least 2"):
        split_utterances(items, {"a": 1, "b": 1}, by=("speaker",))
    said = 'All 4 have the speaker "s"; tie them by sentence,recording alone'
    assert said in refused(items)
    assert said in refused(items, by=("speaker",))
    assert said in refused(items, leave_out=True)
    chain = [utterance(i, *pair) for i, pair in enumerate([("w0", "s"), ("w1", "s"), ("w1", "t"), ("w2", "t")])]
    assert "Tie them by less, or leave out what ties them" in refused(chain)
    with pytest.raises(DataError, match="no utterance has a speaker"):
        split_utterances([utterance(i, f"w{i}") for i in range(4)], {"a": 1, "b": 1})
    with pytest.raises(DataError, match='part "b" has got no utterance: the largest of 4 groups holds 1 of 4'):
        split_utterances(items, {"a": 10_000, "b": 1}, by=("sentence",))
    for shares in ({}, {"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": float("nan")}):
        with pytest.raises(UsageError, match="expected two or more numbers above 0"):
            split_utterances(items, shares)
    with pytest.raises(UsageError, match='unknown trait "voice"; expected some of speaker, sentence, recording'):
        check_traits(["voice"])


def test_the_record_adds_up() -> None:
    record = split_utterances(corpus(), SHARES, by=("speaker", "sentence")).to_dict()
    assert (record["seed"], record["by"], record["num_utterances"]) == (1, ["speaker", "sentence"], 600)
    assert sum(part["num_utterances"] for part in record["parts"].values()) == 600
    assert sum(part["relations"]["Live_In"] for part in record["parts"].values()) == sum(
        relation.type == "Live_In" for u in corpus() for relation in u.relations
    )


def test_leaks_of_each_kind_are_told_once() -> None:
    sound = str(Path("a") / "x.wav")
    one = "Ann Lee moved from Oslo to Bergen in the autumn"
    parts = {
        "train": [utterance(0, one, "s"), utterance(1, "Rain fell.", "s", path=sound)],
        "dev": [utterance(2, "rain fell", "t", path=sound), utterance(3, one.replace("autumn", "spring"), "s")],
        "test": [utterance(4, "Nothing of it", "v"), utterance(5)],
    }
    speaker, sentence, near, recording = find_leaks(parts)
    assert speaker.to_dict() == {
        "kind": "speaker", "value": "s", "ids": {"train": ["u0000", "u0001"], "dev": ["u0003"]},
    }  # fmt: skip
    assert (sentence.kind, sentence.value) == ("sentence", "rain fell")
    assert (near.kind, near.to_dict()["similarity"]) == ("near-sentence", 0.8182)
    assert near.ids == {"train": ("u0000",), "dev": ("u0003",)}
    assert str(recording) == f'recording "{sound}": 1 in train (u0001), 1 in dev (u0002)'
    assert [leak.kind for leak in find_leaks(parts, ("sentence",), similarity=1.0)] == ["sentence"]


def test_a_near_pair_within_one_part_is_no_leak() -> None:
    one = "Ann Lee moved from Oslo to Bergen in the autumn"
    assert find_leaks({"train": [utterance(0, one), utterance(1, one + " again")], "dev": [utterance(2, "Rain")]}) == []


def test_parts_that_the_utterances_name() -> None:
    items = [Utterance("a", None, split="x"), Utterance("b", None, split="y"), Utterance("c", None, split="x")]
    assert {part: [u.id for u in found] for part, found in parts_by_split(items, "m").items()} == {
        "x": ["a", "c"],
        "y": ["b"],
    }
    with pytest.raises(DataError, match=r'm: utterance "d" has no "split"'):
        parts_by_split([*items, Utterance("d", None)], "m")
