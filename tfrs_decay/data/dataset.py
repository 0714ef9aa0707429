"""Queries to tf.data: padded histories and their lengths, under the model's names."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_decay.data.events import Events
from tfrs_decay.data.examples import value_of_examples
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.skipped import Skipped


def batches(
    queries: Queries,
    events: Events,
    *,
    batch_size: int = 128,
    max_history: int = 100,
    max_targets: int | None = None,
    shuffle_seed: int | None = None,
    target_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    passes_made: int = 0,
) -> tf.data.Dataset:
    """Batches queries as the features that `DecayRetrieval` reads.

    A batch is a dict; `time` below is the longest history of the batch and `targets`
    its largest basket, and what lies beyond a row's length is padding ("" and 0).

    ==================  ======  ================  =====================================
    `history_item`      string  [batch, time]     ids, oldest first
    `history_time`      int64   [batch, time]     seconds since the epoch
    `history_action`    string  [batch, time]
    `history_length`    int64   [batch]           events that are not padding
    `query_time`        int64   [batch]           seconds since the epoch
    `target_item`       string  [batch, targets]
    `target_length`     int64   [batch]
    ==================  ======  ================  =====================================

    Of a log with values and further columns also these, the latter for each column
    NAME; padding is 0 and "":

    ==================  =======  ================  ====================================
    `history_value`     float32  [batch, time]     of the events of `history_item`
    `target_value`      float32  [batch, targets]  of those of `target_item`
    `history_NAME`      string   [batch, time]     likewise; "" where a row had none
    `target_NAME`       string   [batch, targets]  likewise
    ==================  =======  ================  ====================================

    With `target_weights` there is also `target_weight`, float32 [batch, targets], by
    which `DecayRetrieval` multiplies the losses of targets; padding is 0. With
    `skipped` there are these, of the lists of all targets of the basket; only targets
    that have some of their own are to compete with them:

    ==================  ======  ==================  ===================================
    `negative_item`     string  [batch, negatives]  ids
    `negative_length`   int64   [batch]
    `target_from_list`  bool    [batch, targets]    whether its own list had any
    ==================  ======  ==================  ===================================

    What goes with a target is known only once it has happened: it can weigh an example
    or a loss, but a query tower that sees it has seen the answer. `DecayRetrieval`
    reads none of these but `history_category`, as categories.

    Args:
        queries: From `basket_queries`.
        events: The events that the queries were made from.
        batch_size: Queries a batch; the last batch may be smaller.
        max_history: Only the latest so many events of a history are kept.
        max_targets: At most so many targets of a basket, drawn anew in each epoch.
        shuffle_seed: Shuffle, in another order each epoch, repeatably from this seed
            and TensorFlow's global one (`tf.random.set_seed`); in the queries' own
            order when left out.
        target_weights: [t] what each of the queries' targets weighs in the loss, such
            as `target_weights` gives; none when left out.
        skipped: What was shown beside each event's item and not taken, such as
            `feedback.skipped` gives; items that are not in the catalogue are left out.
        passes_made: Epochs that were trained before, by a fit that was cut off and now
            goes on (`training.passes_backed_up`): the first order, and the first draws
            of targets, are then those of the epoch after them.

    Raises:
        ValueError: A number is below 1, or `passes_made` below 0, there are no queries,
            a value is too large for float32, there is not a weight for each target, or
            `skipped` is of another log.
    """
    check_numbers(
        batch_size=batch_size, max_history=max_history, max_targets=max_targets
    )
    if passes_made < 0:
        raise ValueError(f"passes_made={passes_made} must be 0 or more.")
    if not len(queries):
        raise ValueError("there are no queries to batch: no user acts twice in time.")
    columns = EventColumns(events)
    query_time = tf.constant(queries.time, tf.int64)
    start = tf.constant(queries.history_start, tf.int64)
    stop = tf.constant(queries.history_stop, tf.int64)
    target = tf.constant(queries.target, tf.int64)
    target_offset = tf.constant(queries.target_offset, tf.int64)
    weight = None
    if target_weights is not None:
        if np.shape(target_weights) != queries.target.shape:
            raise ValueError(
                f"target_weights has the shape {np.shape(target_weights)}: give one "
                f"for each of the {len(queries.target):,} targets."
            )
        weight = tf.constant(target_weights, tf.float32)
    negatives = None
    if skipped is not None:
        found = skipped.of_queries(queries, events)
        negatives = [tf.constant(one) for one in (found.offset, found.place)]
        from_list = tf.constant(found.beside)

    def features(query: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        target_first = tf.gather(target_offset, query)
        target_length = tf.gather(target_offset, query + 1) - target_first
        basket, in_basket = _ranges(target_first, target_length)
        if max_targets is not None:
            basket, in_basket = _sample(basket, in_basket, max_targets, seed)
            target_length = tf.minimum(target_length, max_targets)
        event = tf.gather(target, basket)
        weights = {}
        if weight is not None:
            own = tf.where(in_basket, tf.gather(weight, basket), 0.0)
            weights["target_weight"] = own
        beside = {}
        if negatives is not None:
            offset, place = negatives
            first = tf.gather(offset, query)
            length = tf.gather(offset, query + 1) - first
            position, valid = _ranges(first, length)
            # With one more, for a log that skipped nothing.
            at = tf.gather(tf.pad(place, [[0, 1]]), position)
            beside = {
                "negative_item": tf.where(valid, columns.ids_at(at), ""),
                "negative_length": length,
                "target_from_list": in_basket & tf.gather(from_list, basket),
            }
        return {
            **columns.histories(
                tf.gather(start, query), tf.gather(stop, query), max_history
            ),
            "query_time": tf.gather(query_time, query),
            "target_item": tf.where(in_basket, columns.ids_of(event), ""),
            "target_length": target_length,
            **weights,
            **beside,
            **columns.further("target", event, in_basket),
        }

    dataset = tf.data.Dataset.range(len(queries))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(queries), shuffle_seed)
    dataset = dataset.batch(batch_size)
    dataset = tf.data.Dataset.zip((dataset, fresh_seeds(shuffle_seed)))
    for _ in range(passes_made):
        # Its seeds are drawn anew whenever it is read from the start.
        next(iter(dataset))
    return dataset.map(features, tf.data.AUTOTUNE).prefetch(2)


def fresh_seeds(shuffle_seed: int | None) -> tf.data.Dataset:
    """A fresh pair of seeds for each element of each epoch, the same in every run."""
    return tf.data.Dataset.random(
        shuffle_seed or 0, rerandomize_each_iteration=True
    ).batch(2)


def check_numbers(**numbers: int | None) -> None:
    """Refuses numbers below 1, by their names."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}={number} must be 1 or more.")


