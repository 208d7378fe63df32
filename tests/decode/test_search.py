"""The steps of the search by themselves; the search as a whole is compared in test_engine.py."""

from __future__ import annotations

import pytest
import torch

from speechre.decode.search import top_candidates


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
