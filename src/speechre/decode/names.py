"""Names that are known before a recording is heard: those of a meeting's participants, of customers, of places.

A name that was heard wrong is lost for every triplet it stands in, and rare names are heard wrong. In the search for
the transcript, every token along a known name scores more than the network gives it (shallow fusion with a trie; Zhao
et al. 2019, "Shallow-fusion end-to-end contextual biasing"), so a name that sounds like what was said is written as it
is known. What a row gained by tokens of a name that it then leaves unfinished is taken back, and a name that it has
told before gains nothing more: only whole names are worth anything, once.

Shape letters: N rows, D width, V vocabulary, C candidates, U tokens that some row may go on along a name with.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechre.decode.search import BestNext

# A name of a single token is a common one, which is heard anyway: a list of such names puts them where others were said
# (docs/names.md).
_SINGLE_SHARE = 1 / 3


@dataclass
class _Node:
    """A place in the trie: where the names that begin with one sequence of tokens go on."""

    children: dict[int, _Node] = field(default_factory=dict)
    is_end: bool = False


class Names:
    """Known names as a trie of their tokens."""

    def __init__(self, names: Iterable[str], encode: Callable[[str], Sequence[int]]) -> None:
        """``encode`` gives a text's tokens, as they stand in a transcript: behind a blank."""
        self.root = _Node()
        for name in names:
            text = unicodedata.normalize("NFC", " ".join(name.split()))
            # What ends in a period goes on otherwise before a comma, which is one token with it.
            for form in {text, text.removesuffix(".")} - {""}:
                node = self.root
                for token in encode(f" {form}"):
                    node = node.children.setdefault(token, _Node())
                node.is_end = node is not self.root


@dataclass(frozen=True, slots=True)
class _Place:
    """How far along a name a row is, what it gained since it last had finished one, and where those it told end."""

    node: _Node
    owed: float = 0.0
    told: frozenset[int] = frozenset()  # ids of nodes


