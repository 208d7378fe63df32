r"""How many annotated recordings does a new domain need? ``speechre finetune`` on the first N of a training manifest,
scored on recordings that none of it has seen, for several N: one table.

    scripts/make-football --output data/football
    python benchmarks/finetune.py data/football/football.jsonl data/football/held-out.jsonl \
        --schema scripts/football/football.yaml --output runs/finetune-curve

The first row is the model before: it cannot know the types. "minutes" are those of the whole command but for loading
Python, all stages together. Each point is a model in OUTPUT/N and its figures in OUTPUT/N.json; a point that is there
is not made again, and one that was stopped goes on, so the command can be given again until the table is whole. Take
the times from a run on a machine that does nothing else. --reader-alone adds a row each with the speech half untrained.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from speechre.data.store import read_manifest, write_manifest
from speechre.evaluate.run import describe_machine
from speechre.finetune.assess import answers_of, summary
from speechre.finetune.plan import Plan
from speechre.finetune.prepare import check_data
from speechre.finetune.run import finetune
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.schemas import load_schema

COUNTS = (50, 200, 800)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="annotated recordings to learn from, in random sequence")
    parser.add_argument("held_out", type=Path, help="annotated recordings to measure on")
    parser.add_argument("--schema", required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, metavar="N", help="default: 50 200 800")
    parser.add_argument("--from", dest="start", default=DEFAULT_MODEL, metavar="DIR|NAME")
    parser.add_argument("--reader-alone", action="store_true", help="each point once more, with --no-speech")
    parser.add_argument("--steps", type=int, help="of the speech half, in place of finetune's own choice")
    parser.add_argument("--epochs", type=int, help="of the reader, likewise")
    parser.add_argument("--limit", type=int, help="only the first so many held-out recordings")
    options = parser.parse_args(argv)
    available = len(read_manifest(options.train))
    if max(options.counts) > available:
        parser.error(f"--counts {max(options.counts)}: {options.train} has {available} utterances")
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [before(options)]
    halves = (True, False) if options.reader_alone else (True,)
    rows += [point(options, count, speech) for count in sorted(options.counts) for speech in halves]
    print(to_markdown(rows))
    return 0


def before(options: argparse.Namespace) -> dict[str, Any]:
    """The model as it is, on the held-out recordings."""
    place = options.output / "0.json"
    if not place.exists():
        write(place, {"count": 0, "speech": None, "minutes": None, **score(options.start, options)})
    return dict(json.loads(place.read_text(encoding="utf-8")))


def point(options: argparse.Namespace, count: int, speech: bool) -> dict[str, Any]:
    """Fine-tuned on the first ``count`` utterances, scored on the held-out recordings; made if it is not there."""
    name = str(count) if speech else f"{count}-reader"
    place, model = options.output / f"{name}.json", options.output / name
    if not place.exists():
        if not model.exists():
            manifest = options.output / f"{name}.jsonl"
            write_manifest(manifest, read_manifest(options.train)[:count])
            plan = Plan(
                manifest,
                load_schema(options.schema),
                options.start,
                model,
                schema_source=options.schema,
                speech=speech,
                steps=options.steps if speech else None,
                epochs=options.epochs,
            )
            check_data(plan, report)
            finetune(plan, report, resume=(plan.work / "plan.json").is_file())
        seconds = json.loads((model / "finetune.json").read_text(encoding="utf-8"))["stages_s"]
        figures = {"count": count, "speech": speech, "minutes": sum(seconds.values()) / 60, "stages_s": seconds}
        write(place, {**figures, **score(str(model), options)})
    return dict(json.loads(place.read_text(encoding="utf-8")))


def score(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """A model's figures on the held-out recordings, and where they were made."""
    utterances = read_manifest(options.held_out)[: options.limit]
    found = summary(answers_of(load_checkpoint(model), utterances))
    return {**found, "machine": describe_machine(), "threads": torch.get_num_threads()}


def write(place: Path, record: Mapping[str, Any]) -> None:
    building = place.with_suffix(".tmp")
    building.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    building.replace(place)


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a point; fractions in percent."""
    last = rows[-1]
    made_with = ", ".join(f"{key} {value}" for key, value in last["machine"].items())
    made_with = f"{last['threads']} threads; {made_with}"
    names = ("utterances", "trained", "F1 (95 %)", "P", "R", "entity F1", "relation F1", "WER")
    names += ("relation-free with a triplet", "minutes")
    lines = [
        f"{last['num_utterances']} held-out utterances, boundary protocol, in percent; {made_with}",
        "",
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
    ]
    for row in rows:
        low, high = row["f1_interval"]
        triplet, free = row["triplet"], row["relation_free"]
        cells = (
            row["count"],
            {None: "-", True: "both halves", False: "reader alone"}[row["speech"]],
            f"{percent(triplet['f1'])} ({percent(low)} to {percent(high)})",
            percent(triplet["precision"]),
            percent(triplet["recall"]),
            percent(row["entity_f1"]),
            percent(row["relation_f1"]),
            percent(row["wer"]),
            f"{free['num_answered']} of {free['num_utterances']}",
            "-" if row["minutes"] is None else f"{row['minutes']:.1f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


if __name__ == "__main__":
    sys.exit(main())
