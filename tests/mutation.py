"""Random changes of JSON values, tables and bytes, for tests of what comes from outside."""

from __future__ import annotations

import random
from typing import Any

WORDS = (
    *(
        b'"',
        b"null",
        b"-1",
        b"1e999",
        b"[]",
        b"{}",
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"<triplet>",
        b"<obj>",
        b"true",
        b"nan",
    ),
    *(b"../", b"\xff", "\u2028 é".encode(), b"9" * 5000),
    b"\xed\xa0\x80",  # half a character
)
ODD_CELLS = ("", " ", "0", "-1", "x", "1e9", "²", "a:0:9", "<triplet> a <subj> b <obj>", '"', "\u2028", "é" * 300)
ODD_VALUES = (
    *(None, "", " ", -1, 3, 1.5, 10**30, True, [], {}, "e0", "<Peop>", "Uma Reyes ", "Velden", "\ud800", "\x00"),
    "é" * 300,  # a name that no file can have
)


def mutate(rng: random.Random, value: Any) -> Any:
    """One random change somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        what = rng.random()
        if what < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if what < 0.3:
            return {**value, rng.choice(["speaker", "new", "start", "id", key]): rng.choice(ODD_VALUES)}
        return {**value, key: mutate(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if rng.random() < 0.3:
            return [*value, value[place]]
        return [*value[:place], mutate(rng, value[place]), *value[place + 1 :]]
    return rng.choice(ODD_VALUES)


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """One byte or stretch changed, cut out, doubled or replaced by something that means something."""
    at, to = sorted(rng.choices(range(len(content) + 1), k=2))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if kind == 1:
        return content[:at] + content[min(to, at + 40) :]
    if kind == 2:
        return content[:to]
    if kind == 3:
        return content[:at] + content[at : min(to, at + 60)] * 2 + content[at:]
    return content[:at] + rng.choice(WORDS) + content[min(len(content), at + rng.randrange(6)) :]


def change_cells(content: bytes, rng: random.Random) -> bytes:
    """A cell of a table changed or lost, or a row doubled, lost or moved."""
    rows = [line.split("\t") for line in content.decode().splitlines()]
    at, other = (rng.randrange(len(rows)) for _ in range(2))
    kind = rng.randrange(5)
    if kind == 0:
        rows.insert(other, rows[at])
    elif kind == 1:
        rows[at], rows[other] = rows[other], rows[at]
    elif kind == 2:
        del rows[at][rng.randrange(len(rows[at]))]
    else:
        rows[at][rng.randrange(len(rows[at]))] = rng.choice([*ODD_CELLS, *rows[other]])
    return ("\n".join("\t".join(row) for row in rows) + "\n").encode()
