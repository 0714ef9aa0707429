"""Counts that a model has to beat: what everyone buys, and what this user buys.

On shops where people come back these are hard to beat, and a table without them says
little about a model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.data.split import events_until
from tfrs_decay.decay import Constant, Decay
from tfrs_decay.durations import Duration
from tfrs_decay.popularity import PopularityTable

Scorer = Callable[[Queries], np.ndarray]
"""Scores a block of b queries: [b, n_items] floats, higher is better, a new array.

`evaluate` ranks one block while the next is scored, so an array that was given is not
to be written to again. A scorer may use a query's user, time and history; its targets
are the answer, and are there for those who measure. One that ranks alike for everyone
says so with an attribute `personal = False`.
"""

NO_DECAY = Constant()
"""Every event counts 1, however long ago it was."""

TIE_BREAK_WEIGHT = 1e-6
"""What the most popular item's tie-break adds, in events of age 0."""


class Popularity:
    """What everyone bought: an item's events up to a cut, each weighted by its age.

    score(i) = sum over the events of item i at or before `until` of
    decay(until - time). The counts are frozen there: the same for every query.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        decay: How the weight of an event falls with its age; not at all when left out.

    Attributes:
        scores: [n_items] float64.

    Raises:
        ValueError: There is no event at or before `until`, or the decay has a rate
            for each feature.
    """

    personal = False

    def __init__(self, events: Events, *, until: int, decay: Decay = NO_DECAY) -> None:
        past = events_until(events, until)
        self.scores = np.bincount(
            past.item,
            weights=_weight(decay, until - past.time),
            minlength=len(events.items),
        )

    def __call__(self, queries: Queries) -> np.ndarray:
        """The same scores for each query: [b, n_items] float64, read-only."""
        return np.broadcast_to(self.scores, (len(queries), len(self.scores)))


class RollingPopularity:
    """What everyone bought until the day of each query: counts that roll forward.

    score(q, i) = sum over the events of item i on days before that of query q of
    2^(-age / half_life), from the middle of the event's day to the start of the
    query's: what a shop knows that counts once a night. Days are in UTC, and may be
    shorter (`period`), as for news. Queries of one day see the same counts, and nothing
    of that day.

    Args:
        events: Clean events, those of the test period too.
        half_life: How long it takes for an event's weight to halve; None never.
        frozen_after: Seconds since the epoch; events after it are not looked at, and
            the counts of later queries are those of the cut, older. None rolls on.
        period: What is taken for a day, as in "1h": whole seconds.

    Attributes:
        table: The counts of every day, a `popularity.PopularityTable`.

    Raises:
        ValueError: There is no event at or before `frozen_after`, the half-life is not
            positive, or the period no whole number of seconds.
    """

    personal = False

    def __init__(
        self,
        events: Events,
        half_life: Duration | None,
        *,
        frozen_after: int | None = None,
        period: Duration = "1d",
    ) -> None:
        if frozen_after is not None:
            events_until(events, frozen_after, "frozen_after")
        self.table = PopularityTable.of(
            events, until=frozen_after, half_lives=[half_life], period=period
        )

    def __call__(self, queries: Queries) -> np.ndarray:
        """The scores of each query's day: [b, n_items] float64."""
        day, place = np.unique(queries.time // self.table.period, return_inverse=True)
        return self.table.counts(day * self.table.period)[place, :, 0]


class OwnCounts:
    """What this user bought: events in the query's own history, weighted by their age.

    score(q, i) = sum over the events of item i in the history of q of
    decay(query time - event time), plus the tie-break. Also known as personal
    frequency. Histories roll forward with the query's time: they hold everything
    strictly before it.

    Items that the user never had, and items had equally often, are ordered by
    `tie_break`, scaled so that its highest score adds 1e-6. A decay that lets events
    fall below that weight mixes the two: there the tie-break is more than one.

    Args:
        events: The events that the queries are made from.
        decay: How the weight of an event falls with its age; not at all when left out.
        last: Count only the latest so many events of a history; all when left out.
        tie_break: [n_items] scores, 0 or more, such as `Popularity.scores`; the lower
            item code goes first when left out.

    Raises:
        ValueError: `last` is below 1, `tie_break` is not one score for each item, or
            the decay has a rate for each feature.

    References:
        H. Hu, X. He, J. Gao, Z. Zhang. Modeling personalized item frequency
        information for next-basket recommendation. SIGIR 2020.
    """

    def __init__(
        self,
        events: Events,
        *,
        decay: Decay = NO_DECAY,
        last: int | None = None,
        tie_break: np.ndarray | None = None,
    ) -> None:
        if last is not None and last < 1:
            raise ValueError(
                f"last={last} must be 1 or more: leave it out to count all events."
            )
        check_single_rate(decay)
        self._events = events
        self._decay = decay
        self._last = last
        self._tie_break = _tie_break(tie_break, len(events.items))

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float64."""
        start, stop = queries.history_start, queries.history_stop
        if self._last is not None:
            start = np.maximum(start, stop - self._last)
        row, event = flat_ranges(start, stop)
        n_items = len(self._events.items)
        counts = np.bincount(
            row * n_items + self._events.item[event],
            weights=_weight(self._decay, queries.time[row] - self._events.time[event]),
            minlength=len(queries) * n_items,
        )
        return counts.reshape(len(queries), n_items) + self._tie_break


def check_single_rate(decay: Decay) -> None:
    """Refuses a decay for vectors.

    Raises:
        ValueError: It has a rate for each feature.
    """
    if decay.per_feature:
        raise ValueError(
            f"decay={decay!r} has a rate for each feature, and counts have no "
            "features: give a decay with a single rate."
        )


def _weight(decay: Decay, age: np.ndarray) -> np.ndarray:
    check_single_rate(decay)
    return np.asarray(decay.weight(age))


def _tie_break(scores: np.ndarray | None, n_items: int) -> np.ndarray:
    if scores is None:
        return np.zeros(n_items)
    scores = np.asarray(scores, np.float64)
    if scores.shape != (n_items,):
        raise ValueError(
            f"tie_break is of shape {scores.shape}: give one score for each of "
            f"{n_items:,} items."
        )
    wrong = ~(np.isfinite(scores) & (scores >= 0))
    if wrong.any():
        raise ValueError(
            f"tie_break holds {scores[wrong][0]}: its scores are finite, 0 or more."
        )
    highest = scores.max(initial=0.0)
    return scores if highest == 0 else TIE_BREAK_WEIGHT * (scores / highest)
