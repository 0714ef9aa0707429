"""From impressions to an outcome: ratios of sums, and a bootstrap over users.

An impression counts for an arm with a weight. Live, the weight is 1 for the arm that
was shown and 0 for the others; in a replay it is how much more often the arm would have
shown the item than the log did. A rate is then always the same ratio, the weighted sum
of clicks over the sum of the weights, and one bootstrap over users serves all: each
draw has all impressions of a user, under whichever arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.times import day_of
from tfrs_decay.evaluation.compare import (
    FEWEST_USERS,
    Comparison,
    compared,
    holm,
    resampled_sums,
)
from tfrs_decay.experiments.outcome import Outcome, Part, Rate

LEAST_USERS = 5
"""Users of each arm below which nothing is said of a rate."""

RESAMPLES_OF_DAYS = 2_000
"""Draws at most for the intervals of days, of which there are many: pictures alone."""

EFFORT, EFFORT_OF_DAYS = 200_000_000, 20_000_000
"""Numbers to draw at most for all or a segment, and for a day: seconds, and one."""

DAY = 86_400


@dataclass(frozen=True)
class Impressions:
    """Impressions, checked, with what each counts for.

    Attributes:
        user: [n] int64, users by number.
        weight: [n] float64 by arm, 0 where an impression says nothing of it.
        reward: [n] float64 by metric, what came of the impression.
        time: [n] int64 seconds since the epoch, or None.
        segment: [n] strings, or None.
    """

    user: np.ndarray
    weight: Mapping[str, np.ndarray]
    reward: Mapping[str, np.ndarray]
    time: np.ndarray | None = None
    segment: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def where(self, kept: np.ndarray) -> Impressions:
        """The impressions that `kept`, [n] bool, is true for."""
        return Impressions(
            user=self.user[kept],
            weight={arm: one[kept] for arm, one in self.weight.items()},
            reward={metric: one[kept] for metric, one in self.reward.items()},
            time=None if self.time is None else self.time[kept],
            segment=None if self.segment is None else self.segment[kept],
        )


def measure(
    rows: Impressions,
    *,
    kind: str,
    control: str,
    level: float,
    resamples: int,
    seed: int,
    **known: Any,
) -> Outcome:
    """Measures all impressions, each day, the days so far, and each segment.

    Args:
        rows: The impressions, with two arms or more.
        kind: As in `Outcome`.
        control: The arm that the others are compared with.
        level: Of the intervals, between 0 and 1.
        resamples: How often users are drawn; 2,000 times at most for a day, and less
            often where many thousand users all differ.
        seed: Of the draws.
        known: Further attributes of the outcome.

    Raises:
        ValueError: There are no impressions, `control` is no arm, an arm has fewer than
            5 users, or a number is out of its range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or more.")
    if control not in rows.weight:
        raise ValueError(f"control={control!r} is not among the arms {[*rows.weight]}.")

    def part(name: str, some: Impressions) -> Part:
        return measured_part(name, some, control, level, (resamples, seed, EFFORT))

    of_day = (min(resamples, RESAMPLES_OF_DAYS), seed, EFFORT_OF_DAYS)

    overall = part("all", rows)
    if not overall.told:
        arm = min(overall.users, key=lambda one: overall.users[one])
        raise ValueError(
            f"arm {arm!r} has impressions of {counted(overall.users[arm], 'user')} "
            f"among {len(rows):,}: below {LEAST_USERS} nothing can be said of it."
        )
    by_day: list[Part] = []
    cumulative: list[Part] = []
    if rows.time is not None:
        day = rows.time // DAY
        for one in np.unique(day):
            name = day_of(one * DAY)
            for parts, kept in ((by_day, day == one), (cumulative, day <= one)):
                parts.append(
                    measured_part(name, rows.where(kept), control, level, of_day)
                )
    by_segment: list[Part] = []
    if rows.segment is not None:
        by_segment = [
            part(str(one), rows.where(rows.segment == one))
            for one in np.unique(rows.segment)
        ]
    notes = list(known.pop("notes", ()))
    fewest = min(overall.users.values())
    if fewest < FEWEST_USERS:
        notes.append(
            f"only {counted(fewest, 'user')} in an arm: below {FEWEST_USERS} the "
            "intervals are too short."
        )
    return Outcome(
        kind=kind,
        control=control,
        arms=tuple(rows.weight),
        metrics={
            metric: bool(np.isin(reward, (0, 1)).all())
            for metric, reward in rows.reward.items()
        },
        level=level,
        overall=_adjusted([overall])[0],
        by_day=tuple(by_day),
        cumulative=tuple(cumulative),
        by_segment=tuple(_adjusted(by_segment)),
        notes=tuple(notes),
        **known,
    )


