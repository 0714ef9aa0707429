"""How soon people come back to an item: a return-time mixture for each.

After an event, interest in the item either fades at once or comes back after a while,
when what was bought is used up:

    kernel(age) = share e^(-age / scale) + (1 - share) e^(-((age - peak) / width)^2 / 2)

Its two parts are densities up to their heights: an exponential and a normal
distribution, fitted to the gaps between a user's events of one item. Items with few
gaps are drawn towards the log as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.durations import Duration, to_seconds

DAY = 86_400.0

STEPS = 50
"""Steps of expectation-maximisation; the fit hardly moves after twenty."""

NARROWEST = 0.05
"""The least width of the normal part, as a share of its peak."""


class NoGapError(ValueError):
    """Nobody came back to anything."""


@dataclass(frozen=True, eq=False)
class ReturnTimes:
    """The kernel of each item.

    Attributes:
        share: [n] float64 in 0 to 1, of returns at an exponential's times.
        scale: [n] float64 seconds, the mean of the exponential.
        peak: [n] float64 seconds, the mean of the normal part.
        width: [n] float64 seconds, its standard deviation.
        gaps: [n] int64, how many gaps of the item's own it was fitted to.
        usual: [n] float64, the mean of log(1 + days) of a gap, drawn towards the log's.
        again: [n] float64 in 0 to 1, the share of the item's users who came back to it,
            drawn towards the log's.
    """

    share: np.ndarray
    scale: np.ndarray
    peak: np.ndarray
    width: np.ndarray
    gaps: np.ndarray
    usual: np.ndarray
    again: np.ndarray

    def __len__(self) -> int:
        return len(self.share)

    @classmethod
    def unknown(cls, n_items: int) -> ReturnTimes:
        """Of a log in which nobody came back to anything: all items are alike."""
        month = np.full(n_items, 30 * DAY)
        nothing = np.zeros(n_items)
        return cls(
            share=nothing + 1,
            scale=month,
            peak=month,
            width=month,
            gaps=np.zeros(n_items, np.int64),
            usual=np.log1p(month / DAY),
            again=nothing,
        )

    def kernel(self, item: np.ndarray, age: np.ndarray) -> np.ndarray:
        """What an event weighs after a while, at most 1.

        Args:
            item: [...] integer places in the catalogue.
            age: [...] seconds, 0 or more.

        Returns:
            [...] float64. It may rise with age: what is used up is bought again.
        """
        share, scale, peak, width = (
            one[item] for one in (self.share, self.scale, self.peak, self.width)
        )
        fading = np.exp(-age / scale)
        returning = np.exp(-0.5 * ((age - peak) / width) ** 2)
        return np.asarray(share * fading + (1 - share) * returning)


def fit_return_times(
    events: Events,
    *,
    until: int | None = None,
    least: Duration = "1h",
    prior: float = 20.0,
) -> ReturnTimes:
    """Fits the kernels to the gaps between a user's events of one item.

    Expectation-maximisation of the mixture for the log as a whole, then for each item,
    whose statistics are joined by those of `prior` gaps distributed as the log's.

    Args:
        events: Clean events.
        until: Only those up to this second; all when left out.
        least: Gaps shorter than this are one visit, and no return.
        prior: Gaps of the log as a whole that are added to each item's own.

    Returns:
        The kernels, of every item of the catalogue.

    Raises:
        NoGapError: There is no gap to fit; a ValueError.
        ValueError: `prior` is not above 0.

    References:
        C. Wang, M. Zhang, W. Ma, Y. Liu, S. Ma. Modeling item-specific temporal
        dynamics of repeat consumption for recommender systems (SLRC). WWW 2019.
    """
    if not (prior > 0 and np.isfinite(prior)):
        raise ValueError(f"prior={prior} must be above 0: the gaps of the log to add.")
    user, item, gap = _gaps(events, until)
    long = gap >= to_seconds(least, "least")
    user, item, gap = user[long], item[long], gap[long].astype(np.float64)
    if not len(gap):
        raise NoGapError(
            f"no user has two events of one item that are {least!r} or more apart: "
            "there are no return times to fit."
        )
    n = len(events.items)
    whole = _mixture(gap, np.zeros(len(gap), np.int64), _start(gap), None, 0.0)
    share, scale, peak, width = (np.repeat(one, n) for one in whole)
    fitted = _mixture(gap, item, (share, scale, peak, width), whole, prior)
    gaps = np.bincount(item, minlength=n)
    log_gap = np.log1p(gap / DAY)
    usual = np.bincount(item, log_gap, minlength=n) + prior * log_gap.mean()
    past = slice(None) if until is None else events.time <= until
    had, came_back = (
        np.bincount(_distinct(*pair, n), minlength=n)
        for pair in ((events.user[past], events.item[past]), (user, item))
    )
    again = (came_back + prior * came_back.sum() / had.sum()) / (had + prior)
    return ReturnTimes(*fitted, gaps, usual / (gaps + prior), again)


def _distinct(user: np.ndarray, item: np.ndarray, n: int) -> np.ndarray:
    """The items of distinct pairs."""
    pairs: np.ndarray = np.unique(user.astype(np.int64) * n + item) % n
    return pairs


def _gaps(
    events: Events, until: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[gaps] the user, the item, and seconds since the user's event of it before."""
    order = np.lexsort((events.time, events.item, events.user))
    if until is not None:
        order = order[events.time[order] <= until]
    user, item, time = events.user[order], events.item[order], events.time[order]
    same = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    return user[1:][same], item[1:][same], (time[1:] - time[:-1])[same]


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""[groups] each: share, scale, peak, width."""


def _start(gap: np.ndarray) -> Parts:
    low, middle, high = np.quantile(gap, [0.25, 0.5, 0.75])
    width = max((high - low) / 1.35, NARROWEST * middle)
    share, scale, peak, spread = np.array([[0.5], [gap.mean()], [middle], [width]])
    return share, scale, peak, spread


def _mixture(
    gap: np.ndarray, group: np.ndarray, parts: Parts, whole: Parts | None, prior: float
) -> Parts:
    """Expectation-maximisation, of all groups at once."""
    count = len(parts[0])

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, minlength=count)

    total = np.bincount(group, minlength=count) + prior
    share, scale, peak, width = parts
    for _ in range(STEPS):
        fading = share[group] / scale[group] * np.exp(-gap / scale[group])
        far = (gap - peak[group]) / width[group]
        returning = np.exp(-0.5 * far**2) * (1 - share[group]) / width[group]
        returning /= np.sqrt(2 * np.pi)
        # Both vanish far from the peak of a narrow bell: such a gap is the tail's.
        with np.errstate(invalid="ignore"):
            odds = np.nan_to_num(fading / (fading + returning), nan=1.0)
        of_tail, of_bell = summed(odds), summed(1 - odds)
        tail_gap, bell_gap = summed(odds * gap), summed((1 - odds) * gap)
        if whole is not None:
            of_tail = of_tail + prior * whole[0]
            of_bell = of_bell + prior * (1 - whole[0])
            tail_gap = tail_gap + prior * whole[0] * whole[1]
            bell_gap = bell_gap + prior * (1 - whole[0]) * whole[2]
        share = of_tail / total
        scale = tail_gap / np.maximum(of_tail, 1e-9)
        peak = bell_gap / np.maximum(of_bell, 1e-9)
        spread = summed((1 - odds) * (gap - peak[group]) ** 2)
        if whole is not None:
            spread = spread + prior * (1 - whole[0]) * (
                whole[3] ** 2 + (whole[2] - peak) ** 2
            )
        width = np.sqrt(spread / np.maximum(of_bell, 1e-9))
        width = np.maximum(width, NARROWEST * peak)
        scale = np.maximum(scale, 1.0)
    return share, scale, peak, np.maximum(width, 1.0)
