"""Windows, batches of chunks alike in length, and the budget that they keep to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre import Extractor
from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.memory import predicted_growth_mib, resident_mib
from speechre.errors import UsageError
from speechre.extract.batching import Batching
from speechre.model.weights import WhisperConfig
from tests.extract.test_extractor import RATE
from tests.tiny import tones

TINY_EN = WhisperConfig(51_881, 80, 384, 4, 6, 4, 6, 1536, 1536)


def batching(room_mib: float, batch_size: object = "auto") -> Batching:
    return Batching(batch_size, TINY_EN, ModelConfig(), DecodeConfig(), room_mib)  # type: ignore[arg-type]


@given(durations=st.lists(st.floats(0.01, 30.0), max_size=70), room_mib=st.floats(100, 2000))
def test_every_chunk_once_longest_first_and_within_the_budget(durations: list[float], room_mib: float) -> None:
    batches = batching(room_mib).batches(durations)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    lengths = [durations[i] for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= 16
        needed = predicted_growth_mib(TINY_EN, ModelConfig(), DecodeConfig(), len(batch), durations[batch[0]])
        assert len(batch) == 1 or needed <= room_mib


def test_a_larger_budget_makes_larger_batches() -> None:
    sizes = [len(batching(room).batches([10.0] * 64)[0]) for room in (100, 400, 4000)]
    assert sizes[0] < sizes[1] < sizes[2] == 16


def test_a_number_takes_recordings_as_they_come() -> None:
    fixed = batching(0, 3)
    assert fixed.batches([1.0, 9.0, 2.0, 8.0]) == [[0, 1, 2], [3]]
    assert fixed.batches([]) == []
    # 3 times 14 s are what a batch may count; its longest counts in every row.
    assert fixed.batches([14.0, 14.0, 14.0, 14.1, 14.1, 14.1]) == [[0, 1, 2], [3, 4], [5]]
    assert fixed.batches([3.0, 3.0, 21.0, 1.0, 21.1, 1.0]) == [[0, 1], [2, 3], [4], [5]]
    assert batching(0, 1).batches([30.0, 30.0]) == [[0], [1]]
    assert [fixed.is_full([1.0] * n) for n in range(4)] == [False, False, False, True]


def test_windows_end_by_number_and_by_seconds() -> None:
    auto = batching(0)
    assert [auto.is_full([1.0] * n) for n in (0, 1, 63, 64)] == [False, False, False, True]
    assert [auto.is_full(durations) for durations in ([700.0], [700.0, 499.0], [700.0, 500.0])] == [False, False, True]


def test_answers_come_in_the_sequence_of_the_input_and_are_the_same(tiny_model_dir: Path) -> None:
    recordings = [(tones(seed, 0.4 + 0.37 * (seed * 5 % 7)), RATE) for seed in range(9)] + [(tones(3, 41.0), RATE)]
    one_by_one = Extractor.from_pretrained(tiny_model_dir, batch_size=1)(recordings)
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size="auto", memory_mib=4096)
    seen: list[list[int]] = []
    decode = extractor.engine.decode
    extractor.engine.decode = lambda mels, *rest: (  # type: ignore[method-assign]
        seen.append([mel.shape[1] for mel in mels]),
        decode(mels, *rest),
    )[1]
    found = extractor(recordings)
    assert [(e.id, e.duration_s, e.transcript, e.triplets) for e in found] == [
        (e.id, e.duration_s, e.transcript, e.triplets) for e in one_by_one
    ]
    lengths = [length for batch in seen for length in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert len(seen) == 1


def test_what_makes_no_batching(tiny_model_dir: Path) -> None:
    with pytest.raises(UsageError, match="a memory budget of 20 MiB: the loaded model takes"):
        Extractor.from_pretrained(tiny_model_dir, batch_size="auto", memory_mib=20)
    with pytest.raises(UsageError, match='goes with batch size "auto"'):
        Extractor.from_pretrained(tiny_model_dir, batch_size=4, memory_mib=4096)
    with pytest.raises(UsageError, match='batch size many; expected 1 or more, or "auto"'):
        Extractor.from_pretrained(tiny_model_dir, batch_size="many")  # type: ignore[arg-type]


def test_the_budget_is_for_the_whole_process() -> None:
    held = resident_mib()
    found = Batching.of("auto", round(held) + 1000, TINY_EN, ModelConfig(), DecodeConfig())
    assert found.room_mib == pytest.approx(1000, abs=50)
