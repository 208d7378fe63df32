"""The steps of the search by themselves; the search as a whole is compared in test_engine.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from speechre.decode.search import Group, _follow_forced, best_by_logits, top_candidates


@pytest.mark.parametrize("num_each", [1, 2, 20])
@pytest.mark.parametrize("num_candidates", [1, 2, 10])
def test_candidates_are_the_highest_of_all_beams(num_each: int, num_candidates: int) -> None:
    generator = torch.Generator().manual_seed(num_each)
    for _ in range(20):
        log_probs = torch.randn(6, num_each, generator=generator)
        log_probs[4, num_each // 2 :] = -torch.inf
        tokens = torch.randint(100, 50_000, (6, num_each), generator=generator)
        scores = torch.tensor([[0.0, -1.0, -torch.inf], [-2.0, 0.5, 0.0]])
        found = top_candidates(log_probs, tokens, scores, num_candidates)
        for group, ranked in enumerate(found):
            expected = sorted(
                (
                    (
                        float(scores[group, beam] + log_probs[3 * group + beam, c]),
                        beam,
                        int(tokens[3 * group + beam, c]),
                    )
                    for beam in range(3)
                    for c in range(num_each)
                ),
                reverse=True,
            )[:num_candidates]
            assert [one[0] for one in ranked] == [one[0] for one in expected]
            assert [one for one in ranked if one[0] > -torch.inf] == [one for one in expected if one[0] > -torch.inf]


@pytest.mark.parametrize("vocabulary", [None, torch.arange(0, 80, 2)])
def test_the_best_by_logits_are_those_that_the_rules_allow(vocabulary: torch.Tensor | None) -> None:
    class Odd(Forcing):
        def mask(self, logits_NU: torch.Tensor) -> torch.Tensor:
            return logits_NU.masked_fill(torch.arange(logits_NU.shape[1]) % 2 == 0, -torch.inf)

    rules = Odd([])
    rules.vocabulary = vocabulary
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    log_probs, tokens = best_by_logits(lambda hidden: hidden, rules)(logits, 4)
    expected, columns = rules.mask(logits).log_softmax(dim=1).sort(dim=1, descending=True)
    assert torch.equal(log_probs, expected[:, :4])
    assert torch.equal(tokens, columns[:, :4] if vocabulary is None else vocabulary[columns[:, :4]])
    log_probs, _ = best_by_logits(lambda hidden: hidden[:, :3], rules)(logits, 4)
    assert log_probs.shape == (3, 3)


class Forcing:
    """Rules in which each row has a list of tokens that are forced, one after the other."""

    vocabulary: torch.Tensor | None = None

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
