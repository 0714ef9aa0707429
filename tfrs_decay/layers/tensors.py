"""What layers do with tensors: formulas, and ids and texts as they are given.

`tfrs_decay.arithmetic.NUMPY` has the formulas' functions for arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.arithmetic import CUT, KEPT, SCATTER, Arithmetic


def first_places(rising: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Where each number would stand among those of its row: `tf.searchsorted`.

    In one step instead of ten, for tables and batches whose shapes are known to fit.

    Args:
        rising: [rows, n], each row sorted.
        wanted: [rows, x] of the same type.

    Returns:
        [rows, x] int32, how many of the row's numbers are below.
    """
    return tf.raw_ops.LowerBound(sorted_inputs=rising, values=wanted)


class _Tensors:
    exp = staticmethod(tf.math.exp)
    log = staticmethod(tf.math.log)
    log1p = staticmethod(tf.math.log1p)
    softplus = staticmethod(tf.math.softplus)
    maximum = staticmethod(tf.math.maximum)
    floor = staticmethod(tf.math.floor)
    constant = staticmethod(tf.stop_gradient)

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Any:
        # A bare number takes the dtype of the tensor beside it.
        dtype = next(one.dtype for one in (x, y) if tf.is_tensor(one))
        return tf.where(condition, tf.cast(x, dtype), tf.cast(y, dtype))

    @staticmethod
    def logsumexp(x: Any) -> Any:
        return tf.reduce_logsumexp(x, axis=-1)

    @staticmethod
    def stack(parts: Sequence[Any]) -> Any:
        shape = tf.shape(parts[0])
        for part in parts[1:]:
            shape = tf.broadcast_dynamic_shape(shape, tf.shape(part))
        return tf.stack([tf.broadcast_to(part, shape) for part in parts], axis=-1)

    @staticmethod
    def cumsum(x: Any) -> Any:
        return tf.cumsum(x, axis=0)

    @staticmethod
    def take(values: Any, index: Any) -> Any:
        return tf.gather(tf.convert_to_tensor(values), index, axis=0)

    @staticmethod
    def whole(x: Any) -> Any:
        return tf.cast(x, tf.int32)

    cast = staticmethod(tf.cast)
    matmul = staticmethod(tf.matmul)
    swap = staticmethod(tf.linalg.matrix_transpose)
    concat = staticmethod(tf.concat)

    @staticmethod
    def largest(x: Any, axis: int) -> Any:
        return tf.reduce_max(x, axis, keepdims=True)

    @staticmethod
    def sum(x: Any, axis: int) -> Any:
        return tf.reduce_sum(x, axis, keepdims=True)

    @staticmethod
    def blend(a: Any, x: Any, b: Any, y: Any) -> Any:
        total = a * tf.cast(x, tf.float64) + b * tf.cast(y, tf.float64)
        bits = tf.bitcast(total, tf.int64)
        chance = tf.bitwise.right_shift(bits * SCATTER, KEPT)
        bits = tf.bitwise.bitwise_and(bits + tf.bitwise.bitwise_and(chance, CUT), ~CUT)
        return tf.cast(tf.bitcast(bits, tf.float64), tf.float32)

    @staticmethod
    def argsort(x: Any) -> Any:
        return tf.argsort(x, axis=-1, stable=True)

    @staticmethod
    def take_along(x: Any, index: Any) -> Any:
        rows = index.shape.rank - 1
        return tf.gather(x, index, axis=rows, batch_dims=rows)

    @staticmethod
    def later(x: Any) -> Any:
        return tf.shape(x)[-1] - tf.searchsorted(x, x, side="right")


TENSORS: Arithmetic = _Tensors()


_GIVE_STRINGS = "give strings, '' where there is none"


def id_table(ids: Sequence[str] | np.ndarray) -> tf.lookup.StaticHashTable:
    """From an id to its place, int64; -1 for any other."""
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            as_strings(ids, "ids"), tf.range(len(ids), dtype=tf.int64)
        ),
        default_value=-1,
    )


def table_rows(table: tf.Variable, places: tf.Tensor) -> tf.Tensor:
    """Rows of a table: [n, ...] at [...] integer places.

    Of a table that is split over parameter servers, these rows alone are sent.
    """
    return tf.nn.embedding_lookup(table, places)


def checked_ids(ids: Any, name: str = "item ids") -> tf.Tensor:
    """Ids as a tensor of strings, [...].

    Raises:
        ValueError: The ids are not strings, or ragged.
    """
    if isinstance(ids, tf.RaggedTensor):
        raise ValueError(f"{name} are ragged: give them padded, ids.to_tensor('').")
    ids = as_strings(ids, name)
    if ids.dtype != tf.string:
        raise ValueError(
            f"{name} are {ids.dtype.name}: give strings "
            "(tf.strings.as_string turns numbers into them)."
        )
    return ids


def as_strings(values: Any, name: str) -> tf.Tensor:
    """What is given as strings as a tensor, [...]; a tensor as it is.

    Args:
        values: A tensor, or an array or a list of strings, nested as you like.
        name: What they are, for errors.

    Raises:
        ValueError: One of the list is no string, or cannot be written as UTF-8.
    """
    if tf.is_tensor(values):
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufc":
        return tf.convert_to_tensor(values)
    # Keras makes tensors of the numbers in a list.
    tensors = [one for one in tf.nest.flatten(values) if tf.is_tensor(one)]
    for one in tensors:
        if one.dtype != tf.string:
            shown = one.numpy() if hasattr(one, "numpy") else one
            raise ValueError(
                f"{name} hold {shown}, a {one.dtype.name}: {_GIVE_STRINGS}."
            )
    if tensors:
        return tf.convert_to_tensor(values)
    array = np.asarray(values, dtype=object)
    for one in array.ravel():
        check_string(one, name)
    return tf.constant(array.tolist(), tf.string, shape=array.shape)


def check_string(one: Any, name: str, kinds: tuple[type, ...] = (str, bytes)) -> None:
    """Refuses what is no string, or has no UTF-8.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(one, kinds):
        raise ValueError(
            f"{name} hold {one!r}, a {type(one).__name__}: {_GIVE_STRINGS}."
        )
    if isinstance(one, str):
        try:
            one.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} hold {one!r}, which has no UTF-8 ({error.reason}): mend it "
                "where it is decoded, as with errors='replace'."
            ) from error


def dense(layer: tf_keras.layers.Dense, vectors: tf.Tensor) -> tf.Tensor:
    """A dense layer over vectors, [..., width], or over one, [width]."""
    return layer(vectors[None])[0] if vectors.shape.rank == 1 else layer(vectors)
