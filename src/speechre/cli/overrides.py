"""Settings of a recipe on the command line."""

from __future__ import annotations

import re

from speechre.errors import UsageError

_OVERRIDE = re.compile(r"--([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:=(.*))?", re.DOTALL)


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes ``--section.key value`` and ``--section.key=value`` out of ``argv``.

    Raises :class:`UsageError` on one without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            return [*rest, argument, *arguments], overrides
        match = _OVERRIDE.fullmatch(argument)
        if match is None:
            rest.append(argument)
            continue
        value = match[2] if match[2] is not None else next(arguments, None)
        if value is None or (match[2] is None and value.startswith("--")):
            raise UsageError(
                f'{argument} has no value; give it one (see "speechre train --help"), or put -- before a file of this '
                "name"
            )
        overrides[match[1]] = value
    return rest, overrides
