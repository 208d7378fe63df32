"""docs/engines.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "engines.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())  # wherever its lines end


def test_the_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "engines.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_the_budget_and_the_limits_are_those_of_the_code() -> None:
    from speechre.extract import batching

    assert f"{batching.DEFAULT_MEMORY_MIB:,} MiB unless told otherwise" in PROSE
    assert f"({batching._MAX_AUTO} at most)" in PROSE
    assert f"(at most {batching._WINDOW_CHUNKS}, or {batching._WINDOW_CHUNKS_S / 60:.0f} minutes)" in PROSE
