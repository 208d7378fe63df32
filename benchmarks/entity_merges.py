"""How good the merging of entities is, on pairs of names that were judged by hand (entity_pairs.jsonl).

    python benchmarks/entity_merges.py [--half tuning|held-out] [--mistakes] [--json FILE]

A pair is two names with their types, in one recording or in two, and what else the second one's recording names.
"same" is what a careful person would say who knows no more than that; where it cannot be known, it is no. The rules
were written looking at the half "tuning". The half "held-out" is counted too, but its mistakes are for nobody who
changes rules: they are printed only for "tuning". Halves go by a hash of the pair.

Beside the default rules: all of them, the same words only, and the obvious way, a similarity of letters (difflib) of
0.8 and one type.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from speechre.graph import DEFAULT_RULES, RULE_NAMES
from speechre.graph.names import parse_name
from speechre.graph.resolve import Use, resolve
from speechre.metrics import Counts

PAIRS = Path(__file__).parent / "entity_pairs.jsonl"
HALVES = ("tuning", "held-out")
_ALIKE = 0.8

Judge = Callable[[dict[str, Any]], str]
"""The rule that joins a pair, or an empty string."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=HALVES, help="default: both, one after the other")
    parser.add_argument("--mistakes", action="store_true", help="the wrong answers of the half tuning")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, as JSON")
    args = parser.parse_args(argv)
    pairs = read_pairs()
    judges: dict[str, Judge] = {
        "default rules": joined_by,
        "all rules": lambda pair: joined_by(pair, RULE_NAMES),
        "same_text only": lambda pair: joined_by(pair, ("same_text",)),
        f"letters alike {_ALIKE}": _alike,
    }
    found = {}
    for half in (args.half,) if args.half else HALVES:
        ours = [pair for pair in pairs if pair["half"] == half]
        found[half] = {name: measure(ours, judge) for name, judge in judges.items()}
        _print(half, ours, found[half])
        if args.mistakes and half == "tuning":
            _print_mistakes(ours)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def read_pairs() -> list[dict[str, Any]]:
    """The pairs as they stand in the file."""
    return [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]


def joined_by(pair: dict[str, Any], rules: Sequence[str] = DEFAULT_RULES) -> str:
    """The rules that bring the two names into one group; where a third name links them, all of its merges' rules."""
    second = "1" if pair["recording"] == "same" else "2"
    a, b = Use("1", **pair["a"]), Use(second, **pair["b"])
    if a == b:  # one text twice in one recording is one use: nothing to decide
        return "same_text"
    uses = [a, b, *(Use(second, **other) for other in pair.get("context", ()))]
    resolution = resolve(uses, rules=rules)
    for group, merges in zip(resolution.groups, resolution.merges, strict=True):
        if a in group and b in group:
            return "+".join(dict.fromkeys(merge.rule for merge in merges))
    return ""


def _alike(pair: dict[str, Any]) -> str:
    one, other = (" ".join(parse_name(pair[x]["text"], "").words) for x in "ab")
    is_alike = SequenceMatcher(None, one, other).ratio() >= _ALIKE
    return "letters" if is_alike and pair["a"]["type"] == pair["b"]["type"] else ""


def measure(pairs: Sequence[dict[str, Any]], judge: Judge) -> dict[str, Any]:
    """Precision and recall of merges with their 95 % intervals, and right and wrong merges by rule."""
    total, by_rule = Counts(), Counter[tuple[str, bool]]()
    for pair in pairs:
        rule = judge(pair)
        total += Counts(bool(rule) and pair["same"], bool(rule), pair["same"])
        if rule:
            by_rule[rule, pair["same"]] += 1
    return {
        **total.to_dict(),
        "intervals": {
            "precision": wilson_interval(total.num_hits, total.num_predicted),
            "recall": wilson_interval(total.num_hits, total.num_gold),
        },
        "by_rule": {rule: {"right": by_rule[rule, True], "wrong": by_rule[rule, False]} for rule, _ in sorted(by_rule)},
    }


def wilson_interval(num_hits: int, num: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which is not a point where all or none are hits."""
    if not num:
        return 0.0, 1.0
    share, z2 = num_hits / num, 1.96**2
    middle = share + z2 / (2 * num)
    reach = (z2 * (share * (1 - share) / num + z2 / (4 * num**2))) ** 0.5
    return (middle - reach) / (1 + z2 / num), (middle + reach) / (1 + z2 / num)


def _print(half: str, pairs: Sequence[dict[str, Any]], found: dict[str, Any]) -> None:
    same = sum(pair["same"] for pair in pairs)
    print(f"\n{half}: {len(pairs)} pairs, {same} of one entity, {len(pairs) - same} of two\n")
    print("| merging | precision | 95 % | recall | 95 % | right | wrong | missed |")
    print("|---|---|---|---|---|---|---|---|")
    for name, scores in found.items():
        cells = [name]
        for fraction in ("precision", "recall"):
            low, high = scores["intervals"][fraction]
            cells += [f"{100 * scores[fraction]:.1f}", f"{100 * low:.0f} to {100 * high:.0f}"]
        hits, predicted, gold = (scores[key] for key in ("num_hits", "num_predicted", "num_gold"))
        print(f"| {' | '.join([*cells, str(hits), str(predicted - hits), str(gold - hits)])} |")
    by_rule = found["default rules"]["by_rule"].items()
    print("\nright/wrong by rule: " + ", ".join(f"{rule} {n['right']}/{n['wrong']}" for rule, n in by_rule))


def _print_mistakes(pairs: Sequence[dict[str, Any]]) -> None:
    for pair in pairs:
        rule = joined_by(pair)
        if bool(rule) != pair["same"]:
            kind = f"wrong ({rule})" if rule else "missed"
            context = [other["text"] for other in pair.get("context", ())]
            texts = f"{pair['a']['text']} | {pair['b']['text']}"
            print(f"{kind}: {texts} ({pair['b']['type']}, {pair['recording']} recording) {pair['why']} {context}")


if __name__ == "__main__":
    raise SystemExit(main())
