"""What every served recommender is asked, how that is checked, and what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.models import length_checks

HISTORY = {
    "history_item": tf.TensorSpec([None, None], tf.string, "history_item"),
    "history_time": tf.TensorSpec([None, None], tf.int64, "history_time"),
    "history_action": tf.TensorSpec([None, None], tf.string, "history_action"),
    "history_length": tf.TensorSpec([None], tf.int64, "history_length"),
    "query_time": tf.TensorSpec([None], tf.int64, "query_time"),
}
"""Inputs of every signature."""

CHOICES = {
    "exclude_item": tf.TensorSpec([None, None], tf.string, "exclude_item"),
    "k": tf.TensorSpec([None], tf.int32, "k"),
}
"""Further inputs of `recommend`."""


class Catalogue(tf.Module):
    """Ids to places and back, in the graph.

    Args:
        ids: [n] strings, each once.
    """

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__(name="catalogue")
        # The last id stands for a place that no item takes.
        self._ids = tf.constant([*ids.tolist(), ""], tf.string)
        self.places = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(ids.tolist(), tf.string),
                tf.range(len(ids), dtype=tf.int32),
            ),
            default_value=-1,
        )

    def answer(
        self, score: tf.Tensor, place: tf.Tensor, k: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """A list for each row, which is cut to what the row wants.

        Args:
            score: [batch, most] float32, best first.
            place: [batch, most] int32 places, -1 where no item was left.
            k: [batch] int32, how many items each row wants; all when left out.
        """
        if k is not None:
            wanted = tf.range(tf.shape(place)[1])[None, :] < k[:, None]
            score = tf.where(wanted, score, LOWEST_SCORE)
            place = tf.where(wanted, place, -1)
        nothing = tf.size(self._ids, out_type=tf.int32) - 1
        return {
            "item_id": tf.gather(self._ids, tf.where(place < 0, nothing, place)),
            "score": score,
        }


def how_many(k: tf.Tensor | None, otherwise: int, most: int | tf.Tensor) -> Any:
    """Items of the longest list of a batch, 1 to `most` where the request says it."""
    if k is None:
        return otherwise
    # Bounded, for it comes from outside; and a batch of no rows has no largest.
    return tf.clip_by_value(tf.reduce_max(k), 1, most)


def latest(
    history_time: tf.Tensor, counts: tf.Tensor, most: int | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Brings a history into the form that a model is trained on.

    Events that count come first, oldest first, the latest `most` of them; of events at
    one time, those further back in the request are later.

    Args:
        history_time: [batch, time] int64.
        counts: [batch, time] bool, False for padding and what is left out.
        most: How many events; all that count for None.

    Returns:
        [batch, kept] places in the request, and which of them count.
    """
    width = tf.shape(history_time)[1]
    last = tf.where(counts, history_time, history_time.dtype.max)
    order = tf.argsort(last, axis=1, stable=True)
    counting = tf.reduce_sum(tf.cast(counts, tf.int32), axis=1)
    kept = tf.minimum(width if most is None else most, width)
    position = tf.maximum(counting - kept, 0)[:, None] + tf.range(kept)[None, :]
    in_request = tf.gather(order, tf.minimum(position, width - 1), batch_dims=1)
    return in_request, position < counting[:, None]


def request_checks(
    history_item: tf.Tensor,
    history_time: tf.Tensor,
    history_action: tf.Tensor,
    history_length: tf.Tensor,
    query_time: tf.Tensor,
    exclude_item: tf.Tensor | None,
    k: tf.Tensor | None,
) -> list[Any]:
    """Assertions that a request's parts fit each other."""
    checks = [
        *_same_shape(
            history_item, history_time=history_time, history_action=history_action
        ),
        *_same_batch(
            history_item,
            history_length=history_length,
            query_time=query_time,
            exclude_item=exclude_item,
            k=k,
        ),
        *length_checks(history_length, tf.shape(history_item)[1]),
    ]
    if k is not None:
        checks.append(tf.debugging.assert_positive(k, message="k is below 1."))
    return [check for check in checks if check is not None]


def _same_shape(expected: tf.Tensor, **columns: tf.Tensor) -> list[Any]:
    return [
        tf.debugging.assert_equal(
            tf.shape(column),
            tf.shape(expected),
            message=f"{name} and history_item must have the same shape.",
        )
        for name, column in columns.items()
    ]


def _same_batch(expected: tf.Tensor, **columns: tf.Tensor | None) -> list[Any]:
    return [
        tf.debugging.assert_equal(
            tf.shape(column)[0],
            tf.shape(expected)[0],
            message=f"{name} and history_item must agree in batch.",
        )
        for name, column in columns.items()
        if column is not None
    ]
