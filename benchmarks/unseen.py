"""What predictions score on the sentences that training did not have: the rest flatters whoever remembers.

    speechre evaluate DEV.jsonl --model MODEL --predictions P.jsonl
    python benchmarks/unseen.py DEV.jsonl --train TRAIN.jsonl ... --predictions P.jsonl ... [--json FILE]

Speech-CoNLL04's published split has sentences of train in dev, word for word or nearly so. They are found as
"speechre data split --check" finds them, and the predictions are scored on all of dev, on what is left without them,
and on them alone; boundary protocol, intervals of 95 % (bootstrap over utterances).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.data.leaks import find_leaks
from speechre.data.predictions import read_predictions
from speechre.data.store import read_manifest
from speechre.metrics import Counts, per_utterance
from speechre.significance import bootstrap
from speechre.types import Triplet, Utterance


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, metavar="DEV.jsonl")
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="TRAIN.jsonl")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True, metavar="P.jsonl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, as JSON")
    args = parser.parse_args(argv)
    dev = read_manifest(args.manifest)
    exact, near = shared_ids(dev, [one for path in args.train for one in read_manifest(path)])
    print(f"of {len(dev)} utterances {len(exact)} have a sentence of training, {len(near)} more a nearly equal one\n")
    parts = {
        "all": dev,
        "without the same": [one for one in dev if one.id not in exact],
        "without the same and the nearly same": [one for one in dev if one.id not in exact | near],
        "these alone": [one for one in dev if one.id in exact | near],
    }
    rows = []
    for path in args.predictions:
        answers = read_predictions(path)
        rows += [{"predictions": path.name, "part": name, **measure(ours, answers)} for name, ours in parts.items()]
    print(to_markdown(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def shared_ids(dev: Sequence[Utterance], train: Sequence[Utterance]) -> tuple[set[str], set[str]]:
    """The ids of dev's utterances whose sentence stands in training, and of those that have one nearly like it."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for leak in find_leaks({"train": train, "dev": dev}, ("sentence",)):
        found[leak.other is None] |= set(leak.ids["dev"])
    return found[True], found[False] - found[True]


def measure(utterances: Sequence[Utterance], answers: Mapping[str, Sequence[Triplet]]) -> dict[str, Any]:
    """Counts, F1 in percent and its interval."""
    gold = {one.id: one.triplets for one in utterances}
    each = [found.triplet for found in per_utterance(gold, {name: answers[name] for name in gold}, "boundary").values()]
    total = sum(each, Counts())
    interval = bootstrap({"triplets": each})["triplets"]["f1"]
    return {
        "utterances": len(utterances),
        "f1": round(100 * total.f1, 1),
        "f1_low": round(100 * interval.low, 1),
        "f1_high": round(100 * interval.high, 1),
        "hits": total.num_hits,
        "predicted": total.num_predicted,
        "gold": total.num_gold,
    }


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table."""
    lines = ["| predictions | sentences | utterances | F1 (95 % interval) | hits, told, stated |"]
    lines.append("|---|---|---|---|---|")
    for row in rows:
        f1 = f"{row['f1']} ({row['f1_low']} to {row['f1_high']})"
        counts = f"{row['hits']}, {row['predicted']}, {row['gold']}"
        lines.append(f"| {row['predictions']} | {row['part']} | {row['utterances']} | {f1} | {counts} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
