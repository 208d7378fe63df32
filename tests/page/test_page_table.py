"""Tables in Markdown, and documents without their template engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from speechre.errors import UsageError
from speechre.page.document import render_document
from speechre.page.table import Table


def test_markdown_has_a_row_for_each_row_and_escapes_its_bars() -> None:
    table = Table("Title", ("what", "number"), (("a|b", "1"), ("c", "2")))
    assert table.to_markdown() == "## Title\n\n| what | number |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 2 |\n"


def test_a_document_without_jinja2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r'"pip install speechre\[report\]"'):
        render_document(Path("x.html"), {})
