"""Plots are well-formed, stay on their paper and escape what they are given."""

from __future__ import annotations

import doctest
import re
from xml.etree import ElementTree

import pytest

import speechre.page.plots
from speechre.page.plots import (
    HEIGHT,
    WIDTH,
    Line,
    Row,
    bar_plot,
    histogram_plot,
    interval_plot,
    line_plot,
    reliability_plot,
)
from speechre.reliability import Bin, Judged, equal_mass_bins, equal_width_bins

HOSTILE = '<script>alert("x")</script>&\'"'


def drawn(svg: str) -> ElementTree.Element:
    """The parsed drawing; every number of it lies on the paper."""
    root = ElementTree.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert width == WIDTH
    for node in root.iter():
        for name, limit in (("x", width), ("x1", width), ("cx", width), ("y", height), ("y1", height), ("cy", height)):
            if name in node.attrib:
                assert 0 <= float(node.attrib[name]) <= limit, (node.tag, node.attrib)
        for pair in node.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert (0 <= x <= width, 0 <= y <= height) == (True, True)
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(node.itertext()) for node in root.iter() if node.tag in ("text", "title")]


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.page.plots)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_a_line_has_a_point_for_every_value_at_its_place() -> None:
    root = drawn(line_plot("T", [Line("F1", "f1", [(0.0, 0.0), (0.5, 0.4), (1.0, 0.2)])], "t", (0.0, 1.0), 0.5))
    (points,) = [node.attrib["points"].split() for node in root.iter("polyline")]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2)
    (mark,) = [node for node in root.iter("line") if node.attrib["class"] == "mark"]
    assert float(mark.attrib["x1"]) == pytest.approx(x1)
    assert "F1 40.0 at 0.5" in texts(root)
    assert "in use: 0.5" in texts(root)


@pytest.mark.parametrize("mark", [None, 0.0, 1.0])
def test_odd_lines_are_drawn_too(mark: float | None) -> None:
    none = drawn(line_plot("none", [Line("F1", "f1", [])], "t", (0.0, 1.0), mark))
    one_vote = drawn(line_plot("one vote", [Line("F1", "f1", [(1, 0.0)])], "votes", (1,), None))
    over = drawn(line_plot("over 100 %", [Line("recall", "recall", [(0.0, 1.33)])], "t", (0.0, 1.0), mark))
    for root, num_points in ((none, 0), (one_vote, 1), (over, 1)):
        (line,) = root.iter("polyline")
        assert len(line.attrib["points"].split()) == num_points
        assert len([node for node in root.iter("circle") if "dot" in node.attrib["class"]]) == num_points
    assert "F1 0.0 at 1" in texts(one_vote)
    assert "recall 133.0 at 0" in texts(over)
    for root in (none, over):
        shown = [text for text in texts(root) if text.startswith("in use")]
        assert shown == ([] if mark is None else [f"in use: {mark:g}"])
        assert len([node for node in root.iter("line") if node.attrib["class"] == "mark"]) == len(shown)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_row_for_every_figure(count: int) -> None:
    root = drawn(interval_plot("T", [Row(f"r{i}", i / 40, 0.0, i / 40) for i in range(count)]))
    assert sum(text.startswith("r") and ":" not in text for text in texts(root)) == count
    assert len([node for node in root.iter("circle") if "dot" in node.attrib["class"]]) == count


def test_the_interval_is_drawn_to_scale() -> None:
    root = drawn(interval_plot("T", [Row("a", 0.5, 0.25, 0.75), Row("b", 1.0, 0.0, 1.0)]))
    first, second = [node.attrib for node in root.iter("line") if "whisker" in node.attrib["class"]]
    length = [float(node["x2"]) - float(node["x1"]) for node in (first, second)]
    assert length[0] == pytest.approx(length[1] / 2, abs=0.2)


