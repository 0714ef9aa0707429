"""Scores to ranked lists, exactly, with ties that do not depend on the machine."""

from __future__ import annotations

import math

import numpy as np

from tfrs_decay.evaluation.metrics import NO_ITEM


def top_items(
    scores: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> np.ndarray:
    """The k items with the highest scores, best first.

    Among equal scores the lower item code comes first, as in a stable sort of the
    whole row; only the k items that are returned are sorted.

    Args:
        scores: [b, n] floating scores; -inf ranks last and is still returned.
        k: Items a list, 1 or more; it may exceed n.
        excluded: [b, n] bool, true for items that are never returned.

    Returns:
        [b, k] int64 item codes; -1 where fewer than k items remain.

    Raises:
        ValueError: A score is NaN, `k` is below 1, or an array has another rank or
            type.

    >>> top_items(np.array([[0.5, 2.0, 0.5, 1.0]]), k=3).tolist()
    [[1, 3, 0]]
    >>> seen = np.array([[False, True, False, True]])
    >>> top_items(np.array([[0.5, 2.0, 0.5, 1.0]]), k=3, excluded=seen).tolist()
    [[0, 2, -1]]
    """
    scores = _checked_scores(scores)
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k={k!r} must be an integer, 1 or more.")
    if excluded is not None:
        excluded = _checked_mask(excluded, scores.shape)
    return ranked(scores, int(k), excluded)


def ranked(
    scores: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> np.ndarray:
    """As `top_items`, for arguments that were checked before."""
    rows, n = scores.shape
    top = np.full((rows, k), NO_ITEM, np.int64)
    longest = min(k, n)
    if rows and longest:
        if excluded is not None:
            scores = np.where(excluded, -np.inf, scores)
        top[:, :longest] = _first(scores, longest, excluded)
    return top


def _first(scores: np.ndarray, k: int, excluded: np.ndarray | None) -> np.ndarray:
    """[b, k] int64, the first of n or fewer; what is excluded is at -inf."""
    rows, n = scores.shape
    # Looking into k heaps of so many items costs about what looking at all heaps does.
    height = math.isqrt(n // (4 * k))
    if height < 2:
        return _sorted(scores, k, excluded)
    # Item i lies in heap i % heaps, but for fewer than `height` items at the end.
    heaps = n // height
    piled = scores[:, : height * heaps].reshape(rows, height, heaps)
    highest = piled.max(axis=1)
    lowest = np.partition(highest, heaps - k, axis=1)[:, heaps - k, None]
    chosen = highest >= lowest
    # Only k heaps reach the lowest of the k best: the list is in them and at the end.
    # Where more do, they tie for the last places, and all items are looked at.
    clear = chosen.sum(axis=1) == k
    top = np.empty((rows, k), np.int64)
    if not clear.all():
        tied = ~clear
        top[tied] = _sorted(
            scores[tied], k, None if excluded is None else excluded[tied]
        )
    heap = (np.flatnonzero(chosen[clear]) % heaps).reshape(-1, 1, k)
    layer = np.arange(height)[:, None] * heaps
    among = (heap + layer).reshape(len(heap), height * k)
    end = np.arange(height * heaps, n)
    among = np.concatenate([among, np.broadcast_to(end, (len(heap), len(end)))], axis=1)
    few = scores[np.flatnonzero(clear)[:, None], among]
    # They stand in the order of their codes, so ties are broken as among all.
    top[clear] = np.take_along_axis(among, _sorted(few, k, None), axis=1)
    return top


def _sorted(scores: np.ndarray, k: int, excluded: np.ndarray | None) -> np.ndarray:
    """As `_first`, by a look at every score."""
    rows, n = scores.shape
    lowest = np.partition(scores, n - k, axis=1)[:, n - k, None]
    above, level = scores > lowest, scores == lowest
    if excluded is not None:
        level &= ~excluded
    # More items can share the lowest score of the list than there are places left.
    places = k - above.sum(axis=1)
    crowded = np.flatnonzero(level.sum(axis=1) > places)
    level[crowded] &= level[crowded].cumsum(axis=1) <= places[crowded, None]

    row, item = np.divmod(np.flatnonzero(above | level), n)
    count = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    chosen = np.full((rows, k), NO_ITEM, np.int64)
    chosen[row, place] = item
    # Items stand in the order of their codes and the filling behind them, so a stable
    # sort leaves ties by code, and even an item at -inf before the filling.
    score = np.full((rows, k), -np.inf, scores.dtype)
    score[row, place] = scores[row, item]
    order = np.argsort(-score, axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _checked_scores(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.dtype.kind != "f":
        raise ValueError(
            f"scores is {scores.dtype} of shape {scores.shape}: give floats of shape "
            "[queries, items]."
        )
    # The highest of all is nan where any is, and found faster.
    if scores.size and np.isnan(scores.max()):
        wrong = np.isnan(scores)
        row, item = np.argwhere(wrong)[0]
        raise ValueError(
            f"scores[{row}, {item}] is nan ({wrong.sum():,} of {scores.size:,} are), "
            "which has no rank: give -inf to an item that is to come last."
        )
    return scores


def _checked_mask(excluded: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    excluded = np.asarray(excluded)
    if excluded.dtype != np.bool_ or excluded.shape != shape:
        raise ValueError(
            f"excluded is {excluded.dtype} of shape {excluded.shape}: give booleans of "
            f"shape {shape}, that of scores."
        )
    return excluded
