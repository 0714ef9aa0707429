"""How likely an item is to be drawn, estimated from a stream of draws without end."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.layers import replicas


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class StreamingProbability(tf_keras.layers.Layer):
    """Estimates the probability of items as the targets of training come along.

    An item that is drawn with probability p comes up every 1 / p draws on average. For
    each item, by hash, the draw at which it last came up is kept, and a moving average
    of the gaps between: p is one over it. Nothing has to be counted beforehand, and an
    item that becomes popular is noticed.

    Draws are counted one by one, not batch by batch, so that p is that of one draw:
    what TFRS' `candidate_sampling_probability` means. An item that came up once has the
    gap since the first draw as its average, and one that never did is as likely as one
    draw among all so far. Items that share a place in one table hardly share it in
    another, and what they share makes a gap look shorter: the longest is believed.

    Args:
        buckets: Places in each table; about as many as there are items, or more.
        tables: How many tables.
        learning_rate: Of the moving average, above 0 and below 1: its memory is about
            one over it, in times that an item comes up.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: A number is out of its range.

    References:
        X. Yi et al. Sampling-bias-corrected neural modeling for large corpus item
        recommendations. RecSys 2019, section 4, algorithm 2 and its several hashes.
    """

    def __init__(
        self,
        buckets: int = 1 << 20,
        *,
        tables: int = 2,
        learning_rate: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("buckets", buckets), ("tables", tables)):
            if number < 1:
                raise ValueError(f"{name}={number} must be 1 or more.")
        if not 0 < learning_rate < 1:
            raise ValueError(
                f"learning_rate={learning_rate} must lie above 0 and below 1."
            )
        self.buckets = buckets
        self.tables = tables
        self.learning_rate = learning_rate
        # The draws are numbered from 1: an item last drawn at 0 never was.
        self._draws, self._last, self._gap = (
            self.add_weight(
                name=name,
                shape=shape,
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                # All replicas have seen the same draws, and would write the same.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for name, shape, dtype in (
                ("draws", (), tf.int64),
                ("last", (tables * buckets,), tf.int64),
                ("gap", (tables * buckets,), tf.float32),
            )
        )

    def call(self, items: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The probability of each item; in training, these draws count first.

        Args:
            items: [n] strings or integers: the draws, in their order.
            training: Whether to learn from them.

        Returns:
            [n] float32, above 0 and up to 1.

        Raises:
            ValueError: The items are neither, or not of one dimension.
        """
        items = tf.convert_to_tensor(items)
        if items.shape.rank not in (None, 1) or not (
            items.dtype == tf.string or items.dtype.is_integer
        ):
            raise ValueError(
                f"items are {items.dtype.name} of the shape {items.shape}: give [n] "
                "strings or integers."
            )
        places = self._places(items)
        if training:
            # There is one stream: first the draws of the first replica, and so on.
            drawn = tf.transpose(replicas.gather(tf.transpose(places)))
            with tf.control_dependencies(self._learn(drawn)):
                places = tf.identity(places)
        gap = tf.gather(self._gap, places)
        never = tf.cast(self._draws + 1, tf.float32)
        gap = tf.reduce_max(tf.where(gap > 0, gap, never), axis=0)
        return 1.0 / tf.maximum(gap, 1.0)

    def _places(self, items: tf.Tensor) -> tf.Tensor:
        """[tables, n] int64, each table's after the one before."""
        names = items if items.dtype == tf.string else tf.strings.as_string(items)
        return tf.stack(
            [
                table * self.buckets
                + tf.strings.to_hash_bucket_strong(names, self.buckets, [table, 1])
                for table in range(self.tables)
            ]
        )

    def _learn(self, places: tf.Tensor) -> list[tf.Tensor]:
        """Moves the averages; several draws of a place count one after the other."""
        size = tf.shape(places)[1]
        now = self._draws + 1 + tf.range(tf.cast(size, tf.int64))
        # By place and then by draw: what came before in this batch is next to it.
        order = tf.argsort(places, axis=1, stable=True)
        place = tf.reshape(tf.gather(places, order, batch_dims=1), [-1])
        draw = tf.gather(now, tf.reshape(order, [-1]))
        distinct, group, count = tf.unique_with_counts(place)
        number = tf.range(tf.size(place)) - tf.gather(
            tf.cumsum(count, exclusive=True), group
        )
        first = number == 0
        earlier = tf.where(
            first, tf.gather(self._last, place), tf.roll(draw, shift=1, axis=0)
        )
        gap = tf.cast(draw - earlier, tf.float32)
        kept = 1.0 - self.learning_rate
        left = tf.cast(tf.gather(count, group) - 1 - number, tf.float32)
        known = tf.gather(self._gap, distinct)
        # The first gap of all stands for itself, and the others are averaged into it.
        share = tf.where(
            first & (tf.gather(known, group) == 0), 1.0, self.learning_rate
        )
        added = tf.math.segment_sum(share * kept**left * gap, group)
        average = known * kept ** tf.cast(count, tf.float32) + added
        last = tf.math.segment_max(draw, group)
        updates = [
            self._gap.scatter_update(tf.IndexedSlices(average, distinct)),
            self._last.scatter_update(tf.IndexedSlices(last, distinct)),
            self._draws.assign_add(tf.cast(size, tf.int64)),
        ]
        return [tf.convert_to_tensor(one) for one in updates]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "buckets": self.buckets,
            "tables": self.tables,
            "learning_rate": self.learning_rate,
        }
