"""Agreement beyond chance on units that every annotator gave one label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two annotators, from their labels of each unit (Cohen 1960, "A coefficient of agreement for
    nominal scales").

    1 is full agreement, 0 what chance would give with the same labels, below 0 less. ``None`` where it is not defined:
    no units, or one label for everything.

    >>> pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    >>> round(cohen_kappa(pairs), 3)
    0.4
    """
    if not pairs:
        return None
    counts = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    # In whole numbers up to the last step, so that "one label for everything" is known for certain.
    total = len(pairs)
    observed = sum(one == other for one, other in pairs) * total
    expected = sum(counts[0][label] * counts[1][label] for label in counts[0])
    return None if expected == total * total else (observed - expected) / (total * total - expected)


def fleiss_kappa(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of any number of annotators, from each unit's labels (Fleiss 1971, "Measuring nominal scale
    agreement among many raters").

    Every unit needs as many labels as the others, two or more. For two annotators this is Scott's pi, not Cohen's
    kappa: chance is taken from the labels of all annotators together. ``None`` as in :func:`cohen_kappa`.

    >>> round(fleiss_kappa([("a", "a", "b"), ("b", "b", "b"), ("a", "a", "a")]), 3)
    0.55
    """
    if not units:
        return None
    num_labels = len(units[0])
    if num_labels < 2 or any(len(unit) != num_labels for unit in units):
        raise ValueError("every unit needs the labels of the same two or more annotators")
    total = len(units) * num_labels
    # Pairs of annotators that agree, of those that there are.
    agreeing = sum(n * (n - 1) for unit in units for n in Counter(unit).values())
    observed = agreeing / (total * (num_labels - 1))
    shares = Counter(label for unit in units for label in unit)
    if len(shares) == 1:
        return None
    expected = sum((n / total) ** 2 for n in shares.values())
    return (observed - expected) / (1 - expected)
