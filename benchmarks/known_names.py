"""What it is worth to know the names beforehand, and what it costs to know others: one model, one annotated set.

    python benchmarks/known_names.py MANIFEST [--model NAME|DIR] [--bonus 1,2,3] [--others MANIFEST] [--every N]
                                     [--json FILE]

The rows: no names; those of all entities of the set, in the plain form of its texts, so that each recording's own lie
among those of all others; these and others that nobody says in it, the entities of ``--others``; and the latter alone,
which is what a list that misses costs. Boundary protocol, intervals of 95 % (bootstrap); words as in ``speechre
evaluate``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speechre.data.plain_text import plain_utterance
from speechre.data.store import read_manifest
from speechre.evaluate.run import describe_machine, sum_word_errors, word_errors
from speechre.extract.extractor import Extractor
from speechre.metrics import per_utterance
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.significance import bootstrap
from speechre.types import Utterance


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--bonus", type=lambda text: [float(part) for part in text.split(",")], default=[])
    parser.add_argument("--others", type=Path, help="a manifest whose names are those that nobody says")
    parser.add_argument("--every", type=int, default=1, help="only every N-th utterance; names are of all")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    everything = read_manifest(options.manifest)
    utterances = everything[:: options.every]
    said = names_of(everything)
    lists: dict[str, list[str]] = {"said": said}
    if options.others:
        unsaid = [name for name in names_of(read_manifest(options.others)) if name not in set(said)]
        lists |= {"said and others": said + unsaid, "others alone": unsaid}
    rows = [row(options.model, utterances, "none", [], None)]
    for bonus in options.bonus or [None]:
        rows += [row(options.model, utterances, name, names, bonus) for name, names in lists.items()]
    report = {
        "manifest": options.manifest.name,
        "num_utterances": len(utterances),
        "num_relation_free": sum(not utterance.relations for utterance in utterances),
        "machine": describe_machine(),
        "rows": rows,
    }
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def names_of(utterances: Iterable[Utterance]) -> list[str]:
    """The texts of all entities but those of the type "Other" (numbers, dates), as a transcript has them, each once."""
    plain = map(plain_utterance, utterances)
    return sorted({entity.text for one in plain for entity in one.entities if entity.type != "Other"})


def row(
    model: str, utterances: Sequence[Utterance], what: str, names: Sequence[str], bonus: float | None
) -> dict[str, Any]:
    """The scores with a list of names; ``bonus`` None is the model's own."""
    decode: dict[str, Any] = {"names": tuple(names)} | ({} if bonus is None else {"name_bonus": bonus})
    extractor = Extractor.from_pretrained(model, **decode)
    started = time.perf_counter()
    found = {extraction.id: extraction for extraction in extractor.extract_many(list(utterances))}
    seconds = time.perf_counter() - started
    gold = {utterance.id: utterance.triplets for utterance in utterances}
    told = {name: extraction.triplets for name, extraction in found.items()}
    counts = [one.triplet for one in per_utterance(gold, told, "boundary").values()]
    total = sum(counts[1:], counts[0])
    f1 = bootstrap({"triplets": counts})["triplets"]["f1"]
    is_plain = extractor.checkpoint.config.data.text_style == "plain"
    words = sum_word_errors(word_errors(u, found[u.id].transcript, is_plain) for u in utterances)
    print(f"{what}, {len(names)} names: F1 {100 * total.f1:.1f}", file=sys.stderr)
    return {
        "names": what,
        "num_names": len(names),
        "bonus": extractor.checkpoint.config.decode.name_bonus if names else None,
        "model": extractor.model_id,
        "f1": total.f1,
        "f1_interval": f1.to_list(),
        "precision": total.precision,
        "recall": total.recall,
        "wer": None if words is None else words.wer,
        "num_relation_free_told": sum(bool(told[u.id]) for u in utterances if not u.relations),
        "seconds_per_utterance": seconds / len(utterances),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """One table."""
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        f"{report['rows'][0]['model']}, {report['num_utterances']} utterances of {report['manifest']}; {machine}",
        "",
        "| names | number | bonus | F1 (95 % interval) | P | R | WER | "
        f"relation-free with a triplet, of {report['num_relation_free']} | s/utterance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in report["rows"]:
        low, high = one["f1_interval"]
        bonus = "" if one["bonus"] is None else f"{one['bonus']:g}"
        wer = "" if one["wer"] is None else f"{100 * one['wer']:.1f}"
        lines.append(
            f"| {one['names']} | {one['num_names']} | {bonus} | {100 * one['f1']:.1f} ({100 * low:.1f} to "
            f"{100 * high:.1f}) | {100 * one['precision']:.1f} | {100 * one['recall']:.1f} | {wer} | "
            f"{one['num_relation_free_told']} | {one['seconds_per_utterance']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
