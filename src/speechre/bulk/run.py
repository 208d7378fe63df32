"""A part of a long run, from its recordings to its rows; what all parts of a run must agree on."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechre.bulk.shards import Shard, ShardRows, open_rows
from speechre.data.store import iter_manifest, read_json, write_atomically
from speechre.errors import SpeechreError, UsageError
from speechre.extract.extractor import Extractor, OnProgress
from speechre.types import Utterance

RUN_FILE = "run.json"


@dataclass(frozen=True)
class BulkRun:
    """What a run is: a manifest, how it is extracted, and the folder that its parts write to. Can be pickled."""

    manifest: Path
    folder: Path
    make: Callable[[], Extractor]
    settings: Mapping[str, Any]
    """What the user asked of the model: parts with other settings do not belong together."""

    def utterances(self, shard: Shard) -> list[Utterance]:
        """Those of one part. Raises :class:`DataError` on any fault of the manifest."""
        return [one for place, one in enumerate(iter_manifest(self.manifest)) if shard.holds(place)]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a part's recordings."""

    shard: Shard
    num_extracted: int
    num_before: int
    failures: tuple[tuple[str, str], ...]
    """Ids, and why."""

    def __str__(self) -> str:
        before = f", {self.num_before} were done before" if self.num_before else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{self.shard.name}: {self.num_extracted} extracted{before}{failed}"


def run_shard(
    run: BulkRun,
    shard: Shard,
    on_error: Callable[[str, SpeechreError], None] | None = None,
    on_start: Callable[[Sequence[Utterance]], OnProgress] | None = None,
) -> Summary:
    """Extract what is not done yet of one part.

    ``on_start`` is told what there is to do, and gives what is called with a recording's id and how many seconds of it
    are heard. Raises :class:`DataError` on a faulty manifest, :class:`UsageError` on a folder that cannot be written or
    belongs to another run, and whatever loading a model raises; a recording that cannot be heard becomes a row.
    """
    ours = run.utterances(shard)
    check_same_run(run, shard.count)
    with open_rows(run.folder, shard) as rows:
        before = len(rows.done)
        to_do = [one for one in ours if one.id not in rows.done]
        extractor = run.make()
        check_same_run(run, shard.count, extractor.model_id)
        failures = _extract(extractor, rows, to_do, on_error, None if on_start is None else on_start(to_do))
        return Summary(shard, len(rows.done) - before, before, tuple(failures))


def _extract(
    extractor: Extractor,
    rows: ShardRows,
    to_do: Sequence[Utterance],
    on_error: Callable[[str, SpeechreError], None] | None,
    on_progress: OnProgress | None,
) -> list[tuple[str, str]]:
    by_id = {one.id: one for one in to_do}
    failures: list[tuple[str, str]] = []

    def fail(name: str, error: SpeechreError) -> None:
        rows.fail(by_id[name], error)
        failures.append((name, str(error)))
        if on_error is not None:
            on_error(name, error)

    for extraction in extractor.extract_many(to_do, fail, on_progress):
        rows.add(extraction)
    return failures


def check_same_run(run: BulkRun, num_shards: int, model_id: str | None = None) -> None:
    """Raises :class:`UsageError` if the folder holds another run than this. What this one is is noted there as soon as
    the model is known.
    """
    ours = {
        "manifest_sha256": _sha256(run.manifest),
        "num_shards": num_shards,
        "settings": json.loads(json.dumps(dict(run.settings))),  # as it will be read: tuples are lists
    }
    path = run.folder / RUN_FILE
    if model_id is not None:
        ours["model"] = model_id
        if not path.exists():
            _note(path, ours)
    if not path.exists():
        return
    noted = read_json(path)
    for key, value in ours.items():
        there = noted.get(key) if isinstance(noted, dict) else None
        if there != value:
            raise UsageError(
                f"{path}: the folder holds a run with {key} {json.dumps(there)}, this one has {json.dumps(value)}; "
                "choose another --output, or repeat the call that began it"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _note(path: Path, ours: Mapping[str, Any]) -> None:
    """Write the file, unless another part of the run was quicker: a link appears whole, and replaces nothing."""
    building = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    write_atomically(building, json.dumps(ours, indent=1, ensure_ascii=False) + "\n")
    try:
        os.link(building, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(building, path)
    building.unlink(missing_ok=True)
