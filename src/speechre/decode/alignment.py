"""When each word of a transcript was said: the decoder's cross-attention, made monotonic by dynamic time warping.

The method is that of Whisper's word timestamps (openai/whisper, whisper/timing.py): some attention heads follow the
sound while the text is written. Their weights over the transcript are normalized token by token, smoothed over time,
averaged, and the cheapest path that only ever moves forward gives every token its frames.

Shape letters: B utterances, H heads, T tokens, S encoder frames of 20 ms.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperConfig

FRAME_S = 0.02
_SMOOTHING_FRAMES = 7
# (where the lower of two goes, where the higher) until the median of seven is in the middle.
_EXCHANGES = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))

Heads = tuple[tuple[int, int], ...]
"""(layer, head) pairs."""

# The heads that openai/whisper publishes (whisper/__init__.py, _ALIGNMENT_HEADS), by decoder layers and whether the
# model is English-only. Fine-tuning moved them little: benchmarks/evidence.py measures them against all heads of the
# upper half.
_PUBLISHED: dict[tuple[int, bool], Heads] = {
    (4, True): ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    (4, False): ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)),
    (6, True): ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7)),
    (6, False): ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
}
_PUBLISHED_SIZES = {4: 6, 6: 8}  # decoder layers -> heads a layer: tiny and base


def alignment_heads(config: WhisperConfig, is_multilingual: bool) -> Heads:
    """The published heads of tiny and base; of other sizes all heads of the upper half, which is Whisper's own
    default.
    """
    layers, heads = config.decoder_layers, config.decoder_heads
    if _PUBLISHED_SIZES.get(layers) == heads:
        return _PUBLISHED[(layers, not is_multilingual)]
    return tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))


@dataclass(frozen=True)
class TranscriptTimes:
    """When each token of a transcript was said, in seconds from the chunk's beginning.

    ``chars`` and ``seconds`` have one entry a token, its beginning, and one more, the end of the last; both never fall.
    """

    chars: tuple[int, ...]
    seconds: tuple[float, ...]

    def span_s(self, start: int, end: int) -> tuple[float, float]:
        """The seconds of the tokens that touch characters [start, end) of the transcript."""
        last = len(self.chars) - 1
        first = max(0, min(bisect_right(self.chars, start) - 1, last - 1))
        stop = max(first + 1, min(bisect_left(self.chars, end), last))
        return self.seconds[first], self.seconds[stop]


def token_chars(token_ids: Sequence[int], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Where each token begins in the stripped text of all of them, and where the last ends.

    A blank before a word belongs to no word, so a token begins at its first letter. Of a character that two tokens
    share the second has the whole.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(tokenizer.token_bytes(token_id)) for token_id in token_ids]
    pieces[-1:] = [pieces[-1] + decoder.decode(b"", final=True)] if pieces else []
    text = "".join(pieces)
    num_skipped, length = len(text) - len(text.lstrip()), len(text.strip())
    ends = list(accumulate(map(len, pieces), initial=0))
    starts = [end + len(piece) - len(piece.lstrip()) for end, piece in zip(ends, pieces, strict=False)]
    return tuple(max(0, min(char - num_skipped, length)) for char in (*starts, ends[-1]))


def token_times(weights_HTS: Tensor, first: int) -> tuple[float, ...]:
    """When each token from row ``first`` + 1 on begins, in seconds, and when the last ends.

    A row of ``weights_HTS`` says where the decoder looked behind a token, to write the next one; the last row is that
    of the last token, behind which the transcript ends.
    """
    std_H1S, mean_H1S = torch.std_mean(weights_HTS.float(), dim=-2, keepdim=True, unbiased=False)
    normed_HTS = (weights_HTS.float() - mean_H1S) / std_H1S.clamp(min=1e-9)
    cost_TS = -_smoothed(normed_HTS).mean(dim=0)[first:]
    return tuple(float(frame) * FRAME_S for frame in first_frames(cost_TS.cpu().numpy().astype(np.float64)))


def _smoothed(x_HTS: Tensor) -> Tensor:
    """The median over a few frames around each."""
    half = _SMOOTHING_FRAMES // 2
    if x_HTS.shape[-1] <= half:  # too short to mirror at its ends
        return x_HTS
    padded = F.pad(x_HTS, (half, half), mode="reflect")
    length = x_HTS.shape[-1]
    return median_of_seven([padded[..., start : start + length] for start in range(_SMOOTHING_FRAMES)])


def median_of_seven(values: Sequence[Tensor]) -> Tensor:
    """Element by element, the median of seven tensors of one shape.

    Thirteen exchanges put it in the middle (N. Devillard, "Fast median search: an ANSI C implementation", 1998): as
    many passes over neighbours in memory, where the library's own median sorts each window apart.
    """
    ordered = list(values)
    for low, high in _EXCHANGES:
        pair = ordered[low], ordered[high]
        ordered[low], ordered[high] = torch.minimum(*pair), torch.maximum(*pair)
    return ordered[3]


def first_frames(cost_TS: NDArray[np.float64]) -> list[int]:
    """The frame at which the cheapest path through ``cost_TS`` enters each row.

    The path goes from the first row and frame to the last of both in steps to the next row, the next frame or both, and
    costs the sum of what it touches. Row by row instead of cell by cell: a path that enters a row at frame k and leaves
    it at frame j pays a difference of two prefix sums, so the best k for every j is a running minimum.
    """
    frames = np.arange(cost_TS.shape[1])
    totals = [np.cumsum(cost_TS[0])]
    entered = [np.zeros_like(frames)]
    for cost_S in cost_TS[1:]:
        above = totals[-1]
        arriving = np.minimum(above, np.concatenate([above[:1], above[:-1]]))
        paid = np.cumsum(cost_S)
        entry = arriving - (paid - cost_S)
        lowest = np.minimum.accumulate(entry)
        entered.append(np.maximum.accumulate(np.where(entry <= lowest, frames, 0)))
        totals.append(paid + lowest)
    frame = len(frames) - 1
    firsts: list[int] = []
    for row in range(len(totals) - 1, -1, -1):
        frame = int(entered[row][frame])
        firsts.append(frame)
        if row and frame and totals[row - 1][frame - 1] <= totals[row - 1][frame]:
            frame -= 1
    return firsts[::-1]
