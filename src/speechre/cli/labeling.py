"""``speechre data to-label-studio`` and ``from-label-studio``: people annotate, in Label Studio."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message
from speechre.errors import DataError, UsageError, list_some

if TYPE_CHECKING:
    from speechre.data.label_studio import Suggestion
    from speechre.data.label_studio_export import Reading
    from speechre.data.predictions import Prediction
    from speechre.schema import Schema
    from speechre.types import Utterance

_TO = """\
Write a project for Label Studio: config.xml (player, transcript, entity and relation labels) and tasks.json, with what
the manifest annotates, and what a model found, as pre-annotations. docs/labeling.md shows the way there and back."""

_FROM = """\
Read what people annotated, as Label Studio exports it (JSON; JSON_MIN has no relations), as a manifest. Ids, speakers,
splits and recordings are those of the manifest that the tasks were made from."""


def add_parsers(kinds: Commands) -> None:
    """The arguments of both commands."""
    _add_to(kinds)
    _add_from(kinds)


def _add_to(kinds: Commands) -> None:
    parser = kinds.add_parser("to-label-studio", help="a manifest as a Label Studio project", description=_TO)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets config.xml and tasks.json")
    parser.add_argument(
        "--schema", metavar="NAME|YAML", help="the labels, e.g. conll04 (default: the types that are in use)"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="EXTRACTIONS.jsonl",
        help="what a model found, one extraction a line: pre-annotations with scores, least certain utterances first",
    )
    add_audio(parser)
    parser.set_defaults(run=run_to)


def add_audio(parser: argparse.ArgumentParser) -> None:
    """Where the recordings are served."""
    parser.add_argument(
        "--audio-root",
        type=Path,
        metavar="DIR",
        help="the folder that Label Studio serves local files from, above all recordings (default: the one above the "
        "manifest's folder)",
    )
    parser.add_argument(
        "--audio-url", metavar="URL", help="put before each path under the root, where another server has the files"
    )
    parser.add_argument(
        "--cut-audio",
        action="store_true",
        help="write each utterance's sound to DIR/audio, over no other file, and play that",
    )


def _add_from(kinds: Commands) -> None:
    parser = kinds.add_parser("from-label-studio", help="annotations of Label Studio as a manifest", description=_FROM)
    parser.add_argument("export", type=Path, metavar="EXPORT.json")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="M.jsonl",
        help="the manifest to write; replaces one there. With --by-annotator a folder",
    )
    parser.add_argument(
        "--audio-root",
        type=Path,
        metavar="DIR",
        help="the folder of the manifest that the tasks were made from (default: the output's)",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--annotator", metavar="NAME", help="the annotations of one person, by e-mail address or number")
    who.add_argument("--by-annotator", action="store_true", help="one manifest a person, named by address or number")
    parser.add_argument(
        "--keep-unannotated", action="store_true", help="tasks that nobody annotated, as the manifest had them"
    )
    parser.add_argument("--allow-missing-relations", action="store_true", help="read JSON_MIN, without any relation")
    parser.add_argument(
        "--no-provenance", action="store_true", help="do not keep what else the export says in extra.label_studio"
    )
    parser.set_defaults(run=run_from)


# --- to Label Studio ---


def run_to(args: argparse.Namespace) -> int:
    """Write a project."""
    from speechre.data.label_studio import check_types, schema_of, to_task
    from speechre.data.predictions import read_predictions_for_report
    from speechre.data.store import read_manifest
    from speechre.data.suggest import most_uncertain_first, recognized, suggest
    from speechre.schemas import load_schema

    utterances = read_manifest(args.manifest)
    predictions = {} if args.predictions is None else read_predictions_for_report(args.predictions)
    _check_ids(args, utterances, predictions)
    texts = {u.id: _shown_text(u, predictions.get(u.id)) for u in utterances}
    suggested = {u.id: suggest(u, predictions[u.id], texts[u.id]) for u in utterances if u.id in predictions}
    schema = load_schema(args.schema) if args.schema is not None else None
    suggestions = [[suggested[u.id].suggestion] if u.id in suggested else [] for u in utterances]
    if schema is None:
        schema = schema_of([*utterances, *(one for some in suggestions for one in some)])
    if not schema.entity_types:
        raise UsageError(f"{args.manifest}: nothing is annotated, so there are no labels to take over; give --schema")
    check_types(utterances, suggestions, schema)
    found = [recognized(utterance, schema) for utterance in utterances]
    suggestions = [
        some if one.suggestion is None else [one.suggestion, *some]
        for one, some in zip(found, suggestions, strict=True)
    ]
    urls = audio_urls_of(utterances, args.manifest, args.output, args)
    tasks: list[dict[str, Any]] = []
    for utterance, some in zip(utterances, suggestions, strict=True):
        text = texts[utterance.id]
        task = to_task(utterance, urls[utterance.id], some, folder=args.manifest.parent, text=text)
        if utterance.id in suggested and suggested[utterance.id].not_shown:
            task["data"]["speechre"]["not_shown"] = [t.to_dict() for t in suggested[utterance.id].not_shown]
        tasks.append(task)
    if predictions:
        order = most_uncertain_first([_doubt(some) for some in suggestions])
        tasks = [tasks[i] for i in order]
    write_project(args.output, schema, tasks, [args.manifest, *([args.predictions] if args.predictions else [])])
    _tell(args, utterances, tasks, texts, sum(one.num_untyped for one in found))
    tell_served(urls, args.manifest, args.output, args)
    return 0


def _doubt(suggestions: Sequence[Suggestion]) -> float | None:
    scores = [one.score for one in suggestions if one.score is not None]
    return 1.0 - scores[0] if scores else None


def _shown_text(utterance: Utterance, prediction: Prediction | None) -> str:
    """What is annotated where nobody has written down what is said: the model's transcript."""
    if utterance.text.strip() or prediction is None or prediction.transcript is None:
        return utterance.text
    return prediction.transcript


