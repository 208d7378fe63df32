"""What can be wrong with the sound of one utterance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speechre.audio import read_audio
from speechre.data.findings import Found
from speechre.data.record import is_number
from speechre.errors import AudioError
from speechre.samples import SAMPLE_RATE_HZ, Samples

MAX_UTTERANCE_S = 30.0
"""What one pass of the encoder hears."""
SILENT_PEAK = 0.001
"""-60 dB of full scale: below this, nobody speaks."""
CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 0.001


def audio_findings(audio: object, folder: Path) -> tuple[list[Found], float | None]:
    """The findings about a record's ``audio`` and, where it could be read, its length in seconds. Decodes the sound."""
    if audio is None:
        reason = "no audio is given; this utterance can be scored, but neither trained on nor extracted"
        return [("no-audio", "warning", reason)], None
    if not isinstance(audio, Mapping) or not isinstance(audio.get("path"), str) or not audio["path"]:
        return [], None  # reported as a fault of the record
    path = folder / audio["path"]
    start_s, duration_s = audio.get("start_s", 0.0), audio.get("duration_s")
    if not is_number(start_s) or not (duration_s is None or is_number(duration_s)):
        return [], None
    try:
        if not path.exists():
            return [("missing-audio", "error", f"{path}: no such file")], None
        sound = read_audio(path, start_s=start_s, duration_s=duration_s)
    except (AudioError, OSError, ValueError) as error:  # a path that no system call takes
        return [("unreadable-audio", "error", str(error))], None
    return _sound_findings(path, sound), len(sound) / SAMPLE_RATE_HZ


def _sound_findings(path: Path, sound: Samples) -> list[Found]:
    found: list[Found] = []
    length_s = len(sound) / SAMPLE_RATE_HZ
    if length_s > MAX_UTTERANCE_S:
        reason = f"{path}: {length_s:.1f} s; the model hears {MAX_UTTERANCE_S:g} s at once"
        found.append(("long-audio", "warning", reason))
    level = np.abs(sound)
    peak = float(level.max())
    if peak < SILENT_PEAK:
        found.append(("silent-audio", "warning", f"{path}: the peak is {peak:.5f}; there is nothing to hear"))
    share = float(np.mean(level >= CLIPPED_LEVEL))
    if share > CLIPPED_SHARE:
        reason = f"{path}: {share:.1%} of the samples are at full scale; record it less loud"
        found.append(("clipped-audio", "warning", reason))
    return found