def measured_part(
    name: str,
    rows: Impressions,
    control: str,
    level: float,
    drawn: tuple[int, int, int],
) -> Part:
    """Measures some impressions.

    Args:
        name: Of the part.
        rows: Its impressions, of one arm or more.
        control: The arm that the others are compared with.
        level: Of the intervals, between 0 and 1.
        drawn: How often users are drawn at most, by which seed, and how many numbers
            may be drawn, as `EFFORT` says.
    """
    arms = list(rows.weight)
    # Users without any weight are drawn like the others: they are part of the chance.
    _, user = np.unique(rows.user, return_inverse=True)
    count = int(user.max()) + 1 if len(user) else 0

    def of_users(values: np.ndarray) -> np.ndarray:
        return np.bincount(user, weights=values, minlength=count)

    weight = {arm: of_users(one) for arm, one in rows.weight.items()}
    users = {arm: int((one > 0).sum()) for arm, one in weight.items()}
    if min(users.values()) < LEAST_USERS:
        return Part(name, len(rows), users, {}, {})
    totals = np.stack(
        [
            *weight.values(),
            *(
                of_users(rows.weight[arm] * reward)
                for reward in rows.reward.values()
                for arm in arms
            ),
        ],
        axis=1,
    )
    values = _ratios(totals.sum(axis=0)[None], arms, [*rows.reward])
    draws = _ratios(
        resampled_sums(totals, *drawn[:2], effort=drawn[2]), arms, [*rows.reward]
    )
    quantiles = [(1 - level) / 2, (1 + level) / 2]
    rates: dict[str, dict[str, Rate]] = {}
    differences: dict[str, dict[str, Comparison]] = {}
    for metric in rows.reward:
        rates[metric], differences[metric] = {}, {}
        for arm in arms:
            low, high = np.quantile(draws[metric, arm], quantiles)
            rates[metric][arm] = Rate(
                value=float(values[metric, arm][0]),
                low=float(low),
                high=float(high),
                users=users[arm],
                impressions=int((rows.weight[arm] > 0).sum()),
            )
            if arm != control:
                differences[metric][arm] = compared(
                    float(values[metric, arm][0] - values[metric, control][0]),
                    draws[metric, arm] - draws[metric, control],
                    level=level,
                    queries=len(rows),
                    users=count,
                )
    return Part(name, len(rows), users, rates, differences)


def _ratios(
    sums: np.ndarray, arms: list[str], metrics: list[str]
) -> dict[tuple[str, str], np.ndarray]:
    """Rates by metric and arm, of those draws in which every arm has a user."""
    sums = sums[(sums[:, : len(arms)] > 0).all(axis=1)]
    return {
        (metric, arm): sums[:, len(arms) * (1 + m) + a] / sums[:, a]
        for m, metric in enumerate(metrics)
        for a, arm in enumerate(arms)
    }


def _adjusted(parts: list[Part]) -> list[Part]:
    """The same parts with p-values adjusted for all that is asked in them."""
    asked = [
        one.p
        for part in parts
        for of_arm in part.differences.values()
        for one in of_arm.values()
    ]
    adjusted = iter(holm(asked).tolist())
    return [
        replace(
            part,
            differences={
                metric: {
                    arm: replace(one, adjusted_p=next(adjusted))
                    for arm, one in of_arm.items()
                }
                for metric, of_arm in part.differences.items()
            },
        )
        for part in parts
    ]
