"""A knowledge graph: nodes are entities, edges are triplets, and both keep all they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from speechre.graph.ids import digest

SpanSource = Literal["entities", "chunk", "recording"]
ConflictKind = Literal["type", "ambiguous", "direction", "relation", "several_tails"]


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open, in seconds on the recording's own clock.

    ``source`` says what it rests on: the times of the entities themselves; where one of them could not be aligned with
    the sound, the chunk in which it was heard; where they have no times at all, the whole recording."""

    start_s: float
    end_s: float
    source: SpanSource

    def to_dict(self) -> dict[str, Any]:
        return {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3), "source": self.source}


@dataclass(frozen=True, slots=True)
class Recording:
    """What was extracted once: an extraction without its triplets.

    ``id`` is the extraction's; ``key`` is made of it and the source, and does not meet another recording's by chance.
    """

    key: str
    id: str
    source: str
    duration_s: float
    model: str
    transcript: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "key": self.key,
            "source": self.source,
            "duration_s": round(self.duration_s, 3),
            "model": self.model,
            "transcript": self.transcript,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity as one triplet of one recording wrote it.

    ``start`` and ``end`` are its characters in the recording's transcript, a half-open span; None: not known.
    """

    recording_id: str
    text: str
    type: str
    span: Span
    start: int | None = None
    end: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "recording_id": self.recording_id,
            "text": self.text,
            "type": self.type,
            "start": self.start,
            "end": self.end,
            "span": self.span.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Merge:
    """Why two names are one node: the rule's name, and a sentence for people."""

    rule: str
    text: str
    other_text: str
    recording_id: str
    other_recording_id: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}


@dataclass(frozen=True, slots=True)
class Node:
    """An entity: its canonical name, every mention and the merges that brought them together."""

    id: str
    name: str
    type: str
    mentions: tuple[Mention, ...]
    merges: tuple[Merge, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The ways it was written, each once, the canonical one first."""
        return tuple(dict.fromkeys((self.name, *(mention.text for mention in self.mentions))))

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "mentions": [mention.to_dict() for mention in self.mentions],
            "merges": [merge.to_dict() for merge in self.merges],
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """One triplet of one extraction, as it stood there: what an edge rests on."""

    id: str
    recording_id: str
    head: Mention
    tail: Mention
    span: Span
    confidence: float | None
    votes: int | None
    orders: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "recording_id": self.recording_id,
            "head": self.head.text,
            "tail": self.tail.text,
            "head_span": self.head.span.to_dict(),
            "tail_span": self.tail.span.to_dict(),
            "span": self.span.to_dict(),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "votes": self.votes,
            "orders": list(self.orders),
        }


@dataclass(frozen=True, slots=True)
class Edge:
    """A triplet of nodes with everything that states it."""

    id: str
    head_id: str
    relation: str
    tail_id: str
    evidence: tuple[Evidence, ...]

    @property
    def confidence(self) -> float | None:
        """That of the surest evidence: repetitions of one model's answer are no independent witnesses."""
        known = [one.confidence for one in self.evidence if one.confidence is not None]
        return max(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "head_id": self.head_id,
            "relation": self.relation,
            "tail_id": self.tail_id,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "evidence": [one.to_dict() for one in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something a person should look at; nothing was removed or decided because of it.

    ``type``: one text with two types. ``ambiguous``: a name that could be more than one node's. ``direction``: a
    relation stated both ways between two nodes. ``relation``: two relations from one node to another.
    ``several_tails``: more than one tail where the relation was said to have one."""

    kind: ConflictKind
    text: str
    node_ids: tuple[str, ...]
    edge_ids: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same conflict, whatever else a graph holds."""
        return digest(self.kind, *self.node_ids, "", *self.edge_ids)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "text": self.text,
            "node_ids": list(self.node_ids),
            "edge_ids": list(self.edge_ids),
        }


@dataclass(frozen=True, slots=True)
class KnowledgeGraph:
    """Recordings, the nodes and edges found in them, and what in them does not agree."""

    recordings: tuple[Recording, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    conflicts: tuple[Conflict, ...] = ()
    rules: tuple[str, ...] = field(default=())
    """The merge rules that were on."""

    def node(self, node_id: str) -> Node:
        """Raises ``KeyError`` on an unknown id."""
        return {node.id: node for node in self.nodes}[node_id]

    def find(self, text: str) -> Sequence[Node]:
        """The nodes that were called ``text`` somewhere, letter by letter."""
        return [node for node in self.nodes if text in node.texts]

    def to_dict(self) -> dict[str, Any]:
        """JSON's form: five lists."""
        return {
            "recordings": [recording.to_dict() for recording in self.recordings],
            "nodes": [node.to_dict() for node in self.nodes],
            "edges": [edge.to_dict() for edge in self.edges],
            "conflicts": [conflict.to_dict() for conflict in self.conflicts],
            "rules": list(self.rules),
        }
