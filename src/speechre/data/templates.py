"""A sentence grammar for spoken corpora: templates with typed slots and the relations between them.

One template a line, ``#`` begins a comment line::

    [person:a], who (runs|ran) [company:b] in [uscity:c], [state@c:d], resigned. => a Work_For b; b OrgBased_In c

- ``[class:x]``: an entity; ``x``, a letter, names it. ``[=x]`` says it again, ``[surname=x]`` its last word.
- ``[state@c:d]``, ``[country@c:d]``: the place in which city ``c`` lies. ``[nationality@d]``: a plain word.
- ``(one|two|)``: one of these texts. ``{month}``: a filler (:data:`FILLERS`), which is no entity.
- behind `` => ``: all relations that the sentence states, separated by ``;``. None: it states no relation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from speechre.errors import DataError
from speechre.schema import Schema
from speechre.types import Entity, Relation

CLASSES: Mapping[str, str] = {
    **dict.fromkeys(("person", "firstname", "surname"), "Peop"),
    **dict.fromkeys(("city", "uscity", "country", "state", "region", "river", "mountain", "lake", "island"), "Loc"),
    **dict.fromkeys(
        (
            *("company", "agency", "university", "newspaper", "broadcaster", "party", "team", "union", "hospital"),
            *("bank", "museum", "school", "club", "charity", "orchestra", "military"),
        ),
        "Org",
    ),
    **dict.fromkeys(("event", "product", "book"), "Other"),
}
"""Slot class -> entity type of CoNLL04."""

FILLERS = ("month", "weekday", "year", "small", "number", "money", "percent", "age", "time")

_TOKEN = re.compile(r"\[([^\]]*)\]|\(([^()]*)\)")
_FILLER = re.compile(r"\{(\w+)\}")
_SLOT = re.compile(r"(?P<kind>[a-z]+)(?:@(?P<of>[a-z]))?:(?P<name>[a-z])")
_AGAIN = re.compile(r"(?P<how>surname)?=(?P<name>[a-z])")
_PLAIN_OF = re.compile(r"(?P<kind>[a-z]+)@(?P<of>[a-z])")


@dataclass(frozen=True)
class Text:
    """One of some literal texts, in which fillers may stand."""

    choices: tuple[str, ...]


@dataclass(frozen=True)
class Dependent:
    """A plain word that depends on the slot ``of``."""

    kind: str
    of: str


@dataclass(frozen=True)
class Slot:
    """An entity of ``type``. ``again`` is "" where it is first said, else "all" or "surname"."""

    kind: str
    name: str
    type: str
    of: str = ""
    again: str = ""


@dataclass(frozen=True)
class Template:
    """A sentence to be filled in; ``source`` is "file:line"."""

    source: str
    parts: tuple[Text | Dependent | Slot, ...]
    relations: tuple[tuple[str, str, str], ...]


class Names(Protocol):
    """Where names come from."""

    def name(self, kind: str, rng: random.Random) -> str:
        """A name of a class, e.g. ``"city"``."""

    def of(self, kind: str, name: str, rng: random.Random) -> str:
        """What belongs to a name: the ``"state"`` or ``"country"`` of a city, the ``"nationality"`` of a country."""

    def filler(self, kind: str, rng: random.Random) -> str:
        """A plain word or number, e.g. ``"month"``."""


@dataclass
class Filled:
    """A finished sentence with its entities (half-open character offsets) and relations."""

    text: str
    entities: list[Entity] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)


def read_templates(
    lines: Iterable[str], file: str, schema: Schema, classes: Mapping[str, str] = CLASSES
) -> list[Template]:
    """The templates of a file; ``classes`` gives the entity type of each slot class.

    Raises :class:`DataError` with file and line on any fault.
    """
    templates = []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            templates.append(_parse(line, f"{file}:{number}", schema, classes))
    return templates


def _parse(line: str, source: str, schema: Schema, classes: Mapping[str, str]) -> Template:
    sentence, _, stated = line.partition(" => ")
    parts: list[Text | Dependent | Slot] = []
    kinds: dict[str, str] = {}
    at = 0
    for match in _TOKEN.finditer(sentence):
        if match.start() > at:
            parts.append(Text((sentence[at : match.start()],)))
        at = match.end()
        slot, choices = match.groups()
        parts.append(Text(tuple(choices.split("|"))) if slot is None else _parse_slot(slot, kinds, source, classes))
    if at < len(sentence):
        parts.append(Text((sentence[at:],)))
    for text in (text for part in parts if isinstance(part, Text) for text in part.choices):
        unknown = set(_FILLER.findall(text)) - set(FILLERS)
        if unknown or any(mark in _FILLER.sub("", text) for mark in "[](){}"):
            what = f"unknown filler {min(unknown)}" if unknown else "a bracket that is not closed, or one in another"
            raise DataError(f"{source}: {what}: {line[:80]}")
    stated_all = (text for text in stated.split(";") if text.strip())
    relations = tuple(_parse_relation(text, kinds, source, schema, classes) for text in stated_all)
    return Template(source, tuple(parts), relations)


def _parse_slot(text: str, kinds: dict[str, str], source: str, classes: Mapping[str, str]) -> Slot | Dependent:
    """One ``[...]``; notes the class of a new name in ``kinds``."""
    if match := _AGAIN.fullmatch(text):
        name = match["name"]
        if name not in kinds:
            raise DataError(f"{source}: [{text}] stands before the slot {name} that it repeats")
        return Slot(kinds[name], name, classes[kinds[name]], again=match["how"] or "all")
    if match := _SLOT.fullmatch(text):
        kind, name, of = match["kind"], match["name"], match["of"] or ""
        if kind not in classes:
            raise DataError(f"{source}: unknown class {kind} in [{text}]; known: {', '.join(classes)}")
        if name in kinds:
            raise DataError(f"{source}: two slots are named {name}; say an entity again with [={name}]")
        kinds[name] = kind
    elif match := _PLAIN_OF.fullmatch(text):
        kind, of, name = match["kind"], match["of"], ""
    else:
        raise DataError(f"{source}: cannot read the slot [{text}]; expected [class:letter]")
    if of and of not in kinds:
        raise DataError(f"{source}: [{text}] stands before the slot {of} that it depends on")
    return Slot(kind, name, classes[kind], of) if name else Dependent(kind, of)


def _parse_relation(
    text: str, kinds: Mapping[str, str], source: str, schema: Schema, classes: Mapping[str, str]
) -> tuple[str, str, str]:
    words = text.split()
    if len(words) != 3 or words[0] not in kinds or words[2] not in kinds:
        raise DataError(f'{source}: cannot read the relation "{text.strip()}"; expected "slot Type slot"')
    head, relation, tail = words
    schema.check_relation(relation)
    if not schema.allows(classes[kinds[head]], relation, classes[kinds[tail]]):
        raise DataError(f'{source}: "{text.strip()}" relates a {kinds[head]} and a {kinds[tail]}')
    return head, relation, tail


def fill(template: Template, names: Names, rng: random.Random) -> Filled:
    """One sentence. No two slots get the same name, and the sentence begins with a capital letter."""
    known: dict[str, str] = {}
    entity_ids: dict[str, str] = {}
    filled = Filled("")
    for part in template.parts:
        if isinstance(part, Text):
            text = _FILLER.sub(lambda match: names.filler(match[1], rng), rng.choice(part.choices))
            filled.text += _joined(filled.text, text)
        elif isinstance(part, Dependent):
            filled.text += names.of(part.kind, known[part.of], rng)
        else:
            _say(part, filled, known, entity_ids, names, rng)
    filled.text = filled.text[:1].upper() + filled.text[1:]
    first = filled.entities[0] if filled.entities else None
    if first is not None and first.start == 0:  # a name is not respelled
        filled.text = first.text + filled.text[len(first.text) :]
    filled.relations = [Relation(entity_ids[head], entity_ids[tail], kind) for head, kind, tail in template.relations]
    return filled


def _joined(before: str, text: str) -> str:
    """``text`` without a blank that would follow another: an empty choice leaves two."""
    return text.lstrip(" ") if before.endswith(" ") or not before else text


def _say(
    slot: Slot,
    filled: Filled,
    known: dict[str, str],
    entity_ids: dict[str, str],
    names: Names,
    rng: random.Random,
) -> None:
    """Append an entity. A repetition is an entity too, but relations are between first mentions."""
    if slot.name not in known:
        known[slot.name] = _new_name(slot, known, names, rng)
    text = known[slot.name]
    if slot.again == "surname":
        text = text.split()[-1]
    start = len(filled.text)
    entity_id = f"e{len(filled.entities)}"
    filled.text += text
    filled.entities.append(Entity(text, slot.type, id=entity_id, start=start, end=start + len(text)))
    entity_ids.setdefault(slot.name, entity_id)


def _new_name(slot: Slot, known: Mapping[str, str], names: Names, rng: random.Random) -> str:
    if slot.of:
        return names.of(slot.kind, known[slot.of], rng)
    taken = {word for name in known.values() for word in (name, name.split()[-1])}
    for _ in range(100):
        name = names.name(slot.kind, rng)
        if name not in taken and name.split()[-1] not in taken:
            return name
    raise DataError(f"the class {slot.kind} has too few names for a sentence with several")


def spread(templates: Sequence[Template], count: int, rng: random.Random) -> list[Template]:
    """``count`` templates, each about equally often, in random sequence."""
    rounds = -(-count // len(templates))
    chosen = [template for _ in range(rounds) for template in rng.sample(list(templates), len(templates))]
    return rng.sample(chosen[:count], count)
