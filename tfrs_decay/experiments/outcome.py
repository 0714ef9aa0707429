"""What an experiment found: rates of each arm, and how sure their differences are.

An impression counts for an arm with a weight. Live, the weight is 1 for the arm that
was shown and 0 for the others; in a replay it is how much more often the arm would have
shown the item than the log did. A rate is then always the same ratio, the weighted sum
of clicks over the sum of the weights, and one bootstrap over users serves all: each
draw has all impressions of a user, under whichever arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.times import day_of
from tfrs_decay.evaluation.compare import Comparison, compared, holm, resampled_sums
from tfrs_decay.experiments.assignment import SampleRatio
from tfrs_decay.experiments.sign_test import SignTest

LEAST_USERS = 5
"""Users of each arm below which nothing is said of a rate."""

FEW_USERS = 30
"""Users of an arm below which an interval is too short, as `compare` says."""

RESAMPLES_OF_DAYS = 2_000
"""Draws at most for the intervals of days, of which there are many: pictures alone."""

DAY = 86_400


@dataclass(frozen=True)
class Rate:
    """How often something came of an impression, in one arm.

    Attributes:
        value: The weighted sum of what came of the impressions over their weights' sum.
        low: Where its interval begins.
        high: Where it ends.
        users: Users with an impression that counts for the arm.
        impressions: Impressions that count for the arm.
    """

    value: float
    low: float
    high: float
    users: int
    impressions: int


@dataclass(frozen=True)
class Part:
    """All rates of some impressions: of all, of a day, or of a segment.

    Attributes:
        name: Such as "2026-03-01" or "new users".
        impressions: How many there are.
        users: How many users they are of, by arm.
        rates: By metric and arm; empty where an arm has fewer than 5 users.
        differences: By metric and arm, each arm but the control less the control.
    """

    name: str
    impressions: int
    users: Mapping[str, int]
    rates: Mapping[str, Mapping[str, Rate]]
    differences: Mapping[str, Mapping[str, Comparison]]

    @property
    def told(self) -> bool:
        """Whether there are users enough to say anything."""
        return bool(self.rates)


@dataclass(frozen=True)
class Weights:
    """How much of a log speaks for what one recommender would have shown.

    Attributes:
        matched: Impressions that it might have shown as well.
        effective_size: Impressions of equal weight that would tell as much.
        mean: The mean weight before any is cut. Where propensities are right and every
            recommendation had a chance to be logged, it is 1 but for chance.
        mean_error: The standard error of that mean, over users.
        largest: The largest weight's share of their sum, after cutting.
        cut: Impressions whose weight was cut.
        cut_share: What share of the weights' sum was cut off.
        unanswered: Impressions for which it recommended nothing.
    """

    matched: int
    effective_size: float
    mean: float
    mean_error: float
    largest: float
    cut: int
    cut_share: float
    unanswered: int


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        kind: "live", "replay" or "interleaving".
        control: The arm that the others are compared with.
        arms: All arms, the control among them.
        metrics: Whether a metric is a share of impressions, by its name; else it is a
            number, such as an amount of money.
        level: Of all intervals, such as 0.95.
        overall: Of all impressions. The p-values are adjusted for the number of metrics
            and arms.
        by_day: Of each day in UTC, where times are known.
        cumulative: Of all days up to each.
        by_segment: Of each segment, where there are some. The p-values are adjusted for
            the number of segments, metrics and arms.
        dropped: How many impressions were left out, by reason.
        notes: Words of caution.
        sample_ratio: Whether the arms have the users that they should, in a live one.
        weights: How much of a log speaks for each arm, in a replay.
        sign_test: For how many users each list won, in an interleaving.
    """

    kind: str
    control: str
    arms: tuple[str, ...]
    metrics: Mapping[str, bool]
    level: float
    overall: Part
    by_day: tuple[Part, ...] = ()
    cumulative: tuple[Part, ...] = ()
    by_segment: tuple[Part, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sample_ratio: SampleRatio | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    sign_test: SignTest | None = None

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        if self.sample_ratio is not None and not self.sample_ratio.fits:
            return (
                "These numbers cannot be trusted: the arms do not have the users that "
                "they should have."
            )
        found = [
            (arm, metric, one.verdict)
            for metric, of_arm in self.overall.differences.items()
            for arm, one in of_arm.items()
        ]
        told = [
            f"{arm} is {verdict} than {self.control} in {metric}"
            for arm, metric, verdict in found
            if verdict in ("better", "worse")
        ]
        if not told:
            others = ", ".join(arm for arm in self.arms if arm != self.control)
            return f"No difference is shown between {others} and {self.control}."
        return "; ".join(told) + "."

    def report(self) -> str:
        """The verdict, each rate and difference, and what was left out, for people."""
        lines = [self.verdict]
        for metric, rates in self.overall.rates.items():
            lines += [f"{metric}:"]
            differences = self.overall.differences[metric]
            for arm, rate in rates.items():
                of = (
                    f"{counted(rate.users, 'user')}, "
                    f"{counted(rate.impressions, 'impression')}"
                )
                lines.append(
                    f"  {arm}: {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}], {of}"
                )
            lines += [
                f"  {arm} less {self.control}: {one}"
                for arm, one in differences.items()
            ]
        for arm, one in self.weights.items():
            lines.append(
                f"{arm}: {counted(one.matched, 'impression')} of the log might have "
                f"been shown by it, worth {one.effective_size:,.0f} of equal weight; "
                f"mean weight {one.mean:.2f}; {counted(one.cut, 'weight')} cut, "
                f"{one.cut_share:.1%} of their sum; "
                f"{counted(one.unanswered, 'impression')} without an answer."
            )
        if self.sign_test is not None:
            lines.append(str(self.sign_test))
        if self.sample_ratio is not None:
            lines.append(f"Users by arm: {self.sample_ratio}")
        lines += [
            f"{counted(count, 'impression')} left out: {why}"
            for why, count in self.dropped.items()
        ]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain numbers, ready for `json.dump`."""
        return {
            "kind": self.kind,
            "verdict": self.verdict,
            "control": self.control,
            "level": self.level,
            "overall": _plain(self.overall),
            **{
                name: [_plain(part) for part in getattr(self, name)]
                for name in ("by_day", "cumulative", "by_segment")
            },
            "dropped": dict(self.dropped),
            "notes": list(self.notes),
            "sample_ratio": _fields(self.sample_ratio),
            "weights": {arm: _fields(one) for arm, one in self.weights.items()},
            "sign_test": _fields(self.sign_test),
        }


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
        resamples: How often users are drawn; 2,000 times at most for a day.
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

    def part(name: str, some: Impressions, draws: int = resamples) -> Part:
        return _part(name, some, control, level, draws, seed)

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
        day, draws = rows.time // DAY, min(resamples, RESAMPLES_OF_DAYS)
        for one in np.unique(day):
            name = day_of(one * DAY)
            by_day.append(part(name, rows.where(day == one), draws))
            cumulative.append(part(name, rows.where(day <= one), draws))
    by_segment: list[Part] = []
    if rows.segment is not None:
        by_segment = [
            part(str(one), rows.where(rows.segment == one))
            for one in np.unique(rows.segment)
        ]
    notes = list(known.pop("notes", ()))
    fewest = min(overall.users.values())
    if fewest < FEW_USERS:
        notes.append(
            f"only {counted(fewest, 'user')} in an arm: below {FEW_USERS} the "
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


def _part(
    name: str, rows: Impressions, control: str, level: float, resamples: int, seed: int
) -> Part:
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
    draws = _ratios(resampled_sums(totals, resamples, seed), arms, [*rows.reward])
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


def _fields(one: Any) -> dict[str, Any] | None:
    return None if one is None else dict(vars(one))


def _plain(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "impressions": part.impressions,
        "users": dict(part.users),
        "rates": {
            metric: {arm: _fields(one) for arm, one in of_arm.items()}
            for metric, of_arm in part.rates.items()
        },
        "differences": {
            metric: {
                arm: {**vars(one), "verdict": one.verdict}
                for arm, one in of_arm.items()
            }
            for metric, of_arm in part.differences.items()
        },
    }
