"""Softmax losses of retrieval: beside a batch, the catalogue, or what was skipped."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from tfrs_decay.decay import NEVER

LOSSES = ("sampled", "full")


class SoftmaxCrossEntropy(tf_keras.losses.Loss):
    """Keras' own, for one-hot labels, one number a target, and for no target none.

    Keras refuses to take the mean itself under `tf.distribute`.
    """

    def __init__(self) -> None:
        super().__init__(
            reduction=tf_keras.losses.Reduction.NONE, name="softmax_cross_entropy"
        )

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """[batch, candidates] labels and logits -> [batch]."""
        positive = tf.reduce_sum(tf.where(y_true > 0, y_pred, 0.0), axis=1)
        return tf.reduce_logsumexp(y_pred, axis=1) - positive


def full_softmax(
    logits: tf.Tensor, query: tf.Tensor, place: tf.Tensor, negative: tf.Tensor
) -> tf.Tensor:
    """The cross-entropy of each target, beside all items but its basket's others.

    What is summed over the catalogue is the same for all targets of a query: the memory
    is that of the logits, whatever the size of a basket.

    Args:
        logits: [batch, n] float32, the score of each item for each query.
        query: [targets] int32, the row of each target.
        place: [targets] int64, its column.
        negative: [n] or [batch, n] bool, the items that may be negatives; a query's own
            targets are not, whatever stands there.

    Returns:
        [targets] float32; 0 for a target without any negative.
    """
    pairs = tf.stack([tf.cast(query, tf.int64), place], axis=1)
    ones = tf.ones_like(place, tf.int32)
    own = tf.scatter_nd(pairs, ones, tf.shape(logits, tf.int64)) > 0
    others = tf.where(negative & ~own, logits, NEVER)
    others = tf.reduce_logsumexp(others, axis=1)
    # log(e^others + e^own) - own.
    return tf.nn.softplus(tf.gather(others, query) - tf.gather_nd(logits, pairs))


def beside_skipped(
    losses: tf.Tensor,
    own: tf.Tensor,
    query: tf.Tensor,
    listed: tf.Tensor,
    skipped: tf.Tensor,
    there: tf.Tensor,
) -> tf.Tensor:
    """The cross-entropy of each target beside what its query skipped.

    Args:
        losses: [targets] float32, what they are of targets that nothing was skipped
            beside.
        own: [targets] float32, the score of each.
        query: [targets] int32, its row.
        listed: [targets] bool, False for one that is none of the list's.
        skipped: [batch, negatives] float32, the scores of what each query skipped.
        there: [batch, negatives] bool, False for padding.

    Returns:
        [targets] float32.
    """
    # One that is not there, for a batch in which nothing was skipped.
    others = tf.pad(
        tf.where(there, skipped, NEVER), [[0, 0], [0, 1]], constant_values=NEVER
    )
    others = tf.gather(tf.reduce_logsumexp(others, axis=1), query)
    some = listed & tf.gather(tf.reduce_any(there, axis=1), query)
    return tf.where(some, tf.nn.softplus(others - own), losses)
