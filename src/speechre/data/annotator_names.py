"""Who annotated, as a manifest tells it: names and e-mail addresses that a published data set need not carry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from speechre.data.adjudicate import EXTRA_KEY as MERGED
from speechre.data.label_studio_export import EXTRA_KEY as EXPORTED
from speechre.errors import list_some
from speechre.types import Utterance

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_STAND_IN = re.compile(r"a[1-9]\d*")


def stand_ins(count: int) -> list[str]:
    """What annotators are called who are not to be named, in their sequence.

    >>> stand_ins(3)
    ['a1', 'a2', 'a3']
    """
    return [f"a{number}" for number in range(1, count + 1)]


def without_provenance(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances without what Label Studio's export said of their annotation: it holds addresses and numbers."""
    return [
        replace(utterance, extra={key: value for key, value in utterance.extra.items() if key != EXPORTED})
        for utterance in utterances
    ]


def named_annotators(utterances: Iterable[Utterance]) -> list[str]:
    """The annotators whom ``extra`` names, in the sequence of the alphabet: those of ``agreement`` (unless they are
    :func:`stand_ins`), and every e-mail address there or in ``label_studio``.
    """
    names: set[str] = set()
    for utterance in utterances:
        merged = utterance.extra.get(MERGED)
        said = merged.get("annotators") if isinstance(merged, Mapping) else None
        if isinstance(said, Sequence) and not isinstance(said, str):
            names |= {name for name in said if isinstance(name, str) and not _STAND_IN.fullmatch(name)}
        told = {key: utterance.extra[key] for key in (MERGED, EXPORTED) if key in utterance.extra}
        names |= set(_ADDRESS.findall(json.dumps(told, ensure_ascii=False))) if told else set()
    return sorted(names)


def notes_on_names(utterances: Iterable[Utterance]) -> list[str]:
    """One sentence for people who are about to publish the utterances, or none where nobody is named."""
    names = named_annotators(utterances)
    if not names:
        return []
    return [
        f'"extra" names who annotated: {list_some(names)}; to publish without names, merge with '
        '"speechre data agreement --anonymous" and read exports with "from-label-studio --no-provenance"'
    ]
