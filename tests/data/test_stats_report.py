"""The statistics as tables, Markdown and a page: the figures are in it, and whatever the data holds is only text."""

from __future__ import annotations

import re

from speechre.data.stats import manifest_stats
from speechre.data.stats_report import MAX_ROWS, PATTERNS, stats_markdown, stats_page, stats_tables
from speechre.types import AudioRef, Entity, Relation, Utterance
from tests.html_page import HOSTILE, Page


def corpus(name: str = "Live_In", speaker: str = "s") -> list[Utterance]:
    entities = tuple(Entity(text, kind, f"e{i}") for i, (text, kind) in enumerate([("Ann", "Peop"), ("Oslo", "Loc")]))
    links = (Relation("e0", "e1", name), Relation("e0", "e1", "Work_For"))
    return [
        Utterance("a", AudioRef("a.wav", 0.0, 3.5), "Ann lives in Oslo", entities, links, "train", speaker),
        Utterance("b", AudioRef("b.wav"), "Nothing at all", (), (), "dev", speaker, {"accents": name}),
    ]


def test_every_figure_of_the_whole_is_in_the_tables() -> None:
    stats = manifest_stats(corpus())
    rows = {(table.title, row[0]): row[1:] for table in stats_tables(stats) for row in table.rows}
    assert rows["The whole", "triplets"] == ("2",)
    assert rows["The whole", "of unknown duration"] == ("1",)
    assert rows["Parts", "train"] == ("1", "2", "1", "4", "0.001")
    assert rows["Overlap of triplets", PATTERNS["entity_pair"]] == ("1", "50.0")
    assert rows["Relations", "Live_In"] == ("1", "50.0")
    assert rows["Durations", "3.5-4"] == ("1", "100.0")
    assert rows["Accents", "unknown"] == ("1", "50.0")
    assert rows["Frequent words", "ann"] == ("1", "14.3")


def test_markdown_is_a_page_of_tables() -> None:
    text = stats_markdown("My\nset", manifest_stats(corpus()))
    assert text.startswith("# My set\n\n## The whole\n\n| what | number |\n| --- | ---: |\n| utterances | 2 |\n")
    assert "| Normal: triplets that share no entity | 0 | 0.0 |" in text


def test_long_distributions_are_cut_and_say_so() -> None:
    many = [Utterance(f"u{i}", None, speaker=f"s{i:03}") for i in range(MAX_ROWS + 2)]
    (table,) = [t for t in stats_tables(manifest_stats(many)) if t.title.startswith("Speakers")]
    assert table.title == f"Speakers: the {MAX_ROWS} most frequent of {MAX_ROWS + 2}"
    assert len(table.rows) == MAX_ROWS


def test_the_page_shows_figures_and_plots() -> None:
    page = Page(stats_page("My set", manifest_stats(corpus())))
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Relations",
        "Entities",
        "Triplets per utterance",
        "Overlap of triplets",
        "Durations",
        "Accents",
        "Frequent words",
    ]
    assert "triplets 2 in 1 utterances" in page.text
    assert "2 utterances (train 1, dev 1)" in page.text
    assert {a["href"] for a in page.all("a")} == {f"#{section['id']}" for section in page.all("section")}


def test_nothing_at_all_is_a_page_too() -> None:
    page = Page(stats_page("none", manifest_stats([])))
    assert "No duration is known." in page.text
    assert stats_markdown("none", manifest_stats([])).startswith("# none")


def test_hostile_text_is_only_ever_text() -> None:
    stats = manifest_stats(corpus(HOSTILE, HOSTILE))
    page = Page(stats_page(HOSTILE, stats))
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"<[^>]+ style=", stats_page(HOSTILE, stats)), "the policy forbids style attributes"
    assert all("\n" not in cell for table in stats_tables(stats) for row in table.rows for cell in row)
