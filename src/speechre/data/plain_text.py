"""Treebank-style text as people write it, with the entities' spans carried over.

CoNLL04's sentences are tokenized ("`` Salisbury , N.C. ''"). A model that starts from Whisper should write
"Salisbury, N.C.": its transcripts stay readable and it does not have to unlearn how to spell. Only white
space, quotes and letter case change (runs of capitals from datelines become names again), so the text still
equals the annotation under the scoring protocols' normalization, except where a clitic is joined ("People 's"
-> "People's", about 1 % of CoNLL04's triplets).
"""

from __future__ import annotations

import re
from dataclasses import replace

from speechre.types import Entity, Utterance

# Each pattern's group "drop" is deleted.
_DELETIONS = (
    re.compile(r"(?P<drop>` ?`|' '|''|\"|\\)"),  # quotation marks in the styles of the Penn treebank; escapes
    re.compile(r"(?<!\S)(?P<drop>[`'])(?!\S)"),  # single ones, standing alone
    re.compile(r"(?<=\S)(?P<drop> +)(?=[,.;:?!%)\]}](?:\W|$))"),
    re.compile(r"(?<=[(\[{$#])(?P<drop> +)"),
    re.compile(r"(?<=\w)(?P<drop> +)(?='(?:s|t|re|ve|ll|d|m)\b)", re.IGNORECASE),
    re.compile(r"(?<=\bO)(?P<drop> +)(?='[A-Z])"),
)
_SPACES = re.compile(r"(?P<drop>(?:(?<=\s)|^)\s+|\s+$)")
_FULL_STOP = re.compile(r"(?:^|\s)[^\s.,]{6,}\.$")  # after a long word: the sentence's, not an abbreviation's
_CAPITALS = re.compile(r"\b[A-Z]{4,}(?: [A-Z]{4,})+\b|\b[A-Z]{6,}\b")


def plain_utterance(utterance: Utterance) -> Utterance:
    """The utterance with plain text; every entity keeps its id and type and gets its new span and text.

    Entities need spans (``start``, ``end``); one without keeps its text as it is.
    """
    text = _CAPITALS.sub(lambda match: match.group().title(), utterance.text)
    keep = [True] * len(text)
    for pattern in _DELETIONS:
        # Each rule sees what the rules before it left, at the original positions.
        kept = [i for i, is_kept in enumerate(keep) if is_kept]
        current = "".join(text[i] for i in kept)
        for match in pattern.finditer(current):
            for i in range(*match.span("drop")):
                keep[kept[i]] = False
    kept = [i for i, is_kept in enumerate(keep) if is_kept]
    current = "".join(text[i] for i in kept)
    for match in _SPACES.finditer(current):
        for i in range(*match.span("drop")):
            keep[kept[i]] = False
    kept_before = [0]
    for is_kept in keep:
        kept_before.append(kept_before[-1] + is_kept)
    plain = "".join(char for char, is_kept in zip(text, keep, strict=True) if is_kept)
    entities = tuple(_carry(entity, plain, kept_before) for entity in utterance.entities)
    return replace(utterance, text=plain, entities=entities)


def _carry(entity: Entity, plain: str, kept_before: list[int]) -> Entity:
    if entity.start is None or entity.end is None:
        return entity
    start, end = kept_before[entity.start], kept_before[entity.end]
    # Annotated spans often take a comma or a blank along.
    while start < end and plain[start] in " ,;:":
        start += 1
    while end > start and plain[end - 1] in " ,;:":
        end -= 1
    if end == len(plain) and _FULL_STOP.search(plain[start:end]):
        end -= 1
    if start == end:  # nothing but quotes and blanks: keep what the annotator wrote
        return replace(entity, start=None, end=None)
    return replace(entity, text=plain[start:end], start=start, end=end)
