"""The best words of each row and how probable they are, without reading the whole output projection in half precision.

Any word may follow in a transcript, so a step multiplies each row's state with some 50,000 rows of the projection, the
largest matrix of the decoder. Here that product is one of 8-bit integers, which costs a third to a half of float16's
(docs/performance.md); the words with the best of these rough scores are scored again in full precision.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from speechre.model.quantize import quantize_matrix

SHORTLIST_SIZE = 64
"""Words a row that are scored again."""
MAX_COUNT = SHORTLIST_SIZE // 2
"""How many of them may be asked for."""
_DEVIATIONS = 6.0
"""A rough score's error is a sum of many rounding errors, so it hardly ever is more standard deviations than these."""
_ZERO_POINT = 128  # what zero is among the states' unsigned integers
_BLOCK = 64


def highest(rows_GN: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As ``rows_GN.topk(count)``, which on a CPU reads and moves every number once more: the highest of all lie in the
    blocks with the highest maxima.
    """
    num_blocks = rows_GN.shape[1] // _BLOCK
    if num_blocks < 2 * count:
        return rows_GN.topk(count, dim=1)
    whole = num_blocks * _BLOCK
    blocks = rows_GN[:, :whole].reshape(len(rows_GN), num_blocks, _BLOCK).amax(2).topk(count, dim=1).indices
    columns = (blocks[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=blocks.device)).flatten(1)
    rest = torch.arange(whole, rows_GN.shape[1], device=blocks.device).expand(len(rows_GN), -1)
    columns = torch.cat([columns, rest], dim=1)
    best, index = rows_GN.gather(1, columns).topk(count, dim=1)
    return best, columns.gather(1, index)


class IntegerProduct:
    """Rough products with the rows of one matrix: both sides as 8-bit integers, sums exact, a scale for each row."""

    def __init__(self, weight_VD: Tensor, bias_V: Tensor) -> None:
        """``bias_V`` is 0 or minus infinity."""
        integers_VD, scale_V, self.lost_V = quantize_matrix(weight_VD)
        """How long the part of each row is that rounding took away."""
        self._packed = torch.ops.onednn.qlinear_prepack(integers_VD, None)
        self._scale_V = scale_V
        self._zeros_V = torch.zeros(len(scale_V), dtype=torch.int64)
        self._bias_V = bias_V
        self._multiply = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, states_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Products (N, V), and the part (N, D) of each state that rounding took away."""
        scale_N1 = states_ND.abs().amax(1, keepdim=True) / (_ZERO_POINT - 1)
        scale_N1 += torch.finfo(torch.float32).tiny
        rounded_ND = (states_ND / scale_N1).round_()
        lost_ND = torch.addcmul(states_ND, rounded_ND, scale_N1, value=-1)
        integers_ND = rounded_ND.add_(_ZERO_POINT).to(torch.uint8)
        products_NV: Tensor = self._multiply(
            *(integers_ND, 1.0, _ZERO_POINT, self._packed, self._scale_V, self._zeros_V, self._bias_V),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return products_NV.mul_(scale_N1), lost_ND


@cache
def has_integer_kernel() -> bool:
    """Whether this machine multiplies 8-bit integers at once (VNNI), and this build of torch does it without an
    overflow.
    """
    is_supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)  # other versions of torch may lack it
    if not is_supported() or not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return False
    largest_VD = torch.full((16, 64), 127.0)
    products_NV, _ = IntegerProduct(largest_VD, torch.zeros(16))(torch.full((3, 64), 127.0))
    return torch.allclose(products_NV, torch.full((3, 16), 127.0 * 127.0 * 64))


class Shortlist:
    """The best allowed words of each row, by the rows of one output projection, which must not change afterwards."""

    def __init__(self, weight_VD: Tensor, allowed_V: Tensor) -> None:
        """``weight_VD`` float32 on a CPU with :func:`has_integer_kernel`; ``allowed_V`` is True for what may follow."""
        self._weight_VD = weight_VD.detach()
        self._floor_V = torch.zeros(len(weight_VD)).masked_fill_(~allowed_V, -torch.inf)
        self._rough = IntegerProduct(self._weight_VD, self._floor_V)
        # What rounding took away from a state, and from a word's row, points anywhere: a product with it has a standard
        # deviation of both lengths over the root of D.
        root = weight_VD.shape[1] ** 0.5
        self._longest = float(self._weight_VD.norm(dim=1)[allowed_V].max()) / root
        self._lost = float(self._rough.lost_V[allowed_V].max()) / root

    def best(self, states_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` best log-probabilities and their words, (N, count) each, best first.

        Words and their logits are those of the full product, but where a rough score would be off by more than six
        standard deviations; what a softmax is divided by has the rest of the words by their rough scores. Where these
        cannot rule out the other words, what was rounded away is multiplied too.
        """
        if count > MAX_COUNT:
            raise ValueError(f"{count} words of a shortlist of {SHORTLIST_SIZE}, expected at most {MAX_COUNT}")
        rough_NV, lost_ND = self._rough(states_ND)
        log_probs_NC, words_NC, is_sure_N = self._listed(states_ND, rough_NV, lost_ND, count)
        if not bool(is_sure_N.all()):
            unsure = (~is_sure_N).nonzero()[:, 0]
            finer_UV, lost_UD = self._rough(lost_ND[unsure])
            finer_UV += rough_NV[unsure]
            log_probs_UC, words_UC, is_sure_U = self._listed(states_ND[unsure], finer_UV, lost_UD, count)
            if not bool(is_sure_U.all()):  # nearly equal words by the dozen, or no numbers
                log_probs_UC, words_UC = self._best_of_all(states_ND[unsure], count)
            log_probs_NC[unsure], words_NC[unsure] = log_probs_UC, words_UC
        return log_probs_NC, words_NC

    def _listed(
        self, states_ND: Tensor, rough_NV: Tensor, lost_ND: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best log-probabilities and words (N, count) of the shortlist by the rough scores, and for each row
        whether no other word can be among them.
        """
        rough_NS, words_NS = highest(rough_NV, min(SHORTLIST_SIZE, rough_NV.shape[1]))
        exact_NS = torch.einsum("nd,nsd->ns", states_ND, self._weight_VD[words_NS]) + self._floor_V[words_NS]
        best_NC, places_NC = exact_NS.topk(count, dim=1)
        deviation_N = torch.hypot(self._longest * lost_ND.norm(dim=1), self._lost * states_ND.norm(dim=1))
        is_sure_N = rough_NS[:, -1] + _DEVIATIONS * deviation_N <= best_NC[:, -1]
        total_N1 = _log_total(rough_NV.log_softmax(dim=1).gather(1, words_NS[:, :1]), rough_NS, exact_NS)
        return best_NC - total_N1, words_NS.gather(1, places_NC), is_sure_N

    def _best_of_all(self, states_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
        logits_NV = torch.nn.functional.linear(states_ND, self._weight_VD, self._floor_V)
        return highest(logits_NV.log_softmax(dim=1), count)


def _log_total(best_log_prob_N1: Tensor, rough_NS: Tensor, exact_NS: Tensor) -> Tensor:
    """The logarithm (N, 1) of the sum of all words' exponentials, exact for those of the shortlist. By the rough scores
    the best of these has ``best_log_prob_N1``.

    The rows of all words have much in common, and so have their errors: what those of the shortlist are off by on
    average, the others are taken to be too.
    """
    best_N1 = rough_NS[:, :1]
    left_N1 = (-best_log_prob_N1).exp() - (rough_NS - best_N1).exp().sum(1, keepdim=True)
    off_NS = (exact_NS - rough_NS).nan_to_num_(0.0)  # of words that may not follow, both are minus infinity
    left_N1 = left_N1.clamp_min_(0.0) * off_NS.mean(1, keepdim=True).exp()
    listed_N1 = (exact_NS - best_N1).exp().sum(1, keepdim=True)
    return best_N1 + (left_N1 + listed_N1).log_()
