"""What training did to a model's hearing: its word error rate beside that of the plain Whisper it came from.

    python benchmarks/hearing.py MANIFEST... [--models NAME|DIR ...] [--limit N] [--json FILE]

The plain Whisper hears each recording padded to 30 s, as it was trained, and greedily; our models write the transcript
that they show as they are shipped, with all their hearings and beams. "names" is the share of annotated entities that
stand in the transcript word by word. Words are compared after the scoring's normalization, with the plain form of the
text. Only recordings of 30 s or less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from speechre.audio import read_audio_ref
from speechre.data.plain_text import plain_utterance
from speechre.data.store import read_manifest
from speechre.evaluate.development import every_nth
from speechre.evaluate.plain_whisper import Transcriber
from speechre.evaluate.run import WordErrors, describe_machine, sum_word_errors, word_errors
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import DEFAULT_MODEL, load_checkpoint
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.reader.texts import reach
from speechre.types import Utterance

_BATCH = 8


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=[DEFAULT_MODEL])
    parser.add_argument("--limit", type=int, help="so many utterances of each manifest, spread evenly")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    sets = {str(path): short_enough(read_manifest(path), options.limit) for path in options.manifests}
    rows = []
    plain: dict[str, Transcriber] = {}
    for model in options.models:
        checkpoint = load_checkpoint(model)
        backbone = checkpoint.config.model.backbone
        if backbone not in plain:
            plain[backbone] = Transcriber.from_pretrained(backbone)
            rows += [row(f"plain {backbone}", name, ours, heard(plain[backbone], ours)) for name, ours in sets.items()]
        # One order is enough: the transcript is written before all of them. Without its reader a model would hear once.
        decode = replace(checkpoint.config.decode, orders=checkpoint.config.decode.orders[:1], beams=1)
        extractor = Extractor(replace(checkpoint, config=replace(checkpoint.config, decode=decode)), _BATCH)
        for name, ours in sets.items():
            transcripts = {e.id: e.transcript or "" for e in extractor(ours)}
            rows.append(row(checkpoint.model_id, name, ours, transcripts))
    report = {"machine": describe_machine(), "threads": torch.get_num_threads(), "rows": rows}
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def short_enough(utterances: Sequence[Utterance], limit: int | None) -> list[Utterance]:
    """Those with a recording of 30 s or less, ``limit`` of them spread evenly."""
    short = [u for u in utterances if u.audio is not None and len(read_audio_ref(u.audio)) <= WINDOW_SAMPLES]
    return every_nth(short, limit) if limit else short


def heard(transcriber: Transcriber, utterances: Sequence[Utterance]) -> dict[str, str]:
    """The plain Whisper's transcripts by id."""
    transcripts: dict[str, str] = {}
    for start in range(0, len(utterances), _BATCH):
        batch = utterances[start : start + _BATCH]
        clips = [torch.from_numpy(read_audio_ref(u.audio)) for u in batch if u.audio is not None]
        transcripts |= zip((u.id for u in batch), transcriber.transcribe(clips), strict=True)
    return transcripts


def row(who: str, where: str, utterances: Sequence[Utterance], transcripts: Mapping[str, str]) -> dict[str, Any]:
    """One model on one set."""
    errors = sum_word_errors([word_errors(u, transcripts[u.id], True) for u in utterances]) or WordErrors()
    names = reach([plain_utterance(u) for u in utterances], transcripts, 10)
    return {
        "model": who,
        "set": where,
        **errors.to_dict(),
        "names": names.entities,
        "num_names": names.num_entities,
        "triplets": names.triplets,
        "num_triplets": names.num_triplets,
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """One line a model and set."""
    lines = [
        f"{report['threads']} threads; {', '.join(f'{key} {value}' for key, value in report['machine'].items())}",
        "",
        "| set | model | utterances | words | WER | names | triplets with both names |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in sorted(report["rows"], key=lambda one: one["set"]):
        shares = [
            f"{100 * one[what]:.1f} % of {one[f'num_{what}']}" if one[f"num_{what}"] else "-"
            for what in ("names", "triplets")
        ]
        cells = [
            one["set"],
            one["model"],
            one["num_utterances"],
            one["num_words"],
            f"{100 * one['wer']:.1f} %",
            *shares,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
