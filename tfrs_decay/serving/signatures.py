"""What every served recommender is asked, how that is checked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.layers.checks import (
    require,
    require_at_most,
    require_equal,
    require_same_shape,
)
from tfrs_decay.layers.history import assert_seconds
from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.models import length_checks

CLOCK_SKEW = 60
"""Seconds that a client's clock may be ahead of the server's, where that says "now"."""


class Request(NamedTuple):
    """A batch of questions: the inputs of all signatures that take a history.

    Events beyond a row's length are padding, whatever they hold; and so are exclusions.
    A server that joins requests pads them with the first element of each input.

    history_item: [batch, time] strings, ids.
    history_time: [batch, time] int64 seconds since the epoch, in any order.
    history_action: [batch, time] strings.
    history_length: [batch] int64, events of the row; the rest is padding.
    query_time: [batch] int64 seconds since the epoch. Now, by the clock of whoever
        answers, when left out; an event up to a minute ahead of it is one of now.
    exclude_item: [batch, m] strings, ids never to return; "" for none.
    exclude_length: [batch] int64, exclusions of the row; all columns when left out.
    k: [batch] int32, items wanted, at most as many as there are; a row that wants fewer
        than another is filled up with places that no item takes.
    history_text: [batch, time] strings, or [batch, time, fields] where items have
        several texts, read where the id is unknown.
    """

    history_item: tf.Tensor
    history_time: tf.Tensor
    history_action: tf.Tensor
    history_length: tf.Tensor
    query_time: tf.Tensor | None = None
    exclude_item: tf.Tensor | None = None
    exclude_length: tf.Tensor | None = None
    k: tf.Tensor | None = None
    history_text: tf.Tensor | None = None


class Asked(NamedTuple):
    """A request that was checked.

    place: [batch, time] int32 places in the catalogue, -1 for an unknown id.
    time: [batch, time] int64 seconds.
    counts: [batch, time] bool, False for padding and for events after the query.
    seen: [batch, time] int32, `place` where it is no padding, else -1.
    query_time: [batch] int64 seconds.
    excluded: [batch, m] int32 places that the request excludes; None for none.
    """

    place: tf.Tensor
    time: tf.Tensor
    counts: tf.Tensor
    seen: tf.Tensor
    query_time: tf.Tensor
    excluded: tf.Tensor | None


def specs(**inputs: tuple[list[int | None], tf.DType]) -> dict[str, tf.TensorSpec]:
    """Named tensors of a signature, from their shapes and types."""
    return {
        name: tf.TensorSpec(shape, dtype, name)
        for name, (shape, dtype) in inputs.items()
    }


EVENTS = specs(
    history_item=([None, None], tf.string),
    history_time=([None, None], tf.int64),
    history_action=([None, None], tf.string),
    history_length=([None], tf.int64),
)
"""What a user did."""

QUERY_TIME = specs(query_time=([None], tf.int64))

CHOICES = specs(
    exclude_item=([None, None], tf.string),
    exclude_length=([None], tf.int64),
    k=([None], tf.int32),
)
"""What an answer is to be like."""

HISTORY = {**EVENTS, **QUERY_TIME}

RECOMMEND = {
    "serving_default": HISTORY,
    "recommend": {**HISTORY, **CHOICES},
    "recommend_now": EVENTS,
}
"""The inputs of what every export answers."""

SAYS = {
    "serving_default": "Items for a history, as of a time.",
    "recommend": "The same, with exclusions and the number of items.",
    "recommend_now": "Items for a history, as of the server's clock.",
    "recommend_by_text": "`recommend` for histories with items outside the catalogue, "
    "which are given as texts.",
    "embed_item": "Texts to item vectors, as of items outside the catalogue.",
    "embed_user": "A history to the vector whose products with item vectors rank them.",
    "explain": "What each event of a history contributes to the user's interest.",
    "update_interest": "A kept state and new events to the state after them.",
    "recommend_from_interest": "Items for a kept state, as of a time.",
}
"""What each signature is for."""

TENSORS = {
    "history_item": "ids of items; an unknown one is left out",
    "history_time": "seconds since the epoch, in any order; an event after the query "
    "is left out",
    "history_action": "what was done; an action without a weight is left out",
    "history_length": "events of the row, the rest is padding of any content; 0 for "
    "no history, with at least one column of padding",
    "query_time": "seconds since the epoch",
    "exclude_item": 'ids never to return; "" and an unknown one exclude nothing',
    "exclude_length": "exclusions of the row, the rest is padding; 0 for none",
    "k": "items wanted, 1 to the number of items",
    "history_text": "the text of an item whose id is unknown, else not read",
    "text": "the text of an item",
    "item_id": 'best first; "" where no item was left',
    "score": "the items' scores; the lowest finite float where no item was left",
    "vector": "the vector; of a user that nothing is known of, zeros",
    "known": "whether anything is known of the user; else recommend what is popular",
    "weight": "what the event's vector is multiplied by, a mean over features where "
    "they fade at rates of their own; 0 for what is left out",
    "counted": "whether the event was read: it is none that is left out, and among the "
    "latest that are read",
    "state_mean": "weighted means of item vectors; 0 for a new user",
    "state_log_weight": "logarithms of the sums of weights; -1e30 for a new user",
    "state_time": "seconds since the epoch, the latest event; -1e11 for a new user",
    "state_recent_vectors": "vectors of the events that are kept; 0 for none",
    "state_recent_times": "their times; -1e11 for none",
    "state_recent_log_weights": "logarithms of their weights at first; -1e30 for none",
    "state_recent_actions": "numbers of their actions; 0 for none",
    "state_recent_categories": "numbers of their categories; 0 for none",
    "state_dropped": "how many events had to leave while they weighed something; 0 for "
    "a new user",
}
"""What each input and output holds."""


def concrete(
    function: Callable[..., Any], inputs: Mapping[str, tf.TensorSpec]
) -> tf.types.experimental.ConcreteFunction:
    """A function of named tensors, as a signature has it."""
    return tf.function(function).get_concrete_function(**inputs)


def described(signatures: Mapping[str, Any]) -> dict[str, Any]:
    """What signatures are for, and what they take and give, to be read by people.

    Args:
        signatures: Concrete functions by name.

    Returns:
        By name `says`, and `inputs` and `outputs`: of each a `dtype`, a `shape` with
        None for any size, and what it `says`.
    """

    def tensors(named: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                "dtype": one.dtype.name,
                "shape": one.shape.as_list(),
                "says": TENSORS[name],
            }
            for name, one in named.items()
        }

    return {
        name: {
            "says": SAYS[name],
            "inputs": tensors(one.structured_input_signature[1]),
            "outputs": tensors(one.structured_outputs),
        }
        for name, one in signatures.items()
    }


class Catalogue(tf.Module):
    """Ids to places and back, in the graph.

    Args:
        ids: [n] strings, each once.
    """

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__(name="catalogue")
        # The last id stands for a place that no item takes.
        self._ids = tf.constant([*ids.tolist(), ""], tf.string)
        self._n = len(ids)
        self.places = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(ids.tolist(), tf.string),
                tf.range(len(ids), dtype=tf.int32),
            ),
            default_value=-1,
        )

    @tf.autograph.experimental.do_not_convert
    def read(self, request: Request) -> Asked:
        """Checks a request.

        An event at the query's own second counts, at age 0. Examples to train on are
        stricter, for there it could be the answer; here the caller says that it has
        happened.

        Raises:
            tf.errors.InvalidArgumentError: At run time, with the input's name: parts do
                not fit each other, a time is in milliseconds, an id is no UTF-8, or `k`
                is out of its range.
        """
        item = request.history_item
        within = tf.sequence_mask(request.history_length, tf.shape(item)[1])
        batch = {
            name: getattr(request, name)
            for name in ("history_length", "query_time", "exclude_item", "k")
        }
        checks = [
            *_same_shape(
                item,
                history_time=request.history_time,
                history_action=request.history_action,
            ),
            *same_batch("history_item", item, batch),
            *length_checks(request.history_length, tf.shape(item)[1]),
            *self.choice_checks(request.k),
        ]
        if request.query_time is not None:
            checks.append(assert_seconds(request.query_time, "query_time"))
        with after(checks):
            place = self.places.lookup(item)
            time = tf.where(within, request.history_time, 0)
        checks = [
            assert_seconds(time, "history_time"),
            assert_text(tf.where(within & (place < 0), item, ""), "history_item"),
        ]
        with after(checks):
            time = tf.identity(request.history_time)
        query_time = request.query_time
        if query_time is None:
            now = tf.cast(tf.timestamp(), tf.int64)
            query_time = tf.repeat(now, tf.shape(item)[0])
            ahead = time - now
            time = tf.where((ahead > 0) & (ahead <= CLOCK_SKEW), now, time)
        return Asked(
            place,
            time,
            within & (time <= query_time[:, None]),
            tf.where(within, place, -1),
            query_time,
            self.excluded(request.exclude_item, request.exclude_length),
        )

    def choice_checks(self, k: tf.Tensor | None) -> list[Any]:
        """Assertions that every `k` [batch] lies in 1 to the number of items."""
        if k is None:
            return []
        return [
            require(k >= 1, "k is below 1.", k),
            require_at_most(
                k, self._n, "k is above the number of items in the catalogue."
            ),
        ]

    def excluded(
        self, exclude_item: tf.Tensor | None, exclude_length: tf.Tensor | None
    ) -> tf.Tensor | None:
        """[batch, m] int32 places of exclusions, -1 for none; None where all are."""
        if exclude_item is None:
            return None
        place = self.places.lookup(exclude_item)
        width = tf.shape(exclude_item)[1]
        if exclude_length is None:
            within = tf.ones_like(place, tf.bool)
        else:
            checks = [
                *same_batch(
                    "exclude_item", exclude_item, {"exclude_length": exclude_length}
                ),
                *length_checks(exclude_length, width, "exclude_length", "exclude_item"),
            ]
            with after(checks):
                within = tf.sequence_mask(exclude_length, width)
        unknown = tf.where(within & (place < 0), exclude_item, "")
        with after([assert_text(unknown, "exclude_item")]):
            return tf.where(within, place, -1)

    def answer(
        self, score: tf.Tensor, place: tf.Tensor, k: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """A list for each row, which is cut to what the row wants.

        Args:
            score: [batch, most] float32, best first.
            place: [batch, most] int32 places, -1 where no item was left.
            k: [batch] int32, how many items each row wants; all when left out.

        Returns:
            `item_id` [batch, most] strings, "" where no item was left; `score`
            [batch, most] float32, the lowest finite float there.
        """
        if k is not None:
            wanted = tf.range(tf.shape(place)[1])[None, :] < k[:, None]
            score = tf.where(wanted, score, LOWEST_SCORE)
            place = tf.where(wanted, place, -1)
        nothing = tf.size(self._ids, out_type=tf.int32) - 1
        return {
            "item_id": tf.gather(self._ids, tf.where(place < 0, nothing, place)),
            "score": score,
        }


def how_many(k: tf.Tensor | None, otherwise: int, most: int | tf.Tensor) -> Any:
    """Items of the longest list of a batch, 1 to `most` where the request says it."""
    if k is None:
        return otherwise
    # A batch of no rows has no largest.
    return tf.clip_by_value(tf.reduce_max(k), 1, most)


def latest(
    history_time: tf.Tensor, counts: tf.Tensor, most: int | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Brings a history into the form that a model is trained on.

    Events that count come first, oldest first, the latest `most` of them; of events at
    one time, those further back in the request are later.

    Args:
        history_time: [batch, time] int64.
        counts: [batch, time] bool, False for padding and what is left out.
        most: How many events; all that count for None.

    Returns:
        [batch, kept] places in the request, and which of them count.
    """
    width = tf.shape(history_time)[1]
    last = tf.where(counts, history_time, history_time.dtype.max)
    order = tf.argsort(last, axis=1, stable=True)
    counting = tf.reduce_sum(tf.cast(counts, tf.int32), axis=1)
    kept = tf.minimum(width if most is None else most, width)
    position = tf.maximum(counting - kept, 0)[:, None] + tf.range(kept)[None, :]
    in_request = tf.gather(order, tf.minimum(position, width - 1), batch_dims=1)
    return in_request, position < counting[:, None]


def after(checks: list[Any]) -> Any:
    """What comes next waits for assertions, those that are left to run time."""
    return tf.control_dependencies([one for one in checks if one is not None])


def assert_text(strings: tf.Tensor, name: str) -> Any:
    """Asserts that strings, [...], are UTF-8."""
    mended = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
    return require(
        tf.equal(mended, strings), f"{name} has a string that is not UTF-8.", strings
    )


def same_batch(
    name: str, expected: tf.Tensor, columns: Mapping[str, tf.Tensor | None]
) -> list[Any]:
    """Assertions that columns, [batch, ...], have as many rows as one of them.

    Args:
        name: Of that one.
        expected: [batch, ...].
        columns: By name; None where there is none.
    """
    return [
        require_equal(
            tf.shape(column)[0],
            tf.shape(expected)[0],
            f"{other} and {name} must agree in batch.",
        )
        for other, column in columns.items()
        if column is not None
    ]


def _same_shape(expected: tf.Tensor, **columns: tf.Tensor) -> list[Any]:
    return [
        require_same_shape(
            column,
            tf.shape(expected),
            f"{name} and history_item must have the same shape.",
        )
        for name, column in columns.items()
    ]
