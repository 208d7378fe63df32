"""Which names are one entity's: the rules applied to all names of all recordings, with what keeps names apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from speechre.graph.model import Merge
from speechre.graph.names import Name, parse_name
from speechre.graph.rules import ALL_RULES, DEFAULT_RULES, SAME_TEXT, Rule, contradict, select_rules


@dataclass(frozen=True, slots=True)
class Use:
    """A name in a recording: what is merged. All mentions of one text and type in one recording are one use."""

    recording_id: str
    text: str
    type: str


@dataclass(frozen=True)
class Resolution:
    """``groups`` of uses that are one entity each, in the sequence of their first uses; the merges inside each; and
    the names that could have joined more than one group: (the use, the uses it could have joined).
    """

    groups: tuple[tuple[Use, ...], ...]
    merges: tuple[tuple[Merge, ...], ...]
    ambiguous: tuple[tuple[Use, tuple[Use, ...]], ...]


def resolve(
    uses: Sequence[Use],
    *,
    rules: Iterable[str] = DEFAULT_RULES,
    apart: Iterable[tuple[str, str]] = (),
    stated_apart: Iterable[tuple[Use, Use]] = (),
) -> Resolution:
    """Group ``uses`` into entities. Never joins two types.

    ``rules`` are the names of those that are on; ``apart`` are pairs of texts that no rule may join; ``stated_apart``
    are uses that a triplet relates to each other, which are hence two entities. Raises :class:`UsageError` on an
    unknown rule.
    """
    chosen = select_rules(rules)
    state = _Groups(uses, apart, stated_apart)
    if SAME_TEXT in chosen:
        state.join_same_texts()
    for rule in ALL_RULES:
        if rule.name in chosen:
            for bucket in state.buckets(rule):
                state.join(bucket, rule)
    return state.resolution()


class _Groups:
    """A union-find over uses that knows, for each group, its names and what must stay out."""

    def __init__(
        self, uses: Sequence[Use], apart: Iterable[tuple[str, str]], stated_apart: Iterable[tuple[Use, Use]]
    ) -> None:
        self.uses = list(dict.fromkeys(uses))
        self.names = [parse_name(use.text, use.type) for use in self.uses]
        self.root = list(range(len(self.uses)))
        self.members = [[n] for n in range(len(self.uses))]
        self.distinct: list[dict[Name, None]] = [{name: None} for name in self.names]
        self.merges: list[list[Merge]] = [[] for _ in self.uses]
        self.ambiguous: dict[int, dict[int, None]] = {}
        index = {use: n for n, use in enumerate(self.uses)}
        self.apart = {frozenset((_plain(one), _plain(other))) for one, other in apart}
        self.enemies: dict[int, set[int]] = defaultdict(set)
        for one, other in stated_apart:
            a, b = index[one], index[other]
            if self.names[a].key != self.names[b].key:
                self.enemies[a].add(b)
                self.enemies[b].add(a)

    def join_same_texts(self) -> None:
        """Equal words and type; a short or merely descriptive name only within its recording."""
        first: dict[Hashable, int] = {}
        for n, (use, name) in enumerate(zip(self.uses, self.names, strict=True)):
            key = (use.type, name.words or use.text, use.recording_id if name.is_local else None)
            known = first.setdefault(key, n)
            if known != n:
                self._unite(known, n, SAME_TEXT, "the same words")

    def buckets(self, rule: Rule) -> list[list[int]]:
        """Uses that share a key of the rule; where all are one group already, there is nothing to judge. Names that
        only their recording explains stay out of rules that hold everywhere.
        """
        found: dict[Hashable, list[int]] = defaultdict(list)
        for n, (use, name) in enumerate(zip(self.uses, self.names, strict=True)):
            if rule.scope == "any" and name.is_local:
                continue
            where = use.recording_id if rule.scope == "recording" else None
            for key in rule.keys(name):
                found[use.type, where, key].append(n)
        return [bucket for bucket in found.values() if len({self.root[n] for n in bucket}) > 1]

    def join(self, bucket: Sequence[int], rule: Rule) -> None:
        """Unite the groups of a bucket that fit. One that could join two which do not fit each other joins none."""
        groups: dict[int, dict[Name, int]] = {}
        for n in bucket:
            groups.setdefault(self.root[n], {}).setdefault(self.names[n], n)
        fitting: dict[frozenset[int], tuple[int, int]] = {}
        for a, b in combinations(groups, 2):
            pair = self._fit(groups[a], groups[b], rule)
            if pair is not None:
                fitting[frozenset((a, b))] = pair
        detail = {group: max(map(_detail, names)) for group, names in groups.items()}
        unclear: dict[int, list[int]] = {}
        for group in groups:
            fuller = [b for b in groups if frozenset((group, b)) in fitting and detail[b] > detail[group]]
            if any(frozenset(pair) not in fitting for pair in combinations(fuller, 2)):
                unclear[group] = fuller
        for group, fuller in unclear.items():
            self._note_ambiguous(group, groups, fuller)
        for both, (one, other) in fitting.items():
            if both.isdisjoint(unclear) and not self._excluded(self.root[one], self.root[other]):
                self._unite(one, other, rule.name, rule.reason)

    def _note_ambiguous(self, group: int, groups: dict[int, dict[Name, int]], fuller: Sequence[int]) -> None:
        use = next(iter(groups[group].values()))
        self.ambiguous.setdefault(use, {}).update({next(iter(groups[other].values())): None for other in fuller})

    def _fit(self, ours: dict[Name, int], theirs: dict[Name, int], rule: Rule) -> tuple[int, int] | None:
        for a, one in ours.items():
            for b, other in theirs.items():
                if rule.fits(a, b) and not self._excluded(self.root[one], self.root[other]):
                    return one, other
        return None

    def _excluded(self, left: int, right: int) -> bool:
        if left == right:
            return False
        # Enemies are mutual: it is enough to ask those of the smaller group.
        few, other = (left, right) if len(self.members[left]) < len(self.members[right]) else (right, left)
        if any(self.root[enemy] == other for n in self.members[few] for enemy in self.enemies.get(n, ())):
            return True
        return any(
            contradict(a, b) or (bool(self.apart) and frozenset((_plain(a.text), _plain(b.text))) in self.apart)
            for a in self.distinct[left]
            for b in self.distinct[right]
        )

    def _unite(self, one: int, other: int, rule: str, reason: str) -> None:
        left, right = sorted((self.root[one], self.root[other]))
        if left == right or (rule == SAME_TEXT and self._excluded(left, right)):
            return
        use, second = self.uses[one], self.uses[other]
        sentence = f'"{use.text}" and "{second.text}": {reason}'
        merge = Merge(rule, use.text, second.text, use.recording_id, second.recording_id, sentence)
        for n in self.members[right]:
            self.root[n] = left
        self.members[left] += self.members[right]
        self.distinct[left] |= self.distinct[right]
        self.merges[left] += [*self.merges[right], merge]

    def resolution(self) -> Resolution:
        roots = sorted(set(self.root))
        open_questions = []
        for use, others in self.ambiguous.items():
            # A later rule may have settled it.
            left = {self.root[n]: self.uses[n] for n in others if self.root[n] != self.root[use]}
            if len(left) > 1:
                open_questions.append((self.uses[use], tuple(left.values())))
        return Resolution(
            groups=tuple(tuple(self.uses[n] for n in sorted(self.members[root])) for root in roots),
            merges=tuple(tuple(self.merges[root]) for root in roots),
            ambiguous=tuple(open_questions),
        )


def _plain(text: str) -> str:
    return parse_name(text, "").key or text


def _detail(name: Name) -> tuple[int, int]:
    """How much a name tells: of two that fit, the one that tells less is the one that can be ambiguous."""
    return sum(map(len, name.core)), sum(map(len, name.words))
