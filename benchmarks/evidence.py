"""How far off are the times of entities? Measured on speech whose words have known places.

    python benchmarks/evidence.py [--model NAME] [--voices festival:cmu_us_slt_arctic_hts,flite:rms] [--json PATH]

Places are known in two ways. Festival tells when each word of its own speech begins and ends, in whole sentences. For
every other voice each part of a sentence (an entity, or what stands between two) is spoken by itself, trimmed and
joined: its place is where it was put. Each recording has a random silence before and behind it. An entity counts
where the model wrote it down; the error is the distance of its beginning, and of its end, to the known one. Beside
the heads that are used, all heads of the decoder's upper half are measured on the same transcripts.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from speechre.data.synthesize import synthesize
from speechre.decode.alignment import Heads
from speechre.errors import DataError
from speechre.extract.extractor import Extractor
from speechre.model.checkpoint import DEFAULT_MODEL
from speechre.model.log_mel import log_mel
from speechre.samples import SAMPLE_RATE_HZ

SENTENCES = """\
[Margaret Olson] has lived in [Minneapolis] since she left the army in nineteen ninety.
[Peter Lindqvist], who works for [Baltic Airlines], flew to [Helsinki] on Monday.
The [River Valley Museum] in [Cincinnati] will show the paintings until the end of May.
Police in [Sacramento] said that [Daniel Ortega] shot [Walter Briggs] outside a bar.
[Rachel Goldberg] is the chairwoman of [First Pacific Trust], a bank based in [Honolulu].
[Newport Steel] of [Pittsburgh] has bought two mills in [Ohio].
The senator, [Howard Finch], was born in [Nashville] and grew up in [Kentucky].
A spokesman for the [National Weather Service], [Carl Jensen], said the storm would reach [Miami] by noon.
[Lake Tahoe] lies between [California] and [Nevada].
[Anna Petrova] joined the [Bolshoi Theater] in [Moscow] when she was nineteen.
Last night [Henry Abbott] killed his neighbor, [Frank Delaney], with a hunting knife.
The [Oakland Tribune] reported that [Susan Park] had left the company.
In [Geneva], the [Red Cross] said that [Philip Morton] would lead its new office in [Kenya].
[Thomas Reed] of [Yale University] wrote the first part of the report.
Farmers near [Des Moines], [Iowa], are waiting for rain.
The judge, [Linda Carter], moved from [Boston] to [Seattle] ten years ago.
[Global Motors] will close its plant in [Flint], [Michigan], next summer.
The actor [James Whitfield] lives with his wife in a small house in [Vermont].
[Victor Hugo Castro], a guard at [Union Prison], was killed by [Ramon Diaz] on Friday.
Ships from [Rotterdam] bring coal to the harbor of [Dublin].""".splitlines()
SILENCE_S = (0.1, 1.2)
COMMA_S, GAP_S = 0.25, 0.05  # between parts that are joined
FAINT = 0.02  # of the peak: what is trimmed away
UPPER_HALF = "all heads of the upper half"


@dataclass(frozen=True)
class Known:
    """A recording, and where its entities are: text to (start, end) in seconds."""

    samples: np.ndarray
    entities: dict[str, tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--voices", default="festival:cmu_us_slt_arctic_hts,flite:rms,pico:en-GB,piper:joe")
    parser.add_argument("--json", help="write the report there too")
    options = parser.parse_args()
    extractor = Extractor.from_pretrained(options.model)
    config = extractor.checkpoint.network.config
    layers, heads = config.decoder_layers, config.decoder_heads
    upper: Heads = tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))
    rows = []
    for voice in options.voices.split(","):
        recordings = list(read_aloud(voice))
        for name, chosen in (("used", None), (UPPER_HALF, upper)):
            errors = errors_s(extractor, recordings, chosen)
            rows.append({"voice": voice, "heads": name, **summary(errors), "errors_s": errors})
    for name in ("used", UPPER_HALF):
        together = [error for row in rows if row["heads"] == name for error in row["errors_s"]]
        rows.append({"voice": "all", "heads": name, **summary(together), "errors_s": together})
    header = ("voice", "heads", "entities", "start", "end", "both", "90 % under", "share under 0.2 s")
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        figures = " | ".join(
            f"{row[key]:.3f}" for key in ("start_s", "end_s", "median_s", "p90_s", "share_under_0.2_s")
        )
        print(f"| {row['voice']} | {row['heads']} | {row['num_entities']} | {figures} |")
    if options.json:
        report = {"model": extractor.checkpoint.model_id, "rows": rows}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def errors_s(extractor: Extractor, recordings: list[Known], heads: Heads | None) -> list[tuple[float, float]]:
    """Signed errors of the start and the end of every entity that was written down."""
    engine, model = extractor.engine, extractor.checkpoint.config.model
    used, engine._alignment_heads = engine._alignment_heads, heads or engine._alignment_heads
    found = []
    for known in recordings:
        mel = log_mel(
            torch.from_numpy(known.samples), engine.network.config.num_mel_bins, model.exact_length, model.tail_s
        )
        (decoded,) = engine.decode([mel])
        for text, (start_s, end_s) in known.entities.items():
            match = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", decoded.transcript or "", re.IGNORECASE)
            if match and decoded.times is not None:
                ours = [
                    min(second, len(known.samples) / SAMPLE_RATE_HZ) for second in decoded.times.span_s(*match.span())
                ]
                found.append((ours[0] - start_s, ours[1] - end_s))
    engine._alignment_heads = used
    return found


def summary(errors: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of absolute errors, in seconds."""
    sizes = np.abs(np.array(errors))
    return {
        "num_entities": len(errors),
        "start_s": float(np.median(sizes[:, 0])),
        "end_s": float(np.median(sizes[:, 1])),
        "median_s": float(np.median(sizes)),
        "p90_s": float(np.quantile(sizes, 0.9)),
        "share_under_0.2_s": float((sizes < 0.2).mean()),
    }


