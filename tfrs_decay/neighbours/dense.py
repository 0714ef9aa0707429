"""Matrices of items x items: how much they take, how they are filled and solved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfrs_decay.neighbours.counts import even_blocks, scipy, width_of

GIB = 1 << 30
PRECISIONS = ("float64", "float32")


def bytes_of_dense(
    place: np.ndarray,
    m: int | None,
    *,
    matrices: int,
    precision: str,
    most_gib: float,
) -> int:
    """What the matrices take, refused before any is made if that is too much.

    Args:
        place: [n_items] int64, the numbers of the items that take part, or -1.
        m: Neighbours an item that are kept; None for all.
        matrices: How many are held at once.
        precision: "float64" or "float32".
        most_gib: What they and the table that is kept may take together.

    Raises:
        ValueError: They take more, or an option is not one of its values.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is not one of {PRECISIONS}.")
    if not most_gib > 0:
        raise ValueError(f"most_gib={most_gib} must be above 0.")
    n, taking_part = len(place), int((place >= 0).sum())
    dense = matrices * np.dtype(precision).itemsize * taking_part**2
    table = 8 * n * width_of(m, n)
    if dense + table <= most_gib * GIB:
        return dense
    means = ["most_gib, where there is that much memory"]
    if dense > most_gib * GIB / 2:
        left = max(most_gib * GIB - table, 0)
        fitting = math.isqrt(int(left / matrices / np.dtype(precision).itemsize))
        means.append(
            "at_least, to leave out items with few events, or most_items, to take "
            f"only the most frequent ones ({fitting:,} would fit)"
        )
        if precision == "float64":
            means.append("precision='float32', for half of it")
    if table > most_gib * GIB / 2:
        means.append("m, to keep fewer neighbours an item")
    raise ValueError(
        f"{taking_part:,} items need {dense / GIB:.3g} GiB for {matrices} dense "
        f"{'matrix' if matrices == 1 else 'matrices'} and {table / GIB:.3g} GiB for "
        f"the neighbours kept, more than most_gib={most_gib:g}. Change one of these: "
        f"{'; '.join(means)}."
    )


def square(n: int, precision: str) -> np.ndarray:
    """Zeros, [n, n], in the order in which LAPACK works in place."""
    return np.zeros((n, n), precision, order="F")


def add_product(total: np.ndarray, left: Any, right: Any, *, lower: bool) -> None:
    """Adds left' right to a matrix, [n, n], by columns.

    Args:
        total: What is added to.
        left: [rows, n] CSR.
        right: [rows, n] CSR.
        lower: Whether only what is on and below the diagonal is wanted; what is above
            is undefined then.
    """
    left, right = left.T.tocsr(), right.tocsc()
    n = len(total)
    for start, stop in even_blocks(n, n):
        first = start if lower else 0
        product = left[first:] @ right[:, start:stop].tocsr()
        total[first:, start:stop] += product.toarray()


def factorize(matrix: np.ndarray, l2: float) -> np.ndarray:
    """The Cholesky factor of matrix + l2 I, in its place; only what is below is read.

    Raises:
        ValueError: It is not positive definite in this precision.
    """
    matrix.flat[:: len(matrix) + 1] += l2
    (potrf,) = scipy("linalg").get_lapack_funcs(("potrf",), (matrix,))
    factor, info = potrf(matrix, lower=True, overwrite_a=True, clean=False)
    if info:
        raise ValueError(
            f"l2={l2:g} leaves the equations without a solution in {matrix.dtype}: "
            "give a larger one, or precision='float64'."
        )
    return factor


def inverse(factor: np.ndarray) -> np.ndarray:
    """The inverse of what was factorized, in its place, both halves of it."""
    (potri,) = scipy("linalg").get_lapack_funcs(("potri",), (factor,))
    found, _ = potri(factor, lower=True, overwrite_c=True)
    for start, stop in even_blocks(len(found), len(found)):
        found[start:stop, stop:] = found[stop:, start:stop].T
        corner = np.tril(found[start:stop, start:stop])
        found[start:stop, start:stop] = corner + np.tril(corner, -1).T
    return found


def solve(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution of (what was factorized) x = right, in the place of `right`."""
    (potrs,) = scipy("linalg").get_lapack_funcs(("potrs",), (factor, right))
    found, _ = potrs(factor, right, lower=True, overwrite_b=True)
    return found
