"""The ensemble over element orders: what the six orders wrote becomes one list of triplets with confidences.

The paper (arXiv 2509.08438) keeps a triplet that at least two orders wrote letter by letter alike:
:class:`PaperVote`. :class:`WeightedVote` keys triplets by normalized text, weighs every hypothesis of every
beam by its share of the order's belief, and keeps what passes a threshold that was chosen on the
development set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

from speechre.config import DecodeConfig
from speechre.errors import ConfigError, UsageError
from speechre.metrics import normalize_text
from speechre.orders import ORDERS, select_orders
from speechre.types import Entity, Triplet

# Six sixths may sum to a hair less than 1: a threshold is meant up to rounding.
_ROUNDING = 1e-9
# Weighs slope**2 / 2 in the loss of a fit: nothing beside dozens of judgements, but it keeps the slope finite
# where all supports are the same and tame where they differ by a hair.
_RIDGE = 1e-2
# Below a vote of one order in six, and as far from 1: where log-odds would run off to infinity.
_MIN_SUPPORT = 0.02


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of an utterance in one order: the triplets it wrote and its log-probability."""

    triplets: tuple[Triplet, ...]
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Ballot:
    """One order's hypotheses, best first, and its belief in each; beliefs sum to 1 where there are any."""

    order: str
    hypotheses: tuple[Hypothesis, ...]
    beliefs: tuple[float, ...]

    @classmethod
    def of(cls, order: str, hypotheses: Sequence[Hypothesis]) -> Ballot:
        """Believes by the softmax of scores. Raises :class:`UsageError` on one that is no log-probability."""
        for rank, hypothesis in enumerate(hypotheses):
            if math.isnan(hypothesis.score) or hypothesis.score == math.inf:
                raise UsageError(
                    f'order "{order}", hypothesis {rank}: score {hypothesis.score} is not a log-probability; '
                    "check the model's output for overflow"
                )
        return cls(order, tuple(hypotheses), _softmax([h.score for h in hypotheses]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve from raw support to a probability, over the support's log-odds.

    ``1 / (1 + exp(-(slope * logit(support) + intercept)))``, where the support is first held between 0.02
    and 0.98: unanimity of six orders is strong evidence, not infinite evidence. Slope 1 and intercept 0,
    the default, means no calibration: the support itself.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, support: float) -> float:
        """The probability that a triplet with this support (0 to 1) is right."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return support
        return _sigmoid(self.slope * _logit(support) + self.intercept)

    def to_dict(self) -> dict[str, float]:
        """The JSON form, stored in checkpoints."""
        return {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """The inverse of :meth:`to_dict`. Raises :class:`ConfigError` on other keys or values."""
        slope, intercept = data.get("slope"), data.get("intercept")
        if len(data) == 2 and _is_finite_number(slope) and _is_finite_number(intercept):
            return cls(float(slope), float(intercept))
        raise ConfigError(f"calibration: got {dict(data)}; expected two finite numbers, slope and intercept")

    @classmethod
    def fit(cls, supports: Sequence[float], is_right: Sequence[bool], max_steps: int = 50) -> Calibration:
        """The curve that makes the development set's hits and misses likeliest.

        Platt's method with his smoothed targets, so that a set without any miss still gets a finite curve, by
        damped Newton steps (Lin, Lin and Weng 2007, "A note on Platt's probabilistic outputs for support
        vector machines"). Where more support comes with fewer hits the slope is 0 and the curve flat at the
        share of hits: confidence never falls as support grows.

        Raises :class:`UsageError` when there is nothing to fit, when the two sequences differ in length and
        when a support is not between 0 and 1.
        """
        if not supports or len(supports) != len(is_right):
            raise UsageError(
                f"a calibration needs at least one support and a judgement for each; "
                f"got {len(supports)} supports and {len(is_right)} judgements"
            )
        wild = [s for s in supports if not 0 <= s <= 1]
        if wild:
            raise UsageError(f"a calibration is fitted on raw supports from 0 to 1; got {wild[0]}")
        num_right = sum(map(bool, is_right))
        target_right, target_wrong = (num_right + 1) / (num_right + 2), 1 / (len(is_right) - num_right + 2)
        targets = [target_right if right else target_wrong for right in is_right]
        slope, intercept = _fit_logistic([_logit(s) for s in supports], targets, max_steps)
        if slope < 0:
            share = math.fsum(targets) / len(targets)
            slope, intercept = 0.0, math.log(share / (1 - share))
        return cls(slope, intercept)


@dataclass(frozen=True, slots=True)
class PaperVote:
    """The paper's rule: a triplet stays if at least ``min_votes`` orders wrote the identical five strings.

    Texts, types and relation must agree letter by letter but for outer white space; only each order's best
    hypothesis votes. With fewer orders than ``min_votes`` half of ``min_votes`` is enough, as in the released
    code, so that one order alone keeps what it wrote. Confidence is votes over orders.
    """

    min_votes: int = 2

    def __post_init__(self) -> None:
        if self.min_votes < 1:
            raise ConfigError(f"min_votes must be at least 1; got {self.min_votes}")

    def __call__(self, ballots: Sequence[Ballot]) -> Iterator[Triplet]:
        """The triplets that stay, in the sequence they were first written."""
        needed = self.min_votes if self.min_votes <= len(ballots) else self.min_votes / 2
        for mentions in _group(ballots, _identical):
            orders = _voters(mentions)
            if orders and len(orders) >= needed:
                yield replace(_merge(mentions), confidence=len(orders) / len(ballots), votes=len(orders), orders=orders)


@dataclass(frozen=True, slots=True)
class WeightedVote:
    """Support from all beams of all orders, calibrated, against a threshold.

    An order's hypotheses share its belief by the softmax of their scores. A triplet's support is the belief
    in the hypotheses that contain it, averaged over the orders: a number from 0 to 1, and votes over orders
    where every order has a single hypothesis. Confidence is ``calibration(support)``, and a triplet stays
    when confidence >= ``threshold``.

    Spellings that normalize alike are one triplet. Its pair of types, the text of its head and the text of
    its tail are each the form with the most belief behind it, then with the best score, then the first
    written.
    """

    threshold: float = 0.5
    calibration: Calibration = Calibration()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"the threshold of a vote is a probability from 0 to 1; got {self.threshold}")

    def __call__(self, ballots: Sequence[Ballot]) -> Iterator[Triplet]:
        """The triplets that stay, in the sequence they were first written."""
        for mentions in _group(ballots, _normalized):
            support = min(1.0, math.fsum(m.belief for m in mentions) / len(ballots))
            confidence = self.calibration(support)
            if confidence >= self.threshold - _ROUNDING:
                orders = _voters(mentions)
                yield replace(_merge(mentions), confidence=confidence, votes=len(orders), orders=orders)


VoteRule = PaperVote | WeightedVote


def vote_rule(config: DecodeConfig) -> VoteRule:
    """The rule that a run's config asks for. Raises :class:`ConfigError` on numbers that make no rule."""
    if config.vote == "paper":
        return PaperVote(config.min_votes)
    return WeightedVote(config.threshold, Calibration(*config.calibration))


def vote(hypotheses: Mapping[str, Sequence[Hypothesis]], rule: VoteRule) -> tuple[Triplet, ...]:
    """One list of triplets from what each order wrote: the most confident first, then the first written.

    ``hypotheses`` maps the name of an order to its hypotheses, best first. An order that found nothing has
    an empty sequence or an empty hypothesis, and still counts among the orders. Each triplet carries
    ``confidence``, ``votes`` (the number of orders whose best hypothesis wrote it) and ``orders`` (their
    names, in the sequence of :data:`~speechre.orders.ORDERS`, whatever the sequence of the mapping). A
    triplet that stands twice in a hypothesis counts once.

    Raises :class:`UsageError` on an unknown order, on no order at all and on a score that is no
    log-probability.
    """
    names = {order.name for order in select_orders(hypotheses)}
    ballots = [Ballot.of(name, hypotheses[name]) for name in ORDERS if name in names]
    # A stable sort: equal confidences stay in the sequence they were first written.
    return tuple(sorted(rule(ballots), key=lambda triplet: -(triplet.confidence or 0.0)))


def raw_supports(hypotheses: Mapping[str, Sequence[Hypothesis]]) -> tuple[Triplet, ...]:
    """Every triplet that any beam wrote, with its raw support as confidence: what a calibration is fitted on.

    Raises as :func:`vote` does.
    """
    return vote(hypotheses, WeightedVote(threshold=0.0))


@dataclass(frozen=True, slots=True)
class _Mention:
    """A triplet as one hypothesis wrote it."""

    triplet: Triplet
    order: str
    is_best: bool
    belief: float
    score: float


def _identical(t: Triplet) -> Hashable:
    return t.head.text.strip(), t.head.type, t.relation, t.tail.text.strip(), t.tail.type


def _normalized(t: Triplet) -> Hashable:
    return normalize_text(t.head.text), t.relation, normalize_text(t.tail.text)


def _group(ballots: Sequence[Ballot], key: Callable[[Triplet], Hashable]) -> Iterable[list[_Mention]]:
    """The mentions of each triplet, triplets in the sequence they were first written."""
    groups: dict[Hashable, list[_Mention]] = {}
    for ballot in ballots:
        for rank, (hypothesis, belief) in enumerate(zip(ballot.hypotheses, ballot.beliefs, strict=True)):
            unique: dict[Hashable, Triplet] = {}
            for triplet in hypothesis.triplets:
                unique.setdefault(key(triplet), triplet)
            for k, triplet in unique.items():
                mention = _Mention(triplet, ballot.order, rank == 0, belief, hypothesis.score)
                groups.setdefault(k, []).append(mention)
    return groups.values()


def _voters(mentions: Sequence[_Mention]) -> tuple[str, ...]:
    return tuple(m.order for m in mentions if m.is_best)


def _merge(mentions: Sequence[_Mention]) -> Triplet:
    """One triplet in the majority's types and spellings, with the entities of the first that wrote it so."""
    head_type, tail_type = _majority(mentions, lambda t: (t.head.type, t.tail.type))
    head_text = _majority(mentions, lambda t: (t.head.text.strip(),))[0]
    tail_text = _majority(mentions, lambda t: (t.tail.text.strip(),))[0]
    head = _first_written([m.triplet.head for m in mentions], head_text, head_type)
    tail = _first_written([m.triplet.tail for m in mentions], tail_text, tail_type)
    return Triplet(head, mentions[0].triplet.relation, tail)


def _majority(mentions: Sequence[_Mention], form: Callable[[Triplet], tuple[str, ...]]) -> tuple[str, ...]:
    beliefs: dict[tuple[str, ...], float] = {}
    scores: dict[tuple[str, ...], float] = {}
    for m in mentions:
        k = form(m.triplet)
        beliefs[k] = beliefs.get(k, 0.0) + m.belief
        scores[k] = max(scores.get(k, -math.inf), m.score)
    return max(beliefs, key=lambda k: (beliefs[k], scores[k]))  # max takes the first of equals


def _first_written(entities: Sequence[Entity], text: str, entity_type: str) -> Entity:
    spelled = [e for e in entities if e.text.strip() == text]
    return replace(next((e for e in spelled if e.type == entity_type), spelled[0]), text=text, type=entity_type)


def _softmax(scores: Sequence[float]) -> tuple[float, ...]:
    """Shares that sum to 1; all scores minus infinity share alike, as any other equal scores."""
    best = max(scores, default=0.0)
    masses = [1.0 if score == best else math.exp(score - best) for score in scores]
    total = math.fsum(masses)
    return tuple(mass / total for mass in masses)


def _logit(support: float) -> float:
    held = min(max(support, _MIN_SUPPORT), 1 - _MIN_SUPPORT)
    return math.log(held / (1 - held))


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))  # the same, without overflow


