"""Extractions for graph tests: a plain pair that tells of the same people, and one made to break whatever can break."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

from speechre.types import Entity, Extraction, Triplet

WHO = "World Health Organization"


def extraction(
    extraction_id: str, *triplets: Triplet, transcript: str = "", source: str = "", duration_s: float = 10.0
) -> Extraction:
    """An extraction of a model "tiny@1"."""
    return Extraction(
        extraction_id, source or f"{extraction_id}.wav", duration_s, "tiny@1", triplets, transcript or None, {}, ()
    )


def person(text: str, start_s: float | None = None, end_s: float | None = None) -> Entity:
    return Entity(text, "Peop", start_s=start_s, end_s=end_s)


def org(text: str, start_s: float | None = None, end_s: float | None = None) -> Entity:
    return Entity(text, "Org", start_s=start_s, end_s=end_s)


def place(text: str, start_s: float | None = None, end_s: float | None = None) -> Entity:
    return Entity(text, "Loc", start_s=start_s, end_s=end_s)


TALKS = (
    extraction(
        "monday",
        Triplet(person("Helen Parker", 0.5, 1.25), "Work_For", org(WHO, 2.0, 3.5), 0.75, 5, ("hrt", "htr")),
        Triplet(person("Parker"), "Live_In", place("Geneva"), 0.5, 0),
        transcript=f"Helen Parker works for the {WHO}. Parker lives in Geneva.",
    ),
    extraction(
        "tuesday",
        Triplet(person("Dr. Helen Parker", 4.0, 5.0), "Work_For", org("WHO", 5.5, 6.0), 0.25, 1, ("trh",)),
        transcript="Dr. Helen Parker of the WHO said no.",
    ),
)
"""Four entities; one edge with two pieces of evidence."""


class Told:
    """In place of an extractor: says :data:`TALKS`, whatever it hears."""

    engine = SimpleNamespace(orders=("hrt",))

    def extract_many(
        self, sources: Iterable[Path], on_error: object = None, on_progress: object = None
    ) -> Iterator[Extraction]:
        for talk, source in zip(TALKS, sources, strict=False):
            yield Extraction(talk.id, str(source), 0.5, talk.model, talk.triplets, talk.transcript)


UNALIGNED = extraction(
    "unaligned",
    Triplet(
        Entity("Ann Lee", "Peop", start_s=31.0, end_s=58.5, times_of="chunk"),
        "Live_In",
        Entity("Oslo", "Loc", start_s=40.0, end_s=40.5),
        0.5,
        2,
    ),
    transcript="She lives in Oslo.",
    duration_s=90.0,
)
"""One entity has its own times, the other those of its chunk."""

NASTY = "</script><script>window.broken=1</script>"
NASTY_TEXTS = (
    NASTY,
    "<img src=x onerror=window.broken=1>",
    "\"'`${window.broken=1}",
    '=HYPERLINK("http://x")',
    "\u202eevil\u202c \u200f\u05d0\u05d1",
    "a\x00b\x1b[31m\x85\ud800",
    "<!-- ]]> --> {{data}} \u2028",
    "Oslo'; MATCH (n) DETACH DELETE n //",
    "one\ntwo\tthree\r\nfour, five; \\ six",
)
NASTY_TALK = Extraction(
    id=f"talk {NASTY}",
    source=f"/no/such/{NASTY}.wav",
    duration_s=7.0,
    model='tiny "@1" <m>',
    triplets=tuple(
        Triplet(
            Entity(text, "Peop </style>"),
            f"Kill <{number}> `x`",
            Entity(f"{text} 2", 'Lo"c'),
            0.5 + number / 100,
            number,
        )
        for number, text in enumerate(NASTY_TEXTS)
    ),
    transcript=" and ".join(f"{text} met {text} 2" for text in NASTY_TEXTS),
    warnings=(NASTY,),
)
"""Markup, quotes, formulas, marks of direction, control characters, a lone surrogate and pasted Cypher, everywhere."""