@pytest.mark.parametrize("bins_of", [equal_width_bins, equal_mass_bins])
def test_reliability_has_a_bar_for_every_bin_that_holds_something(bins_of: object) -> None:
    judged = [Judged(c, c > 0.5) for c in (0.0, 0.1, 0.1, 0.62, 0.97, 1.0)]
    bins: list[Bin] = bins_of(judged)  # type: ignore[operator]
    root = drawn(reliability_plot("T", bins))
    bars = [node for node in root.iter("rect") if node.attrib["class"] == "bar"]
    assert len(bars) == sum(b.num_triplets > 0 for b in bins)
    assert max(float(bar.attrib["height"]) for bar in bars) < HEIGHT


def test_nothing_to_draw_is_still_a_plot() -> None:
    root = drawn(reliability_plot("T", equal_width_bins([])))
    assert root.attrib["aria-label"] == "T"
    assert "confidence, in percent" in texts(root)
    assert [node.attrib["class"] for node in root.iter("line") if node.attrib["class"] != "grid"] == ["ideal"]
    assert not list(root.iter("rect"))


def test_text_is_escaped() -> None:
    plots = [
        line_plot(HOSTILE, [Line(HOSTILE, "f1", [(0.0, 0.1)])], HOSTILE, (0.0, 1.0), None),
        interval_plot(HOSTILE, [Row(HOSTILE, 0.1, 0.0, 0.2, HOSTILE)]),
        reliability_plot(HOSTILE, equal_width_bins([Judged(0.5, True)])),
        bar_plot(HOSTILE, {HOSTILE: 1}),
        histogram_plot(HOSTILE, {HOSTILE: 1}, HOSTILE),
    ]
    for svg in plots:
        assert "<script" not in svg
        assert any(HOSTILE in text for text in texts(drawn(svg)))
        assert drawn(svg).attrib["aria-label"] == HOSTILE
        assert not re.search(r"https?:|url\(|href", svg)


def bars(svg: str) -> list[dict[str, str]]:
    return [node.attrib for node in drawn(svg).iter("rect") if node.attrib["class"] == "bar"]


def test_bars_are_drawn_to_scale() -> None:
    lying = [float(bar["width"]) for bar in bars(bar_plot("T", {"a": 40, "b": 10, "": 0}))]
    assert lying == pytest.approx([lying[0], lying[0] / 4, 0.0], abs=0.1)
    standing = [float(bar["height"]) for bar in bars(histogram_plot("T", {"0-2": 40, "2-4": 0, "4-6": 10}, "s"))]
    assert standing == pytest.approx([standing[0], standing[0] / 4], abs=0.1)


def test_many_bars_are_cut_and_the_rest_is_counted() -> None:
    svg = bar_plot("T", {f"r{i}": 100 - i for i in range(50)}, max_bars=10)
    assert len(bars(svg)) == 10
    assert f"41 others: {sum(100 - i for i in range(9, 50))}" in " ".join(texts(drawn(svg)))


def test_every_bin_has_its_place_and_some_have_their_name() -> None:
    svg = histogram_plot("T", {f"{i}-{i + 1}": i + 1 for i in range(20)}, "seconds")
    places = [float(bar["x"]) for bar in bars(svg)]
    assert places == sorted(places)
    assert len(places) == 20
    named = [text for text in texts(drawn(svg)) if "-" in text and ":" not in text]
    assert named == [f"{i}-{i + 1}" for i in range(0, 20, 2)]


@pytest.mark.parametrize("counts", [{}, {"a": 0}, {"a": 1}, {"a": 10**9}])
def test_nothing_and_much_are_drawn_too(counts: dict[str, int]) -> None:
    lying, standing = bar_plot("T", counts), histogram_plot("T", counts, "x")
    assert len(bars(lying)) == len(counts)
    assert len(bars(standing)) == sum(count > 0 for count in counts.values())
    for name, count in counts.items():
        assert f"{name}: {count}" in " ".join(texts(drawn(lying)))
        assert {name, str(count)} <= set(texts(drawn(lying)))
        assert name in texts(drawn(standing))
        # The scale reaches the bar.
        assert max(int(text) for text in texts(drawn(standing)) if text.isdigit()) >= count
