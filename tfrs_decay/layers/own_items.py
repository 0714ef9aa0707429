"""What each user had, item by item: sums over the events of one item in a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfrs_decay.layers.tensors import first_places

NO_ITEM = tf.int32.max
"""Stands after a row's last item; behind all places, so that a row stays sorted."""


class OwnItems(NamedTuple):
    """The distinct items of each history, with the sums of their events.

    item: [batch, time] int32 places in the catalogue, ascending in a row; then
        `NO_ITEM`.
    sums: [batch, time, columns] float32, of each item's events; 0 after the last.
    events: [batch, time] float32, how many there are of each item.
    last: [batch, time] int64 seconds since the item's latest event; 0 after the last.
    first: [batch, time] int64 seconds since its earliest.
    baskets: [batch, time] int32, how many baskets came after its latest event.
    """

    item: tf.Tensor
    sums: tf.Tensor
    events: tf.Tensor
    last: tf.Tensor
    first: tf.Tensor
    baskets: tf.Tensor

    @classmethod
    def of(
        cls, item: tf.Tensor, values: tf.Tensor, age: tf.Tensor, later: tf.Tensor
    ) -> OwnItems:
        """Sums a batch of histories.

        Args:
            item: [batch, time] int32 places; negative for events that do not count.
            values: [batch, time, columns] float32, what is summed; finite.
            age: [batch, time] int64 seconds.
            later: [batch, time] int32, from `later_baskets`.
        """
        item = tf.where(item < 0, NO_ITEM, item)
        batch, time = tf.unstack(tf.shape(item))
        item, order = tf.math.top_k(-item, time)  # of equal ones the first comes first
        item = -item
        changes = tf.cast(item[:, 1:] != item[:, :-1], tf.int32)
        # Where in its row an event's item stands among the distinct ones. A history
        # without events has no first one either.
        place = tf.pad(tf.cumsum(changes, axis=1), [[0, 0], [1, 0]])[:, :time]
        segment = tf.reshape(place + time * tf.range(batch)[:, None], [-1])
        counts = item != NO_ITEM

        def grouped(reduce: Callable[..., tf.Tensor], one: tf.Tensor) -> tf.Tensor:
            width = one.shape[-1]
            flat = tf.reshape(one, [-1, width])
            found = reduce(flat, segment, batch * time)
            return tf.reshape(found, tf.stack([batch, time, width]))

        # Of the least of a number there is the largest of what it is below 0.
        age, later = (tf.cast(one, tf.int64) for one in (age, later))
        numbers = tf.gather(tf.stack([-age, age, -later], axis=-1), order, batch_dims=1)
        largest = grouped(
            tf.math.unsorted_segment_max,
            tf.concat([tf.cast(item, tf.int64)[..., None], numbers], axis=-1),
        )
        own = largest[..., 0]
        there = (own >= 0) & (own != NO_ITEM)  # no event at all is the least integer
        values = tf.concat([values, tf.ones_like(values[..., :1])], axis=-1)
        values = tf.gather(values, order, batch_dims=1)
        sums = grouped(
            tf.math.unsorted_segment_sum, tf.where(counts[..., None], values, 0.0)
        )
        last, first, baskets = tf.unstack(
            tf.where(there[..., None], largest[..., 1:], 0), axis=-1
        )
        return cls(
            tf.where(there, tf.cast(own, tf.int32), NO_ITEM),
            sums[..., :-1],
            sums[..., -1],
            -last,
            first,
            -tf.cast(baskets, tf.int32),
        )

    def at(self, candidates: tf.Tensor) -> tuple[tf.Tensor, OwnItems]:
        """The same of some items; zeros for those that a user never had.

        Args:
            candidates: [batch, items] int32 places; negative for none.

        Returns:
            had: [batch, items] bool, whether the user had the item.
            The sums of the candidates, in their order.
        """
        place = self.place_of(candidates)
        had = place < tf.shape(self.item)[1]
        return had, OwnItems(candidates, *(_read(one, place) for one in self[1:]))

    def values_at(self, values: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """What is told of own items, for some items; 0 for those never had.

        Args:
            values: [batch, time] or [batch, time, columns], of each item of `item`.
            candidates: [batch, items] int32 places; negative for none.

        Returns:
            [batch, items] or [batch, items, columns], of the values' dtype.
        """
        return _read(values, self.place_of(candidates))

    def place_of(self, candidates: tf.Tensor) -> tf.Tensor:
        """Where some items stand among the own ones.

        Args:
            candidates: [batch, items] int32 places; negative for none.

        Returns:
            [batch, items] int32; as many as there are columns for what a user never
            had.
        """
        return place_among(self.item, candidates)

    def strongest(self, score: tf.Tensor, most: int) -> OwnItems:
        """The items of each row with the highest score, best first.

        Args:
            score: [batch, time] float32, one for each item of `item`.
            most: How many at most.

        Returns:
            [batch, c] of them, with no more columns than the fullest row needs.
        """
        known = self.item != NO_ITEM
        fullest = tf.reduce_max(tf.reduce_sum(tf.cast(known, tf.int32), axis=1))
        score = tf.where(known, tf.maximum(score, 0.0), -1.0)
        # A batch of no rows has no fullest one.
        _, place = tf.math.top_k(score, tf.clip_by_value(fullest, 0, most))
        return OwnItems(*(tf.gather(one, place, batch_dims=1) for one in self))


def _read(values: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """What stands at the places of `OwnItems.place_of`: 0 for what was never had."""
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (values.shape.rank - 2))
    return tf.gather(padded, place, batch_dims=1)


def place_among(rising: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Where places stand among others of their row.

    Args:
        rising: [batch, n] int32 places, ascending, then `NO_ITEM`.
        wanted: [batch, x] int32 places; negative for none.

    Returns:
        [batch, x] int32 columns; n for what is not there.
    """
    n = tf.shape(rising)[1]
    # A column more, so that there is something to look at in a row of none.
    padded = tf.pad(rising, [[0, 0], [0, 1]], constant_values=NO_ITEM)
    place = tf.minimum(first_places(padded, wanted), n)
    return tf.where(tf.gather(padded, place, batch_dims=1) == wanted, place, n)


def later_baskets(age: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """How many baskets of the same history came later than each event.

    Events of one second are one basket.

    Args:
        age: [batch, time] int64 seconds, in any order.
        counts: [batch, time] bool, False for events that do not count.

    Returns:
        [batch, time] int32; 0 where an event does not count.
    """
    time = tf.shape(age)[1]
    age = tf.where(counts, age, tf.int64.max)
    ages = -tf.math.top_k(-age, time)[0]
    changes = tf.cast(ages[:, 1:] != ages[:, :-1], tf.int32)
    basket = tf.pad(tf.cumsum(changes, axis=1), [[0, 0], [1, 0]])[:, :time]
    place = first_places(ages, age)
    return tf.where(counts, tf.gather(basket, place, batch_dims=1), 0)
