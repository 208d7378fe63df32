"""A reader for another schema: types of the same name read as before, new ones start as the mean of the old."""

from __future__ import annotations

import torch

from speechre.reader.grow import with_schema
from speechre.reader.reader import TextModel, TextReader
from speechre.schema import Schema
from speechre.schemas import CONLL04

TEXT = "Bo works for Acme and Ann Lee in Bergen."
TOWN = Schema("town", ("Street", "Peop"), ("Leads_To", "Live_In"))


def test_rows_go_with_their_names(credulous_reader: TextModel) -> None:
    old = credulous_reader.network.state_dict()
    grown = with_schema(credulous_reader, TOWN, "town's")
    new = grown.network.state_dict()
    assert (grown.name, grown.schema, grown.model_id) == ("town's", TOWN, "town's")
    for part in ("weight", "bias"):
        entities, relations = (old[f"{kind}_classifier.{part}"] for kind in ("entity", "relation"))
        expected = [entities[0], entities[1:].mean(dim=0), entities[1 + CONLL04.entity_types.index("Peop")]]
        assert torch.allclose(new[f"entity_classifier.{part}"], torch.stack(expected))
        expected = [relations.mean(dim=0), relations[CONLL04.relation_types.index("Live_In")]]
        assert torch.allclose(new[f"relation_classifier.{part}"], torch.stack(expected))
    others = [name for name in old if "_classifier." not in name]
    assert all(torch.equal(new[name], old[name]) for name in others)


def test_more_types_change_nothing_for_the_relations_that_were_there(credulous_reader: TextModel) -> None:
    more = Schema("more", CONLL04.entity_types, (*CONLL04.relation_types, "Owns"), CONLL04.pairs, CONLL04.words)
    before = TextReader(credulous_reader).beliefs([TEXT])[0]
    after = TextReader(with_schema(credulous_reader, more, "more")).beliefs([TEXT])[0]
    assert before
    assert [t for t in after if t.relation != "Owns"] == list(before)


def test_the_old_reader_is_left_alone(credulous_reader: TextModel) -> None:
    before = {name: tensor.clone() for name, tensor in credulous_reader.network.state_dict().items()}
    grown = with_schema(credulous_reader, TOWN, "town's")
    with torch.no_grad():
        for parameter in grown.network.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in credulous_reader.network.state_dict().items())
