"""The latent relation head: which relation types does this recording state? (arXiv 2509.08438, section 3.3)

Four blocks of Conv2d 3x3, batch normalization, ReLU and 2x2 max pooling over the encoder output as a one-channel
picture, global average pooling, a linear layer; one independent probability per relation type.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

CHANNELS = (1, 16, 32, 64, 128)
_MIN_FRAMES = 2 ** (len(CHANNELS) - 1)


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
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for narrow, wide in pairwise(CHANNELS)
        )
        self.classifier = nn.Linear(CHANNELS[-1], num_relations)

    def forward(self, encoded_BSD: Tensor, num_frames_B: Tensor) -> Tensor:
        """Logits (B, R). ``num_frames_B`` counts the true frames of each item."""
        picture = encoded_BSD.unsqueeze(1)
        if picture.shape[2] < _MIN_FRAMES:  # four halvings need 16 frames (0.32 s)
            picture = nn.functional.pad(picture, (0, 0, 0, _MIN_FRAMES - picture.shape[2]))
        lengths_B = num_frames_B
        picture = picture * _frame_mask(lengths_B, picture.shape[2])
        for block in self.blocks:
            picture = block(picture)
            # A clip shorter than a pooling window keeps one row, which then holds its frames and zeros.
            lengths_B = (lengths_B // 2).clamp(min=1)
            picture = picture * _frame_mask(lengths_B, picture.shape[2]).to(picture.dtype)
        summed_BC = picture.sum(dim=(2, 3))
        count_B1 = (lengths_B * picture.shape[3]).unsqueeze(1)
        return self.classifier(summed_BC / count_B1)  # type: ignore[no-any-return]


def _frame_mask(num_frames_B: Tensor, length: int) -> Tensor:
    """(B, 1, length, 1), one on real frames and zero behind them."""
    index = torch.arange(length, device=num_frames_B.device)
    return (index[None, :] < num_frames_B[:, None])[:, None, :, None].float()
