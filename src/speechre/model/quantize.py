"""Weights for storage: float32, float16, or matrices as 8-bit integers with one scale a row.

Only the file is small: :func:`unpack` gives float32 again, so a model computes as any other. A row's largest magnitude
becomes 127 (symmetric, round to nearest), so that no weight is off by more than 1/254 of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = "/scale"
_ROW_VALUES_MIN = 64  # shorter rows would carry more scale than they save


def pack(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they are stored; with int8, what is no matrix of long rows becomes float16. Integers stay."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            packed[name] = tensor.contiguous()
        elif dtype != torch.int8:
            packed[name] = tensor.to(dtype).contiguous()
        elif tensor.dim() < 2 or tensor[0].numel() < _ROW_VALUES_MIN:
            packed[name] = tensor.to(torch.float16).contiguous()
        else:
            integers, packed[name + SCALE] = quantize_rows(tensor.float().flatten(1))
            packed[name] = integers.view(tensor.shape).contiguous()
    return packed


def quantize_rows(rows_ND: Tensor) -> tuple[Tensor, Tensor]:
    """float32 rows as 8-bit integers (N, D) and the scale of each row (N,)."""
    scales_N = (rows_ND.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows_ND / scales_N[:, None]).round().to(torch.int8), scales_N


_ROWS_AT_ONCE = 4096  # so that little memory is needed beside the integers


def quantize_matrix(matrix_VD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`quantize_rows`, and how long the part (V,) of each row is that rounding took away."""
    parts = []
    for rows_ND in torch.split(matrix_VD.detach(), _ROWS_AT_ONCE):
        integers_ND, scale_N = quantize_rows(rows_ND)
        lost_N = torch.addcmul(rows_ND, integers_ND.float(), scale_N[:, None], value=-1).norm(dim=1)
        parts.append((integers_ND, scale_N, lost_N))
    integers_VD, scale_V, lost_V = (torch.cat(part) for part in zip(*parts, strict=True))
    return integers_VD, scale_V, lost_V


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: float32 tensors, and integers that were no weights. Raises ``KeyError`` on a scale without rows."""
    state = {name: tensor for name, tensor in packed.items() if not name.endswith(SCALE)}
    for name, scales in packed.items():
        if name.endswith(SCALE):
            rows = state[name.removesuffix(SCALE)]
            state[name.removesuffix(SCALE)] = (rows.float().flatten(1) * scales[:, None]).view(rows.shape)
    return {name: (tensor.float() if tensor.is_floating_point() else tensor) for name, tensor in state.items()}
