"""Popularity by its definition: one event after the other, no table."""

from __future__ import annotations

import math

import numpy as np

from tfrs_decay.data import Events, Items

DAY = 86_400
LONGEST = 45 * DAY


def events_of(rows, n_items=None, ids=None):
    """Events of (time, item) rows, in the order given."""
    time, item = np.array(rows, np.int64).reshape(-1, 2).T
    n_items = n_items or int(item.max(initial=0)) + 1
    ids = ids or [f"item {one}" for one in range(n_items)]
    nobody = np.zeros(len(time), np.int64)
    return Events(
        user=nobody,
        time=time,
        action=nobody,
        item=item,
        users=np.array(["u"], dtype=object),
        actions=("buy",),
        items=Items(ids),
    )


def before(rows, query_time, item, period):
    """Days between the query's day and each earlier day's event of an item."""
    today = query_time // period
    return [
        today - time // period
        for time, one in rows
        if one == item and time // period < today
    ]


def count(rows, query_time, item, half_life, period=DAY):
    total = 0.0
    for days in before(rows, query_time, item, period):
        age = (days - 0.5) * period
        total += 1.0 if half_life is None else 0.5 ** (age / half_life)
    return total


def features(rows, query_time, item):
    """At half-lives of 2 and 45 days, and without decay."""
    short, long, everything = (
        count(rows, query_time, item, one) for one in (2 * DAY, LONGEST, None)
    )
    days = before(rows, query_time, item, DAY) or [0]
    return [
        math.log(short + 0.1),
        math.log(long + 0.1),
        math.log(everything + 0.1),
        math.log((short * 45 / 2 + 0.1) / (long + 0.1)),
        math.log(1 + max(days)),
        math.log(1 + min(days)),
    ]
