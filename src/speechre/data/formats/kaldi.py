"""Kaldi data folders: wav.scp, segments, text, utt2spk, spk2utt, reco2dur, sorted by byte; and utt2speechre, a table of
our own in the same form, for what Kaldi has no place for.

Kaldi reads WAV; recordings in other formats stand in wav.scp as a pipe through ffmpeg. Pipes are never run here: the
recording is the one audio file that the command names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechre.audio_files import SUFFIXES
from speechre.data.formats.carry import FIELD, Losses, collect, json_cell, to_carry, to_json
from speechre.data.formats.recordings import Window, window_of
from speechre.data.formats.rows import text_lines
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.samples import SAMPLE_RATE_HZ
from speechre.types import AudioRef, Utterance

CARRIED = f"utt2{FIELD}"
TABLES = ("wav.scp", "reco2dur", "segments", "text", "utt2spk", "spk2utt")


# --- writing ---


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. Raises :class:`DataError` on an id or a speaker with white space: Kaldi's tables are
    split there.
    """
    losses = Losses()
    tables: dict[str, dict[str, str]] = {key: {} for key in (*TABLES, CARRIED)}
    is_sorted = [u.id for u in utterances] == sorted((u.id for u in utterances), key=_bytes)
    recording_ids: dict[str, str] = {}
    for index, utterance in enumerate(utterances):
        window = window_of(utterance, name)
        row = _to_row(utterance, window, _recording_id(window.path, recording_ids))
        tables["wav.scp"][row["recording"]] = row["wav"]
        tables["reco2dur"][row["recording"]] = repr(window.num_frames / window.rate_hz)
        tables["segments"][utterance.id] = f"{row['recording']} {row['start']} {row['end']}"
        tables["text"][utterance.id] = row["text"]
        tables["utt2spk"][utterance.id] = row["speaker"]
        plain = _from_row(utterance.id, row, target)
        losses.add(utterance, plain)
        if not is_sorted:
            losses.counts["utterance sequence"] += 1
        carried = to_carry(utterance, plain, index=None if is_sorted else index)
        if carried is not None and not options.is_plain:
            tables[CARRIED][utterance.id] = to_json(carried)
    for speaker, utterance_id in sorted((_bytes(s), i) for i, s in tables["utt2spk"].items()):
        known = tables["spk2utt"].get(speaker.decode())
        tables["spk2utt"][speaker.decode()] = f"{known} {utterance_id}" if known else utterance_id
    for table, rows in tables.items():
        if rows or table != CARRIED:
            lines = (f"{key} {rows[key]}".rstrip(" ") + "\n" for key in sorted(rows, key=_bytes))
            write_atomically(target / table, "".join(lines))
        else:
            (target / table).unlink(missing_ok=True)  # of an earlier export
    return losses.notes(name, options.is_plain, f"the table {CARRIED}")


def _bytes(text: str) -> bytes:
    """Kaldi sorts as the C locale does."""
    return text.encode("utf-8", "surrogatepass")


def _recording_id(path: str, known: dict[str, str]) -> str:
    """A recording's name without suffix and white space, with ``-2``, ``-3``, ... where several share it."""
    if path not in known:
        stem = re.sub(r"\s", "_", Path(path).stem)
        taken = set(known.values())
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 2))
        known[path] = next(name for name in names if name not in taken)
    return known[path]


def _to_row(utterance: Utterance, window: Window, recording: str) -> dict[str, str]:
    speaker = utterance.speaker or utterance.id
    for what, value in (("id", utterance.id), ("speaker", speaker)):
        if re.search(r"\s", value):
            raise DataError(f'utterance "{utterance.id}": the {what} {value!r} has white space; kaldi cannot hold it')
    path = window.path
    if "\n" in path:
        raise DataError(f"{path!r} has a line end in its name; kaldi cannot hold it, rename the file")
    is_plain_wav = path.lower().endswith(".wav") and not re.search(r"\s", path) and not path.endswith("|")
    pipe = f"ffmpeg -nostdin -v error -i {shlex.quote(path)} -f wav -ar {SAMPLE_RATE_HZ} -ac 1 - |"
    return {
        "recording": recording,
        "wav": path if is_plain_wav else pipe,
        "start": repr(window.start_s),
        "end": repr(window.start_s + window.duration_s),
        "text": " ".join(utterance.text.split("\n")).strip(),
        "speaker": speaker,
    }


