"""Speech relation extraction: from recordings straight to (head, relation, tail) triplets.

``import speechre`` is light: the types, the schema and the errors. Whatever needs more (torch, numpy, a
model) loads when its name is first used, so a program that only reads results never waits for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from speechre.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    DataError,
    SchemaError,
    SpeechreError,
    UsageError,
)
from speechre.orders import ORDERS
from speechre.schema import Schema
from speechre.types import AudioRef, Entity, Extraction, Relation, Triplet, Utterance

if TYPE_CHECKING:
    from speechre.audio import read_audio
    from speechre.data.store import read_manifest
    from speechre.extract.extractor import Extractor
    from speechre.metrics import ScoreReport, score

__version__ = "0.1.0"

_LAZY = {
    "Extractor": "speechre.extract.extractor",
    "ScoreReport": "speechre.metrics",
    "read_audio": "speechre.audio",
    "read_manifest": "speechre.data.store",
    "score": "speechre.metrics",
}

__all__ = [
    "ORDERS",
    "AudioError",
    "AudioRef",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Entity",
    "Extraction",
    "Extractor",
    "Relation",
    "Schema",
    "SchemaError",
    "ScoreReport",
    "SpeechreError",
    "Triplet",
    "UsageError",
    "Utterance",
    "__version__",
    "read_audio",
    "read_manifest",
    "score",
]


def __getattr__(name: str) -> Any:
    """Loads a lazy export on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # the next use no longer comes through here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
