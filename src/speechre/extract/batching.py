"""Which chunks are decoded together: alike in length, as many as a memory budget holds.

A batch costs as much as its longest chunk in every row, so chunks are sorted by length inside a window, which is as far
as answers may wait for their turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.memory import predicted_growth_mib, resident_mib
from speechre.errors import UsageError
from speechre.extract.chunks import WINDOW_S
from speechre.model.weights import WhisperConfig

BatchSize = int | Literal["auto"]
DEFAULT_MEMORY_MIB = 2048
# A batch of N such is the most memory that a batch of N takes. With 20 s an hour's largest batch came late: its peak
# was 42 MiB over that of five minutes, with 14 s it was 23.
_EVEN_CHUNK_S = 14.0
_MAX_AUTO = 16  # beyond, a batch takes more memory for hardly less time
_WINDOW_CHUNKS = 64
_WINDOW_CHUNKS_S = 1200.0  # 77 MB of samples


@dataclass(frozen=True)
class Batching:
    """How many chunks are heard before any is answered, and how they are put into batches.

    With a number, chunks are taken as they come, so many at a time; fewer where they are long, so that the longest in
    every row makes no more than 14 s for each of the number. With "auto", batches are as large as the budget of
    ``memory_mib`` for the whole process allows, 16 at most, from windows of at most 64 chunks or 20 minutes.
    """

    batch_size: BatchSize
    sizes: WhisperConfig
    model: ModelConfig
    decode: DecodeConfig
    room_mib: float = 0.0  # that is left for a batch; auto only

    @classmethod
    def of(
        cls,
        batch_size: int | str,
        memory_mib: int | None,
        sizes: WhisperConfig,
        model: ModelConfig,
        decode: DecodeConfig,
    ) -> Batching:
        """For a process that has loaded its model. ``memory_mib`` (default 2,048) goes with "auto" alone.

        Raises :class:`UsageError` on a size below 1, and on a budget that does not hold one chunk of 30 s.
        """
        if batch_size != "auto":
            if not isinstance(batch_size, int) or batch_size < 1:
                raise UsageError(f'batch size {batch_size}; expected 1 or more, or "auto"')
            if memory_mib is not None:
                raise UsageError('a memory budget goes with batch size "auto"; leave one of the two out')
            return cls(batch_size, sizes, model, decode)
        budget = DEFAULT_MEMORY_MIB if memory_mib is None else memory_mib
        held = resident_mib()
        needed = predicted_growth_mib(sizes, model, decode, 1, WINDOW_S)
        if held + needed > budget:
            raise UsageError(
                f"a memory budget of {budget} MiB: the loaded model takes {held:.0f} MiB and 30 s of speech "
                f"{needed:.0f} MiB more; expected {held + needed:.0f} MiB or more, or fewer beams or orders"
            )
        return cls("auto", sizes, model, decode, budget - held)

    def is_full(self, durations_s: Sequence[float]) -> bool:
        """Whether chunks of these lengths are enough of a window."""
        if self.batch_size == "auto":
            return len(durations_s) >= _WINDOW_CHUNKS or sum(durations_s) >= _WINDOW_CHUNKS_S
        return len(durations_s) == self.batch_size

    def batches(self, durations_s: Sequence[float]) -> list[list[int]]:
        """Positions of a window's chunks, batch by batch; every position once."""
        if self.batch_size != "auto":
            return _as_they_come(durations_s, self.batch_size)
        # Longest first: what needs most memory comes before anything else was answered.
        by_length = sorted(range(len(durations_s)), key=lambda i: -durations_s[i])
        batches: list[list[int]] = []
        while by_length:
            size = self._most(min(_MAX_AUTO, len(by_length)), min(durations_s[by_length[0]], WINDOW_S))
            batches.append(by_length[:size])
            by_length = by_length[size:]
        return batches

    def _most(self, limit: int, longest_s: float) -> int:
        """The largest batch of such chunks that the budget holds."""
        fitting = (
            size
            for size in range(limit, 1, -1)
            if predicted_growth_mib(self.sizes, self.model, self.decode, size, longest_s) <= self.room_mib
        )
        return next(fitting, 1)


def _as_they_come(durations_s: Sequence[float], size: int) -> list[list[int]]:
    """Batches of neighbours."""
    batches: list[list[int]] = []
    longest_s = 0.0
    for i, duration_s in enumerate(durations_s):
        longest_s = max(longest_s, duration_s)
        is_room = batches and len(batches[-1]) < size and longest_s * (len(batches[-1]) + 1) <= size * _EVEN_CHUNK_S
        if is_room:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest_s = duration_s
    return batches
