"""The one table of formats: what ``data import``, ``data export``, their help and docs/formats.md are made from.

Nothing heavy is loaded here: a format's module is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechre.errors import UsageError

if TYPE_CHECKING:
    from speechre.schema import Schema
    from speechre.types import Utterance


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What changes an import; ``Format.import_options`` says which of these a format takes."""

    audio_dirs: tuple[Path, ...] = ()
    audio_output: Path | None = None
    split: str | None = None
    allow_missing_audio: bool = False
    repair_offsets: bool = False
    spoken_tsv: Path | None = None
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What changes an export.

    ``is_plain``: nothing but the format's own fields, so that what it cannot hold is left out. ``audio_output`` is a
    folder for the recordings, named by id. ``audio_as_paths``: name the recordings in place of embedding them.
    """

    is_plain: bool = False
    audio_output: Path | None = None
    audio_as_paths: bool = False
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read, and what a person should know about it, one sentence each."""

    utterances: list[Utterance]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Format:
    """A foreign format. ``lacks`` names what its own fields cannot hold (the parts of ``carry.PARTS``)."""

    name: str
    summary: str
    place: Literal["file", "folder", "file or folder"]
    module: str
    lacks: tuple[str, ...]
    import_options: tuple[str, ...]
    export_options: tuple[str, ...] = ("is_plain",)
    extra: str | None = None

    def read(self, source: Path, options: ImportOptions) -> Imported:
        """The utterances in ``source``.

        Raises :class:`DataError`, naming file and line, on the first fault, :class:`AudioError` on a broken recording
        and :class:`UsageError` on an option that the format has no use for.
        """
        self._check(options, ImportOptions(), self.import_options)
        imported: Imported = import_module(self.module).read(source, options, self.name)
        return imported

    def write(self, target: Path, utterances: Sequence[Utterance], options: ExportOptions) -> list[str]:
        """Write ``utterances`` to ``target`` and say what the format has no place for, one sentence each.

        Raises :class:`DataError` on an utterance that the format cannot hold at all and :class:`UsageError` on an
        option that the format has no use for or a place that cannot be written.
        """
        self._check(options, ExportOptions(), self.export_options)
        notes: list[str] = import_module(self.module).write(target, utterances, options, self.name)
        return notes

    def _check(self, options: object, default: object, allowed: tuple[str, ...]) -> None:
        for name in type(default).__dataclass_fields__:  # type: ignore[attr-defined]
            if getattr(options, name) != getattr(default, name) and name not in allowed:
                takers = ", ".join(f.name for f in FORMATS.values() if name in (*f.import_options, *f.export_options))
                raise UsageError(f"{OPTION_FLAGS[name]} means nothing to {self.name}; it belongs to {takers}")


OPTION_FLAGS = {
    "audio_dirs": "--audio",
    "audio_output": "--audio-output",
    "split": "--split",
    "allow_missing_audio": "--allow-missing-audio",
    "repair_offsets": "--repair-offsets",
    "spoken_tsv": "--spoken-tsv",
    "schema": "--schema",
    "is_plain": "--plain",
    "audio_as_paths": "--audio-as-paths",
}
"""How the command line calls each option."""

_WITH_PATHS = ("audio_dirs", "split", "allow_missing_audio")
_JSON = ("audio_dirs", "split", "allow_missing_audio", "repair_offsets")
_ANNOTATION = ("entities in no relation", "entities", "relations", "sequence")
_ABOUT = ("speakers", "splits", "extra")
_REBEL_LACKS = ("entity types", "entity offsets", "entity ids", "entity times", *_ANNOTATION)
_PACKAGE = "speechre.data.formats"

FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(
            "speechre-json",
            "the JSON of Speech-CoNLL04 and Speech-ReTACRED, recordings in a folder, by id",
            "file",
            f"{_PACKAGE}.speechre_json",
            ("recordings", "audio windows", "entity ids", "entity times", "sequence", *_ABOUT),
            (*_JSON, "spoken_tsv"),
            ("is_plain", "audio_output"),
        ),
        Format(
            "commonvoice-speechre",
            "CommonVoice-SpeechRE: a JSON file a split, recordings as .npy arrays of 16 kHz",
            "file or folder",
            f"{_PACKAGE}.commonvoice",
            ("audio windows", "entity ids", "entity times", "sequence", "utterance sequence", *_ABOUT),
            (*_JSON, "audio_output"),
        ),
        Format(
            "speechre-tsv",
            "the table of LNA-ED and MCAM (fairseq S2T), targets as REBEL strings",
            "file",
            f"{_PACKAGE}.speechre_tsv",
            ("texts", "audio windows", *_REBEL_LACKS, *_ABOUT),
            _WITH_PATHS,
        ),
        Format(
            "rebel",
            "REBEL strings, a JSON object a line: id, context, triplets",
            "file",
            f"{_PACKAGE}.rebel",
            ("recordings", *_REBEL_LACKS, *_ABOUT),
            ("split",),
        ),
        Format(
            "rebel-typed",
            "REBEL strings with entity types (<peop>) in place of <subj> and <obj>",
            "file",
            f"{_PACKAGE}.rebel",
            ("recordings", *_REBEL_LACKS, *_ABOUT),
            ("split", "schema"),
        ),
        Format(
            "spert",
            "the token JSON of SpERT and its CoNLL04: tokens, entities, relations",
            "file",
            f"{_PACKAGE}.spert",
            ("recordings", "texts", "entity offsets", "entity ids", "entity times", *_ANNOTATION, *_ABOUT),
            ("split",),
        ),
        Format(
            "kaldi",
            "a Kaldi data folder: wav.scp, segments, text, utt2spk",
            "folder",
            f"{_PACKAGE}.kaldi",
            ("texts", "audio windows", *_ANNOTATION, *_ABOUT, "utterance sequence"),
            _WITH_PATHS,
        ),
        Format(
            "nemo",
            "a NeMo manifest: a JSON object a line with audio_filepath, duration, text",
            "file",
            f"{_PACKAGE}.nemo",
            ("ids", "audio windows", *_ANNOTATION, "splits", "extra"),
            _WITH_PATHS,
        ),
        Format(
            "lhotse",
            "Lhotse's recordings.jsonl.gz and supervisions.jsonl.gz",
            "folder",
            f"{_PACKAGE}.lhotse",
            ("audio windows", *_ANNOTATION, "splits", "extra"),
            _WITH_PATHS,
        ),
        Format(
            "huggingface",
            "Parquet files of a Hugging Face data set, a file a split, recordings embedded",
            "file or folder",
            f"{_PACKAGE}.huggingface",
            ("audio windows", "splits", "utterance sequence"),
            (*_WITH_PATHS, "audio_output"),
            ("is_plain", "audio_as_paths"),
            "huggingface",
        ),
    )
}
"""Format name -> what it is and how it is read and written."""


def format_named(name: str) -> Format:
    """A row of the table. Raises :class:`UsageError`, naming all formats, on an unknown name."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f'unknown format "{name}"; expected one of {", ".join(FORMATS)}') from None