# --- reading ---


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. A speaker with the utterance's id, which is how Kaldi says that none is known, is none.

    The split is the folder's name where that is train, dev or test.
    """
    if not os.path.isdir(source):
        raise DataError(f"{source}: no such folder; expected a Kaldi data folder with wav.scp and text")
    wavs = _table(source / "wav.scp")
    tables = {
        key: _table(source / key) if os.path.exists(source / key) else {} for key in ("segments", "utt2spk", CARRIED)
    }
    texts = _table(source / "text")
    segments = tables["segments"] or {key: (line, key) for key, (line, _) in wavs.items()}
    for table in (texts, tables["utt2spk"], tables[CARRIED]):
        for utterance_id, (line, _) in table.items():
            if utterance_id not in segments:
                where = next(key for key, value in (*tables.items(), ("text", texts)) if value is table)
                raise DataError(
                    f'{source / where}:{line}: utterance "{utterance_id}" has no recording; add or delete it'
                )

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        for utterance_id, (line, segment) in segments.items():
            where = source / ("segments" if tables["segments"] else "wav.scp")
            if utterance_id not in texts:
                raise DataError(f'{where}:{line}: utterance "{utterance_id}" has no line in {source / "text"}')
            try:
                row = _segment(segment, bool(tables["segments"]), wavs)
                row["text"] = texts[utterance_id][1]
                row["speaker"] = tables["utt2spk"].get(utterance_id, (0, utterance_id))[1]
                plain = _from_row(utterance_id, row, source)
            except ValueError as error:
                raise DataError(f'{where}:{line} (utterance "{utterance_id}"): {error}') from error
            carried_line, carried = tables[CARRIED].get(utterance_id, (0, ""))
            own = json_cell(f"{source / CARRIED}:{carried_line}", carried) if carried else None
            yield f"{where}:{line}", plain, own

    return collect(
        source / "segments" if tables["segments"] else source / "wav.scp", rows(), options, "wav.scp and text"
    )


def _table(path: Path) -> dict[str, tuple[int, str]]:
    """Key -> (line, the rest of the line). Raises :class:`DataError` with file and line."""
    out: dict[str, tuple[int, str]] = {}
    for line, content in text_lines(path):
        key, _, rest = content.strip().partition(" ")
        key, tab, after = key.partition("\t")
        if key in out:
            raise DataError(f'{path}:{line}: "{key}" stands on line {out[key][0]} already')
        out[key] = (line, f"{after} {rest}".strip() if tab else rest.strip())
    return out


def _segment(segment: str, has_times: bool, wavs: Mapping[str, tuple[int, str]]) -> dict[str, str]:
    fields = segment.split()
    if has_times and len(fields) != 3:
        raise ValueError(f'"{segment}"; expected recording, start and end')
    if fields[0] not in wavs:
        raise ValueError(f'recording "{fields[0]}" is not in wav.scp')
    row = {"wav": wavs[fields[0]][1]}
    return row | ({"start": fields[1], "end": fields[2]} if has_times else {})


def _from_row(utterance_id: str, row: Mapping[str, str], folder: Path) -> Utterance:
    start_s, duration_s = 0.0, None
    if "start" in row:
        try:
            start_s, end_s = float(row["start"]), float(row["end"])
        except ValueError as error:
            raise ValueError(f"the times {row['start']} and {row['end']} are no numbers of seconds") from error
        if end_s != -1:  # Kaldi's way to say: up to the end
            duration_s = round(end_s - start_s, 6)
        if not (0 <= start_s < 1e7 and (duration_s is None or 0 < duration_s < 1e7)):
            raise ValueError(f"the times {row['start']} and {row['end']}; expected an end behind the start")
    speaker = None if row["speaker"] in ("", utterance_id) else row["speaker"]
    split = folder.name if folder.name in ("train", "dev", "test") else None
    audio = AudioRef(_recording(row["wav"]), start_s, duration_s)
    return Utterance(utterance_id, audio, row["text"], split=split, speaker=speaker)


def _recording(wav: str) -> str:
    """The file of a line in wav.scp: the path, or the one audio file that a pipe names. Nothing is run."""
    if not wav.endswith("|"):
        if not wav:
            raise ValueError("its recording has no path in wav.scp")
        return os.path.abspath(wav)
    try:
        words = shlex.split(wav[:-1])
    except ValueError as error:
        raise ValueError(f'cannot read the command "{wav[:80]}" in wav.scp: {error}') from error
    files = list(dict.fromkeys(word for word in words[1:] if word.lower().endswith(SUFFIXES)))
    if len(files) != 1:
        raise ValueError(
            f'the command "{wav[:80]}" in wav.scp names {len(files)} audio files; commands are not run, make a WAV file'
        )
    return os.path.abspath(files[0])
