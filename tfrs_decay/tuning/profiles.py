"""A strong linear recommender with nothing to train, for any decay.

What a user will do next is told from the user's decayed profile by fixed item-to-item
weights, so that one decay can be held against another in a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.decay import NEVER, Decay, Elapsed, Labels

MOST_ITEMS = 5_000
"""Items, the most frequent, that item-to-item weights are told for."""

RIDGE = 10.0
"""EASE's penalty, in mean diagonal elements of the Gram matrix."""

TIE_BREAK = 1e-6
"""What the most popular item's popularity adds to a score."""

LEAST_WEIGHT = 1e-30
"""Share of a profile below which an event is left out."""

USERS_AT_ONCE = 4_096


class Relations(NamedTuple):
    """What a period says of the items, frozen.

    item: [m] int64, the items that have item-to-item weights.
    weight: [m, m] float32, from an item that a user had, row, to another, column; the
        diagonal is 0.
    popularity: [n_items] float32 in [0, 1], the share of the most frequent item's
        events.
    """

    item: np.ndarray
    weight: np.ndarray
    popularity: np.ndarray


def relations(
    events: Events,
    *,
    until: int,
    action_weight: np.ndarray,
    most_items: int = MOST_ITEMS,
) -> Relations:
    """Learns item-to-item weights in closed form (EASE).

    With X [users, items] the heaviest action of each user on each item, and
    P = (X'X + ridge I)^-1, the weight from item i to item j is -P_ij / P_jj: each
    column is the ridge regression of one item on all others. All of a user's events
    count alike, however old.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        action_weight: [n_actions] what each action weighs, 0 or more.
        most_items: Only the most frequent so many items have weights; the inverse
            takes their number cubed.

    Raises:
        ValueError: No event that weighs something is at or before the cut.

    References:
        H. Steck. Embarrassingly shallow autoencoders for sparse data. WWW 2019.
    """
    of_event = action_weight[events.action]
    past = (events.time <= until) & (of_event > 0)
    if not past.any():
        raise ValueError(
            f"until={until}: no event that weighs something is at or before it."
        )
    count = np.bincount(events.item[past], minlength=len(events.items))
    # The most frequent first, the lower code first among equals.
    item = np.sort(np.argsort(-count, kind="stable")[:most_items])
    item = item[count[item] > 0]
    place = np.full(len(events.items), -1)
    place[item] = np.arange(len(item))
    past &= place[events.item] >= 0
    user, column, heaviness = (
        events.user[past],
        place[events.item[past]],
        of_event[past],
    )
    gram = np.zeros((len(item), len(item)), np.float32)
    # Events stand in the order of their users, so a block of users is a slice.
    for first in range(0, len(events.users), USERS_AT_ONCE):
        some = slice(*np.searchsorted(user, [first, first + USERS_AT_ONCE]))
        block = np.zeros((USERS_AT_ONCE, len(item)), np.float32)
        np.maximum.at(block, (user[some] - first, column[some]), heaviness[some])
        gram += block.T @ block
    regular = gram.astype(np.float64)
    regular[np.diag_indices(len(item))] += RIDGE * np.diag(gram).mean()
    inverse = np.linalg.inv(regular)
    weight = -inverse / np.diag(inverse)
    np.fill_diagonal(weight, 0.0)
    popularity = (count / count.max()).astype(np.float32)
    return Relations(item, weight.astype(np.float32), popularity)


