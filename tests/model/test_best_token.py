"""The likeliest token by rough scores and a second look, against the full product."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from speechre.model.best_token import BestToken

VOCAB, WIDTH = 1003, 64


def projection(kind: str, generator: torch.Generator) -> torch.Tensor:
    """(V, D): any; rows that nearly are each other; rows of very different length; one row a copy of another."""
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    if kind == "close":
        return weight[:1] + 1e-3 * weight
    if kind == "lengths":
        return weight * torch.logspace(-3, 3, VOCAB)[:, None]
    if kind == "copies":
        weight[500:] = weight[: VOCAB - 500].clone()
    return weight


@pytest.mark.parametrize("kind", ["any", "close", "lengths", "copies"])
@pytest.mark.parametrize("num_rows", [1, 2, 8])
def test_the_choice_is_that_of_the_full_product(kind: str, num_rows: int) -> None:
    generator = torch.Generator().manual_seed(num_rows)
    weight = projection(kind, generator)
    allowed = torch.rand(VOCAB, generator=generator) < 0.9
    best_token = BestToken(weight, allowed)
    for scale in (1e-3, 1.0, 100.0):
        hidden = scale * torch.randn(num_rows, WIDTH, generator=generator)
        exact = F.linear(hidden.double(), weight.double()).masked_fill(~allowed, -torch.inf)
        chosen = torch.tensor(best_token(hidden))
        assert allowed[chosen].all()
        # Where two are equal up to float32's own rounding, either is right.
        rounding = 1e-6 * hidden.double().norm(dim=1) * weight.double().norm(dim=1).max()
        assert (exact.gather(1, chosen[:, None])[:, 0] >= exact.amax(1) - rounding).all()


def test_most_tokens_are_ruled_out_by_their_rough_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    best_token = BestToken(torch.randn(VOCAB, WIDTH, generator=generator), torch.ones(VOCAB, dtype=torch.bool))
    hidden = torch.randn(8, WIDTH, generator=generator)
    full = best_token._full(hidden)
    monkeypatch.setattr(BestToken, "_full", lambda self, hidden: pytest.fail("read the whole projection"))
    monkeypatch.setattr("speechre.model.best_token._CANDIDATES_MAX", 64)
    assert best_token(hidden) == full


def test_equal_scores_give_the_first_of_them() -> None:
    weight = torch.ones(VOCAB, WIDTH)
    allowed = torch.zeros(VOCAB, dtype=torch.bool)
    allowed[[7, 9, 900]] = True
    assert BestToken(weight, allowed)(torch.ones(2, WIDTH)) == [7, 7]


def test_states_that_are_no_numbers_are_answered_as_by_the_full_product() -> None:
    weight, allowed = torch.randn(VOCAB, WIDTH), torch.ones(VOCAB, dtype=torch.bool)
    hidden = torch.full((1, WIDTH), torch.nan)
    full = F.linear(hidden, weight).argmax(dim=1).tolist()
    assert BestToken(weight, allowed)(hidden) == full
