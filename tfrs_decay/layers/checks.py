"""Assertions in a graph that cost next to nothing while they hold.

`tf.debugging.assert_less` and its like put their message behind a condition, which is
some ten operations of a served graph for each of them. One `Assert` is one: what it is
to show is handed to it, and read when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import tensorflow as tf

_checked = ContextVar("_checked", default=False)


@contextmanager
def checked_before() -> Iterator[None]:
    """What is traced here asserts nothing: what it is given was checked already.

    A `tf.function` that is traced first in here stays without assertions elsewhere.
    """
    token = _checked.set(True)
    try:
        yield
    finally:
        _checked.reset(token)


def require(holds: tf.Tensor, message: str, *values: tf.Tensor) -> Any:
    """Asserts that all of some booleans are true.

    Args:
        holds: [...] bool.
        message: What is wrong where one is not, and what was expected.
        *values: What to show with it.

    Returns:
        What to wait for; None where nothing is left to run time, and within
        `checked_before`.

    Raises:
        tf.errors.InvalidArgumentError: Now, where it is known now; else at run time.
    """
    if _checked.get():
        return None
    known = tf.get_static_value(holds)
    if known is not None and np.all(known):
        return None
    if holds.shape.rank != 0:
        holds = tf.reduce_all(holds)
    return tf.raw_ops.Assert(condition=holds, data=[message, *values])


def require_equal(one: tf.Tensor, other: Any, message: str) -> Any:
    """`require` that two tensors, of shapes that broadcast, are equal."""
    other = tf.convert_to_tensor(other, one.dtype)
    return require(tf.equal(one, other), message, one, other)


def require_less(one: tf.Tensor, other: Any, message: str) -> Any:
    """`require` that one tensor is below another everywhere."""
    other = tf.convert_to_tensor(other, one.dtype)
    return require(one < other, message, one, other)


def require_at_most(one: tf.Tensor, other: Any, message: str) -> Any:
    """`require` that one tensor is nowhere above another."""
    other = tf.convert_to_tensor(other, one.dtype)
    return require(one <= other, message, one, other)


def require_same_shape(one: tf.Tensor, shape: tf.Tensor, message: str) -> Any:
    """`require` that a tensor has a shape.

    Args:
        one: [...].
        shape: [rank] int32 or int64.
        message: As `require` takes it.
    """
    own = tf.shape(one, out_type=shape.dtype)
    static, expected = one.shape, tf.get_static_value(shape)
    if static.is_fully_defined() and expected is not None:
        holds = tf.constant(static.as_list() == expected.tolist())
        return require(holds, message, own, shape)
    return require_equal(own, shape, message)
