"""Every fault of a manifest at once, each with a stable code that scripts can rely on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.data.audio_findings import audio_findings
from speechre.data.findings import Found, Severity, annotation_findings, declared_duration_s, text_findings
from speechre.data.manifest_findings import ManifestFindings
from speechre.data.record import record_id
from speechre.data.store import PathLike, scan_records
from speechre.schema import Schema

if TYPE_CHECKING:
    from speechre.data.language import LanguageCheck


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. ``line`` counts from 1 and is ``None`` for the file as a whole."""

    code: str
    severity: Severity
    file: str
    line: int | None
    utterance_id: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        who = f' (utterance "{self.utterance_id}")' if self.utterance_id else ""
        return f"{place}{who}: {self.severity} {self.code}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def validate_manifest(
    path: PathLike, schema: Schema | None = None, *, check_audio: bool = True, language: str | None = None
) -> list[Issue]:
    """Everything that is wrong with a manifest, in the sequence of its lines; an empty list when nothing is.

    Without a ``schema``, types and argument pairs are not checked; without ``check_audio``, no recording is
    opened; with a ``language`` (an ISO 639-1 code), texts that are clearly in another are found. Never raises on
    content; raises :class:`DataError` when the file itself cannot be read and :class:`UsageError` on an unknown
    language and without the package that tells languages.

    Errors: the codes of ``data.record``, ``duplicate-id``, ``unknown-entity-type``, ``unknown-relation-type``,
    ``pair-not-allowed``, ``missing-audio``, ``unreadable-audio``, ``empty-manifest``. Warnings: ``empty-text``,
    ``odd-characters``, ``language-mix``, ``edge-space``, ``spaced-punctuation``, ``no-span``, ``partial-word``,
    ``duplicate-entity``, ``two-types``, ``duplicate-triplet``, ``both-directions``, ``self-relation``, ``no-audio``,
    ``long-audio``, ``silent-audio``, ``clipped-audio``, ``speech-rate``, ``repeated-utterance``,
    ``contradicting-triplets``.
    docs/data.md says what each means and what to do.
    """
    path = Path(path)
    tell_language = None
    if language is not None:
        from speechre.data.language import LanguageCheck

        tell_language = LanguageCheck(language)
    issues: list[Issue] = []
    together = ManifestFindings()
    is_empty = True
    for line, record, faults in scan_records(path):
        is_empty = False
        place = (line, record_id(record))
        found: list[Found] = [(fault.code, "error", fault.message) for fault in faults]
        if isinstance(record, Mapping):
            found += together.add_id(place)
            found += text_findings(record)
            found += _language_findings(record, tell_language)
            found += annotation_findings(record, schema)
            duration_s = declared_duration_s(record)
            if check_audio:
                heard, length_s = audio_findings(record.get("audio"), path.parent)
                found += heard
                duration_s = length_s or duration_s
            together.add(place, record, duration_s)
        issues += [Issue(*one[:2], str(path), *place, one[2]) for one in found]
    if is_empty:
        issues.append(Issue("empty-manifest", "error", str(path), None, None, "the manifest holds no utterance"))
    issues += [Issue(*one[:2], str(path), *place, one[2]) for place, one in together.findings()]
    return sorted(issues, key=lambda issue: issue.line or 0)


def _language_findings(record: Mapping[str, Any], tell_language: LanguageCheck | None) -> Iterator[Found]:
    text = record.get("text")
    if tell_language is None or not isinstance(text, str):
        return
    found = tell_language.other_language(text)
    if found is not None:
        other, odds = found
        yield (
            "language-mix",
            "warning",
            f'the text looks like "{other}", not "{tell_language.language}" ({odds:.0f} times likelier): "{text}"',
        )
