"""A table: the one form that terminals, Markdown and pages are written from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names the row, numbers stand in the others."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """The table as GitHub's Markdown, under its title."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, rule, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([f"## {self.title}", "", *lines, ""])
