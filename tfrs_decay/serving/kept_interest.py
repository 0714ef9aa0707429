"""A user's kept state as inputs and outputs of signatures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_decay.interest import State
from tfrs_decay.interest.state import NOTHING
from tfrs_decay.layers.checks import checked_before, require, require_at_most
from tfrs_decay.layers.history import assert_seconds
from tfrs_decay.layers.interest_state import InterestState
from tfrs_decay.layers.time_decay_pooling import TimeDecayPooling
from tfrs_decay.serving.signatures import after, same_batch

PREFIX = "state_"
"""Before the name of each field, so that its time is not taken for another."""


class KeptInterest:
    """The state that stands for a user's history, instead of the history itself.

    Nothing here is saved with a model but what its functions do.

    Args:
        pooling: Built, and trained where it learns.

    Raises:
        ImportError: Its decay has to become a sum, and SciPy is not there.
        ValueError: Its decay cannot be kept.
    """

    def __init__(self, pooling: TimeDecayPooling) -> None:
        self._layer = InterestState.of(pooling)

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        """The fields that hold anything, by the names of inputs and outputs."""
        return {
            PREFIX + name: tf.TensorSpec(one.shape, one.dtype, PREFIX + name)
            for name, one in self._layer.flat_spec.items()
        }

    def of_new_user(self) -> dict[str, np.ndarray]:
        """The fields of one user without events, [1, ...]."""
        return {
            PREFIX + name: one.numpy()
            for name, one in self._layer.to_flat(self._layer.empty(1)).items()
        }

    @tf.autograph.experimental.do_not_convert
    def read(self, inputs: Mapping[str, tf.Tensor]) -> State:
        """Checks the states of a batch of users.

        Args:
            inputs: By name, those of `specs`; others are not looked at.

        Raises:
            tf.errors.InvalidArgumentError: At run time, with the input's name: a number
                is not finite, a time in milliseconds, or fields are of other batches.
        """
        fields = {name: inputs[name] for name in self.specs}
        clock = PREFIX + "time"
        checks = [
            *same_batch(clock, fields[clock], fields),
            *(
                assert_seconds(fields[name], name)
                for name in (clock, PREFIX + "recent_times")
                if name in fields
            ),
        ]
        for name, field in fields.items():
            if field.dtype.is_floating:
                finite = tf.math.is_finite(field)
                message = f"{name} has a number that is not finite."
                checks.append(require(finite, message, field))
        with after(checks):
            plain = {
                name.removeprefix(PREFIX): tf.identity(field)
                for name, field in fields.items()
            }
        return self._layer.from_flat(plain)

    @tf.autograph.experimental.do_not_convert
    def update(
        self,
        state: State,
        vectors: tf.Tensor,
        times: tf.Tensor,
        actions: tf.Tensor,
        mask: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The outputs of states after events, as `layers.InterestState.update`."""
        state = self._layer.update(state, vectors, times, actions=actions, mask=mask)
        return {PREFIX + name: one for name, one in self._layer.to_flat(state).items()}

    @tf.autograph.experimental.do_not_convert
    def pooled(
        self, state: State, query_time: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What pooling the whole history would give at a time.

        Args:
            state: From `read`.
            query_time: [batch] int64 seconds.

        Returns:
            [batch, dim] float32; and [batch] bool, whether there was any event.

        Raises:
            tf.errors.InvalidArgumentError: At run time: a query is earlier than its
                state, or in milliseconds.
        """
        checks = [
            assert_seconds(query_time, "query_time"),
            *same_batch("state_time", state.time, {"query_time": query_time}),
        ]
        with after(checks):
            check = require_at_most(
                state.time,
                query_time,
                "query_time is earlier than state_time: what was added since cannot be "
                "taken out again.",
            )
        with after([check]):
            time = tf.identity(query_time)
        there = [
            tf.reduce_any(tf.reshape(one > NOTHING, [tf.shape(one)[0], -1]), axis=1)
            for one in (state.log_weight, state.recent_log_weights)
        ]
        with checked_before():
            return self._layer.read(state, time), there[0] | there[1]
