"""Names that are made of what they name: the same in every graph that says the same, so that exports can meet in one
database.
"""

from __future__ import annotations

import hashlib
import json

_DIGEST_CHARS = 12


def digest(*parts: str) -> str:
    """12 hexadecimal digits; parts are kept apart, and any text is one, lone surrogates of file names too.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    content = json.dumps(parts).encode("ascii")  # JSON escapes whatever is not ASCII
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]
