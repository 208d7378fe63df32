"""Names taken apart, and how they sound."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speechre.graph.names import parse_name
from speechre.graph.sounds import sound_of, sounds_near
from speechre.graph.words import GENERATIONS


@pytest.mark.parametrize(
    ("text", "type", "words"),
    [
        ("the W.H.O.", "Org", "who"),
        ("W H O", "Org", "who"),
        ("AT&T", "Org", "at and t"),
        ("Coca-Cola's", "Org", "coca cola"),
        ("São  Paulo", "Loc", "sao paulo"),
        ("St. Louis", "Loc", "saint louis"),
        ("St. John", "Peop", "st john"),
        ("Portland, Ore.", "Loc", "portland oregon"),
        ("Ore", "Loc", "ore"),
        ("Channel Four", "Org", "channel 4"),
        ("The", "Other", "the"),
        ("?!", "Other", ""),
        ("C#", "Other", "c#"),
        ("וָשִׁינגטון", "Loc", "ושינגטון"),
        ("مُحَمَّد", "Peop", "محمد"),
        ("Ёлкин Андрей", "Peop", "елкин андреи"),
        ("दिल्ली", "Loc", "दिल्ली"),
        ("ガーナ", "Loc", "ガーナ"),
        ("서울", "Loc", "서울"),
    ],
)
def test_words_are_what_is_left_of_writing(text: str, type: str, words: str) -> None:
    assert parse_name(text, type).key == words


@pytest.mark.parametrize(
    ("text", "core", "titles", "generation"),
    [
        ("Dr. Helen Parker", "helen parker", ("dr",), ""),
        ("Prime Minister Margaret Thatcher", "margaret thatcher", ("prime", "minister"), ""),
        ("George Bush Jr.", "george bush", (), "junior"),
        ("Henry the Eighth", "henry 8", (), ""),
        ("Henry VIII", "henry 8", (), ""),
        ("Doctor the Second", "the 2", ("doctor",), ""),
        ("King Charles III", "king charles", (), "3"),
        ("President", "president", (), ""),
        ("J. K. Rowling", "jk rowling", (), ""),
    ],
)
def test_a_person_is_more_than_title_and_generation(
    text: str, core: str, titles: tuple[str, ...], generation: str
) -> None:
    name = parse_name(text, "PERSON")
    assert (" ".join(name.core), name.titles, name.generation) == (core, titles, generation)


def test_legal_forms_parts_of_places_and_acronyms_are_found() -> None:
    merck = parse_name("Merck & Co.", "Org")
    assert (merck.core, merck.legal_form) == (("merck",), "company")
    assert parse_name("Company", "Org").legal_form == ""
    assert parse_name("Portland, Oregon", "Loc").place_part == "oregon"
    assert parse_name("Parker, Lewis and Co", "Org").place_part == ""
    assert parse_name("U.S.A.", "Loc").is_acronym
    assert not parse_name("Usa", "Peop").is_acronym
    assert parse_name("University of California, Los Angeles", "Org").initials() == {"uocla", "ucla"}


@pytest.mark.parametrize(
    "text", ["his wife", "the mayor", "The Company", "Mr. and Mrs. Smith", "the old bridge", "..."]
)
def test_a_description_is_no_name(text: str) -> None:
    assert parse_name(text, "Peop").is_description


@pytest.mark.parametrize("text", ["the Hague", "Bank of England", "Anderson", "the 82nd", "the united states"])
def test_a_name_is_no_description(text: str) -> None:
    assert not parse_name(text, "Org").is_description


@pytest.mark.parametrize(
    "pair",
    [
        "sarah sara", "katherine catherine", "john jon", "phillip philip", "sachs sacks", "stephen steven", "ann anne",
        "organisation organization", "labour labor", "lockheed lockhead", "clark clarke",
        "chrysler crysler", "pittsburgh pittsburg",
    ],
)  # fmt: skip
def test_what_is_said_alike_sounds_alike(pair: str) -> None:
    one, other = pair.split()
    assert sound_of(one) == sound_of(other)


@pytest.mark.parametrize(
    "pair",
    [
        "maria marie",
        "anna anne",
        "eric erica",
        "daniel danielle",
        "joan john",
        "marx mark",
        "iran iraq",
        "grand grande",
        "ii iii",
    ],
)
def test_other_names_sound_otherwise(pair: str) -> None:
    one, other = map(sound_of, pair.split())
    assert one != other
    assert not sounds_near(one, other)


def test_one_vowel_inside_a_long_word_is_near_and_no_other_difference_is() -> None:
    assert sounds_near(sound_of("andersen"), sound_of("anderson"))
    assert not sounds_near(sound_of("johnson"), sound_of("johnston"))
    assert not sounds_near(sound_of("martino"), sound_of("martina"))
    assert not sounds_near(sound_of("ander"), sound_of("andor"))


@pytest.mark.parametrize(("one", "other"), [("दिल्ली", "दल"), ("ガーナ", "カーナ"), ("ดำ", "ดา")])
def test_marks_that_make_another_word_are_kept(one: str, other: str) -> None:
    assert parse_name(one, "Loc").words != parse_name(other, "Loc").words


def name_ending(number: str, words: tuple[str, ...]) -> str:
    """What stands behind a number that is an ordinal there."""
    return next((end for end in ("st", "nd", "rd", "th") if number + end in words), "?")


@pytest.mark.parametrize(
    ("text", "core"), [("Henry the 12th", ("henry", "12")), ("Unit 3po", ("unit", "3po")), ("00 0N", ("00", "0n"))]
)
def test_only_an_ordinal_is_a_rulers_number(text: str, core: tuple[str, ...]) -> None:
    assert parse_name(text, "Peop").core == core


@example("Henry the 21st", "Peop")
@example("00\r0N", "Peop")
@given(st.text(), st.sampled_from(["Peop", "Org", "Loc", "Other", ""]))
def test_any_text_can_be_taken_apart(text: str, type: str) -> None:
    name = parse_name(text, type)
    for word in set(name.core) - set(name.words):  # a ruler's number: it stands there as "8th" or "xiv"
        assert word in GENERATIONS.values() or f"{word}{name_ending(word, name.words)}" in name.words
    assert name.initials() is not None
    assert name.gender in ("", "m", "f")
    assert isinstance(name.sounds, tuple)
