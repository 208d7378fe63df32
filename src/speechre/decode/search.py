"""Beam search over groups: one group is one order of one utterance, with K beams; K = 1 is greedy search.

The algorithm, which the tests repeat without batch and cache: at each step the 2K best continuations of a group's live
beams are ranked by log-probability. Those among the first K that end the sequence are finished; the best K others live
on. With K = 1 the group is done at its first end. Otherwise it is done when K hypotheses are finished and no live beam
can still beat the worst of the best K, even if it lost no more probability up to the longest length allowed (what it
may still gain by known names is not foreseen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from speechre.model.rows import DecoderRows
from speechre.model.shortlist import highest


@dataclass(frozen=True)
class Generation:
    """One finished sequence: its tokens without the end, its log-probability, and whether it came to its end by
    itself. ``gain`` is what known names brought (:mod:`speechre.decode.names`), which ``log_prob`` has in it.
    """

    ids: tuple[int, ...]
    log_prob: float
    is_finished: bool
    gain: float = 0.0

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


BestNext = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Of hidden states (N, D) and a count C, each row's C best next tokens, or fewer where there are fewer: their
log-probabilities and ids, (N, C) each, best first.
"""


def top_candidates(
    log_probs_NC: Tensor, tokens_NC: Tensor, scores_GK: Tensor, num_candidates: int
) -> list[list[tuple[float, int, int]]]:
    """For each group the best (log-probability, beam, token), best first, of the best of its K beams."""
    num_groups, num_each = len(scores_GK), log_probs_NC.shape[1]
    num_beams = len(log_probs_NC) // num_groups
    total_GKC = scores_GK[:, :, None] + log_probs_NC.view(num_groups, num_beams, num_each)
    count = min(num_candidates, num_beams * num_each)
    best, index = total_GKC.flatten(1).topk(count, dim=1)
    tokens = tokens_NC.reshape(num_groups, -1).gather(1, index)
    beams = index // num_each
    return [list(zip(*row, strict=True)) for row in zip(best.tolist(), beams.tolist(), tokens.tolist(), strict=True)]


class SearchRules(Protocol):
    """What each row of a search may write next."""

    def forced(self, row: int) -> int | None:
        """The only token that may follow, where there is just one and that is known without a look at logits."""

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        """Row i continues row ``parents[i]`` with ``tokens[i]``, or stays where it is for None; as many rows as there
        are parents.
        """


class LogitRules(SearchRules, Protocol):
    """What each row may write next, said of logits."""

    @property
    def vocabulary(self) -> Tensor | None:
        """The tokens (U,) that logits are computed for, ascending; None: all of them."""

    def mask(self, logits_NU: Tensor) -> Tensor:
        """Logits with minus infinity for what may not follow."""


def best_by_logits(project: Callable[[Tensor], Tensor], rules: LogitRules) -> BestNext:
    """The best next tokens by the logits (N, U) that ``project`` makes of hidden states, of those that may follow."""

    def best(hidden_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
        log_probs_NU = rules.mask(project(hidden_ND).float()).log_softmax(dim=-1)
        log_probs_NC, columns_NC = highest(log_probs_NU, min(count, log_probs_NU.shape[1]))
        return log_probs_NC, columns_NC if rules.vocabulary is None else rules.vocabulary[columns_NC]

    return best


def search_groups(
    rows: DecoderRows,
    hidden_ND: Tensor,
    best_next: BestNext,
    rules: SearchRules,
    groups: Sequence[Group],
    groups_each: int,
    eot_id: int,
) -> int:
    """Advance all groups to their end; utterances whose groups are all done leave the batch. Returns the steps taken.

    Each utterance has ``groups_each`` of ``groups``, which lie utterance by utterance and have one row each in ``rows``
    at first; ``hidden_ND`` are the rows' hidden states, by which ``best_next`` finds the best tokens that ``rules``
    allow.
    """
    num_beams = groups[0].num_beams
    alive = list(range(len(groups) // groups_each))
    num_steps = 0
    while True:
        active = [groups[u * groups_each + o] for u in alive for o in range(groups_each)]
        parents, tokens = _step(active, *best_next(hidden_ND, 2 * num_beams), eot_id)
        num_steps += 1
        rules.advance(parents, tokens)
        written = [[token] for token in tokens]
        if num_beams == 1:
            _follow_forced(active, written, rules, eot_id)
        groups_of = [range(i * groups_each, (i + 1) * groups_each) for i in range(len(alive))]
        keep = [i for i, ours in enumerate(groups_of) if not all(active[g].is_done for g in ours)]
        if not keep:
            return num_steps
        is_same = len(keep) == len(alive)
        if not is_same:
            kept = [g * num_beams + k for i in keep for g in groups_of[i] for k in range(num_beams)]
            parents, written = [parents[r] for r in kept], [written[r] for r in kept]
            rules.advance(kept, [None] * len(kept))
        if num_beams > 1 or not is_same:
            rows.select(parents, None if is_same else keep)
        alive = [alive[i] for i in keep]
        hidden_ND = rows.feed(written)


def _step(active: Sequence[Group], log_probs_NC: Tensor, tokens_NC: Tensor, eot_id: int) -> tuple[list[int], list[int]]:
    """Every group takes its best continuations; returns all rows' parents and tokens."""
    num_beams, num_live = active[0].num_beams, len(log_probs_NC) // len(active)
    scores_GK = torch.tensor([group.log_probs for group in active], device=log_probs_NC.device)
    parents: list[int] = []
    tokens: list[int] = []
    candidates = top_candidates(log_probs_NC, tokens_NC, scores_GK, 2 * num_beams)
    for index, (group, ranked) in enumerate(zip(active, candidates, strict=True)):
        beams, next_ids = ([0] * num_beams, [eot_id] * num_beams) if group.is_done else group.step(ranked, eot_id)
        parents += [index * num_live + beam for beam in beams]
        tokens += next_ids
    return parents, tokens


def _follow_forced(active: Sequence[Group], written: Sequence[list[int]], rules: SearchRules, eot_id: int) -> None:
    """Where only one token may follow, write it too: its probability is 1, so the next look at the network is for the
    first token that has an alternative. Only for greedy search: the beams of a group go in step.
    """
    while True:
        tokens = [None if group.is_done else rules.forced(row) for row, group in enumerate(active)]
        if not any(token is not None for token in tokens):
            return
        for group, ids, token in zip(active, written, tokens, strict=True):
            if token is not None:
                group.step([(group.log_probs[0], 0, token)], eot_id)
                ids.append(token)
        rules.advance(range(len(active)), tokens)
