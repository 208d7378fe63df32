"""What the service gives to one client and to several at a time, beside the same recordings one by one without it.

    python benchmarks/service.py [FILE_OR_FOLDER ...] [--model NAME|DIR] [--clients 1,4,8] [--rounds N] [--repeat N]
        [--threads N] [--json PATH]

Every row hears the same recordings (those of this repository, ROUNDS times). The rows without the service are the
extractor in this process, one recording at a time and in batches of eight; the service is "speechre serve" in a process
of its own, on as many threads, and each client sends its next recording when it has the answer to the one before. A
pass runs all rows in turn; a row's figures are medians over the passes. What the rows answered must be the same.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from speechre.audio import read_audio
from speechre.audio_files import find_audio_files
from speechre.evaluate.run import describe_machine
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.samples import SAMPLE_RATE_HZ

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
BATCH_SIZE = 8

Pass = tuple[float, list[float], dict[str, str]]
"""Seconds of the whole, seconds of each request (none without the service), and transcripts by file."""


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    torch.set_num_threads(options.threads)
    files = find_audio_files(options.files or [SAMPLES]) * options.rounds
    audio_s = sum(len(read_audio(path)) for path in files) / SAMPLE_RATE_HZ
    with serving(options) as address:
        rows = rows_of(options, files, address)
        passes = [{name: run() for name, run in rows.items()} for _ in range(options.repeat + 1)]
        del passes[0]  # which warms up
    check_same({name: one[2] for name, one in passes[0].items()})
    report = {
        "machine": describe_machine(),
        "model": options.model,
        "threads": options.threads,
        "num_requests": len(files),
        "audio_s": round(audio_s, 1),
        "repeat": options.repeat,
        "rows": {name: figures([one[name] for one in passes], len(files), audio_s) for name in rows},
    }
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[str]:
    """``speechre serve`` in a process of its own: host and port."""
    command = [sys.executable, "-m", "speechre", "serve", "--port", "0", "--device", "cpu", "--model", options.model]
    command += ["--batch-size", str(BATCH_SIZE), "--max-waiting", str(max(32, *options.clients))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.match(r"listening on http://(\S+)", line)
        if match is None:
            sys.exit(line + process.stderr.read())
        yield match[1]
    finally:
        process.terminate()
        process.communicate()


def rows_of(options: argparse.Namespace, files: Sequence[Path], address: str) -> dict[str, Callable[[], Pass]]:
    """By name, what hears all files once."""
    rows: dict[str, Callable[[], Pass]] = {}
    for size in (1, BATCH_SIZE):
        extractor = Extractor.from_pretrained(options.model, device="cpu", batch_size=size)
        rows[f"no service, batches of {size}"] = lambda extractor=extractor: without_service(extractor, files)
    for num_clients in options.clients:
        name = f"{num_clients} client{'s' if num_clients > 1 else ''}"
        rows[name] = lambda num_clients=num_clients: with_clients(address, files, num_clients)
    return rows


def without_service(extractor: Extractor, files: Sequence[Path]) -> Pass:
    started = time.perf_counter()
    found = {Path(one.source).name: one.transcript or "" for one in extractor.extract_many(files)}
    return time.perf_counter() - started, [], found


def with_clients(address: str, files: Sequence[Path], num_clients: int) -> Pass:
    left: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for path in files:
        left.put(path)
    seconds: list[float] = []
    found: dict[str, str] = {}

    def ask() -> None:
        connection = http.client.HTTPConnection(address, timeout=600)
        while True:
            try:
                path = left.get_nowait()
            except queue.Empty:
                return connection.close()
            started = time.perf_counter()
            connection.request("POST", f"/v1/extract?name={path.name}", path.read_bytes())
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            seconds.append(time.perf_counter() - started)
            found[path.name] = answer["transcript"]

    clients = [threading.Thread(target=ask) for _ in range(num_clients)]
    started = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return time.perf_counter() - started, seconds, found


def check_same(transcripts: dict[str, dict[str, str]]) -> None:
    """Ends the script where two rows heard different things."""
    first, *others = transcripts.values()
    if any(other != first for other in others):
        sys.exit(f"the rows do not answer alike: {transcripts}")


def figures(passes: Sequence[Pass], num_requests: int, audio_s: float) -> dict[str, float | None]:
    """Medians over the passes."""
    total_s = statistics.median(one[0] for one in passes)
    latencies = [sorted(one[1]) for one in passes if one[1]]
    half, most = (
        statistics.median(one[min(len(one) - 1, int(share * len(one)))] for one in latencies) if latencies else None
        for share in (0.5, 0.95)
    )
    return {
        "requests_per_s": num_requests / total_s,
        "real_time_factor": total_s / audio_s,
        "p50_s": half,
        "p95_s": most,
    }


def to_markdown(report: dict[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        f"{report['model']}, {report['num_requests']} requests of {report['audio_s']} s together, {report['threads']} "
        f"threads, medians of {report['repeat']} passes; {facts}.",
        "",
        "| | requests/s | real-time factor | latency, half under | 95 % under |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        half, most = ("" if row[key] is None else f"{row[key]:.2f} s" for key in ("p50_s", "p95_s"))
        lines.append(f"| {name} | {row['requests_per_s']:.2f} | {row['real_time_factor']:.3f} | {half} | {most} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
