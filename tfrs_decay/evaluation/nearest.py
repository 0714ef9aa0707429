"""Baselines of neighbours: items bought by the same users, and users who buy alike.

Both are old, quick to make and hard to beat. SciPy keeps their matrices sparse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, events_before
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.data.tables import need
from tfrs_decay.evaluation.metrics import NO_ITEM
from tfrs_decay.evaluation.ranking import ranked

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class ItemKNN:
    """What goes with what a user had: items that the same users bought.

    Two items are as similar as many users had both up to the cut,

        similarity(i, j) = users(i and j) / (sqrt(users(i) users(j)) + shrinkage),

    of which each item i keeps those of its nearest neighbours. The score of an item is
    the sum of its similarities to the distinct items of the query's history. Histories
    roll forward with the query's time, similarities are frozen at the cut.

    Args:
        events: The events that the queries are made from; similarities are of those
            at or before `until`.
        until: The cut, seconds since the epoch; an event at the cut counts.
        neighbours: How many similar items each item keeps; among equals the lower code.
        shrinkage: Makes similarities small that few users tell of, 0 or more.

    Raises:
        ImportError: There is no SciPy.
        ValueError: There is no event at or before `until`, or a number is out of range.

    References:
        M. Deshpande, G. Karypis. Item-based top-N recommendation algorithms. ACM TOIS
        22(1), 2004.
    """

    def __init__(
        self,
        events: Events,
        *,
        until: int,
        neighbours: int = 100,
        shrinkage: float = 10.0,
    ) -> None:
        need("scipy", "ItemKNN", "fit")
        if neighbours < 1:
            raise ValueError(f"neighbours={neighbours} must be 1 or more.")
        if not 0 <= shrinkage < np.inf:
            raise ValueError(f"shrinkage={shrinkage} must be 0 or more, and finite.")
        past = _past(events, until)
        self._events = events
        had = _distinct(past.user, past.item, (len(events.users), len(events.items)))
        self._similar = _most_similar(had, neighbours, shrinkage)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float64."""
        row, event = flat_ranges(queries.history_start, queries.history_stop)
        shape = (len(queries), len(self._events.items))
        history = _distinct(row, self._events.item[event], shape)
        return (history @ self._similar).toarray()


