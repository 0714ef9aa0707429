"""What an experiment found: rates of each arm, and how sure their differences are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfrs_decay.data.cleaning import counted
from tfrs_decay.evaluation.compare import Comparison
from tfrs_decay.experiments.assignment import SampleRatio
from tfrs_decay.experiments.sign_test import SignTest


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
    def trusted(self) -> bool:
        """Whether the arms have the users that they should, as far as it is known."""
        return self.sample_ratio is None or self.sample_ratio.fits

    def compared(self) -> list[tuple[str, str, Comparison]]:
        """Metric, arm and its difference from the control, over all impressions."""
        return [
            (metric, arm, one)
            for metric, of_arm in self.overall.differences.items()
            for arm, one in of_arm.items()
        ]

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        if not self.trusted:
            return (
                "These numbers cannot be trusted: the arms do not have the users that "
                "they should have."
            )
        told = [
            f"{arm} is {one.verdict} than {self.control} in {metric}"
            for metric, arm, one in self.compared()
            if one.significant
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
