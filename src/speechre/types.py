"""The one type that flows: an :class:`Utterance` goes in, an :class:`Extraction` comes out.

Both are frozen dataclasses made of :class:`Entity` and :class:`Triplet`. Equality is meaning: two entities are equal
when text and type are; where an entity was written or said is evidence, not identity, and takes no part in comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import networkx
    import pandas
    import rdflib


@dataclass(frozen=True, slots=True)
class Entity:
    """A named thing: its text as written and its type without brackets (``Peop``, not ``<Peop>``).

    ``start`` and ``end`` are a half-open span of characters in the utterance's text; ``start_s`` and ``end_s`` are
    seconds on the recording's own clock. ``None`` means unknown. ``times_of`` says whose seconds they are: those of
    the entity's own words or, where these could not be aligned with the sound, those of the whole chunk in which they
    were heard.
    """

    text: str
    type: str = ""
    id: str = field(default="", compare=False)
    start: int | None = field(default=None, compare=False)
    end: int | None = field(default=None, compare=False)
    start_s: float | None = field(default=None, compare=False)
    end_s: float | None = field(default=None, compare=False)
    times_of: Literal["entity", "chunk"] = field(default="entity", compare=False)


@dataclass(frozen=True, slots=True)
class Triplet:
    """(head, relation, tail), and how sure the ensemble is of it.

    ``confidence`` is a probability from 0 to 1, ``votes`` the number of element orders that wrote the triplet,
    ``orders`` their names. All three are ``None``/empty on gold triplets and take no part in comparison.
    """

    head: Entity
    relation: str
    tail: Entity
    confidence: float | None = field(default=None, compare=False)
    votes: int | None = field(default=None, compare=False)
    orders: tuple[str, ...] = field(default=(), compare=False)

    @property
    def start_s(self) -> float | None:
        """Where the statement begins on the recording's own clock: at the earlier of both entities. None: unknown."""
        starts = [entity.start_s for entity in (self.head, self.tail) if entity.start_s is not None]
        return min(starts) if len(starts) == 2 else None

    @property
    def end_s(self) -> float | None:
        """Where the statement ends: at the later end of both entities. None: unknown."""
        ends = [entity.end_s for entity in (self.head, self.tail) if entity.end_s is not None]
        return max(ends) if len(ends) == 2 else None

    @property
    def times_of(self) -> Literal["entities", "chunk"]:
        """What ``start_s`` and ``end_s`` rest on: the words of both entities, or for one of them a whole chunk."""
        return "chunk" if "chunk" in (self.head.times_of, self.tail.times_of) else "entities"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as it stands in an extraction."""
        out: dict[str, Any] = {
            "head": _entity_to_dict(self.head),
            "relation": self.relation,
            "tail": _entity_to_dict(self.tail),
        }
        if self.confidence is not None:
            out["confidence"] = round(self.confidence, 4)
        if self.votes is not None:
            out["votes"] = self.votes
            out["orders"] = list(self.orders)
        return out


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed link between two entities of one utterance, by their ids."""

    head_id: str
    tail_id: str
    type: str


@dataclass(frozen=True, slots=True)
class AudioRef:
    """Where an utterance's sound lies: a file and a half-open window in it, in seconds."""

    path: str
    start_s: float = 0.0
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech with its annotation (or without: ``entities`` and ``relations`` may be empty)."""

    id: str
    audio: AudioRef | None
    text: str = ""
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    split: str | None = None
    speaker: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def triplets(self) -> tuple[Triplet, ...]:
        """The relations with their entities looked up, in the order of annotation; duplicates stay.

        Raises ``KeyError`` on a dangling id; readers check that before an utterance is built.
        """
        by_id = {entity.id: entity for entity in self.entities}
        return tuple(Triplet(by_id[r.head_id], r.type, by_id[r.tail_id]) for r in self.relations)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was heard in one recording; see docs/architecture.md for the JSON form, one object a line.

    A statement that was said several times stands in ``triplets`` as often, each time with its own seconds.
    """

    id: str
    source: str
    duration_s: float
    model: str
    triplets: tuple[Triplet, ...] = ()
    transcript: str | None = None
    relation_probabilities: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: the same from the command line, Python, the service and bulk jobs."""
        return {
            "id": self.id,
            "source": self.source,
            "duration_s": round(self.duration_s, 3),
            "model": self.model,
            "transcript": self.transcript,
            "triplets": [t.to_dict() for t in self.triplets],
            "relation_probabilities": {k: round(v, 4) for k, v in self.relation_probabilities.items()},
            "warnings": list(self.warnings),
        }

    # What people look for on the object they hold. The work is done in rooms above this one, opened when it is asked
    # for; tests/test_layers.py names these imports, and allows no others here.

    def to_networkx(self, **options: Any) -> networkx.MultiDiGraph[str]:
        """Entities and triplets as a networkx graph; :func:`speechre.graph_formats.network.to_networkx` describes it.

        ``options`` are those of :func:`speechre.graph.build_graph`, which also takes many extractions. Raises
        :class:`UsageError` where networkx is missing.
        """
        from speechre.graph import build_graph
        from speechre.graph_formats.network import to_networkx

        return to_networkx(build_graph([self], **options))

    def to_rdf(self, **options: Any) -> rdflib.Graph:
        """Entities, triplets and where they come from (PROV-O) as an rdflib graph; see
        :mod:`speechre.graph_formats.rdf`. ``options`` as in :meth:`to_networkx`. Raises :class:`UsageError` where
        rdflib is missing.
        """
        from speechre.graph import build_graph
        from speechre.graph_formats.rdf import to_rdf

        return to_rdf(build_graph([self], **options))

    def to_dataframe(self, **options: Any) -> pandas.DataFrame:
        """A pandas data frame with a row for each triplet; its columns are
        :data:`speechre.graph_formats.tables.COLUMNS`. ``options`` as in :meth:`to_networkx`. Raises :class:`UsageError`
        where pandas is missing.
        """
        from speechre.graph_formats.tables import to_dataframe

        return to_dataframe([self], **options)

    def _repr_html_(self) -> str:
        """What a notebook shows: the transcript and a table of the triplets."""
        from speechre.graph_formats.notebook import to_table_html

        return to_table_html(self)


def _entity_to_dict(entity: Entity) -> dict[str, Any]:
    out: dict[str, Any] = {"text": entity.text, "type": entity.type}
    if entity.start_s is not None:
        out["start_s"] = round(entity.start_s, 3)
    if entity.end_s is not None:
        out["end_s"] = round(entity.end_s, 3)
    if entity.times_of != "entity":
        out["times_of"] = entity.times_of
    return out