def _check_ids(args: argparse.Namespace, utterances: Sequence[Utterance], predictions: Mapping[str, object]) -> None:
    ids = {utterance.id for utterance in utterances}
    unknown = [name for name in predictions if name not in ids]
    if unknown:
        raise DataError(
            f'{args.predictions}: "{unknown[0]}" is no utterance of {args.manifest} ({len(unknown)} such ids of '
            f'{len(predictions)}); expected ids as "{utterances[0].id}"'
        )
    if predictions and len(predictions) < len(utterances):
        missing = len(utterances) - len(predictions)
        message(f"{args.predictions}: nothing about {missing} of {len(utterances)} utterances; they come last")


def _served(manifest: Path, output: Path, args: argparse.Namespace) -> Path:
    """The folder whose files Label Studio is to serve; as storage it takes only a folder in it, never itself."""
    if args.cut_audio:
        return output.resolve().parent
    return Path(args.audio_root or manifest.resolve().parents[1]).resolve()


def audio_urls_of(
    utterances: Sequence[Utterance], manifest: Path, output: Path, args: argparse.Namespace
) -> Mapping[str, str]:
    """Each utterance's URL, by id, as the arguments of :func:`add_audio` say."""
    from speechre.data.label_studio_audio import LOCAL_FILES, audio_urls, cut_recordings
    from speechre.types import AudioRef

    if args.cut_audio:
        if args.audio_root is not None:
            raise UsageError("--cut-audio writes the recordings to a folder of its own; leave --audio-root out")
        files = cut_recordings(utterances, output / "audio")
        utterances = [replace(u, audio=AudioRef(str(files[u.id])) if u.id in files else None) for u in utterances]
    return audio_urls(utterances, _served(manifest, output, args), args.audio_url or LOCAL_FILES)


def tell_served(urls: Mapping[str, str], manifest: Path, output: Path, args: argparse.Namespace) -> None:
    """Say on stderr how the server must be started for its player to get the recordings."""
    if args.audio_url is None and any(urls.values()):
        message(
            "to hear the recordings: start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={_served(manifest, output, args)}, and add a folder in it as "
            "local storage"
        )


