"""Click-through and conversion by day, by segment and by version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.times import day_of
from tfrs_decay.evaluation.compare import FEWEST_USERS
from tfrs_decay.experiments.measuring import (
    DAY,
    EFFORT,
    EFFORT_OF_DAYS,
    RESAMPLES_OF_DAYS,
    Impressions,
    measured_part,
)
from tfrs_decay.experiments.outcome import Rate
from tfrs_decay.experiments.traffic import metrics_of
from tfrs_decay.experiments.wording import Figures
from tfrs_decay.feedback.examination import Examination
from tfrs_decay.feedback.joining import Joined
from tfrs_decay.feedback.weighting import PositionWeights

_ALL = "all"
_TOO_FEW = "too few users"


@dataclass(frozen=True)
class Measured:
    """The rates of some impressions.

    Attributes:
        name: Such as "all", "2026-03-01", "new users" or "7".
        impressions: How many there are.
        users: How many users they are of.
        rates: By metric; empty where there are fewer than 5 users.
    """

    name: str
    impressions: int
    users: int
    rates: Mapping[str, Rate]


@dataclass(frozen=True, eq=False)
class Report:
    """What came of what was shown.

    Attributes:
        joined: What it is of.
        metrics: The rates that are told, such as "click-through".
        level: Of all intervals, such as 0.95.
        overall: Of all impressions.
        by_day: Of each day in UTC.
        by_segment: Of each segment; empty where they are unknown.
        by_version: Of each model's version; empty where they are unknown.
        examination: How often places are looked at, where it was asked for.
        weights: What follows for impressions, where it was asked for.
        notes: Words of caution.
    """

    joined: Joined
    metrics: tuple[str, ...]
    level: float
    overall: Measured
    by_day: tuple[Measured, ...]
    by_segment: tuple[Measured, ...]
    by_version: tuple[Measured, ...]
    examination: Examination | None
    weights: PositionWeights | None
    notes: tuple[str, ...]

    @property
    def groups(self) -> dict[str, tuple[Measured, ...]]:
        """All that there are of days, segments and versions, by what they are."""
        every = {
            "day": self.by_day,
            "segment": self.by_segment,
            "version": self.by_version,
        }
        return {name: parts for name, parts in every.items() if parts}

    def figures(self, metric: str) -> Figures:
        """How the numbers of a metric are written."""
        rate = self.overall.rates.get(metric)
        return Figures.fitting(True, [rate.high - rate.low] if rate else [])

    def cells(self, part: Measured) -> list[str]:
        """Each rate of a part with its interval, or that there are too few users."""
        said = []
        for metric in self.metrics:
            figures, rate = self.figures(metric), part.rates.get(metric)
            said.append(
                f"{figures.rate(rate.value)} [{figures.rate_interval(rate)}]"
                if rate
                else _TOO_FEW
            )
        return said

    def report(self) -> str:
        """What was joined, and a table of all rates, for people."""
        rows = [("", "impressions", "users", *self.metrics)]
        rows += self._rows([self.overall])
        for name, parts in self.groups.items():
            rows += [(f"by {name}", *[""] * (2 + len(self.metrics)))]
            rows += self._rows(parts)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self.joined.summary(), ""]
        for first, *others in rows:
            cells = [first.ljust(widths[0])]
            cells += [
                cell.rjust(width)
                for cell, width in zip(others, widths[1:], strict=True)
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append(
            f"In brackets: {self.level:.0%} intervals, users drawn with all that they "
            "were shown."
        )
        if self.examination is not None:
            lines += ["", self.examination.report()]
        if self.weights is not None:
            lines.append(self.weights.report())
        # What the join says has been said above.
        said = self.joined.notes
        lines += [f"Note: {note}" for note in self.notes if note not in said]
        return "\n".join(lines)

    def _rows(self, parts: Iterable[Measured]) -> list[tuple[str, ...]]:
        return [
            (one.name, f"{one.impressions:,}", f"{one.users:,}", *self.cells(one))
            for one in parts
        ]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers, ready for `json.dump`."""
        return {
            "joined": self.joined.to_dict(),
            "level": self.level,
            "overall": _plain(self.overall),
            **{
                name: [_plain(part) for part in getattr(self, name)]
                for name in ("by_day", "by_segment", "by_version")
            },
            "examination": (
                None if self.examination is None else self.examination.to_dict()
            ),
            "weights": None if self.weights is None else self.weights.to_dict(),
            "notes": list(self.notes),
        }


def report(
    joined: Joined,
    *,
    examination: Examination | None = None,
    weights: PositionWeights | None = None,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Report:
    """Measures how often something came of impressions.

    A rate is the share of impressions that an event answered; several events count
    once. Its interval comes from drawing users, each with all impressions.

    Args:
        joined: From `join`.
        examination: From `fit_examination`, to be told as well.
        weights: From `position_weights`, likewise.
        level: Of the intervals, between 0 and 1.
        resamples: How often users are drawn; less often where many thousand users all
            differ, and 2,000 times at most for a day.
        seed: Of the draws.

    Raises:
        ValueError: A number is out of its range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or more.")
    served = joined.served
    metrics = metrics_of(joined.count)
    rows = Impressions(
        user=served.user,
        weight={_ALL: np.ones(len(served))},
        reward={
            metric: joined.happened(action).astype(np.float64)
            for action, metric in metrics.items()
        },
    )

    def measured(name: str, kept: np.ndarray | None, day: bool = False) -> Measured:
        drawn = (resamples, seed, EFFORT)
        if day:
            drawn = (min(resamples, RESAMPLES_OF_DAYS), seed, EFFORT_OF_DAYS)
        some = rows if kept is None else rows.where(kept)
        part = measured_part(name, some, _ALL, level, drawn)
        return Measured(
            name,
            part.impressions,
            part.users[_ALL],
            {metric: rate[_ALL] for metric, rate in part.rates.items()},
        )

    def each(column: np.ndarray | None) -> tuple[Measured, ...]:
        if column is None:
            return ()
        return tuple(measured(str(one), column == one) for one in np.unique(column))

    day = served.time // DAY
    overall = measured(_ALL, None)
    notes = joined.notes
    if overall.users < FEWEST_USERS:
        notes.append(
            f"only {counted(overall.users, 'user')}: below {FEWEST_USERS} the "
            "intervals are too short."
        )
    by_version = each(served.version)
    if len(by_version) > 1:
        notes.append(
            "versions that answered on other days or to other users differ by these as "
            "well: only a live experiment (tfrs-decay experiment) tells them apart."
        )
    return Report(
        joined=joined,
        metrics=tuple(metrics.values()),
        level=level,
        overall=overall,
        by_day=tuple(
            measured(day_of(one * DAY), day == one, day=True) for one in np.unique(day)
        ),
        by_segment=each(served.segment),
        by_version=by_version,
        examination=examination,
        weights=weights,
        notes=tuple(notes),
    )


def _plain(part: Measured) -> dict[str, Any]:
    return {
        "name": part.name,
        "impressions": part.impressions,
        "users": part.users,
        "rates": {metric: dict(vars(rate)) for metric, rate in part.rates.items()},
    }
