"""Which names are joined, by which rule, and what keeps them apart."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.errors import UsageError
from speechre.graph.resolve import Resolution, Use, resolve
from speechre.graph.rules import ALL_RULES, DEFAULT_RULES, RULE_NAMES

# A name that only this rule joins to the next one.
JOINED_BY = {
    "same_text": ("Org", "General Motors", "general motors"),
    "title": ("Peop", "Senator John McCain", "John McCain"),
    "legal_form": ("Org", "Apple Inc.", "Apple"),
    "known_name": ("Org", "NATO", "North Atlantic Treaty Organization"),
    "spelling": ("Peop", "Sara Collins", "Sarah Collins"),
    "acronym": ("Org", "NSB", "National Savings Bank"),
    "middle_name": ("Peop", "Lee Oswald", "Lee Harvey Oswald"),
    "initials": ("Peop", "J. Smith", "John Smith"),
    "nickname": ("Peop", "Bill Clinton", "William Clinton"),
    "short_name": ("Peop", "Parker", "Helen Parker"),
    "place_part": ("Loc", "Portland", "Portland, Oregon"),
    "kind": ("Org", "Harvard", "Harvard University"),
}
LOCAL = {rule.name for rule in ALL_RULES if rule.scope == "recording"} - {"title", "spelling"}


def groups(resolution: Resolution) -> list[list[str]]:
    return [[use.text for use in group] for group in resolution.groups]


def of(kind: str, *texts: str, recording: str = "r") -> list[Use]:
    return [Use(recording, text, kind) for text in texts]


def test_every_rule_is_tried_here() -> None:
    assert tuple(JOINED_BY) == RULE_NAMES


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_rule_joins_and_says_why_and_without_it_nothing_is_joined(rule: str) -> None:
    kind, one, other = JOINED_BY[rule]
    uses = of(kind, one, other)
    on = resolve(uses, rules=RULE_NAMES)
    assert groups(on) == [[one, other]]
    (merge,) = on.merges[0]
    assert merge.rule == rule
    assert merge.reason.startswith(f'"{merge.text}" and "{merge.other_text}": ')
    assert {merge.text, merge.other_text} == {one, other}
    off = resolve(uses, rules=[name for name in RULE_NAMES if name != rule])
    assert groups(off) == [[one], [other]]
    assert off.merges == ((), ())


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_only_rules_of_form_join_across_recordings(rule: str) -> None:
    kind, one, other = JOINED_BY[rule]
    resolution = resolve([Use("r1", one, kind), Use("r2", other, kind)], rules=RULE_NAMES)
    assert groups(resolution) == ([[one], [other]] if rule in LOCAL else [[one, other]])


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_types_are_never_joined(rule: str) -> None:
    kind, one, other = JOINED_BY[rule]
    assert groups(resolve([Use("r", one, kind), Use("r", other, "Other")])) == [[one], [other]]


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_two_names_can_be_kept_apart_by_hand(rule: str) -> None:
    kind, one, other = JOINED_BY[rule]
    if rule == "same_text":
        pytest.skip("one text, whatever its case, is one name here: it cannot be told apart by its text")
    assert groups(resolve(of(kind, one, other), apart=[(other, one)])) == [[one], [other]]


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_what_a_triplet_relates_is_two(rule: str) -> None:
    kind, one, other = JOINED_BY[rule]
    a, b = of(kind, one, other)
    joined = rule == "same_text"  # "Oslo" in "Oslo" is a slip of the model, not two towns
    assert groups(resolve([a, b], stated_apart=[(a, b)])) == ([[one, other]] if joined else [[one], [other]])


def test_a_name_of_two_is_joined_to_neither_and_is_told() -> None:
    uses = of("Peop", "Parker", "Helen Parker", "John Parker")
    resolution = resolve(uses)
    assert groups(resolution) == [["Parker"], ["Helen Parker"], ["John Parker"]]
    assert resolution.ambiguous == ((uses[0], (uses[1], uses[2])),)


def test_two_ways_of_writing_one_person_are_no_ambiguity() -> None:
    resolution = resolve(of("Peop", "Parker", "Helen Parker", "Dr. Helen Parker"))
    assert groups(resolution) == [["Parker", "Helen Parker", "Dr. Helen Parker"]]
    assert resolution.ambiguous == ()


def test_names_join_across_recordings_through_whole_names() -> None:
    uses = [
        *of("Peop", "Parker", "Helen Parker", recording="r1"),
        *of("Peop", "Dr. Helen Parker", "Parker", recording="r2"),
    ]
    assert groups(resolve(uses)) == [["Parker", "Helen Parker", "Dr. Helen Parker", "Parker"]]


def test_a_chain_of_rules_never_joins_what_contradicts() -> None:
    resolution = resolve(of("Org", "Merck", "Merck & Co.", "Merck KGaA"))
    assert groups(resolution) == [["Merck"], ["Merck & Co."], ["Merck KGaA"]]
    assert len(resolution.ambiguous) == 1
    assert groups(resolve(of("Peop", "Mrs. Clinton", "Bill Clinton", "Hillary Clinton"))) == [
        ["Mrs. Clinton", "Hillary Clinton"],
        ["Bill Clinton"],
    ]


def test_a_middle_name_tells_apart_unless_the_rule_is_chosen() -> None:
    uses = of("Peop", "John Adams", "John Quincy Adams")
    assert len(resolve(uses).groups) == 2
    assert len(resolve(uses, rules=RULE_NAMES).groups) == 1
    assert set(RULE_NAMES) - set(DEFAULT_RULES) == {"middle_name"}


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(UsageError, match='unknown merge rule "magic"; expected some of same_text, title'):
        resolve([], rules=["title", "magic"])


TEXTS = st.sampled_from(sorted({text for _, *both in JOINED_BY.values() for text in both} | {"John Parker", "?"}))
USES = st.lists(
    st.builds(Use, st.sampled_from(["r1", "r2"]), TEXTS, st.sampled_from(["Peop", "Org", "Loc"])), max_size=12
)


@given(USES)
def test_every_use_is_in_one_group_of_its_type_and_the_merges_make_the_group(uses: list[Use]) -> None:
    resolution = resolve(uses)
    flat = [use for group in resolution.groups for use in group]
    assert sorted(flat, key=str) == sorted(set(uses), key=str)
    for group, merges in zip(resolution.groups, resolution.merges, strict=True):
        assert len({use.type for use in group}) == 1
        assert len(merges) == len(group) - 1  # a tree: every merge was needed, and every member has its reason


# Words that the rules know, in any sequence: what nobody says must not break them either.
_WORDS = (
    "the of and Mr Mrs Dr President Doctor Judge King Pope Helen Bill William John Quincy Parker Anderson Andersen Jr "
    "Senior II the Second 8th Bank Company Inc Corp University Airlines Group US United States NSB WHO World St Mt Ore "
    "Oregon , Portland A J . & - 's ガーナ дом"
)
PHRASES = st.lists(st.sampled_from(_WORDS.split()), min_size=1, max_size=6).map(" ".join)
ANY_USES = st.lists(
    st.builds(Use, st.sampled_from(["r1", "r2"]), PHRASES, st.sampled_from(["Peop", "Org", "Loc", "X"])), max_size=20
)


@given(ANY_USES, st.sets(st.sampled_from(RULE_NAMES)))
def test_any_names_can_be_resolved_by_any_rules(uses: list[Use], rules: set[str]) -> None:
    resolution = resolve(uses, rules=rules, apart=[("Helen", "John")], stated_apart=pairwise(uses))
    assert sorted((use for group in resolution.groups for use in group), key=str) == sorted(set(uses), key=str)


@given(USES)
def test_without_rules_every_use_stays_alone(uses: list[Use]) -> None:
    assert all(len(group) == 1 for group in resolve(uses, rules=()).groups)
