"""Predictions to score: one extraction a line, as ``speechre extract`` and any other system that follows
it write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from speechre.data.record import Fault, is_number, record_id
from speechre.data.store import PathLike, parse_json, scan_lines
from speechre.errors import DataError
from speechre.schema import strip_brackets
from speechre.types import Entity, Triplet


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line: the triplets, and what a report shows beside them; ``None`` is what the line does not say."""

    triplets: tuple[Triplet, ...]
    transcript: str | None = None
    duration_s: float | None = None
    model: str | None = None
    relation_probabilities: Mapping[str, float] = field(default_factory=dict)


def read_predictions(path: PathLike) -> dict[str, list[Triplet]]:
    """The triplets of each utterance id, in the file's sequence.

    A line is an object with ``id`` and ``triplets``; each triplet has ``head`` and ``tail`` (objects with
    ``text`` and, optionally, ``type``, ``start_s``, ``end_s``, ``times_of``) and ``relation``, and may have
    ``confidence``, ``votes`` and ``orders``. Other keys are another program's and are not looked at. An empty file
    gives an empty dict: no predictions.

    Raises :class:`DataError`, naming file, line and id, on a malformed line, a duplicate id, and on the error
    row of a failed utterance, which would otherwise count as "found nothing".
    """
    return {utterance_id: triplets for _, utterance_id, _, triplets in _lines(Path(path))}


def read_predictions_for_report(path: PathLike) -> dict[str, Prediction]:
    """As :func:`read_predictions`, with ``transcript``, ``duration_s``, ``model`` and ``relation_probabilities`` where
    a line has them.

    Raises :class:`DataError` as :func:`read_predictions` does, and where one of the four is of another kind.
    """
    path = Path(path)
    out: dict[str, Prediction] = {}
    for line, utterance_id, record, triplets in _lines(path):
        try:
            transcript, model = _text(record, "transcript"), _text(record, "model")
            duration_s = _number(record, "duration_s")
            probabilities = _probabilities(record)
            if duration_s is not None and duration_s < 0:
                raise ValueError(f"duration_s {duration_s!r}; expected seconds from 0 on")
        except ValueError as error:
            _fail(path, line, utterance_id, str(error))
        out[utterance_id] = Prediction(tuple(triplets), transcript, duration_s, model, probabilities)
    return out


def _lines(path: Path) -> Iterator[tuple[int, str, Mapping[str, Any], list[Triplet]]]:
    """Number, id, object and triplets of every line. Raises :class:`DataError` as :func:`read_predictions` does."""
    first_line: dict[str, int] = {}
    for line, content in scan_lines(path):
        if isinstance(content, Fault):
            _fail(path, line, None, content.message)
        try:
            record = parse_json(content)
        except ValueError as error:
            _fail(path, line, None, f"not JSON: {error}")
        utterance_id = record_id(record)
        if utterance_id is None:
            _fail(path, line, None, 'no "id"; expected an object with "id" and "triplets", one a line')
        if utterance_id in first_line:
            _fail(
                path,
                line,
                utterance_id,
                f"its id stands on line {first_line[utterance_id]} already; make it unique",
            )
        if "triplets" not in record and "error" in record:
            _fail(
                path,
                line,
                utterance_id,
                f"the extraction failed ({record['error']!r}); run it again or delete the line",
            )
        triplets = record.get("triplets")
        if not isinstance(triplets, list):
            _fail(path, line, utterance_id, 'no "triplets"; expected a list, empty where nothing was found')
        try:
            found = [_triplet(triplet) for triplet in triplets]
        except ValueError as error:
            _fail(path, line, utterance_id, str(error))
        first_line[utterance_id] = line
        yield line, utterance_id, record, found


def _fail(path: Path, line: int, utterance_id: str | None, message: str) -> NoReturn:
    who = f' (utterance "{utterance_id}")' if utterance_id else ""
    raise DataError(f"{path}:{line}{who}: {message}")


def _triplet(record: object) -> Triplet:
    if not isinstance(record, Mapping):
        raise ValueError(f"triplet {record!r}; expected an object with head, relation and tail")
    relation, orders, votes = record.get("relation"), record.get("orders", []), record.get("votes")
    if not isinstance(relation, str) or not relation:
        raise ValueError(f"triplet with the relation {relation!r}; expected a name")
    _check_bare(relation, "triplet with the relation")
    if not isinstance(orders, list) or not all(isinstance(order, str) for order in orders):
        raise ValueError(f"triplet with the orders {orders!r}; expected a list of names")
    if votes is not None and (isinstance(votes, bool) or not isinstance(votes, int) or votes < 0):
        raise ValueError(f"triplet with {votes!r} votes; expected a whole number")
    confidence = _number(record, "confidence")
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"triplet with the confidence {confidence!r}; expected 0 to 1")
    return Triplet(
        _entity(record.get("head"), "head"),
        relation,
        _entity(record.get("tail"), "tail"),
        confidence,
        votes,
        tuple(orders),
    )


def _entity(record: object, role: str) -> Entity:
    if not isinstance(record, Mapping) or not isinstance(record.get("text"), str):
        raise ValueError(f'triplet with the {role} {record!r}; expected an object with "text" and, optionally, "type"')
    kind = record.get("type")
    if kind is not None and not isinstance(kind, str):
        raise ValueError(f"triplet whose {role} has the type {kind!r}; expected a name or none")
    _check_bare(kind or "", f"triplet whose {role} has the type")
    times_of = record.get("times_of", "entity")
    if times_of not in ("entity", "chunk"):
        raise ValueError(f'triplet whose {role} has times_of {times_of!r}; expected "entity" or "chunk"')
    start_s, end_s = _number(record, "start_s"), _number(record, "end_s")
    return Entity(record["text"], kind or "", start_s=start_s, end_s=end_s, times_of=times_of)


def _check_bare(name: str, what: str) -> None:
    """In brackets, as some systems write types, it would equal no annotated one and every score would be 0."""
    if strip_brackets(name) != name:
        raise ValueError(f'{what} "{name}"; write it without brackets: "{strip_brackets(name)}"')


def _number(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    if not is_number(value):
        raise ValueError(f"{key} {value!r}; expected a number")
    return float(value)


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} {value!r}; expected a text")
    return value


def _probabilities(record: Mapping[str, Any]) -> dict[str, float]:
    value = record.get("relation_probabilities", {})
    is_known = isinstance(value, Mapping) and all(is_number(p) and 0 <= p <= 1 for p in value.values())
    if not is_known:
        raise ValueError(f"relation_probabilities {value!r}; expected an object with numbers from 0 to 1")
    return {name: float(p) for name, p in value.items()}
