"""REBEL strings, the tables with them, and entities found in a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.formats.mentions import find_entities, with_offsets
from speechre.data.formats.rebel import from_rebel, to_rebel
from speechre.data.formats.table import FORMATS, ImportOptions
from speechre.errors import DataError, SchemaError
from speechre.schemas import CONLL04
from speechre.types import Entity, Triplet

ANN, OSLO, NRK = Entity("Ann Lee", "Peop"), Entity("Oslo", "Loc"), Entity("NRK", "Org")
TRIPLET = Triplet(Entity("Ann"), "Live_In", Entity("Oslo"))


def test_tails_of_one_head_follow_it() -> None:
    triplets = [Triplet(ANN, "Live_In", OSLO), Triplet(ANN, "Work_For", NRK), Triplet(NRK, "OrgBased_In", OSLO)]
    ann, nrk = (
        "<triplet> Ann Lee <subj> Oslo <obj> Live_In <subj> NRK <obj> Work_For",
        "<triplet> NRK <subj> Oslo <obj>",
    )
    plain = f"{ann} {nrk} OrgBased_In"
    assert to_rebel(triplets) == plain
    ann, nrk = "<triplet> Ann Lee <peop> Oslo <loc> Live_In <peop> NRK <org> Work_For", "<triplet> NRK <org> Oslo <loc>"
    typed = f"{ann} {nrk} OrgBased_In"
    assert to_rebel(triplets, typed=True) == typed
    assert from_rebel(typed, typed=True, schema=CONLL04) == triplets
    assert [t.head.type for t in from_rebel(typed, typed=True)] == ["peop", "peop", "org"]
    with pytest.raises(SchemaError, match='unknown entity type "city"'):
        from_rebel("<triplet> a <city> b <loc> r", typed=True, schema=CONLL04)
    assert to_rebel([]) == ""
    assert from_rebel("") == []


def test_what_a_decoder_writes_around_a_string_is_passed_over() -> None:
    for content in ("</s><s> {} </s> <pad><pad>", "<s>{}</s>", " <pad> {}\n<pad> "):
        assert from_rebel(content.format(to_rebel([TRIPLET]))) == [TRIPLET]
        assert from_rebel(content.format("")) == []
    with pytest.raises(ValueError, match="expected <subj> and <obj>"):
        from_rebel("<triplet> Ann <s> Oslo <obj> Live_In")


def test_ids_may_be_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    target = to_rebel([TRIPLET])
    rows = [{"id": name, "context": "Ann lives in Oslo", "triplets": target} for name in (7, "8", None)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [u.id for u in FORMATS["rebel"].read(path, ImportOptions()).utterances] == ["7", "8", "x-3"]
    path.write_text(json.dumps({**rows[0], "id": 7.5}))
    with pytest.raises(DataError, match=r'"id" is 7\.5; expected a text'):
        FORMATS["rebel"].read(path, ImportOptions())


words = st.text("abc -.'ß", min_size=1, max_size=6).map(str.strip).filter(bool)
entities = st.builds(Entity, words, st.sampled_from(["peop", "loc", "per:title"]))


@given(st.lists(st.builds(Triplet, entities, words, entities), max_size=5), st.booleans())
def test_strings_come_back(triplets: list[Triplet], typed: bool) -> None:
    plain = [Triplet(Entity(t.head.text), t.relation, Entity(t.tail.text)) for t in triplets]
    assert from_rebel(to_rebel(triplets, typed), typed) == (triplets if typed else plain)


@given(st.text("<tripletsubjobj> ab", max_size=40), st.booleans())
def test_any_string_is_read_or_refused(content: str, typed: bool) -> None:
    try:
        triplets = from_rebel(content, typed)
    except ValueError:
        return
    assert from_rebel(to_rebel(triplets, typed), typed) == triplets


def test_bare_strings_are_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.txt"
    path.write_text("<triplet> Ann <subj> Oslo <obj> Live_In\n\n<triplet> Bo <subj> Rome <obj> Live_In\n")
    imported = FORMATS["rebel"].read(path, ImportOptions(split="dev"))
    assert [(u.id, u.text, u.split, u.entities[0].text) for u in imported.utterances] == [
        ("answers-1", "", "dev", "Ann"),
        ("answers-3", "", "dev", "Bo"),
    ]
    assert imported.notes == [
        '4 entities do not stand in their text and have no offsets (ids in extra "missing_offsets")'
    ]


def test_the_published_table_is_read(tmp_path: Path) -> None:
    # The layout of LNA-ED's tables, with a sentence of our own.
    path = tmp_path / "train_own.tsv"
    path.write_text(
        "id\taudio\tduration_ms\tn_frames\ttgt_text\tspeaker\ttgt_lang\n"
        'train-0\t/there/train-0.wav:8000:24000\t1500\t24000\t<triplet> Uma <subj> "Velden <obj> Live_In\t0\ten\n'
    )
    (found,) = FORMATS["speechre-tsv"].read(path, ImportOptions(allow_missing_audio=True)).utterances
    assert (found.id, found.text, found.split, found.speaker, found.audio) == ("train-0", "", "train", None, None)
    assert [(t.head.text, t.relation, t.tail.text) for t in found.triplets] == [("Uma", "Live_In", '"Velden')]
    (tmp_path / "train-0.wav").touch()
    (found,) = FORMATS["speechre-tsv"].read(path, ImportOptions(audio_dirs=(tmp_path,))).utterances
    assert (found.audio.path, found.audio.start_s, found.audio.duration_s) == (str(tmp_path / "train-0.wav"), 0.5, 1.5)


# --- where entities stand ---


def spans(text: str, *triplets: tuple[str, str]) -> tuple[list[tuple[str, int | None]], dict]:
    found, _, extra = find_entities(text, [Triplet(Entity(h, "A"), "r", Entity(t, "B")) for h, t in triplets])
    assert all(e.start is None or text[e.start : e.end] == e.text for e in found)
    return [(e.text, e.start) for e in found], extra


def test_whole_words_first() -> None:
    assert spans("Annabel saw Ann in Oslo", ("Ann", "Oslo")) == ([("Ann", 12), ("Oslo", 19)], {})
    assert spans("Oslonians", ("Oslo", "x"))[0] == [("Oslo", 0), ("x", None)]


def test_of_several_places_the_one_nearest_to_its_partner() -> None:
    text = "Rome is old. Oslo is new. Ann left Rome and Bo, who lives in Oslo."
    found, extra = spans(text, ("Bo", "Oslo"))
    assert found == [("Bo", 44), ("Oslo", 61)]
    assert extra == {"ambiguous_offsets": ["e1"]}


def test_an_entity_related_to_its_own_text_stands_twice() -> None:
    found, extra = spans("Paris, not Paris", ("Paris", "Paris"))
    assert sorted(found) == [("Paris", 0), ("Paris", 11)]
    assert extra == {"ambiguous_offsets": ["e0", "e1"]}


def test_case_and_blanks_matter_less_than_being_there() -> None:
    assert spans("OSLO, N. C. rain", ("Oslo", "N.C."))[0] == [("OSLO", 0), ("N.C.", None)]
    assert spans("in St.Paul", ("St. Paul", "x"))[0][0] == ("St.Paul", 3)


def test_what_is_not_there_is_listed() -> None:
    found, extra = spans("Nobody came", ("Ann", "Oslo"))
    assert found == [("Ann", None), ("Oslo", None)]
    assert extra == {"missing_offsets": ["e0", "e1"]}


def test_offsets_are_filled_in_only_where_they_are_clear() -> None:
    given_entities = (Entity("Ann", "A", "e0"), Entity("Bo", "A", "e1"), Entity("x", "A", "e2", 1, 2))
    filled, lost = with_offsets("Ann, Bo, Bo", given_entities)
    assert [(e.start, e.end) for e in filled] == [(0, 3), (None, None), (1, 2)]
    assert lost == ["e1"]
