"""Lhotse's manifests: recordings and supervisions, a JSON object a line, packed (.jsonl.gz) or not.

Lhotse itself is not needed to read and write them. Recordings are named by absolute paths; the field of our own stands
in a supervision's ``custom``, which is Lhotse's place for what is somebody else's.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from speechre.data.formats.carry import FIELD, Losses, collect, to_carry, to_json
from speechre.data.formats.recordings import Window, window_of, write_bytes
from speechre.data.formats.rows import json_lines, number_at, optional_text, own_keys, text_at, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.errors import AudioError, DataError
from speechre.types import AudioRef, Utterance

_KEYS = ("id", "recording_id", "start", "duration", "channel", "text", "speaker")


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. The folder holds ``recordings.jsonl[.gz]`` and ``supervisions.jsonl[.gz]``, or one pair
    of files with a prefix and a part around these words (``mine_recordings_dev.jsonl.gz``).
    """
    recordings = dict(_recordings(_one(source, "recordings")))
    supervisions = _one(source, "supervisions")

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        for line, row in json_lines(supervisions):
            try:
                custom = row.get("custom") or {}
                if not isinstance(custom, Mapping):
                    raise ValueError(f'"custom" is {custom!r}; expected an object')
                yield f"{supervisions}:{line}", _from_row(row, recordings, name), custom.get(FIELD)
            except ValueError as error:
                raise DataError(f"{supervisions}:{line}: {error}") from error

    return collect(supervisions, rows(), options, "Lhotse supervisions, one a line")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. Raises :class:`DataError` on a recording of several channels, which :func:`read` would
    refuse: a supervision is of one of them, and an utterance of their mix.
    """
    losses = Losses()
    recordings: dict[str, dict[str, Any]] = {}
    ids: dict[str, str] = {}
    lines = []
    for utterance in utterances:
        window = window_of(utterance, name)
        recording_id = ids.setdefault(window.path, utterance.id)
        if recording_id not in recordings:
            _check_one_channel(utterance.id, window.path)
            recordings[recording_id] = _recording(recording_id, window)
        row: dict[str, Any] = {
            "id": utterance.id,
            "recording_id": recording_id,
            "start": window.start_s,
            "duration": window.duration_s,
            "channel": 0,
            "text": utterance.text,
        }
        if utterance.speaker is not None:
            row["speaker"] = utterance.speaker
        row |= own_keys(utterance, name, _KEYS)
        plain = _from_row(row, {recording_id: window.path}, name)
        losses.add(utterance, plain)
        carried = None if options.is_plain else to_carry(utterance, plain)
        if carried is not None:
            row["custom"] = {**(row.get("custom") or {}), FIELD: carried}
        lines.append(row)
    for kind, rows in (("recordings", list(recordings.values())), ("supervisions", lines)):
        content = "".join(to_json(row) + "\n" for row in rows).encode()
        write_bytes(target / f"{kind}.jsonl.gz", gzip.compress(content, mtime=0))
    return losses.notes(name, options.is_plain, f'"{FIELD}" in "custom"')


def _check_one_channel(utterance_id: str, path: str) -> None:
    try:
        with open(path, "rb") as file:  # not by name, which soundfile wants to be UTF-8
            num_channels = soundfile.info(file).channels
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path}: its channels cannot be counted: {error}; make or copy it again") from error
    if num_channels > 1:
        raise DataError(
            f'utterance "{utterance_id}": {path} has {num_channels} channels; lhotse is written with recordings of one '
            'channel only. Mix them first, which is how they are heard here ("ffmpeg -i IN -ac 1 OUT.wav"), or write '
            "each to a file of its own"
        )


def _recording(recording_id: str, window: Window) -> dict[str, Any]:
    return {
        "id": recording_id,
        "sources": [{"type": "file", "channels": [0], "source": window.path}],
        "sampling_rate": window.rate_hz,
        "num_samples": window.num_frames,
        "duration": window.num_frames / window.rate_hz,
        "channel_ids": [0],
    }


def _one(folder: Path, word: str) -> Path:
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; expected one with recordings.jsonl.gz and supervisions.jsonl.gz")
    found = sorted(p for p in folder.iterdir() if word in p.name and p.name.endswith((".jsonl", ".jsonl.gz")))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise DataError(f"{folder}: {names}; expected one file {word}.jsonl.gz. Put each part into a folder of its own")
    return found[0]


def _recordings(path: Path) -> Iterator[tuple[str, str]]:
    for line, row in json_lines(path):
        try:
            sources = row.get("sources")
            if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], Mapping):
                raise ValueError('"sources" is not a list of one source; recordings in several files are not read')
            if sources[0].get("type") != "file":
                raise ValueError(
                    f"a source of the type {sources[0].get('type')!r}; only files are read, nothing is run"
                )
            if row.get("transforms"):
                raise ValueError("the recording has transforms; save it as a file first")
            recording_id = text_at(row, "id")
            for key, channels in (("channels", sources[0].get("channels")), ("channel_ids", row.get("channel_ids"))):
                _check_channels(recording_id, key, channels)
            yield recording_id, os.path.abspath(text_at(sources[0], "source"))
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}") from error


def _check_channels(recording_id: str, key: str, channels: object) -> None:
    """Raises ``ValueError`` on more than one: they would be mixed, and each supervision is of one of them."""
    if channels is not None and not isinstance(channels, list):
        raise ValueError(f'recording "{recording_id}": "{key}" is {channels!r}; expected a list of channels, as [0]')
    if channels is not None and len(channels) > 1:
        raise ValueError(
            f'recording "{recording_id}" has {len(channels)} channels ("{key}" is {channels}); only recordings of one '
            "channel are read. Write each channel to a file of its own "
            '("ffmpeg -i IN -af pan=mono|c0=c1 OUT.wav" for channel 1), each a recording with "channels" [0]'
        )


def _from_row(row: Mapping[str, Any], recordings: Mapping[str, str], name: str) -> Utterance:
    recording_id = text_at(row, "recording_id")
    if recording_id not in recordings:
        raise ValueError(f'recording "{recording_id}" is not among the recordings')
    channel = row.get("channel", 0)
    if channel not in (0, [0]):
        raise ValueError(f"channel {channel!r}; only recordings of one channel are read")
    audio = AudioRef(recordings[recording_id], number_at(row, "start", 0.0) or 0.0, number_at(row, "duration"))
    text = row.get("text")
    utterance = Utterance(
        text_at(row, "id"), audio, "" if text is None else text_at(row, "text"), speaker=optional_text(row, "speaker")
    )
    custom = {key: value for key, value in (row.get("custom") or {}).items() if key != FIELD}
    others = {key: value for key, value in row.items() if key != "custom"} | ({"custom": custom} if custom else {})
    return with_other_keys(utterance, others, name, _KEYS)
