"""Metrics of ranked lists: arrays in, one number a query out.

A basket is a set of items that were all wanted alike, so gains are binary and an item
that a basket names twice counts once. Means, intervals and comparisons are left to the
caller, who has the number of every query. Novelty and diversity ask of a list alone,
whatever was wanted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NO_ITEM = -1
"""Stands in a ranked list where there was no further item to recommend."""


def recall_at_k(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> np.ndarray:
    """The share of a basket that the list found: hits / min(k, basket size).

    Where a basket is larger than the list, a list of nothing but hits still gets 1.

    Args:
        top: [q, k] integer item codes, best first; -1 where there is no item.
        targets: [t] integer item codes, 0 or more, basket after basket.
        target_offset: [q + 1] integers; the basket of query q is
            `targets[target_offset[q]:target_offset[q + 1]]`.

    Returns:
        [q] float64 in [0, 1].

    Raises:
        ValueError: A list names an item twice, a basket is empty, or an array has
            another rank or type, or does not fit the others.

    Two lists of four; the baskets are {2, 9} and {4, 2, 3}:

    >>> lists = np.array([[4, 2, 0, 3], [1, 2, 0, 4]])
    >>> recall_at_k(lists, np.array([2, 9, 4, 2, 3]), np.array([0, 2, 5])).round(4)
    array([0.5   , 0.6667])
    """
    return Hits.of(top, targets, target_offset).recall()


def ndcg_at_k(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> np.ndarray:
    """Normalised discounted cumulative gain: hits count less the lower they stand.

    A hit at rank r (the first is 1) gains 1 / log2(r + 1); the sum is divided by that
    of the best possible list, which is hits at the ranks 1 to min(k, basket size).

    Args:
        top: [q, k] integer item codes, best first; -1 where there is no item.
        targets: [t] integer item codes, 0 or more, basket after basket.
        target_offset: [q + 1] integers; the basket of query q is
            `targets[target_offset[q]:target_offset[q + 1]]`.

    Returns:
        [q] float64 in [0, 1].

    Raises:
        ValueError: A list names an item twice, a basket is empty, or an array has
            another rank or type, or does not fit the others.

    References:
        K. Järvelin, J. Kekäläinen. Cumulated gain-based evaluation of IR techniques.
        ACM TOIS 20(4), 2002.

    The only wanted item stands third, where a hit gains 1 / log2(4):

    >>> ndcg_at_k(np.array([[7, 8, 9]]), np.array([9]), np.array([0, 1])).tolist()
    [0.5]
    """
    return Hits.of(top, targets, target_offset).ndcg()


def precision_at_k(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> np.ndarray:
    """The share of the list that was wanted: hits / k, empty places included.

    Args:
        top: [q, k] integer item codes, as in `recall_at_k`.
        targets: [t] integer item codes, basket after basket.
        target_offset: [q + 1] integers, where each basket begins and ends.

    Returns:
        [q] float64 in [0, 1].

    Raises:
        ValueError: As in `recall_at_k`.

    >>> lists = np.array([[4, 2, 0, 3], [1, 2, 0, 4]])
    >>> precision_at_k(lists, np.array([2, 9, 4, 2, 3]), np.array([0, 2, 5])).tolist()
    [0.25, 0.5]
    """
    return Hits.of(top, targets, target_offset).precision()


def mrr_at_k(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> np.ndarray:
    """Reciprocal rank: 1 / the rank of the first hit, 0 for a list without one.

    Its mean over queries is known as MRR.

    Args:
        top: [q, k] integer item codes, as in `recall_at_k`.
        targets: [t] integer item codes, basket after basket.
        target_offset: [q + 1] integers, where each basket begins and ends.

    Returns:
        [q] float64 in [0, 1].

    Raises:
        ValueError: As in `recall_at_k`.

    >>> lists = np.array([[4, 2, 0, 3], [1, 2, 0, 4]])
    >>> mrr_at_k(lists, np.array([2, 9, 5, 6, 3]), np.array([0, 2, 5])).tolist()
    [0.5, 0.0]
    """
    return Hits.of(top, targets, target_offset).mrr()


def hit_rate_at_k(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> np.ndarray:
    """Whether anything on the list was wanted: 1 with a hit, else 0.

    Args:
        top: [q, k] integer item codes, as in `recall_at_k`.
        targets: [t] integer item codes, basket after basket.
        target_offset: [q + 1] integers, where each basket begins and ends.

    Returns:
        [q] float64, 0 or 1.

    Raises:
        ValueError: As in `recall_at_k`.

    >>> lists = np.array([[4, 2, 0, 3], [1, 2, 0, 4]])
    >>> hit_rate_at_k(lists, np.array([2, 9, 5, 6, 3]), np.array([0, 2, 5])).tolist()
    [1.0, 0.0]
    """
    return Hits.of(top, targets, target_offset).hit_rate()


def self_information(counts: np.ndarray) -> np.ndarray:
    """How surprising it is to see each item, in bits: -log2 of its share of events.

    One event is added to each item, so that one without any is finite: with n items,
    information(i) = -log2((count(i) + 1) / (sum of counts + n)).

    Args:
        counts: [n] events of each item, 0 or more, such as `Popularity.scores`.

    Returns:
        [n] float64.

    Raises:
        ValueError: A count is below 0 or not finite, or the rank is another.

    >>> self_information(np.array([7, 3, 2, 0])).tolist()
    [1.0, 2.0, 2.415..., 4.0]
    """
    counts = _numbers("counts", counts, "[items]")
    if counts.size and counts.min() < 0:
        raise ValueError(f"counts holds {counts.min():g}: give events, 0 or more.")
    return np.log2(counts.sum() + len(counts)) - np.log2(counts + 1)


def novelty_at_k(top: np.ndarray, information: np.ndarray) -> np.ndarray:
    """How far from the well-known a list is: the mean information of its items.

    Args:
        top: [q, k] integer item codes; -1 where there is no item.
        information: [n] bits of each item, as `self_information` gives them for the
            events that a model was trained on.

    Returns:
        [q] float64.

    Raises:
        ValueError: A list holds no item, names one twice or one of n or more, or an
            array has another rank or type.

    References:
        S. Vargas, P. Castells. Rank and relevance in novelty and diversity metrics for
        recommender systems. RecSys 2011.

    >>> novelty_at_k(np.array([[0, 2], [1, -1]]), np.array([1.0, 2.0, 4.0])).tolist()
    [2.5, 2.0]
    """
    information = _numbers("information", information, "[items]")
    top = _lists(top, len(information))
    there = top != NO_ITEM
    _check_items(there, 1, "novelty")
    return np.where(there, information[top], 0.0).sum(axis=1) / there.sum(axis=1)


def diversity_at_k(top: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """How unlike each other a list's items are: 1 - the mean cosine of all pairs.

    An item whose vector is zero counts as at a right angle to every other.

    Args:
        top: [q, k] integer item codes; -1 where there is no item.
        vectors: [n, dim] a vector of each item, such as a tower's.

    Returns:
        [q] float64 in [0, 2]: 0 for items that all point alike, 1 for right angles.

    Raises:
        ValueError: A list holds fewer than two items, names one twice or one of n or
            more, or an array has another rank or type.

    References:
        C.-N. Ziegler, S. McNee, J. Konstan, G. Lausen. Improving recommendation lists
        through topic diversification. WWW 2005.

    >>> east, north = [2.0, 0.0], [0.0, 3.0]
    >>> diversity_at_k(np.array([[0, 1, 2]]), np.array([east, east, north])).round(4)
    array([0.6667])
    """
    units = unit_vectors(vectors)
    top = _lists(top, len(units))
    there = top != NO_ITEM
    _check_items(there, 2, "diversity")
    own = np.einsum("id,id->i", units, units)
    count = there.sum(axis=1)
    cosine = np.empty(len(top))
    for start in range(0, len(top), 1024):
        some = slice(start, start + 1024)
        listed = units[top[some]] * there[some, :, None]
        # The square of a sum holds each pair twice, and each item with itself.
        total = listed.sum(axis=1)
        square = np.einsum("qd,qd->q", total, total)
        cosine[some] = square - np.where(there[some], own[top[some]], 0.0).sum(axis=1)
    return (1 - cosine / (count * (count - 1))).clip(0, 2)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """[n, dim] numbers -> [n, dim] float64 of length 1, zeros for zeros."""
    vectors = _numbers("vectors", vectors, "[items, dim]")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)


class Hits(NamedTuple):
    """Where lists found what was wanted; every metric of relevance is told from it.

    places: [q, k] bool, the places of each list that are hits.
    wanted: [q] int64, the distinct items of each basket.
    """

    places: np.ndarray
    wanted: np.ndarray

    @classmethod
    def of(
        cls, top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
    ) -> Hits:
        """Looks lists up in baskets; the arguments are those of `recall_at_k`."""
        top = _lists(top)
        targets = _integers("targets", targets, "[targets]", least=0)
        target_offset = _integers(
            "target_offset", target_offset, "[queries + 1]", least=0
        )
        _check_offset(target_offset, len(top), len(targets))
        count = np.diff(target_offset)
        places = np.empty(top.shape, bool)
        for start in range(0, len(top), 512):
            some = slice(start, start + 512)
            offset = target_offset[start : start + 513]
            of_target = np.repeat(top[some], count[some], axis=0)
            same = of_target == targets[offset[0] : offset[-1], None]
            places[some] = np.logical_or.reduceat(same, offset[:-1] - offset[0])
        query = np.repeat(np.arange(len(top)), count)
        order = np.lexsort([targets, query])
        again = np.zeros(len(targets), bool)
        again[1:] = (np.diff(targets[order]) == 0) & (np.diff(query[order]) == 0)
        return cls(places, np.bincount(query[order][~again], minlength=len(top)))

    def first(self, k: int) -> Hits:
        """The hits among the first k places."""
        return Hits(self.places[:, :k], self.wanted)

    def recall(self) -> np.ndarray:
        """As `recall_at_k`."""
        return self.places.sum(axis=1) / self._most

    def precision(self) -> np.ndarray:
        """As `precision_at_k`."""
        return self.places.sum(axis=1) / self.places.shape[1]

    def ndcg(self) -> np.ndarray:
        """As `ndcg_at_k`."""
        discount = 1 / np.log2(np.arange(2, self.places.shape[1] + 2))
        ideal = np.concatenate([[0.0], np.cumsum(discount)])
        # Both sums run from the first rank down, term by term: in any other order a
        # perfect list could round to just above 1.
        gain = np.cumsum(self.places * discount, axis=1)[:, -1]
        return gain / ideal[self._most]

    def mrr(self) -> np.ndarray:
        """As `mrr_at_k`."""
        return self.hit_rate() / (self.places.argmax(axis=1) + 1)

    def hit_rate(self) -> np.ndarray:
        """As `hit_rate_at_k`."""
        return np.where(self.places.any(axis=1), 1.0, 0.0)

    @property
    def _most(self) -> np.ndarray:
        """[q] int64, how many hits there could have been."""
        return np.minimum(self.places.shape[1], self.wanted)


def _lists(top: np.ndarray, n_items: int | None = None) -> np.ndarray:
    top = _integers("top", top, "[queries, k]", least=NO_ITEM)
    if top.shape[1] == 0:
        raise ValueError(f"top is of shape {top.shape}: a list has 1 place or more.")
    if n_items is not None and top.size and top.max() >= n_items:
        raise ValueError(
            f"top holds item {top.max()} of {n_items:,}: give what is told of items "
            "for the whole catalogue."
        )
    _check_distinct(top)
    return top


def _numbers(name: str, values: np.ndarray, shape: str) -> np.ndarray:
    values = np.asarray(values)
    rank = shape.count(",") + 1
    if values.ndim != rank or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} is {values.dtype} of shape {values.shape}: give numbers of shape "
            f"{shape}."
        )
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(f"{name} holds {values[wrong][0]}: its numbers are finite.")
    return values.astype(np.float64)


def _check_items(there: np.ndarray, least: int, what: str) -> None:
    """Refuses lists, [q, k] bool where items are, that are too short to tell of."""
    few = there.sum(axis=1) < least
    if few.any():
        query = int(np.argmax(few))
        raise ValueError(
            f"top[{query}] holds {there[query].sum()} items: {what} is that of {least} "
            "or more; leave such lists out."
        )


def _integers(name: str, values: np.ndarray, shape: str, *, least: int) -> np.ndarray:
    values = np.asarray(values)
    rank = shape.count(",") + 1
    if values.ndim != rank or values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is {values.dtype} of shape {values.shape}: give integers of shape "
            f"{shape}."
        )
    if values.size and values.min() < least:
        raise ValueError(
            f"{name} holds {values.min()}: its integers are {least} or more."
        )
    return values.astype(np.int64, copy=False)


def _check_distinct(top: np.ndarray) -> None:
    ordered = np.sort(top, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_ITEM)
    if twice.any():
        query, place = np.argwhere(twice)[0]
        raise ValueError(
            f"top[{query}] holds item {ordered[query, place]} more than once: a list "
            "names an item once, or its hits would be counted twice."
        )


def _check_offset(target_offset: np.ndarray, queries: int, targets: int) -> None:
    if len(target_offset) != queries + 1:
        raise ValueError(
            f"target_offset has {len(target_offset)} entries and top has {queries} "
            f"rows: give {queries + 1} entries, one more than rows."
        )
    ends = (int(target_offset[0]), int(target_offset[-1]))
    if ends != (0, targets):
        raise ValueError(
            f"target_offset runs from {ends[0]} to {ends[1]}: it starts at 0 and ends "
            f"at {targets}, the number of targets."
        )
    count = np.diff(target_offset)
    if (count < 1).any():
        query = int(np.argmax(count < 1))
        raise ValueError(
            f"target_offset gives query {query} {count[query]} targets: a list is "
            "measured against 1 target or more; leave such queries out."
        )
