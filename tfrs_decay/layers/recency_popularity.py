"""How popular items were when a query was made, read from a table in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.durations import Duration
from tfrs_decay.layers.distinct import of_each
from tfrs_decay.layers.history import assert_seconds, integers
from tfrs_decay.layers.tensors import TENSORS, first_places
from tfrs_decay.popularity import (
    EARLIEST,
    HALF_LIVES,
    NEVER,
    PopularityTable,
    Reading,
    checked_half_lives,
    checked_period,
    decay_rates,
    feature_columns,
    feature_names,
    key_of,
    most_popular,
    reading,
)

_EARLY = ("error", "nearest")
_NO_ITEM = tf.int64.min
"""The key of the row before all others, which is no item's."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class RecencyPopularity(tf_keras.layers.Layer):
    """Looks up items' decayed counts as of the start of each query's day.

    The table is `popularity.PopularityTable`, which says what is counted. It is a
    weight that is not trained: saved with a model's other weights, and not in the
    config. A layer that is made of its arguments has an empty table, in which nothing
    was ever popular, until weights are loaded or `refresh` gives it one.

    For training take a table of all days, so that each query sees those before its own;
    for serving `refresh` with its `latest()`, a row an item. A query long after the
    table's last event is answered with what has decayed since.

    Args:
        n_items: Items in the catalogue; an item is named by its place there.
        half_lives: As in `PopularityTable.of`.
        period: As in `PopularityTable.of`.
        early: What a query of a day before the table's `start` is: an "error"; or
            "nearest", answered as of that day. A latest table starts on the day after
            its last event, so a server that asks it on the very same day needs
            "nearest"; in training it would hide a look ahead. A table of all days has
            no such queries.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: `n_items` is below 1, `early` is neither, half-lives are not
            positive and rising, or the period is no whole number of seconds.

    >>> import tfrs_decay as td
    >>> log = td.data.simulated_shop(users=20, days=20).log
    >>> table = td.popularity.PopularityTable.of(td.data.clean(log).events)
    >>> popularity = RecencyPopularity.of(table)
    >>> tomorrow = tf.constant([table.until + 86_400], tf.int64)
    >>> popularity(tomorrow, items=tf.constant([[0, 1, -1]])).shape
    TensorShape([1, 3, 5])
    """

    def __init__(
        self,
        n_items: int,
        half_lives: Sequence[Duration | None] = HALF_LIVES,
        *,
        period: Duration = "1d",
        early: str = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if n_items < 1:
            raise ValueError(f"n_items={n_items} must be 1 or more.")
        if early not in _EARLY:
            raise ValueError(f"early={early!r} is not one of {_EARLY}.")
        self.n_items = int(n_items)
        self.half_lives = checked_half_lives(half_lives)
        self.period = checked_period(period)
        self.early = early
        width = len(self.half_lives)
        # Variables of Keras' own making have a number of rows that stays.
        self._keys = _variable("keys", np.array([_NO_ITEM]), [None])
        self._sums = _variable("sums", np.zeros([1, width], np.float32), [None, width])
        self._first_day = _variable(
            "first_day", np.full(self.n_items, NEVER), [self.n_items]
        )
        self._start = _variable("start", np.int64(EARLIEST), [])
        self._listed = 0

    @classmethod
    def of(
        cls, table: PopularityTable, *, early: str = "error", **kwargs: Any
    ) -> RecencyPopularity:
        """Makes a layer that has a table.

        Args:
            table: It says how many items there are, and the half-lives and period.
            early: As in the class.
            **kwargs: Keras' own, such as `name`.
        """
        layer = cls(
            table.n_items, table.half_lives, period=table.period, early=early, **kwargs
        )
        layer.refresh(table)
        return layer

    def refresh(self, table: PopularityTable) -> None:
        """Takes another table, of any number of rows; nothing is trained again.

        Args:
            table: Of the same catalogue, half-lives and period.

        Raises:
            ValueError: It is of others.
        """
        for name in ("n_items", "half_lives", "period"):
            ours, theirs = getattr(self, name), getattr(table, name)
            if ours != theirs:
                raise ValueError(
                    f"the table's {name} is {theirs}, and the layer's {ours}: make a "
                    "table with the same, or a new layer by RecencyPopularity.of."
                )
        self._keys.assign(np.concatenate([[_NO_ITEM], table.keys]))
        self._sums.assign(
            np.concatenate([np.zeros([1, len(self.half_lives)]), table.sums]).astype(
                np.float32
            )
        )
        self._first_day.assign(table.first_day)
        self._start.assign(table.start)
        if self._listed:
            self._list()

    def keep_lists(self, most: int) -> None:
        """Keeps the most popular items of each day as lists, for `most_popular`.

        They are made anew whenever the table is, and are weights like it.

        Args:
            most: How long they are at least; all items where there are fewer.

        Raises:
            ValueError: `most` is below 1.
        """
        if most < 1:
            raise ValueError(f"most={most} must be 1 or more.")
        if not self._listed:
            width = len(self.half_lives)
            self._list_days = _variable("list_days", np.array([EARLIEST]), [None])
            self._lists = _variable(
                "lists", np.zeros([1, width, 0], np.int32), [None, width, None]
            )
        if most > self._listed:
            self._listed = most
            self._list()

    def _list(self) -> None:
        days, places = most_popular(
            self._keys.numpy()[1:],
            self._sums.numpy()[1:],
            halvings=decay_rates(self.half_lives, self.period) / math.log(2),
            start=int(self._start.numpy()),
            n_items=self.n_items,
            most=self._listed,
        )
        self._list_days.assign(days)
        self._lists.assign(places)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What `features` gives, column by column."""
        return feature_names(self.half_lives)

    def call(self, query_time: tf.Tensor, items: tf.Tensor | None = None) -> tf.Tensor:
        """Decayed counts as of the start of each query's day.

        Args:
            query_time: [batch] integer seconds since the epoch.
            items: [batch, c] integer places of items, negative for none; all items when
                left out.

        Returns:
            [batch, c, h] float32, whatever the layer's dtype; 0 for no item, and for
            one without events before that day.

        Raises:
            ValueError: An argument is not of integers, or of another rank.
            tf.errors.InvalidArgumentError: At run time: a place is not in the
                catalogue, times are in milliseconds, or of a day before the table's
                start while `early` is "error".
        """
        return self._columns(
            query_time, items, lambda read: read.counts, len(self.half_lives)
        )

    def features(
        self, query_time: tf.Tensor, items: tf.Tensor | None = None
    ) -> tf.Tensor:
        """What a ranking head may be told of the items' popularity.

        Args:
            query_time: As in `call`.
            items: As in `call`.

        Returns:
            [batch, c, f] float32, a column for each of `feature_names`
            (`popularity.feature_names` says what they are).

        Raises:
            ValueError: As in `call`.
            tf.errors.InvalidArgumentError: As in `call`.
        """
        return self._columns(
            query_time,
            items,
            lambda read: feature_columns(TENSORS, read, self.half_lives, self.period),
            len(self.feature_names),
        )

    def most_popular(self, query_time: tf.Tensor) -> tf.Tensor:
        """The items with the highest decayed counts, as of each query's day.

        Work does not grow with the catalogue: the lists of `keep_lists` are looked up.

        Args:
            query_time: [batch] integer seconds since the epoch.

        Returns:
            [batch, h, most] int32 places, best first, of equal counts the lower one.

        Raises:
            ValueError: No lists are kept, or as in `call`.
            tf.errors.InvalidArgumentError: As in `call`.
        """
        if not self._listed:
            raise ValueError("this layer keeps no lists: call keep_lists(most) first.")
        return self.lists_of(self.day_of(query_time))

    def lists_of(self, day: tf.Tensor) -> tf.Tensor:
        """As `most_popular`, of days that `day_of` gave."""
        number = first_places(self._list_days[None], day[None] + 1)[0] - 1
        return tf.gather(self._lists, number)

    def features_of(self, day: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """As `features`, of days that `day_of` gave, and of places that are known.

        Args:
            day: [batch] int64.
            items: [batch, c] int64, negative for none.
        """
        read = self._read(day, items)
        return feature_columns(TENSORS, read, self.half_lives, self.period)

    def _columns(
        self,
        query_time: Any,
        items: Any,
        columns: Callable[[Reading], tf.Tensor],
        width: int,
    ) -> tf.Tensor:
        """[batch, c, width] of what a reading has, all items' once for each day."""
        day = self.day_of(query_time)
        if items is not None:
            return columns(self._read(day, self._places(items, day)))
        every = tf.range(self.n_items, dtype=tf.int64)[None]
        flat = of_each(
            day,
            lambda days: tf.reshape(
                columns(self._read(days, every)), [-1, self.n_items * width]
            ),
        )
        return tf.reshape(flat, [-1, self.n_items, width])

    def day_of(self, query_time: Any) -> tf.Tensor:
        """[batch] int64, the day that each query is answered as of."""
        query_time = integers(query_time, "query_time", "[batch]")
        checks = [assert_seconds(query_time, "query_time")]
        day = self.nearest_day(query_time)
        if self.early == "error":
            checks.append(
                tf.debugging.assert_greater_equal(
                    self._clipped(query_time),
                    self._start,
                    message="query_time is of a day before those that this table of "
                    "popularity answers: refresh with one of all days to train, or "
                    "make the layer with early='nearest' to serve. Days:",
                )
            )
        with tf.control_dependencies([check for check in checks if check is not None]):
            return tf.identity(day)

    def nearest_day(self, query_time: tf.Tensor) -> tf.Tensor:
        """As `day_of` with `early="nearest"`, of times that were checked before.

        Args:
            query_time: [batch] int64 seconds since the epoch.

        Returns:
            [batch] int64.
        """
        return tf.maximum(self._clipped(query_time), self._start)

    def _clipped(self, query_time: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(query_time // self.period, EARLIEST, -EARLIEST)

    def _places(self, items: Any, day: tf.Tensor) -> tf.Tensor:
        """[batch, c] int64."""
        if isinstance(items, tf.RaggedTensor):
            raise ValueError("items are ragged: give them padded, items.to_tensor(-1).")
        items = tf.convert_to_tensor(items)
        if not items.dtype.is_integer or items.shape.rank not in (None, 2):
            raise ValueError(
                f"items are {items.dtype.name} of the shape {items.shape}: give "
                "integer places, [batch, c], negative for none."
            )
        items = tf.cast(items, tf.int64)
        checks = [
            tf.debugging.assert_less(
                items,
                tf.constant(self.n_items, tf.int64),
                message=f"items hold a place that none of {self.n_items} has.",
            ),
            tf.debugging.assert_equal(
                tf.shape(items)[0],
                tf.shape(day)[0],
                message="items and query_time must agree in batch.",
            ),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            return tf.identity(items)

    def _read(self, day: tf.Tensor, items: tf.Tensor) -> Reading:
        """[m] days and [m or 1, c] places."""
        day = day[:, None]
        before = key_of(items, EARLIEST)
        # The row before all others makes sure that there is one before each.
        asked = before + (day - EARLIEST)
        found = first_places(self._keys[None], tf.reshape(asked, [1, -1]))
        row = tf.reshape(found - 1, tf.shape(asked))
        key = tf.gather(self._keys, row)
        seen = key >= before  # or the row is of an item before this one
        first_day = tf.gather(self._first_day, tf.maximum(items, 0))
        return reading(
            TENSORS,
            sums=tf.gather(self._sums, row),
            seen=seen,
            age=_days(seen, day - first_day),
            idle=_days(seen, asked - key),
            rates=decay_rates(self.half_lives, self.period),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "n_items": self.n_items,
            "half_lives": list(self.half_lives),
            "period": self.period,
            "early": self.early,
        }


def _days(seen: tf.Tensor, days: tf.Tensor) -> tf.Tensor:
    """Days as float32, 0 where nothing was seen."""
    return tf.cast(tf.where(seen, days, 0), tf.float32)


def _variable(name: str, value: Any, shape: list[int | None]) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name, shape=tf.TensorShape(shape))