class TIFUKNN:
    """How often and how lately a user bought what, blended with users who buy alike.

    A user's baskets, oldest first, are cut into `groups` runs of equal length, the
    later ones a basket longer where they do not divide. A basket is a vector of zeros
    and ones over items. A group's vector is the mean of its baskets, each weighed
    `within` to the power of the baskets of the group after it; a user's vector the mean
    of the groups', each weighed `between` to the power of the groups after it. Then

        score = own * vector of the user + (1 - own) * mean of the nearest users',

    by Euclidean distance. The query's user has the baskets of the query's history; the
    others, the same user not among them, have theirs up to the cut.

    Args:
        events: The events that the queries are made from; a basket is all that a user
            did at one time.
        until: The cut, seconds since the epoch; an event at the cut counts.
        neighbours: How many other users to blend with; among equals the lower code.
        groups: How many groups; users with fewer baskets have one a basket.
        within: The decay from basket to basket, above 0 and up to 1.
        between: The decay from group to group, above 0 and up to 1.
        own: The share of the user's own vector, 0 to 1.

    Raises:
        ImportError: There is no SciPy.
        ValueError: There is no event at or before `until`, or a number is out of range.

    References:
        H. Hu, X. He, J. Gao, Z. Zhang. Modeling personalized item frequency
        information for next-basket recommendation. SIGIR 2020. The defaults are those
        of its authors for Ta-Feng.
    """

    def __init__(
        self,
        events: Events,
        *,
        until: int,
        neighbours: int = 300,
        groups: int = 7,
        within: float = 0.9,
        between: float = 0.7,
        own: float = 0.7,
    ) -> None:
        need("scipy", "TIFUKNN", "fit")
        for name, count in (("neighbours", neighbours), ("groups", groups)):
            if count < 1:
                raise ValueError(f"{name}={count} must be 1 or more.")
        for name, decay in (("within", within), ("between", between)):
            if not 0 < decay <= 1:
                raise ValueError(f"{name}={decay} must be above 0, and 1 at most.")
        if not 0 <= own <= 1:
            raise ValueError(f"own={own} must lie in 0 to 1.")
        self._events = events
        self._neighbours = neighbours
        self._groups = groups
        self._within = within
        self._between = between
        self._own = own
        self._users = np.unique(_past(events, until).user)
        # Strictly before the second after the cut.
        start, stop = events_before(
            events, self._users, np.full(len(self._users), until + 1)
        )
        self._vectors = self._vectors_of(start, stop)
        self._squares = np.asarray(self._vectors.multiply(self._vectors).sum(axis=1))

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float64."""
        own = self._vectors_of(queries.history_start, queries.history_stop)
        blended = self._nearest(own, queries.user) @ self._vectors
        return (self._own * own + (1 - self._own) * blended).toarray()

    def _nearest(self, own: csr_matrix, user: np.ndarray) -> csr_matrix:
        """[b, users] the share of each neighbour, 1 / how many there are."""
        from scipy.sparse import csr_matrix

        # The nearer the higher: the square of the query's own vector is left out.
        near = 2 * (own @ self._vectors.T).toarray() - self._squares.ravel()
        oneself = user[:, None] == self._users
        nearest = ranked(near, self._neighbours, oneself)
        row, place = np.nonzero(nearest != NO_ITEM)
        count = np.bincount(row, minlength=len(user))
        return csr_matrix((1 / count[row], (row, nearest[row, place])), near.shape)

    def _vectors_of(self, start: np.ndarray, stop: np.ndarray) -> csr_matrix:
        """[ranges, n_items] vectors of ranges of events, each of one user."""
        from scipy.sparse import csr_matrix

        row, event = flat_ranges(start, stop)
        time, item = self._events.time[event], self._events.item[event]
        begins = np.ones(len(row), bool)
        begins[1:] = (np.diff(row) != 0) | (np.diff(time) != 0)
        basket = np.cumsum(begins) - 1
        weight = self._weights(np.bincount(row[begins], minlength=len(start)))
        # An item counts once a basket, whatever was done to it.
        shape = (len(weight), len(self._events.items))
        baskets = _distinct(basket, item, shape)
        of_row = (weight, (row[begins], np.arange(len(weight))))
        return csr_matrix(of_row, (len(start), len(weight))) @ baskets

    def _weights(self, count: np.ndarray) -> np.ndarray:
        """What each basket weighs: those of users with so many, user after user."""
        groups = np.minimum(self._groups, count).repeat(count)
        _, place = flat_ranges(np.zeros_like(count), count)
        size, longer = np.divmod(count.repeat(count), groups)
        # The first groups have `size` baskets, the `longer` last ones have one more.
        late = place - (groups - longer) * size
        is_late = late >= 0
        late = late.clip(min=0)
        group = np.where(is_late, groups - longer + late // (size + 1), place // size)
        within = np.where(is_late, late % (size + 1), place % size)
        size = size + is_late
        return (
            self._within ** (size - 1 - within)
            / size
            * self._between ** (groups - 1 - group)
            / groups
        )


def _past(events: Events, until: int) -> Events:
    past = events.where(events.time <= until)
    if not len(past):
        raise ValueError(
            f"until={until}: none of {len(events):,} events is at or before it; give a "
            "later cut, in seconds since the epoch."
        )
    return past


def _distinct(
    row: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> csr_matrix:
    """1 at every pair of row and column, however often it stands there."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((np.ones(len(row)), (row, column)), shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _most_similar(had: csr_matrix, neighbours: int, shrinkage: float) -> csr_matrix:
    """[n, n] similarities of each item, a row, to the nearest others."""
    from scipy.sparse import coo_matrix, csr_matrix, vstack

    of_item = had.T.tocsr()
    users = np.diff(of_item.indptr).astype(np.float64)
    kept = []
    for start in range(0, of_item.shape[0], 512):
        both = coo_matrix(of_item[start : start + 512] @ had)
        other = both.row + start != both.col
        row, column = both.row[other], both.col[other]
        length = np.sqrt(users[row + start] * users[column])
        similar = both.data[other] / (length + shrinkage)
        order = np.lexsort([column, -similar, row])
        first = np.searchsorted(row[order], row[order])
        order = order[np.arange(len(order)) - first < neighbours]
        kept.append(
            csr_matrix((similar[order], (row[order], column[order])), both.shape)
        )
    return vstack(kept, format="csr")
