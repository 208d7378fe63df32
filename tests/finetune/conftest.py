"""A tiny model with a reader to start from, and a small annotated domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speechre.data.store import write_manifest
from speechre.model.checkpoint import load_checkpoint, save_checkpoint
from speechre.reader.reader import TextModel
from speechre.types import AudioRef, Entity, Relation, Utterance
from tests.conftest import MakeSound
from tests.reader.conftest import bert_dir, credulous_reader
from tests.tiny import random_adapter

__all__ = ["bert_dir", "credulous_reader"]  # fixtures

SCHEMA = """\
name: pets
entity_types: [Owner, Pet]
relation_types: [Keeps]
pairs: {Keeps: [[Owner, Pet]]}
"""
PEOPLE, PETS = ("Ann", "Bo", "Cleo", "Dan"), ("Rex", "Tom", "Kit")

WriteDomain = Callable[..., Path]


@pytest.fixture(scope="session")
def start_dir(tiny_model_dir: Path, credulous_reader: TextModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a reader of the same schema (CONLL04) and an adapter. Do not change it."""
    tiny = load_checkpoint(str(tiny_model_dir))
    config = replace(tiny.config, name="start", augment=replace(tiny.config.augment, pad_s=0.0))
    folder = tmp_path_factory.mktemp("models") / "start"
    adapter = random_adapter(tiny.network)
    save_checkpoint(folder, tiny.network, tiny.tokenizer, tiny.schema, config, reader=credulous_reader, adapter=adapter)
    return folder


def utterance(number: int, path: str, speaker: str | None) -> Utterance:
    """ "Ann keeps Rex 3.", or for every fourth a sentence that relates nothing."""
    person, pet = PEOPLE[number % 4], PETS[number % 3]
    verb = "met" if number % 4 == 3 else "keeps"
    text = f"{person} {verb} {pet} {number}."
    first = len(person) + len(verb) + 2
    return Utterance(
        id=f"u{number}",
        audio=AudioRef(path, 0.0),
        text=text,
        entities=(Entity(person, "Owner", "e0", 0, len(person)), Entity(pet, "Pet", "e1", first, first + len(pet))),
        relations=() if verb == "met" else (Relation("e0", "e1", "Keeps"),),
        speaker=speaker,
    )


@pytest.fixture
def write_domain(tmp_path: Path, make_sound: MakeSound) -> WriteDomain:
    """Writes a manifest of the domain: ``count`` utterances from ``first`` on, by ``num_speakers`` (0: unknown)."""

    def write(name: str = "pets.jsonl", count: int = 12, first: int = 0, num_speakers: int = 6) -> Path:
        utterances = [
            utterance(
                number,
                str(make_sound(f"audio/u{number}.wav", 0.4 + 0.02 * number, number)),
                f"s{number % num_speakers}" if num_speakers else None,
            )
            for number in range(first, first + count)
        ]
        write_manifest(tmp_path / name, utterances)
        return tmp_path / name

    return write


@pytest.fixture
def schema_file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.yaml"
    path.write_text(SCHEMA, encoding="utf-8")
    return path
