"""Small releases in Common Voice's layout, by hand or from scripts/make-common-voice, and a recognizer of words."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechre.data.entity_tagger import TaggedSpan

SCRIPTS = Path(__file__).parents[1] / "scripts"
COLUMNS = (
    *("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes"),
    *("age", "gender", "accents", "variant", "locale", "segment"),
)
NAMES: Mapping[str, str] = {
    **dict.fromkeys(("Ann Lee", "Bo Ek", "Cy Orr"), "PERSON"),
    **dict.fromkeys(("Oslo", "Rome", "Paris"), "GPE"),
    **dict.fromkeys(("Acme", "Bolt Bank"), "ORG"),
    **dict.fromkeys(("Nokia phone", "Fiat"), "PRODUCT"),
    **dict.fromkeys(("Monday", "Friday"), "DATE"),
}


class WordTagger:
    """Finds the words of ``NAMES``, and remembers what it was asked."""

    name = "words"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        self.asked += texts
        return [
            sorted(
                (
                    TaggedSpan(label, start, start + len(name))
                    for name, label in NAMES.items()
                    for start in range(len(text))
                    if text.startswith(name, start)
                ),
                key=lambda span: span.start,
            )
            for text in texts
        ]


def row(number: int, sentence: str, **changes: Any) -> dict[str, str]:
    """A row of the 2024 layout, by a speaker of its own."""
    values = dict.fromkeys(COLUMNS, "") | {
        "client_id": f"speaker-{number}",
        "path": f"common_voice_en_{number}.mp3",
        "sentence_id": f"sentence-{number}",
        "sentence": sentence,
        "up_votes": "2",
        "down_votes": "0",
        "locale": "en",
    }
    return values | {name: str(value) for name, value in changes.items()}


def write_release(
    folder: Path, rows: Sequence[Mapping[str, str] | str], *, columns: Sequence[str] = COLUMNS, sounds: bool = True
) -> Path:
    """validated.tsv, clips/ (tones of 0.3 s) and clip_durations.tsv; a row that is a string is a line as it is."""
    lines = ["\t".join(columns)]
    lines += [one if isinstance(one, str) else "\t".join(one[name] for name in columns) for one in rows]
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    (folder / "validated.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    paths = [one["path"] for one in rows if not isinstance(one, str)]
    if sounds:
        for path in paths:
            write_mp3(clips / path)
        durations = "".join(f"{path}\t324\n" for path in dict.fromkeys(paths))
        (folder / "clip_durations.tsv").write_text(f"clip\tduration[ms]\n{durations}", encoding="utf-8")
    return folder


def write_mp3(path: Path, duration_s: float = 0.3) -> Path:
    """A real MP3 at 32 kHz, as Common Voice has them."""
    time_s = np.arange(round(duration_s * 32_000)) / 32_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * time_s), 32_000, format="MP3", subtype="MPEG_LAYER_III")
    return path


def load_script(name: str) -> Any:
    """A script of scripts/ as a module; they have no ``.py`` at their end."""
    loader = SourceFileLoader(name.replace("-", "_"), str(SCRIPTS / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look their module up there
    loader.exec_module(module)
    return module


def make_release(folder: Path, rows: int, recordings: int = 3, release: int = 17, seed: int = 1) -> Path:
    """What scripts/make-common-voice makes."""
    load_script("make-common-voice").make_release(folder, rows, recordings, None, release, seed)
    return folder
