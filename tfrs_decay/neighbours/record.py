"""The table itself: the strongest neighbours of each item, and what they cost."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrs_decay.data.files import UNREADABLE, PathLike, checked_file
from tfrs_decay.writing import write_arrays

NO_NEIGHBOUR = -1
"""The place of a neighbour that an item does not have."""


@dataclass(frozen=True)
class Cost:
    """What a fit took, and what keeping only the strongest neighbours lost.

    Attributes:
        seconds: Of the fit.
        kept_bytes: Of the table.
        dense_bytes: Of the matrices of items x items that were held at once; 0 for a
            fit that makes none.
        fitted_items: The items that took part; the others have no neighbours.
        kept_share: What share of all weights, by their absolute values, the table
            holds, in [0, 1].
    """

    seconds: float
    kept_bytes: int
    dense_bytes: int
    fitted_items: int
    kept_share: float


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Of each item, the items that an event of it says most about.

    Row i holds what an event of item i adds to the scores of others: item[i, k] gets
    weight[i, k] more. Weights may be negative, and the strongest are those with the
    largest absolute values. A row that was fitted begins with its strongest, and of
    equal ones with the lower place; the order changes no score.

    Attributes:
        item: [n, m] int32 places in the catalogue of n items; -1 where an item has
            fewer neighbours than m. None stands twice in a row.
        weight: [n, m] float32, finite; 0 where there is no neighbour.
        cost: What the fit took; None for a table that was made otherwise.

    Raises:
        ValueError: The two are not of one shape [n, m] with n and m of 1 or more, a
            place is no integer from -1 to n - 1 or stands twice in a row, or a weight
            is not finite in float32, or not 0 where there is no neighbour.

    >>> table = Neighbours([[1, 2], [0, -1], [-1, -1]], [[0.5, -0.25], [1, 0], [0, 0]])
    >>> len(table), table.m
    (3, 2)
    >>> table.strongest(1).item.tolist()
    [[1], [0], [-1]]
    """

    item: np.ndarray
    weight: np.ndarray
    cost: Cost | None = None

    def __post_init__(self) -> None:
        item, weight = np.asarray(self.item), np.asarray(self.weight)
        if item.ndim != 2 or 0 in item.shape or item.shape != weight.shape:
            raise ValueError(
                f"item has the shape {item.shape} and weight {weight.shape}: give both "
                "as [n, m], a row for each of n items."
            )
        for name, array, kinds in (("item", item, "iu"), ("weight", weight, "fiu")):
            if array.dtype.kind not in kinds:
                wanted = "integer places" if name == "item" else "numbers"
                raise ValueError(f"{name} is {array.dtype}: give {wanted}.")
        self._check_places(item)
        with np.errstate(over="ignore"):
            weight = np.array(weight, np.float32)
        for wrong, wanted in (
            (~np.isfinite(weight), "weights are finite in float32"),
            ((item < 0) & (weight != 0), "the weight of no neighbour is 0"),
        ):
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                raise ValueError(
                    f"weight[{row}, {column}] is {np.asarray(self.weight)[row, column]}"
                    f" ({wrong.sum():,} of {wrong.size:,} are such): {wanted}."
                )
        object.__setattr__(self, "item", np.array(item, np.int32))
        object.__setattr__(self, "weight", weight)

    @staticmethod
    def _check_places(item: np.ndarray) -> None:
        n = len(item)
        wrong = (item < NO_NEIGHBOUR) | (item >= n)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"item[{row}, {column}] is {item[row, column]}: places of {n:,} items "
                f"go from 0 to {n - 1:,}, and {NO_NEIGHBOUR} is no neighbour."
            )
        ordered = np.sort(item, axis=1)
        twice = (np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)
        if twice.any():
            row, column = np.argwhere(twice)[0]
            raise ValueError(
                f"item[{row}] holds {ordered[row, column]} twice: give the sum of the "
                "two weights once."
            )

    def __len__(self) -> int:
        """How many items there are, with neighbours or without."""
        return len(self.item)

    @property
    def m(self) -> int:
        """How many neighbours an item has at most."""
        return self.item.shape[1]

    def strongest(self, m: int) -> Neighbours:
        """The same table, of which only the first m neighbours an item are left.

        Raises:
            ValueError: `m` is below 1, or above what the table holds.
        """
        if not 1 <= m <= self.m:
            raise ValueError(f"m={m} must be from 1 to {self.m}, what the table holds.")
        order = np.lexsort([self.item, -np.abs(self.weight)], axis=1)[:, :m]
        item, weight = (
            np.take_along_axis(some, order, axis=1) for some in (self.item, self.weight)
        )
        cost = self.cost
        if cost is not None:
            held, left = (
                np.abs(some).sum(dtype=np.float64) for some in (self.weight, weight)
            )
            cost = dataclasses.replace(
                cost,
                kept_bytes=item.nbytes + weight.nbytes,
                kept_share=cost.kept_share * float(left / held) if held else 1.0,
            )
        return Neighbours(item, weight, cost)

    def save(self, path: PathLike) -> None:
        """Writes the table as a compressed .npz, whole or not at all.

        Args:
            path: The file, ending in .npz; replaced if it is there.

        Raises:
            ValueError: It ends in something else.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{path} ends in {path.suffix!r}; expected .npz.")
        arrays = {"item": self.item, "weight": self.weight}
        if self.cost is not None:
            for name, number in dataclasses.asdict(self.cost).items():
                arrays[f"cost_{name}"] = np.asarray(number)
        write_arrays(arrays, path)

    @classmethod
    def load(cls, path: PathLike) -> Neighbours:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is truncated, or something else.
        """
        path = checked_file(path, (".npz",), "a .npz of neighbours")
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                names = [one.name for one in dataclasses.fields(Cost)]
                cost = (
                    Cost(**{name: stored[f"cost_{name}"].item() for name in names})
                    if "cost_seconds" in stored
                    else None
                )
                return cls(stored["item"], stored["weight"], cost)
        except (*UNREADABLE, TypeError) as error:
            raise ValueError(
                f"{os.fspath(path)} does not hold neighbours ({error}): fit and save "
                "them anew."
            ) from error

    def __repr__(self) -> str:
        return f"Neighbours({len(self):,} items, {self.m:,} neighbours each)"
