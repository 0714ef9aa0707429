"""What each target weighs in a loss: by its action, and by how long ago it was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.decay import Decay


def target_weights(
    queries: Queries,
    events: Events,
    *,
    by_action: Mapping[str, float] | None = None,
    by_event: np.ndarray | None = None,
    decay: Decay | None = None,
    until: int | None = None,
) -> np.ndarray:
    """Weights of targets, 1 on average, for `batches(target_weights=...)`.

    A target's weight is proportional to by_action[its action] * by_event[itself] *
    decay(until - its query's time).

    Args:
        queries: From `basket_queries`.
        events: The events that the queries were made from.
        by_action: A weight above 0 for each action that is a target; all weigh the same
            when left out.
        by_event: [events] a weight above 0 for each of `events`, such as
            `feedback.Joined.event_weights` gives, for clicks that few would have made
            where the item stood.
        decay: How the training set fades: over the age alone, at one rate; not at all
            when left out. What it learns stays at its start.
        until: The end of the training set, in seconds since the epoch, from which ages
            are counted; that of the latest query when left out.

    Returns:
        [t] float32, in the order of `queries.target`.

    Raises:
        ValueError: A target's action has no weight, a weight is not finite and above 0,
            there is not a weight for each event, the decay is of another kind or leaves
            nothing, or a query is after `until`.
    """
    weight = np.ones(len(queries.target))
    if by_action is not None:
        check_action_weights(by_action)
        action = events.action[queries.target]
        there = [events.actions[code] for code in np.unique(action)]
        missing = [one for one in there if one not in by_action]
        if missing:
            raise ValueError(
                f"by_action names {sorted(by_action)}, and there are targets with "
                f"{missing}: give a weight for each action that is to be predicted."
            )
        of_action = [by_action.get(one, 0.0) for one in events.actions]
        weight *= np.array(of_action)[action]
    if by_event is not None:
        of_event = checked_weights(by_event, len(events), "event", "by_event")
        weight *= of_event[queries.target]
    if decay is not None and len(queries):
        check_example_decay(decay)
        latest = int(queries.time.max())
        if until is None:
            until = latest
        if latest > until:
            raise ValueError(
                f"until={until} is before the latest query, which is at {latest}: give "
                "the end of the training set, in seconds since the epoch."
            )
        weight *= decay.weight(until - queries.time)[queries.query_of_target]
    if len(weight) and not weight.any():
        raise ValueError(
            f"decay={decay!r} leaves nothing of any query: it is to fade more slowly."
        )
    return (weight / (weight.mean() if len(weight) else 1)).astype(np.float32)


def checked_weights(weights: np.ndarray, count: int, of: str, name: str) -> np.ndarray:
    """Refuses weights that are not one, finite and above 0, for each of something.

    Args:
        weights: [count] numbers.
        count: How many there are to be.
        of: What they are of, such as "event".
        name: The argument to name in an error.

    Returns:
        [count] float64.

    Raises:
        ValueError: They are of another shape, or one is not finite and above 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (count,):
        raise ValueError(
            f"{name} is of shape {weights.shape}: give one weight for each of "
            f"{count:,} {of}s."
        )
    wrong = ~((weights > 0) & np.isfinite(weights))
    if wrong.any():
        raise ValueError(
            f"{name} holds {weights[wrong][0]} ({wrong.sum():,} of {count:,} are "
            "alike): each must be finite and above 0."
        )
    return weights


def check_action_weights(weights: Mapping[str, float], name: str = "by_action") -> None:
    """Refuses weights of targets that are not finite and above 0.

    Args:
        weights: By action.
        name: The argument to name in an error.

    Raises:
        ValueError: One of them is not, or there is none.
    """
    if not weights:
        raise ValueError(f"{name}={dict(weights)} is empty: name the actions.")
    for action, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise ValueError(
                f"{name}[{action!r}]={weight} must be finite and above 0: an action "
                "that is not to be predicted is no target."
            )


def check_example_decay(decay: Decay, name: str = "decay") -> None:
    """Refuses a decay that is more than a weight for an age.

    Args:
        decay: To be checked.
        name: The argument to name in an error.

    Raises:
        TypeError: It is no decay.
        ValueError: It runs over the rank, or has rates for features, actions or
            categories.
    """
    if not isinstance(decay, Decay):
        raise TypeError(
            f"{name} is a {type(decay).__name__}: give a decay, such as "
            "decay.Exponential('120d')."
        )
    if "rank" in decay.clocks or decay.per_feature or decay.groups:
        raise ValueError(
            f"{name}={decay!r} must be over the age alone, at one rate: an example has "
            "no rank, feature, action or category."
        )
