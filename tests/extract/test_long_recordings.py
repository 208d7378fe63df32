"""Minutes of speech with known answers through the shipped model: as good as one by one, at the right time, in constant
memory.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechre import Extractor, Triplet, Utterance, read_audio, read_manifest, score

pytestmark = pytest.mark.slow

RATE = 16_000
SAMPLES = Path(__file__).parent.parent.parent / "samples"
ROUNDS = 3
MAX_GROWTH_KIB = 60 * 1024


@dataclass(frozen=True)
class Placed:
    """An utterance in the long recording, under an id of its own."""

    id: str
    utterance: Utterance
    start_s: float
    end_s: float


def build(path: Path) -> list[Placed]:
    """All samples in several sequences, with pauses of half a second to three seconds over faint noise, on disk."""
    rng, utterances = np.random.default_rng(7), read_manifest(SAMPLES / "samples.jsonl")
    placed, now = [], 0
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        for turn in range(ROUNDS):
            for index in rng.permutation(len(utterances)):
                utterance = utterances[index]
                assert utterance.audio is not None
                speech = read_audio(utterance.audio.path)
                sound = np.concatenate([speech, np.zeros(round(rng.uniform(0.5, 3.0) * RATE), np.float32)])
                file.write(sound + 0.0003 * rng.standard_normal(len(sound)))
                placed.append(Placed(f"{turn}-{utterance.id}", utterance, now / RATE, (now + len(speech)) / RATE))
                now += len(sound)
    return placed


def owner(triplet: Triplet, placed: list[Placed]) -> Placed | None:
    """The utterance in which a triplet was said, by its times alone."""
    assert triplet.start_s is not None
    assert triplet.end_s is not None
    inside = [p for p in placed if p.start_s - 0.3 <= triplet.start_s and triplet.end_s <= p.end_s + 0.3]
    return inside[0] if inside else None


def test_minutes_are_as_good_as_one_by_one_and_memory_does_not_grow(tmp_path: Path) -> None:
    placed = build(tmp_path / "long.flac")
    assert placed[-1].end_s > 180
    extractor = Extractor.from_pretrained(batch_size=4)
    alone = {p.id: extractor(p.utterance).triplets for p in placed[: len(placed) // ROUNDS]}
    alone = {p.id: next(t for i, t in alone.items() if i.endswith(f"-{p.utterance.id}")) for p in placed}
    found: dict[str, list[Triplet]] = {p.id: [] for p in placed}
    lost: list[Triplet] = []
    peaks_kib: list[int] = []
    for extraction in extractor.stream(tmp_path / "long.flac"):
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


def test_entities_lie_where_their_words_were_spoken(tmp_path: Path) -> None:
    """All samples one behind the other: each statement lies in one utterance, each entity in the transcript."""
    placed = build(tmp_path / "long.flac")[:10]
    sound = read_audio(tmp_path / "long.flac", duration_s=placed[-1].end_s)
    extraction = Extractor.from_pretrained()(sound, RATE)
    assert len(extraction.triplets) >= 5
    for triplet in extraction.triplets:
        utterance = owner(triplet, placed)
        assert utterance is not None, triplet
        for entity in (triplet.head, triplet.tail):
            assert (extraction.transcript or "")[entity.start : entity.end] == entity.text
