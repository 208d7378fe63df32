"""A decoder that writes some rows with changed matrices: those of a model's adapter, in one search with its own.

The changes are of low rank, so a row that is written with them costs two thin products a matrix beside what the matrix
itself gives; the matrices, which are what a step spends its time on reading, are read once for all rows (as Punica has
it for services, Chen et al. 2023, arXiv 2310.18547).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from speechre.model.adapter import Adapter
from speechre.model.backbone import Decoder
from speechre.model.half import HalfAttention, HalfDecoderLayer, HalfLinear
from speechre.model.twin import twin_of

_DECODER = "whisper.decoder."
_Changes = Mapping[str, tuple[Tensor, Tensor]]


class ChangedFrom:
    """From which utterance of a batch on rows are written with changes; set before every pass over the layers."""

    def __init__(self) -> None:
        self.utterance = 0


class ChangedLinear(HalfLinear):
    """A linear layer (B, T, in) to (B, T, out) with float16 weights, and a change of low rank, in float32, that counts
    for the last utterances of a batch.
    """

    def __init__(self, whole: HalfLinear, down_RI: Tensor, up_OR: Tensor, changed_from: ChangedFrom) -> None:
        self._packed, self._multiply = whole._packed, whole._multiply
        self._down_IR, self._up_RO = down_RI.T.contiguous(), up_OR.T.contiguous()
        self._from = changed_from

    def __call__(self, x: Tensor) -> Tensor:
        out = self._multiply(x, self._packed)
        changed = x[self._from.utterance :]
        if len(changed):
            rows_NO = out[self._from.utterance :].view(-1, out.shape[-1])
            rows_NO.addmm_(changed.reshape(-1, x.shape[-1]) @ self._down_IR, self._up_RO)
        return out


class ChangedDecoder(Decoder):
    """A twin of a half decoder that writes rows from ``changed_from.utterance`` on with an adapter's changes."""

    changed_from: ChangedFrom


def changed_decoder(half: Decoder, adapter: Adapter) -> ChangedDecoder:
    """``half`` (as :func:`speechre.model.half.half_decoder` makes it) with the changes that ``adapter`` makes to what
    the rows of a decoder do; keys and values of what was heard are another network's (:meth:`Adapter.heard_part`).
    """
    twin: ChangedDecoder = twin_of(half, ChangedDecoder)
    twin.changed_from = ChangedFrom()
    for number, layer in twin.layers.named_children():
        place = f"{_DECODER}layers.{number}."
        ours = {n.removeprefix(place): pair for n, pair in adapter.changes.items() if n.startswith(place)}
        setattr(twin.layers, number, _changed_layer(layer, ours, twin.changed_from))
    return twin


def _changed_layer(layer: object, changes: _Changes, changed_from: ChangedFrom) -> HalfDecoderLayer:
    twin: HalfDecoderLayer = twin_of(layer, HalfDecoderLayer)

    def changed(linear: HalfLinear, *names: str) -> HalfLinear:
        ours = [changes.get(name) for name in names]
        return linear if not any(ours) else ChangedLinear(linear, *_stacked(ours), changed_from)

    to_self, to_cross = (twin_of(attention, HalfAttention) for attention in twin._attentions)
    to_self._among = changed(to_self._among, *(f"self_attn.{part}_proj" for part in "qkv"))
    to_self._out = changed(to_self._out, "self_attn.out_proj")
    to_cross._queries = changed(to_cross._queries, "encoder_attn.q_proj")
    to_cross._out = changed(to_cross._out, "encoder_attn.out_proj")
    twin._attentions = (to_self, to_cross)
    twin._wide, twin._narrow = changed(twin._wide, "fc1"), changed(twin._narrow, "fc2")
    return twin


def _stacked(changes: Sequence[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, Tensor]:
    """One change (down, up) of matrices of the same size that lie one above the other; None is a matrix without one."""
    size = next(len(change[1]) for change in changes if change is not None)
    down_RI = torch.cat([change[0] for change in changes if change is not None])
    up_OR = down_RI.new_zeros(size * len(changes), len(down_RI))
    column = 0
    for index, change in enumerate(changes):
        if change is not None:
            up = change[1]
            up_OR[index * size : (index + 1) * size, column : column + up.shape[1]] = up
            column += up.shape[1]
    return down_RI, up_OR