def read_aloud(voice: str) -> Iterator[Known]:
    """All sentences, each with silence around it and a little noise."""
    rng = np.random.default_rng(5)
    speak = by_festival if voice.startswith("festival:") else by_parts
    for sentence in SENTENCES:
        pieces = re.split(r"[\[\]]", sentence)
        parts = [(text, number % 2 == 1) for number, text in enumerate(pieces) if text]
        known = speak(parts, voice)
        before, behind = (np.zeros(round(rng.uniform(*SILENCE_S) * SAMPLE_RATE_HZ), np.float32) for _ in range(2))
        samples = np.concatenate([before, known.samples, behind])
        samples += 0.0005 * rng.standard_normal(len(samples)).astype(np.float32)
        shift_s = len(before) / SAMPLE_RATE_HZ
        yield Known(samples, {text: (a + shift_s, b + shift_s) for text, (a, b) in known.entities.items()})


def by_festival(parts: list[tuple[str, bool]], voice: str) -> Known:
    """A whole sentence, and what Festival says of its words."""
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "speech.wav", Path(folder) / "speak.scm"
        words = '(mapcar (lambda (w) (format t "%s %f %f\\n" (item.name w) (item.feat w \'word_start)'
        words += " (item.feat w 'word_end))) (utt.relation.items utt 'Word))"
        text = "".join(text for text, _ in parts)
        lines = [
            f"(voice_{voice.partition(':')[2]})",
            f'(set! utt (SynthText "{text}"))',
            f'(utt.save.wave utt "{path}")',
        ]
        script.write_text("\n".join([*lines, words]), encoding="utf-8")
        done = subprocess.run(["festival", "-b", str(script)], capture_output=True, text=True, check=True)
        sound, rate_hz = soundfile.read(path, dtype="float32")
    spoken = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 3]
    entities, position = {}, 0
    for text, is_entity in parts:
        count = len(re.findall(r"[A-Za-z']+", text))
        ours, position = spoken[position : position + count], position + count
        if is_entity:
            entities[text] = (float(ours[0][1]), float(ours[-1][2]))
    if position != len(spoken):
        raise DataError(f'festival spoke {len(spoken)} words for the {position} of "{text}"')
    return Known(soxr.resample(sound, rate_hz, SAMPLE_RATE_HZ).astype(np.float32) * 0.7 / np.abs(sound).max(), entities)


def by_parts(parts: list[tuple[str, bool]], voice: str) -> Known:
    """A sentence of parts that were spoken one by one: their places are where they were put."""
    pieces: list[np.ndarray] = []
    entities, num_samples = {}, 0
    for text, is_entity in parts:
        piece = np.zeros(0, np.float32)
        if re.search(r"\w", text):
            spoken = synthesize(text.strip(" ,.") + ("." if text.endswith(".") else ","), voice)
            loud = np.flatnonzero(np.abs(spoken) > FAINT * np.abs(spoken).max())
            piece = spoken[loud[0] : loud[-1] + 1]
        if is_entity:
            entities[text] = (num_samples / SAMPLE_RATE_HZ, (num_samples + len(piece)) / SAMPLE_RATE_HZ)
        gap = np.zeros(round((COMMA_S if "," in text else GAP_S) * SAMPLE_RATE_HZ), np.float32)
        pieces += [piece, gap]
        num_samples += len(piece) + len(gap)
    return Known(np.concatenate(pieces), entities)


if __name__ == "__main__":
    main()
