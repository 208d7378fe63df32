"""Minutes of speech with known answers through the shipped model: as good as one by one, at the right time, in constant
memory.
"""

from __future__ import annotations

import importlib
import resource
from pathlib import Path
from typing import Any

import pytest

from speechre import Extractor, Triplet, read_audio, read_manifest, score

pytestmark = pytest.mark.slow

RATE = 16_000
ROOT = Path(__file__).parents[2]
MINUTES = 3.2
MAX_GROWTH_KIB = 60 * 1024


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Any]]:
    """All samples in several sequences with pauses over faint noise, on disk, and where each lies."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    write_utterances = importlib.import_module("recordings_made").write_utterances
    path = tmp_path / "long.flac"
    return path, write_utterances(path, read_manifest(ROOT / "samples" / "samples.jsonl"), MINUTES, seed=7)


def owner(triplet: Triplet, placed: list[Any]) -> Any:
    """The utterance in which a triplet was said, by its times alone."""
    assert triplet.start_s is not None
    assert triplet.end_s is not None
    inside = [p for p in placed if p.start_s - 0.3 <= triplet.start_s and triplet.end_s <= p.end_s + 0.3]
    return inside[0] if inside else None


def test_minutes_are_as_good_as_one_by_one_and_memory_does_not_grow(long: tuple[Path, list[Any]]) -> None:
    path, placed = long
    extractor = Extractor.from_pretrained(batch_size=4)
    heard = {p.utterance.id: p.utterance for p in placed}
    answers = {name: extractor(utterance).triplets for name, utterance in heard.items()}
    alone = {p.id: answers[p.utterance.id] for p in placed}
    found: dict[str, list[Triplet]] = {p.id: [] for p in placed}
    lost: list[Triplet] = []
    peaks_kib: list[int] = []
    for extraction in extractor.stream(path):
        peaks_kib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        for triplet in extraction.triplets:
            utterance = owner(triplet, placed)
            (lost if utterance is None else found[utterance.id]).append(triplet)
    assert len(peaks_kib) >= len(placed) // 2
    assert not lost, "these lie in no utterance: their times are wrong"
    gold = {p.id: p.utterance.triplets for p in placed}
    one_by_one, together = (score(gold, one, "boundary").triplet.f1 for one in (alone, found))
    assert one_by_one > 0.4, "the model finds too little for this to prove anything"
    assert together >= one_by_one - 0.02
    assert peaks_kib[-1] - peaks_kib[len(peaks_kib) // 2] < MAX_GROWTH_KIB


def test_entities_lie_where_their_words_were_spoken(long: tuple[Path, list[Any]]) -> None:
    """All samples one behind the other: each statement lies in one utterance, each entity in the transcript."""
    path, placed = long[0], long[1][:10]
    sound = read_audio(path, duration_s=placed[-1].end_s)
    extraction = Extractor.from_pretrained()(sound, RATE)
    assert len(extraction.triplets) >= 5
    for triplet in extraction.triplets:
        utterance = owner(triplet, placed)
        assert utterance is not None, triplet
        for entity in (triplet.head, triplet.tail):
            assert (extraction.transcript or "")[entity.start : entity.end] == entity.text
