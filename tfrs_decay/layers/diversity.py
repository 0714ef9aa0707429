"""A list whose items are not all of one kind: maximal marginal relevance."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.layers.top_k import LOWEST_SCORE


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class MaximalMarginalRelevance(tf_keras.layers.Layer):
    """Picks items one by one: relevant ones, and unlike those that were picked.

    The next item is that of the pool with the highest

        trade_off * relevance - (1 - trade_off) * nearest

    where `nearest` is the highest cosine between its vector and that of an item picked
    before, and relevance is the score, scaled so that the best item of the row's pool
    has 1 and the last one 0: `trade_off` then means the same whatever the scores are.
    The first pick is the best item. A vector of zeros is at a right angle to all.

    There is nothing to learn: it is put behind a model that is trained.

    Args:
        trade_off: 1 leaves the list as it is; the lower, the more diverse.
        pool: How many of the best items are picked from. Those after them follow in
            their own order, where a list is longer.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: `trade_off` is not in 0 to 1, or `pool` is below 1.

    Example:
        >>> import tensorflow as tf
        >>> diversify = MaximalMarginalRelevance(0.5, pool=3)
        >>> mug, lantern = [1.0, 0.0], [0.0, 1.0]
        >>> vectors = tf.constant([mug, mug, lantern])
        >>> scores, places = tf.constant([[9.0, 8.0, 7.0]]), tf.constant([[0, 1, 2]])
        >>> diversify(scores, places, vectors, 2)[1].numpy().tolist()
        [[0, 2]]

    References:
        J. Carbonell, J. Goldstein. The use of MMR, diversity-based reranking for
        reordering documents and producing summaries. SIGIR 1998.
    """

    def __init__(self, trade_off: float, pool: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= trade_off <= 1:
            raise ValueError(f"trade_off={trade_off} must lie in 0 to 1.")
        if pool < 1:
            raise ValueError(f"pool={pool} must be 1 or more.")
        self.trade_off = trade_off
        self.pool = pool

    def call(
        self,
        scores: tf.Tensor,
        places: tf.Tensor,
        vectors: tf.Tensor,
        k: int | tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The first k of each list, in their new order.

        Args:
            scores: [batch, n] float32, best first, as `top_k` gives them: the pool or
                more.
            places: [batch, n] integer places in `vectors`; negative for none, which
                stays behind all items.
            vectors: [items, dim] floating numbers, a vector of each item.
            k: How many, a scalar; more than n are filled up.

        Returns:
            scores: [batch, k] float32, each item's own, `LOWEST_SCORE` for none.
            places: [batch, k] int32, -1 there.
        """
        places = tf.cast(places, tf.int32)
        there = places >= 0
        places = tf.where(there, places, -1)
        scores = tf.where(there, scores, LOWEST_SCORE)
        k = tf.convert_to_tensor(k, tf.int32)
        width = tf.minimum(self.pool, tf.shape(scores)[1])
        picked = tf.minimum(k, width)
        order = self._picks(scores[:, :width], places[:, :width], vectors, picked)
        behind = tf.range(picked, k)[None, :]
        behind = tf.tile(behind, [tf.shape(order)[0], 1])
        missing = [[0, 0], [0, tf.maximum(k - tf.shape(scores)[1], 0)]]
        scores = tf.pad(scores, missing, constant_values=LOWEST_SCORE)
        places = tf.pad(places, missing, constant_values=-1)
        order = tf.concat([order, behind], axis=1)
        return (
            tf.gather(scores, order, batch_dims=1),
            tf.gather(places, order, batch_dims=1),
        )

    def _picks(
        self, scores: tf.Tensor, places: tf.Tensor, vectors: tf.Tensor, k: tf.Tensor
    ) -> tf.Tensor:
        """[batch, k] int32, where in the pool the picks stand; all of it or fewer."""
        there = places >= 0
        highest = tf.reduce_max(scores, axis=1, keepdims=True)
        lowest = tf.where(there, scores, highest)
        lowest = tf.reduce_min(lowest, axis=1, keepdims=True)
        relevance = tf.math.divide_no_nan(scores - lowest, highest - lowest)
        wanted = tf.where(there, self.trade_off * relevance, LOWEST_SCORE)
        of_pool = tf.cast(tf.gather(vectors, tf.maximum(places, 0)), tf.float32)
        # `l2_normalize` rounds one vector in several ways, and would part equal items.
        length = tf.norm(of_pool, axis=-1, keepdims=True)
        units = tf.math.divide_no_nan(of_pool, length)

        def step(
            number: tf.Tensor, taken: tf.Tensor, nearest: tf.Tensor, picks: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            value = wanted - tf.where(there, (1 - self.trade_off) * nearest, 0.0)
            value = tf.where(taken, -float("inf"), value)
            # Of equal values the earlier item: of `argmax` that is not promised.
            pick = tf.math.top_k(value, 1).indices
            unit = tf.gather(units, pick, batch_dims=1)
            cosine = tf.linalg.matvec(units, unit[:, 0])
            return (
                number + 1,
                taken | (tf.range(tf.shape(value)[1])[None, :] == pick),
                tf.maximum(nearest, cosine),
                tf.where(tf.range(k)[None, :] == number, pick, picks),
            )

        start = (
            tf.constant(0),
            tf.zeros_like(there),
            # No cosine is below -1, so that of no item changes nothing.
            -tf.ones_like(scores),
            tf.zeros(tf.stack([tf.shape(scores)[0], k]), tf.int32),
        )
        return tf.while_loop(lambda number, *_: number < k, step, start)[-1]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "trade_off": self.trade_off,
            "pool": self.pool,
        }
