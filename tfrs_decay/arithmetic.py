"""The few functions that formulas are written with, for NumPy arrays.

`layers.tensors.TENSORS` has the same names for tensors, so a formula that takes one of
the two as `xp` is written once and serves a stream worker, the training graph and its
gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

CUT = np.int64(2**29 - 1)
"""The bits of a float64 that a float32 does not have."""

KEPT = np.int64(64 - 29)
"""How many bits it has beside these."""

SCATTER = np.int64(0x9E3779B97F4A7C15 - 2**64)
"""A multiplier that makes high bits of all bits: 2^64 over the golden ratio, odd.
D. Knuth, The Art of Computer Programming 3, section 6.4."""


class Arithmetic(Protocol):
    """What a formula may call: NumPy's names, elementwise unless said otherwise."""

    def exp(self, x: Any) -> Any:
        """e^x."""

    def log(self, x: Any) -> Any:
        """The natural logarithm of x > 0."""

    def log1p(self, x: Any) -> Any:
        """log(1 + x)."""

    def softplus(self, x: Any) -> Any:
        """log(1 + e^x), finite for every finite x."""

    def maximum(self, x: Any, y: Any) -> Any:
        """The larger of two."""

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Takes x where the condition holds, else y."""

    def floor(self, x: Any) -> Any:
        """The greatest whole number at or below x."""

    def logsumexp(self, x: Any) -> Any:
        """log(sum(e^x)) over the last axis."""

    def stack(self, parts: Sequence[Any]) -> Any:
        """Along a new last axis, broadcast to one shape."""

    def cumsum(self, x: Any) -> Any:
        """Running sums along the first axis."""

    def take(self, values: Any, index: Any) -> Any:
        """values[index], along the first axis."""

    def whole(self, x: Any) -> Any:
        """As int32, for `take`."""

    def constant(self, x: Any) -> Any:
        """The same value; gradients do not pass."""

    def cast(self, x: Any, dtype: Any) -> Any:
        """As another dtype."""

    def largest(self, x: Any, axis: int) -> Any:
        """The largest along an axis, which stays; -inf of no floating numbers."""

    def sum(self, x: Any, axis: int) -> Any:
        """The sum along an axis, which stays."""

    def matmul(self, x: Any, y: Any) -> Any:
        """The matrix product of the last two axes."""

    def blend(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        """Sums a x + b y, of float64 shares and float32 numbers, to float32.

        Rounded up as often as what is cut off is large, so that over many sums the
        roundings come to nothing: a mean that moves by less than half its last digit
        moves all the same. The chance is drawn from the sum itself, so the same input
        gives the same result, and a number that float32 has stays as it is.
        """

    def swap(self, x: Any) -> Any:
        """The last two axes exchanged."""

    def concat(self, parts: Sequence[Any], axis: int) -> Any:
        """One after the other, along an axis that is there."""

    def argsort(self, x: Any) -> Any:
        """The places that put the last axis in rising order; equals keep theirs."""

    def take_along(self, x: Any, index: Any) -> Any:
        """x[..., index] row by row: [..., n] or [..., n, dim] by [..., m]."""

    def later(self, x: Any) -> Any:
        """How many of a last axis in rising order are strictly above each."""


class _NumPy:
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    log1p = staticmethod(np.log1p)
    maximum = staticmethod(np.maximum)
    where = staticmethod(np.where)
    floor = staticmethod(np.floor)

    @staticmethod
    def softplus(x: Any) -> Any:
        return np.logaddexp(0.0, x)

    @staticmethod
    def logsumexp(x: Any) -> Any:
        return np.logaddexp.reduce(x, axis=-1)

    @staticmethod
    def stack(parts: Sequence[Any]) -> Any:
        return np.stack(np.broadcast_arrays(*parts), axis=-1)

    @staticmethod
    def cumsum(x: Any) -> Any:
        return np.cumsum(x, axis=0)

    @staticmethod
    def take(values: Any, index: Any) -> Any:
        return np.take(values, index, axis=0)

    @staticmethod
    def whole(x: Any) -> Any:
        return np.asarray(x).astype(np.int32)

    @staticmethod
    def constant(x: Any) -> Any:
        return x

    @staticmethod
    def cast(x: Any, dtype: Any) -> Any:
        return np.asarray(x, dtype)

    @staticmethod
    def largest(x: Any, axis: int) -> Any:
        least = -np.inf if x.dtype.kind == "f" else None
        return np.maximum.reduce(x, axis, keepdims=True, initial=least)

    @staticmethod
    def sum(x: Any, axis: int) -> Any:
        return np.add.reduce(x, axis, keepdims=True)

    matmul = staticmethod(np.matmul)

    @staticmethod
    def blend(a: Any, x: Any, b: Any, y: Any) -> Any:
        total = a * x
        # In place: for many users the time goes into memory that is new.
        total += b * y
        bits = total.view(np.int64)
        bits = (bits + (bits * SCATTER >> KEPT & CUT)) & ~CUT
        return bits.view(np.float64).astype(np.float32)

    @staticmethod
    def swap(x: Any) -> Any:
        return np.swapaxes(x, -1, -2)

    @staticmethod
    def concat(parts: Sequence[Any], axis: int) -> Any:
        return np.concatenate(parts, axis)

    @staticmethod
    def argsort(x: Any) -> Any:
        return np.argsort(x, axis=-1, kind="stable")

    @staticmethod
    def take_along(x: Any, index: Any) -> Any:
        rows = index.shape[:-1]
        axis = len(rows)
        # As one list of rows, each copied whole: much faster than numbers one by one.
        flat = x.reshape(-1, *x.shape[axis + 1 :])
        first = np.arange(math.prod(rows)).reshape(*rows, 1) * x.shape[axis]
        return np.take(flat, index + first, axis=0)

    @staticmethod
    def later(x: Any) -> Any:
        count = x.shape[-1]
        place = np.broadcast_to(np.arange(count), x.shape).copy()
        # The place of the last that is equal: the nearest one that a greater follows.
        place[..., :-1][x[..., :-1] == x[..., 1:]] = count
        last = np.minimum.accumulate(place[..., ::-1], axis=-1)[..., ::-1]
        return count - 1 - last


NUMPY: Arithmetic = _NumPy()