class EventColumns:
    """A log's events as tensors, from which padded histories are gathered.

    Args:
        events: Clean events.
    """

    def __init__(self, events: Events) -> None:
        self._ids = tf.constant(events.items.ids.tolist(), tf.string)
        self._actions = tf.constant(list(events.actions), tf.string)
        self._item, self._action, self._time = (
            tf.constant(column, tf.int64)
            for column in (events.item, events.action, events.time)
        )
        self._further: dict[str, tf.Tensor] = {}
        if events.value is not None:
            self._further["value"] = tf.constant(value_of_examples(events.value))
        for name, column in events.context.items():
            self._further[name] = tf.constant(column.tolist(), tf.string)

    def ids_of(self, event: tf.Tensor) -> tf.Tensor:
        """The item's id of each event: [...] int64 places -> [...] strings."""
        return self.ids_at(tf.gather(self._item, event))

    def ids_at(self, place: tf.Tensor) -> tf.Tensor:
        """Ids by their places in the catalogue: [...] int64 -> [...] strings."""
        return tf.gather(self._ids, place)

    def histories(
        self, start: tf.Tensor, stop: tf.Tensor, max_history: int
    ) -> dict[str, tf.Tensor]:
        """The `history_` features of `batches`.

        Args:
            start: [batch] int64, the place of a history's first event.
            stop: [batch] int64, one beyond its last.
            max_history: Only the latest so many events are kept.
        """
        first = tf.maximum(start, stop - max_history)
        event, valid = _ranges(first, stop - first)
        action = tf.gather(self._actions, tf.gather(self._action, event))
        return {
            "history_item": tf.where(valid, self.ids_of(event), ""),
            "history_time": tf.where(valid, tf.gather(self._time, event), 0),
            "history_action": tf.where(valid, action, ""),
            "history_length": stop - first,
            **self.further("history", event, valid),
        }

    def further(
        self, side: str, event: tf.Tensor, valid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The features of values and further columns.

        Args:
            side: "history" or "target".
            event: [...] int64, places of events.
            valid: [...] bool, false for padding.
        """
        return {
            f"{side}_{name}": tf.where(
                valid, tf.gather(column, event), tf.zeros([], column.dtype)
            )
            for name, column in self._further.items()
        }


def _ranges(first: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[batch, longest] positions from `first` on, and which lie within `length`.

    Positions beyond the length are 0, which can always be gathered.
    """
    steps = tf.range(tf.reduce_max(length))
    valid = steps[None, :] < length[:, None]
    return tf.where(valid, first[:, None] + steps[None, :], 0), valid


def _sample(
    positions: tf.Tensor, valid: tf.Tensor, most: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """At most `most` of each row's valid positions, drawn without replacement."""
    chance = tf.random.stateless_uniform(tf.shape(positions), seed)
    chance = tf.where(valid, chance, -1.0)
    kept = tf.math.top_k(chance, tf.minimum(most, tf.shape(positions)[1])).indices
    return (
        tf.gather(positions, kept, batch_dims=1),
        tf.gather(valid, kept, batch_dims=1),
    )
