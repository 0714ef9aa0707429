"""A small network that ranks candidates by what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

MOST = 6.0
"""Standard deviations beyond which a feature is cut off: what the network never saw."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class RankingHead(tf_keras.layers.Layer):
    """Scores each candidate from its features: a network beside a weighted sum.

    Features are brought to mean 0 and deviation 1, as `adapt` found them, and cut off
    six deviations away. A network can weigh what is known of a user and an item by what
    is known of the user; the sum beside it learns at once what is simply better.

    Args:
        hidden: Units of the layers, none for the weighted sum alone.
        dropout: Share of the units that are silenced in training.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: A layer has no units, or the dropout is not in [0, 1).
    """

    def __init__(
        self, hidden: Sequence[int] = (64, 64), *, dropout: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if any(one < 1 for one in hidden):
            raise ValueError(f"hidden={list(hidden)}: a layer has 1 unit or more.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must lie in 0 to below 1.")
        self.hidden = tuple(hidden)
        self.dropout = dropout
        self._sum = tf_keras.layers.Dense(1, name="sum", dtype="float32")
        self._network: list[tf_keras.layers.Layer] = []
        for number, units in enumerate(self.hidden):
            self._network += [
                tf_keras.layers.Dense(
                    units, activation="relu", name=f"hidden_{number}", dtype="float32"
                ),
                tf_keras.layers.Dropout(dropout, dtype="float32"),
            ]
        if self.hidden:
            self._network.append(
                tf_keras.layers.Dense(1, name="network", dtype="float32")
            )

    def build(self, input_shape: Any) -> None:
        """Makes the weights; `input_shape` is [batch, c, f]."""
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(
                f"features have the shape {shape}: give [batch, candidates, features]."
            )
        self._mean, self._deviation = (
            self.add_weight(
                name=name,
                shape=(shape[-1],),
                dtype=tf.float32,
                initializer=start,
                trainable=False,
                experimental_autocast=False,
            )
            for name, start in (("mean", "zeros"), ("deviation", "ones"))
        )
        width = int(shape[-1])
        self._sum.build([None, None, width])
        for layer in self._network:
            layer.build([None, None, width])
            width = getattr(layer, "units", width)
        super().build(input_shape)

    def adapt(self, features: np.ndarray) -> None:
        """Takes each feature's mean and deviation from candidates to train on.

        Args:
            features: [n, f] finite; the candidates alone, without padding.

        Raises:
            ValueError: They have another shape, are none, or are not finite.
        """
        features = np.asarray(features)
        if features.ndim != 2 or not len(features):
            raise ValueError(
                f"features have the shape {features.shape}: give [n, features], with "
                "one candidate or more."
            )
        if not self.built:
            self.build([None, None, features.shape[1]])
        if features.shape[1] != self._mean.shape[0]:
            raise ValueError(
                f"features are {features.shape[1]} a candidate, and the layer's are "
                f"{self._mean.shape[0]}."
            )
        mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        if not np.isfinite(deviation).all():
            wrong = int(np.flatnonzero(~np.isfinite(deviation))[0])
            raise ValueError(f"features[:, {wrong}] holds numbers that are not finite.")
        self._mean.assign(mean)
        # A feature that never varies says nothing, and divides by 1.
        self._deviation.assign(np.where(deviation > 1e-6, deviation, 1.0))

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The score of each candidate.

        Args:
            features: [batch, c, f] float32.
            training: Keras' own.

        Returns:
            [batch, c] float32.
        """
        features = (tf.cast(features, tf.float32) - self._mean) / self._deviation
        features = tf.clip_by_value(features, -MOST, MOST)
        score = self._sum(features)
        if self._network:
            found = features
            for layer in self._network:
                found = layer(found, training=training)
            score += found
        return tf.squeeze(score, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; means and deviations are weights."""
        return {
            **super().get_config(),
            "hidden": list(self.hidden),
            "dropout": self.dropout,
        }


def listwise_loss(scores: tf.Tensor, wanted: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """How far a list is from one that has all that was wanted at its head.

    Cross-entropy of the softmax over a row's candidates and an even distribution over
    those that were wanted, as ListNet takes it.

    Args:
        scores: [batch, c] float32.
        wanted: [batch, c] bool.
        there: [batch, c] bool, False for padding.

    Returns:
        [batch] float32; 0 for a row that wants none of its candidates.

    References:
        Z. Cao, T. Qin, T.-Y. Liu, M.-F. Tsai, H. Li. Learning to rank: from pairwise
        approach to listwise approach. ICML 2007.
    """
    wanted = tf.cast(wanted & there, scores.dtype)
    scores = tf.where(there, scores, tf.fill(tf.shape(scores), scores.dtype.min / 2))
    log_share = scores - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
    return -tf.math.divide_no_nan(
        tf.reduce_sum(wanted * log_share, axis=1), tf.reduce_sum(wanted, axis=1)
    )
