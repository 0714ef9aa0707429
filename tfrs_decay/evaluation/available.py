"""A model that may recommend only what there is at the time of the query."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.evaluation.baselines import Scorer


class Available:
    """A scorer's scores, and -inf for items that are not there at the query's time.

    A catalogue is that of the whole log. Where items come and go, as news do, a model
    would otherwise be held against yesterday's and tomorrow's.

    Args:
        scorer: The model.
        first: [n_items] int64, the second from which on each item is there.
        last: [n_items] int64, the last second at which it is.

    Attributes:
        personal: What the scorer says of itself.

    Raises:
        ValueError: The two are not of one shape [n_items].
    """

    def __init__(self, scorer: Scorer, first: np.ndarray, last: np.ndarray) -> None:
        if np.ndim(first) != 1 or np.shape(first) != np.shape(last):
            raise ValueError(
                f"first is of shape {np.shape(first)} and last of {np.shape(last)}: "
                "give one second of each for each item."
            )
        self._scorer = scorer
        self._first, self._last = np.asarray(first), np.asarray(last)
        self.personal = getattr(scorer, "personal", True)

    @classmethod
    def from_first_event(
        cls, scorer: Scorer, events: Events, life: Duration
    ) -> Available:
        """Items that are there from their first event on, where no log says when.

        An item without an event is never there.

        Args:
            scorer: The model.
            events: Clean events, those of the test period too.
            life: How long an item is there after its first event.
        """
        never = np.iinfo(np.int64).max
        first = np.full(len(events.items), never)
        np.minimum.at(first, events.item, events.time)
        there = first < never
        last = np.where(there, first + there * int(to_seconds(life, "life")), -1)
        return cls(scorer, first, last)

    def at(self, time: np.ndarray) -> np.ndarray:
        """[q, n_items] bool, what there is at each of the times, [q] int64 seconds."""
        time = np.asarray(time)[:, None]
        return (self._first <= time) & (time <= self._last)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] floats.

        Raises:
            ValueError: The scorer knows another number of items.
        """
        scores = np.asarray(self._scorer(queries))
        if scores.shape[1:] != self._first.shape:
            raise ValueError(
                f"{scores.shape[1]:,} items are scored, and first is of "
                f"{len(self._first):,}: give one second for each item of the catalogue."
            )
        return np.where(self.at(queries.time), scores, -np.inf)
