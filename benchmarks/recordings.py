"""What long recordings cost and keep: F1 beside the same utterances one by one, real-time factor, memory over time, and
the number of triplets in recordings that state nothing.

    python benchmarks/recordings.py MANIFEST [--minutes 60] [--nothing-minutes 10] [--vad energy,silero] [--json PATH]

The long recording is made of the manifest's utterances in a random sequence, repeated until it is long enough, with
pauses of a random length between them, on disk; it is heard as "speechre extract" hears it. A triplet of it belongs to
the utterance in which it was said, by its times; what lies in none counts as wrong. The recordings that state nothing
are silence, white noise, tones, and speech without relations, which flite reads aloud (--voices).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from extraction import machine
from recordings_made import NOTHING, Placed, write_noise, write_speech_without_relations, write_utterances
from speechre.data.store import read_manifest
from speechre.decode.memory import peak_resident_mib, resident_mib, start_peak
from speechre.extract.extractor import Extractor
from speechre.metrics import score
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.types import Triplet, Utterance

SLACK_S = 0.5  # how far the middle of a statement may lie outside of its utterance
MEMORY_AT_MINUTES = (1, 5, 10, 15, 30, 45, 60, 90, 120)
NOWHERE = "(in no utterance)"
SPEECH = "speech without relations"
Row = dict[str, Any]


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(options, folder)
    print(to_markdown(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the long recording; 0: none")
    parser.add_argument("--nothing-minutes", type=float, default=10.0, help="of each that states nothing; 0: none")
    parser.add_argument(
        "--no-one-by-one", dest="one_by_one", action="store_false", help="do not hear the same utterances one by one"
    )
    parser.add_argument("--vad", type=lambda text: text.split(","), default=["energy"])
    parser.add_argument(
        "--voices",
        type=lambda text: text.split(","),
        default=["flite:rms", "flite:slt", "flite:awb", "flite:kal16"],
        help="who reads the speech without relations",
    )
    parser.add_argument("--batch-size", type=lambda text: text if text == "auto" else int(text), default=8)
    parser.add_argument("--memory-mib", type=int, help="of the whole process, with batch size auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="keep the recordings there")
    parser.add_argument("--json", help="write the report there too")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> Row:
    """All recordings by all detectors; the long one first, so that nothing else has filled the memory."""
    utterances = [utterance for utterance in read_manifest(options.manifest) if utterance.audio is not None]
    placed: list[Placed] = []
    if options.minutes:
        placed = write_utterances(folder / "long.flac", utterances, options.minutes, options.seed)
    quiet: dict[str, Path] = {}
    if options.nothing_minutes:
        quiet = write_nothing(folder, options)
    long_rows: list[Row] = []
    nothing_rows: list[Row] = []
    for vad in options.vad:
        extractor = Extractor.from_pretrained(
            options.model, batch_size=options.batch_size, memory_mib=options.memory_mib, vad=vad
        )
        if placed:
            long_rows.append(long_row(extractor, folder / "long.flac", placed))
        for name, path in quiet.items():
            row, _ = heard(extractor, path)
            nothing_rows.append({"recording": name, **row})
    if placed and options.one_by_one:
        long_rows.append(one_by_one_row(extractor, placed))
    return {
        "model": extractor.checkpoint.model_id,
        "machine": machine(),
        "threads": options.threads,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "num_utterances": len(placed),
        "num_different_utterances": len({one.utterance.id for one in placed}),
        "long": long_rows,
        "nothing": nothing_rows,
    }


def write_nothing(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The recordings that state nothing, by name."""
    paths = {name: folder / f"nothing-{number}.flac" for number, name in enumerate((*NOTHING, SPEECH))}
    for name, make in NOTHING.items():
        write_noise(paths[name], make, options.nothing_minutes)
    write_speech_without_relations(paths[SPEECH], options.nothing_minutes, options.voices, options.seed)
    return paths


# -- measuring


def heard(extractor: Extractor, path: Path) -> tuple[Row, Sequence[Triplet]]:
    """Hear one recording to its end, as the command does: what it cost, and what was found."""
    duration_s = soundfile.info(path).duration
    memory: list[tuple[float, float]] = []
    before_mib = resident_mib()
    has_own_peak = start_peak()
    start = time.perf_counter()
    (extraction,) = extractor.extract_many(
        [path], on_progress=lambda _, position_s: memory.append((position_s, peak_resident_mib()))
    )
    work_s = time.perf_counter() - start
    row = {
        "vad": extractor.vad,
        "audio_s": duration_s,
        "num_chunks": len(memory) - 1,
        "num_triplets": len(extraction.triplets),
        "work_s": work_s,
        "real_time_factor": work_s / duration_s,
        "before_mib": before_mib,
        "is_peak_of_this_recording": has_own_peak,
        "peak_mib_at_minute": peaks(memory, duration_s),
        "peak_mib": memory[-1][1],
    }
    return row, extraction.triplets


