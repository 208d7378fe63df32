"""Utterances that are hard to carry through an annotation tool, for the tests of Label Studio."""

from __future__ import annotations

from pathlib import Path

from speechre.types import AudioRef, Entity, Relation, Utterance


def entity(text: str, word: str, kind: str, entity_id: str, nth: int = 0) -> Entity:
    """``word`` where it stands the ``nth`` time in ``text``."""
    start = -1
    for _ in range(nth + 1):
        start = text.index(word, start + 1)
    return Entity(word, kind, entity_id, start, start + len(word))


def hard_utterances(folder: Path | None = None) -> list[Utterance]:
    """Seven utterances; with ``folder`` their recordings are meant to be there, as ``audio/ID.wav``."""

    def made(
        name: str, text: str, entities: tuple[Entity, ...] = (), relations: tuple[Relation, ...] = (), **rest: object
    ) -> Utterance:
        audio = None if folder is None else AudioRef(str(folder / "audio" / f"{name}.wav"), 0.0, 0.6)
        return Utterance(name, audio, text, entities, relations, **rest)  # type: ignore[arg-type]

    plain = "Ann Lee lives in Oslo and works for Acme."
    emoji = "👩🏽‍🚀 & “Zoë” <b>met</b> Bo Ek 🎉 in Umeå,\n  then flew   to Rio."
    twice = "Oslo is not the other Oslo, says Ann Lee."
    nested = "The University of Oslo is in Oslo."
    return [
        made(
            "plain",
            plain,
            (
                entity(plain, "Ann Lee", "Peop", "e0"),
                entity(plain, "Oslo", "Loc", "e1"),
                entity(plain, "Acme", "Org", "e2"),
            ),
            (Relation("e0", "e2", "Work_For"), Relation("e0", "e1", "Live_In")),
            split="train",
            speaker="s1",
            extra={"source": {"corpus": "own", "line": 7}, "checked": None},
        ),
        made(
            "emoji",
            emoji,
            (
                entity(emoji, "Rio", "Loc", "T#2"),
                entity(emoji, "Bo Ek", "Peop", "T#1"),
                entity(emoji, "Umeå", "Loc", "b"),
            ),
            (Relation("T#1", "b", "Live_In"),),
        ),
        # Several types between the same two, one of them twice, in both directions and to itself.
        made(
            "many",
            plain,
            (entity(plain, "Ann Lee", "Peop", "e7"), entity(plain, "Oslo", "Loc", "e3")),
            (
                Relation("e7", "e3", "Live_In"),
                Relation("e7", "e3", "Kill"),
                Relation("e3", "e7", "Live_In"),
                Relation("e7", "e3", "Live_In"),
                Relation("e7", "e7", "Kill"),
            ),
        ),
        # Entities without a span: one can be found in the text, one could be either, one is not there.
        made(
            "unplaced",
            twice,
            (
                Entity("Ann Lee", "Peop", "e0", start_s=2.0, end_s=2.5),
                Entity("Oslo", "Loc", "e1"),
                Entity("NRK", "Org", "e2"),
            ),
            (Relation("e0", "e1", "Live_In"), Relation("e0", "e2", "Work_For")),
        ),
        made(
            "nested",
            nested,
            (
                entity(nested, "University of Oslo", "Org", "e0"),
                entity(nested, "Oslo", "Loc", "e1"),
                entity(nested, "Oslo", "Loc", "e2", nth=1),
                entity(nested, "Oslo", "Other", "e3", nth=1),
            ),
            (Relation("e0", "e2", "OrgBased_In"),),
        ),
        made("nothing", "It rained all day."),
        made("silence", ""),
    ]
