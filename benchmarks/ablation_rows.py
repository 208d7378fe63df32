"""The ablation by training: each row a recipe that adds what its name says to the row before, with some seeds each.

    python benchmarks/ablation_rows.py DEV.jsonl [--rows paper,correct,...] [--seeds 1,2,3] [--beams K]
                                       [--output runs/ablation] [--scores DIR] [--train TRAIN.jsonl ...]
                                       [--SECTION.KEY VALUE]...

Trains what is not there yet (a run that was stopped goes on), scores all of it on the same utterances, and prints the
table, and behind it each row's difference to the one before, by a paired bootstrap over utterances (of the seeds that
both have, an utterance drawn with all of its seeds). With --train both leave out the utterances whose sentence stands
there too, or one that is nearly so. Models stay in the output folder, and scores there or in ``--scores``, so rows and
seeds can be added one at a time, on several machines: what is scored is not trained again. Rows before "vote" answer by
the paper's vote, two of six orders. From "vote" on the vote is weighted and calibrated, fitted on one half of the
utterances and used on the other, both ways round. Settings after that go to every training, for a first look
(--train.steps 20) or another machine (--train.device cuda).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation import PROTOCOL, Answers, Bench, Row
from speechre.cli.overrides import split_overrides
from speechre.config import Config, load_config
from speechre.data.store import read_manifest
from speechre.errors import SpeechreError, UsageError
from speechre.evaluate.run import describe_machine
from speechre.metrics import Counts, per_utterance
from speechre.significance import paired_bootstrap
from speechre.vote import PaperVote
from unseen import shared_ids

ROWS = {
    "paper": "the paper's way",
    "correct": "+ correct training and decoding",
    "six-orders": "+ six orders on one encoder pass",
    "transcript": "+ transcript",
    "copy": "+ copy constraint",
    "vote": "+ weighted and calibrated vote",
    "own-corpus": "+ own corpus",
    "base": "+ Whisper base",
}


Report = Mapping[str, Any]
"""What a row with a seed scored, and what it was made with."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--beams", type=int, help="default: the recipe's")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--scores", type=Path, help="default: the output folder")
    parser.add_argument("--train", type=Path, nargs="+", default=[], help="leave out what has sentences of these")
    rest, overrides = split_overrides(list(sys.argv[1:] if argv is None else argv))
    options = parser.parse_args(rest)
    scores = options.scores or options.output
    try:
        unknown = [name for name in options.rows if name not in ROWS]
        if unknown:
            raise UsageError(f"no row {', '.join(unknown)}; expected some of {', '.join(ROWS)}")
        utterances = read_manifest(options.manifest)
        for seed in options.seeds:
            for row in options.rows:
                path = scores / f"{row}-{seed}.json"
                if not path.is_file():
                    model = trained(row, seed, options.output, overrides)
                    report = scored(row, model, options.beams, utterances, seed)
                    scores.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        reports = read_scores(scores)
        print(to_markdown(reports))
        print("\n" + differences(reports))
        if options.train:
            exact, near = shared_ids(utterances, [one for path in options.train for one in read_manifest(path)])
            print(f"\nWithout {len(exact)} utterances whose sentence is one of training, and {len(near)} nearly so:\n")
            print(differences(reports, exact | near))
    except SpeechreError as error:
        print(f"ablation_rows: {error}", file=sys.stderr)
        return error.exit_code
    return 0


# -- training


def trained(row: str, seed: int, output: Path, overrides: Mapping[str, str]) -> Path:
    """The model folder of a row and a seed, trained if it is not there. Raises :class:`UsageError` if that fails."""
    settings = {**overrides, "train.seed": str(seed)}
    owner = _owner(row, settings)
    folder = output / f"{owner}-{seed}"
    if not (folder / "model").is_dir():
        command = [sys.executable, "-m", "speechre", "train", "--config", f"ablation-{owner}", "--output", str(folder)]
        command += [part for key, value in settings.items() for part in (f"--{key}", value)]
        command += ["--resume"] if (folder / "checkpoint").is_dir() else []
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        if status:
            raise UsageError(f"{' '.join(command[2:])} ended with exit status {status}")
    return folder / "model"


def _owner(row: str, settings: Mapping[str, str]) -> str:
    """The first row that trains what this row trains: rows that only decode otherwise share a model."""
    wanted = _trained_part(load_config(f"ablation-{row}", settings))
    return next(name for name in ROWS if _trained_part(load_config(f"ablation-{name}", settings)) == wanted)


def _trained_part(config: Config) -> Config:
    return replace(config, name="", decode=Config().decode)


# -- scoring


