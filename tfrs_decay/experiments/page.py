"""An outcome as one HTML page for people who decide: no script, nothing fetched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tfrs_decay.data.cleaning import counted
from tfrs_decay.evaluation.compare import Comparison
from tfrs_decay.experiments import charts
from tfrs_decay.experiments.outcome import Outcome, Part
from tfrs_decay.experiments.page_parts import (
    bullets,
    cautions,
    document,
    figure,
    section,
    table,
)
from tfrs_decay.experiments.wording import (
    KINDS,
    READING,
    READING_OF,
    Figures,
    chance,
    headline,
    sentences,
)
from tfrs_decay.writing import write_text


def write_page(
    outcome: Outcome, path: str | os.PathLike[str], *, title: str | None = None
) -> Path:
    """Writes the page of an outcome, whole or not at all, and returns its path.

    Args:
        outcome: What `live`, `replay`, `interleaved` or `compare_recommenders` found.
        path: The file, which is overwritten; its folder is made.
        title: As in `page`.
    """
    return write_text(page(outcome, title=title), path)


def page(outcome: Outcome, *, title: str | None = None) -> str:
    """The page of an outcome: the verdict, the figures, and how to read them.

    Args:
        outcome: What `live`, `replay`, `interleaved` or `compare_recommenders` found.
        title: Above the page; the arms' names when left out.
    """
    if title is None:
        others = [arm for arm in outcome.arms if arm != outcome.control]
        title = f"{', '.join(others)} against {outcome.control}"
    body = [
        f"<header><h1>{escape(title)}</h1>{_about(outcome)}</header>",
        _verdict(outcome),
        cautions(outcome.notes),
        _rates(outcome),
        _differences(outcome),
        _days(outcome),
        _segments(outcome),
        _weights(outcome),
        _users(outcome),
        _left_out(outcome),
        _reading(outcome),
    ]
    return document(title, body)


def _about(outcome: Outcome) -> str:
    days = [part.name for part in outcome.by_day]
    when = ""
    if days:
        span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        when = f", {span} (days in UTC)"
    impressions = counted(outcome.overall.impressions, "impression")
    return f'<p class="quiet">{KINDS[outcome.kind]} {impressions}{escape(when)}.</p>'


def _verdict(outcome: Outcome) -> str:
    found = {one.verdict for _, _, one in outcome.compared()}
    kind = "none"
    if not outcome.trusted or found == {"better", "worse"}:
        kind = "worse"
    elif "better" in found or "worse" in found:
        kind = "better" if "better" in found else "worse"
    said = "".join(f"<p>{escape(one)}</p>" for one in sentences(outcome))
    if not outcome.trusted:
        said = (
            "<p>The arms do not have the users that they should have, so that users "
            "were lost or moved on the way. Find out why before any figure below is "
            f"used.</p>{said}"
        )
    return (
        f'<section class="verdict {kind}"><h2>{escape(headline(outcome))}</h2>{said}'
        "</section>"
    )


def _rates(outcome: Outcome) -> str:
    interval = f"{outcome.level:.0%} interval"
    parts = []
    for metric, rates in outcome.overall.rates.items():
        figures = Figures.of(outcome, metric)
        rows = [
            (
                _arm(outcome, arm),
                figures.rate(rate.value),
                figures.rate_interval(rate),
                f"{rate.users:,}",
                f"{rate.impressions:,}",
            )
            for arm, rate in rates.items()
        ]
        heads = ("", "Rate", interval, "Users", "Impressions")
        parts.append(f"<h3>{escape(metric)}</h3>" + table(heads, rows))
    return section("Figures", "".join(parts))


def _differences(outcome: Outcome) -> str:
    parts = []
    for metric, of_arm in outcome.overall.differences.items():
        rows = [
            (f"{arm} less {outcome.control}" + _of_several(outcome, metric), one)
            for arm, one in of_arm.items()
        ]
        parts.append(_forest(outcome, metric, rows))
    return section(
        "Differences",
        f'<p class="quiet">Right of the line: more than {escape(outcome.control)}. '
        f"The bar is the {outcome.level:.0%} interval.</p>{''.join(parts)}",
    )


def _of_several(outcome: Outcome, metric: str) -> str:
    return f": {metric}" if len(outcome.metrics) > 1 else ""


def _forest(
    outcome: Outcome, metric: str, rows: Sequence[tuple[str, Comparison]]
) -> str:
    figures = Figures.of(outcome, metric)
    reach = max(abs(end) for _, one in rows for end in (one.low, one.high)) or 1.0
    parts = []
    for name, one in rows:
        word = one.verdict if outcome.trusted else "not to be trusted"
        kind = one.verdict if outcome.trusted and one.significant else "none"
        said = f"{figures.difference(one.difference)} ({figures.interval(one)}), {word}"
        drawn = charts.interval(
            one.difference, one.low, one.high, reach=reach, kind=kind, label=said
        )
        parts.append(
            f'<div class="row"><div>{escape(name)}</div>{drawn}<div><b>'
            f"{figures.difference(one.difference)}</b> "
            f'<span class="quiet">{figures.interval(one)}</span><br>'
            f'<span class="word {kind}">{word}</span> <span class="quiet">'
            f"Chance does as much {chance(one.adjusted_p)}.</span></div></div>"
        )
    return f'<div class="forest">{"".join(parts)}</div>'


def _days(outcome: Outcome) -> str:
    if len(outcome.by_day) < 2:
        return ""
    names = [part.name for part in outcome.by_day]
    drawn = []
    for metric in outcome.metrics:
        figures = Figures.of(outcome, metric)
        rates = {
            _colour(outcome, arm): [
                (rate.value, rate.low, rate.high)
                if (rate := part.rates.get(metric, {}).get(arm))
                else None
                for part in outcome.by_day
            ]
            for arm in outcome.arms
        }
        so_far = {
            _colour(outcome, arm): [
                (one.difference, one.low, one.high)
                if (one := part.differences.get(metric, {}).get(arm))
                else None
                for part in outcome.cumulative
            ]
            for arm in outcome.arms
            if arm != outcome.control
        }
        drawn += [
            figure(
                f"{metric} of each day",
                charts.lines(
                    names, rates, label=f"{metric} by day", written=figures.rate
                ),
            ),
            figure(
                f"{metric}: difference from {outcome.control}, all days so far",
                charts.lines(
                    names,
                    so_far,
                    label=f"difference in {metric}, all days up to each",
                    written=figures.change,
                    zero=True,
                ),
            ),
        ]
    legend = " ".join(_arm(outcome, arm) for arm in outcome.arms)
    of_days = "".join(_day_table(outcome, metric) for metric in outcome.metrics)
    return section(
        "Day by day",
        f'<p class="legend">{legend}</p><div class="charts">{"".join(drawn)}</div>'
        f"<details><summary>The figures of each day</summary>{of_days}</details>",
    )


def _day_table(outcome: Outcome, metric: str) -> str:
    figures = Figures.of(outcome, metric)
    rows = [
        (escape(part.name), *_cells(outcome, part, metric, figures))
        for part in outcome.by_day
    ]
    heads = ("Day", *map(escape, outcome.arms), "Impressions")
    return f"<h3>{escape(metric)}</h3>" + table(heads, rows)


def _cells(outcome: Outcome, part: Part, metric: str, figures: Figures) -> list[str]:
    rates = part.rates.get(metric, {})
    return [
        *(
            figures.rate(rates[arm].value) if arm in rates else "too few users"
            for arm in outcome.arms
        ),
        f"{part.impressions:,}",
    ]


def _segments(outcome: Outcome) -> str:
    if not outcome.by_segment:
        return ""
    told = [part for part in outcome.by_segment if part.told]
    parts = []
    for metric in outcome.metrics:
        figures = Figures.of(outcome, metric)
        rows = [
            (_segment_name(outcome, part, arm), part.differences[metric][arm])
            for part in told
            for arm in outcome.arms
            if arm != outcome.control
        ]
        of_segments = table(
            ("Segment", *map(escape, outcome.arms), "Impressions"),
            [
                (escape(part.name), *_cells(outcome, part, metric, figures))
                for part in outcome.by_segment
            ],
        )
        parts.append(
            f"<h3>{escape(metric)}</h3>"
            + (_forest(outcome, metric, rows) if rows else "")
            + "<details><summary>The figures of each segment</summary>"
            + f"{of_segments}</details>"
        )
    few = len(outcome.by_segment) - len(told)
    if few:
        parts.append(
            f'<p class="quiet">{counted(few, "segment has", "segments have")} too few '
            "users to say anything.</p>"
        )
    return section("Segment by segment", "".join(parts))


def _segment_name(outcome: Outcome, part: Part, arm: str) -> str:
    return part.name if len(outcome.arms) == 2 else f"{part.name}: {arm}"


def _weights(outcome: Outcome) -> str:
    if not outcome.weights:
        return ""
    rows = [
        (
            _arm(outcome, arm),
            f"{one.matched:,}",
            f"{one.effective_size:,.0f}",
            f"{one.mean:.2f} \N{PLUS-MINUS SIGN} {2 * one.mean_error:.2f}",
            f"{one.largest:.1%}",
            f"{one.cut:,} ({one.cut_share:.1%})",
            f"{one.unanswered:,}",
        )
        for arm, one in outcome.weights.items()
    ]
    heads = (
        *("", "Impressions it might have shown", "Worth, at equal weight"),
        *("Mean weight, 1 expected", "Largest share of one", "Weights cut (their sum)"),
        "Without an answer",
    )
    return section("How much of the log speaks for each", table(heads, rows))


def _users(outcome: Outcome) -> str:
    parts = []
    if outcome.sample_ratio is not None:
        one = outcome.sample_ratio
        rows = [
            (_arm(outcome, arm), f"{count:,}", f"{one.expected[arm]:,.0f}")
            for arm, count in one.observed.items()
        ]
        said = "They fit" if one.fits else "They do not fit"
        parts.append(
            table(("", "Users", "Expected"), rows)
            + f"<p>{said}: by chance alone they are as far from what was expected "
            f"{chance(one.p)}.</p>"
        )
    if outcome.sign_test is not None:
        won = outcome.sign_test
        other = next(arm for arm in outcome.arms if arm != outcome.control)
        said = (
            f"{counted(won.wins, 'user')} preferred {other} and {won.losses:,} "
            f"{outcome.control}; for {won.ties:,} it was a tie. A coin is as far from "
            f"half and half {chance(won.p)}."
        )
        parts.append(f"<p>{escape(said)}</p>")
    return section("Users", "".join(parts)) if parts else ""


def _left_out(outcome: Outcome) -> str:
    said = [
        f"{counted(count, 'impression')}: {why}"
        for why, count in outcome.dropped.items()
    ]
    return section(
        "Left out", bullets(said) if said else "<p>Nothing was left out.</p>"
    )


def _reading(outcome: Outcome) -> str:
    said = [one.format(level=f"{100 * outcome.level:g}") for one in READING]
    return section("How to read this", bullets([*said, READING_OF[outcome.kind]]))


def _colour(outcome: Outcome, arm: str) -> str:
    """The CSS class of an arm: the control is grey, the others have colours."""
    others = [one for one in outcome.arms if one != outcome.control]
    return "arm0" if arm == outcome.control else f"arm{others.index(arm) % 5 + 1}"


def _arm(outcome: Outcome, arm: str) -> str:
    return f'<span class="arm {_colour(outcome, arm)}">{escape(arm)}</span>'
