"""SHA-256 of files and texts."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from speechre.digests import file_sha256, policy_hash


def test_a_file_of_several_blocks_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert len(content) > 2 * (1 << 20)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_policy_names_the_digest_of_utf_8() -> None:
    kind, _, digest = policy_hash("a { color: \u00fc }").partition("-")
    assert kind == "sha256"
    assert base64.b64decode(digest) == hashlib.sha256("a { color: \u00fc }".encode()).digest()
