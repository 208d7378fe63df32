"""networkx, and through it GraphML and GEXF."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from speechre.errors import UsageError
from speechre.graph import KnowledgeGraph
from speechre.graph_formats.text import cleaned

if TYPE_CHECKING:
    import networkx


def check_networkx() -> None:
    """Raises :class:`UsageError` where networkx is missing."""
    try:
        import networkx  # noqa: F401
    except ImportError as error:
        raise UsageError(
            'this format needs the package networkx, which is not installed; run "pip install speechre[graph]"'
        ) from error


def to_networkx(graph: KnowledgeGraph) -> networkx.MultiDiGraph[str]:
    """A directed graph whose edges between two nodes go by their ids.

    Nodes have ``label``, ``type``, ``texts``, ``mentions`` and ``merges``; edges ``relation``, ``confidence`` and
    ``evidence``; the graph ``recordings`` and ``conflicts``. Lists hold the dicts of ``graph.to_dict()``. Raises
    :class:`UsageError` where networkx is missing.
    """
    check_networkx()
    import networkx

    content = graph.to_dict()
    found: networkx.MultiDiGraph[str] = networkx.MultiDiGraph(
        recordings=content["recordings"], conflicts=content["conflicts"], rules=content["rules"]
    )
    for node, as_dict in zip(graph.nodes, content["nodes"], strict=True):
        found.add_node(
            node.id,
            label=node.name,
            type=node.type,
            texts=list(node.texts),
            mentions=as_dict["mentions"],
            merges=as_dict["merges"],
        )
    for edge, as_dict in zip(graph.edges, content["edges"], strict=True):
        found.add_edge(
            edge.head_id,
            edge.tail_id,
            key=edge.id,
            relation=edge.relation,
            confidence=as_dict["confidence"],
            evidence=as_dict["evidence"],
        )
    return found


def to_graphml(graph: KnowledgeGraph) -> str:
    """GraphML: lists are JSON texts there, because GraphML has none; what is not known is left out."""
    import networkx

    return "\n".join(networkx.generate_graphml(_flat(graph))) + "\n"


def to_gexf(graph: KnowledgeGraph) -> str:
    """GEXF 1.2, for Gephi; lists as in GraphML, and the edges' relations are their labels."""
    import networkx

    flat = _flat(graph)
    flat.graph.clear()  # GEXF knows no attributes of a graph: networkx would leave them out without a word
    for _, _, key, attributes in flat.edges(keys=True, data=True):
        attributes |= {"id": key, "label": attributes["relation"]}
    out = io.BytesIO()
    networkx.write_gexf(flat, out, encoding="utf-8")
    return out.getvalue().decode("utf-8")


def _flat(graph: KnowledgeGraph) -> networkx.MultiDiGraph[str]:
    found = to_networkx(cleaned(graph))
    found.graph = _flat_attributes(found.graph)
    for _, attributes in found.nodes(data=True):
        _replace(attributes)
    for _, _, attributes in found.edges(data=True):
        _replace(attributes)
    return found


def _replace(attributes: dict[str, Any]) -> None:
    flat = _flat_attributes(attributes)
    attributes.clear()
    attributes.update(flat)


def _flat_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for key, value in attributes.items()
        if value is not None
    }
