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
        _FORMAT,
        _loading(facts),
        "# Figures\n",
        *(table.to_markdown() for table in stats_tables(stats)),
    ]
    return "\n".join(parts)


def _described(stats: Mapping[str, Any]) -> str:
    relations = ", ".join(f"`{name}`" for name in stats["relation_types"]) or "none"
    types = ", ".join(f"`{name}`" for name in stats["entity_types"]) or "none"
    return (
        f"Speech annotated with relation triplets: {stats['num_utterances']} utterances, "
        f"{stats['duration_s']['hours']:g} hours, {stats['num_triplets']} triplets (head, relation, tail).\n\n"
        f"- Relations: {relations}\n- Entity types: {types}\n"
    )


_FORMAT = """\
# Format

One JSON object a line, UTF-8:

| key | holds |
|---|---|
| `id` | the utterance's name, unique in its file |
| `audio` | `path` of the recording, relative to the file; `start_s` and `duration_s` in seconds |
| `text` | what is said |
| `split`, `speaker` | the part and who speaks, where known |
| `entities` | `id`, `text`, `type`, and `start`, `end`: a half-open span of characters of `text` |
| `relations` | `head` and `tail` (ids of entities) and `type`; a triplet is directed |
| `extra` | what else is known of the utterance |
"""


def _loading(facts: CardFacts) -> str:
    path = next((path for path in facts.files.values() if path.endswith(".jsonl")), None)
    if path is None:
        return ""
    return f"""\
# Loading

```python
from speechre.data.store import read_manifest

for utterance in read_manifest({path!r}):
    print(utterance.id, utterance.triplets)
```
"""
