"""Scores to a ranked list, with what must not be recommended left out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

BLOCK = 16
"""Values that are looked at together, where a few of many are wanted."""

LOWEST_SCORE = tf.float32.min
"""The score of a place that no item takes: finite, so that JSON can carry it."""


def top_k(
    scores: tf.Tensor, k: int | tf.Tensor, *, excluded: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best items of each row, best first; of equal scores the earlier item.

    Args:
        scores: [batch, items] float32.
        k: How many, a scalar; more than there are items is filled up.
        excluded: [batch, m] integer places in `items` that are never returned; a
            negative one excludes nothing.

    Raises:
        ValueError: The scores are not [batch, items] float32, or `k` is below 1.

    Returns:
        scores: [batch, k] float32, `LOWEST_SCORE` where nothing was left to return.
        places: [batch, k] int32, -1 there.
    """
    if scores.dtype != tf.float32 or scores.shape.rank != 2:
        raise ValueError(
            f"scores are {scores.dtype.name} of shape {scores.shape}: give float32 "
            "[batch, items]."
        )
    if isinstance(k, int) and k < 1:
        raise ValueError(f"k={k} must be 1 or more.")
    if excluded is None:
        return _best(scores, k)
    excluded = tf.cast(excluded, tf.int32)
    width = tf.shape(excluded, tf.int64)[1]
    compared = width * (tf.cast(k, tf.int64) + width)
    return tf.cond(
        compared <= tf.shape(scores, tf.int64)[1],
        lambda: _best_but_few(scores, k, excluded),
        lambda: _best(_without(scores, excluded), k),
    )


def _best(scores: tf.Tensor, k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """As `top_k`, where nothing is excluded."""
    items = scores.shape[1]
    if not isinstance(k, int) or items is None or k > items:
        k = tf.convert_to_tensor(k, tf.int32)
        best, places = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        missing = [[0, 0], [0, tf.maximum(k - tf.shape(best)[1], 0)]]
        best = tf.pad(best, missing, constant_values=LOWEST_SCORE)
        places = tf.pad(places, missing, constant_values=-1)
    else:
        best, places = tf.math.top_k(scores, k)
    return best, tf.where(best > LOWEST_SCORE, places, -1)


def _best_but_few(
    scores: tf.Tensor, k: int | tf.Tensor, excluded: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `top_k`, by dropping from the best k + m of all: m at most are excluded.

    Nothing of the size of the catalogue is written for it.
    """
    best, places = _best(scores, k + tf.shape(excluded)[1])
    dropped = tf.reduce_any(places[:, :, None] == excluded[:, None, :], axis=2)
    best, left = tf.math.top_k(tf.where(dropped, LOWEST_SCORE, best), k)
    places = tf.gather(places, left, batch_dims=1)
    return best, tf.where(best > LOWEST_SCORE, places, -1)


def _without(scores: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
    """The scores, `LOWEST_SCORE` at places that are excluded."""
    batch, items = tf.shape(scores)[0], tf.shape(scores)[1]
    # One column more takes the places that exclude nothing.
    column = tf.where(excluded < 0, items, excluded)
    row = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(column))
    marks = tf.scatter_nd(
        tf.stack([tf.reshape(row, [-1]), tf.reshape(column, [-1])], axis=1),
        tf.ones([tf.size(column)], tf.int32),
        tf.stack([batch, items + 1]),
    )
    return tf.where(marks[:, :-1] > 0, LOWEST_SCORE, scores)


def largest(values: tf.Tensor, k: int) -> tf.Tensor:
    """Places of the k largest numbers above 0 of each row.

    As by `tf.math.top_k`, in half the time where rows are wide. A row's k-th largest
    number is no less than the k-th largest maximum of its blocks: what is below that
    is passed over, block by block and then number by number, and few are sorted.

    Args:
        values: [rows, n] float32.
        k: How many at most.

    Returns:
        [rows, c] int32, largest first, of equal ones the lower place, -1 where a row
        has no more; c is k, or less where no row has so many.
    """
    n = values.shape[1] or tf.shape(values)[1]
    count = -(-n // BLOCK)
    values = tf.pad(values, [[0, 0], [0, count * BLOCK - n]])
    blocks = tf.reshape(values, tf.stack([-1, count, BLOCK]))
    highest = tf.reduce_max(blocks, axis=2)
    least = tf.raw_ops.NthElement(
        input=highest, n=tf.minimum(k, count) - 1, reverse=True
    )
    # With fewer blocks than are wanted none can be passed over.
    least = tf.maximum(tf.where(count < k, 0.0, least), np.finfo(np.float32).tiny)
    block = tf.where(highest >= least[:, None])
    left = tf.gather_nd(blocks, block)
    found = tf.where(left >= tf.gather(least, block[:, 0])[:, None])
    block = tf.gather(block, found[:, 0])
    rows = tf.shape(values, tf.int64)[0]

    def by_row(one: tf.Tensor, filling: float) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_value_rowids(
            one, block[:, 0], rows, validate=False
        )
        return ragged.to_tensor(filling)

    place = tf.cast(block[:, 1] * BLOCK + found[:, 1], tf.int32)
    number = by_row(tf.gather_nd(left, found), 0.0)
    _, column = tf.math.top_k(number, tf.minimum(k, tf.shape(number)[1]))
    return tf.gather(by_row(place, -1), column, batch_dims=1)
