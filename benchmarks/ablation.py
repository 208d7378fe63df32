"""What each part of decoding earns: one model, one annotated set, one table.

    python benchmarks/ablation.py DEV.jsonl [--model NAME|DIR] [--beams K] [--every N] [--output PREFIX]

Rows that need no other decoding share one: single orders, the paper's vote, the votes of 1 to 6 orders, the reader.
The rest decodes again: another relation prompt (the head's, the annotated, none, all types), no copy constraint. Every
curve and threshold is fitted on one half of the utterances and used on the other, both ways round, so that no row is
scored on what it was fitted on (the best choice of orders is: beside it stands the mean of all choices). Intervals are
bootstrap ones over utterances. Recordings over 30 s are left out and counted.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from speechre.data.store import read_manifest
from speechre.decode.ensemble import Analysis
from speechre.evaluate.calibrate import evidence_of, fit
from speechre.evaluate.run import describe_machine
from speechre.extract.extractor import Extractor
from speechre.metrics import score
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.significance import bootstrap
from speechre.types import Triplet, Utterance
from speechre.vote import PaperVote, vote

Answers = Mapping[str, tuple[Triplet, ...]]
PROTOCOL = "boundary"


@dataclass(frozen=True)
class Row:
    """One way to answer, scored."""

    name: str
    answers: Answers
    seconds: float | None = None  # of decoding, an utterance

    def scored(self, gold: Answers) -> dict[str, Any]:
        """F1 with its interval, precision, recall; numbers from 0 to 1."""
        found = score(gold, self.answers, PROTOCOL)
        low, high = interval(gold, self.answers)
        numbers = {"f1": found.triplet.f1, "precision": found.triplet.precision, "recall": found.triplet.recall}
        return {"name": self.name, **numbers, "low": low, "high": high, "seconds": self.seconds}


def interval(gold: Answers, answers: Answers) -> tuple[float, float]:
    """The 95 % interval of triplet F1 over utterances."""
    counts = [score({key: gold[key]}, {key: answers[key]}, PROTOCOL).triplet for key in gold]
    found = bootstrap({"row": counts})["row"]["f1"]
    return found.low, found.high


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--beams", type=int, help="default: the model's")
    parser.add_argument("--every", type=int, default=1, help="only every N-th utterance")
    parser.add_argument("--output", type=Path, help="write PREFIX.json and PREFIX.md too")
    options = parser.parse_args(argv)
    utterances = read_manifest(options.manifest)[:: options.every]
    bench = Bench(options.model, options.beams, utterances)
    report = bench.run()
    report["machine"] = describe_machine()
    text = to_markdown(report)
    print(text)
    if options.output:
        options.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return 0


class Bench:
    """The utterances, the model and all that was decoded with it."""

    def __init__(self, model: str, beams: int | None, utterances: Sequence[Utterance]) -> None:
        checkpoint = load_checkpoint(model)
        if beams is not None:
            config = replace(checkpoint.config, decode=replace(checkpoint.config.decode, beams=beams))
            checkpoint = replace(checkpoint, config=config)
        self.checkpoint = checkpoint
        self.utterances = list(utterances)
        self.analyses, self.seconds = self.decode()
        whole = {key for key, analysis in self.analyses.items() if analysis.hypotheses}
        self.num_left_out = len(self.utterances) - len(whole)
        self.utterances = [utterance for utterance in self.utterances if utterance.id in whole]
        self.gold = {utterance.id: utterance.triplets for utterance in self.utterances}
        shuffled = list(self.utterances)
        random.Random(0).shuffle(shuffled)
        self.halves = (shuffled[::2], shuffled[1::2])

    def decode(
        self, relations_of: Callable[[str], Collection[str]] | None = None, **decode: Any
    ) -> tuple[dict[str, Analysis], float]:
        """Analyses by id, and the seconds an utterance took."""
        config = self.checkpoint.config
        checkpoint = replace(self.checkpoint, config=replace(config, decode=replace(config.decode, **decode)))
        extractor = Extractor(checkpoint, relations_of=relations_of)
        started = time.perf_counter()
        found = {recording.id: analysis for recording, analysis in extractor.analyze_many(list(self.utterances))}
        return found, (time.perf_counter() - started) / len(self.utterances)

    def fitted(
        self, analyses: Mapping[str, Analysis], orders: Sequence[str] | None = None, reader: bool = False
    ) -> Answers:
        """What a calibrated vote answers, each half under the curve and the threshold of the other."""
        evidence = evidence_of({u.id: analyses[u.id] for u in self.utterances}, orders, reader)
        answers: dict[str, tuple[Triplet, ...]] = {}
        for half, other in (self.halves, self.halves[::-1]):
            found = fit(other, evidence, PROTOCOL, reader=reader)
            for utterance in half:
                answers[utterance.id] = tuple(
                    one.triplet
                    for one in evidence[utterance.id]
                    if found.calibration(one.support, one.belief) >= found.threshold
                )
        return answers

    def voted(self, rule: PaperVote, orders: Sequence[str]) -> Answers:
        """What the paper's vote of some orders answers."""
        return {
            u.id: vote({order: self.analyses[u.id].hypotheses[order] for order in orders}, rule)
            for u in self.utterances
        }

    def run(self) -> dict[str, Any]:
        """All rows, in tables by what they vary."""
        orders = self.checkpoint.config.decode.orders
        has_reader = self.checkpoint.reader is not None
        vote_rows = [Row(f"order {o} alone", self.voted(PaperVote(1), [o])) for o in orders]
        vote_rows.append(Row("the paper's vote, 2 of 6", self.voted(PaperVote(2), orders)))
        vote_rows.append(Row("weighted and calibrated vote", self.fitted(self.analyses), self.seconds))
        if has_reader:
            blank = {key: replace(a, hypotheses=dict.fromkeys(orders, ())) for key, a in self.analyses.items()}
            vote_rows.append(Row("the text reader alone", self.fitted(blank, reader=True)))
            vote_rows.append(Row("orders and reader", self.fitted(self.analyses, reader=True), self.seconds))
        tables = {
            "vote": vote_rows,
            "relation prompt (orders alone)": self.prompts(),
            "number of orders": self.sizes(has_reader),
        }
        loose, seconds = self.decode(copy_entities=False)
        tables["copying (orders alone)"] = [
            Row("entities are spans of the transcript", self.fitted(self.analyses), self.seconds),
            Row("entities are written freely", self.fitted(loose), seconds),
        ]
        return {
            "model": self.checkpoint.model_id,
            "beams": self.checkpoint.config.decode.beams,
            "num_utterances": len(self.utterances),
            "num_left_out": self.num_left_out,
            "num_triplets": sum(map(len, self.gold.values())),
            "threads": torch.get_num_threads(),
            "tables": {name: [row.scored(self.gold) for row in rows] for name, rows in tables.items()},
        }

    def prompts(self) -> list[Row]:
        """What a relation prompt is worth, right, wrong or none."""
        relations = {u.id: {relation.type for relation in u.relations} for u in self.utterances}
        every = self.checkpoint.schema.relation_types
        sources: dict[str, Callable[[str], Collection[str]]] = {
            "annotated types": lambda key: relations[key],
            "none": lambda key: (),
            "all types": lambda key: every,
        }
        rows = [Row("the relation head's", self.fitted(self.analyses))]  # all of them without the reader
        for name, source in sources.items():
            rows.append(Row(name, self.fitted(self.decode(source)[0])))
        return rows

    def sizes(self, has_reader: bool) -> list[Row]:
        """The vote of 1 to 6 orders: the best choice's score and time, and the mean F1 of all choices."""
        orders = self.checkpoint.config.decode.orders
        rows = []
        for size in range(1, len(orders) + 1):
            choices = {chosen: self.fitted(self.analyses, chosen, has_reader) for chosen in combinations(orders, size)}
            f1 = {chosen: score(self.gold, answers, PROTOCOL).triplet.f1 for chosen, answers in choices.items()}
            best = max(f1, key=lambda chosen: f1[chosen])
            seconds = self.decode(orders=best)[1]
            mean = sum(f1.values()) / len(f1)
            name = f"{size}: best {','.join(best)} (mean F1 of {len(f1)}: {100 * mean:.1f})"
            rows.append(Row(name, choices[best], seconds))
        return rows


def to_markdown(report: Mapping[str, Any]) -> str:
    """A table for each question."""
    machine = report["machine"]
    lines = [
        f"{report['model']}, beams {report['beams']}, {report['num_utterances']} utterances, {report['num_triplets']} "
        f"triplets ({report['num_left_out']} utterances over 30 s left out), {PROTOCOL} protocol, "
        f"{report['threads']} threads; {', '.join(f'{key} {value}' for key, value in machine.items())}"
    ]
    for name, rows in report["tables"].items():
        lines += ["", f"| {name} | F1 (95 % interval) | P | R | s/utterance |", "|---|---|---|---|---|"]
        for row in rows:
            f1, low, high, p, r = (100 * row[key] for key in ("f1", "low", "high", "precision", "recall"))
            seconds = "" if row["seconds"] is None else f"{row['seconds']:.3f}"
            lines.append(f"| {row['name']} | {f1:.1f} ({low:.1f} to {high:.1f}) | {p:.1f} | {r:.1f} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
