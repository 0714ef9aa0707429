"""What a pooling layer is handed: checked, dense, and as ages instead of times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.data.times import LATEST_SECOND, refuse_dates
from tfrs_decay.decay.values import without_weight
from tfrs_decay.layers.checks import (
    require,
    require_equal,
    require_same_shape,
)

FOREVER = 2**62
"""Seconds: the age of what does not count. No difference of two ages overflows."""


class History(NamedTuple):
    """A batch of histories as ages.

    age: [batch, time] int64 seconds, `FOREVER` where an event does not count.
    counts: [batch, time] bool, False for padding and what is left out.
    timestamps: [batch, time] int64.
    """

    age: tf.Tensor
    counts: tf.Tensor
    timestamps: tf.Tensor


def read_history(
    timestamps: Any, query_time: Any, mask: Any, *, shape: tf.Tensor, future: str
) -> History:
    """Checks times and makes ages of them, subtracted as int64.

    Args:
        timestamps: [batch, time] integer seconds since the epoch.
        query_time: [batch] integer seconds.
        mask: [batch, time] bool, or None.
        shape: [2] the batch and time that the vectors have.
        future: "error" or "ignore", for events later than their query.

    Raises:
        ValueError: An argument is missing, or its dtype or rank does not fit.
        tf.errors.InvalidArgumentError: At run time: shapes do not agree, times are in
            milliseconds, an event is in the future and `future` is "error".
    """
    timestamps = integers(timestamps, "timestamps", "[batch, time]")
    query_time = integers(query_time, "query_time", "[batch]")
    checks = [
        require_same_shape(
            timestamps, shape, "vectors and timestamps must agree in [batch, time]."
        ),
        require_equal(
            tf.shape(timestamps)[0],
            tf.shape(query_time)[0],
            "timestamps and query_time must agree in batch.",
        ),
        assert_seconds(query_time, "query_time"),
    ]
    if mask is None:
        counts = tf.ones_like(timestamps, tf.bool)
    else:
        counts = tf.cast(mask, tf.bool)
        checks.append(_same_shape(counts, shape, "mask"))
    with tf.control_dependencies([check for check in checks if check is not None]):
        age = tf.where(counts, query_time[:, None] - timestamps, FOREVER)
    if future == "error":
        # An event that is not ahead of a query in seconds is in seconds itself.
        soonest = tf.minimum(tf.reduce_min(age), 0)
        check = require(
            soonest >= 0,
            "an event in timestamps is this many seconds later than its query_time. An "
            "event has no weight before it happens: pass future='ignore' to leave such "
            "events out, or check that both are in seconds, not milliseconds.",
            -soonest,
        )
    else:
        check = assert_seconds(tf.where(counts, timestamps, 0), "timestamps")
    # Under XLA there are no assertions: what is ahead weighs nothing there either.
    with tf.control_dependencies([check] if check is not None else []):
        counts &= age >= 0
        return History(tf.where(counts, age, FOREVER), counts, timestamps)


def in_shape(tensor: tf.Tensor, shape: tf.Tensor, name: str) -> tf.Tensor:
    """The tensor, [batch, time] as the vectors.

    Raises:
        ValueError: It has another rank.
        tf.errors.InvalidArgumentError: It has another shape at run time.
    """
    check = _same_shape(tensor, shape, name)
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(tensor)


def _same_shape(tensor: tf.Tensor, shape: tf.Tensor, name: str) -> Any:
    if tensor.shape.rank not in (None, 2):
        raise ValueError(f"{name} has the shape {tensor.shape}: give [batch, time].")
    return require_same_shape(
        tensor, shape, f"{name} and vectors must agree in [batch, time]."
    )


def later_events(history: History) -> tf.Tensor:
    """[batch, time] int32: how many events that count are strictly later.

    Events of one moment have the same number, so that their order in the batch, or of
    arrival, does not matter.
    """
    times = tf.where(history.counts, history.timestamps, tf.int64.min)
    ordered = tf.sort(times, axis=1)
    not_later = tf.searchsorted(ordered, times, side="right")
    return tf.shape(times)[1] - not_later


def dense(
    vectors: Any, columns: dict[str, Any], mask: Any
) -> tuple[tf.Tensor, dict[str, Any], Any]:
    """Pads ragged histories.

    Args:
        vectors: [batch, time, dim], dense or ragged in time.
        columns: By name, what is [batch, time] for each event, or None.
        mask: [batch, time] bool for dense vectors.

    Returns:
        The vectors and columns, dense, and the mask of what is no padding.

    Raises:
        ValueError: Some are ragged and some are not, or there is a mask as well.
        tf.errors.InvalidArgumentError: They have other lengths than the vectors.
    """
    given = {name: column for name, column in columns.items() if column is not None}
    ragged = [name for name, one in given.items() if isinstance(one, tf.RaggedTensor)]
    if not isinstance(vectors, tf.RaggedTensor):
        if ragged:
            raise ValueError(
                f"{', '.join(ragged)} are ragged and vectors are dense: give both "
                "ragged, or both padded with a mask."
            )
        return vectors, columns, mask
    if isinstance(mask, tf.RaggedTensor):
        mask = None  # Keras', of an embedding: its rows are as long as the vectors'
    if len(ragged) < len(given) or mask is not None:
        wrong = ", ".join(
            [*sorted(set(given) - set(ragged)), *(["mask"] * (mask is not None))]
        )
        raise ValueError(
            f"vectors are ragged, which says what is padding; {wrong}: give every "
            "column ragged as well, and no mask."
        )
    lengths = vectors.row_lengths()
    checks = [
        require_equal(
            tf.cast(column.row_lengths(), tf.int64),
            tf.cast(lengths, tf.int64),
            f"{name} and vectors must have as many events in every row.",
        )
        for name, column in given.items()
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        lengths = tf.identity(lengths)
    padded = vectors.to_tensor()
    if vectors.shape[-1] is not None:
        padded = tf.ensure_shape(padded, [None, None, vectors.shape[-1]])
    filled = {
        name: column.to_tensor() if name in given else None
        for name, column in columns.items()
    }
    return padded, filled, tf.sequence_mask(lengths, tf.shape(padded)[1])


def read_names(values: Any, column: str, names: tuple[str, ...]) -> tf.Tensor:
    """Names of actions or categories as a tensor.

    Args:
        values: [batch, time] strings, or integers that are places already.
        column: The argument to name in an error.
        names: The vocabulary.

    Returns:
        [batch, time] strings or integers.

    Raises:
        ValueError: There are none, or they are neither strings nor integers.
    """
    if values is None:
        raise ValueError(
            f"{column} are needed: weights or rates depend on {list(names)}."
        )
    if not tf.is_tensor(values):
        values = np.asarray(values)
        if values.dtype.kind == "U":
            values = values.astype(object)
    values = tf.convert_to_tensor(values)
    if not (values.dtype.is_integer or values.dtype == tf.string):
        raise ValueError(
            f"{column} are {values.dtype.name}: give strings, or integer places in "
            f"{list(names)}."
        )
    return values


def places(values: tf.Tensor, names: tuple[str, ...]) -> tf.Tensor:
    """Each event's place in a vocabulary.

    Args:
        values: [batch, time] strings, or integers that are places already.
        names: The vocabulary.

    Returns:
        [batch, time] int32, `len(names)` for what is not in the vocabulary.
    """
    if values.dtype.is_integer:
        known = (values >= 0) & (values < len(names))
        return tf.cast(tf.where(known, values, len(names)), tf.int32)
    # Compared one by one, names being few: a lookup table would be a resource that
    # whoever exports the layer has to know of.
    place = tf.fill(tf.shape(values), len(names))
    for number, name in enumerate(names):
        place = tf.where(values == name, number, place)
    return place


def assert_weighed(
    actions: tf.Tensor, unknown: tf.Tensor, known: Iterable[str]
) -> tf.Operation | None:
    """Asserts that no event has an action without a weight; None where that is known.

    Args:
        actions: [batch, time] strings or integers, one of which the error shows.
        unknown: [batch, time] bool, true for events that count and whose action has no
            weight.
        known: The actions that have one.
    """
    # Followed by one that is always there, so that an empty batch has a first as well.
    wrong = tf.concat([tf.reshape(unknown, [-1]), [True]], 0)
    named = tf.concat([tf.reshape(actions, [-1]), tf.zeros([1], actions.dtype)], 0)
    first = tf.argmax(tf.cast(wrong, tf.int32))
    message = f"actions hold one without a weight: {without_weight(known)} It is:"
    return require(~tf.reduce_any(unknown), message, tf.gather(named, first))


def assert_seconds(times: tf.Tensor, name: str) -> tf.Operation | None:
    """Asserts that int64 times are no milliseconds; None where that is known now.

    Nor those of a time before the epoch: -LATEST_SECOND is the earliest.
    """
    return require(
        (times < LATEST_SECOND) & (times >= -LATEST_SECOND),
        f"{name} looks like milliseconds: give seconds since the epoch.",
        times,
    )


def integers(tensor: Any, name: str, shape: str) -> tf.Tensor:
    """Checks a column of seconds and widens it to int64.

    Raises:
        ValueError: It is missing, not of integers, or of another rank.
    """
    if tensor is None:
        raise ValueError(f"{name} is needed: {shape} integer seconds since the epoch.")
    if not tf.is_tensor(tensor):
        # NumPy reads lists of integers as int64, TensorFlow as int32.
        tensor = np.asarray(tensor)
        refuse_dates(tensor, name)
    tensor = tf.convert_to_tensor(tensor)
    if not tensor.dtype.is_integer:
        raise ValueError(
            f"{name} is {tensor.dtype.name}: give {shape} seconds since the epoch as "
            f"integers, such as tf.cast({name}, tf.int64) of float64 ones (float32 "
            "holds them to two minutes only)."
        )
    if tensor.shape.rank not in (None, shape.count(",") + 1):
        raise ValueError(f"{name} has the shape {tensor.shape}: give {shape}.")
    if tensor.dtype == tf.uint64:
        # Beyond int64 they would come out as times before the epoch.
        tensor = tf.minimum(tensor, tf.constant(tf.int64.max, tf.uint64))
    return tf.cast(tensor, tf.int64)
