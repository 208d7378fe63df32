"""The data card of a published data set: README.md with the YAML head that the Hugging Face hub reads.

https://huggingface.co/docs/hub/datasets-cards has the keys of the head, https://huggingface.co/docs/hub/datasets-manual-
configuration those of ``configs``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechre.data.stats_report import stats_tables
from speechre.errors import UsageError

TASK_CATEGORIES = ("automatic-speech-recognition", "token-classification")
"""The hub has no category of its own for relation extraction; the tags name it."""
TAGS = ("speech", "relation-extraction", "speech-relation-extraction", "knowledge-graph", "speechre")
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)


@dataclass(frozen=True)
class CardFacts:
    """What no manifest knows: ``name`` for people, ``license`` and ``languages`` as the hub spells them.

    ``files`` has a path or pattern for each split, relative to the card. ``description`` is Markdown.
    """

    name: str
    license: str
    languages: Sequence[str]
    files: Mapping[str, str]
    description: str = ""
    task_categories: Sequence[str] = TASK_CATEGORIES

    def __post_init__(self) -> None:
        if not _LICENSE.fullmatch(self.license):
            raise UsageError(
                f'license "{self.license}" is not as the hub spells it; expected an id in small letters, as cc0-1.0, '
                'cc-by-4.0, apache-2.0 or, for any other, "other"'
            )
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                raise UsageError(f'language "{language}" is not an ISO 639 code in small letters, as en or pt-BR')
        for split, path in self.files.items():
            if not _SPLIT.fullmatch(split):
                raise UsageError(f'split "{split}" cannot be called so on the hub; expected letters, digits, _ and .')
            if not path or path.startswith(("/", "..")):
                raise UsageError(f"{path}: lies outside the card's folder; put the card beside or above its files")


def size_category(num_utterances: int) -> str:
    """The hub's name for a number of examples.

    >>> [size_category(number) for number in (999, 1000, 20_000, 10**9)]
    ['n<1K', '1K<n<10K', '10K<n<100K', '100M<n<1B']
    """
    return next((name for limit, name in SIZES if num_utterances < limit), "100M<n<1B")


def card_head(facts: CardFacts, stats: Mapping[str, Any]) -> dict[str, Any]:
    """The head of the card as a mapping, in the sequence it is written."""
    return {
        "pretty_name": facts.name,
        "license": facts.license,
        "language": list(facts.languages),
        "task_categories": list(facts.task_categories),
        "tags": list(TAGS),
        "size_categories": [size_category(stats["num_utterances"])],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": path} for split, path in facts.files.items()],
            }
        ],
    }


def data_card(facts: CardFacts, stats: Mapping[str, Any]) -> str:
    """The card: head, description, what a line holds, the figures, and how to load it."""
    import yaml

    head = yaml.safe_dump(card_head(facts, stats), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"---\n{head}---\n",
        f"# {' '.join(facts.name.split())}\n",
        f"{facts.description.strip()}\n" if facts.description.strip() else _described(stats),
        _format(facts.files),
        _loading(facts.files),
        "# Figures\n",
        *(table.to_markdown() for table in stats_tables(stats)),
    ]
    return "\n".join(part for part in parts if part)


def _described(stats: Mapping[str, Any]) -> str:
    relations = ", ".join(f"`{name}`" for name in stats["relation_types"]) or "none"
    types = ", ".join(f"`{name}`" for name in stats["entity_types"]) or "none"
    return (
        f"Speech annotated with relation triplets: {stats['num_utterances']} utterances, "
        f"{stats['duration_s']['hours']:g} hours, {stats['num_triplets']} triplets (head, relation, tail).\n\n"
        f"- Relations: {relations}\n- Entity types: {types}\n"
    )


_ANNOTATION = """\
| `entities` | `id`, `text`, `type`, and `start`, `end`: a half-open span of characters of `text` |
| `relations` | `head` and `tail` (ids of entities) and `type`; a triplet is directed |
"""
_LINES = f"""\
# Format

One JSON object a line, UTF-8:

| key | holds |
|---|---|
| `id` | the utterance's name, unique in its file |
| `audio` | `path` of the recording, relative to the file; `start_s` and `duration_s` in seconds |
| `text` | what is said |
| `split`, `speaker` | the part and who speaks, where known |
{_ANNOTATION}| `extra` | what else is known of the utterance |
"""
_ROWS = f"""\
# Format

Parquet, one row an utterance:

| column | holds |
|---|---|
| `id` | the utterance's name, unique in its file |
| `audio` | `bytes` of the recording, or its `path` |
| `text` | what is said |
| `speaker` | who speaks, where known |
{_ANNOTATION}| `start_s`, `duration_s` | in the recording, in seconds, where known |
| `extra` | what else is known of the utterance, as JSON |
| `speechre` | what the columns cannot hold, as JSON, for speechre to read back; other programs can pass over it |
"""


def _format(files: Mapping[str, str]) -> str:
    """What a line or row holds; nothing of files that are neither manifests nor our Parquet."""
    if _are(files, ".jsonl"):
        return _LINES
    return _ROWS if _are(files, ".parquet") else ""


def _are(files: Mapping[str, str], suffix: str) -> bool:
    return bool(files) and all(path.endswith(suffix) for path in files.values())


def _loading(files: Mapping[str, str]) -> str:
    if _are(files, ".jsonl"):
        code = f"""\
from speechre.data.store import read_manifest

for utterance in read_manifest({next(iter(files.values()))!r}):
    print(utterance.id, utterance.triplets)
"""
    elif _are(files, ".parquet"):
        code = f"""\
from datasets import Audio, load_dataset

rows = load_dataset("parquet", data_files={dict(files)!r})
for row in rows[{next(iter(files))!r}].cast_column("audio", Audio(decode=False)):
    print(row["id"], row["text"], row["entities"], row["relations"])
"""
    else:
        return ""
    return f"# Loading\n\n```python\n{code}```\n"
