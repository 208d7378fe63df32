"""The latent relation head: which relation types does this recording state? (arXiv 2509.08438, section 3.3)

Four blocks of Conv2d 3x3, batch normalization, ReLU and 2x2 max pooling over the encoder output as a one-channel
picture, global average pooling, a linear layer; one independent probability per relation type.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

CHANNELS = (1, 16, 32, 64, 128)
_Block = tuple[nn.Conv2d, "FrameNorm", nn.ReLU, nn.MaxPool2d]
_MIN_FRAMES = 2 ** (len(CHANNELS) - 1)


class FrameNorm(nn.BatchNorm2d):
    """Batch normalization whose statistics leave out frames behind an item's end.

    Else what the head learns would depend on how much padding its batches happened to have.
    """

    def forward(self, picture_BCSD: Tensor, real_BS: Tensor | None = None) -> Tensor:
        """Normalized over B, S and D; ``real_BS`` is true on real frames, None when all are. The rest becomes zero.

        A pass over pictures of this size costs as much as their convolution. So the real frames are put behind one
        another, channels last, and the library normalizes them as one picture without holes.
        """
        if not self.training or real_BS is None:
            return super().forward(picture_BCSD)
        num_items, num_channels, num_frames, width = picture_BCSD.shape
        rows_FX = picture_BCSD.permute(0, 2, 3, 1).reshape(num_items * num_frames, width * num_channels)
        real_N = real_BS.flatten().nonzero()[:, 0]
        packed_1NDC = rows_FX[real_N].view(1, -1, width, num_channels)
        normalized_1NDC = super().forward(packed_1NDC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        normalized_FX = torch.zeros_like(rows_FX).index_copy(0, real_N, normalized_1NDC.reshape(len(real_N), -1))
        return normalized_FX.view(num_items, num_frames, width, num_channels).permute(0, 3, 1, 2)


class RelationHead(nn.Module):
    """(B, S, D) encoder states and their lengths to (B, R) logits.

    Frames behind an item's end are zeroed before every convolution and left out of the average, so the answer for an
    item is the same alone and in a batch.
    """

    def __init__(self, num_relations: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(narrow, wide, kernel_size=3, padding=1),
                FrameNorm(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for narrow, wide in pairwise(CHANNELS)
        )
        self.classifier = nn.Linear(CHANNELS[-1], num_relations)

    def forward(self, encoded_BSD: Tensor, num_frames_B: Tensor) -> Tensor:
        """Logits (B, R). ``num_frames_B`` counts the true frames of each item."""
        # Blocks that are frozen keep their statistics too, and are as cheap as at inference.
        is_learning = self.training and any(p.requires_grad for p in self.blocks.parameters())
        picture = encoded_BSD.unsqueeze(1)
        if picture.shape[2] < _MIN_FRAMES:  # four halvings need 16 frames (0.32 s)
            picture = nn.functional.pad(picture, (0, 0, 0, _MIN_FRAMES - picture.shape[2]))
        lengths_B = num_frames_B
        mask = _frame_mask(lengths_B, picture.shape[2])
        picture = picture * mask
        for block in self.blocks:
            conv, norm, activation, pool = cast("_Block", tuple(block.children()))
            if is_learning:
                real_BS = None if bool((lengths_B == picture.shape[2]).all()) else mask[:, 0, :, 0].bool()
                picture = activation(pool(norm(_conv(conv, conv.weight, conv.bias, picture), real_BS)))
            else:
                picture = activation(max_of_four(_normalized_conv(conv, norm, picture)))
            # (The activation does not change which of four is largest, so it waits until pooling has left a quarter.)
            # A clip shorter than a pooling window keeps one row, which then holds its frames and zeros.
            lengths_B = (lengths_B // 2).clamp(min=1)
            mask = _frame_mask(lengths_B, picture.shape[2])
            picture = picture * mask.to(picture.dtype)
        summed_BC = picture.sum(dim=(2, 3))
        count_B1 = (lengths_B * picture.shape[3]).unsqueeze(1)
        return self.classifier(summed_BC / count_B1)  # type: ignore[no-any-return]


def _normalized_conv(conv: nn.Conv2d, norm: FrameNorm, picture_BCSD: Tensor) -> Tensor:
    """Convolution and fixed normalization as one convolution: a pass over a picture costs as much as the arithmetic."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_C = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    assert conv.bias is not None
    bias_C = (conv.bias - norm.running_mean) * scale_C + norm.bias
    return _conv(conv, conv.weight * scale_C[:, None, None, None], bias_C, picture_BCSD)


def _conv(conv: nn.Conv2d, weight: Tensor, bias_C: Tensor | None, picture_BCSD: Tensor) -> Tensor:
    """``conv`` with these weights, channels last: the layout that few channels are fast in on a CPU."""
    weight = weight.contiguous(memory_format=torch.channels_last)
    return nn.functional.conv2d(picture_BCSD, weight, bias_C, padding=conv.padding)


def max_of_four(picture_BCSD: Tensor) -> Tensor:
    """What MaxPool2d(2) gives, of a picture that lies channels last: two passes over neighbours in memory.

    The library's own also looks for indices, which takes three times as long as the convolutions.
    """
    num_frames, width = picture_BCSD.shape[2] // 2 * 2, picture_BCSD.shape[3] // 2 * 2
    picture_BSDC = picture_BCSD.permute(0, 2, 3, 1)
    taller = torch.maximum(picture_BSDC[:, 0:num_frames:2], picture_BSDC[:, 1:num_frames:2])
    return torch.maximum(taller[:, :, 0:width:2], taller[:, :, 1:width:2]).permute(0, 3, 1, 2)


def _frame_mask(num_frames_B: Tensor, length: int) -> Tensor:
    """(B, 1, length, 1), one on real frames and zero behind them."""
    index = torch.arange(length, device=num_frames_B.device)
    return (index[None, :] < num_frames_B[:, None])[:, None, :, None].float()
