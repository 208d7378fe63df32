"""What long recordings cost and keep: F1 beside the same utterances one by one, real-time factor, peak memory, and the
number of triplets in recordings of nothing.

    python benchmarks/recordings.py MANIFEST [--minutes 60] [--noise-minutes 10] [--vad energy,silero] [--json PATH]

The long recording is made of the manifest's utterances in a random sequence, with pauses of a random length between
them, on disk. A triplet of it belongs to the utterance in which it was said, by its times; what lies in none counts
as wrong.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from speechre.audio import SAMPLE_RATE_HZ, read_audio_ref
from speechre.data.store import read_manifest
from speechre.extract.extractor import Extractor
from speechre.metrics import score
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.types import Triplet, Utterance

PAUSES_S = (0.3, 2.5)
SLACK_S = 0.5  # how far a statement may reach out of its utterance
NOWHERE = "(in no utterance)"
Span = tuple[float, float]


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        utterances, spans = build(options.manifest, path, options.minutes, options.seed)
        gold = {utterance.id: utterance.triplets for utterance in utterances} | {NOWHERE: ()}
        for vad in options.vad.split(","):
            extractor = Extractor.from_pretrained(options.model, batch_size=options.batch_size, vad=vad)
            rows.append(long_row(extractor, path, spans, gold))
            for name, make in NOTHING.items() if options.noise_minutes else ():
                noise = Path(folder) / f"{name}.flac"
                write_noise(noise, make, options.noise_minutes)
                rows.append({"recording": name, **heard(extractor, noise)[0]})
        start = time.perf_counter()
        alone = {e.id: e.triplets for e in extractor.extract_many(utterances)} | {NOWHERE: ()}
        report = score(gold, alone, "boundary").triplet
        rows.append({"recording": "one by one", "f1": report.f1, "work_s": time.perf_counter() - start})
    for row in rows:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--noise-minutes", type=float, default=10.0)
    parser.add_argument("--vad", default="energy")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write the report there too")
    return parser.parse_args()


def build(manifest: Path, path: Path, minutes: float, seed: int) -> tuple[list[Utterance], dict[str, Span]]:
    """Write the long recording; the utterances that are in it, and their places in seconds."""
    rng = np.random.default_rng(seed)
    everything = [utterance for utterance in read_manifest(manifest) if utterance.audio is not None]
    chosen, spans, now = [], {}, 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, format="FLAC", subtype="PCM_16") as file:
        for index in rng.permutation(len(everything)):
            if now >= minutes * 60 * SAMPLE_RATE_HZ:
                break
            utterance = everything[index]
            assert utterance.audio is not None
            speech = read_audio_ref(utterance.audio)
            pause = np.zeros(round(rng.uniform(*PAUSES_S) * SAMPLE_RATE_HZ), np.float32)
            sound = np.concatenate([speech, pause])
            file.write(sound + 0.0003 * rng.standard_normal(len(sound)))
            spans[utterance.id] = (now / SAMPLE_RATE_HZ, (now + len(speech)) / SAMPLE_RATE_HZ)
            chosen.append(utterance)
            now += len(sound)
    return chosen, spans


def long_row(
    extractor: Extractor, path: Path, spans: dict[str, Span], gold: dict[str, Sequence[Triplet]]
) -> dict[str, Any]:
    row, triplets = heard(extractor, path)
    found: dict[str, list[Triplet]] = {name: [] for name in gold}
    for triplet in triplets:
        assert triplet.start_s is not None
        assert triplet.end_s is not None
        middle = (triplet.start_s + triplet.end_s) / 2
        inside = [name for name, (a, b) in spans.items() if a - SLACK_S <= middle <= b + SLACK_S]
        found[min(inside, key=lambda name: abs(sum(spans[name]) / 2 - middle), default=NOWHERE)].append(triplet)
    report = score(gold, found, "boundary").triplet
    return {"recording": "long", **row, "f1": report.f1, "num_nowhere": len(found[NOWHERE])}


def heard(extractor: Extractor, path: Path) -> tuple[dict[str, Any], list[Triplet]]:
    """Stream one recording: what it cost, and what was found."""
    duration_s = soundfile.info(path).duration
    triplets: list[Triplet] = []
    memory_mib: list[tuple[float, int]] = []
    num_chunks, start = 0, time.perf_counter()
    for extraction in extractor.stream(path):
        triplets += extraction.triplets
        num_chunks += 1
        end_s = float(extraction.id.rpartition(",")[2])
        memory_mib.append((end_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
    work_s = time.perf_counter() - start
    early = [mib for end_s, mib in memory_mib if end_s <= 300]
    row = {
        "vad": extractor.vad,
        "audio_s": duration_s,
        "num_chunks": num_chunks,
        "num_triplets": len(triplets),
        "work_s": work_s,
        "real_time_factor": work_s / duration_s,
        "peak_mib_after_5_minutes": early[-1] if early else None,
        "peak_mib_at_end": memory_mib[-1][1] if memory_mib else None,
    }
    return row, triplets


def _time_s(num_samples: int, first: int) -> np.ndarray:
    return (first + np.arange(num_samples)) / SAMPLE_RATE_HZ


def _tones(count: int, first: int, rng: np.random.Generator) -> np.ndarray:
    """A new tone every half second, with gaps: a melody, not a held note."""
    time_s = _time_s(count, first)
    pitch_hz = 220 * 2 ** ((np.floor(time_s * 2) * 7 % 24) / 12)
    return 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * (time_s * 2 % 1 < 0.8)


NOTHING: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "silence": lambda count, first, rng: np.zeros(count),
    "white noise": lambda count, first, rng: 0.1 * rng.standard_normal(count),
    "held chord": lambda count, first, rng: sum(
        0.1 * np.sin(2 * np.pi * pitch_hz * _time_s(count, first)) for pitch_hz in (262, 330, 392)
    ),
    "melody": _tones,
}


def write_noise(path: Path, make: Callable[[int, int, np.random.Generator], np.ndarray], minutes: float) -> None:
    rng, block = np.random.default_rng(0), 60 * SAMPLE_RATE_HZ
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, format="FLAC", subtype="PCM_16") as file:
        total = round(minutes * 60 * SAMPLE_RATE_HZ)
        for first in range(0, total, block):
            file.write(make(min(block, total - first), first, rng))


if __name__ == "__main__":
    main()
