"""Metrics of ranked lists: arrays in, one number a query out.

A basket is a set of items that were all wanted alike, so gains are binary and an item
that a basket names twice counts once. Means, intervals and comparisons are left to the
caller, who has the number of every query.
"""

from __future__ import annotations

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
    hit, most = _hits(top, targets, target_offset)
    return hit.sum(axis=1) / most


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
    hit, most = _hits(top, targets, target_offset)
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    # Both sums run from the first rank down, term by term: in any other order a
    # perfect list could round to just above 1.
    gain = np.cumsum(hit * discount, axis=1)[:, -1]
    return gain / ideal[most]


def _hits(
    top: np.ndarray, targets: np.ndarray, target_offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which places of the lists are hits, and how many hits there could have been.

    Returns:
        [q, k] bool, and [q] int64 min(k, distinct items of the basket).
    """
    top = _integers("top", top, "[queries, k]", least=NO_ITEM)
    targets = _integers("targets", targets, "[targets]", least=0)
    target_offset = _integers("target_offset", target_offset, "[queries + 1]", least=0)
    queries, k = top.shape
    if k == 0:
        raise ValueError(f"top is of shape {top.shape}: a list has 1 place or more.")
    _check_distinct(top)
    _check_offset(target_offset, queries, len(targets))

    # A pair of query and item as one integer. Items are counted among the targets
    # only, so that the product stays small whatever the codes are.
    items, code = np.unique(targets, return_inverse=True)
    query_of_target = np.repeat(np.arange(queries), np.diff(target_offset))
    wanted = np.unique(query_of_target * len(items) + code)
    size = np.bincount(wanted // max(len(items), 1), minlength=queries)
    place = np.searchsorted(items, top).clip(max=max(len(items) - 1, 0))
    pair = np.arange(queries)[:, None] * len(items) + place
    hit = np.isin(pair, wanted) & (items[place] == top)
    return hit, np.minimum(k, size)


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
