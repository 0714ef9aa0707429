"""The functions that formulas are written with, for tensors.

`tfrs_decay.arithmetic.NUMPY` has the same names for arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_decay.arithmetic import CUT, KEPT, SCATTER, Arithmetic


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
