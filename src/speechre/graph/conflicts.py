"""What in a graph does not agree: found, named and left as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from speechre.graph.model import Conflict, Edge, Node
from speechre.graph.names import parse_name


def find_conflicts(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    ambiguities: Iterable[tuple[str, tuple[str, ...]]],
    one_tail: Collection[str] = (),
) -> tuple[Conflict, ...]:
    """All conflicts; ``ambiguities`` are texts with the nodes that they could belong to. See :class:`Conflict`."""
    names = {node.id: node.name for node in nodes}
    found = [*_types(nodes)]
    for text, node_ids in ambiguities:
        others = " or ".join(f'"{names[node_id]}"' for node_id in node_ids[1:])
        found.append(Conflict("ambiguous", f'"{text}" could be {others}; it was left alone', node_ids))
    return (*found, *_directions(edges, names), *_relations(edges, names), *_tails(edges, names, one_tail))


def _types(nodes: Sequence[Node]) -> Iterable[Conflict]:
    by_words: dict[tuple[str, ...], dict[str, Node]] = defaultdict(dict)
    for node in nodes:
        for text in node.texts:
            if words := parse_name(text, "").words:
                by_words[words][node.id] = node
    seen = set()
    for candidates in by_words.values():
        ids = tuple(candidates)
        types = sorted({node.type for node in candidates.values()})
        if len(types) > 1 and ids not in seen:
            seen.add(ids)
            name = next(iter(candidates.values())).name
            told = " and as ".join(kind or "no type" for kind in types)
            yield Conflict("type", f'"{name}" is told as {told}; kept apart', ids)


def _directions(edges: Sequence[Edge], names: dict[str, str]) -> Iterable[Conflict]:
    by_ends = {(edge.head_id, edge.relation, edge.tail_id): edge for edge in edges}
    for edge in edges:
        back = by_ends.get((edge.tail_id, edge.relation, edge.head_id))
        if back is not None and edge.head_id < edge.tail_id:
            text = f'{edge.relation} between "{names[edge.head_id]}" and "{names[edge.tail_id]}" is told both ways'
            yield Conflict("direction", text, (edge.head_id, edge.tail_id), (edge.id, back.id))


def _relations(edges: Sequence[Edge], names: dict[str, str]) -> Iterable[Conflict]:
    by_pair: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in edges:
        by_pair[edge.head_id, edge.tail_id].append(edge)
    for (head_id, tail_id), several in by_pair.items():
        if len(several) > 1:
            relations = " and ".join(edge.relation for edge in several)
            text = f'from "{names[head_id]}" to "{names[tail_id]}" both {relations} are told'
            yield Conflict("relation", text, (head_id, tail_id), tuple(edge.id for edge in several))


def _tails(edges: Sequence[Edge], names: dict[str, str], one_tail: Collection[str]) -> Iterable[Conflict]:
    by_head: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in edges:
        if edge.relation in one_tail:
            by_head[edge.head_id, edge.relation].append(edge)
    for (head_id, relation), several in by_head.items():
        if len(several) > 1:
            tails = " and ".join(f'"{names[edge.tail_id]}"' for edge in several)
            text = f'"{names[head_id]}" {relation} {tails}, where one was expected'
            yield Conflict(
                "several_tails", text, (head_id, *(e.tail_id for e in several)), tuple(e.id for e in several)
            )