def write_project(folder: Path, schema: Schema, tasks: Sequence[Mapping[str, Any]], inputs: Sequence[Path]) -> None:
    """config.xml and tasks.json. Raises :class:`UsageError` where they cannot be written or are inputs."""
    from speechre.data.label_studio import labeling_config
    from speechre.data.store import write_atomically

    config, target = folder / "config.xml", folder / "tasks.json"
    for path in (config, target):
        check_replaces_no_input(path, inputs)
    has_note = any("note" in task["data"] for task in tasks)
    has_audio = any(task["data"]["audio"] for task in tasks)
    write_atomically(config, labeling_config(schema, has_audio=has_audio, has_note=has_note))
    lines = ",\n".join(json.dumps(task, ensure_ascii=False, allow_nan=False) for task in tasks)
    write_atomically(target, f"[\n{lines}\n]\n")


def _tell(
    args: argparse.Namespace,
    utterances: Sequence[Utterance],
    tasks: Sequence[Mapping[str, Any]],
    texts: Mapping[str, str],
    num_untyped: int,
) -> None:
    num_unplaced = sum(len(task["data"]["speechre"].get("unplaced", ())) for task in tasks)
    num_not_shown = sum(len(task["data"]["speechre"].get("not_shown", ())) for task in tasks)
    num_silent = sum(utterance.audio is None for utterance in utterances)
    num_heard = sum(texts[u.id] != u.text for u in utterances)
    message(f"wrote {len(tasks)} tasks and their config to {args.output}")
    for number, what in (
        (num_silent, "utterances have no recording"),
        (num_heard, "utterances have no text; the model's transcript is shown in its place"),
        (num_unplaced, "entities have no place in their text; they are not shown, and stay as they are"),
        (num_untyped, "entities that the recognizer found have no type in the schema; they are not shown"),
        (num_not_shown, "predicted triplets have no place in their text; they are listed in their task's data"),
    ):
        if number:
            message(f"{number} {what}")


# --- from Label Studio ---


def run_from(args: argparse.Namespace) -> int:
    """Read an export."""
    from speechre.data.label_studio_export import annotators_of, from_export, read_export
    from speechre.data.store import write_manifest

    tasks = read_export(args.export)
    folder = args.output if args.by_annotator else args.output.parent
    options = {
        "audio_root": args.audio_root or folder,
        "keep_unannotated": args.keep_unannotated,
        "allow_missing_relations": args.allow_missing_relations,
        "keep_provenance": not args.no_provenance,
    }
    names = annotators_of(tasks) if args.by_annotator else [args.annotator]
    if not names:
        raise DataError(f"{args.export}: nobody has annotated anything; there is nothing to write")
    outputs = {name: folder / f"{_file_name(name)}.jsonl" if args.by_annotator else args.output for name in names}
    if len(set(outputs.values())) < len(outputs):
        raise UsageError(f"{args.export}: annotators {', '.join(names)} give the same file names; use --annotator")
    readings = {name: from_export(args.export, tasks, annotator=name, **options) for name in names}
    for name, reading in readings.items():
        recordings = [u.audio.path for u in reading.utterances if u.audio is not None]
        check_replaces_no_input(outputs[name], [args.export, *recordings])
        if not reading.utterances:
            raise DataError(f"{args.export}: no task is annotated; give --keep-unannotated to have them as they are")
    for name, reading in readings.items():
        count = write_manifest(outputs[name], reading.utterances)
        message(f"wrote {count} utterances to {outputs[name]}")
        _tell_missing(reading, args.keep_unannotated)
        _tell_unread(reading, is_kept=not args.no_provenance)
    return 0


def _file_name(annotator: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@+-]", "_", annotator)


def _tell_missing(reading: Reading, are_kept: bool) -> None:
    done = "kept as they were" if are_kept else "left out"
    for ids, what in ((reading.unannotated, "not annotated"), (reading.skipped, "skipped by the annotator")):
        if ids:
            message(f"{len(ids)} utterances were {what}, and {done}: {list_some(ids)}")
    missing = [u.audio.path for u in reading.utterances if u.audio is not None and not os.path.isfile(u.audio.path)]
    if missing:
        message(
            f"{len(missing)} recordings are not where the manifest says, the first at {missing[0]}; give the folder of "
            "the manifest that the tasks were made from (--audio-root)"
        )


def _tell_unread(reading: Reading, *, is_kept: bool) -> None:
    done = "they are kept in extra.label_studio.results" if is_kept else "they are left out"
    for kind, names in reading.unread.items():
        tasks = list_some(list(dict.fromkeys(names)))
        message(f"{len(names)} results of type {kind} were not read as entities or relations ({tasks}); {done}")
