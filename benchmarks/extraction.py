"""What a recording costs: seconds per utterance for the six orders, split by stage, for greedy search and beams.

    python benchmarks/extraction.py [FILE_OR_FOLDER ...] [--model NAME] [--beams 1,3] [--batch-size 1,8] [--threads 2]

Without files it runs on the sample recordings of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import speechre
from speechre.audio import read_audio
from speechre.audio_files import find_audio_files
from speechre.cli.options import speed_list
from speechre.decode.engine import Timing
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.orders import ORDERS
from speechre.samples import SAMPLE_RATE_HZ

SAMPLES = Path(__file__).parent.parent / "samples"
STAGES = ("hearings", "encoder", "transcript", "alignment", "prefill", "orders")


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    files = find_audio_files(options.files or [SAMPLES])
    arrays = [(read_audio(path), SAMPLE_RATE_HZ) for path in files[: options.limit]]
    seconds = sum(len(samples) for samples, _ in arrays) / SAMPLE_RATE_HZ
    rows = [
        measure(options, arrays, orders, beams, batch_size)
        for orders in options.orders
        for beams in options.beams
        for batch_size in options.batch_size
    ]
    report = {
        "machine": machine(),
        "threads": options.threads,
        "device": torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device,
        "model": rows[0]["model"],
        "num_utterances": len(arrays),
        "audio_s": round(seconds, 2),
        "repeat": options.repeat,
        "rows": rows,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(to_markdown(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    def integers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--beams", type=integers, default=[1, 3])
    parser.add_argument("--batch-size", type=integers, default=[1, 8])
    parser.add_argument("--orders", type=lambda text: text.split(";"), default=[",".join(ORDERS)])
    parser.add_argument("--speeds", type=speed_list, help="recordings are heard at, as 1,0.9 (default: the model's)")
    parser.add_argument("--transcript-beams", type=int, help="default: the model's")
    parser.add_argument("--second-listener", help="who hears too, or none (default: the model's)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only the first N recordings")
    parser.add_argument("--json", help="write the report there too")
    return parser.parse_args()


def measure(options: argparse.Namespace, arrays: list[Any], orders: str, beams: int, batch_size: int) -> dict[str, Any]:
    """Median seconds per utterance of ``repeat`` passes over all recordings, after one short pass to warm up."""
    given = {
        "speeds": options.speeds,
        "transcript_beams": options.transcript_beams,
        "second_listener": "" if options.second_listener == "none" else options.second_listener,
    }
    extractor = Extractor.from_pretrained(
        options.model,
        device=options.device,
        beams=beams,
        orders=orders.split(","),
        batch_size=batch_size,
        **{name: value for name, value in given.items() if value is not None},
    )
    list(extractor.extract_many(arrays[:batch_size]))
    totals: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(options.repeat):
        extractor.engine.timing = Timing()
        start = time.perf_counter()
        list(extractor.extract_many(arrays))
        totals.append(time.perf_counter() - start)
        for stage in STAGES:
            stages[stage].append(getattr(extractor.engine.timing, f"{stage}_s"))
    count = len(arrays)
    seconds = sum(len(samples) for samples, _ in arrays) / 16000
    total = statistics.median(totals)
    return {
        "model": extractor.model_id,  # with its second listener
        "orders": len(orders.split(",")),
        "beams": beams,
        "batch_size": batch_size,
        "s_per_utterance": round(total / count, 4),
        **{f"{stage}_s": round(statistics.median(values) / count, 4) for stage, values in stages.items()},
        "real_time_factor": round(total / seconds, 4),
        "decoder_steps": extractor.engine.timing.num_steps,
    }


def machine() -> dict[str, str]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "speechre": speechre.__version__,
    }


def to_markdown(report: dict[str, Any]) -> str:
    facts = report["machine"]
    lines = [
        f"{report['model']}, {report['num_utterances']} recordings, {report['audio_s']} s of audio, median of "
        f"{report['repeat']} passes on {report['device']}, {report['threads']} threads; {facts['cpu']} "
        f"({facts['cores']} cores), Python "
        f"{facts['python']}, torch {facts['torch']}, speechre {facts['speechre']}; "
        f"peak memory {report['peak_memory_mib']} MiB.",
        "",
        f"| orders | beams | batch | s/utterance | {' | '.join(STAGES)} | other | real-time factor |",
        "|---" * (6 + len(STAGES)) + "|",
    ]
    for row in report["rows"]:
        other = row["s_per_utterance"] - sum(row[f"{stage}_s"] for stage in STAGES)
        stages = " | ".join(f"{row[f'{stage}_s']:.3f}" for stage in STAGES)
        lines.append(
            f"| {row['orders']} | {row['beams']} | {row['batch_size']} | {row['s_per_utterance']:.3f} | {stages} | "
            f"{other:.3f} | {row['real_time_factor']:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
