"""From a Common Voice release to the recordings worth annotating: those whose sentence may hold a relation.

Every row of the table ends in one of two places: the manifest, or the table of what was dropped, with the first reason
that applies in the sequence of ``REASONS``. Each rule looks at the row itself and at the rows before it, never at those
behind, so neither chunks nor processes nor interruptions change the result.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, permutations, product
from pathlib import Path
from typing import Any, TypeAlias

from speechre.audio import audio_duration_s
from speechre.data.candidate_ledger import Ledger, Progress, digest_of, discard_ledger
from speechre.data.common_voice import BadRow, Release, Row, SplitTable, iter_durations
from speechre.data.entity_tagger import TaggedSpan, Tagger
from speechre.data.store import PathLike, manifest_line, write_atomically
from speechre.errors import AudioError, UsageError
from speechre.metrics import normalize_text
from speechre.schema import Schema
from speechre.types import AudioRef, Utterance

REASONS: Mapping[str, str] = {
    "malformed-row": "the line does not fit the header, or a field of it says nothing",
    "duplicate-clip": "the recording was kept already, from an earlier line",
    "down-voted": "more listeners than allowed said that the recording does not match its sentence",
    "no-words": "the sentence has no letter or digit",
    "duplicate-sentence": "the sentence was kept already, in another recording",
    "speaker-full": "the speaker has as many kept recordings as allowed",
    "few-entities": "fewer than two entities of the schema's types were found",
    "no-allowed-pair": "no relation of the schema can hold between any two of the entities found",
    "missing-audio": "the recording is not in clips/",
    "unreadable-audio": "the recording cannot be decoded",
    "too-long": "the recording is longer than allowed",
}
"""Why a row is dropped. The sequence is that of the checks."""
_SPLITS = ("train", "dev", "test")
CHUNK_ROWS = 2048
"""Rows that are settled together: what an interruption costs at most."""
_DROPPED_HEADER = "line\tclip\treason\tdetail\n"

OnProgress: TypeAlias = Callable[[Progress, int], None]


@dataclass(frozen=True)
class Rules:
    """What a row must be like. ``max_per_speaker`` 0: no limit; without ``check_audio`` no recording is looked at."""

    max_down_votes: int = 0
    max_per_speaker: int = 50
    max_duration_s: float = 30.0
    check_audio: bool = True


@dataclass(frozen=True)
class Candidates:
    """What a search came to."""

    num_rows: int
    num_kept: int
    dropped: Mapping[str, int]
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; reasons in the sequence of ``REASONS``."""
        return {
            "num_rows": self.num_rows,
            "num_kept": self.num_kept,
            "num_dropped": sum(self.dropped.values()),
            "dropped": {code: self.dropped.get(code, 0) for code in REASONS},
            "settings": dict(self.settings),
        }


@dataclass(frozen=True)
class Places:
    """Where a search writes: the manifest, and beside it the table of what was dropped and the report."""

    manifest: Path
    dropped: Path = field(init=False)
    report: Path = field(init=False)
    work: Path = field(init=False)
    """What an interrupted search leaves, to go on from."""

    def __post_init__(self) -> None:
        stem = self.manifest.name.removesuffix(".jsonl")
        for name, file in (
            ("dropped", f"{stem}.dropped.tsv"),
            ("report", f"{stem}.report.json"),
            ("work", f".{stem}.work"),
        ):
            object.__setattr__(self, name, self.manifest.with_name(file))


def find_candidates(
    release: Release,
    schema: Schema,
    tagger: Tagger,
    output: PathLike,
    rules: Rules | None = None,
    *,
    restart: bool = False,
    on_progress: OnProgress = lambda progress, num_bytes: None,
) -> Candidates:
    """Search ``release`` and write the manifest ``output``, the table of what was dropped and the report.

    A search that was interrupted goes on where it was and ends with the same files. Raises :class:`DataError` if the
    release's tables cannot be read, :class:`UsageError` if ``output`` cannot be written or an unfinished search with
    other settings lies there (``restart`` discards it).
    """
    places, rules = Places(Path(output)), rules or Rules()
    table = SplitTable(release.table)
    settings = _settings(release, schema, tagger, rules)
    try:
        if restart:
            discard_ledger(places.work)
        with Ledger(places.work, settings) as ledger:
            if not ledger.progress.is_done:
                _Search(release, table, schema, tagger, rules, places, ledger).run(on_progress)
            found = _result(ledger, settings)
            write_atomically(places.report, json.dumps(found.to_dict(), ensure_ascii=False, indent=2) + "\n")
            ledger.publish(places.manifest, places.dropped)
    except sqlite3.Error as error:
        raise UsageError(f"{places.work}: {error}; make room, or start again with --restart") from error
    except OSError as error:
        where = error.filename or output
        raise UsageError(f"{where}: cannot be read or written: {error.strerror or error}") from error
    return found


