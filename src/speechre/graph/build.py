"""From extractions to a :class:`KnowledgeGraph`: entities merged, triplets merged, every mention kept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from speechre.errors import DataError
from speechre.graph.conflicts import find_conflicts
from speechre.graph.ids import digest
from speechre.graph.model import Edge, Evidence, KnowledgeGraph, Mention, Node, Recording, Span
from speechre.graph.names import parse_name
from speechre.graph.resolve import Resolution, Use, resolve
from speechre.graph.rules import DEFAULT_RULES, RULE_NAMES, select_rules
from speechre.types import Entity, Extraction, Triplet

_SLUG_CHARS = 40


def build_graph(
    extractions: Iterable[Extraction],
    *,
    rules: Iterable[str] = DEFAULT_RULES,
    apart: Iterable[tuple[str, str]] = (),
    one_tail: Iterable[str] = (),
) -> KnowledgeGraph:
    """The graph of some extractions, in their sequence.

    ``rules`` are the merge rules that are on (:data:`speechre.graph.RULE_NAMES`; none of them: only entities of the
    same recording, text and type are one node). ``apart`` are pairs of texts that no rule may join. ``one_tail`` are
    relations of which a head has one tail at most: more are reported as conflicts, and kept. Raises
    :class:`UsageError` on an unknown rule and :class:`DataError` where two extractions have one id.
    """
    extractions = list(extractions)
    _check_ids(extractions)
    chosen = select_rules(rules)
    uses: list[Use] = []
    stated_apart: list[tuple[Use, Use]] = []
    for extraction in extractions:
        for triplet in extraction.triplets:
            head, tail = _use(extraction, triplet.head), _use(extraction, triplet.tail)
            uses += [head, tail]
            if head != tail:
                stated_apart.append((head, tail))
    resolution = resolve(uses, rules=chosen, apart=apart, stated_apart=stated_apart)
    keys = {extraction.id: digest(extraction.source, extraction.id) for extraction in extractions}
    group_ids = [_node_id(group[0], keys) for group in resolution.groups]
    node_ids = {use: group_ids[number] for number, group in enumerate(resolution.groups) for use in group}
    edges = _edges(extractions, node_ids, keys)
    nodes = _nodes(resolution, group_ids, edges)
    return KnowledgeGraph(
        recordings=tuple(
            Recording(keys[e.id], e.id, e.source, e.duration_s, e.model, e.transcript, e.warnings) for e in extractions
        ),
        nodes=nodes,
        edges=edges,
        conflicts=find_conflicts(nodes, edges, _ambiguities(resolution, node_ids), frozenset(one_tail)),
        rules=tuple(name for name in RULE_NAMES if name in chosen),
    )


def _check_ids(extractions: Sequence[Extraction]) -> None:
    for extraction_id, count in Counter(extraction.id for extraction in extractions).items():
        if count > 1:
            raise DataError(
                f'{count} extractions have the id "{extraction_id}"; expected one each, by which what is said of an '
                "entity is traced to its recording; give them others: dataclasses.replace(extraction, id=...)"
            )


def _use(extraction: Extraction, entity: Entity) -> Use:
    return Use(extraction.id, entity.text, entity.type)


def _node_id(first: Use, keys: Mapping[str, str]) -> str:
    """One for the eye and for good: the same in every graph whose first mention of the entity is the same, and another
    in every other, so that two exports can lie in one database.
    """
    slug = "-".join(re.findall(r"[a-z0-9]+", " ".join(parse_name(first.text, first.type).words)))[:_SLUG_CHARS]
    return f"{slug or 'entity'}-{digest(keys[first.recording_id], first.text, first.type)}"


def _edges(extractions: Sequence[Extraction], node_ids: Mapping[Use, str], keys: Mapping[str, str]) -> tuple[Edge, ...]:
    evidence: dict[tuple[str, str, str], list[Evidence]] = defaultdict(list)
    for extraction in extractions:
        ids = _evidence_ids(extraction, keys[extraction.id])
        for evidence_id, triplet in zip(ids, extraction.triplets, strict=True):
            key = (
                node_ids[_use(extraction, triplet.head)],
                triplet.relation,
                node_ids[_use(extraction, triplet.tail)],
            )
            evidence[key].append(_evidence(extraction, triplet, evidence_id))
    return tuple(Edge(digest(*key), *key, tuple(all_of)) for key, all_of in evidence.items())


def _evidence_ids(extraction: Extraction, key: str) -> list[str]:
    """One for each triplet, made of what it says and of the model: where a recording is extracted anew, with another
    model or other options, no evidence takes the place of another that says something else.
    """
    seen: Counter[str] = Counter()
    ids = []
    for triplet in extraction.triplets:
        said = [
            part for e in (triplet.head, triplet.tail) for part in (e.text, e.type, *map(_ms, (e.start_s, e.end_s)))
        ]
        content = digest(extraction.model, triplet.relation, *said)
        seen[content] += 1
        ids.append(f"{key}-{content}" if seen[content] == 1 else f"{key}-{content}-{seen[content]}")
    return ids


def _ms(seconds: float | None) -> str:
    """As JSON has it: an extraction that was written and read again is the same one."""
    return "" if seconds is None else f"{seconds:.3f}"


def _evidence(extraction: Extraction, triplet: Triplet, evidence_id: str) -> Evidence:
    head, tail = (_mention(extraction, entity) for entity in (triplet.head, triplet.tail))
    sources = {head.span.source, tail.span.source}
    span = _whole(extraction)
    if "recording" not in sources:
        start_s, end_s = min(head.span.start_s, tail.span.start_s), max(head.span.end_s, tail.span.end_s)
        span = Span(start_s, end_s, "chunk" if "chunk" in sources else "entities")
    return Evidence(
        id=evidence_id,
        recording_id=extraction.id,
        head=head,
        tail=tail,
        span=span,
        confidence=None if triplet.confidence is None else float(triplet.confidence),  # GEXF tells 1 from 1.0
        votes=triplet.votes,
        orders=triplet.orders,
    )


def _mention(extraction: Extraction, entity: Entity) -> Mention:
    span = _whole(extraction)
    if entity.start_s is not None and entity.end_s is not None:
        span = Span(entity.start_s, entity.end_s, "chunk" if entity.times_of == "chunk" else "entities")
    return Mention(extraction.id, entity.text, entity.type, span, entity.start, entity.end)


def _whole(extraction: Extraction) -> Span:
    return Span(0.0, extraction.duration_s, "recording")


def _nodes(resolution: Resolution, group_ids: Sequence[str], edges: Sequence[Edge]) -> tuple[Node, ...]:
    mentions: dict[str, list[Mention]] = defaultdict(list)
    for edge in edges:
        for evidence in edge.evidence:
            mentions[edge.head_id].append(evidence.head)
            mentions[edge.tail_id].append(evidence.tail)
    nodes = []
    for node_id, merges in zip(group_ids, resolution.merges, strict=True):
        ours = mentions[node_id]
        nodes.append(Node(node_id, canonical_name(ours), ours[0].type, tuple(ours), merges))
    return tuple(nodes)


def canonical_name(mentions: Sequence[Mention]) -> str:
    """The mention text to call an entity by: a whole name before a short one or an abbreviation, one without title
    before one with, then the most frequent, the longest, and the first in the alphabet.
    """
    counts = Counter(mention.text for mention in mentions)

    def rank(text: str) -> tuple[bool, bool, bool, int, int, str]:
        name = parse_name(text, mentions[0].type)
        return (
            name.is_acronym,
            name.is_short or name.is_description,
            bool(name.titles),
            -counts[text],
            -len(text),
            text,
        )

    return min(counts, key=rank)


def _ambiguities(resolution: Resolution, node_ids: Mapping[Use, str]) -> list[tuple[str, tuple[str, ...]]]:
    """The text that was left alone, and the nodes it belongs to or could belong to, its own first."""
    return [
        (use.text, tuple(dict.fromkeys((node_ids[use], *(node_ids[other] for other in others)))))
        for use, others in resolution.ambiguous
    ]
