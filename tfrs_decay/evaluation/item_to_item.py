"""Rankings by item-to-item terms: EASE, a linear next-basket map, cosine."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, baskets
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.decay import Constant, Decay
from tfrs_decay.evaluation.baselines import NO_DECAY, check_single_rate
from tfrs_decay.neighbours import Neighbours
from tfrs_decay.neighbours.counts import blocks, check_per_basket

PRODUCTS = 1 << 20
"""How many products of an event's weight and a neighbour's are made at once."""


class ItemToItem:
    """What the items of a user's history say about others.

    score(q, j) = sum over the events e in the history of q of w_e B[item of e, j], with
    w_e = decay(query time - event time) x per_basket^(later baskets of the history).
    Histories roll forward with the query's time; the table stays as it was fitted.

    Args:
        events: The events that the queries are made from.
        neighbours: A row for each item of their catalogue.
        decay: How the weight of an event falls with its age, or with how many events of
            the history came later; not at all when left out.
        per_basket: What is left of an event's weight at each later basket of the
            history, above 0 and up to 1: 0.7 for what `fit_next_basket` fits.
        last: Look at only the latest so many events of a history; all when left out.
        binary: Whether an item counts 1, however often and whenever it was had, as what
            `fit_ease` fits means it.

    Raises:
        ValueError: The table is of another catalogue, `last` is below 1, `per_basket`
            is not above 0 and up to 1, the decay has a rate for each feature, action or
            category, or `binary` comes with weights that fade.
    """

    def __init__(
        self,
        events: Events,
        neighbours: Neighbours,
        *,
        decay: Decay = NO_DECAY,
        per_basket: float = 1.0,
        last: int | None = None,
        binary: bool = False,
    ) -> None:
        if len(neighbours) != len(events.items):
            raise ValueError(
                f"neighbours has {len(neighbours):,} rows: give one for each of the "
                f"events' {len(events.items):,} items."
            )
        if last is not None and last < 1:
            raise ValueError(
                f"last={last} must be 1 or more: leave it out to look at all events."
            )
        check_per_basket(per_basket)
        check_single_rate(decay)
        if decay.groups:
            raise ValueError(
                f"decay={decay!r} depends on the {' and '.join(decay.groups)}: give a "
                "decay with a single rate."
            )
        if binary and not (isinstance(decay, Constant) and per_basket == 1):
            raise ValueError(
                f"binary=True counts an item 1 at any age, and decay={decay!r} with "
                f"per_basket={per_basket} weighs it: leave one of them out."
            )
        self._events = events
        self._neighbours = neighbours
        self._decay = decay
        self._per_basket = per_basket
        self._last = last
        self._binary = binary
        self._basket = baskets(events)
        # A table of all neighbours is a matrix, and no larger as one.
        self._square = _square(neighbours) if neighbours.m == len(neighbours) else None

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float64."""
        n = len(self._neighbours)
        cell, weight = self._profile(queries)
        row, item = cell // n, cell % n
        if self._square is not None:
            profile = np.zeros((len(queries), n))
            profile[row, item] = weight
            return profile @ self._square
        scores = np.empty((len(queries), n))
        held = np.bincount(row, minlength=len(queries))
        end = np.concatenate([[0], np.cumsum(held)])
        for start, stop in blocks(np.maximum(held * self._neighbours.m, n), PRODUCTS):
            some = slice(end[start], end[stop])
            neighbour = self._neighbours.item[item[some]]
            there = neighbour >= 0
            product = weight[some, None] * self._neighbours.weight[item[some]]
            place = (row[some, None] - start) * n + neighbour
            scores[start:stop] = np.bincount(
                place[there], product[there], minlength=(stop - start) * n
            ).reshape(stop - start, n)
        return scores

    def _profile(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Distinct (query, item) as query x n + item, in order, and their weights."""
        if self._last is not None:
            queries = queries.latest(self._last)
        row, event = flat_ranges(queries.history_start, queries.history_stop)
        cell, at = np.unique(
            row * len(self._neighbours) + self._events.item[event], return_inverse=True
        )
        if self._binary:
            return cell, np.ones(len(cell))
        latest = queries.history_stop[row] - 1
        age = queries.time[row] - self._events.time[event]
        if self._decay.clocks == {"rank"}:
            weight = self._decay.weight(latest - event)
        elif "rank" in self._decay.clocks:
            weight = self._decay.weight(age, rank=latest - event)
        else:
            weight = self._decay.weight(age)
        later = self._basket[latest] - self._basket[event]
        weight = np.asarray(weight) * self._per_basket**later
        return cell, np.bincount(at, weight, minlength=len(cell))


def _square(neighbours: Neighbours) -> np.ndarray:
    """[n, n] float64, the weights at their places."""
    square = np.zeros([len(neighbours)] * 2)
    row, column = np.nonzero(neighbours.item >= 0)
    square[row, neighbours.item[row, column]] = neighbours.weight[row, column]
    return square
