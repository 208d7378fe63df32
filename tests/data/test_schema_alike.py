"""One schema decides everywhere: in the filter of candidates, in validation and in constrained decoding."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from speechre.data.candidates import Filter
from speechre.data.entity_tagger import TaggedSpan
from speechre.data.validate import validate_manifest
from speechre.grammar import Grammar
from speechre.linearize import linearize
from speechre.orders import ORDERS
from speechre.schema import Schema
from speechre.schemas import ACE04, ACE04_SUBTYPES, ACE05, ACE05_SUBTYPES, CONLL04
from speechre.types import Entity, Triplet

OWN = Schema("own", ("Buyer", "Ware"), ("Bought",), {"Bought": frozenset({("Buyer", "Ware")})})
TEXT = "Aa Bb"


def write_all(path: Path, schema: Schema) -> list[tuple[str, str, str]]:
    """A manifest with one line for every head type, relation and tail type."""
    every = list(product(schema.entity_types, schema.relation_types, schema.entity_types))
    lines = []
    for index, (head, relation, tail) in enumerate(every):
        entities = [
            {"id": "e0", "text": "Aa", "type": head, "start": 0, "end": 2},
            {"id": "e1", "text": "Bb", "type": tail, "start": 3, "end": 5},
        ]
        link = {"head": "e0", "tail": "e1", "type": relation}
        record = {"id": str(index), "audio": None, "text": TEXT, "entities": entities, "relations": [link], "extra": {}}
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return every


@pytest.mark.parametrize(
    "schema", [CONLL04, ACE04, ACE04_SUBTYPES, ACE05, ACE05_SUBTYPES, OWN], ids=lambda schema: schema.name
)
def test_what_one_allows_all_allow(schema: Schema, tmp_path: Path) -> None:
    every = write_all(tmp_path / "m.jsonl", schema)
    issues = validate_manifest(tmp_path / "m.jsonl", schema, check_audio=False)
    refused = {issue.line for issue in issues if issue.code == "pair-not-allowed"}
    grammar = Grammar(ORDERS["hrt"], schema)
    related = set()
    for line, (head, relation, tail) in enumerate(every, start=1):
        allowed = schema.allows(head, relation, tail)
        triplet = Triplet(Entity("Aa", head), relation, Entity("Bb", tail))
        assert (line not in refused) == allowed
        assert grammar.accepts(linearize([triplet], ORDERS["hrt"])) == allowed
        if allowed:
            related |= {(head, tail), (tail, head)}
    exact = Schema(  # labels that stand for one type each
        schema.name,
        schema.entity_types,
        schema.relation_types,
        schema.pairs,
        {},
        {x: (x,) for x in schema.entity_types},
    )
    decide = Filter(exact)
    for one, other in product(schema.entity_types, repeat=2):
        reason = decide(TEXT, [TaggedSpan(one, 0, 2), TaggedSpan(other, 3, 5)]).reason
        assert (reason == "") == ((one, other) in related)
        assert reason in ("", "no-allowed-pair")