def _settings(release: Release, schema: Schema, tagger: Tagger, rules: Rules) -> dict[str, Any]:
    """All that the result depends on."""
    return {
        "release": str(release.folder.resolve()),
        "split": release.split,
        "table_bytes": release.table.stat().st_size,
        "recognizer": tagger.name,
        "schema": schema.to_dict(),
        **asdict(rules),
    }


def _result(ledger: Ledger, settings: Mapping[str, Any]) -> Candidates:
    num_rows = ledger.progress.line - 1
    assert num_rows == ledger.progress.kept + sum(ledger.reasons.values())
    # The whole schema is what the search compares; its name is what people read.
    readable = {**settings, "schema": settings["schema"]["name"]}
    return Candidates(num_rows, ledger.progress.kept, dict(ledger.reasons), readable)


@dataclass(frozen=True)
class Found:
    """The entities of a sentence as types of the schema, and why they are not enough ("" if they are)."""

    entities: tuple[Mapping[str, Any], ...]
    reason: str

    def __str__(self) -> str:
        return ", ".join(f"{entity['text']} ({entity['type']})" for entity in self.entities)


class Filter:
    """Says of a sentence's entities whether some relation of ``schema`` can hold between two of them."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        types = schema.entity_types
        self._related = {pair for pair in product(types, types) if schema.relations_between(*pair)}

    def __call__(self, text: str, spans: Sequence[TaggedSpan]) -> Found:
        """Two entities count as two if their texts differ; each may have any type that its label may stand for."""
        entities: list[dict[str, Any]] = []
        types_of: dict[str, dict[str, None]] = {}
        for span in spans:
            types = self.schema.types_of_ner_label(span.label)
            if not types or not (name := normalize_text(text[span.start : span.end])):
                continue
            entity = {"text": text[span.start : span.end], "type": types[0], "start": span.start, "end": span.end}
            entities.append({**entity, "label": span.label, **({} if span.score is None else {"score": span.score})})
            types_of.setdefault(name, {}).update(dict.fromkeys(types))
        if len(types_of) < 2:
            return Found(tuple(entities), "few-entities")
        pairs = (pair for first, second in permutations(types_of.values(), 2) for pair in product(first, second))
        return Found(tuple(entities), "" if any(pair in self._related for pair in pairs) else "no-allowed-pair")


class _Search:
    """One pass over the table, in chunks that are settled one by one."""

    def __init__(
        self,
        release: Release,
        table: SplitTable,
        schema: Schema,
        tagger: Tagger,
        rules: Rules,
        places: Places,
        ledger: Ledger,
    ) -> None:
        self.release = release
        self.table = table
        self.schema = schema
        self.filter = Filter(schema)
        self.tagger = tagger
        self.rules = rules
        self.places = places
        self.ledger = ledger

    def run(self, on_progress: OnProgress) -> None:
        ledger, progress = self.ledger, self.ledger.progress
        if not progress.dropped_bytes:
            ledger.write_dropped(_DROPPED_HEADER)
        if self.release.durations.is_file() and not ledger.has_durations():
            ledger.note_durations(iter_durations(self.release.durations))
        num_bytes = self.release.table.stat().st_size
        lines = self.table.lines(progress.offset)
        while chunk := list(islice(lines, CHUNK_ROWS)):
            rows = [self.table.row(progress.line + index, raw) for index, (_, raw) in enumerate(chunk, start=1)]
            self._settle_rows(rows)
            ledger.settle(chunk[-1][0], progress.line + len(chunk))
            on_progress(progress, num_bytes)
        ledger.settle(progress.offset, progress.line, is_done=True)

    def _settle_rows(self, rows: Sequence[Row | BadRow]) -> None:
        sentences = {row.line: normalize_text(row.sentence) for row in rows if isinstance(row, Row)}
        digests = {line: digest_of(name) if name else b"" for line, name in sentences.items()}
        found = self._tagged([row for row in rows if isinstance(row, Row)], digests)
        for row in rows:
            if isinstance(row, BadRow):
                reason, detail = "malformed-row", row.reason
            else:
                reason, detail = self._why_not(row, digests[row.line], found)
            if reason:
                cells = (str(row.line), row.clip, reason, detail)
                self.ledger.drop("\t".join(map(_cell, cells)) + "\n", reason)

    def _tagged(self, rows: Sequence[Row], digests: Mapping[int, bytes]) -> dict[str, Found]:
        """The entities of every sentence that may need them: most rows are dropped by cheaper rules.

        What keeps a row from being tagged here only ever gets worse, so the row is dropped when its turn comes.
        """
        texts = {
            row.sentence: None
            for row in rows
            if not self._first_fault(row, digests[row.line])[0] and self.ledger.sentence(digests[row.line]) is None
        }
        spans = self.tagger.tag(list(texts))
        return {text: self.filter(text, found) for text, found in zip(texts, spans, strict=True)}

    def _first_fault(self, row: Row, digest: bytes) -> tuple[str, str]:
        """What is wrong with a row whatever its entities are: reason and detail, or two empty strings."""
        rules, ledger = self.rules, self.ledger
        line = ledger.line_of_clip(row.id)
        if line is not None:
            return "duplicate-clip", f"line {line}"
        if row.down_votes > rules.max_down_votes:
            return "down-voted", f"{row.up_votes} up, {row.down_votes} down"
        if not digest:
            return "no-words", row.sentence
        known = ledger.sentence(digest)
        if known is not None and not known[0]:
            return "duplicate-sentence", f"line {known[1]}"
        if rules.max_per_speaker and ledger.num_of_speaker(row.speaker) >= rules.max_per_speaker:
            return "speaker-full", row.speaker
        return "", ""

    def _why_not(self, row: Row, digest: bytes, found: Mapping[str, Found]) -> tuple[str, str]:
        """Keep the row, or say why not."""
        reason, detail = self._first_fault(row, digest)
        if reason:
            return reason, detail
        known = self.ledger.sentence(digest)
        if known is not None:
            return known[0], f"as line {known[1]}"
        entities = found[row.sentence]
        if entities.reason:
            self.ledger.note_sentence(digest, entities.reason, row.line)
            return entities.reason, str(entities)
        reason, detail, duration_s = self._sound(row)
        if reason:
            return reason, detail
        self.ledger.note_sentence(digest, "", row.line)
        utterance = self._utterance(row, entities, duration_s)
        self.ledger.keep(manifest_line(utterance, self.places.manifest), row.id, row.speaker, row.line)
        return "", ""

    def _sound(self, row: Row) -> tuple[str, str, float | None]:
        """What is wrong with the recording (reason and detail), and its length in seconds if it was looked at.

        The release's own table of durations counts the silence that MP3 encoders put at both ends, which decoders take
        away again: a window of that length could reach beyond the sound. So a manifest's length is the file's.
        """
        longest_s = self.rules.max_duration_s
        stated_s = self.ledger.duration_s(row.clip)
        if stated_s is not None and stated_s > longest_s:
            return "too-long", f"{stated_s:.1f} s", None
        if not self.rules.check_audio:
            return "", "", None
        path = self.release.clip(row.clip)
        if not path.is_file():
            return "missing-audio", str(path), None
        try:
            duration_s = audio_duration_s(path)
        except AudioError as error:
            return "unreadable-audio", str(error), None
        if duration_s > longest_s:
            return "too-long", f"{duration_s:.1f} s", None
        return "", "", duration_s

    def _utterance(self, row: Row, found: Found, duration_s: float | None) -> Utterance:
        about: dict[str, Any] = {"table": self.release.split, "up_votes": row.up_votes, "down_votes": row.down_votes}
        stated_s = self.ledger.duration_s(row.clip)
        if stated_s is not None:
            about["duration_s"] = stated_s
        return Utterance(
            id=row.id,
            audio=AudioRef(str(self.release.clip(row.clip)), 0.0, None if duration_s is None else round(duration_s, 3)),
            text=row.sentence,
            split=self.release.split if self.release.split in _SPLITS else None,
            speaker=row.speaker,
            extra={
                "common_voice": {**about, **row.other},
                "ner": {"model": self.tagger.name, "schema": self.schema.name, "entities": list(found.entities)},
            },
        )


def _cell(text: str) -> str:
    """Text in one cell of a tab-separated table."""
    return " ".join(text.split())
