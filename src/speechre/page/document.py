"""HTML documents that need nothing else, made from ``frame.html``, ``page.css`` and ``page.js``.

A room brings its own template, which extends ``frame.html``. Everything that comes from data passes the template's
escaping or that of :mod:`speechre.page.plots`. A content security policy in the document allows its own style and
script, by their hashes, and sound from data URIs: no other script runs and no address is asked for anything, whatever
the data holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechre import __version__
from speechre.digests import policy_hash
from speechre.errors import UsageError

_FOLDER = Path(__file__).parent
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def check_template_engine() -> None:
    """Raises :class:`UsageError` where Jinja2 is missing."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise UsageError(
            'a report needs the package jinja2, which is not installed; run "pip install speechre[report]"'
        ) from error


def render_document(template: Path, context: Mapping[str, Any]) -> str:
    """A template that extends ``frame.html``, filled with ``context``, as HTML text.

    Raises :class:`UsageError` where Jinja2 is missing.
    """
    check_template_engine()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    page = environment.get_template(template.name).render(
        version=__version__,
        style=style,
        script=script,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        **context,
    )
    return _CONTROL.sub("\ufffd", page)  # what HTML cannot say
