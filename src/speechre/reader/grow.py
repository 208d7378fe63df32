"""A trained text reader for another schema: its encoder and all that is no type's own stay."""

from __future__ import annotations

import torch

from speechre.model.grow import grown_rows
from speechre.reader.reader import TextModel, text_model_of
from speechre.schema import Schema


def with_schema(model: TextModel, new: Schema, name: str) -> TextModel:
    """A new reader called ``name`` with the types of ``new``; what is given stays as it is.

    Types of the same name keep their classifiers' rows, and so does "no entity"; a new type starts as the mean of the
    old ones of its kind, which tells entities from other words, and pairs that are related from others.
    """
    old = model.schema
    state = {key: tensor.detach().clone() for key, tensor in model.network.state_dict().items()}
    for part in ("weight", "bias"):
        none, types = state[f"entity_classifier.{part}"].split([1, len(old.entity_types)])
        state[f"entity_classifier.{part}"] = torch.cat([none, grown_rows(types, old.entity_types, new.entity_types)])
        relations = state[f"relation_classifier.{part}"]
        state[f"relation_classifier.{part}"] = grown_rows(relations, old.relation_types, new.relation_types)
    data = {**model.describe(), "name": name, "schema": new.to_dict()}
    return text_model_of(data, model.tokenizer.json, state, name)