def peaks(memory: Sequence[tuple[float, float]], duration_s: float) -> dict[int, float]:
    """The peak so far at some minutes of the recording."""
    positions = [position_s for position_s, _ in memory]
    minutes = [minute for minute in MEMORY_AT_MINUTES if minute * 60 <= duration_s]
    return {minute: memory[min(bisect_left(positions, minute * 60), len(memory) - 1)][1] for minute in minutes}


def long_row(extractor: Extractor, path: Path, placed: Sequence[Placed]) -> Row:
    row, triplets = heard(extractor, path)
    found: dict[str, list[Triplet]] = {NOWHERE: []}
    for triplet in triplets:
        found.setdefault(owner(triplet, placed), []).append(triplet)
    return {"recording": "all in one", **row, **scores(placed, found), "num_nowhere": len(found[NOWHERE])}


def owner(triplet: Triplet, placed: Iterable[Placed]) -> str:
    """The utterance in which a statement's middle lies, of two the one whose own middle is nearer."""
    assert triplet.start_s is not None
    assert triplet.end_s is not None
    middle = (triplet.start_s + triplet.end_s) / 2
    inside = [one for one in placed if one.start_s - SLACK_S <= middle <= one.end_s + SLACK_S]
    nearest = min(inside, key=lambda one: abs((one.start_s + one.end_s) / 2 - middle), default=None)
    return NOWHERE if nearest is None else nearest.id


def one_by_one_row(extractor: Extractor, placed: Sequence[Placed]) -> Row:
    """Every utterance by itself, each as often as it stands in the long recording; heard once."""
    different: dict[str, Utterance] = {one.utterance.id: one.utterance for one in placed}
    start = time.perf_counter()
    alone = {extraction.id: extraction for extraction in extractor.extract_many(different.values())}
    work_s = time.perf_counter() - start
    audio_s = sum(extraction.duration_s for extraction in alone.values())
    return {
        "recording": "one by one",
        "audio_s": audio_s,
        "num_triplets": sum(len(alone[one.utterance.id].triplets) for one in placed),
        "work_s": work_s,
        "real_time_factor": work_s / audio_s,
        **scores(placed, {one.id: alone[one.utterance.id].triplets for one in placed}),
    }


def scores(placed: Iterable[Placed], found: Mapping[str, Sequence[Triplet]]) -> Row:
    gold: dict[str, Sequence[Triplet]] = {one.id: one.utterance.triplets for one in placed}
    report = score({**gold, NOWHERE: ()}, {name: found.get(name, ()) for name in (*gold, NOWHERE)}, "boundary")
    return {"precision": report.triplet.precision, "recall": report.triplet.recall, "f1": report.triplet.f1}


# -- showing


def to_markdown(report: Row) -> str:
    facts = report["machine"]
    parts = [
        f"{report['model']}, {report['threads']} threads, batches of {report['batch_size']}; {facts['cpu']} "
        f"({facts['cores']} cores), Python {facts['python']}, torch {facts['torch']}, speechre {facts['speechre']}."
    ]
    if report["long"]:
        parts.append(
            f"{report['num_utterances']} utterances with known answers, {report['num_different_utterances']} of them "
            f"different (seed {report['seed']}):"
        )
        parts += [_long_table(report["long"]), _memory_table(report["long"])]
    if report["nothing"]:
        parts += ["Recordings that state nothing:", _nothing_table(report["nothing"])]
    return "\n\n".join(parts)


def _long_table(rows: Sequence[Row]) -> str:
    names = ("precision", "recall", "f1")
    return _table(
        ("recording", "vad", "audio", "chunks", "triplets", "P", "R", "F1", "in no utterance", "real-time factor"),
        [
            (
                row["recording"],
                row.get("vad", ""),
                _seconds(row["audio_s"]),
                row.get("num_chunks", ""),
                row["num_triplets"],
                *(f"{100 * row[name]:.1f}" for name in names),
                row.get("num_nowhere", ""),
                f"{row['real_time_factor']:.3f}",
            )
            for row in rows
        ],
    )


def _memory_table(rows: Sequence[Row]) -> str:
    long = [row for row in rows if "peak_mib" in row]
    minutes = sorted({minute for row in long for minute in row["peak_mib_at_minute"]})
    return _table(
        ("peak memory, MiB", "before", *(f"{minute} min" for minute in minutes), "at the end"),
        [
            (
                f"{row['recording']}, {row['vad']}",
                f"{row['before_mib']:,.0f}",
                *(f"{row['peak_mib_at_minute'][minute]:,.0f}" for minute in minutes),
                f"{row['peak_mib']:,.0f}",
            )
            for row in long
        ],
    )


def _nothing_table(rows: Sequence[Row]) -> str:
    return _table(
        ("recording", "vad", "audio", "chunks heard", "triplets", "real-time factor"),
        [
            (
                row["recording"],
                row["vad"],
                _seconds(row["audio_s"]),
                row["num_chunks"],
                row["num_triplets"],
                f"{row['real_time_factor']:.4f}",
            )
            for row in rows
        ],
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    main()
