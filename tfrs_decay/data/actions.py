"""Values as actions: what a watch share or a rating says of the interest behind it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from tfrs_decay.data.events import Events


def actions_by_value(
    events: Events, bands: Mapping[str, Mapping[str, float]]
) -> Events:
    """Names actions by how large their value is: a rating of 4 or more is "liked".

    A model weighs events by their actions, in training, in an export and in what is
    sent to a server, and learns these weights where it is told to. So a value counts
    wherever an action does, and an action alone has to be sent.

    Args:
        events: Clean events with values.
        bands: From an action to the names that take its place, each with the least
            value that it begins at, as in {"watch": {"left": 0, "finished": 0.9}}.
            Actions that are not named stay as they are.

    Returns:
        The same events, in the order of user, time, action and item.

    Raises:
        ValueError: There are no values, an action is not one of the events', a name is
            used twice or is an action already, bounds are not finite and distinct, or a
            value is below the lowest of them.

    >>> from tfrs_decay.data import Items
    >>> zero = np.zeros(2, np.int64)
    >>> rated = Events(
    ...     user=zero, time=np.array([1, 2]), action=zero, item=zero,
    ...     users=np.array(["ann"]), actions=("rating",), items=Items(["film"]),
    ...     value=np.array([2.5, 4.0]),
    ... )
    >>> named = actions_by_value(rated, {"rating": {"disliked": 0, "liked": 4}})
    >>> [named.actions[one] for one in named.action]
    ['disliked', 'liked']
    """
    if events.value is None:
        raise ValueError("the events have no values: an action has nothing to go by.")
    unknown = sorted(set(bands) - set(events.actions))
    if unknown:
        raise ValueError(
            f"bands names {unknown}, not among the log's actions "
            f"{list(events.actions)}."
        )
    staying = [one for one in events.actions if one not in bands]
    names = staying + [name for own in bands.values() for name in own]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(
            f"bands makes {name!r} of several: each band, and each action that stays, "
            "has a name of its own."
        )
    names = sorted(names)
    place = {name: code for code, name in enumerate(names)}
    action = np.empty_like(events.action)
    for code, old in enumerate(events.actions):
        rows = events.action == code
        if old in bands:
            action[rows] = _banded(old, bands[old], place, events.value[rows])
        else:
            action[rows] = place[old]
    order = np.lexsort([events.item, action, events.time, events.user])
    named = dataclasses.replace(events, action=action, actions=tuple(names))
    return named.where(order)


def _banded(
    action: str, bands: Mapping[str, float], place: Mapping[str, int], value: np.ndarray
) -> np.ndarray:
    """[rows] the place of each value's band."""
    rising = sorted(bands, key=lambda name: bands[name])
    bounds = np.array([bands[name] for name in rising], np.float64)
    if not len(bounds) or not np.isfinite(bounds).all() or (np.diff(bounds) == 0).any():
        raise ValueError(
            f"bands[{action!r}]={dict(bands)} must give each name a finite bound of "
            "its own, the least value that it begins at."
        )
    band = np.searchsorted(bounds, value, side="right") - 1
    below = band < 0
    if below.any():
        raise ValueError(
            f"bands[{action!r}] begins at {bounds[0]:g}, and {below.sum():,} of "
            f"{len(value):,} values are below it, such as {value[below][0]:g}: give "
            "them a band."
        )
    return np.array([place[name] for name in rising])[band]