def scored(row: str, model: Path, beams: int | None, utterances: Sequence[Any], seed: int) -> dict[str, Any]:
    """The row's scores and what they were made with."""
    bench = Bench(str(model), beams, utterances)
    is_calibrated = load_config(f"ablation-{row}").decode.vote == "weighted"
    orders = bench.checkpoint.config.decode.orders
    answers = bench.fitted(bench.analyses) if is_calibrated else bench.voted(PaperVote(2), orders)
    return {
        "row": row,
        "seed": seed,
        "beams": bench.checkpoint.config.decode.beams,
        "steps": bench.checkpoint.config.train.steps,
        "num_utterances": len(bench.utterances),
        "num_left_out": bench.num_left_out,
        "machine": describe_machine(),
        **Row(row, answers, bench.seconds).scored(bench.gold),
        "counts": counts_of(bench.gold, answers),
    }


def counts_of(gold: Answers, answers: Answers) -> str:
    """Hits, told and stated triplets of each utterance: ``id:1/2/3``, with blanks between."""
    found = per_utterance(gold, answers, PROTOCOL)
    triplets = {name: one.triplet for name, one in found.items()}
    return " ".join(f"{name}:{c.num_hits}/{c.num_predicted}/{c.num_gold}" for name, c in triplets.items())


def _counts(report: Report) -> dict[str, Counts]:
    pairs = (part.rsplit(":", 1) for part in report["counts"].split())
    return {name: Counts(*map(int, numbers.split("/"))) for name, numbers in pairs}


def differences(reports: Mapping[Path, Report], without: Collection[str] = ()) -> str:
    """Each row's F1, over all seeds that it has counts of, and its difference to the row before, over the seeds that
    both have; ``without`` some utterances.
    """
    by_row: dict[str, dict[int, list[Counts]]] = {}
    for report in reports.values():
        if "counts" in report:
            kept = [count for name, count in _counts(report).items() if name not in without]
            by_row.setdefault(report["row"], {})[report["seed"]] = kept
    lines = ["| row | F1 | more than the row before (95 % interval) | p |", "|---|---|---|---|"]
    before: dict[int, list[Counts]] = {}
    for row, what in ROWS.items():
        if row not in by_row:
            continue
        ours = by_row[row]
        f1 = sum((count for counts in ours.values() for count in counts), Counts()).f1
        more, p = "", ""
        if seeds := sorted(ours.keys() & before.keys()):
            # An utterance is drawn with what all seeds made of it: they are not as many utterances of their own.
            sides = (
                {"f1": [sum(counts, Counts()) for counts in zip(*(side[seed] for seed in seeds), strict=True)]}
                for side in (before, ours)
            )
            found = paired_bootstrap(*sides)["f1"]["f1"]
            low, high = found.interval.low, found.interval.high
            more = f"{100 * found.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            p = f"{found.p_value:.3f}"
        lines.append(f"| {what} | {100 * f1:.1f} | {more} | {p} |")
        before = ours
    return "\n".join(lines)


def read_scores(scores: Path) -> dict[Path, Report]:
    """All that was scored there."""
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(scores.glob("*.json"))}


def to_markdown(reports: Mapping[Path, Report]) -> str:
    """All rows, each with the mean over its seeds. Raises :class:`UsageError` where they are not of one kind."""
    (first_path, first), *others = reports.items()
    for path, report in others:
        for key in ("beams", "steps", "num_utterances"):
            if report[key] != first[key]:
                raise UsageError(
                    f"{path}: {key} {report[key]}, but {first[key]} in {first_path}; keep them in two folders"
                )
    machines = dict.fromkeys(", ".join(f"{k} {v}" for k, v in one["machine"].items()) for one in reports.values())
    lines = [
        f"{first['num_utterances']} utterances ({first['num_left_out']} over 30 s left out), {PROTOCOL} protocol, "
        f"beams {first['beams']}, {first['steps']} steps; {'; '.join(machines)}",
        "",
        "| row | F1, mean of seeds | standard deviation | each seed | P | R |",
        "|---|---|---|---|---|---|",
    ]
    for row, what in ROWS.items():
        ours = sorted((one for one in reports.values() if one["row"] == row), key=lambda one: one["seed"])
        if not ours:
            continue
        f1, precision, recall = ([100 * one[key] for one in ours] for key in ("f1", "precision", "recall"))
        spread = f"{statistics.stdev(f1):.1f}" if len(f1) > 1 else ""
        each = ", ".join(f"{one['seed']}: {value:.1f}" for one, value in zip(ours, f1, strict=True))
        means = [f"{statistics.mean(values):.1f}" for values in (f1, precision, recall)]
        lines.append(f"| {what} | {means[0]} | {spread} | {each} | {means[1]} | {means[2]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
