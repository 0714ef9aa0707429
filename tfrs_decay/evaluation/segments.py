"""Parts of the queries that a mean over all of them hides.

Who is new or light, and which items are new or seldom bought, is told by the events up
to the cut alone: those that the models were trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.evaluation.figures import Figures

LIGHT = 10
"""A light user has so many events up to the cut, or fewer, and one at least."""

HEAD = 0.8
"""The head are the fewest items that make up this share of the events up to the cut."""

DAY = 86_400
AGES = (1, 7, 30, 90)
"""Days between which the age of a history's last event is told apart."""


def segments(queries: Queries, events: Events, *, until: int) -> dict[str, np.ndarray]:
    """Which targets belong to which segment.

    ==================  ==============================================================
    users               by the user's events up to the cut, the whole of each query
    new users           none: what they did before the query came after the cut
    light users         1 to 10
    other users         more
    items               by the item's events up to the cut, target by target
    head                the fewest items that make up 80% of all events; among equals
                        the lower code
    long tail           all other items, the new ones among them
    new items           none
    last event          the query's time less that of the history's last event
    last event < 1d     less than a day; then from 1 to less than 7 days, and so on
    targets             by what the user had before the query
    repeats             the user had the item
    new to the user     the user never had it
    ==================  ==============================================================

    A segment is a choice of targets: a basket with a repeat and a new item is a query
    of both, held against one target in each. `figures.of_targets(segments["repeats"])`
    are the figures of one; `by_segment` those of all.

    Args:
        queries: After the cut, from `basket_queries` or `event_queries`.
        events: The events that the queries were made from.
        until: The cut, seconds since the epoch; an event at the cut is before it.

    Returns:
        [t] bool by name, one for each target of the queries, in the order above.

    Raises:
        ValueError: A query is not after the cut, or no event is at or before it.
    """
    if len(queries) and queries.time.min() <= until:
        raise ValueError(
            f"until={until}: a query is at {queries.time.min()}. Give queries after "
            "the cut, as `basket_queries(events, after=until)` makes them."
        )
    past = events.time <= until
    if not past.any():
        raise ValueError(f"until={until}: none of {len(events):,} events is before it.")
    of_user = np.bincount(events.user[past], minlength=len(events.users))[queries.user]
    of_item = np.bincount(events.item[past], minlength=len(events.items))
    item = events.item[queries.target]
    head = _head(of_item)[item]
    age = queries.time - events.time[queries.history_stop - 1]
    new = queries.new_targets(events)
    of_queries = {
        "new users": of_user == 0,
        "light users": (of_user > 0) & (of_user <= LIGHT),
        "other users": of_user > LIGHT,
    }
    of_ages = {
        name: (low * DAY <= age) & (age < high * DAY)
        for name, low, high in zip(
            _age_names(), (0, *AGES), (*AGES, np.inf), strict=True
        )
    }

    def spread(some: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: one[queries.query_of_target] for name, one in some.items()}

    return {
        **spread(of_queries),
        "head": head,
        "long tail": ~head,
        "new items": of_item[item] == 0,
        **spread(of_ages),
        "repeats": ~new,
        "new to the user": new,
    }


def by_segment(
    figures: Mapping[str, Figures], segments: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Figures]]:
    """Figures of each segment, as `as_dict` takes them; those of an empty one too.

    Args:
        figures: What `evaluate` returned.
        segments: What `segments` returned for the same queries.

    Returns:
        Figures by segment and model; of no queries where a segment is empty.

    Raises:
        ValueError: A segment is not of one boolean for each target.
    """
    return {
        name: {model: one.of_targets(kept) for model, one in figures.items()}
        for name, kept in segments.items()
    }


def _head(count: np.ndarray) -> np.ndarray:
    """[n] bool, the fewest items with a share of `HEAD` of all events."""
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    head = np.zeros(len(count), bool)
    head[order] = before < HEAD * count.sum()
    return head & (count > 0)


def _age_names() -> list[str]:
    between = [f"last event {low}d to {high}d" for low, high in pairwise(AGES)]
    return [f"last event < {AGES[0]}d", *between, f"last event >= {AGES[-1]}d"]
