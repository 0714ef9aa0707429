"""What a user had before comes back, with an interest of its own that decays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.decay import Constant, Decay, Elapsed, Exponential
from tfrs_decay.layers.checks import require_less
from tfrs_decay.layers.history import History, read_history
from tfrs_decay.layers.own_items import NO_ITEM, OwnItems, later_baskets
from tfrs_decay.layers.tensors import TENSORS
from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.return_times import ReturnTimes

MODES = ("off", "on", "learned", "never")

OF_RETURN_TIMES = ("return time", "over its usual gap", "comes back")
"""Features of items whose return times were fitted."""

DAY = 86_400.0

DECAYS = (
    Constant(),
    *(Exponential(one) for one in ("7d", "30d", "90d", "180d")),
    *(Exponential(baskets, by="rank") for baskets in (1.5, 3, 7)),
)
"""Half-lives of a shop's scale: in days, and in baskets since."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class Repeats(tf_keras.layers.Layer):
    """How much each item that a user had before is wanted again.

    count_d(i) = sum over the history's events of item i of decay_d(event), with one
    decay or several, over the clock or over the rank of the *basket*: the number of
    later moments at which the user did anything, however much at each.

    The features of a user and an item are 1, log(1 + count_d) for each decay, log(1 +
    days) since the latest and since the first event of it, log(1 + baskets) since the
    latest, and how long that is beside the user's own mean gap between events of it:
    log((1 + days) / (1 + days of the gap)), 0 without a gap. Where return times are
    given there are three more: log(1 + the sum of its kernel over the events), log(1 +
    days) less the item's usual one, and the share of users who come back to it. All are
    0 for an item that the user never had. The score is a weighted sum of them, 0 for
    all other items: a further term beside that of a two-tower model.

    Args:
        n_items: Items in the catalogue.
        decays: What counts fade with; one is enough. Those `by="rank"` are over
            baskets.
        repeats: "learned": the weights are, and trainable decays. "on": the score is
            the mean of the log counts, and nothing is learned. "off": the score is 0.
            "never": it is the lowest float, for every item that the user had.
        return_times: Of each item, from `return_times.fit_return_times`.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: `n_items` is below 1, `repeats` is none of the four, there is no
            decay, one has a rate for each feature, action or category, or return times
            are of another catalogue.

    References:
        X. Hu et al. Modeling personalized item frequency information for next-basket
        recommendation (TIFU-KNN). SIGIR 2020. C. Wang et al. Modeling item-specific
        temporal dynamics of repeat consumption (SLRC). WWW 2019.
    """

    def __init__(
        self,
        n_items: int,
        decays: Decay | Sequence[Decay] = DECAYS,
        *,
        repeats: str = "learned",
        return_times: ReturnTimes | bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if n_items < 1:
            raise ValueError(f"n_items={n_items} must be 1 or more.")
        if repeats not in MODES:
            raise ValueError(f"repeats={repeats!r} is not one of {MODES}.")
        decays = [decays] if isinstance(decays, Decay) else list(decays)
        if not decays:
            raise ValueError("decays=[] is empty: give one decay or several.")
        for one in decays:
            if one.per_feature or one.groups:
                raise ValueError(
                    f"{one!r} has a rate for each feature, action or category, and "
                    "counts of an item have none: give a decay with a single rate."
                )
        self.n_items = n_items
        self.decays = decays
        self.repeats = repeats
        self._kernels: tf.Variable | None = None
        if return_times is not None and return_times is not False:
            self._kernels = self.add_weight(
                name="return_times",
                shape=(n_items, 6),
                dtype=tf.float32,
                initializer="ones",
                trainable=False,
                experimental_autocast=False,
            )
        if isinstance(return_times, ReturnTimes):
            self.set_return_times(return_times)

    def set_return_times(self, return_times: ReturnTimes) -> None:
        """Replaces the kernels, as after a new fit; nothing has to be trained again.

        Raises:
            ValueError: They are of another catalogue, or the layer has none.
        """
        if self._kernels is None:
            raise ValueError("this layer was made without return_times.")
        if len(return_times) != self.n_items:
            raise ValueError(
                f"return_times are of {len(return_times):,} items, and the catalogue "
                f"has {self.n_items:,}: fit them to its own events."
            )
        given = return_times
        parts = (given.share, given.scale, given.peak, given.width)
        self._kernels.assign(np.stack([*parts, given.usual, given.again], axis=1))

    def with_items(self, n_items: int) -> Repeats:
        """The same for a catalogue that has grown: what was learned is kept.

        The kernel of a new item is the median of the others, number by number.

        Args:
            n_items: Items in the new catalogue, whose first ones are this one's.

        Raises:
            ValueError: It has fewer items.
        """
        if n_items < self.n_items:
            raise ValueError(
                f"n_items={n_items:,} is below the {self.n_items:,} that there are."
            )
        made = self.from_config({**self.get_config(), "n_items": n_items})
        if not self.built:
            self.build()
        made.build()
        for old, new in zip(self.weights, made.weights, strict=True):
            value = old.numpy()
            if old is self._kernels:
                added = np.median(value, axis=0)[None].repeat(n_items - len(value), 0)
                value = np.concatenate([value, added])
            new.assign(value)
        return made

    def learned(self) -> dict[str, np.ndarray]:
        """The weights of the features by name, then the decays' learned numbers.

        Empty before `build`, and where nothing is learned.
        """
        if not self.built or self.repeats != "learned":
            return {}
        weights = dict(zip(self.feature_names, self._weights.numpy(), strict=True))
        return weights | {
            f"decay_{number}_{name}": value.numpy()
            for number, own in enumerate(self._parameters)
            for name, value in own.items()
        }

    @property
    def feature_names(self) -> list[str]:
        """What the columns of `features` are."""
        return [
            "had",
            *(f"count, {one.describe()}" for one in self.decays),
            "since last",
            "since first",
            "baskets since last",
            "over its own gap",
            *([] if self._kernels is None else OF_RETURN_TIMES),
        ]

    def build(self, input_shape: Any = None) -> None:
        """Makes what is learned; the shape of the input does not matter."""
        learns = self.repeats == "learned"
        self._parameters = [
            {
                name: self._weight(f"decay_{number}_{name}", value, learns)
                for name, value in one.initial_parameters(1).items()
            }
            for number, one in enumerate(self.decays)
        ]
        start = np.zeros(len(self.feature_names))
        start[1 : 1 + len(self.decays)] = 1 / len(self.decays)
        self._weights = self._weight("weights", start, learns)
        super().build(input_shape)

    def _weight(self, name: str, start: np.ndarray, trainable: bool) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=np.shape(start),
            dtype=tf.float32,
            initializer=tf_keras.initializers.Constant(start),
            trainable=trainable,
            experimental_autocast=False,
        )

    def call(
        self,
        item: tf.Tensor,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        candidates: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The score of candidates, or of the whole catalogue.

        Events in the future of their query do not count.

        Args:
            item: [batch, time] integer places in the catalogue; negative for padding
                and for items that are not in it.
            timestamps: [batch, time] integer seconds since the epoch.
            query_time: [batch] integer seconds.
            candidates: [batch, items] integer places, negative for none; the whole
                catalogue when left out.
            mask: [batch, time] bool, False for padding, whose times may be anything.

        Returns:
            [batch, items] float32, or [batch, n_items].

        Raises:
            ValueError: An argument's dtype or rank does not fit.
            tf.errors.InvalidArgumentError: At run time: shapes do not agree, times are
                in milliseconds, or a place is beyond the catalogue.
        """
        own = self.own_items(item, timestamps, query_time, mask)
        score = self._score(own.item != NO_ITEM, own)
        if candidates is not None:
            return own.values_at(score, tf.cast(candidates, tf.int32))
        row = tf.broadcast_to(tf.range(tf.shape(score)[0])[:, None], tf.shape(score))
        # One column more takes what stands after a row's last item.
        column = tf.minimum(own.item, self.n_items)
        shape = tf.stack([tf.shape(score)[0], self.n_items + 1])
        place = tf.stack([row, column], axis=-1)
        return tf.scatter_nd(place, score, shape)[:, :-1]

    def features(
        self,
        item: tf.Tensor,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        candidates: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What is known of a user and each candidate, for a layer on top.

        Args:
            item: As in `call`; and so are the others.
            timestamps: [batch, time].
            query_time: [batch].
            candidates: [batch, items].
            mask: [batch, time].

        Returns:
            [batch, items, features] float32, in the order of `feature_names`.
        """
        own = self.own_items(item, timestamps, query_time, mask)
        had, of_candidates = own.at(tf.cast(candidates, tf.int32))
        return self.features_of(had, of_candidates)

    def own_items(
        self,
        item: tf.Tensor,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> OwnItems:
        """Each user's items with their decayed counts: `sums` are a column a decay.

        Args:
            item: As in `call`; and so are the others.
            timestamps: [batch, time].
            query_time: [batch].
            mask: [batch, time].
        """
        item, history = self.read(item, timestamps, query_time, mask)
        later = later_baskets(history.age, history.counts)
        return self.own_items_of(item, history, later)

    def own_items_of(
        self, item: tf.Tensor, history: History, later: tf.Tensor
    ) -> OwnItems:
        """As `own_items`, of a history that was read.

        Args:
            item: [batch, time] int32, from `read`.
            history: From `read`.
            later: [batch, time] int32, from `later_baskets`.
        """
        if not self.built:
            self.build()
        age = tf.where(history.counts, history.age, 0)
        return OwnItems.of(
            tf.where(history.counts, item, -1),
            self._weights_of(age, later, item),
            age,
            later,
        )

    def read(
        self,
        item: tf.Tensor,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, History]:
        """A batch of histories, checked: [batch, time] int32 places, and ages.

        Args:
            item: As in `call`; and so are the others.
            timestamps: [batch, time].
            query_time: [batch].
            mask: [batch, time].
        """
        if not self.built:
            self.build()
        item = tf.convert_to_tensor(item)
        if not item.dtype.is_integer or item.shape.rank not in (None, 2):
            raise ValueError(
                f"item is {item.dtype.name} of the shape {item.shape}: give [batch, "
                "time] integer places in the catalogue, as ItemTower.places gives them."
            )
        check = require_less(
            item,
            self.n_items,
            f"item holds a place beyond the {self.n_items} of the catalogue.",
        )
        with tf.control_dependencies([check] if check is not None else []):
            item = tf.cast(item, tf.int32)
        known = item >= 0
        if mask is not None:
            known &= tf.cast(mask, tf.bool)
        history = read_history(
            timestamps, query_time, known, shape=tf.shape(item), future="ignore"
        )
        return item, history

    def _weights_of(
        self, age: tf.Tensor, later: tf.Tensor, item: tf.Tensor
    ) -> tf.Tensor:
        """[batch, time, decays, and one of return times] what each event counts."""
        elapsed = Elapsed(tf.cast(age, tf.float32), tf.cast(later, tf.float32))
        logs = [
            one.formula(elapsed, parameters, TENSORS)
            for one, parameters in zip(self.decays, self._parameters, strict=True)
        ]
        weights = tf.exp(tf.stack(logs, axis=-1))
        if self._kernels is not None:
            kernels = tf.gather(self._kernels, tf.maximum(item, 0))
            share, scale, peak, width, *_ = tf.unstack(kernels, axis=-1)
            fading = tf.exp(-elapsed.age / scale)
            returning = tf.exp(-0.5 * tf.square((elapsed.age - peak) / width))
            kernel = share * fading + (1 - share) * returning
            weights = tf.concat([weights, kernel[..., None]], axis=-1)
        return weights

    def features_of(self, had: tf.Tensor, own: OwnItems) -> tf.Tensor:
        """The features of items whose sums are at hand.

        Args:
            had: [batch, items] bool.
            own: Their sums, from `own_items`.

        Returns:
            [batch, items, features] float32.
        """
        counts = tf.math.log1p(own.sums)
        decays = len(self.decays)
        last, first = (tf.cast(one, tf.float32) / DAY for one in (own.last, own.first))
        since = tf.math.log1p(last)
        gap = (first - last) / tf.maximum(own.events - 1, 1)
        columns = [
            since,
            tf.math.log1p(first),
            tf.math.log1p(tf.cast(own.baskets, tf.float32)),
            tf.where(own.events > 1, since - tf.math.log1p(gap), 0.0),
        ]
        there = tf.cast(had, tf.float32)[..., None]
        parts = [there, counts[..., :decays], tf.stack(columns, axis=-1)]
        if self._kernels is not None:
            known = tf.gather(self._kernels, tf.maximum(own.item, 0) % self.n_items)
            *_, usual, again = tf.unstack(known, axis=-1)
            of_item = tf.stack([since - usual, again], axis=-1)
            parts += [counts[..., decays:], of_item]
        return tf.concat(parts, axis=-1) * there

    def _score(self, had: tf.Tensor, own: OwnItems) -> tf.Tensor:
        if self.repeats == "off":
            return tf.zeros(tf.shape(had), tf.float32)
        if self.repeats == "never":
            return tf.where(had, LOWEST_SCORE, 0.0)
        return tf.linalg.matvec(self.features_of(had, own), self._weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; return times are weights."""
        return {
            **super().get_config(),
            "n_items": self.n_items,
            "decays": [
                tf_keras.saving.serialize_keras_object(one) for one in self.decays
            ],
            "repeats": self.repeats,
            "return_times": self._kernels is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Repeats:
        """Makes the layer again from `get_config`."""
        decays = [
            one
            if isinstance(one, Decay)
            else tf_keras.saving.deserialize_keras_object(one)
            for one in config["decays"]
        ]
        return cls(**{**config, "decays": decays})
