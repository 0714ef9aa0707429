"""Events to queries: what a user had done, and what the user did next.

Nothing is copied. Events are sorted by user and time, so a history is a range of them
and a query is a few integers, however long the history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.durations import Duration, to_seconds


@dataclass(frozen=True, eq=False)
class Queries:
    """Moments at which a user did something, with at least one event before.

    The history of query q is `events[history_start[q]:history_stop[q]]`: the same
    user's events *strictly earlier* than `time[q]`. Its targets are the events at
    `target[target_offset[q]:target_offset[q + 1]]`, all of them at `time[q]`.

    Attributes:
        user: [q] int64, positions in the events' users.
        time: [q] int64, seconds since the epoch.
        history_start: [q] int64 positions in the events.
        history_stop: [q] int64 positions in the events.
        target: [t] int64 positions in the events.
        target_offset: [q + 1] int64 positions in `target`.
    """

    user: np.ndarray
    time: np.ndarray
    history_start: np.ndarray
    history_stop: np.ndarray
    target: np.ndarray
    target_offset: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @property
    def target_count(self) -> np.ndarray:
        """[q] int64, targets a query."""
        return np.diff(self.target_offset)

    @property
    def query_of_target(self) -> np.ndarray:
        """[t] int64, the query that each target is one of."""
        return np.repeat(np.arange(len(self)), self.target_count)

    def latest(self, events: int) -> Queries:
        """The same queries, of whose histories only the latest events are left.

        Raises:
            ValueError: `events` is below 1.
        """
        if events < 1:
            raise ValueError(f"events={events} must be 1 or more.")
        start = np.maximum(self.history_start, self.history_stop - events)
        return dataclasses.replace(self, history_start=start)

    def within_sessions(self, events: Events, gap: Duration) -> Queries:
        """Leaves of a history what belongs to the query's own session.

        Queries that begin a session are dropped.

        Args:
            events: The events that the queries were made from.
            gap: As in `sessions`.
        """
        session = sessions(events, gap)
        begins = np.searchsorted(session, session, side="left")
        # A query's targets stand where its history stops.
        start = np.maximum(self.history_start, begins[self.target[self._first_target]])
        kept = start < self.history_stop
        return dataclasses.replace(self, history_start=start).where(kept)

    @property
    def _first_target(self) -> np.ndarray:
        return self.target_offset[:-1]

    def between(self, start: int, stop: int) -> Queries:
        """The queries from one place to another, at the cost of these alone."""
        offset = self.target_offset[start : stop + 1]
        return Queries(
            user=self.user[start:stop],
            time=self.time[start:stop],
            history_start=self.history_start[start:stop],
            history_stop=self.history_stop[start:stop],
            target=self.target[offset[0] : offset[-1]],
            target_offset=offset - offset[0],
        )

    def where(self, kept: np.ndarray) -> Queries:
        """The queries that `kept`, [q] bool, is true for."""
        return self._with_targets(np.repeat(kept, self.target_count), kept)

    def drawn(self, most: int, seed: int) -> Queries:
        """All of the queries where there are at most so many, else so many of them.

        Args:
            most: How many, 1 or more.
            seed: Of the draws, which are without replacement; the order stays.
        """
        if len(self) <= most:
            return self
        kept = np.zeros(len(self), bool)
        some = np.random.default_rng(seed).choice(len(self), most, replace=False)
        kept[some] = True
        return self.where(kept)

    def with_new_targets(self, events: Events) -> Queries:
        """Leaves only targets that their user has no earlier event of.

        Queries that are left without a target are dropped.

        Args:
            events: The events that the queries were made from.
        """
        return self.with_targets(self.new_targets(events))

    def new_targets(self, events: Events) -> np.ndarray:
        """[t] bool, the targets that their user has no earlier event of.

        Args:
            events: The events that the queries were made from.
        """
        earliest = _earliest_time_of_pair(events)
        return earliest[self.target] == events.time[self.target]

    def with_targets_among(self, events: Events, items: np.ndarray) -> Queries:
        """Leaves only targets that are one of some items, such as the new ones.

        Queries that are left without a target are dropped.

        Args:
            events: The events that the queries were made from.
            items: [n_items] bool, the catalogue's items that count.
        """
        return self.with_targets(items[events.item[self.target]])

    def with_targets(self, kept: np.ndarray) -> Queries:
        """Leaves only the targets that `kept`, [t] bool, is true for.

        Queries that are left without a target are dropped.
        """
        left = np.add.reduceat(kept, self.target_offset[:-1]) if len(self) else kept
        return self._with_targets(kept, left > 0)

    def _with_targets(self, kept_target: np.ndarray, kept: np.ndarray) -> Queries:
        query_of_target = self.query_of_target
        kept_target = kept_target & kept[query_of_target]
        count = np.bincount(query_of_target[kept_target], minlength=len(self))[kept]
        return Queries(
            user=self.user[kept],
            time=self.time[kept],
            history_start=self.history_start[kept],
            history_stop=self.history_stop[kept],
            target=self.target[kept_target],
            target_offset=np.concatenate([[0], np.cumsum(count)]),
        )


def basket_queries(
    events: Events,
    *,
    after: int | None = None,
    until: int | None = None,
    actions: Sequence[str] | None = None,
) -> Queries:
    """Makes one query of every moment at which a user acted, and had acted before.

    A basket is all of one user's events at one time. Its history are that user's
    events strictly before that time: an event *at* the query's own time is never
    history.

    Five events of one user, and what becomes of them:

    ====  ====  =======================
    time  item  query
    ====  ====  =======================
    10    a     none: nothing came before
    20    b     history a; targets b, c
    20    c     (the same basket)
    30    a     history a, b, c; target a
    30    d     (the same basket)
    ====  ====  =======================

    Args:
        events: Clean events.
        after: Only baskets strictly after this second.
        until: Only baskets at or before this second.
        actions: Only events with these actions are targets; all when left out. Events
            with other actions are still history.

    Returns:
        Queries in the order of user and time.

    Raises:
        ValueError: An action is not one of the events'.
    """
    return _queries(events, _baskets(events), after, until, actions)


def event_queries(
    events: Events,
    *,
    after: int | None = None,
    until: int | None = None,
    actions: Sequence[str] | None = None,
) -> Queries:
    """Makes one query of every event whose user had acted before.

    As `basket_queries`, but that the events of a basket are queries of their own, each
    with the same history: what came strictly before the basket.

    Args:
        events: Clean events.
        after: Only events strictly after this second.
        until: Only events at or before this second.
        actions: Only events with these actions; all when left out.

    Returns:
        Queries in the order of user and time, each with one target.

    Raises:
        ValueError: An action is not one of the events'.
    """
    return _queries(events, np.arange(len(events)), after, until, actions)


def actions_to_predict(
    actions: Sequence[str], wanted: Sequence[str]
) -> list[str] | None:
    """The actions that are targets: those wanted, else "purchase", else all (None)."""
    if wanted:
        return list(wanted)
    return ["purchase"] if "purchase" in actions and len(actions) > 1 else None


def with_actions(events: Events, actions: Sequence[str]) -> np.ndarray:
    """[n] bool, the events with one of some actions.

    Negative feedback is kept apart by it: what was shown and not clicked, or returned,
    is no interest. `events.where(~with_actions(events, ["skip"]))` makes queries;
    `events.where(with_actions(events, ["skip"]))` is looked up in by `events_before`
    and `events_at`.

    Raises:
        ValueError: An action is not one of the events'.
    """
    unknown = sorted(set(actions) - set(events.actions))
    if unknown:
        raise ValueError(
            f"actions={list(actions)}: {unknown} not among the log's "
            f"{list(events.actions)}."
        )
    return np.isin(events.action, [events.actions.index(one) for one in actions])


def events_before(
    events: Events, user: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each user's events strictly before a time stand.

    Args:
        events: Clean events; not those that the moments come from, as a rule.
        user: [q] int64, positions in the events' users.
        time: [q] int64, seconds since the epoch.

    Returns:
        Two [q] int64: the first event of each, and one beyond the last.
    """
    first, at, _ = _moments(events, user, time)
    return first, at


