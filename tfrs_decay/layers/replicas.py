"""One step of several replicas of a model, each with its share of the batch.

The replicas are those of a strategy that step together, as they do under
`tf.distribute.MirroredStrategy` and `MultiWorkerMirroredStrategy`. Outside of such a
step there is one, which has the whole batch, and every function gives what it is given.
"""

from __future__ import annotations

import tensorflow as tf


def count() -> int:
    """How many replicas make this step together."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def total(value: tf.Tensor) -> tf.Tensor:
    """The sum of a number over all replicas, through which nothing is learned.

    Args:
        value: A floating scalar.
    """
    if count() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(value))


def gather(value: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, in the replicas' order.

    What the loss of another replica says of a row is learned where the row is from.

    Args:
        value: [own, ...] numbers; another replica may have more rows, or none.

    Returns:
        [all, ...].
    """
    if count() == 1:
        return value
    rows = tf.distribute.get_replica_context().all_gather(value, axis=0)
    return tf.ensure_shape(rows, [None, *value.shape[1:]])


def gather_own_first(*values: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The rows of all replicas, those of this one before the others'.

    Args:
        *values: [own, ...] numbers, as many rows of each.

    Returns:
        [all, ...] of each.
    """
    if count() == 1:
        return values
    sizes = gather(tf.shape(values[0])[:1])
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    before = tf.reduce_sum(sizes[:place])
    return tuple(tf.roll(gather(one), -before, axis=0) for one in values)
