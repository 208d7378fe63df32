"""Random changes of JSON values, for tests of what comes from outside."""

from __future__ import annotations

import random
from typing import Any


def mutate(rng: random.Random, value: Any) -> Any:
    """One random change somewhere in a JSON value."""
    odd = [None, "", " ", -1, 3, 1.5, 10**30, True, [], {}, "e0", "<Peop>", "Uma Reyes ", "Velden", "\ud800", "\x00"]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        what = rng.random()
        if what < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if what < 0.3:
            return {**value, rng.choice(["speaker", "new", "start", "id", key]): rng.choice(odd)}
        return {**value, key: mutate(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if rng.random() < 0.3:
            return [*value, value[place]]
        return [*value[:place], mutate(rng, value[place]), *value[place + 1 :]]
    return rng.choice(odd)
