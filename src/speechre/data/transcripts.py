"""What was heard: one ``{"id", "transcript"}`` a line, as ``speechre extract`` and other recognizers write it."""

from __future__ import annotations

from pathlib import Path

from speechre.data.record import Fault, record_id
from speechre.data.store import PathLike, parse_json, scan_lines
from speechre.errors import DataError


def read_transcripts(path: PathLike) -> dict[str, str]:
    """The transcript of each utterance id, in the file's sequence; keys other than ``id`` and ``transcript`` are
    another program's.

    Raises :class:`DataError`, naming file, line and id, on a malformed line, a duplicate id and a missing transcript.
    """
    path = Path(path)
    out: dict[str, str] = {}
    for line, content in scan_lines(path):
        if isinstance(content, Fault):
            raise DataError(f"{path}:{line}: {content.message}")
        try:
            record = parse_json(content)
        except ValueError as error:
            raise DataError(f"{path}:{line}: not JSON: {error}") from error
        utterance_id = record_id(record)
        if utterance_id is None:
            raise DataError(f'{path}:{line}: no "id"; expected an object with "id" and "transcript", one a line')
        transcript = record.get("transcript")
        if not isinstance(transcript, str):
            raise DataError(
                f'{path}:{line} (utterance "{utterance_id}"): the transcript is {transcript!r}; expected a text'
            )
        if utterance_id in out:
            raise DataError(f'{path}:{line} (utterance "{utterance_id}"): its id stands twice; make it unique')
        out[utterance_id] = transcript
    return out
