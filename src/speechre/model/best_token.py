"""The likeliest token of each row, exactly, without reading the whole output projection in float32.

A step of greedy search with one row does little but read the output projection: 80 MB for tiny.en. Here the projection
is read as 8-bit integers first; what these scores and the bound of their error cannot rule out, mostly one to a few
dozen tokens, is scored again in full precision. The answer is that of the full product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.model.quantize import quantize_matrix

# bfloat16 keeps 8 bits: rounding to nearest is off by at most 2^-9 of the value. The accumulation in float32 and the
# scales are far below the doubled bound that is used here.
_BFLOAT16_ERROR = 2.0**-8
_CANDIDATES_MAX = 2048
"""A row; with more than that left, the full product is cheaper."""


class BestToken:
    """Greedy choice over the allowed rows of one output projection, which must not change afterwards."""

    def __init__(self, weight_VD: Tensor, allowed_V: Tensor) -> None:
        """``weight_VD`` float32; ``allowed_V`` boolean, True for the tokens that may be chosen."""
        self._weight_VD = weight_VD
        self._allowed_V = allowed_V
        self._is_rough = weight_VD.device.type == "cpu" and weight_VD.dtype == torch.float32
        if not self._is_rough:
            return
        self._integers_VD, self._scale_V, lost_V = quantize_matrix(weight_VD)
        self._error = float(lost_V.max())
        self._norm = float((weight_VD.detach().norm(dim=1) + lost_V).max())  # of a rounded row, at most
        self._ones_V = torch.ones(len(weight_VD), dtype=torch.bfloat16)
        self._floor_V = torch.zeros(len(weight_VD)).masked_fill_(~allowed_V, -torch.inf)

    def __call__(self, hidden_BD: Tensor) -> list[int]:
        """For each row of ``hidden_BD`` the allowed token with the highest logit."""
        if not self._is_rough:
            return self._full(hidden_BD)
        coarse_BD = hidden_BD.to(torch.bfloat16)
        rough_BV = torch._weight_int8pack_mm(coarse_BD, self._integers_VD, self._ones_V).float()
        rough_BV = rough_BV.mul_(self._scale_V).add_(self._floor_V)
        best_B = rough_BV.amax(dim=1)
        # Cauchy-Schwarz over what rounding changed in the state and in the weights, and the result's own rounding.
        # A token that beats the best in truth scores at most this much less; its own rounding is below the best's.
        change_B = (hidden_BD - coarse_BD.float()).norm(dim=1)
        slack_B = change_B * self._norm + hidden_BD.norm(dim=1) * self._error
        slack_B = 2 * (slack_B + _BFLOAT16_ERROR * (best_B.abs() + slack_B))
        rows, tokens = (rough_BV >= (best_B - slack_B)[:, None]).nonzero(as_tuple=True)
        if len(rows) > _CANDIDATES_MAX * len(hidden_BD):
            return self._full(hidden_BD)
        scores = (hidden_BD[rows] * self._weight_VD[tokens]).sum(dim=1)
        # Pairs come row by row with ascending ids: of equal scores the lowest id wins, as in argmax.
        chosen: dict[int, tuple[float, int]] = {}
        for row, token, score in zip(rows.tolist(), tokens.tolist(), scores.tolist(), strict=True):
            if row not in chosen or score > chosen[row][0]:
                chosen[row] = (score, token)
        if len(chosen) < len(hidden_BD):  # not a number somewhere: no comparison holds
            return self._full(hidden_BD)
        return [chosen[row][1] for row in range(len(hidden_BD))]

    def _full(self, hidden_BD: Tensor) -> list[int]:
        logits_BV = F.linear(hidden_BD, self._weight_VD).masked_fill(~self._allowed_V, -torch.inf)
        tokens: list[int] = logits_BV.argmax(dim=1).tolist()
        return tokens
