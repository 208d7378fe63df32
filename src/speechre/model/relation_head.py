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

    def forward(self, picture_BCSD: Tensor, mask_B1S1: Tensor | None = None) -> Tensor:
        """Normalized over B, S and D; ``mask_B1S1`` is one on real frames, None when all are."""
        if not self.training or mask_B1S1 is None:
            return super().forward(picture_BCSD)
        picture = picture_BCSD.float()
        count = mask_B1S1.sum() * picture.shape[3]
        mean_C = (picture * mask_B1S1).sum(dim=(0, 2, 3)) / count
        centred = picture - mean_C[:, None, None]
        variance_C = (centred.square() * mask_B1S1).sum(dim=(0, 2, 3)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            unbiased_C = variance_C * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean_C.detach(), self.momentum or 0.1)
            self.running_var.lerp_(unbiased_C.detach(), self.momentum or 0.1)
            self.num_batches_tracked += 1
        scale_C = self.weight * torch.rsqrt(variance_C + self.eps)
        return (centred * scale_C[:, None, None] + self.bias[:, None, None]).to(picture_BCSD.dtype)


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
                picture = pool(activation(norm(conv(picture), mask)))
            else:
                picture = activation(pool(_normalized_conv(conv, norm, picture)))
            # A clip shorter than a pooling window keeps one row, which then holds its frames and zeros.
            lengths_B = (lengths_B // 2).clamp(min=1)
            mask = _frame_mask(lengths_B, picture.shape[2])
            picture = picture * mask.to(picture.dtype)
        summed_BC = picture.sum(dim=(2, 3))
        count_B1 = (lengths_B * picture.shape[3]).unsqueeze(1)
        return self.classifier(summed_BC / count_B1)  # type: ignore[no-any-return]


def _normalized_conv(conv: nn.Conv2d, norm: FrameNorm, picture_BCSD: Tensor) -> Tensor:
    """Convolution and fixed normalization as one convolution, channels last.

    The head's pictures are large, and a pass over one costs as much as the arithmetic; so normalization goes into the
    weights, and the activation, which does not change which of four is largest, waits until pooling has left a quarter.
    Channels last is the layout that convolutions with few channels are fast in on a CPU.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_C = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * scale_C[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    assert conv.bias is not None
    bias = (conv.bias - norm.running_mean) * scale_C + norm.bias
    return nn.functional.conv2d(picture_BCSD, weight, bias, padding=conv.padding)


def _frame_mask(num_frames_B: Tensor, length: int) -> Tensor:
    """(B, 1, length, 1), one on real frames and zero behind them."""
    index = torch.arange(length, device=num_frames_B.device)
    return (index[None, :] < num_frames_B[:, None])[:, None, :, None].float()
