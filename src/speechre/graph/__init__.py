"""Knowledge graphs: entities and triplets of many extractions, merged with reasons. Standard library only."""

from speechre.graph.build import build_graph
from speechre.graph.model import Conflict, Edge, Evidence, KnowledgeGraph, Mention, Merge, Node, Recording, Span
from speechre.graph.rules import DEFAULT_RULES, RULE_NAMES

__all__ = [
    "DEFAULT_RULES",
    "RULE_NAMES",
    "Conflict",
    "Edge",
    "Evidence",
    "KnowledgeGraph",
    "Mention",
    "Merge",
    "Node",
    "Recording",
    "Span",
    "build_graph",
]
