"""What can be said: entity types, relation types and the argument pairs that a relation allows.

This is the only place that adds or strips the angle brackets of ``<Peop>``: everywhere else a type is its bare name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from speechre.errors import SchemaError

_NAME = re.compile(r"[^\s<>|]+")
RESERVED = frozenset({"head_entity", "tail_entity", "relation_type", "relation_type_padding_token"})
"""Names of what a model writes between types, so none of a type: the published models' own tokens."""


def strip_brackets(label: str) -> str:
    """``<Peop>`` -> ``Peop``; a bare name stays as it is."""
    return label[1:-1] if len(label) > 2 and label[0] == "<" and label[-1] == ">" else label


def add_brackets(name: str) -> str:
    """``Peop`` -> ``<Peop>``, the form that the model's vocabulary uses."""
    return f"<{strip_brackets(name)}>"


@dataclass(frozen=True)
class Schema:
    """Entity types, relation types and, where known, the allowed (head type, tail type) pairs of each relation.

    ``words`` says a type in plain English ("Peop" -> "person"); a new token starts as the mean of the embeddings of
    these words. A relation without an entry in ``pairs`` allows every pair.

    ``ner_labels`` says what a named entity recognizer's labels may stand for ("PERSON" -> ("Peop",)), the likeliest
    type first. It serves the building of data sets only, so two schemas that differ in nothing else are equal.
    """

    name: str
    entity_types: tuple[str, ...]
    relation_types: tuple[str, ...]
    pairs: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    ner_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for kind, names in (("an entity type", self.entity_types), ("a relation type", self.relation_types)):
            for name in names:
                if not _NAME.fullmatch(name):
                    raise SchemaError(
                        f'schema "{self.name}": {kind} is called "{name}", which is no valid name; '
                        'expected no white space, "<", ">" or "|"'
                    )
                if name in RESERVED:
                    raise SchemaError(
                        f'schema "{self.name}": {kind} is called "{name}", which is a token of every model; rename it'
                    )
            if len(set(names)) != len(names):
                raise SchemaError(f'schema "{self.name}": {kind} stands twice in {list(names)}; write each once')
        both = set(self.entity_types) & set(self.relation_types)
        if both:
            raise SchemaError(f'schema "{self.name}": {sorted(both)} are both entity and relation types; rename one')
        for relation, pairs in self.pairs.items():
            self.check_relation(relation)
            for head_type, tail_type in pairs:
                self.check_entity(head_type)
                self.check_entity(tail_type)
        for name, words in self.words.items():
            if not isinstance(words, str) or not words.strip():
                raise SchemaError(
                    f'schema "{self.name}": words of "{name}" are {words!r}; expected plain words, as in Peop: person'
                )
        for label, types in self.ner_labels.items():
            if not types:
                raise SchemaError(
                    f'schema "{self.name}": NER label "{label}" stands for no type; name one or leave it out'
                )
            for name in types:
                self.check_entity(name)

    def check_entity(self, name: str) -> None:
        """Raises :class:`SchemaError` unless ``name`` is an entity type."""
        if name not in self.entity_types:
            raise SchemaError(
                f'schema "{self.name}": unknown entity type "{name}"; expected one of {", ".join(self.entity_types)}'
            )

    def check_relation(self, name: str) -> None:
        """Raises :class:`SchemaError` unless ``name`` is a relation type."""
        if name not in self.relation_types:
            raise SchemaError(
                f'schema "{self.name}": unknown relation type "{name}"; '
                f"expected one of {', '.join(self.relation_types)}"
            )

    def allows(self, head_type: str, relation: str, tail_type: str) -> bool:
        """Whether the three types can stand together in a triplet."""
        if relation not in self.relation_types:
            return False
        if head_type not in self.entity_types or tail_type not in self.entity_types:
            return False
        pairs = self.pairs.get(relation)
        return pairs is None or (head_type, tail_type) in pairs

    def relations_between(self, head_type: str, tail_type: str) -> tuple[str, ...]:
        """The relation types that can lead from ``head_type`` to ``tail_type``."""
        return tuple(relation for relation in self.relation_types if self.allows(head_type, relation, tail_type))

    def types_of_ner_label(self, label: str) -> tuple[str, ...]:
        """The entity types that a recognizer's label may stand for, the likeliest first; none if it means nothing here.

        A label that ``ner_labels`` does not list stands for the entity type of the same name, if there is one.
        """
        label = strip_brackets(label)
        if label in self.ner_labels:
            return self.ner_labels[label]
        return (label,) if label in self.entity_types else ()

    def words_of(self, name: str) -> str:
        """A type in plain words: from ``words``, else split at underscores, colons, slashes and case changes."""
        if name in self.words:
            return self.words[name]
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
        return " ".join(re.split(r"[_:/\-.\s]+", spaced)).strip().lower() or name

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, stored in every checkpoint."""
        out: dict[str, Any] = {
            "name": self.name,
            "entity_types": list(self.entity_types),
            "relation_types": list(self.relation_types),
            "pairs": {r: sorted([h, t] for h, t in pairs) for r, pairs in self.pairs.items()},
            "words": dict(self.words),
        }
        if self.ner_labels:
            out["ner_labels"] = {label: list(types) for label, types in self.ner_labels.items()}
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """The inverse of :meth:`to_dict`. Raises :class:`SchemaError` on missing or malformed keys."""
        try:
            return cls(
                name=str(data["name"]),
                entity_types=tuple(strip_brackets(str(x)) for x in data["entity_types"]),
                relation_types=tuple(strip_brackets(str(x)) for x in data["relation_types"]),
                pairs={str(r): _read_pairs(str(r), pairs) for r, pairs in (data.get("pairs") or {}).items()},
                words=dict(data.get("words") or {}),
                ner_labels={
                    str(label): tuple(strip_brackets(str(x)) for x in ([types] if isinstance(types, str) else types))
                    for label, types in (data.get("ner_labels") or {}).items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaError(
                f"malformed schema: {error!r}; expected name, entity_types, relation_types and, optionally, "
                "pairs, words and ner_labels"
            ) from error

    @classmethod
    def of(cls, name: str, triplets: Iterable[tuple[str, str, str]], words: Mapping[str, str] | None = None) -> Schema:
        """A schema from its allowed (head type, relation, tail type) triples, in the order they are given."""
        pairs: dict[str, set[tuple[str, str]]] = {}
        entity_types: dict[str, None] = {}
        for head_type, relation, tail_type in triplets:
            pairs.setdefault(relation, set()).add((head_type, tail_type))
            entity_types.setdefault(head_type)
            entity_types.setdefault(tail_type)
        return cls(
            name, tuple(entity_types), tuple(pairs), {r: frozenset(p) for r, p in pairs.items()}, dict(words or {})
        )


def _read_pairs(relation: str, pairs: object) -> frozenset[tuple[str, str]]:
    """The pairs of a relation; a text is none, though Python would take one of two letters apart."""
    found: set[tuple[str, str]] = set()
    is_list = isinstance(pairs, (list, tuple, set, frozenset))
    for pair in pairs if is_list else [pairs]:  # type: ignore[attr-defined]
        if not is_list or not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise SchemaError(f"pairs of {relation}: got {pair!r}; expected pairs such as [[Peop, Loc]]")
        found.add((str(pair[0]), str(pair[1])))
    return frozenset(found)
