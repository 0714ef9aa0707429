"""Small drawings for a page: SVG in the page's own colours, without a script."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 26

Band = tuple[float, float, float] | None
"""A value, where its interval begins and where it ends; None where nothing is known."""


def lines(
    days: Sequence[str],
    series: Mapping[str, Sequence[Band]],
    *,
    label: str,
    written: Callable[[float], str],
    zero: bool = False,
) -> str:
    """Values over days, a line each with its interval as a band.

    Args:
        days: [n] names of the days.
        series: [n] values by the CSS class that gives them their colour.
        label: What is to be seen, for those who cannot.
        written: How a value is written at the axis.
        zero: Whether to draw a line at 0, and the axis around it.

    Returns:
        An element `svg`.
    """
    known = [band for bands in series.values() for band in bands if band is not None]
    ends = [end for band in known for end in band] + ([0.0] if zero else [])
    marks = ticks(min(ends, default=0.0), max(ends, default=1.0))
    low, high = marks[0], marks[-1]

    def x(day: int) -> float:
        if len(days) == 1:
            return (LEFT + WIDTH - RIGHT) / 2
        return LEFT + (WIDTH - LEFT - RIGHT) * day / (len(days) - 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = []
    for mark in marks:
        at = f"{y(mark):.1f}"
        kind = "zero" if zero and mark == 0 else "grid"
        ends_at = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"'
        parts.append(
            f'<line class="{kind}" {ends_at}/>'
            f'<text x="{LEFT - 6}" y="{at}" dy="0.32em" text-anchor="end">'
            f"{escape(written(mark))}</text>"
        )
    # The middle has a name where it is in the middle, and clear of the others.
    middle = {len(days) // 2} if len(days) % 2 or len(days) > 6 else set()
    for day in sorted({0, len(days) - 1} | middle):
        anchor = "middle"
        if len(days) > 1:
            anchor = {0: "start", len(days) - 1: "end"}.get(day, "middle")
        parts.append(
            f'<text x="{x(day):.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">'
            f"{escape(days[day])}</text>"
        )
    for name, bands in series.items():
        for run in _runs(bands):
            parts.append(_run(name, run, x, y))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def interval(
    value: float, low: float, high: float, *, reach: float, kind: str, label: str
) -> str:
    """A difference with its interval on an axis around 0, as wide as it is let be.

    Args:
        value: The difference.
        low: Where its interval begins.
        high: Where it ends.
        reach: What the axis reaches to on both sides, above 0.
        kind: The CSS class of its colour.
        label: What is to be seen, for those who cannot.
    """

    def x(at: float) -> str:
        return f"{50 + 48 * max(-1.0, min(1.0, at / reach)):.2f}%"

    return (
        f'<svg class="interval" role="img" aria-label="{escape(label)}">'
        '<line class="axis" x1="0" x2="100%" y1="13" y2="13"/>'
        '<line class="zero" x1="50%" x2="50%" y1="2" y2="24"/>'
        f'<line class="range {kind}" x1="{x(low)}" x2="{x(high)}" y1="13" y2="13"/>'
        f'<circle class="{kind}" cx="{x(value)}" cy="13" r="5"/></svg>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to seven of them or so, from below `low` to above `high`.

    >>> ticks(0.013, 0.048)
    [0.01, 0.02, 0.03, 0.04, 0.05]
    """
    if high - low <= 0:
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * one for one in (1, 2, 2.5, 5, 10) if size * one >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _runs(bands: Sequence[Band]) -> list[list[tuple[int, tuple[float, float, float]]]]:
    """Stretches of days that have a value, each with the days' places."""
    runs: list[list[tuple[int, tuple[float, float, float]]]] = [[]]
    for day, band in enumerate(bands):
        if band is None:
            runs.append([])
        else:
            runs[-1].append((day, band))
    return [run for run in runs if run]


def _run(
    name: str,
    run: list[tuple[int, tuple[float, float, float]]],
    x: Callable[[int], float],
    y: Callable[[float], float],
) -> str:
    def points(places: list[tuple[int, float]]) -> str:
        return " ".join(f"{x(day):.1f},{y(value):.1f}" for day, value in places)

    values = points([(day, value) for day, (value, _, _) in run])
    dots = "".join(
        f'<circle cx="{x(day):.1f}" cy="{y(value):.1f}" r="2.6"/>'
        for day, (value, _, _) in run
    )
    if len(run) == 1:
        # A band needs two days: one has its interval as an upright line.
        day, (_, low, high) = run[0]
        at = f"{x(day):.1f}"
        band = f'<line x1="{at}" x2="{at}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
    else:
        above = [(day, high) for day, (_, _, high) in run]
        below = [(day, low) for day, (_, low, _) in reversed(run)]
        band = f'<polygon points="{points(above + below)}"/>'
    return f'<g class="{name}">{band}<polyline points="{values}"/>{dots}</g>'