class Profiles:
    """Users' decayed profiles: how much of each item is in a query's history.

    An event weighs its action's weight times the decay of its age (or of the number of
    later events that weigh something), and a query's weights are scaled to sum to 1, as
    in `TimeDecayPooling` under "mean", in log space.

    Args:
        events: The events that the queries are made from.
        decay: Over the clock, the rank or both.
        action_weight: [n_actions] what each action weighs, 0 or more.
        max_history: Only the latest so many events of a history.

    Raises:
        ValueError: The decay has a rate for each feature or category.
    """

    def __init__(
        self,
        events: Events,
        decay: Decay,
        *,
        action_weight: np.ndarray,
        max_history: int,
    ) -> None:
        if decay.per_feature or "category" in decay.groups:
            raise ValueError(
                f"decay={decay!r} has a rate for each feature or category, which a "
                "profile of items does not have: give a decay with a single rate."
            )
        self._events = events
        self._decay = decay
        self._max_history = max_history
        with np.errstate(divide="ignore"):
            self._log_action = np.log(action_weight)[events.action]
        counts = action_weight[events.action] > 0
        self._counted = np.concatenate([[0], np.cumsum(counts)])
        self._moment_ends = _moment_ends(events)

    def __call__(self, queries: Queries) -> np.ndarray:
        """[b, n_items] float32; rows sum to 1, or are 0 where nothing weighs."""
        events, n_items = self._events, len(self._events.items)
        stop = queries.history_stop
        start = np.maximum(queries.history_start, stop - self._max_history)
        row, event = flat_ranges(start, stop)
        age = (queries.time[row] - events.time[event]).astype(np.float64)
        later = self._counted[stop[row]] - self._counted[self._moment_ends[event]]
        labels = {
            group: Labels(events.actions, events.action[event])
            for group in self._decay.groups
        }
        log_weight = self._log_action[event] + self._decay.formula(
            Elapsed(age, later.astype(np.float64), labels)
        )
        log_weight[log_weight <= NEVER / 2] = -np.inf
        largest = np.full(len(queries), -np.inf)
        np.maximum.at(largest, row, log_weight)
        # Where nothing weighs anything, any number will do.
        weight = np.exp(log_weight - np.where(largest > -np.inf, largest, 0.0)[row])
        total = np.bincount(row, weight, minlength=len(queries))
        weight /= np.where(total > 0, total, 1.0)[row]
        # What is left of the old would be subnormal, and a product of those is slow.
        weight[weight < LEAST_WEIGHT] = 0.0
        profile = np.bincount(
            row * n_items + events.item[event],
            weights=weight,
            minlength=len(queries) * n_items,
        )
        return profile.reshape(len(queries), n_items).astype(np.float32)


class ProfileScores:
    """Scores of decayed profiles: what goes with them, and the items themselves.

    score(j) = sum_i profile_i weight_ij + own profile_j, and a hair of popularity to
    break ties, which decides where a profile is empty. Items without an event in the
    period of the relations come last, unless they stand in the profile.

    Args:
        profiles: Of the queries' users.
        known: From the training period.
        own: How much an item speaks for itself: users do come back for some things.
    """

    def __init__(self, profiles: Profiles, known: Relations, own: float) -> None:
        self._profiles = profiles
        self._known = known
        self._own = own

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32."""
        profile = self._profiles(queries)
        return finished(related(profile, self._known), profile, self._known, self._own)


def related(profile: np.ndarray, known: Relations) -> np.ndarray:
    """What goes with a profile: [b, n_items] float32, 0 for items without weights."""
    scores = np.zeros_like(profile)
    scores[:, known.item] = profile[:, known.item] @ known.weight
    return scores


def finished(
    scores: np.ndarray, profile: np.ndarray, known: Relations, own: float
) -> np.ndarray:
    """Scores [b, n_items] with own items and popularity, -inf for what is unknown."""
    scores = scores + own * profile + TIE_BREAK * known.popularity
    return np.where((known.popularity > 0) | (profile > 0), scores, -np.inf)


def _moment_ends(events: Events) -> np.ndarray:
    """[n] int64, for each event the place behind the last of its user and time."""
    changes = (np.diff(events.user) != 0) | (np.diff(events.time) != 0)
    ends = np.concatenate([np.flatnonzero(changes) + 1, [len(events)]])
    length = np.diff(np.concatenate([[0], ends]))
    return np.repeat(ends, length)
