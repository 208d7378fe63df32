"""From generations to one answer: parse every beam of every order, then vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from speechre.decode.alignment import TranscriptTimes
from speechre.decode.engine import Decoded
from speechre.metrics import normalize_text, statement_key
from speechre.model.sequence import Sequencer
from speechre.orders import ORDERS
from speechre.parse import Parsed, parse
from speechre.types import Entity, Triplet
from speechre.vote import Hypothesis, VoteRule, vote

UNFINISHED = "did not end within the token limit"
SAME_ENDS = "head and tail are the same"


@dataclass(frozen=True)
class Analysis:
    """All that is known about one stretch of speech.

    ``triplets`` is the vote's answer; ``by_order`` what each order's best generation says alone; ``hypotheses`` every
    beam; ``problems`` what was wrong with each order's best generation (an empty tuple where nothing was); ``read``
    what the text reader believes of the transcript, ``None`` without a reader; ``times`` when the transcript's words
    were said; ``other_transcripts`` what else may have been said, the likeliest first.
    """

    triplets: tuple[Triplet, ...]
    by_order: Mapping[str, tuple[Triplet, ...]]
    hypotheses: Mapping[str, tuple[Hypothesis, ...]]
    problems: Mapping[str, tuple[str, ...]]
    transcript: str | None
    relation_probabilities: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    read: tuple[Triplet, ...] | None = None
    times: TranscriptTimes | None = None
    other_transcripts: tuple[str, ...] = ()


def analyze(
    decoded: Decoded,
    sequencer: Sequencer,
    rule: VoteRule,
    constrained: bool = True,
    read: tuple[Triplet, ...] | None = None,
) -> Analysis:
    """Parse and vote. Never raises on what a model may write.

    Without ``constrained`` (the paper's way) triplets stay as they were written. ``read`` is what a text reader
    believes of the transcript.
    """
    hypotheses: dict[str, tuple[Hypothesis, ...]] = {}
    by_order: dict[str, tuple[Triplet, ...]] = {}
    problems: dict[str, tuple[str, ...]] = {}
    for name, generations in decoded.generations.items():
        parsed = [_parse(generation.ids, name, sequencer, constrained) for generation in generations]
        hypotheses[name] = tuple(
            Hypothesis(one.triplets, generation.log_prob) for one, generation in zip(parsed, generations, strict=True)
        )
        by_order[name] = parsed[0].triplets if parsed else ()
        found = parsed[0].problems if parsed else ("nothing was written",)
        unfinished = (UNFINISHED,) if generations and not generations[0].is_finished else ()
        problems[name] = (*found, *unfinished)
    warnings = () if decoded.is_transcript_finished else ("the transcript did not end; it was cut",)
    return Analysis(
        triplets=vote(hypotheses, rule, read),
        by_order=by_order,
        hypotheses=hypotheses,
        problems=problems,
        transcript=decoded.transcript,
        relation_probabilities=decoded.relation_probabilities,
        warnings=warnings,
        read=read,
        times=decoded.times,
        other_transcripts=tuple(one.text for one in decoded.transcripts if one.text != decoded.transcript),
    )


def _parse(ids: Sequence[int], order: str, sequencer: Sequencer, constrained: bool) -> Parsed:
    """Triplets with trimmed entities, each once, and without those whose head and tail are the same text.

    A relation is between two things, so "(AP) OrgBased_In (AP)" is never right; it comes from copying one span twice.
    """
    parsed = parse(sequencer.pieces(ids), ORDERS[order], sequencer.schema)
    if not constrained:  # as written: the paper's way has no such rules
        return parsed
    trimmed = [replace(t, head=_trimmed(t.head), tail=_trimmed(t.tail)) for t in parsed.triplets]
    kept = dict.fromkeys(t for t in trimmed if normalize_text(t.head.text) != normalize_text(t.tail.text))
    problems = (SAME_ENDS,) * (len(trimmed) - sum(t in kept for t in trimmed))
    return Parsed(tuple(kept), (*parsed.problems, *problems))


def _trimmed(entity: Entity) -> Entity:
    """Without a comma at the end: Whisper has tokens such as ``.,``, which a copied entity cannot leave half behind."""
    return replace(entity, text=entity.text.strip(" ,;:") or entity.text)


def is_said_again(triplet: Triplet, earlier: Triplet) -> bool:
    """Whether two triplets are one telling of one statement, which two chunks heard: the same, at the same time."""
    if statement_key(triplet) != statement_key(earlier):
        return False
    if None in (triplet.start_s, triplet.end_s, earlier.start_s, earlier.end_s):
        return True
    return triplet.start_s < earlier.end_s and earlier.start_s < triplet.end_s  # type: ignore[operator]


def merge_analyses(parts: Sequence[Analysis]) -> Analysis:
    """One recording from its chunks: transcripts joined, triplets by falling confidence.

    What the overlap of two chunks told twice is told once, where its confidence is higher; what was said again later
    stays, as evidence of its own. Entities' characters become those of the whole transcript.
    """
    if len(parts) == 1:
        return parts[0]
    orders = parts[0].by_order
    told: dict[tuple[str, str, str], list[Triplet]] = {}
    transcript = None if all(part.transcript is None for part in parts) else ""
    for part in parts:
        if part.transcript:
            transcript = f"{transcript} {part.transcript}" if transcript else part.transcript
        num_before = len(transcript or "") - len(part.transcript or "")
        for triplet in part.triplets:
            head, tail = (_moved(entity, num_before) for entity in (triplet.head, triplet.tail))
            _tell(replace(triplet, head=head, tail=tail), told.setdefault(statement_key(triplet), []))
    tellings = (triplet for several in told.values() for triplet in several)
    return Analysis(
        triplets=tuple(sorted(tellings, key=lambda t: -(t.confidence or 0))),
        by_order={o: tuple(dict.fromkeys(t for part in parts for t in part.by_order[o])) for o in orders},
        hypotheses={},  # scores of different chunks cannot be compared
        problems={o: tuple(p for part in parts for p in part.problems[o]) for o in orders},
        transcript=transcript,
        relation_probabilities={
            name: max(part.relation_probabilities[name] for part in parts) for name in parts[0].relation_probabilities
        },
        warnings=tuple(f"chunk {i} of {len(parts)}: {w}" for i, part in enumerate(parts, 1) for w in part.warnings),
    )


def _tell(triplet: Triplet, tellings: list[Triplet]) -> None:
    """Add one to the tellings of its statement, unless it is one of them; of the two the surer stays."""
    for index, earlier in enumerate(tellings):
        if is_said_again(triplet, earlier):
            if (triplet.confidence or 0) > (earlier.confidence or 0):
                tellings[index] = triplet
            return
    tellings.append(triplet)


def _moved(entity: Entity, num_chars: int) -> Entity:
    """The entity where ``num_chars`` of other text come first."""
    if entity.start is None or entity.end is None:
        return entity
    return replace(entity, start=entity.start + num_chars, end=entity.end + num_chars)