def events_at(
    events: Events, user: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each user's events at a time stand, as in `events_before`."""
    _, at, after = _moments(events, user, time)
    return at, after


def sessions(events: Events, gap: Duration) -> np.ndarray:
    """Numbers each user's visits: [n] int64, from 0 on, in the order of the events.

    Args:
        events: Clean events.
        gap: How long nothing may happen within a session, as in "30m".

    Raises:
        ValueError: The gap is no duration above 0.
    """
    longest = to_seconds(gap, "gap")
    begins = (np.diff(events.user) != 0) | (np.diff(events.time) > longest)
    return np.concatenate([[0], np.cumsum(begins)])[: len(events)]


def baskets(events: Events) -> np.ndarray:
    """Numbers each user's moments: [n] int64, from 0 on, in the order of the events."""
    number = np.zeros(len(events), np.int64)
    number[_baskets(events)[1:]] = 1
    return np.cumsum(number)


def _moments(
    events: Events, user: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three [q] int64: the user's first event, the first at a time and after it."""
    moments, rank = np.unique(np.concatenate([events.time, time]), return_inverse=True)
    # User and time in one number: times by their rank, which is small.
    width = len(moments) + 1
    own = events.user * width + rank[: len(events)]
    asked = np.asarray(user, np.int64) * width
    return (
        np.searchsorted(own, asked),
        np.searchsorted(own, asked + rank[len(events) :]),
        np.searchsorted(own, asked + rank[len(events) :], side="right"),
    )


def _baskets(events: Events) -> np.ndarray:
    """The first event of each of a user's moments."""
    begins = (np.diff(events.user) != 0) | (np.diff(events.time) != 0)
    return np.flatnonzero(np.concatenate([[True], begins])[: len(events)])


def _queries(
    events: Events,
    start: np.ndarray,
    after: int | None,
    until: int | None,
    actions: Sequence[str] | None,
) -> Queries:
    """One query of the events from each start to the next."""
    n = len(events)
    basket = _baskets(events)
    starts_user = np.concatenate([[True], np.diff(events.user) != 0])[:n]
    first_of_user = np.flatnonzero(starts_user)[np.cumsum(starts_user)[start] - 1]
    stop = basket[np.searchsorted(basket, start, side="right") - 1]
    wanted = np.ones(n, bool) if actions is None else with_actions(events, actions)
    everything = Queries(
        user=events.user[start],
        time=events.time[start],
        history_start=first_of_user,
        history_stop=stop,
        target=np.arange(n),
        target_offset=np.concatenate([start, [n]]) if n else np.zeros(1, np.int64),
    )
    kept = stop > first_of_user
    if after is not None:
        kept &= everything.time > after
    if until is not None:
        kept &= everything.time <= until
    if n:
        kept &= np.logical_or.reduceat(wanted, start)
    return everything._with_targets(wanted, kept)


def _earliest_time_of_pair(events: Events) -> np.ndarray:
    """[n] for each event, the time of its user's first event with the same item."""
    order = np.lexsort([events.time, events.item, events.user])
    user, item = events.user[order], events.item[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0)
    earliest = np.empty(len(order), np.int64)
    earliest[order] = events.time[order][first][np.cumsum(first) - 1]
    return earliest
