"""Where the time of an extraction goes: the operations of the network, heaviest first, and what float16 matrices earn.

    python benchmarks/operations.py [FILE_OR_FOLDER ...] [--model NAME] [--threads 1] [--limit 8] [--json PATH]

Without files it runs on the sample recordings. The first table is torch's own profile of one pass, six orders, greedy,
one recording at a time; watching costs time, so read its shares, not its sum. The second has passes with the search's
matrices in float32 and in float16 (``decode.step_weights``) in turn, unwatched, and how many answers differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from extraction import SAMPLES, STAGES, machine
from speechre.audio import read_audio
from speechre.audio_files import find_audio_files
from speechre.decode.engine import Timing
from speechre.evaluate.development import every_nth
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.samples import SAMPLE_RATE_HZ

NUM_OPERATIONS = 12
STEP_WEIGHTS = ("float32", "float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=int, default=8, help="so many recordings, spread evenly (default: 8)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the report there too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    files = find_audio_files(options.files or [SAMPLES])
    files = every_nth(files, options.limit)
    sounds = [(read_audio(path), SAMPLE_RATE_HZ) for path in files]
    report = {
        "machine": machine(),
        "threads": options.threads,
        "model": load_checkpoint(options.model).model_id,
        "num_utterances": len(sounds),
        "audio_s": round(sum(len(samples) for samples, _ in sounds) / SAMPLE_RATE_HZ, 1),
        "operations": operations(options.model, sounds),
        "step_weights": compare(options.model, sounds, options.repeat),
    }
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def operations(model: str, sounds: list[Any]) -> list[dict[str, Any]]:
    """The heaviest operations of one pass: share of the whole, calls and milliseconds an utterance."""
    extractor = Extractor.from_pretrained(model, batch_size=1)
    list(extractor.extract_many(sounds[:2]))
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        list(extractor.extract_many(sounds))
    events = sorted(watched.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operation": event.key,
            "share": round(event.self_cpu_time_total / whole, 4),
            "calls": round(event.count / len(sounds), 1),
            "ms": round(event.self_cpu_time_total / 1000 / len(sounds), 2),
        }
        for event in events[:NUM_OPERATIONS]
    ]


def compare(model: str, sounds: list[Any], repeat: int) -> dict[str, Any]:
    """Median seconds an utterance, by stage, of passes in turn; and how many answers differ."""
    checkpoint = load_checkpoint(model)
    sides = {}
    for name in STEP_WEIGHTS:
        decode = replace(checkpoint.config.decode, step_weights=name)
        sides[name] = Extractor(replace(checkpoint, config=replace(checkpoint.config, decode=decode)))
        list(sides[name].extract_many(sounds[:1]))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    stages: dict[str, list[list[float]]] = {name: [] for name in sides}
    answers: dict[str, list[Any]] = {}
    for _ in range(repeat):
        for name, extractor in sides.items():
            extractor.engine.timing = Timing()
            start = time.perf_counter()
            answers[name] = [(e.transcript, e.to_dict()["triplets"]) for e in extractor.extract_many(sounds)]
            seconds[name].append((time.perf_counter() - start) / len(sounds))
            stages[name].append([getattr(extractor.engine.timing, f"{stage}_s") / len(sounds) for stage in STAGES])
    first, second = (answers[name] for name in STEP_WEIGHTS)
    return {
        "different_transcripts": sum(a[0] != b[0] for a, b in zip(first, second, strict=True)),
        "different_triplets": sum(keys(a[1]) != keys(b[1]) for a, b in zip(first, second, strict=True)),
        "rows": {
            name: {
                "s_per_utterance": round(statistics.median(seconds[name]), 4),
                **dict(
                    zip(STAGES, [round(statistics.median(s), 4) for s in zip(*stages[name], strict=True)], strict=True)
                ),
            }
            for name in sides
        },
    }


def keys(triplets: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(one["head"]["text"], one["relation"], one["tail"]["text"]) for one in triplets}


def to_markdown(report: dict[str, Any]) -> str:
    facts, compared = report["machine"], report["step_weights"]
    lines = [
        f"{report['model']}, {report['num_utterances']} recordings, {report['audio_s']} s; {report['threads']} "
        f"threads, {facts['cpu']} ({facts['cores']} cores), Python {facts['python']}, torch {facts['torch']}.",
        "",
        "| operation | share | calls an utterance | ms an utterance |",
        "|---|---|---|---|",
        *(
            f"| `{o['operation']}` | {o['share']:.1%} | {o['calls']:.0f} | {o['ms']:.1f} |"
            for o in report["operations"]
        ),
        "",
        f"| step weights | s/utterance | {' | '.join(STAGES)} |",
        "|---" * (2 + len(STAGES)) + "|",
    ]
    for name, row in compared["rows"].items():
        stages = " | ".join(f"{row[stage]:.3f}" for stage in STAGES)
        lines.append(f"| {name} | {row['s_per_utterance']:.3f} | {stages} |")
    lines += [
        "",
        f"Other transcripts: {compared['different_transcripts']}, other triplets: {compared['different_triplets']}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
