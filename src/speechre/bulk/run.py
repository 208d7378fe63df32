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

from speechre import __version__
from speechre.bulk.shards import Shard, ShardRows, open_rows
from speechre.data.store import iter_manifest, read_json, write_atomically
from speechre.digests import file_sha256
from speechre.errors import SpeechreError, UsageError
from speechre.extract.extractor import Extractor
from speechre.extract.listening import OnProgress
from speechre.types import Utterance

RUN_FILE = "run.json"
_FAULTS_MAX = 20
"""Recordings one after the other on which the model fails: with more, it is not the recordings."""


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
    told = _described(run, shard.count)
    _check_same_run(run.folder, told)
    with open_rows(run.folder, shard, {one.id for one in ours}) as rows:
        before = len(rows.done)
        to_do = [one for one in ours if one.id not in rows.done]
        extractor = run.make()
        told |= _described_model(extractor)
        _note(run.folder / RUN_FILE, told)
        _check_same_run(run.folder, told)
        rows.forget_failures()
        failures = _extract(extractor, rows, to_do, on_error, None if on_start is None else on_start(to_do))
        return Summary(shard, len(rows.done) - before, before, tuple(failures.items()))


def _extract(
    extractor: Extractor,
    rows: ShardRows,
    to_do: Sequence[Utterance],
    on_error: Callable[[str, SpeechreError], None] | None,
    on_progress: OnProgress | None,
) -> dict[str, str]:
    """What failed, and why, by id."""
    failures: dict[str, str] = {}
    by_id = {one.id: one for one in to_do}

    def fail(name: str, error: SpeechreError) -> None:
        rows.fail(by_id[name], error)
        failures[name] = str(error)
        if on_error is not None:
            on_error(name, error)

    def hear(utterances: Sequence[Utterance]) -> Exception | None:
        """Hear them all, or up to a fault of the model."""
        found = extractor.extract_many(utterances, fail, on_progress)
        while True:
            try:
                extraction = next(found, None)
            except Exception as error:  # of any kind: one recording must not stop all that come behind it
                return error
            if extraction is None:
                return None
            rows.add(extraction)

    num_faults = 0
    left = list(to_do)
    while left and hear(left) is not None:
        # One of the next recordings is at fault, nobody knows which: they are heard alone, until it is found.
        left = [one for one in left if one.id not in rows.done and one.id not in failures]
        while left:
            fault = hear(left[:1])
            one = left.pop(0)
            if fault is None:
                num_faults = 0
                continue
            num_faults += 1
            if num_faults > _FAULTS_MAX:
                raise fault
            fail(one.id, fault if isinstance(fault, SpeechreError) else _as_ours(one, fault))
            break
    return failures


def _as_ours(utterance: Utterance, fault: Exception) -> SpeechreError:
    return SpeechreError(f"{utterance.id}: the model failed on this recording ({type(fault).__name__}: {fault})")


def _described(run: BulkRun, num_shards: int) -> dict[str, Any]:
    """What all parts of a run share, as far as it is known before a model is loaded."""
    return {
        "manifest_sha256": file_sha256(run.manifest),
        "num_shards": num_shards,
        "settings": json.loads(json.dumps(dict(run.settings))),  # as it will be read: tuples are lists
    }


def _described_model(extractor: Extractor) -> dict[str, Any]:
    """The rest of it. Thresholds and curves are in the config."""
    config = json.dumps(extractor.checkpoint.config.to_dict(), sort_keys=True)
    return {
        "model": extractor.model_id,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "speechre": __version__,
    }


def _check_same_run(folder: Path, told: Mapping[str, Any]) -> None:
    """Raises :class:`UsageError` if another run is noted in the folder."""
    path = folder / RUN_FILE
    if not path.exists():
        return
    noted = read_json(path)
    for key, value in told.items():
        there = noted.get(key) if isinstance(noted, dict) else None
        if there != value:
            raise UsageError(
                f"{path}: the folder holds a run with {key} {json.dumps(there)}, this one has {json.dumps(value)}; "
                "choose another --output, or repeat the call that began it"
            )


def noted_num_shards(folder: Path) -> int | None:
    """Of how many parts the run in the folder is, where there is one."""
    path = folder / RUN_FILE
    noted = read_json(path) if path.exists() else None
    num_shards = noted.get("num_shards") if isinstance(noted, dict) else None
    return num_shards if isinstance(num_shards, int) else None


def _note(path: Path, told: Mapping[str, Any]) -> None:
    """Write the file, unless another part of the run was quicker: a link appears whole, and replaces nothing."""
    if path.exists():
        return
    building = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    write_atomically(building, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    try:
        os.link(building, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(building, path)
    building.unlink(missing_ok=True)
