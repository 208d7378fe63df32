"""Who annotated is told before it is published, and can be left out."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

import speechre.data.annotator_names
from speechre.data.annotator_names import named_annotators, notes_on_names, without_provenance
from speechre.types import Utterance


def with_extra(**extra: Any) -> list[Utterance]:
    return [Utterance("u", None, "x", extra=extra)]


def test_the_docstrings_are_true() -> None:
    result = doctest.testmod(speechre.data.annotator_names)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, []),
        ({"agreement": {"annotators": ["a1", "a12"]}}, []),
        ({"agreement": {"annotators": ["a1", "ben"]}}, ["ben"]),
        ({"agreement": {"annotators": ["a1"], "extra": {"a1": {"by": "cleo@x.org"}}}}, ["cleo@x.org"]),
        ({"label_studio": {"annotation": {"completed_by": 7}}}, []),
        ({"label_studio": {"annotation": {"completed_by": {"email": "ann.b+c@x.co.uk"}}}}, ["ann.b+c@x.co.uk"]),
        ({"label_studio": {"task": {"created_username": " ann@x.org, 1"}}}, ["ann@x.org"]),
        ({"agreement": {"annotators": "ann"}}, []),
        ({"agreement": None, "label_studio": [3], "contact": "not@ours.org"}, []),
    ],
)
def test_who_is_named(extra: dict[str, Any], expected: list[str]) -> None:
    utterances = with_extra(**extra)
    assert named_annotators(utterances) == expected
    assert all(name in note for note in notes_on_names(utterances) for name in expected)
    assert len(notes_on_names(utterances)) == bool(expected)


def test_many_names_are_counted() -> None:
    names = [f"p{number}" for number in range(7)]
    (note,) = notes_on_names(with_extra(agreement={"annotators": names}))
    assert '"p3", "p4" and 2 more; ' in note


def test_only_the_provenance_goes() -> None:
    (utterance,) = without_provenance(with_extra(label_studio={"a": 1}, source="s"))
    assert utterance.extra == {"source": "s"}
