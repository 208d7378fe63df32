"""Written text to spoken words: how it reads, and where the entities go."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.spoken_text import spoken_text, spoken_utterance
from speechre.types import Entity, Utterance


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("`` Salisbury , N.C. ''", "Salisbury, North Carolina"),
        ("Sen. Lee of Salem, Ore., left.", "Senator Lee of Salem, Oregon, left."),
        ("He lives in Trenton, N.J.", "He lives in Trenton, New Jersey"),
        ("The U.N.J. Club", "The U.N.J. Club"),
        ('She said: "No."', "She said: No."),
        ("150 , 000 people -LRB- or 1\\/2 -RRB- came", "150,000 people (or 1/2) came"),
        ("1 , 2 , 3", "1, 2, 3"),
        ("OSLO _ It rained -- a lot .", "OSLO, It rained, a lot."),
        ("He said _Ann snake_case", "He said Ann snake case"),
        ("the well--known man", "the well, known man"),
        ("Ann 's dog , -- ,", "Ann's dog,"),
        ("-- no", "no"),
        ("", ""),
        ("``", ""),
    ],
)
def test_how_it_reads(written: str, spoken: str) -> None:
    assert spoken_text(written) == spoken


def annotate(text: str, *marked: str) -> Utterance:
    spans = [(one, text.index(one)) for one in marked]
    entities = tuple(Entity(one, "Loc", f"e{i}", at, at + len(one)) for i, (one, at) in enumerate(spans))
    return Utterance("u", None, text, entities)


@pytest.mark.parametrize(
    ("text", "marked", "spoken"),
    [
        ("In Salem , Ore. , `` rain ''", ["Salem", "Ore.", "rain"], ["Salem", "Oregon", "rain"]),
        ("In Salem , Ore. , rain", ["Salem , Ore."], ["Salem, Oregon"]),
        ("Sen. Lee and Gov. Day", ["Lee", "Gov. Day"], ["Lee", "Governor Day"]),
        ("From N.C. came 150 , 000", ["N.C.", "150 , 000"], ["North Carolina", "150,000"]),
        ("OSLO _ Bo left", ["OSLO", "Bo"], ["OSLO", "Bo"]),
        ("Gen. Lee", ["en. Lee"], ["General Lee"]),  # an edge within what is rewritten takes the whole
    ],
)
def test_entities_are_carried(text: str, marked: list[str], spoken: list[str]) -> None:
    carried = spoken_utterance(annotate(text, *marked))
    assert [entity.text for entity in carried.entities] == spoken
    assert [carried.text[e.start : e.end] for e in carried.entities] == spoken


def test_what_is_not_spoken_has_no_place() -> None:
    carried = spoken_utterance(annotate('He wrote " here', '"'))
    assert carried.text == "He wrote here"
    assert (carried.entities[0].text, carried.entities[0].start) == ('"', None)


tokens = st.sampled_from(
    [
        "``",
        "''",
        '"',
        ",",
        ".",
        "--",
        "_",
        "-LRB-",
        "N.C.",
        "Ore.",
        "Sen.",
        "Ann",
        "Oslo",
        "5",
        "000",
        "'s",
        "–",
        "a\\/b",
    ]
)


@given(st.lists(tokens, min_size=1, max_size=12), st.data())
def test_spans_hold_for_any_sentence(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    carried = spoken_utterance(Utterance("u", None, text, (Entity(text[start:end], "Loc", "e0", start, end),)))
    (entity,) = carried.entities
    assert not re.search(r"\s\s|^\s|\s$|\s[,;]", carried.text)
    if entity.start is None:
        assert entity.text
    else:
        assert carried.text[entity.start : entity.end] == entity.text == entity.text.strip(" ,")
