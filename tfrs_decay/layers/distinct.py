"""What stands several times in a batch is computed once."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def of_each(keys: tf.Tensor, compute: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Vectors of keys, each distinct key's computed once.

    Args:
        keys: [...] integers or strings.
        compute: [m] distinct keys -> [m, width] vectors.

    Returns:
        [..., width].
    """
    distinct, where = tf.unique(tf.reshape(keys, [-1]))
    vectors = tf.gather(compute(distinct), where)
    shape = tf.concat([tf.shape(keys), tf.shape(vectors)[-1:]], axis=0)
    return tf.ensure_shape(tf.reshape(vectors, shape), [*keys.shape, vectors.shape[-1]])
