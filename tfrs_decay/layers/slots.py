"""The places of a catalogue that each row of a batch touches, numbered in its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

MOST_DENSE = 100_000
"""Up to so many items a row's sums stand at the items' own places: that takes half the
time of finding out which of them are touched. Beyond, it would take too much memory."""


class Slots(NamedTuple):
    """Where a row keeps what is summed of an item, ascending with the items' places.

    size: How many slots a row has, and the number of none; a scalar int32 where that
        depends on the batch.
    item: [batch, size] int32, the place of each slot's item; None where a slot is the
        place itself.
    """

    size: int | tf.Tensor
    item: tf.Tensor | None

    def items_of(self, slots: tf.Tensor) -> tf.Tensor:
        """[batch, c] places of [batch, c] slots, each of them below `size`."""
        if self.item is None:
            return slots
        return tf.gather(self.item, slots, batch_dims=1)


def numbered(n_items: int, parts: Sequence[tf.Tensor]) -> tuple[Slots, list[tf.Tensor]]:
    """Gives slots to the items of each row.

    Work and memory are bounded by what the parts hold, or by `MOST_DENSE` items.

    Args:
        n_items: Items in the catalogue.
        parts: [batch, x] int32 places each; `n_items` for none.

    Returns:
        The slots, and of each part [batch, x] int32 slots; `size` for none.
    """
    if n_items <= MOST_DENSE:
        return Slots(n_items, None), list(parts)
    every = tf.concat(parts, axis=1)
    shape, none = tf.shape(every), every == n_items
    # All of a row come before those of the next one, its none last.
    first = tf.range(tf.cast(shape[0], tf.int64)) * (n_items + 1)
    keys = tf.cast(every, tf.int64) + first[:, None]
    distinct, index = tf.unique(tf.reshape(keys, [-1]))
    order = tf.argsort(distinct)
    distinct = tf.gather(distinct, order)
    begins = tf.searchsorted(distinct, first)
    ends = tf.searchsorted(distinct, first + n_items)
    size = tf.maximum(tf.reduce_max(ends - begins), 1)
    rank = tf.gather(tf.math.invert_permutation(order), index)
    slots = tf.where(none, size, tf.reshape(rank, shape) - begins[:, None])
    # One more, so that there is something to look at where nothing was asked.
    distinct = tf.concat([distinct, tf.zeros([1], distinct.dtype)], axis=0)
    taken = tf.minimum(begins[:, None] + tf.range(size), tf.size(distinct) - 1)
    item = tf.cast(tf.gather(distinct, taken) - first[:, None], tf.int32)
    widths = [tf.shape(one)[1] for one in parts]
    return Slots(size, item), tf.split(slots, widths, axis=1, num=len(parts))
