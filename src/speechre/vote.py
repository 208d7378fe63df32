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

from speechre.calibration import Calibration
from speechre.config import DecodeConfig
from speechre.errors import ConfigError, SpeechreError
from speechre.metrics import statement_key
from speechre.orders import ORDERS, select_orders
from speechre.types import Entity, Triplet

# Six sixths may sum to a hair less than 1: a threshold is meant up to rounding.
_ROUNDING = 1e-9
_UNCALIBRATED = Calibration()


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
        """Believes by the softmax of scores. Raises :class:`SpeechreError` on one that is no log-probability."""
        for rank, hypothesis in enumerate(hypotheses):
            if math.isnan(hypothesis.score) or hypothesis.score == math.inf:
                raise SpeechreError(
                    f'order "{order}", hypothesis {rank}: score {hypothesis.score} is not a log-probability; '
                    "check the model's output for overflow"
                )
        return cls(order, tuple(hypotheses), _softmax([h.score for h in hypotheses]))


@dataclass(frozen=True, slots=True)
class PaperVote:
    """The paper's rule: a triplet stays if at least ``min_votes`` orders wrote the identical five strings.

    Texts, types and relation must agree letter by letter but for outer white space; only each order's best
    hypothesis votes. Where there are fewer orders than ``min_votes``, all of them must agree, so that one order alone
    keeps what it wrote, as in the released code. Confidence is votes over orders.
    """

    min_votes: int = 2

    def __post_init__(self) -> None:
        if self.min_votes < 1:
            raise ConfigError(f"min_votes must be at least 1; got {self.min_votes}")

    def __call__(self, ballots: Sequence[Ballot], read: Sequence[Triplet] | None = None) -> Iterator[Triplet]:
        """The triplets that stay, in the sequence they were first written. The paper has no reader: ``read`` does not
        count.
        """
        needed = min(self.min_votes, len(ballots))
        for mentions in _group(ballots, _identical):
            orders = _voters(mentions)
            if orders and len(orders) >= needed:
                yield replace(_merge(mentions), confidence=len(orders) / len(ballots), votes=len(orders), orders=orders)


@dataclass(frozen=True, slots=True)
class WeightedVote:
    """Support from all beams of all orders, and the text reader's belief, calibrated, against a threshold.

    An order's hypotheses share its belief by the softmax of their scores. A triplet's support is the belief
    in the hypotheses that contain it, averaged over the orders: a number from 0 to 1, and votes over orders
    where every order has a single hypothesis. Confidence is ``calibration(support)``, or, where a reader has read the
    transcript, ``reader_calibration(support, belief)`` (without that curve the mean of both), and a triplet stays when
    confidence >= ``threshold``.

    Spellings that normalize alike are one triplet. Its pair of types, the text of its head and the text of
    its tail are each the form with the most belief behind it, then with the best score, then the first
    written; the orders' forms come before the reader's.
    """

    threshold: float = 0.5
    calibration: Calibration = _UNCALIBRATED
    reader_calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"the threshold of a vote is a probability from 0 to 1; got {self.threshold}")

    def __call__(self, ballots: Sequence[Ballot], read: Sequence[Triplet] | None = None) -> Iterator[Triplet]:
        """The triplets that stay, in the sequence they were first written, those that were only read behind them."""
        for triplet, support, belief in _weigh(ballots, read or ()):
            confidence = self.calibration(support) if read is None else self._joint(support, belief)
            if confidence >= self.threshold - _ROUNDING:
                yield replace(triplet, confidence=confidence)

    def _joint(self, support: float, belief: float) -> float:
        curve = self.reader_calibration
        return (support + belief) / 2 if curve is None else curve(support, belief)


VoteRule = PaperVote | WeightedVote


def vote_rule(config: DecodeConfig) -> VoteRule:
    """The rule that a run's config asks for. Raises :class:`ConfigError` on numbers that make no rule."""
    if config.vote == "paper":
        return PaperVote(config.min_votes)
    joint = None
    if config.reader_calibration:
        slope, reader_slope, intercept = config.reader_calibration
        joint = Calibration(slope, intercept, reader_slope)
    return WeightedVote(config.threshold, Calibration(*config.calibration), joint)


def vote(
    hypotheses: Mapping[str, Sequence[Hypothesis]], rule: VoteRule, read: Sequence[Triplet] | None = None
) -> tuple[Triplet, ...]:
    """One list of triplets from what each order wrote: the most confident first, then the first written.

    ``hypotheses`` maps the name of an order to its hypotheses, best first. An order that found nothing has
    an empty sequence or an empty hypothesis, and still counts among the orders. Each triplet carries
    ``confidence``, ``votes`` (the number of orders whose best hypothesis wrote it) and ``orders`` (their
    names, in the sequence of :data:`~speechre.orders.ORDERS`, whatever the sequence of the mapping). A
    triplet that stands twice in a hypothesis counts once. ``read`` is what a text reader believes of the
    transcript, its beliefs as confidences; ``None`` where there is no reader.

    Raises :class:`UsageError` on an unknown order and on no order at all, and :class:`SpeechreError` on a score that
    is no log-probability.
    """
    # A stable sort: equal confidences stay in the sequence they were first written.
    return tuple(sorted(rule(_ballots(hypotheses), read), key=lambda triplet: -(triplet.confidence or 0.0)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """A triplet that any beam wrote or the reader read, and how much speaks for it: two numbers from 0 to 1."""

    triplet: Triplet
    support: float
    belief: float


def raw_evidence(
    hypotheses: Mapping[str, Sequence[Hypothesis]], read: Sequence[Triplet] | None = None
) -> tuple[Evidence, ...]:
    """All triplets with what speaks for them: what a calibration is fitted on. Raises as :func:`vote` does."""
    return tuple(Evidence(*weighed) for weighed in _weigh(_ballots(hypotheses), read or ()))


def _ballots(hypotheses: Mapping[str, Sequence[Hypothesis]]) -> list[Ballot]:
    names = {order.name for order in select_orders(hypotheses)}
    return [Ballot.of(name, hypotheses[name]) for name in ORDERS if name in names]


def _weigh(ballots: Sequence[Ballot], read: Sequence[Triplet]) -> Iterator[tuple[Triplet, float, float]]:
    """Each triplet with votes and orders, its support and its belief."""
    beliefs: dict[Hashable, Triplet] = {}
    for triplet in read:
        key = statement_key(triplet)
        if key not in beliefs or (triplet.confidence or 0.0) > (beliefs[key].confidence or 0.0):
            beliefs[key] = triplet
    for mentions in _group(ballots, statement_key):
        support = min(1.0, math.fsum(m.belief for m in mentions) / len(ballots))
        orders = _voters(mentions)
        same = beliefs.pop(statement_key(mentions[0].triplet), None)
        merged = replace(_merge(mentions), votes=len(orders), orders=orders)
        yield merged, support, 0.0 if same is None else same.confidence or 0.0
    for triplet in beliefs.values():
        yield replace(triplet, confidence=None, votes=0, orders=()), 0.0, triplet.confidence or 0.0


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
