"""Sums of vectors at exponential weights that differ from feature to feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def exponential_sums(
    vectors: tf.Tensor,
    elapsed: tf.Tensor,
    rate: tf.Tensor,
    own_weight: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums with a rate for each feature, exact, in few passes over [batch, time, dim].

    With w = own_weight e^(-rate elapsed), the sums over time of w x and of w. What
    makes it cheap is the gradient with respect to the rates: it is made of the same
    sums with one more factor `elapsed`, which the products below give along with them,
    so that nothing of the size of the vectors is computed on the way back but their own
    gradient. Written plainly it costs twice as much.

    Args:
        vectors: [batch, time, dim] float32.
        elapsed: [batch, time] float32, seconds since some moment of the row's own;
            large enough for a weight of 0 where an event does not count.
        rate: [dim] float32, per second.
        own_weight: [batch, time] float32, what each event weighs besides; 1 when left
            out, which saves a pass.

    Returns:
        [batch, dim] the sums of w x, and [batch, dim] the sums of w.
    """

    @tf.custom_gradient
    def sums(
        vectors: tf.Tensor, rate: tf.Tensor, own: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., Any]]:
        faded = tf.exp(elapsed[:, :, None] * -rate)
        seen = faded * vectors
        # [batch, 2, time]: the weights, and the weights times what has elapsed.
        left = own[:, None, :] * tf.stack([tf.ones_like(elapsed), elapsed], 1)
        of_vectors = tf.matmul(left, seen)
        of_weights = tf.matmul(left, faded)

        def gradient(to_vectors: tf.Tensor, to_weights: tf.Tensor) -> Any:
            for_vectors = faded * to_vectors[:, None, :]
            if own_weight is not None:
                for_vectors *= own[:, :, None]
            for_own = tf.matmul(seen, to_vectors[:, :, None]) + tf.matmul(
                faded, to_weights[:, :, None]
            )
            for_rate = -tf.reduce_sum(
                of_vectors[:, 1] * to_vectors + of_weights[:, 1] * to_weights, axis=0
            )
            return for_vectors, for_rate, for_own[:, :, 0]

        return (of_vectors[:, 0], of_weights[:, 0]), gradient

    return sums(
        vectors, rate, tf.ones_like(elapsed) if own_weight is None else own_weight
    )