def _fit_logistic(xs: Sequence[float], targets: Sequence[float], max_steps: int) -> tuple[float, float]:
    """Slope and intercept of least cross-entropy: Newton's steps, halved until the loss does not rise."""

    def loss(a: float, b: float) -> float:
        # log(1 + e^z) - tz, written so that no exponential overflows
        terms = (max(z, 0) + math.log1p(math.exp(-abs(z))) - t * z for z, t in ((a * x + b, t) for x, t in pairs))
        return math.fsum(terms) + _RIDGE / 2 * a * a

    pairs = list(zip(xs, targets, strict=True))
    a, b = 0.0, 0.0
    for _ in range(max_steps):
        grad_a, grad_b, hess_aa, hess_ab, hess_bb = _RIDGE * a, 0.0, _RIDGE, 0.0, 0.0
        for x, t in pairs:
            p = _sigmoid(a * x + b)
            grad_a, grad_b = grad_a + (p - t) * x, grad_b + (p - t)
            w = p * (1 - p)
            hess_aa, hess_ab, hess_bb = hess_aa + w * x * x, hess_ab + w * x, hess_bb + w
        det = hess_aa * hess_bb - hess_ab * hess_ab
        step_a = (hess_bb * grad_a - hess_ab * grad_b) / det
        step_b = (hess_aa * grad_b - hess_ab * grad_a) / det
        scale = 1.0
        while scale > 1e-6 and loss(a - scale * step_a, b - scale * step_b) > loss(a, b):
            scale /= 2
        a, b = a - scale * step_a, b - scale * step_b
        if abs(scale * step_a) + abs(scale * step_b) < 1e-9:
            break
    return a, b


def _is_finite_number(value: object) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(cast(float, value))
