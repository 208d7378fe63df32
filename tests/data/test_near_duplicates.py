"""The join finds exactly the pairs that a comparison of all with all finds."""

from __future__ import annotations

import doctest
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.data.near_duplicates
from speechre.data.near_duplicates import find_alike, normalized_sentence


def brute_force(texts: list[str], similarity: float) -> set[tuple[int, int]]:
    bags = [Counter(normalized_sentence(text).split()) for text in texts]
    return {
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if bags[i] and bags[j] and (bags[i] & bags[j]).total() / (bags[i] | bags[j]).total() >= similarity - 1e-9
    }


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.data.near_duplicates)
    assert (result.attempted > 0, result.failed) == (True, 0)


words = st.lists(
    st.sampled_from(["ann", "bo", "lee", "lives", "works", "in", "at", "oslo", "bergen", "and", "the", "the"]),
    max_size=9,
)


@given(st.lists(words.map(" ".join), max_size=14), st.sampled_from([0.3, 0.5, 0.8, 0.9, 1.0]))
def test_no_pair_is_missed_and_none_comes_twice(texts: list[str], similarity: float) -> None:
    found = [(pair.first, pair.second) for pair in find_alike(texts, similarity)]
    assert len(found) == len(set(found))
    assert set(found) == brute_force(texts, similarity)


def test_one_word_of_ten_may_be_another() -> None:
    one = "Ann Lee moved from Oslo to Bergen in the autumn"
    (pair,) = find_alike([one, one.replace("autumn", "spring"), "Bo Ray moved from Rome to Turin in the autumn"])
    assert (pair.first, pair.second, round(pair.similarity, 3)) == (0, 1, 0.818)


def test_a_word_that_stands_twice_is_two_words() -> None:
    assert not list(find_alike(["no no no no", "no"]))


def test_writing_without_spaces_is_compared_by_characters() -> None:
    one, other = "東京に住む李先生は病院で働いている", "東京に住む王先生は病院で働いている"
    assert [(p.first, p.second) for p in find_alike([one, other, "大阪の天気は今日もとても良いです"])] == [(0, 1)]


def test_texts_without_words_are_like_no_other() -> None:
    assert not list(find_alike(["", "", " "]))
    assert [p.similarity for p in find_alike(["?!", "?!"])] == [1.0]
    assert normalized_sentence(" ?! ") == "?!"


@pytest.mark.parametrize("similarity", [0.0, -1.0, 1.1])
def test_an_impossible_similarity(similarity: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        list(find_alike([], similarity))
