"""A small network that ranks candidates by what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

FAR = 2.0**20
"""A deviation within which every number of a feature lies."""

MOST = 6.0
"""Standard deviations beyond which a feature is cut off: what the network never saw."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class RankingHead(tf_keras.layers.Layer):
    """Scores each candidate from its features: networks beside weighted sums.

    Features are brought to mean 0 and deviation 1, as `adapt` found them, and cut off
    six deviations away. A network can weigh what is known of a user and an item by what
    is known of the user; the sum beside it learns at once what is simply better. The
    score is the mean of several such members, which differ in where they start and in
    what dropout silences: two lists that are equally good differ most in what neither
    of them knows.

    Args:
        hidden: Units of the layers, none for the weighted sum alone.
        dropout: Share of the units that are silenced in training, the same for all
            candidates of a list.
        members: Networks, each with weights of its own.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: A layer has no units, the dropout is not in [0, 1), or there is no
            member.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        dropout: float = 0.1,
        members: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if any(one < 1 for one in hidden):
            raise ValueError(f"hidden={list(hidden)}: a layer has 1 unit or more.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must lie in 0 to below 1.")
        if members < 1:
            raise ValueError(f"members={members} must be 1 or more.")
        self.hidden = tuple(hidden)
        self.dropout = dropout
        self.members = members

    def build(self, input_shape: Any) -> None:
        """Makes the weights; `input_shape` is [batch, c, f]."""
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(
                f"features have the shape {shape}: give [batch, candidates, features]."
            )
        width = int(shape[-1])
        self._mean, self._deviation = (
            self.add_weight(
                name=name,
                shape=(width,),
                dtype=tf.float32,
                initializer=start,
                trainable=False,
                experimental_autocast=False,
            )
            for name, start in (("mean", "zeros"), ("deviation", "ones"))
        )
        self._sum = self._kernel("sum", width, 1)
        self._layers = []
        for number, units in enumerate(self.hidden):
            bias = self._bias(f"hidden_{number}_bias", units)
            self._layers.append((self._kernel(f"hidden_{number}", width, units), bias))
            width = units
        self._last = self._kernel("network", width, 1) if self.hidden else None
        super().build(input_shape)

    @property
    def n_features(self) -> int:
        """How many features it reads, once it was built."""
        return int(self._mean.shape[0])

    def _kernel(self, name: str, width: int, units: int) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=(self.members, width, units),
            dtype=tf.float32,
            # As Keras' own would start each member: it would take the members of one
            # tensor for the places of a convolution.
            initializer=tf_keras.initializers.RandomUniform(
                -math.sqrt(6 / (width + units)), math.sqrt(6 / (width + units))
            ),
            experimental_autocast=False,
        )

    def _bias(self, name: str, units: int) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=(self.members, 1, units),
            dtype=tf.float32,
            initializer="zeros",
            experimental_autocast=False,
        )

    def adapt(self, features: np.ndarray, columns: Sequence[int] | None = None) -> None:
        """Takes each feature's mean and deviation from candidates to train on.

        Args:
            features: [n, f] finite; the candidates alone, without padding.
            columns: Features that are looked at; all when left out.

        Raises:
            ValueError: They have another shape, are none, or are not finite; or a
                column is none of them.
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
        deviation = np.where(deviation > 1e-6, deviation, 1.0)
        if columns is not None:
            seen = np.zeros(len(deviation), bool)
            seen[_checked_columns(columns, len(deviation))] = True
            deviation[~seen] = np.inf
        self._deviation.assign(deviation)

    @classmethod
    def of_column(cls, column: int, n_features: int, **kwargs: Any) -> RankingHead:
        """A head that ranks by one feature, as it is; it has nothing to learn.

        Args:
            column: The feature.
            n_features: How many there are.
            **kwargs: Keras' own, such as `name`.

        Raises:
            ValueError: There is no such feature.
        """
        (column,) = _checked_columns([column], n_features)
        head = cls((), members=1, dropout=0.0, **kwargs)
        head.build([None, None, n_features])
        kernel = np.zeros([1, n_features, 1])
        # Far within the deviations beyond which features are cut off.
        kernel[0, column] = FAR
        head.set_weights([kernel, np.zeros(n_features), np.full(n_features, FAR)])
        return head

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The score of each candidate.

        Args:
            features: [batch, c, f] float32.
            training: Keras' own.

        Returns:
            [batch, c] float32.
        """
        return tf.reduce_mean(self.of_members(features, training), axis=0)

    def of_members(
        self, features: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """What each member says: a loss is a mean over them, so that each learns alone.

        Args:
            features: [batch, c, f] float32.
            training: Keras' own.

        Returns:
            [members, batch, c] float32.
        """
        if not self.built:
            self.build(tf.convert_to_tensor(features).shape)
        shape = tf.shape(features)
        features = (tf.cast(features, tf.float32) - self._mean) / self._deviation
        features = tf.clip_by_value(features, -MOST, MOST)
        features = tf.reshape(features, [-1, self._mean.shape[0]])
        scores = tf.matmul(self._sum[..., 0], features, transpose_b=True)
        if self._last is not None:
            # Each member by itself: a product, its bias and what follows are then one
            # step of TensorFlow's.
            layers = [
                (tf.unstack(kernel), tf.unstack(bias[:, 0]))
                for kernel, bias in self._layers
            ]
            found = []
            for member, last in enumerate(tf.unstack(self._last)):
                one = features
                for kernels, biases in layers:
                    one = tf.nn.bias_add(one @ kernels[member], biases[member])
                    one = tf.nn.relu(one)
                    if training and self.dropout:
                        one = self._silenced(one, shape[0], shape[1])
                found.append(one @ last)
            scores += tf.stack(found)[..., 0]
        return tf.reshape(scores, [self.members, shape[0], shape[1]])

    def _silenced(self, found: tf.Tensor, rows: tf.Tensor, width: tf.Tensor) -> Any:
        """Dropout that takes the same units from all candidates of a list.

        So that scores of one list are scores of one network, and few are drawn.
        """
        units = found.shape[-1]
        lists = tf.reshape(found, tf.stack([rows, width, units]))
        noise = tf.stack([rows, 1, units])
        lists = tf.nn.dropout(lists, self.dropout, noise_shape=noise)
        return tf.reshape(lists, [-1, units])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; means and deviations are weights."""
        return {
            **super().get_config(),
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "members": self.members,
        }


def _checked_columns(columns: Sequence[int], n_features: int) -> Sequence[int]:
    for one in columns:
        if not 0 <= one < n_features:
            raise ValueError(f"column {one} is none of the {n_features} features.")
    return columns


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
