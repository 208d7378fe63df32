"""Learning rates over the steps of a training."""

from __future__ import annotations


def rate_factor(step: int, num_steps: int, num_warmup: int) -> float:
    """Linear warm-up, then linear decay to zero behind the last step; ``step`` counts from 0."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - num_warmup))
