"""Plots as SVG text, drawn by hand: no library, no script, no network.

Colours are not here but in the page's style sheet (``page.css``), by class, so that one drawing serves light and dark.
Whatever text comes in is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from speechre.reliability import Bin

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 34, 42
_ROW, _NAME_WIDTH = 26, 118


@dataclass(frozen=True)
class Line:
    """A named line of points; ``css`` is its class: ``f1``, ``precision`` or ``recall``."""

    name: str
    css: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """A figure with its interval, fractions from 0 to 1; ``note`` stands in its tooltip."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    is_strong: bool = False


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie on the paper: x from ``x0`` to ``x1``, y from 0 to ``y1``."""

    x0: float
    x1: float
    y1: float

    def x(self, value: float) -> float:
        share = (value - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self.y1 * (HEIGHT - _TOP - _BOTTOM)


def line_plot(title: str, lines: Sequence[Line], x_label: str, x_ticks: Sequence[float], mark: float | None) -> str:
    """Lines over ``x_ticks``, in percent; ``mark`` is a place on the x axis to point out."""
    top = max((y for line in lines for _, y in line.points), default=1.0)
    frame = _Frame(x_ticks[0], x_ticks[-1], _nice_top(top))
    parts = [*_axes(frame, x_label, x_ticks), *_legend(lines)]
    if mark is not None:
        x = frame.x(mark)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        side, shift = ("note end", -5) if x > WIDTH * 0.7 else ("note", 5)
        parts.append(f'<text class="{side}" x="{x + shift:.1f}" y="{_TOP + 10}">in use: {mark:g}</text>')
    for line in lines:
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line {line.css}" points="{path}"/>')
        for x, y in line.points:
            tip = f"{line.name} {100 * y:.1f} at {x:g}"
            parts.append(_dot(frame.x(x), frame.y(y), f"dot {line.css}", tip, 2.2))
    return _svg(title, HEIGHT, parts)


def interval_plot(title: str, rows: Sequence[Row]) -> str:
    """One row a figure: a dot, and a line over its interval, in percent."""
    height = _TOP + _ROW * len(rows) + 14
    top = _nice_top(max((row.high for row in rows), default=1.0))
    left = _NAME_WIDTH + 8

    def x(value: float) -> float:
        return left + value / top * (WIDTH - left - _RIGHT - 32)

    bottom = _TOP - 14 + _ROW * len(rows)
    parts = []
    for tick in _ticks(top):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 14}" y2="{bottom}"/>')
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{bottom + 17}">{100 * tick:g}</text>')
    for place, row in enumerate(rows):
        y = _TOP - 14 + _ROW * (place + 0.5)
        strong = " strong" if row.is_strong else ""
        tip = f"{row.name}: {100 * row.value:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f}){row.note}"
        parts.append(f'<text class="label end{strong}" x="{_NAME_WIDTH}" y="{y + 4:.1f}">{_short(row.name)}</text>')
        parts.append(
            f'<line class="whisker f1{strong}" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_dot(x(row.value), y, f"dot f1{strong}", tip, 4.5))
        parts.append(
            f'<text class="value{strong}" x="{WIDTH - _RIGHT - 26}" y="{y + 4:.1f}">{100 * row.value:.1f}</text>'
        )
    return _svg(title, height, parts)


def reliability_plot(title: str, bins: Sequence[Bin]) -> str:
    """Share of hits over confidence: one bar a bin, the diagonal of a perfect confidence, and below how many there are.

    The gap between a bar's end and the diagonal is that bin's part of the calibration error.
    """
    frame = _Frame(0.0, 1.0, 1.0)
    ticks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    parts = [*_axes(frame, "confidence, in percent", ticks, in_percent=True)]
    most = max((b.num_triplets for b in bins), default=1)
    for one in bins:
        if one.share_of_hits is None or one.mean_confidence is None:
            continue
        left, right = frame.x(one.low), frame.x(one.high)
        width = max(right - left - 1.5, 1.5)
        top, meant = frame.y(one.share_of_hits), frame.y(one.mean_confidence)
        tip = (
            f"confidence {100 * one.low:.1f} to {100 * one.high:.1f}: {one.num_triplets} triplets, "
            f"{100 * one.share_of_hits:.1f} % right, mean confidence {100 * one.mean_confidence:.1f} %"
        )
        gap_top, gap_height = min(top, meant), abs(top - meant)
        crowd = 16 * one.num_triplets / most
        parts.append(
            f'<g><rect class="bar" x="{left + 0.75:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{frame.y(0) - top:.1f}"/><rect class="gap" x="{left + 0.75:.1f}" y="{gap_top:.1f}" '
            f'width="{width:.1f}" height="{gap_height:.1f}"/><rect class="crowd" x="{left + 0.75:.1f}" '
            f'y="{_TOP - 2 - crowd:.1f}" width="{width:.1f}" height="{crowd:.1f}"/><title>{escape(tip)}</title></g>'
        )
    ends = (frame.x(0), frame.x(1), frame.y(0), frame.y(1))
    parts.append('<line class="ideal" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'.format(*ends))
    return _svg(title, HEIGHT, parts)


def bar_plot(title: str, counts: Mapping[str, int], max_bars: int = 24) -> str:
    """A bar for each name, in the sequence given; what is over ``max_bars`` is added up in the last one.

    >>> bar_plot("Types", {"Loc": 3, "Org": 1}).count('<rect class="bar"')
    2
    """
    shown = list(counts.items())
    if len(shown) > max_bars:
        rest = shown[max_bars - 1 :]
        shown = [*shown[: max_bars - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    total, most = sum(counts.values()), max((count for _, count in shown), default=0)
    left, room = _NAME_WIDTH + 8, WIDTH - _NAME_WIDTH - 8 - _RIGHT - 44
    parts = []
    for place, (name, count) in enumerate(shown):
        y = _TOP - 14 + _ROW * (place + 0.5)
        width = room * count / most if most else 0.0
        tip = f"{name or 'unknown'}: {count}" + (f" ({100 * count / total:.1f} %)" if total else "")
        parts.append(f'<text class="label end" x="{_NAME_WIDTH}" y="{y + 4:.1f}">{_short(name or "unknown")}</text>')
        parts.append(
            f'<g><rect class="bar" x="{left}" y="{y - 8:.1f}" width="{width:.1f}" height="16"/>'
            f"<title>{escape(tip)}</title></g>"
        )
        parts.append(f'<text class="value" x="{left + width + 6:.1f}" y="{y + 4:.1f}">{count}</text>')
    return _svg(title, _TOP - 14 + _ROW * len(shown) + 8, parts)


def histogram_plot(title: str, counts: Mapping[str, int], x_label: str) -> str:
    """Standing bars, one a bin, in the sequence given, under a scale of whole numbers.

    >>> histogram_plot("Durations", {"0-2": 3, "2-4": 0, "4-6": 1}, "seconds").count('<rect class="bar"')
    2
    """
    most = max(counts.values(), default=0)
    step = _whole_step(most)
    frame = _Frame(0.0, float(len(counts) or 1), float(step * max(1, math.ceil(most / step))))
    parts = []
    for tick in range(0, int(frame.y1) + 1, step):
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{y + 4:.1f}">{tick}</text>')
    every = math.ceil(len(counts) / 10) or 1
    for place, (name, count) in enumerate(counts.items()):
        left, right = frame.x(place), frame.x(place + 1)
        if place % every == 0:
            middle = (left + right) / 2
            parts.append(
                f'<text class="tick middle" x="{middle:.1f}" y="{HEIGHT - _BOTTOM + 17}">{_short(name)}</text>'
            )
        if count:
            top = frame.y(count)
            parts.append(
                f'<g><rect class="bar" x="{left + 0.75:.1f}" y="{top:.1f}" width="{right - left - 1.5:.1f}" '
                f'height="{frame.y(0) - top:.1f}"/><title>{escape(name)}: {count}</title></g>'
            )
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="axis middle" x="{middle:.1f}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    return _svg(title, HEIGHT, parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    name = escape(title)
    return (
        f'<svg class="plot" role="img" aria-label="{name}" viewBox="0 0 {WIDTH} {height:g}">'
        f"<title>{name}</title>{''.join(parts)}</svg>"
    )


def _axes(frame: _Frame, x_label: str, x_ticks: Sequence[float], in_percent: bool = False) -> Iterator[str]:
    for tick in _ticks(frame.y1):
        y = frame.y(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 7}" y="{y + 4:.1f}">{100 * tick:g}</text>'
    for tick in x_ticks:
        shown = 100 * tick if in_percent else tick
        yield f'<text class="tick middle" x="{frame.x(tick):.1f}" y="{HEIGHT - _BOTTOM + 17}">{shown:g}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text class="axis middle" x="{middle:.1f}" y="{HEIGHT - 6}">{escape(x_label)}</text>'


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    x = float(_LEFT)
    for line in lines:
        yield f'<line class="line {line.css}" x1="{x:.1f}" x2="{x + 16:.1f}" y1="14" y2="14"/>'
        yield f'<text class="label" x="{x + 21:.1f}" y="18">{escape(line.name)}</text>'
        x += 36 + 7.2 * len(line.name)


def _dot(x: float, y: float, css: str, tip: str, radius: float) -> str:
    """A dot whose tooltip is easier to meet than the dot is to hit."""
    return (
        f'<g class="point"><circle class="halo" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/><title>{escape(tip)}</title></g>'
    )


def _short(name: str) -> str:
    return escape(name if len(name) <= 16 else name[:15] + "…")


def _nice_top(value: float) -> float:
    """The end of an axis from 0: the next tenth, so that no plot is a line at its own bottom.

    >>> [_nice_top(v) for v in (0.0, 0.28, 0.3, 1.0, 1.33)]
    [0.1, 0.3, 0.3, 1.0, 1.4]
    """
    return max(1, math.ceil(round(value * 10, 6))) / 10


def _ticks(top: float) -> list[float]:
    """At most seven round numbers from 0 to ``top``.

    >>> _ticks(0.3)
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
    """
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5, math.inf) if top / s <= 6 + 1e-9)
    if math.isinf(step):
        return [0.0, top]
    return [round(i * step, 6) for i in range(int(top / step + 1e-9) + 1)]


def _whole_step(most: int) -> int:
    """A round whole number that reaches ``most`` in at most six steps.

    >>> [_whole_step(most) for most in (0, 5, 7, 60, 61, 1234)]
    [1, 1, 2, 10, 20, 500]
    """
    size = 1
    while True:
        for step in (size, 2 * size, 5 * size):
            if step * 6 >= most:
                return step
        size *= 10
