"""A user's interest: the vectors of past items, each at the weight of its age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import tfrs_decay.decay
from tfrs_decay.decay import Decay, Elapsed, Labels, PowerLaw
from tfrs_decay.decay.values import (
    UNKNOWN_ACTIONS,
    read_action_weights,
    read_decays,
    read_number,
)
from tfrs_decay.layers.checks import require
from tfrs_decay.layers.heads import Events, Head, Normalization, Pooled, pool_heads
from tfrs_decay.layers.history import (
    FOREVER,
    History,
    assert_weighed,
    dense,
    in_shape,
    later_events,
    places,
    read_history,
    read_names,
)

for _name in tfrs_decay.decay.__all__:
    _family = getattr(tfrs_decay.decay, _name)
    if isinstance(_family, type) and issubclass(_family, Decay):
        tf_keras.saving.register_keras_serializable("tfrs_decay")(_family)

_COLUMNS = {"action": "actions", "category": "categories"}
_NORMALIZATIONS = ("mean", "sum", "l2")
_FUTURES = ("error", "ignore")
_COMBINATIONS = ("learned", "stack")


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class TimeDecayPooling(tf_keras.layers.Layer):
    """Pools a history by age: interest = sum_i w_i x_i, or that over sum_i w_i.

    The weight of event i is its own weight (its action's, or one that is handed in)
    times the decay of its age, and its age is `query_time - timestamps[i]`, subtracted
    as int64 before anything is cast: float32 holds today's epoch seconds to two minutes
    only. All is done in log space, so a history in which every weight underflows still
    has its direction.

    Several decays are several heads, each pooling the same vectors at its own pace.
    They read the vectors once. With values of each feature's own, exponentials and
    mixtures cost about twice the plain mean; the other families weigh every number
    apart, which costs ten to twenty times the mean.

    What each of these comes to:

    - An event at the query's own time has age 0 and weighs what its action weighs.
      Whether it *may* be history is for who built the examples: `basket_queries` takes
      only strictly earlier ones.
    - An event after the query time is an error, or left out (`future`); it never weighs
      more than a new one.
    - So is an event whose action has no weight (`unknown_action`): under weights for
      actions that a log calls otherwise nothing would count.
    - A history with no event (all masked, ignored or of weight 0) pools to the prior:
      zeros where there is none.
    - Under "sum", or with a prior mass, interest cools while nothing happens. Under a
      plain "mean" with an exponential it does not, since moving "now" scales all
      weights alike.

    Args:
        decay: A decay, or a list of them, one for each head; `Constant()` is a plain
            mean. When left out it is a heavy tail that starts near the mean and is
            learned, `PowerLaw("1h", 0.25, trainable=True)`.
        action_weights: What an action weighs, such as {"browse": 0.2, "purchase": 1.0}.
            There is no name for all others. Without it every event weighs 1.
        learn_action_weights: Learn them, starting from these. A weight of 0 stays.
        normalize: "mean" divides by the sum of the weights (each feature by its own,
            with a rate per feature); "sum" does not; "l2" scales each head's sum to
            length 1.
        prior_mass: Under "mean", the weight of a prior that every history has besides
            its events, in events of age 0: (sum w x + mass prior) / (sum w + mass), so
            that an idle user cools towards it.
        prior: What a user without events is like: [dim] numbers, or "learned", which
            starts from zeros. Zeros when left out.
        combine: What becomes of several heads: "learned" gives their average, each
            feature's at weights of its own that are learned and start equal; "stack"
            gives all of them, [batch, heads, dim].
        future: "error" raises `InvalidArgumentError` when an event that is not masked
            is later than its query; "ignore" leaves such events out.
        unknown_action: "error" raises `InvalidArgumentError` when an event that is not
            masked has an action that `action_weights` does not name; "ignore" leaves
            such events out.
        speed: How many times as far as any other variable the logarithms of learned
            rates and action weights move in a step of Adam. It moves a variable by
            about its learning rate, and from hours to months is a way of seven: at 1,
            a training of a few hundred steps would end near where it started.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: A decay is not a `Decay`.
        ValueError: An action's weight is negative or not finite, or a choice is not one
            of those above.

    To load a model that holds this layer, import `tfrs_decay.layers` first: Keras finds
    it, and its decays, by name.

    Example:
    >>> from tfrs_decay.decay import Exponential
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
        decay: Decay | Sequence[Decay] | None = None,
        *,
        action_weights: Mapping[str, float] | None = None,
        learn_action_weights: bool = False,
        normalize: str = "mean",
        prior_mass: float | None = None,
        prior: str | Sequence[float] | np.ndarray | None = None,
        combine: str = "learned",
        future: str = "error",
        unknown_action: str = "error",
        speed: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed={speed} must be finite and above 0.")
        if decay is None:
            decay = PowerLaw("1h", 0.25, trainable=True)
        heads = read_decays(decay)
        for name, choice, choices in (
            ("normalize", normalize, _NORMALIZATIONS),
            ("combine", combine, _COMBINATIONS),
            ("future", future, _FUTURES),
            ("unknown_action", unknown_action, UNKNOWN_ACTIONS),
        ):
            if choice not in choices:
                raise ValueError(f"{name}={choice!r} is not one of {choices}.")
        action_weights = read_action_weights(action_weights)
        if learn_action_weights and not any((action_weights or {}).values()):
            raise ValueError(
                "learn_action_weights=True has nothing to start from: name the actions "
                "in action_weights, with a weight above 0."
            )
        if prior_mass is not None:
            prior_mass = read_number(prior_mass, "prior_mass")
            if normalize != "mean":
                raise ValueError(
                    f"prior_mass={prior_mass} with normalize={normalize!r}: it goes "
                    "with 'mean'."
                )
        if prior is not None and prior_mass is None:
            raise ValueError("prior is given, and without prior_mass it has no weight.")
        if isinstance(prior, str) and prior != "learned":
            raise ValueError(f"prior={prior!r}: give [dim] numbers, or 'learned'.")
        if not (prior is None or isinstance(prior, str)):
            numbers = np.asarray(prior)
            if numbers.dtype.kind not in "iuf" or numbers.ndim != 1:
                raise ValueError(f"prior={prior!r}: give [dim] numbers, or 'learned'.")
            if not np.isfinite(numbers).all():
                raise ValueError(f"prior={prior} must be finite.")
        # Not under their own names: Keras would wrap dicts and lists, and its copies
        # are not JSON.
        self._heads = heads
        self._several = isinstance(decay, (list, tuple))
        self._action_weights = (
            None if action_weights is None else tuple(action_weights.items())
        )
        self.learn_action_weights = learn_action_weights
        self.normalize = normalize
        self.prior_mass = prior_mass
        self._prior = (
            prior
            if prior is None or isinstance(prior, str)
            else tuple(np.asarray(prior, np.float64).tolist())
        )
        self.combine = combine
        self.future = future
        self.unknown_action = unknown_action
        self.speed = speed
        self.supports_masking = True
        self._names = self._vocabularies()

    @property
    def decay(self) -> Decay | list[Decay]:
        """As it was given: one, or a list of heads."""
        return list(self._heads) if self._several else self._heads[0]

    @property
    def heads(self) -> list[Decay]:
        """The decay of each head, as given."""
        return list(self._heads)

    @property
    def action_weights(self) -> dict[str, float] | None:
        """What each action weighs, learned values included; None without weights."""
        if self._action_weights is None:
            return None
        given = dict(self._action_weights)
        if not (self.learn_action_weights and self.built):
            return given
        learned = np.exp(self._values(self._log_action_weights)).tolist()
        return {
            name: now if was > 0 else 0.0
            for (name, was), now in zip(given.items(), learned, strict=True)
        }

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The actions and categories that have a place when given as integers."""
        return dict(self._names)

    def _vocabularies(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, list[str]] = {}
        if self._action_weights is not None:
            names["action"] = [name for name, _ in self._action_weights]
        for head in self._heads:
            for group, own in head.groups.items():
                names.setdefault(group, []).extend(own)
        # In the order of mention, each once.
        return {group: tuple(dict.fromkeys(one)) for group, one in names.items()}

    def build(self, input_shape: Any) -> None:
        """Makes the variables; `input_shape` is [batch, time, dim]."""
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
        self.dim = dim = int(shape[-1])
        # Divided by the speed, with which they are multiplied when read.
        self._slow = [
            {
                name: self._variable(
                    f"head_{number}_{name}" if self._several else name,
                    value / self.speed,
                )
                for name, value in head.initial_parameters(dim).items()
            }
            for number, head in enumerate(self._heads)
        ]
        if self.learn_action_weights:
            weights = np.asarray([one for _, one in self._action_weights or ()])
            start = np.log(np.where(weights > 0, weights, 1.0))
            self._log_action_weights = self._variable(
                "log_action_weights", start / self.speed
            )
        if self._prior is not None and not isinstance(self._prior, str):
            if len(self._prior) != dim:
                raise ValueError(
                    f"prior has {len(self._prior)} numbers and the pooled vectors have "
                    f"{dim} features."
                )
        if self._prior == "learned":
            self._learned_prior = self._variable("prior", np.zeros(dim))
        if self._combines:
            self._combination_logits = self._variable(
                "combination_logits", np.zeros([len(self._heads), dim])
            )
        super().build(input_shape)

    def _variable(self, name: str, start: np.ndarray) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=start.shape,
            dtype=tf.float32,
            initializer=tf_keras.initializers.Constant(start),
            experimental_autocast=False,
        )

    @property
    def _combines(self) -> bool:
        return self._several and self.combine == "learned"

    def call(
        self,
        vectors: tf.Tensor,
        timestamps: tf.Tensor | None = None,
        query_time: tf.Tensor | None = None,
        actions: tf.Tensor | None = None,
        categories: tf.Tensor | None = None,
        event_weights: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Pools a batch of histories.

        Where vectors are ragged in time, so are all columns, and there is no mask.
        Under `jit_compile` the assertions are left out, and actions and categories are
        integers, since XLA knows no strings.

        Args:
            vectors: [batch, time, dim] floating, finite where masked as well: a NaN
                times the weight 0 is a NaN.
            timestamps: [batch, time] integer seconds since the epoch.
            query_time: [batch] integer seconds since the epoch: "now" of each row.
            actions: [batch, time] strings, or integers, places in `names["action"]`;
                needed with `action_weights` and with rates for each action. Where
                nothing depends on them they are not read, so that a model can hand on
                what it gets.
            categories: [batch, time] strings, or integers, places in
                `names["category"]`; needed with rates for each category.
            event_weights: [batch, time] floating, 0 or more: a weight of each event's
                own, such as the share of a video that was watched.
            mask: [batch, time] bool, False for padding, whose times, actions and
                weights may be anything. Every event counts when left out.
            return_weights: Also return what each event contributed.

        Returns:
            [batch, dim] in the layer's compute dtype; [batch, heads, dim] for several
            heads that are stacked. With `return_weights` a pair: that, and float32
            weights with interest = sum over time of weights times vectors, plus the
            prior's share: [batch, time] from one head; [batch, time, dim] with rates
            per feature or where heads are combined; [batch, heads, time] or
            [batch, heads, time, dim] where they are stacked.

        Raises:
            ValueError: An argument is missing, or its dtype or static shape does not
                fit.
            tf.errors.InvalidArgumentError: Shapes do not agree at run time; times are
                in milliseconds; an event is in the future and `future` is "error"; its
                action has no weight and `unknown_action` is "error"; a weight is
                negative or not a number.
        """
        columns = {
            "timestamps": timestamps,
            "actions": actions,
            "categories": categories,
            "event_weights": event_weights,
        }
        vectors, columns, mask = dense(vectors, columns, mask)
        vectors = tf.convert_to_tensor(vectors)
        if not vectors.dtype.is_floating:
            raise ValueError(
                f"vectors are {vectors.dtype.name}: give floating numbers."
            )
        if vectors.shape.rank != 3:
            raise ValueError(
                f"vectors have the shape {vectors.shape}: pooling needs "
                "[batch, time, dim]."
            )
        if vectors.shape[-1] not in (None, self.dim):
            raise ValueError(
                f"vectors have {vectors.shape[-1]} features, and the layer was built "
                f"for {self.dim}."
            )
        history = read_history(
            columns["timestamps"],
            query_time,
            mask,
            shape=tf.shape(vectors)[:2],
            future=self.future,
        )
        heads = [
            Head(head, {name: self.speed * slow for name, slow in own.items()})
            for head, own in zip(self._heads, self._slow, strict=True)
        ]
        pooled = pool_heads(
            heads,
            self._events(vectors, history, columns),
            Normalization(self.normalize, self.prior_mass, self._prior_tensor()),
            return_weights=return_weights,
        )
        interest, weights = self._combined(pooled)
        interest = tf.cast(interest, vectors.dtype)
        return (interest, weights) if return_weights else interest

    def weights_of_events(
        self,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        *,
        actions: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        categories: tf.Tensor | None = None,
        event_weights: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What each event contributes, without any vectors at hand.

        The arguments are those of `call`, dense. The layer must have been built: a call
        builds it.

        Returns:
            The weights of `call` with `return_weights`.

        Raises:
            ValueError: As in `call`; or under "l2", where weights depend on vectors.
        """
        if not self.built:
            raise ValueError(
                "the layer has no variables yet: call it, or build([None, None, dim])."
            )
        if self.normalize == "l2":
            raise ValueError(
                "under normalize='l2' weights depend on the vectors: call the layer "
                "with return_weights=True."
            )
        shape = tf.shape(
            timestamps if tf.is_tensor(timestamps) else np.asarray(timestamps)
        )
        zeros = tf.zeros([shape[0], shape[-1], self.dim])
        _, weights = self(
            zeros,
            timestamps=timestamps,
            query_time=query_time,
            actions=actions,
            categories=categories,
            event_weights=event_weights,
            mask=mask,
            return_weights=True,
        )
        return weights

    def _combined(self, pooled: Pooled) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The heads' average, all of them, or the only one."""
        interest, weights = pooled
        if not self._several:
            return interest[:, 0], None if weights is None else weights[:, 0]
        if self.combine == "stack":
            return interest, weights
        share = tf.nn.softmax(self._combination_logits, axis=0)
        interest = tf.reduce_sum(tf.cast(interest, tf.float32) * share, 1)
        if weights is None:
            return interest, None
        if weights.shape.rank == 3:
            weights = weights[..., None]
        return interest, tf.reduce_sum(weights * share[:, None, :], 1)

    def _events(
        self, vectors: tf.Tensor, history: History, columns: Mapping[str, Any]
    ) -> Events:
        labels = {}
        for group, names in self._names.items():
            column = _COLUMNS[group]
            values = read_names(columns[column], column, names)
            place = places(values, names)
            place = in_shape(place, tf.shape(history.age), column)
            if group == "action":
                place = self._weighed(place, values, history)
            labels[group] = Labels(names, place)
        own = self._own_weights(columns["event_weights"], labels, history)
        alike = own is None
        if own is None:
            own = tf.cast(history.counts, tf.float32)
        else:
            counts = history.counts & (own > 0)
            own = tf.where(counts, own, 0.0)
            age = tf.where(counts, history.age, FOREVER)
            history = history._replace(counts=counts, age=age)
        heaviest = tf.reduce_max(own, axis=1, keepdims=True)
        heaviest = tf.where(heaviest > 0, heaviest, 1.0)
        # Ages from the youngest event on: whole seconds, small where it matters.
        youngest = tf.reduce_min(history.age, axis=1, keepdims=True)
        youngest = tf.where(youngest < FOREVER, youngest, tf.zeros_like(youngest))
        since = tf.cast(history.age - youngest, tf.float32)
        age = tf.where(history.counts, history.age, 0)
        rank = None
        if any("rank" in head.clocks for head in self._heads):
            rank = tf.cast(later_events(history), tf.float64)
        return Events(
            vectors=vectors,
            counts=history.counts,
            own=own if alike else own / heaviest,
            heaviest=tf.math.log(tf.cast(heaviest, tf.float64)),
            alike=alike,
            since=since,
            youngest=tf.cast(youngest, tf.float64),
            elapsed=Elapsed(tf.cast(age, tf.float64), rank, labels),
        )

    def _weighed(
        self, place: tf.Tensor, actions: tf.Tensor, history: History
    ) -> tf.Tensor:
        """The places of actions, once each that counts is known to have a weight."""
        if self._action_weights is None or self.unknown_action == "ignore":
            return place
        # The vocabulary of actions starts with those that have a weight.
        unknown = history.counts & (place >= len(self._action_weights))
        known = [name for name, _ in self._action_weights]
        check = assert_weighed(actions, unknown, known)
        with tf.control_dependencies([check] if check is not None else []):
            return tf.identity(place)

    def _own_weights(
        self, event_weights: Any, labels: Mapping[str, Labels], history: History
    ) -> tf.Tensor | None:
        """[batch, time] float32, what each event weighs at age 0; None for 1."""
        own = None
        if event_weights is not None:
            own = tf.convert_to_tensor(event_weights)
            if not own.dtype.is_floating:
                raise ValueError(
                    f"event_weights are {own.dtype.name}: give floating numbers."
                )
            own = in_shape(own, tf.shape(history.age), "event_weights")
            own = tf.where(history.counts, tf.cast(own, tf.float32), 0.0)
            check = require(
                tf.math.is_finite(own) & (own >= 0),
                "event_weights must be finite and 0 or more.",
                own,
            )
            with tf.control_dependencies([check] if check is not None else []):
                own = tf.identity(own)
        if self._action_weights is not None:
            given = np.asarray([*(one for _, one in self._action_weights), 0.0], "f")
            weight = tf.constant(given)
            if self.learn_action_weights:
                log_weight = self.speed * self._log_action_weights
                learned = tf.exp(tf.concat([log_weight, [0.0]], 0))
                weight = tf.where(given > 0, learned, 0.0)
            # The vocabulary of actions starts with those that have a weight.
            place = tf.minimum(labels["action"].place, len(given) - 1)
            of_action = tf.gather(weight, place)
            own = of_action if own is None else own * of_action
        return own

    def _prior_tensor(self) -> tf.Tensor | None:
        if self._prior == "learned":
            return tf.convert_to_tensor(self._learned_prior)
        return None if self._prior is None else tf.constant(self._prior, tf.float32)

    def prior_vector(self) -> np.ndarray | None:
        """[dim] the prior, learned or given; None where it is zeros."""
        prior = self._prior_tensor()
        return None if prior is None else prior.numpy()

    def combination(self) -> np.ndarray | None:
        """[heads, dim] what heads are averaged with; None for one, or stacked ones."""
        if not self._combines:
            return None
        return tf.nn.softmax(self._combination_logits, axis=0).numpy()

    def learned(self) -> dict[str, np.ndarray]:
        """The decays' learned values by name; empty before `build` or when fixed.

        With a list of decays, each name is preceded by `head_` and the head's number.
        """
        return {
            f"head_{number}_{name}" if self._several else name: value
            for number, own in enumerate(self._learned())
            for name, value in own.items()
        }

    def learned_decays(self) -> list[Decay]:
        """Each head's decay, fixed at what has been learned."""
        return [
            head.with_parameters(own)
            for head, own in zip(self._heads, self._learned(), strict=True)
        ]

    def describe(self) -> str:
        """Each head's decay in people's words, with what has been learned."""
        return "; ".join(
            head.describe(own)
            for head, own in zip(self._heads, self._learned(), strict=True)
        )

    def _learned(self) -> list[dict[str, np.ndarray]]:
        """Each head's learned values by name."""
        if not self.built:
            return [{} for _ in self._heads]
        return [
            {name: self._values(slow) for name, slow in own.items()}
            for own in self._slow
        ]

    def _values(self, slow: tf.Variable) -> np.ndarray:
        return np.asarray(self.speed * slow.numpy(), np.float32)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """The time axis is gone, and its mask with it."""
        return None

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """[batch, dim], or [batch, heads, dim] of heads that are stacked."""
        shape = tf.TensorShape(input_shape)
        heads = [] if self._combines or not self._several else [len(self._heads)]
        return tf.TensorShape([shape[0], *heads, shape[2]])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        heads = [tf_keras.saving.serialize_keras_object(one) for one in self._heads]
        return {
            **super().get_config(),
            "decay": heads if self._several else heads[0],
            "action_weights": (
                None if self._action_weights is None else dict(self._action_weights)
            ),
            "learn_action_weights": self.learn_action_weights,
            "normalize": self.normalize,
            "prior_mass": self.prior_mass,
            "prior": list(self._prior)
            if isinstance(self._prior, tuple)
            else self._prior,
            "combine": self.combine,
            "future": self.future,
            "unknown_action": self.unknown_action,
            "speed": self.speed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TimeDecayPooling:
        """Makes the layer again from `get_config`."""
        decay = config["decay"]
        if isinstance(decay, (list, tuple)):
            decay = [_decay(one) for one in decay]
        else:
            decay = _decay(decay)
        return cls(**{**config, "decay": decay})


def _decay(written: Any) -> Decay:
    if isinstance(written, Decay):
        return written
    return tf_keras.saving.deserialize_keras_object(written)
