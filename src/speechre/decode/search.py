"""Beam search over groups: one group is one order of one utterance, with K beams; K = 1 is greedy search.

The algorithm, which the tests repeat without batch and cache: at each step the 2K best continuations of a group's live
beams are ranked by log-probability. Those among the first K that end the sequence are finished; the best K others live
on. With K = 1 the group is done at its first end. Otherwise it is done when K hypotheses are finished and no live beam
can still beat the worst of the best K, even if it lost no more probability up to the longest length allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Generation:
    """One finished sequence: its tokens without the end, its log-probability, and whether it came to its end by
    itself.
    """

    ids: tuple[int, ...]
    log_prob: float
    is_finished: bool

    def score(self, length_penalty: float) -> float:
        """What beams are ranked by: log-probability over (length with the end) ** length_penalty."""
        return float(self.log_prob / (len(self.ids) + 1) ** length_penalty)


@dataclass
class Group:
    """The bookkeeping of one group between steps."""

    num_beams: int
    max_new_tokens: int
    length_penalty: float
    live: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    log_probs: list[float] = field(default_factory=lambda: [0.0])
    finished: list[Generation] = field(default_factory=list)
    is_done: bool = False

    def step(self, candidates: Sequence[tuple[float, int, int]], eot_id: int) -> tuple[list[int], list[int]]:
        """Take the 2K best (log-probability, beam, token), best first; returns the next beams' parents and tokens.

        Always K of each: where fewer can live on, the first is repeated with log-probability minus infinity.
        """
        parents: list[int] = []
        tokens: list[int] = []
        log_probs: list[float] = []
        for rank, (log_prob, beam, token) in enumerate(candidates):
            if log_prob == -torch.inf:
                break
            if token == eot_id:
                if rank < self.num_beams:
                    self.finished.append(Generation(self.live[beam], log_prob, True))
            elif len(parents) < self.num_beams:
                parents.append(beam)
                tokens.append(token)
                log_probs.append(log_prob)
        self.is_done = not parents or self._cannot_improve(log_probs)
        missing = self.num_beams - len(parents)
        parents += [parents[0] if parents else 0] * missing
        tokens += [tokens[0] if tokens else eot_id] * missing
        log_probs += [-torch.inf] * missing
        self.live = [(*self.live[beam], token) for beam, token in zip(parents, tokens, strict=True)]
        self.log_probs = log_probs
        if not self.is_done and len(self.live[0]) >= self.max_new_tokens:
            self.is_done = True
            self.finished += [
                Generation(ids, log_prob, False)
                for ids, log_prob in zip(self.live, log_probs, strict=True)
                if log_prob > -torch.inf
            ]
        return parents, tokens

    def _cannot_improve(self, live_log_probs: list[float]) -> bool:
        if self.num_beams == 1:
            return bool(self.finished)
        if len(self.finished) < self.num_beams:
            return False
        worst = self._ranked()[self.num_beams - 1].score(self.length_penalty)
        optimistic = max(live_log_probs) / (self.max_new_tokens + 1) ** self.length_penalty
        return bool(optimistic <= worst)

    def _ranked(self) -> list[Generation]:
        # Generations that ended by themselves come first: one cut off at the limit is no answer to prefer.
        return sorted(self.finished, key=lambda g: (g.is_finished, g.score(self.length_penalty)), reverse=True)

    def best(self) -> tuple[Generation, ...]:
        """At most K generations, best first."""
        return tuple(self._ranked()[: self.num_beams])


def top_candidates(
    log_probs_GKU: Tensor, scores_GK: Tensor, num_candidates: int, vocabulary: Tensor | None = None
) -> list[list[tuple[float, int, int]]]:
    """For each group the best (log-probability, beam, token), best first; ``vocabulary`` names the tokens of U."""
    num_groups, num_beams, num_tokens = log_probs_GKU.shape
    total = scores_GK[:, :, None] + log_probs_GKU
    count = min(num_candidates, num_beams * num_tokens)
    best, index = total.view(num_groups, -1).topk(count, dim=1)
    beams, tokens = index // num_tokens, index % num_tokens
    if vocabulary is not None:
        tokens = vocabulary[tokens]
    return [list(zip(*row, strict=True)) for row in zip(best.tolist(), beams.tolist(), tokens.tolist(), strict=True)]
