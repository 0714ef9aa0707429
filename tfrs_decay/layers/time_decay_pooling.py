"""A user's interest: the vectors of past items, each at the weight of its age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.times import LATEST_SECOND
from tfrs_decay.decay import Constant, Decay, Exponential

for _family in (Constant, Exponential):
    tf_keras.saving.register_keras_serializable("tfrs_decay")(_family)

_NORMALIZATIONS = ("mean", "sum")
_FUTURES = ("error", "ignore")


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class TimeDecayPooling(tf_keras.layers.Layer):
    """Pools a history by age: interest = sum_i w_i x_i, or that over sum_i w_i.

    The weight of event i is its action's weight times `decay` of its age, and its age
    is `query_time - timestamps[i]`, subtracted as int64 before anything is cast:
    float32 holds today's epoch seconds to two minutes only. A mean is taken in log
    space, so a history in which every weight underflows still has its direction.

    What each of these comes to:

    - An event at the query's own time has age 0 and weighs what its action weighs.
      Whether it *may* be history is for who built the examples: `basket_queries` takes
      only strictly earlier ones.
    - An event after the query time is an error, or left out (`future`); it never weighs
      more than a new one.
    - A history with no event (all masked, ignored or of weight 0) pools to zeros.
    - Under `sum`, interest cools while nothing happens; under `mean` with an
      exponential it does not, since moving "now" scales all weights alike.

    Args:
        decay: The family; `Constant()` is a plain mean.
        action_weights: What an action weighs, such as {"browse": 0.2, "purchase": 1.0}.
            An action that is not named weighs 0. Without it actions are not looked at
            and every event weighs 1.
        normalize: "mean" divides by the sum of the weights (each feature by its own,
            with a rate per feature); "sum" does not.
        future: "error" raises `InvalidArgumentError` when an event that is not masked
            is later than its query; "ignore" leaves such events out.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: `decay` is not a `Decay`.
        ValueError: An action's weight is negative or not finite, or a choice is not one
            of those above.

    Example:
    >>> pool = TimeDecayPooling(Exponential("7d"))
    >>> vectors = tf.constant([[[1., 0.], [0., 1.]]])
    >>> times = [[0, 604_800]]
    >>> pool(vectors, timestamps=times, query_time=[1_209_600]).numpy().round(3)
    array([[0.333, 0.667]], dtype=float32)

    References:
        Y. Ding, X. Li. Time weight collaborative filtering. CIKM 2005.
    """

    def __init__(
        self,
        decay: Decay,
        *,
        action_weights: Mapping[str, float] | None = None,
        normalize: str = "mean",
        future: str = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(decay, Decay):
            raise TypeError(
                f"decay is a {type(decay).__name__}: give a decay object, such as "
                "tfrs_decay.decay.Exponential('7d')."
            )
        if normalize not in _NORMALIZATIONS:
            raise ValueError(
                f"normalize={normalize!r} is not one of {_NORMALIZATIONS}."
            )
        if future not in _FUTURES:
            raise ValueError(f"future={future!r} is not one of {_FUTURES}.")
        for action, weight in (action_weights or {}).items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"action_weights[{action!r}]={weight}: weights are finite, 0 or "
                    "more."
                )
        self.decay = decay
        # Not under its own name: Keras would wrap the dict, and its copy is not JSON.
        self._action_weights = (
            None if action_weights is None else tuple(action_weights.items())
        )
        self.normalize = normalize
        self.future = future
        self.supports_masking = True

    @property
    def action_weights(self) -> dict[str, float] | None:
        """What each action weighs; None when actions are not looked at."""
        return None if self._action_weights is None else dict(self._action_weights)

    def build(self, input_shape: Any) -> None:
        """Makes the decay's variables; `input_shape` is [batch, time, dim]."""
        if isinstance(input_shape, list) and isinstance(input_shape[0], list):
            raise ValueError(
                "vectors is a nested list, which Keras takes for many inputs: give a "
                "tensor or an array [batch, time, dim]."
            )
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(
                f"vectors have the shape {shape}: pooling needs [batch, time, dim], "
                "with dim known."
            )
        start = self.decay.initial_parameters(int(shape[-1]))
        self._parameters = {
            name: self.add_weight(
                name=name,
                shape=value.shape,
                dtype=tf.float32,
                initializer=tf_keras.initializers.Constant(value),
                experimental_autocast=False,
            )
            for name, value in start.items()
        }
        super().build(input_shape)

    def call(
        self,
        vectors: tf.Tensor,
        timestamps: tf.Tensor | None = None,
        query_time: tf.Tensor | None = None,
        actions: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Pools a batch of histories.

        Args:
            vectors: [batch, time, dim] floating, finite where masked as well: a NaN
                times the weight 0 is a NaN.
            timestamps: [batch, time] integer seconds since the epoch.
            query_time: [batch] integer seconds since the epoch: "now" of each row.
            actions: [batch, time] strings; needed with `action_weights`.
            mask: [batch, time] bool, False for padding, whose times and actions may be
                anything. Every event counts when left out.

        Returns:
            [batch, dim] in the layer's compute dtype.

        Raises:
            ValueError: An argument is missing, or its dtype or static shape does not
                fit.
            tf.errors.InvalidArgumentError: Shapes do not agree at run time; times are
                in milliseconds; an event is in the future and `future` is "error".
        """
        if vectors.shape.rank != 3:
            raise ValueError(
                f"vectors have the shape {vectors.shape}: pooling needs "
                "[batch, time, dim]."
            )
        weights = self.weights_of_events(timestamps, query_time, actions, mask)
        weights = tf.cast(weights, vectors.dtype)
        same_time = tf.debugging.assert_equal(
            tf.shape(vectors)[:2],
            tf.shape(weights)[:2],
            message="vectors and timestamps must agree in [batch, time].",
        )
        with tf.control_dependencies([same_time] if same_time is not None else []):
            if weights.shape.rank == 3:
                return tf.reduce_sum(weights * vectors, axis=1)
            # A matrix product of [1, time] and [time, dim] reads the vectors once.
            return tf.squeeze(tf.matmul(weights[:, None, :], vectors), axis=1)

    def weights_of_events(
        self,
        timestamps: tf.Tensor | None,
        query_time: tf.Tensor | None,
        actions: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What each event contributes: the weights that `call` pools with.

        The arguments are those of `call`. The layer must have been built: a call
        builds it.

        Returns:
            [batch, time] float32, 0 for events that do not count; [batch, time, dim]
            with a rate per feature. Under "mean" a row's weights sum to 1, or are all
            0.
        """
        if not self.built:
            raise ValueError(
                "the layer has no variables yet: call it, or build([None, None, dim])."
            )
        timestamps = _integers(timestamps, "timestamps", "[batch, time]")
        query_time = _integers(query_time, "query_time", "[batch]")
        checks = [
            tf.debugging.assert_equal(
                tf.shape(timestamps)[0],
                tf.shape(query_time)[0],
                message="timestamps and query_time must agree in batch.",
            ),
            assert_seconds(query_time, "query_time"),
        ]
        age = query_time[:, None] - timestamps
        counts = tf.ones_like(age, tf.bool) if mask is None else tf.cast(mask, tf.bool)
        checks.append(assert_seconds(tf.where(counts, timestamps, 0), "timestamps"))
        if self.future == "error":
            checks.append(
                tf.debugging.assert_equal(
                    tf.reduce_sum(tf.cast(counts & (age < 0), tf.int32)),
                    0,
                    message="this many events in timestamps are later than their "
                    "query_time. An event has no weight before it happens: pass "
                    "future='ignore' to leave such events out, or check that both are "
                    "in seconds.",
                )
            )
        counts &= age >= 0
        with tf.control_dependencies([check for check in checks if check is not None]):
            # float64 until the largest is taken off: a year has more seconds than
            # float32 has integers.
            seconds = tf.cast(tf.maximum(age, 0), tf.float64)
        log_weight = self.decay.log_weight(
            seconds,
            {name: tf.cast(one, tf.float64) for name, one in self._parameters.items()},
            xp=tf.math,
        )
        if self._action_weights is not None:
            of_action = self._weight_of_action(actions)
            counts &= of_action > 0
            log_of_action = tf.math.log(
                tf.cast(tf.where(counts, of_action, 1.0), tf.float64)
            )
            log_weight += (
                log_of_action[..., None]
                if log_weight.shape.rank == 3
                else log_of_action
            )
        if log_weight.shape.rank == 3:
            counts = counts[..., None]
        if self.normalize == "sum":
            weight = tf.exp(tf.cast(log_weight, tf.float32))
            return tf.where(counts, weight, 0.0)
        log_weight = tf.where(counts, log_weight, log_weight.dtype.min)
        # The largest becomes e^0. A constant shift cancels, and so does its gradient.
        largest = tf.stop_gradient(tf.reduce_max(log_weight, axis=1, keepdims=True))
        weight = tf.exp(tf.cast(log_weight - largest, tf.float32))
        weight = tf.where(counts, weight, 0.0)
        return tf.math.divide_no_nan(
            weight, tf.reduce_sum(weight, axis=1, keepdims=True)
        )

    def _weight_of_action(self, actions: tf.Tensor | None) -> tf.Tensor:
        if actions is None:
            raise ValueError(
                f"actions are needed: action_weights={self.action_weights} weighs them."
            )
        actions = tf.convert_to_tensor(actions)
        if actions.dtype != tf.string:
            raise ValueError(f"actions are {actions.dtype.name}: give strings.")
        # Compared one by one, actions being few: a lookup table would be a resource
        # that whoever exports the layer has to know of.
        weight = tf.zeros(tf.shape(actions), tf.float32)
        for name, value in self._action_weights or ():
            weight = tf.where(actions == name, tf.constant(value, tf.float32), weight)
        return weight

    def learned(self) -> dict[str, np.ndarray]:
        """The decay's learned values by name; empty before `build` or when fixed."""
        return {
            name: value.numpy()
            for name, value in getattr(self, "_parameters", {}).items()
        }

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """The time axis is gone, and its mask with it."""
        return None

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """[batch, dim]."""
        shape = tf.TensorShape(input_shape)
        return tf.TensorShape([shape[0], shape[2]])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "decay": tf_keras.saving.serialize_keras_object(self.decay),
            "action_weights": self.action_weights,
            "normalize": self.normalize,
            "future": self.future,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TimeDecayPooling:
        """Makes the layer again from `get_config`."""
        decay = config["decay"]
        if isinstance(decay, dict):
            decay = tf_keras.saving.deserialize_keras_object(decay)
        return cls(**{**config, "decay": decay})


def assert_seconds(times: tf.Tensor, name: str) -> tf.Operation | None:
    """Asserts that int64 times are no milliseconds; None where that is known now."""
    return tf.debugging.assert_less(
        times,
        tf.constant(LATEST_SECOND, tf.int64),
        message=f"{name} looks like milliseconds: give seconds since the epoch.",
    )


def _integers(tensor: Any, name: str, shape: str) -> tf.Tensor:
    """Checks a column of seconds and widens it to int64."""
    if tensor is None:
        raise ValueError(f"{name} is needed: {shape} integer seconds since the epoch.")
    if not tf.is_tensor(tensor):
        # NumPy reads lists of integers as int64, TensorFlow as int32.
        tensor = np.asarray(tensor)
    tensor = tf.convert_to_tensor(tensor)
    if not tensor.dtype.is_integer:
        raise ValueError(
            f"{name} is {tensor.dtype.name}: give {shape} int64 seconds since the "
            "epoch (float32 holds them to two minutes only)."
        )
    if tensor.shape.rank not in (None, shape.count(",") + 1):
        raise ValueError(f"{name} has the shape {tensor.shape}: give {shape}.")
    return tf.cast(tensor, tf.int64)
