"""A user's interest as a small state, as a Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay import interest
from tfrs_decay.decay import Decay
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.interest import State
from tfrs_decay.interest.formulas import COLUMNS, Events
from tfrs_decay.interest.state import BEFORE, NEVER, need_state
from tfrs_decay.layers.checks import (
    require,
    require_at_most,
    require_equal,
    require_same_shape,
)
from tfrs_decay.layers.history import assert_seconds, assert_weighed, integers
from tfrs_decay.layers.tensors import TENSORS
from tfrs_decay.layers.time_decay_pooling import TimeDecayPooling


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class InterestState(tf_keras.layers.Layer):
    """Keeps users' interest up to date in constant time, in a graph.

    The same as `tfrs_decay.interest.InterestState`, which says what is exact, and by
    the same formulas: a state that one of them wrote is read by the other. `arrays` is
    that other one, for bytes and fingerprints.

    Nothing is learned here: make it with `of` from a pooling layer that was trained.

    Args:
        decay: A decay, or a list of them, one for each head.
        dim: Features of the vectors.
        action_weights: What an action weighs, such as {"browse": 0.2, "purchase": 1.0}.
            Without it every event weighs 1.
        unknown_action: "error" raises `InvalidArgumentError` when an event that is not
            masked has an action that `action_weights` does not name; for "ignore" it
            does not count.
        normalize: "mean", "sum" or "l2".
        prior_mass: Under "mean", the weight of the prior.
        prior: [dim]; zeros when left out.
        combination: [heads, dim] shares that sum to 1 over the heads; heads are stacked
            when left out.
        capacity: How many recent events are kept, where a decay needs them.
        max_error: How far a weight may be from that of a decay that becomes a sum, as a
            share of that weight itself. A mean is then off by no more than about this
            share of the vectors' mean distance from it, and a sum by this share of what
            it adds up, however long the user has been idle.
        horizon: The greatest age that this holds for. Of older events a power law's
            weights fall too fast, as exponentials do.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: `decay` is not a `Decay`.
        ValueError: A number is out of its range, or has the shape of another `dim`.

    Example:
    >>> from tfrs_decay.decay import Exponential
    >>> layer = InterestState(Exponential("1d"), dim=2)
    >>> state = layer.update(
    ...     layer.empty(1), [[[4.0, 0.0], [0.0, 1.0]]], times=[[0, 172_800]]
    ... )
    >>> layer.read(state, time=[172_800]).numpy().round(3)  # 4/4 and 1, over 1/4 + 1
    array([[0.8, 0.8]], dtype=float32)
    """

    def __init__(
        self,
        decay: Decay | Sequence[Decay],
        dim: int,
        *,
        action_weights: Mapping[str, float] | None = None,
        unknown_action: str = "error",
        normalize: str = "mean",
        prior_mass: float | None = None,
        prior: Any = None,
        combination: Any = None,
        capacity: int = 256,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        **kwargs: Any,
    ) -> None:
        # Keras would cast a state's float64 to float32.
        super().__init__(autocast=False, **kwargs)
        self.arrays = interest.InterestState(
            decay,
            dim,
            action_weights=action_weights,
            unknown_action=unknown_action,
            normalize=normalize,
            prior_mass=prior_mass,
            prior=prior,
            combination=combination,
            capacity=capacity,
            max_error=max_error,
            horizon=horizon,
        )
        self._formulas = self.arrays.formulas
        self._bounds = {
            "capacity": capacity,
            "max_error": max_error,
            "horizon": to_seconds(horizon, "horizon"),
        }

    @classmethod
    def of(
        cls,
        pooling: TimeDecayPooling,
        *,
        capacity: int = 256,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        **kwargs: Any,
    ) -> InterestState:
        """Makes the state of a pooling layer, with what it has learned.

        Reading the state then gives what the layer gives for the whole history.

        Args:
            pooling: Built, and trained where it learns.
            capacity: As in `InterestState`.
            max_error: As in `InterestState`.
            horizon: As in `InterestState`.
            **kwargs: Keras' own, such as `name`.

        Raises:
            ValueError: The layer is not built.
        """
        if not pooling.built:
            raise ValueError(
                "pooling has no variables yet: call it, or build([None, None, dim])."
            )
        decays = pooling.learned_decays()
        return cls(
            decays if isinstance(pooling.decay, (list, tuple)) else decays[0],
            pooling.dim,
            action_weights=pooling.action_weights,
            unknown_action=pooling.unknown_action,
            normalize=pooling.normalize,
            prior_mass=pooling.prior_mass,
            prior=pooling.prior_vector(),
            combination=pooling.combination(),
            capacity=capacity,
            max_error=max_error,
            horizon=horizon,
            **kwargs,
        )

    @property
    def dim(self) -> int:
        """Features of the vectors."""
        return self.arrays.dim

    @property
    def spec(self) -> State:
        """The `tf.TensorSpec` of each field, for an `input_signature`."""
        return State(
            **{
                field: tf.TensorSpec([None, *shape], dtype, name=field)
                for field, (dtype, shape) in self._formulas.fields.items()
            }
        )

    @property
    def flat_spec(self) -> dict[str, tf.TensorSpec]:
        """The `tf.TensorSpec` of each field that holds anything, by name."""
        shapes = {name: one[1] for name, one in self._formulas.fields.items()}
        shapes["dropped"] = (self._formulas.capacity,)
        return {
            name: one
            for name, one in self.spec._asdict().items()
            if 0 not in shapes[name]
        }

    def to_flat(self, state: State) -> dict[str, Any]:
        """The fields of states that hold anything, by name.

        Args:
            state: Of `batch` users.
        """
        return {name: getattr(state, name) for name in self.flat_spec}

    def from_flat(self, tensors: Mapping[str, tf.Tensor]) -> State:
        """States of the fields that hold anything; `to_flat` the other way round.

        Args:
            tensors: By name, those of `flat_spec`; others are not looked at.
        """
        state = self.empty(tf.shape(tensors["time"])[0])
        return state._replace(**{name: tensors[name] for name in self.flat_spec})

    def empty(self, batch_size: Any) -> State:
        """States without events.

        Args:
            batch_size: How many, a number or an integer tensor.
        """
        at_first = {
            "log_weight": NEVER,
            "recent_log_weights": NEVER,
            "time": BEFORE,
            "recent_times": BEFORE,
        }
        return State(
            **{
                field: tf.fill(
                    [batch_size, *shape], tf.constant(at_first.get(field, 0), dtype)
                )
                for field, (dtype, shape) in self._formulas.fields.items()
            }
        )

    def update(
        self,
        state: State,
        vectors: Any,
        times: Any,
        actions: Any = None,
        categories: Any = None,
        mask: Any = None,
        event_weights: Any = None,
    ) -> State:
        """Adds events, in any order.

        Args:
            state: Of `batch` users.
            vectors: [batch, n, dim] floating, finite where masked as well.
            times: [batch, n] integer seconds since the epoch.
            actions: [batch, n] strings; needed with `action_weights` and with rates for
                each action.
            categories: [batch, n] strings; needed with rates for each category.
            mask: [batch, n] bool, False for padding, whose time may be
                anything, and whose names any string. Every event counts when left out.
            event_weights: [batch, n] floating, 0 or more: a weight of each event's own.

        Returns:
            A new state, whose clock is the latest time seen.

        Raises:
            ValueError: An argument is missing, or its dtype or static shape does not
                fit.
            TypeError: `state` is no `State`.
            tf.errors.InvalidArgumentError: At run time: shapes do not agree, times are
                in milliseconds, numbers are not finite, or an action has no weight and
                `unknown_action` is "error".
        """
        state, checks = self._checked(state, "state")
        vectors = tf.cast(tf.convert_to_tensor(vectors), tf.float32)
        if not vectors.shape.is_compatible_with([None, None, self.dim]):
            raise ValueError(
                f"vectors have the shape {vectors.shape}: give [batch, n, dim], here "
                f"[batch, n, {self.dim}]."
            )
        vectors = tf.ensure_shape(vectors, [None, None, self.dim])
        shape = tf.shape(vectors)[:2]
        times = integers(times, "times", "[batch, n]")
        counts = tf.fill(shape, True) if mask is None else tf.cast(mask, tf.bool)
        checks += [
            _assert_shape(state.time, shape[:1], "state.time"),
            _assert_shape(times, shape, "times"),
            _assert_shape(counts, shape, "mask"),
            tf.debugging.assert_all_finite(
                vectors,
                "vectors hold numbers that are not finite: leave such events out. A "
                "masked event needs finite numbers too, such as 0.",
            ),
        ]
        names = {"action": actions, "category": categories}
        places = {
            group: self._places(names[group], group, counts)
            for group in self._formulas.names
        }
        with _after(checks):
            checks = [assert_seconds(tf.where(counts, times, 0), "times")]
        weights = None
        if event_weights is not None:
            weights = tf.cast(tf.convert_to_tensor(event_weights), tf.float64)
            with _after([_assert_shape(weights, shape, "event_weights")]):
                weights = tf.where(counts, weights, tf.zeros_like(weights))
            checks.append(
                require(
                    tf.math.is_finite(weights) & (weights >= 0),
                    "event_weights must be finite, 0 or more.",
                    weights,
                )
            )
        with _after(checks):
            events = Events(
                tf.identity(vectors), tf.identity(times), counts, places, weights
            )
        return self._formulas.update(state, events, TENSORS)

    def decay_to(self, state: State, time: Any) -> State:
        """Moves the clock of states on.

        Args:
            state: Of `batch` users.
            time: [batch] or a single number of integer seconds since the epoch, not
                earlier than the state's own.

        Returns:
            A new state.

        Raises:
            ValueError: A dtype or static shape does not fit.
            TypeError: What is handed in is no `State`.
            tf.errors.InvalidArgumentError: At run time: the time is earlier than the
                state's, or in milliseconds.
        """
        return self._formulas.decay_to(*self._at(state, time), TENSORS)

    def read(self, state: State, time: Any) -> tf.Tensor:
        """The interest at a time: what pooling the whole history then would give.

        Args:
            state: Of `batch` users.
            time: As in `decay_to`.

        Returns:
            [batch, dim] float32; [batch, heads, dim] of a list of decays without a
            combination. With `normalize="sum"` what comes to more than float32 holds,
            3.4e38, is infinite; where even the weights are more than float64 holds it
            may be NaN. The NumPy class refuses both by name.

        Raises:
            ValueError: A dtype or static shape does not fit.
            TypeError: What is handed in is no `State`.
            tf.errors.InvalidArgumentError: At run time: the time is earlier than the
                state's, or in milliseconds.
        """
        return self._formulas.read(*self._at(state, time), TENSORS)

    def weight(self, state: State, time: Any) -> tf.Tensor:
        """The sum of the weights of all events at a time, by head.

        Args:
            state: Of `batch` users.
            time: As in `decay_to`.

        Returns:
            [batch, heads] float64; [batch, heads, dim] where features have rates of
            their own.

        Raises:
            ValueError: A dtype or static shape does not fit.
            TypeError: What is handed in is no `State`.
            tf.errors.InvalidArgumentError: At run time: the time is earlier than the
                state's, or in milliseconds.
        """
        return self._formulas.weight(*self._at(state, time), TENSORS)

    def merge(self, one: State, other: State) -> State:
        """Puts together the states of two shards of the same users' events.

        An event that is in both counts twice.

        Args:
            one: Of `batch` users.
            other: Of the same users.

        Returns:
            A new state, at the later of the two clocks.

        Raises:
            ValueError: A dtype or static shape does not fit.
            TypeError: What is handed in is no `State`.
            tf.errors.InvalidArgumentError: At run time: the states hold other numbers
                of users.
        """
        one, checks = self._checked(one, "one")
        other, more = self._checked(other, "other")
        checks += [*more, _assert_shape(other.time, tf.shape(one.time), "other.time")]
        with _after(checks):
            one = one._replace(time=tf.identity(one.time))
        return self._formulas.merge(one, other, TENSORS)

    def call(self, state: State, time: Any) -> tf.Tensor:
        """Reads states, in the layer's compute dtype; see `read`."""
        if isinstance(state, (list, tuple)) and len(state) == len(State._fields):
            # A model that was loaded hands in a list.
            state = State(*state)
        interest = self.read(state, time)
        return tf.cast(interest, self.compute_dtype)

    def signatures(self) -> dict[str, Any]:
        """Functions of flat, named tensors, to be exported.

        Fields of a state that these decays do not use have no tensor. A new user has
        the values of `empty`: zeros, but for log weights of -1e30 and times of -1e11.

        - "update": the fields, `vectors`, `times`, `mask`, `event_weights`, and where
          they are needed `actions` and `categories`, give the fields. A signature has
          no input that may be left out: give a mask of True and event weights of 1
          where every event counts as it is.
        - "decay_to": the fields and `now`, a time, give the fields.
        - "read": the fields and `now` give `interest` and `weight`.
        - "merge": the fields, and again with `other_` before them, give the fields.

        Returns:
            Concrete functions by name, for any batch and number of events.

        Example:
        >>> from tfrs_decay.decay import Exponential
        >>> layer = InterestState(Exponential("1d"), dim=2)
        >>> signatures = layer.signatures()  # tf.saved_model.save takes them
        >>> sorted(signatures["update"].structured_outputs)
        ['log_weight', 'mean', 'time']
        """
        own = self.flat_spec
        others = {f"other_{field}": one for field, one in own.items()}
        columns = {
            COLUMNS[group]: tf.TensorSpec([None, None], tf.string)
            for group in self._formulas.names
        }
        events = {
            "vectors": tf.TensorSpec([None, None, self.dim], tf.float32),
            "times": tf.TensorSpec([None, None], tf.int64),
            "mask": tf.TensorSpec([None, None], tf.bool),
            "event_weights": tf.TensorSpec([None, None], tf.float32),
            **columns,
        }
        # The state has a `time` of its own.
        now = {"now": tf.TensorSpec([None], tf.int64)}

        def update(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            given = {name: inputs[name] for name in events}
            return self.to_flat(self.update(self.from_flat(inputs), **given))

        def decay_to(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.to_flat(self.decay_to(self.from_flat(inputs), inputs["now"]))

        def read(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            state = self.from_flat(inputs)
            return {
                "interest": self.read(state, inputs["now"]),
                "weight": self.weight(state, inputs["now"]),
            }

        def merge(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            other = self.from_flat(
                {field: inputs[f"other_{field}"] for field in own},
            )
            return self.to_flat(self.merge(self.from_flat(inputs), other))

        return {
            "update": _concrete(update, {**own, **events}),
            "decay_to": _concrete(decay_to, {**own, **now}),
            "read": _concrete(read, {**own, **now}),
            "merge": _concrete(merge, {**own, **others}),
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        formulas = self._formulas
        heads = [
            tf_keras.saving.serialize_keras_object(one.decay) for one in formulas.heads
        ]
        arrays = {
            name: None if one is None else one.tolist()
            for name, one in (
                ("prior", formulas.prior),
                ("combination", formulas.combination),
            )
        }
        return {
            **super().get_config(),
            "decay": heads if formulas.several else heads[0],
            "dim": self.dim,
            "action_weights": formulas.action_weights,
            "unknown_action": self.arrays.unknown_action,
            "normalize": formulas.normalize,
            "prior_mass": formulas.prior_mass,
            **arrays,
            **self._bounds,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InterestState:
        """Makes the layer again from `get_config`."""
        decay = config["decay"]
        if isinstance(decay, (list, tuple)):
            decay = [_decay(one) for one in decay]
        else:
            decay = _decay(decay)
        return cls(**{**config, "decay": decay})

    def _checked(self, state: State, name: str) -> tuple[State, list[Any]]:
        """A state of tensors, and the assertions that need its values."""
        need_state(state, name)
        found = {}
        for field, spec in self.spec._asdict().items():
            given = tf.convert_to_tensor(getattr(state, field))
            if given.dtype != spec.dtype or not given.shape.is_compatible_with(
                spec.shape
            ):
                raise ValueError(
                    f"{name}.{field} is {given.dtype.name} of shape {given.shape}, and "
                    f"here it is {spec.dtype.name} of shape {spec.shape}: hand in what "
                    "`empty` or `update` of this layer gave."
                )
            found[field] = tf.ensure_shape(given, spec.shape)
        check = require_equal(
            tf.stack([tf.shape(one)[0] for one in found.values()]),
            tf.shape(found["time"])[0],
            f"the fields of {name} must hold as many users, each in the order of "
            "State.",
        )
        return State(**found), [check]

    def _at(self, state: State, time: Any) -> tuple[State, tf.Tensor]:
        """States, and a time for each of its users that is not earlier."""
        state, checks = self._checked(state, "state")
        if not tf.is_tensor(time):
            time = np.asarray(time)
        if not len(time.shape):
            now = integers(time[None], "time", "[batch]")
            now = tf.broadcast_to(now, tf.shape(state.time))
        else:
            now = integers(time, "time", "[batch]")
        checks += [
            _assert_shape(now, tf.shape(state.time), "time"),
            assert_seconds(now, "time"),
        ]
        with _after(checks):
            check = require_at_most(
                state.time,
                now,
                "time is earlier than the clock of its state: read it at that time or "
                "later. What was added since cannot be taken out again.",
            )
        with _after([check]):
            return state, tf.identity(now)

    def _places(self, values: Any, group: str, counts: tf.Tensor) -> tf.Tensor:
        """[batch, n] int32 places of strings among the names of a group."""
        shape = tf.shape(counts)
        column, names = COLUMNS[group], self._formulas.names[group]
        if values is None:
            raise ValueError(
                f"{column} are needed: weights or rates depend on {list(names)}."
            )
        if not tf.is_tensor(values):
            values = np.asarray(values)
            if values.dtype.kind == "U":
                values = values.astype(object)
        values = tf.convert_to_tensor(values)
        if values.dtype != tf.string:
            raise ValueError(f"{column} are {values.dtype.name}: give strings.")
        with _after([_assert_shape(values, shape, column)]):
            if not names:
                return tf.zeros(shape, tf.int32)
            # Compared with each, names being few: a lookup table would be a resource
            # that whoever exports the layer has to know of.
            same = values[..., None] == tf.constant(names)
        place = tf.argmax(tf.cast(same, tf.int32), axis=-1, output_type=tf.int32)
        place = tf.where(tf.reduce_any(same, axis=-1), place, len(names))
        weights = self._formulas.action_weights
        if group != "action" or weights is None:
            return place
        if self.arrays.unknown_action == "ignore":
            return place
        unweighed = tf.constant([*(one not in weights for one in names), True])
        unknown = counts & tf.gather(unweighed, place)
        with _after([assert_weighed(values, unknown, weights)]):
            return tf.identity(place)


def _concrete(function: Callable[..., Any], spec: Mapping[str, tf.TensorSpec]) -> Any:
    """A function of named tensors, for a signature."""
    named = {
        name: tf.TensorSpec(one.shape, one.dtype, name=name)
        for name, one in spec.items()
    }
    return tf.function(function).get_concrete_function(**named)


def _after(checks: Sequence[Any]) -> Any:
    """What comes next waits for assertions, those that are left to run time."""
    return tf.control_dependencies([one for one in checks if one is not None])


def _assert_shape(tensor: tf.Tensor, shape: tf.Tensor, name: str) -> Any:
    if tensor.shape.rank not in (None, shape.shape[0]):
        raise ValueError(
            f"{name} has the shape {tensor.shape}: give "
            f"{'[batch, n]' if shape.shape[0] == 2 else '[batch]'}."
        )
    return require_same_shape(
        tensor, shape, f"{name} must agree with the others in shape."
    )


def _decay(written: Any) -> Decay:
    if isinstance(written, Decay):
        return written
    return tf_keras.saving.deserialize_keras_object(written)
