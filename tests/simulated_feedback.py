"""Lists whose truth is known: how often places are looked at, and what items are worth.

Liked items stand high, so that plain click-through confuses the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_decay.data import Events, Items

DAY = 86_400
LOOKED_AT = np.array([1.0, 0.7, 0.5, 0.35, 0.25])


class Shown(NamedTuple):
    """table: columns of what was shown. clicks: what came of it. appeal: [items]."""

    table: dict[str, np.ndarray]
    clicks: Events
    appeal: np.ndarray


def shown_lists(seed, *, users=300, lists=8, items=15, by_chance=False):
    """Lists of five, a list a day for each user, a click a minute after its list."""
    rng = np.random.default_rng(seed)
    k = len(LOOKED_AT)
    appeal = np.linspace(0.6, 0.1, items)
    user = np.repeat(np.arange(users), lists)
    rank = appeal + rng.normal(0, 50 if by_chance else 0.15, (len(user), items))
    item = np.argsort(-rank, axis=1)[:, :k].ravel()
    position = np.tile(np.arange(1, k + 1), len(user))
    time = np.repeat(np.tile(np.arange(lists) * DAY, users), k)
    user = np.repeat(user, k)
    taste = rng.uniform(0.5, 1.5, users)[user]
    clicked = rng.random(len(user)) < LOOKED_AT[position - 1] * appeal[item] * taste
    table = {"user": user, "item": item, "time": time, "position": position}
    rows = np.flatnonzero(clicked)
    rows = rows[np.lexsort([item[rows], time[rows], user[rows]])]
    clicks = Events(
        user=user[rows],
        time=time[rows] + 60,
        action=np.zeros(len(rows), np.int64),
        item=item[rows],
        users=np.arange(users).astype(str).astype(object),
        actions=("click",),
        items=Items([str(one) for one in range(items)]),
    )
    return Shown(table, clicks, appeal)
