"""The steps of the search by themselves; the search as a whole is compared in test_engine.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from speechre.decode.search import Group, _follow_forced, top_candidates


@pytest.mark.parametrize("num_tokens", [3, 127, 1_280, 5_003])
@pytest.mark.parametrize("num_candidates", [1, 2, 10])
def test_candidates_are_the_highest_of_all(num_tokens: int, num_candidates: int) -> None:
    generator = torch.Generator().manual_seed(num_tokens)
    for _ in range(20):
        log_probs = torch.randn(2, 3, num_tokens, generator=generator)
        log_probs[0, 1, -1] = 9.0  # behind the last whole block
        log_probs[1, :, : num_tokens // 2] = -torch.inf
        scores = torch.tensor([[0.0, -1.0, -torch.inf], [-2.0, 0.5, 0.0]])
        found = top_candidates(log_probs, scores, num_candidates)
        for group, ranked in enumerate(found):
            total = (scores[group][:, None] + log_probs[group]).flatten()
            best, index = total.sort(descending=True)
            expected = [
                (value, place // num_tokens, place % num_tokens)
                for value, place in zip(best.tolist(), index.tolist(), strict=True)
            ][:num_candidates]
            assert [one[0] for one in ranked] == [one[0] for one in expected]
            assert [one for one in ranked if one[0] > -torch.inf] == [one for one in expected if one[0] > -torch.inf]


class Forcing:
    """Rules in which each row has a list of tokens that are forced, one after the other."""

    vocabulary = None

    def __init__(self, lists: list[list[int]]) -> None:
        self.lists = lists

    def mask(self, logits_NU: torch.Tensor) -> torch.Tensor:
        return logits_NU

    def forced(self, row: int) -> int | None:
        return self.lists[row][0] if self.lists[row] else None

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        for row, token in enumerate(tokens):
            if token is not None:
                assert self.lists[row].pop(0) == token


def test_forced_tokens_are_written_at_once_up_to_the_end_or_the_limit() -> None:
    end = 9
    groups = [Group(1, 6, 0.0, live=[(1,)], log_probs=[-0.5]) for _ in range(4)]
    written = [[1] for _ in groups]
    _follow_forced(groups, written, Forcing([[2, 3], [], [4, end], [5] * 20]), end)
    assert written == [[1, 2, 3], [1], [1, 4, end], [1, 5, 5, 5, 5, 5]]
    assert [group.is_done for group in groups] == [False, False, True, True]
    assert groups[0].live == [(1, 2, 3)]
    assert groups[0].log_probs == [-0.5]  # what is certain costs nothing
    assert [(g.ids, g.log_prob, g.is_finished) for g in groups[2].finished] == [((1, 4), -0.5, True)]
    assert [(g.ids, g.is_finished) for g in groups[3].finished] == [((1, 5, 5, 5, 5, 5), False)]
