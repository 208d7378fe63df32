"""The best words by rough scores and a second look, against the full product."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from speechre.model.quantize import quantize_rows
from speechre.model.shortlist import MAX_COUNT, IntegerProduct, Shortlist, has_integer_kernel, highest

VOCAB, WIDTH = 5_003, 64
needs_kernel = pytest.mark.skipif(not has_integer_kernel(), reason="no multiplication of 8-bit integers here")


@pytest.mark.parametrize("num_columns", [3, 127, 1_280, 5_003])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_the_highest_are_those_of_a_sort(num_columns: int, count: int) -> None:
    generator = torch.Generator().manual_seed(num_columns)
    for _ in range(20):
        rows = torch.randn(3, num_columns, generator=generator)
        rows[0, -1] = 9.0  # behind the last whole block
        rows[1, : num_columns // 2] = -torch.inf
        best, columns = highest(rows, min(count, num_columns))
        assert torch.equal(best, rows.sort(dim=1, descending=True).values[:, :count])
        assert torch.equal(rows.gather(1, columns), best)


def states(num_rows: int, generator: torch.Generator) -> torch.Tensor:
    """Rows of very different length, some of them with a number that is far larger than the others."""
    rows = torch.randn(num_rows, WIDTH, generator=generator) * torch.logspace(-1, 1, num_rows)[:, None]
    rows[::2, 7] *= 50
    return rows


def test_without_the_instructions_or_the_version_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_supported in (lambda: False, None):
        has_integer_kernel.cache_clear()
        if is_supported is None:
            monkeypatch.delattr(torch.cpu, "_is_vnni_supported")
        else:
            monkeypatch.setattr(torch.cpu, "_is_vnni_supported", is_supported)
        assert not has_integer_kernel()
    has_integer_kernel.cache_clear()


def as_stored(weight: torch.Tensor) -> torch.Tensor:
    """As it is when its file held 8-bit integers."""
    integers, scale = quantize_rows(weight)
    return integers * scale[:, None]


@needs_kernel
def test_integer_products_are_those_of_the_rounded_numbers() -> None:
    generator = torch.Generator().manual_seed(1)
    integers = torch.randint(-127, 128, (40, WIDTH), generator=generator).float()
    integers[:, 0] = 127  # so that the scale of each row is one
    bias = torch.zeros(40)
    bias[3] = -torch.inf
    given = states(6, generator)
    products, lost = IntegerProduct(integers, bias)(given)
    assert torch.allclose(products, (given - lost) @ integers.T + bias, rtol=1e-5, atol=1e-3)
    assert (lost.abs().amax(1) <= given.abs().amax(1) / 253).all()
    assert lost.abs().max() > 0


@needs_kernel
@pytest.mark.parametrize("kind", ["any", "stored", "close"])
@pytest.mark.parametrize("num_rows", [1, 5, 8])
def test_words_and_probabilities_are_those_of_the_full_product(kind: str, num_rows: int) -> None:
    generator = torch.Generator().manual_seed(num_rows)
    weight = torch.randn(VOCAB, WIDTH, generator=generator) * 0.3
    if kind == "stored":
        weight = as_stored(weight)
    elif kind == "close":
        weight = weight[:1] + 0.05 * weight
    allowed = torch.rand(VOCAB, generator=generator) < 0.9
    given = states(num_rows, generator)
    log_probs, words = Shortlist(weight, allowed).best(given, 10)
    exact = F.linear(given.double(), weight.double()).masked_fill(~allowed, -torch.inf).log_softmax(dim=1)
    best = exact.topk(10, dim=1).values
    assert allowed[words].all()
    assert torch.allclose(exact.gather(1, words), best, atol=1e-4)
    assert torch.allclose(log_probs.double(), best, atol=5e-3)


@needs_kernel
def test_fewer_words_than_the_list_is_long() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    allowed = torch.zeros(VOCAB, dtype=torch.bool)
    allowed[::200] = True
    given = torch.randn(3, WIDTH, generator=generator)
    log_probs, words = Shortlist(weight, allowed).best(given, 10)
    expected = F.linear(given, weight).masked_fill(~allowed, -torch.inf).log_softmax(dim=1).topk(10, dim=1)
    assert torch.equal(words, expected.indices)
    assert torch.allclose(log_probs, expected.values, atol=1e-4)


@needs_kernel
def test_most_rows_are_answered_by_rough_scores_and_some_by_finer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    weight[:, 7] = 0
    weight = as_stored(weight)
    shortlist = Shortlist(weight, torch.ones(VOCAB, dtype=torch.bool))
    given = torch.randn(8, WIDTH, generator=generator)
    given[::2, 7] = 500.0
    expected = shortlist._best_of_all(given, 10)
    monkeypatch.setattr(Shortlist, "_best_of_all", lambda *_: pytest.fail("read the whole projection"))
    looks: list[int] = []
    listed = Shortlist._listed
    monkeypatch.setattr(
        Shortlist, "_listed", lambda self, rows, *rest: (looks.append(len(rows)), listed(self, rows, *rest))[1]
    )
    log_probs, words = shortlist.best(given, 10)
    assert torch.equal(words, expected[1])
    assert torch.allclose(log_probs, expected[0], atol=5e-3)
    assert looks == [8, 4]


@needs_kernel
def test_equal_words_and_states_that_are_no_numbers_are_answered_by_the_full_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shortlist = Shortlist(torch.randn(1, WIDTH).repeat(VOCAB, 1), torch.ones(VOCAB, dtype=torch.bool))
    asked: list[int] = []
    of_all = Shortlist._best_of_all
    monkeypatch.setattr(
        Shortlist, "_best_of_all", lambda self, rows, count: (asked.append(len(rows)), of_all(self, rows, count))[1]
    )
    log_probs, _ = shortlist.best(torch.randn(2, WIDTH), 10)
    assert torch.allclose(log_probs, torch.full((2, 10), 1 / VOCAB).log(), atol=1e-4)
    shortlist.best(torch.full((1, WIDTH), torch.nan), 10)
    assert asked == [2, 1]


@needs_kernel
def test_more_than_half_of_the_list_is_too_much() -> None:
    shortlist = Shortlist(torch.randn(VOCAB, WIDTH), torch.ones(VOCAB, dtype=torch.bool))
    with pytest.raises(ValueError, match="33 words of a shortlist of 64, expected at most 32"):
        shortlist.best(torch.randn(1, WIDTH), MAX_COUNT + 1)
