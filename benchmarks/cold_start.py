"""What a command costs from its start: the help, and one recording of 10 s with each shipped model.

    python benchmarks/cold_start.py [--models NAME|DIR ...] [--repeat N] [--json PATH]

Each pass starts every command anew, in turn, in processes of their own; a row is the median of its passes. Beside them
stands what `python -c "import torch"` takes here, which every command with a model pays too. The first pass is not
timed: it compiles what was never imported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechre.audio import read_audio_ref
from speechre.data.store import read_manifest
from speechre.evaluate.run import describe_machine
from speechre.samples import SAMPLE_RATE_HZ

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "samples.jsonl"
SHIPPED = ("speechre-tiny-conll04", "speechre-base-conll04")
SECONDS = 10


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=SHIPPED)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "ten.wav")
        soundfile.write(recording, ten_seconds(), SAMPLE_RATE_HZ)
        seconds = measure(commands_of(options.models, recording), options.repeat)
    report = {"machine": describe_machine(), "repeat": options.repeat, "seconds": seconds}
    print(to_markdown(report["machine"], seconds))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def ten_seconds() -> np.ndarray:
    """The sample recordings one behind the other, cut."""
    sounds = [read_audio_ref(one.audio) for one in read_manifest(SAMPLES) if one.audio is not None]
    return np.concatenate(sounds)[: SECONDS * SAMPLE_RATE_HZ]


def commands_of(models: Sequence[str], recording: Path) -> dict[str, list[str]]:
    """Row to arguments of Python."""
    rows = {'python -c "import torch"': ["-c", "import torch"], "speechre --help": ["-m", "speechre", "--help"]}
    for model in models:
        for beams in ("5", "1"):
            name = f"speechre extract, {SECONDS} s, {model}, transcript beams {beams}"
            rows[name] = ["-m", "speechre", "extract", str(recording), "--model", model, "--transcript-beams", beams]
    return rows


def measure(rows: dict[str, list[str]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each pass of each row."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(repeat + 1):
        for name, arguments in rows.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def to_markdown(machine: dict[str, object], seconds: dict[str, list[float]]) -> str:
    """One line a command."""
    lines = [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["| command | s, median | least | most |", "|---|---|---|---|"]
    for name, passes in seconds.items():
        lines.append(f"| {name} | {statistics.median(passes):.2f} | {min(passes):.2f} | {max(passes):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
