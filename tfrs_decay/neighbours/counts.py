"""What the fits share: the events up to a cut, the items that take part, products."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrs_decay.data.events import Events

BLOCK = 1 << 22
"""How many numbers a block holds: 32 MiB of float64."""


GROUPS = ("basket", "user")
"""Whose items go together."""


def scipy(module: str) -> Any:
    """A part of SciPy, which only the fits need.

    Raises:
        ImportError: It is not installed; with the line that installs it.
    """
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError:
        raise ImportError(
            "fitting neighbours needs SciPy: pip install 'tfrs-decay[fit]'"
        ) from None


def check_options(m: int | None, **above_zero: float) -> None:
    """Refuses what no fit can work with.

    Raises:
        ValueError: `m` is no integer from 1 on, or another option is not finite and
            above 0.
    """
    _check_count("m", m, "None to keep all neighbours")
    for name, number in above_zero.items():
        if not (number > 0 and np.isfinite(number)):
            raise ValueError(f"{name}={number} must be a finite number above 0.")


def _check_count(name: str, number: int | None, otherwise: str) -> None:
    if number is None:
        return
    if not isinstance(number, (int, np.integer)) or number < 1:
        raise ValueError(
            f"{name}={number!r} must be an integer, 1 or more; {otherwise}."
        )


def check_per_basket(per_basket: float) -> None:
    """Refuses what is no share.

    Raises:
        ValueError: It is not above 0 and up to 1.
    """
    if not 0 < per_basket <= 1:
        raise ValueError(
            f"per_basket={per_basket} must be above 0 and up to 1: what is left of an "
            "event's weight at each later basket."
        )


def width_of(m: int | None, n_items: int) -> int:
    """How many neighbours the table has room for."""
    return n_items if m is None else min(m, n_items)


def places_among(events: Events, at_least: int, most_items: int | None) -> np.ndarray:
    """Numbers the items that have enough events.

    Args:
        events: Those up to the cut.
        at_least: An item with fewer events is left out.
        most_items: Of the others only the most frequent so many take part; of equal
            ones those of the lower place. None for all.

    Returns:
        [n_items] int64, from 0 on in the order of the catalogue; -1 for an item that is
        left out.

    Raises:
        ValueError: An option is no integer from 1 on, or no item has enough events.
    """
    _check_count("at_least", at_least, "1 for every item with an event")
    _check_count("most_items", most_items, "None for all items")
    count = np.bincount(events.item, minlength=len(events.items))
    taken = count >= at_least
    if not taken.any():
        raise ValueError(
            f"at_least={at_least}: no item has so many events; the most that one has "
            f"is {count.max()}."
        )
    if most_items is not None:
        taken[np.lexsort([np.arange(len(count)), -count])[most_items:]] = False
    return np.where(taken, np.cumsum(taken) - 1, -1)


def sparse_table(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> Any:
    """A CSR matrix with the sums of values at each place; columns below 0 are none."""
    kept = column >= 0
    table = scipy("sparse").csr_array(
        (value[kept], (row[kept], column[kept])), shape=shape
    )
    table.sum_duplicates()
    return table


def binary_table(
    row: np.ndarray, column: np.ndarray, shape: tuple[int, int], dtype: Any
) -> Any:
    """A CSR matrix of ones; columns below 0 are none."""
    table = sparse_table(row, column, np.ones(len(row), dtype), shape)
    table.data[:] = 1
    return table


def scaled_rows(table: Any, weight: np.ndarray) -> Any:
    """A CSR matrix, each of whose rows is multiplied by its weight."""
    scaled = table.copy()
    scaled.data *= np.repeat(weight, np.diff(table.indptr)).astype(table.dtype)
    return scaled


def row_sizes(table: Any) -> np.ndarray:
    """[rows] how many places of a CSR matrix are filled, at least 1."""
    return np.maximum(np.diff(table.indptr), 1)


def blocks(sizes: np.ndarray, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges whose sizes add up to `most`, or `BLOCK`, at the most, or that hold one.

    >>> list(blocks(np.array([3, 3, 9, 1, 1]), most=6))
    [(0, 2), (2, 3), (3, 5)]
    """
    most = BLOCK if most is None else most
    total = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(sizes):
        stop = int(np.searchsorted(total, total[start] + most, side="right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def even_blocks(n: int, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of n rows of so many numbers each, in blocks of about `BLOCK` numbers."""
    step = max(1, BLOCK // max(1, width))
    for start in range(0, n, step):
        yield start, min(n, start + step)
