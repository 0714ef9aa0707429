"""What each user had, item by item: sums over the events of one item in a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

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
        order = tf.argsort(item, axis=1, stable=True)
        item, values, age, later = (
            tf.gather(one, order, batch_dims=1) for one in (item, values, age, later)
        )
        changes = tf.cast(item[:, 1:] != item[:, :-1], tf.int32)
        # Where in its row an event's item stands among the distinct ones. A history
        # without events has no first one either.
        place = tf.pad(tf.cumsum(changes, axis=1), [[0, 0], [1, 0]])[:, :time]
        segment = tf.reshape(place + time * tf.range(batch)[:, None], [-1])

        def grouped(reduce: Callable[..., tf.Tensor], one: tf.Tensor) -> tf.Tensor:
            inner = tf.shape(one)[2:]
            flat = tf.reshape(one, tf.concat([[batch * time], inner], 0))
            found = reduce(flat, segment, batch * time)
            return tf.reshape(found, tf.shape(one))

        counts = item != NO_ITEM
        own = grouped(tf.math.unsorted_segment_max, item)
        there = (own >= 0) & (own != NO_ITEM)  # no event at all is the least integer
        sums = grouped(
            tf.math.unsorted_segment_sum, tf.where(counts[..., None], values, 0.0)
        )

        def of_item(reduce: Callable[..., tf.Tensor], one: tf.Tensor) -> tf.Tensor:
            return tf.where(there, grouped(reduce, one), tf.zeros([], one.dtype))

        return cls(
            tf.where(there, own, NO_ITEM),
            tf.where(there[..., None], sums, 0.0),
            of_item(tf.math.unsorted_segment_sum, tf.cast(counts, tf.float32)),
            of_item(tf.math.unsorted_segment_min, age),
            of_item(tf.math.unsorted_segment_max, age),
            of_item(tf.math.unsorted_segment_min, later),
        )

    def at(self, candidates: tf.Tensor) -> tuple[tf.Tensor, OwnItems]:
        """The same of some items; zeros for those that a user never had.

        Args:
            candidates: [batch, items] int32 places; negative for none.

        Returns:
            had: [batch, items] bool, whether the user had the item.
            The sums of the candidates, in their order.
        """
        had, place = self._find(candidates)
        return had, OwnItems(candidates, *(_read(one, had, place) for one in self[1:]))

    def values_at(self, values: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """What is told of own items, for some items; 0 for those never had.

        Args:
            values: [batch, time] numbers, one for each item of `item`.
            candidates: [batch, items] int32 places; negative for none.

        Returns:
            [batch, items] of the values' dtype.
        """
        return _read(values, *self._find(candidates))

    def _find(self, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, items] bool and int32: whether an item was had, and its column."""
        # A column more, so that there is something to look at in no history.
        item = tf.pad(self.item, [[0, 0], [0, 1]], constant_values=NO_ITEM)
        place = tf.minimum(tf.searchsorted(item, candidates), tf.shape(self.item)[1])
        had = tf.gather(item, place, batch_dims=1) == candidates
        return had & (candidates >= 0), place

    def strongest(self, score: tf.Tensor, k: int) -> tf.Tensor:
        """The k items of each row with the highest score.

        Args:
            score: [batch, time] float32, one for each item of `item`.
            k: How many.

        Returns:
            [batch, k] int32 places; -1 where a user had fewer items.
        """
        score = tf.where(self.item == NO_ITEM, -1.0, tf.maximum(score, 0.0))
        most = tf.minimum(k, tf.shape(score)[1])
        best, place = tf.math.top_k(score, most)
        item = tf.gather(self.item, place, batch_dims=1)
        item = tf.where(best < 0, -1, item)
        return tf.pad(item, [[0, 0], [0, k - most]], constant_values=-1)


def _read(values: tf.Tensor, had: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    rank = values.shape.rank
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (rank - 2))
    found = tf.gather(padded, place, batch_dims=1)
    kept = had[..., None] if rank == 3 else had
    return tf.where(kept, found, tf.zeros([], values.dtype))


def later_baskets(age: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """How many baskets of the same history came later than each event.

    Events of one second are one basket.

    Args:
        age: [batch, time] int64 seconds, in any order.
        counts: [batch, time] bool, False for events that do not count.

    Returns:
        [batch, time] int32; 0 where an event does not count.
    """
    ages = tf.sort(tf.where(counts, age, tf.int64.max), axis=1)
    first = tf.pad(tf.cast(ages[:, 1:] != ages[:, :-1], tf.int32), [[0, 0], [1, 0]])[
        :, : tf.shape(ages)[1]
    ]
    basket = tf.cumsum(first, axis=1)
    place = tf.searchsorted(ages, tf.where(counts, age, tf.int64.max))
    return tf.where(counts, tf.gather(basket, place, batch_dims=1), 0)