class NameBias:
    """The rows of one search along known names; what does not depend on the search is made once (:meth:`start`)."""

    def __init__(self, names: Names, bonus: float, weight_VD: Tensor, num_rows: int = 0) -> None:
        """``bonus`` is what a token of a name scores beside its log-probability; ``weight_VD`` projects a row's state
        to the logits.
        """
        self._root, self._bonus, self._weight_VD = names.root, bonus, weight_VD
        self._start = _Place(names.root)
        self._places = [self._start] * num_rows
        self._column_of = {token: column for column, token in enumerate(names.root.children)}
        self._column_of_node = {id(node): column for column, node in enumerate(names.root.children.values())}
        self._first_U = torch.tensor(list(names.root.children), device=weight_VD.device)
        self._first_UD = weight_VD[self._first_U]
        self._first_gain_U = torch.tensor(
            [self._gain(node, 0.0, self._start) for node in names.root.children.values()], device=weight_VD.device
        )

    def start(self, num_rows: int) -> NameBias:
        """The same names for a new search."""
        bias = copy.copy(self)
        bias._places = [self._start] * num_rows
        return bias

    def advance(self, parents: Sequence[int], tokens: Sequence[int | None]) -> None:
        """As :meth:`speechre.decode.search.SearchRules.advance`."""
        before = self._places
        self._places = [
            before[parent] if token is None else self._next(before[parent], token)
            for parent, token in zip(parents, tokens, strict=True)
        ]

    def _next(self, place: _Place, token: int) -> _Place:
        node = place.node.children.get(token)
        owed = place.owed
        if node is None:
            node, owed = self._root.children.get(token), 0.0
        if node is None:
            return _Place(self._root, 0.0, place.told)
        if node.is_end:
            return _Place(node, 0.0, place.told | {id(node)})
        return _Place(node, owed + self._bonus, place.told)

    def _gain(self, node: _Node, owed: float, place: _Place) -> float:
        """What a row that owes so much gains by a token that brings it to ``node``."""
        if node.is_end and id(node) in place.told:
            return -owed
        is_single = node.is_end and id(node) in self._column_of_node
        return self._bonus * _SINGLE_SHARE if is_single else self._bonus

    def gain(self, ids: Sequence[int]) -> tuple[float, float]:
        """What a row that wrote all of ``ids`` gained, and what of it it owes at their end."""
        place, gained = self._start, 0.0
        for token in ids:
            node = place.node.children.get(token)
            if node is not None:
                gained += self._gain(node, place.owed, place)
            else:
                node = self._root.children.get(token)
                gained -= place.owed
                gained += 0.0 if node is None else self._gain(node, 0.0, place)
            place = self._next(place, token)
        return gained, place.owed

    def best(self, best_next: BestNext, is_over: Callable[[int], bool]) -> BestNext:
        """The best next tokens of each row when names count, of those that ``best_next`` finds and those that begin a
        name or go on along one. Rows that are over (``is_over``) keep what they have.
        """

        def best(hidden_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
            log_probs_NC, tokens_NC = best_next(hidden_ND, count)
            free = [row for row in range(len(hidden_ND)) if not is_over(row)]
            if free:
                rows = torch.tensor(free, device=hidden_ND.device)
                log_probs_NC[rows], tokens_NC[rows] = self._weighed(
                    hidden_ND[rows], log_probs_NC[rows], tokens_NC[rows], [self._places[row] for row in free]
                )
            return log_probs_NC, tokens_NC

        return best

    def _weighed(
        self, hidden_ND: Tensor, log_probs_NC: Tensor, tokens_NC: Tensor, places: Sequence[_Place]
    ) -> tuple[Tensor, Tensor]:
        """The best of both, as many as there were."""
        going_on = [place.node.children if place.node is not self._root else {} for place in places]
        further = {token: column for column, token in enumerate(dict.fromkeys(t for ours in going_on for t in ours))}
        named_U, weight_UD = self._first_U, self._first_UD
        if further:
            more = torch.tensor(list(further), device=named_U.device)
            named_U, weight_UD = torch.cat([named_U, more]), torch.cat([weight_UD, self._weight_VD[more]])
        # The best token's log-probability is known, and so, from its logit, what every logit is off from its own by.
        best_N1 = (hidden_ND * self._weight_VD[tokens_NC[:, 0]]).sum(1, keepdim=True)
        named_NU = hidden_ND @ weight_UD.T - best_N1 + log_probs_NC[:, :1]
        named_NU += self._gains(places, going_on, further, named_NU)
        owed_N1 = torch.tensor([[place.owed] for place in places], device=named_NU.device)
        known = self._root.children
        is_named = [
            [token in known or token in ours for token in row]
            for row, ours in zip(tokens_NC.tolist(), going_on, strict=True)
        ]
        others_NC = (log_probs_NC - owed_N1).masked_fill_(torch.tensor(is_named, device=owed_N1.device), -torch.inf)
        scores = torch.cat([others_NC, named_NU], dim=1)
        tokens = torch.cat([tokens_NC, named_U.expand(len(scores), -1)], dim=1)
        best, index = scores.topk(tokens_NC.shape[1], dim=1)
        return best, tokens.gather(1, index)

    def _gains(
        self,
        places: Sequence[_Place],
        going_on: Sequence[Collection[int]],
        further: Mapping[int, int],
        like_NU: Tensor,
    ) -> Tensor:
        """What each row gains (N, U) by a token that begins a name, for which it leaves the one that it is in, and by
        one of ``further`` (token -> column behind the first) that goes on along its own; minus infinity for those of
        other rows, and where the first kind is the second kind too.
        """
        num_first = len(self._column_of)
        gains_NU = torch.full_like(like_NU, -torch.inf)
        for row, (place, tokens) in enumerate(zip(places, going_on, strict=True)):
            gains_NU[row, :num_first] = self._first_gain_U - place.owed
            told = [self._column_of_node[node] for node in place.told if node in self._column_of_node]
            gains_NU[row, told] = -place.owed
            for token in tokens:
                gains_NU[row, num_first + further[token]] = self._gain(place.node.children[token], place.owed, place)
            gains_NU[row, [self._column_of[token] for token in tokens if token in self._column_of]] = -torch.inf
        return gains_NU
