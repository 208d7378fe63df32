"""What the text reader understands, apart from what is heard: triplets read in annotated texts.

    python benchmarks/reading.py [MANIFEST ...] [--models NAME|DIR ...] [--threshold P] [--mistakes] [--json FILE]

Without a manifest it reads reading_sentences.jsonl: 240 sentences in twelve registers, written and annotated by hand by
somebody who had not seen the templates of the training corpora, half of them without a relation (most of these name
people and places all the same). Nothing is trained or fitted on them, so do not train on them either. Spoken, they are
a test of the whole system: "speechre data synthesize benchmarks/reading_sentences.jsonl --output DIR" and "speechre
evaluate DIR/speech.jsonl".

A triplet is told where the reader's own belief reaches the threshold; boundary protocol, intervals of 95 % (bootstrap).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.cli.model import load_reader
from speechre.data.plain_text import plain_utterance
from speechre.data.store import read_manifest
from speechre.evaluate.run import describe_machine
from speechre.metrics import Counts, per_utterance
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.reader.reader import TextReader
from speechre.significance import bootstrap
from speechre.types import Triplet, Utterance

SENTENCES = Path(__file__).parent / "reading_sentences.jsonl"
_BATCH = 16

Answers = Mapping[str, Sequence[Triplet]]
"""What is told of each utterance, by its id."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="*", type=Path, metavar="MANIFEST", help=f"default: {SENTENCES.name}")
    parser.add_argument("--models", nargs="+", default=[DEFAULT_MODEL], help="models with a reader, or readers")
    parser.add_argument("--threshold", type=float, default=0.5, help="least belief of a triplet (default: 0.5)")
    parser.add_argument("--mistakes", action="store_true", help="also every sentence that was not read as annotated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, as JSON")
    args = parser.parse_args(argv)
    rows = []
    for path in args.manifests or [SENTENCES]:
        utterances = read_manifest(path)
        for name in args.models:
            answers = read(TextReader(load_reader(name)), utterances, args.threshold)
            rows.append({"set": path.name, "model": name, **measure(utterances, answers)})
            if args.mistakes:
                print_mistakes(utterances, answers)
    report = {"machine": describe_machine(), "threshold": args.threshold, "rows": rows}
    print(to_markdown(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def read(reader: TextReader, utterances: Sequence[Utterance], threshold: float) -> dict[str, list[Triplet]]:
    """What the reader tells of each text in its plain form, as a listener would write it."""
    answers: dict[str, list[Triplet]] = {}
    for start in range(0, len(utterances), _BATCH):
        batch = utterances[start : start + _BATCH]
        beliefs = reader.beliefs([plain_utterance(utterance).text for utterance in batch])
        for utterance, believed in zip(batch, beliefs, strict=True):
            answers[utterance.id] = [triplet for triplet in believed if (triplet.confidence or 0.0) >= threshold]
    return answers


def measure(utterances: Sequence[Utterance], answers: Answers) -> dict[str, Any]:
    """Precision, recall and F1 with their intervals, the same by register, and false alarms."""
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    counts = {name: found.triplet for name, found in per_utterance(gold, answers, "boundary").items()}
    intervals = bootstrap({"triplets": list(counts.values())})["triplets"]
    registers: dict[str, Counts] = {}
    for utterance in utterances:
        if register := utterance.extra.get("register"):
            registers[register] = registers.get(register, Counts()) + counts[utterance.id]
    free = [utterance.id for utterance in utterances if not utterance.triplets]
    return {
        **sum(counts.values(), Counts()).to_dict(),
        "intervals": {what: interval.to_list() for what, interval in intervals.items()},
        "registers": {register: ours.to_dict() for register, ours in registers.items()},
        "num_utterances": len(utterances),
        "num_relation_free": len(free),
        "num_false_alarms": sum(bool(answers[name]) for name in free),
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """One line a set and model, and one a register."""
    lines = [
        f"belief of {report['threshold']} or more; {', '.join(f'{k} {v}' for k, v in report['machine'].items())}",
        "",
        "| set | model | sentences | F1 (95 %) | P | R | relation-free with a triplet |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = (f"{100 * end:.1f}" for end in row["intervals"]["f1"])
        lines.append(
            f"| {row['set']} | {row['model']} | {row['num_utterances']} | {100 * row['f1']:.1f} ({low} to {high}) "
            f"| {100 * row['precision']:.1f} | {100 * row['recall']:.1f} "
            f"| {row['num_false_alarms']} of {row['num_relation_free']} |"
        )
    for row in report["rows"]:
        if row["registers"]:
            shares = ", ".join(f"{name} {100 * ours['f1']:.0f}" for name, ours in row["registers"].items())
            lines += ["", f"{row['set']}, {row['model']}, F1 by register: {shares}"]
    return "\n".join(lines)


def print_mistakes(utterances: Sequence[Utterance], answers: Answers) -> None:
    """Each sentence with what was missed and what was told for nothing."""
    for utterance in utterances:
        annotated = {f"({t.head.text}, {t.relation}, {t.tail.text})" for t in utterance.triplets}
        told = {f"({t.head.text}, {t.relation}, {t.tail.text})" for t in answers[utterance.id]}
        if annotated != told:
            print(utterance.text)
            print(f"  missed: {' '.join(sorted(annotated - told)) or '-'}")
            print(f"  told for nothing: {' '.join(sorted(told - annotated)) or '-'}")


if __name__ == "__main__":
    raise SystemExit(main())
