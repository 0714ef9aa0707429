"""A report of feedback as one HTML page: no script, nothing fetched."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from tfrs_decay.data.cleaning import counted
from tfrs_decay.durations import to_text
from tfrs_decay.experiments import charts
from tfrs_decay.experiments.page_parts import (
    bullets,
    cautions,
    document,
    figure,
    section,
    table,
)
from tfrs_decay.feedback.joining import ANSWERED
from tfrs_decay.feedback.reporting import Measured, Report
from tfrs_decay.writing import write_text

READING = (
    "A rate is the share of impressions that something came of; an impression is one "
    "item shown to one user. Several clicks on one impression count once.",
    "A click or a purchase counts for the latest time that its item was shown to its "
    "user, if that was not too long before. What comes of no impression is organic.",
    "An interval is where the true number likely lies: of a hundred such intervals "
    "about {level} hold it. Users are what is drawn for it, each with all impressions.",
    "Two parts whose intervals lie apart differ; of many parts, a few do so by chance.",
)


def write_page(
    report: Report, path: str | os.PathLike[str], *, title: str = "Feedback"
) -> Path:
    """Writes the page of a report, whole or not at all, and returns its path.

    Args:
        report: From `report`.
        path: The file, which is overwritten; its folder is made.
        title: Above the page.
    """
    return write_text(page(report, title=title), path)


def page(report: Report, *, title: str = "Feedback") -> str:
    """The page of a report: the rates by day, segment and version, and what they mean.

    Args:
        report: From `report`.
        title: Above the page.
    """
    reading = [one.format(level=f"{100 * report.level:g}") for one in READING]
    return document(
        title,
        [
            f"<header><h1>{escape(title)}</h1>{_about(report)}</header>",
            cautions(report.notes),
            _rates("All impressions", report, [report.overall], ""),
            _days(report),
            _rates("By segment", report, report.by_segment, "Segment"),
            _rates("By version", report, report.by_version, "Version"),
            _positions(report),
            _events(report),
            section("How to read this", bullets(reading)),
        ],
    )


def _about(report: Report) -> str:
    days = [part.name for part in report.by_day]
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        '<p class="quiet">What came of '
        f"{counted(report.overall.impressions, 'impression')} to "
        f"{counted(report.overall.users, 'user')}, {escape(span)} (days in UTC).</p>"
    )


def _rates(
    heading: str, report: Report, parts: tuple[Measured, ...] | list[Measured], of: str
) -> str:
    return section(heading, _table(report, parts, of)) if parts else ""


def _table(
    report: Report, parts: tuple[Measured, ...] | list[Measured], of: str
) -> str:
    heads = (of, *map(escape, report.metrics), "Impressions", "Users")
    return table(
        heads,
        [
            (
                escape(one.name),
                *map(escape, report.cells(one)),
                f"{one.impressions:,}",
                f"{one.users:,}",
            )
            for one in parts
        ],
    )


def _days(report: Report) -> str:
    if len(report.by_day) < 2:
        return ""
    names = [part.name for part in report.by_day]
    drawn = [
        figure(
            f"{metric} of each day",
            charts.lines(
                names,
                {
                    "arm1": [
                        (rate.value, rate.low, rate.high)
                        if (rate := part.rates.get(metric))
                        else None
                        for part in report.by_day
                    ]
                },
                label=f"{metric} by day",
                written=report.figures(metric).rate,
            ),
        )
        for metric in report.metrics
    ]
    return section(
        "Day by day",
        f'<div class="charts">{"".join(drawn)}</div><details><summary>The figures of '
        f"each day</summary>{_table(report, report.by_day, 'Day')}</details>",
    )


def _positions(report: Report) -> str:
    one = report.examination
    if one is None:
        return ""
    places = [str(place) for place in one.position]
    bands = list(zip(one.share, one.low, one.high, strict=True))
    alike = " and ".join(one.within) if one.within else "nothing: places were drawn"
    said = (
        "How often each place of the list is looked at, relative to the first, learned "
        f"from impressions that are alike in {alike}."
    )
    weights = ""
    if report.weights is not None:
        weights = f"<p>{escape(report.weights.report())}</p>"
    if one.unknown:
        weights += (
            f"<p>{counted(len(one.unknown), 'place is', 'places are')} not known.</p>"
        )
    drawn = charts.lines(
        places,
        {"arm1": bands},
        label="how often each place is looked at",
        written=lambda value: f"{value:.2f}",
        zero=True,
    )
    rows = [
        (place, f"{value:.3f}", f"{low:.3f} to {high:.3f}", f"{clicks:,}")
        for place, (value, low, high), clicks in zip(
            places, bands, one.clicks, strict=True
        )
    ]
    heads = ("Place", "Looked at", f"{one.level:.0%} interval", "Clicks compared")
    return section(
        "By place in the list",
        f'<p class="quiet">{escape(said)}</p><div class="charts">'
        f"{figure('looked at, by place', drawn)}</div>{weights}<details><summary>The "
        f"figures of each place</summary>{table(heads, rows)}</details>",
    )


def _events(report: Report) -> str:
    joined = report.joined
    parts = []
    for action, found in joined.found.items():
        total, limit = sum(found.values()), to_text(joined.windows[action])
        rows = [
            (f"{why} within {limit}" if why == ANSWERED else why, count)
            for why, count in found.items()
            if count
        ]
        parts.append(
            f"<h3>{escape(action)}: {counted(total, 'event')}</h3>"
            + table(
                ("Events", "", ""),
                [(said, f"{count:,}", f"{count / total:.1%}") for said, count in rows],
            )
        )
    return section("What was joined", "".join(parts))
