"""Where Label Studio finds the recordings: its own server's local files, another server, or pieces cut for it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from speechre.audio import audio_duration_s, read_audio
from speechre.data.formats.recordings import write_recordings
from speechre.data.store import PathLike
from speechre.errors import AudioError, DataError, UsageError
from speechre.samples import SAMPLE_RATE_HZ
from speechre.types import AudioRef, Utterance

LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio serves from its document root (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT)."""

# A manifest's durations are rounded, and so are those of compressed files.
_SAME_LENGTH_S = 0.1


def audio_urls(utterances: Sequence[Utterance], document_root: PathLike, prefix: str = LOCAL_FILES) -> dict[str, str]:
    """The URL of each utterance's recording, by utterance id: ``prefix`` and the path under ``document_root``.

    Utterances without audio have an empty URL. Raises :class:`DataError` where a recording is missing or is longer
    than the utterance (the player plays whole files), :class:`UsageError` where one lies outside the root.
    """
    root = Path(document_root).resolve()
    out: dict[str, str] = {}
    pieces: list[str] = []
    for utterance in utterances:
        audio = utterance.audio
        if audio is None:
            out[utterance.id] = ""
            continue
        path = Path(audio.path)
        if not os.path.isfile(path):
            raise DataError(f'utterance "{utterance.id}": {path}: no such recording; people could not listen to it')
        is_piece = audio.start_s > 0
        if audio.duration_s is not None and not is_piece:
            is_piece = audio_duration_s(path) - audio.duration_s > _SAME_LENGTH_S
        if is_piece:
            pieces.append(utterance.id)
        relative = os.path.relpath(path.resolve(), root)
        if relative.startswith(os.pardir):
            raise UsageError(
                f'utterance "{utterance.id}": {path} does not lie under {root}, which Label Studio would serve; '
                "give a folder above all recordings (--audio-root), or have copies made (--cut-audio)"
            )
        out[utterance.id] = prefix + quote(Path(relative).as_posix())
    if pieces:
        raise DataError(
            f'utterance "{pieces[0]}" is a piece of a longer recording ({len(pieces)} such utterances), and Label '
            "Studio plays whole files; have the pieces cut out (--cut-audio)"
        )
    return out


def cut_recordings(utterances: Sequence[Utterance], folder: PathLike) -> Mapping[str, Path]:
    """Writes each utterance's sound as a FLAC file (16 kHz, mono) and returns the files by utterance id.

    Files are numbered in the sequence of the utterances, as ids need not be names of files. Raises
    :class:`DataError` naming the utterance whose recording cannot be read, :class:`UsageError` when the folder cannot
    be written, or, before anything is written, when it holds other recordings of these names: those of another project,
    whose tasks would play a wrong sound, or sources that are still to be read.
    """
    out: dict[str, Path] = {}
    recordings: list[tuple[Path, Callable[[], bytes]]] = []
    for index, utterance in enumerate(utterances):
        if utterance.audio is not None:
            out[utterance.id] = Path(folder) / f"{index:06d}.flac"
            recordings.append((out[utterance.id], partial(_flac_of, utterance.id, utterance.audio)))
    write_recordings(recordings, "the project")
    return out


def _flac_of(utterance_id: str, audio: AudioRef) -> bytes:
    import soundfile

    try:
        sound = read_audio(audio.path, start_s=audio.start_s, duration_s=audio.duration_s)
    except AudioError as error:
        raise DataError(f'utterance "{utterance_id}": {error}') from error
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, SAMPLE_RATE_HZ, format="FLAC")  # clips, where encode_flac would refuse
    return buffer.getvalue()
