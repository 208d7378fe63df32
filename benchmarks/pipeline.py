"""The pipeline baseline: plain Whisper's transcript, then a fine-tuned text relation extractor (SpERT on MiniLM).

    python benchmarks/pipeline.py transcribe MANIFEST... --output T.jsonl       (goes on where it was stopped)
    python benchmarks/pipeline.py train MANIFEST... --text both --transcripts T.jsonl --output DIR
    python benchmarks/pipeline.py predict MANIFEST --model DIR --transcripts T.jsonl --output P.jsonl
    python benchmarks/pipeline.py all --train MANIFEST... --dev MANIFEST --output DIR   (all three; skips what is there)

Without --transcripts, predict reads the manifest's own text in its plain form, which shows the cost of recognition. Any
file with "id" and "transcript" serves as transcripts, so the predictions of "speechre evaluate" do too. Predictions are
for "speechre score". Needs: pip install "speechre[reader,offline]".
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from speechre.audio import read_audio_ref
from speechre.data.plain_text import plain_utterance
from speechre.data.predictions import read_predictions
from speechre.data.store import read_manifest, write_atomically
from speechre.data.transcripts import read_transcripts
from speechre.errors import DataError, SpeechreError, UsageError
from speechre.evaluate.plain_whisper import Transcriber
from speechre.evaluate.run import describe_machine
from speechre.extract.chunks import split_at_pauses
from speechre.metrics import score
from speechre.reader.folder import load_text_model
from speechre.reader.reader import RELATION_THRESHOLD, TextModel, TextReader
from speechre.reader.run import train_reader
from speechre.reader.texts import TEXT_SOURCES, reach, with_transcripts
from speechre.reader.training import TextTraining
from speechre.schemas import load_schema
from speechre.types import Utterance

PROTOCOLS = ("boundary", "strict")


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.run(options)
    except SpeechreError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--threads", type=int, default=0, help="of torch (default: its own choice)")
        command.set_defaults(run=run)
        return command

    command = add("transcribe", run_transcribe, "write the transcripts of all recordings of manifests")
    command.add_argument("manifests", nargs="+", type=Path)
    command.add_argument("--output", type=Path, required=True, help="transcripts, one object a line")
    add_whisper(command)

    command = add("train", run_train, "train a text model on annotated texts")
    command.add_argument("manifests", nargs="+", type=Path)
    command.add_argument("--text", choices=TEXT_SOURCES, default="gold", help="what to learn from (default: gold)")
    command.add_argument("--transcripts", type=Path, help="needed for --text transcript and both")
    command.add_argument("--output", type=Path, required=True, help="the model's folder")
    add_training(command)

    command = add("predict", run_predict, "read triplets in texts and score them")
    command.add_argument("manifest", type=Path)
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--transcripts", type=Path, help="default: the manifest's own text in its plain form")
    command.add_argument("--output", type=Path, required=True, help="predictions, one extraction a line")
    add_reading(command)

    command = add("all", run_all, "transcribe, train on each kind of text, predict and compare")
    command.add_argument("--train", nargs="+", type=Path, required=True)
    command.add_argument("--dev", type=Path, required=True)
    command.add_argument("--text", nargs="+", choices=TEXT_SOURCES, default=list(TEXT_SOURCES))
    command.add_argument("--output", type=Path, required=True, help="a folder for everything")
    add_whisper(command)
    add_training(command)
    add_reading(command)
    return parser.parse_args(argv)


def add_whisper(command: argparse.ArgumentParser) -> None:
    command.add_argument("--whisper", default="tiny.en", help="a plain Whisper (default: tiny.en)")
    command.add_argument("--clips", type=int, default=8, help="recordings a batch (default: 8)")


def add_training(command: argparse.ArgumentParser) -> None:
    """An option for each field of :class:`TextTraining`."""
    command.add_argument("--schema", default="conll04")
    for field in fields(TextTraining):
        kind = type(field.default)
        name = "--" + field.name.replace("_", "-")
        command.add_argument(name, type=kind, default=field.default, help=f"default: {field.default}")


def add_reading(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threshold", type=float, default=RELATION_THRESHOLD, help="of a relation's probability")
    command.add_argument("--any-pair", action="store_true", help="also pairs of types that the schema does not allow")


# --- the three steps --------------------------------------------------------------------------------------------------


def run_transcribe(options: argparse.Namespace) -> None:
    utterances = [utterance for path in options.manifests for utterance in read_manifest(path)]
    transcribe(utterances, options.output, options.whisper, options.clips)


def transcribe(utterances: Sequence[Utterance], output: Path, whisper: str, batch_size: int) -> dict[str, str]:
    """Transcripts by id, from ``output`` as far as they stand there; new ones are added to it batch by batch."""
    output.parent.mkdir(parents=True, exist_ok=True)
    known = known_transcripts(output, whisper)
    missing = [utterance for utterance in utterances if utterance.id not in known]
    if missing:
        transcriber = Transcriber.from_pretrained(whisper)
        started = time.monotonic()
        with output.open("a", encoding="utf-8") as file:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                for utterance, text in zip(batch, transcripts_of(batch, transcriber, batch_size), strict=True):
                    known[utterance.id] = text
                    record = {"id": utterance.id, "transcript": text, "model": whisper}
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
                file.flush()
                done = start + len(batch)
                report_progress(f"transcripts {done}/{len(missing)}", (time.monotonic() - started) / done)
    return known


def known_transcripts(path: Path, whisper: str) -> dict[str, str]:
    """What ``path`` holds already; a last line that a kill cut short is taken off.

    Raises :class:`UsageError` when another Whisper wrote it.
    """
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    known = read_transcripts(path)
    writers = {str(json.loads(line).get("model")) for line in whole.decode("utf-8").splitlines()}
    if writers - {whisper}:
        raise UsageError(f'{path}: holds transcripts of {", ".join(sorted(writers))}, not of "{whisper}"; name another')
    return known


def transcripts_of(utterances: Sequence[Utterance], transcriber: Transcriber, batch_size: int) -> list[str]:
    """One transcript each; a recording over 30 s is cut at pauses, and its parts are joined again."""
    clips: list[torch.Tensor] = []
    counts: list[int] = []
    for utterance in utterances:
        if utterance.audio is None:
            raise DataError(f'utterance "{utterance.id}" has no audio; there is nothing to transcribe')
        chunks = split_at_pauses(read_audio_ref(utterance.audio))
        clips += [torch.from_numpy(chunk) for chunk in chunks]
        counts.append(len(chunks))
    written: list[str] = []
    for start in range(0, len(clips), batch_size):
        written += transcriber.transcribe(clips[start : start + batch_size])
    parts = iter(written)
    return [" ".join(text for _ in range(count) if (text := next(parts))) for count in counts]


def run_train(options: argparse.Namespace) -> None:
    utterances = [utterance for path in options.manifests for utterance in read_manifest(path)]
    transcripts = read_transcripts(options.transcripts) if options.transcripts else None
    train_model(options, options.text, utterances, transcripts, options.output)


def train_model(
    options: argparse.Namespace,
    source: Any,
    utterances: Sequence[Utterance],
    transcripts: Mapping[str, str] | None,
    output: Path,
) -> TextModel:
    """Train on one kind of text with the options of :func:`add_training`."""
    settings = TextTraining(**{field.name: getattr(options, field.name) for field in fields(TextTraining)})
    schema = load_schema(options.schema)
    return train_reader(settings, schema, [(utterances, 1)], source, transcripts, output, f"pipeline-{source}", message)


def run_predict(options: argparse.Namespace) -> None:
    utterances = read_manifest(options.manifest)
    texts = texts_to_read(utterances, read_transcripts(options.transcripts) if options.transcripts else None)
    f1 = predict(options, load_text_model(options.model), utterances, texts, options.output)
    print("dev triplet F1: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in f1.items()))


def texts_to_read(utterances: Sequence[Utterance], transcripts: Mapping[str, str] | None) -> list[Utterance]:
    """The transcripts, or the plain form of the gold text."""
    if transcripts is not None:
        return with_transcripts(utterances, transcripts)
    return [plain_utterance(utterance) for utterance in utterances]


def predict(
    options: argparse.Namespace,
    model: TextModel,
    gold: Sequence[Utterance],
    texts: Iterable[Utterance],
    output: Path,
) -> dict[str, float]:
    """Write the predictions and return the triplet F1 of each protocol, as "speechre score" computes it."""
    reader = TextReader(model, threshold=options.threshold, check_pairs=not options.any_pair)
    lines = [json.dumps(e.to_dict(), ensure_ascii=False) + "\n" for e in reader.extract(texts)]
    write_atomically(output, "".join(lines))
    wanted = {utterance.id: utterance.triplets for utterance in gold}
    return {name: score(wanted, read_predictions(output), name).triplet.f1 for name in PROTOCOLS}


# --- all of it --------------------------------------------------------------------------------------------------------


def run_all(options: argparse.Namespace) -> None:
    folder: Path = options.output
    train_set = [utterance for path in options.train for utterance in read_manifest(path)]
    dev = read_manifest(options.dev)
    transcripts = transcribe([*train_set, *dev], folder / "transcripts.jsonl", options.whisper, options.clips)
    plain = {utterance.id: plain_utterance(utterance).text for utterance in dev}
    report: dict[str, Any] = {"whisper": options.whisper, "threshold": options.threshold, "f1": {}, "reach": {}}
    for name, texts in (("gold", plain), ("transcript", transcripts)):
        report["reach"][name] = asdict(reach(dev, texts, options.max_span_words))
    for source in options.text:
        if (folder / source).exists():
            message(f"{folder / source} is there already")
            model = load_text_model(folder / source)
        else:
            model = train_model(options, source, train_set, transcripts, folder / source)
        report["f1"][source] = {
            "training": model.training.to_dict(),
            **{
                name: predict(options, model, dev, texts_to_read(dev, heard), folder / f"{source}-reads-{name}.jsonl")
                for name, heard in (("gold", None), ("transcript", transcripts))
            },
        }
    report["machine"] = describe_machine()
    write_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")
    print(to_markdown(report))


def to_markdown(report: Mapping[str, Any]) -> str:
    """A table of what each model makes of both texts, what the texts allow, and all F1 in one line."""
    columns = [f"{text} text, {protocol}" for text in report["reach"] for protocol in PROTOCOLS]
    lines = [f"| trained on | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    said = []
    for source, row in report["f1"].items():
        cells = [f"{100 * row[text][protocol]:.1f}" for text in report["reach"] for protocol in PROTOCOLS]
        lines.append(f"| {source} | {' | '.join(cells)} |")
        said.append(f"{source}-trained: gold text {'/'.join(cells[:2])}, transcripts {'/'.join(cells[2:])}")
    lines.append("")
    for text, counts in report["reach"].items():
        lines.append(
            f"{text} text holds {counts['num_entities_standing']} of {counts['num_entities']} entities and both ends "
            f"of {counts['num_triplets_standing']} of {counts['num_triplets']} triplets."
        )
    lines += ["", f"dev triplet F1 (boundary/strict): {'; '.join(said)}"]
    return "\n".join(lines)


def message(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def report_progress(what: str, seconds_each: float) -> None:
    message(f"{what}  {seconds_each:.2f} s each")


if __name__ == "__main__":
    sys.exit(main())
