"""Rates and differences in words and figures that need no statistics to be read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tfrs_decay.evaluation.compare import Comparison
from tfrs_decay.experiments.outcome import Outcome, Rate

MINUS = "\N{MINUS SIGN}"

KINDS = {
    "live": "A live experiment: each user was shown one of these, chosen by chance.",
    "replay": "A replay: no user was shown any of these. What each would have been "
    "worth is worked out from a log of what another system showed.",
    "interleaving": "An interleaving: every user was shown lists mixed of both, and a "
    "click counts for the one whose choice the item was.",
}
"""What an outcome is of, by its kind."""

READING = (
    "A rate is the share of impressions that something came of; an impression is one "
    "item shown to one user.",
    "An interval is where the true number likely lies: of a hundred such intervals "
    "about {level} hold it. It is drawn as a bar or a band. Wide means that "
    "little is known.",
    "A difference is called better or worse only where its interval is clear of zero "
    "by enough that chance is a poor explanation. What is asked several times, of "
    "several metrics or segments, has to be clearer still.",
    '"No difference shown" is not "no difference": '
    "the interval says how large one may still be.",
    "Users are what is counted, not clicks: ten clicks of one user say less than one "
    "click of each of ten.",
    "The days so far settle as days are added. That they are above zero on some day is "
    "no result: decide beforehand how long to wait.",
)
"""How a page is read, `level` in percent."""

READING_OF = {
    "replay": "A replay says nothing of items that the log had no chance to show, nor "
    "of how users would have changed by being shown other things. It tells which of "
    "two is worth a live experiment.",
    "interleaving": "Interleaving tells which of two users prefer side by side; how "
    "many more clicks a whole list of the better one would bring, only a live "
    "experiment tells.",
    "live": "Segments are for understanding: a difference in one that was not looked "
    "for beforehand deserves an experiment of its own.",
}
"""What else there is to know of an outcome, by its kind."""


@dataclass(frozen=True)
class Figures:
    """How the numbers of one metric are written: as shares in percent, or plainly.

    Attributes:
        share: Whether the metric is a share of impressions.
        decimals: Behind the point.
    """

    share: bool
    decimals: int

    @classmethod
    def of(cls, outcome: Outcome, metric: str) -> Figures:
        """As many decimals as the intervals of all impressions leave in doubt."""
        return cls.fitting(
            outcome.metrics[metric],
            [
                one.high - one.low
                for one in outcome.overall.differences[metric].values()
            ],
        )

    @classmethod
    def fitting(cls, share: bool, widths: Iterable[float]) -> Figures:
        """As many decimals as intervals of these widths leave in doubt."""
        width = min(filter(None, widths), default=1.0) * (100 if share else 1)
        return cls(share, min(max(2 - math.ceil(math.log10(width)), 0), 4))

    def rate(self, value: float) -> str:
        """A rate, such as 4.61%."""
        return self._number(value) + ("%" if self.share else "")

    def difference(self, value: float, *, signed: bool = True) -> str:
        """A difference, such as +0.32 points; percentage points where rates are."""
        written = self._number(abs(value))
        sign = "" if not signed else "+" if value >= 0 else MINUS
        # What rounds to nothing has no direction.
        if not float(written.replace(",", "")):
            sign = ""
        return f"{sign}{written}" + (" points" if self.share else "")

    def change(self, value: float) -> str:
        """A difference without its unit, such as +0.32."""
        return self.difference(value).removesuffix(" points")

    def interval(self, one: Comparison) -> str:
        """An interval, such as +0.10 to +0.54 points."""
        return f"{self.change(one.low)} to {self.difference(one.high)}"

    def rate_interval(self, one: Rate) -> str:
        """The interval of a rate, such as 4.40% to 4.82%."""
        return f"{self.rate(one.low)} to {self.rate(one.high)}"

    def _number(self, value: float) -> str:
        scaled = value * 100 if self.share else value
        written = f"{abs(scaled):,.{self.decimals}f}"
        negative = scaled < 0 and float(written.replace(",", "")) > 0
        return MINUS + written if negative else written


def headline(outcome: Outcome) -> str:
    """The answer, in a few words."""
    if not outcome.trusted:
        return "Do not trust these numbers"
    found = [one.verdict for _, _, one in outcome.compared()]
    better, worse = found.count("better"), found.count("worse")
    others = [arm for arm in outcome.arms if arm != outcome.control]
    if len(others) > 1:
        return "There are differences" if better + worse else "No difference shown"
    if better and worse:
        return f"{others[0]} is better in one thing and worse in another"
    if better:
        return f"{others[0]} does better"
    if worse:
        return f"{others[0]} does worse"
    return "No difference shown"


def sentences(outcome: Outcome) -> list[str]:
    """What each metric says, a sentence for each."""
    return [
        _sentence(outcome, metric, arm, one) for metric, arm, one in outcome.compared()
    ]


def _sentence(outcome: Outcome, metric: str, arm: str, one: Comparison) -> str:
    figures = Figures.of(outcome, metric)
    rates = outcome.overall.rates[metric]
    control = rates[outcome.control].value
    against = (
        f"{metric.capitalize()}: {figures.rate(rates[arm].value)} with {arm}, "
        f"{figures.rate(control)} with {outcome.control}"
    )
    interval = (
        f"The true difference likely lies between {figures.change(one.low)} and "
        f"{figures.difference(one.high)} ({outcome.level:.0%} interval)"
    )
    if one.significant:
        more, way = ("more", "rise") if one.difference > 0 else ("less", "fall")
        part = ""
        if control > 0:
            part = f", a {way} of {abs(one.difference) / control:.0%}"
        size = figures.difference(one.difference, signed=False)
        return f"{against}. That is {size} {more}{part}. {interval}."
    return (
        f"{against}. A difference of this size may well be chance. {interval}, "
        "so neither can be called better."
    )


def chance(p: float) -> str:
    """A p-value in words, such as "28% of the time"."""
    if p >= 0.995:
        return "nearly always"
    if p >= 0.01:
        return f"{p:.0%} of the time"
    return f"{p:.1%} of the time" if p >= 0.001 else "less than 0.1% of the time"
