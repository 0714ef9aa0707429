"""What is kept of a user, as a named tuple of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tfrs_decay.decay
from tfrs_decay.data.times import LATEST_SECOND

# A NumPy number: TensorFlow would take a plain one for float32, and round it.
NEVER = np.float64(tfrs_decay.decay.NEVER)

NOTHING = NEVER / 2
"""What has this log weight, or less, weighs nothing."""

BEFORE = np.int64(-LATEST_SECOND)
"""The clock of a state without events, before every time."""


class State(NamedTuple):
    """A user's interest: an event that stands for all those before it.

    Every array can have leading dimensions `[...]` of users; a single user's has none.
    States are put together like any arrays: `State(*map(np.stack, zip(*states)))`.

    mean: [..., terms, dim] float32, the mean of the vectors under each of the
        exponentials that are kept.
    log_weight: [..., terms] float64, or [..., terms, dim] with rates of each feature's
        own: the logarithm of the sum of weights at `time`, -1e30 when empty. Being a
        logarithm it outlives any idle time.
    time: [...] int64 seconds since the epoch: the latest event, or what it was decayed
        to; -1e11, before every time, when empty.
    recent_vectors: [..., capacity, dim] float32, events kept as they are, in the order
        of time, for decays that are no sum of exponentials. The capacity is 0 where
        there is no such decay.
    recent_times: [..., capacity] int64 seconds; -1e11 in a free slot.
    recent_log_weights: [..., capacity] float64, the logarithm of what each weighs at
        age 0; -1e30 in a free slot.
    recent_actions: [..., capacity] int32, the place of each one's action among the
        names that are known; capacity 0 where no such decay depends on actions.
    recent_categories: [..., capacity] int32, the same for categories.
    dropped: [...] int64, how many events had to leave while they could still have
        weighed something. What is read from recent events is exact while it is 0.
    """

    mean: Any
    log_weight: Any
    time: Any
    recent_vectors: Any
    recent_times: Any
    recent_log_weights: Any
    recent_actions: Any
    recent_categories: Any
    dropped: Any

    @property
    def denominator(self) -> Any:
        """The sums of weights, shaped like `log_weight`; of arrays."""
        return np.exp(self.log_weight)

    @property
    def numerator(self) -> Any:
        """[..., terms, dim] float64, the sums of weighted vectors; of arrays."""
        weight = self.denominator
        return self.mean * (
            weight if weight.ndim == self.mean.ndim else weight[..., None]
        )


def need_state(given: Any, name: str) -> None:
    """Refuses what is no `State`.

    Args:
        given: A state, perhaps.
        name: The argument's, for the error.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(given, State):
        raise TypeError(
            f"{name} is a {type(given).__name__}: hand in a State, as `empty` or "
            f"`update` gives it; State(*fields) makes one of {len(State._fields)} "
            "fields in their order."
        )
