"""Logged impressions as columns, checked: what is not clear is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.names import as_text
from tfrs_decay.data.rules import Rules
from tfrs_decay.data.tables import as_numbers, need, without_words
from tfrs_decay.data.times import seconds_since_epoch
from tfrs_decay.experiments.measuring import Impressions

if TYPE_CHECKING:
    import pandas as pd

IDS = ("user", "arm", "item", "segment", "request")
"""Columns of names, which are told apart as text: 1, "1" and 1.0 are one user."""


class Traffic:
    """A table of impressions, one a row, whose columns are checked as they are asked.

    Args:
        table: Columns by name: a pandas frame, or a mapping to arrays of one length.
        rules: How times are meant: `time_unit`, `time_zone` and `day_first`; others
            mean nothing here.

    Raises:
        ValueError: There is no row, or columns differ in length.
        ImportError: pandas is not installed.
    """

    def __init__(
        self, table: Mapping[str, Any] | pd.DataFrame, rules: Rules | None = None
    ) -> None:
        need("pandas", "logged traffic", "data")
        import pandas as pd

        columns = {str(name): table[name] for name in [*table]}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"traffic has columns of other lengths: {lengths}.")
        self._rules = rules or Rules()
        # Rows are counted, not joined by an index that they may have. The index is the
        # row that errors name, whatever is left out of the table later.
        self._table = pd.DataFrame(
            {
                name: pd.Series(column).reset_index(drop=True)
                for name, column in columns.items()
            }
        )
        if not len(self):
            raise ValueError(
                f"traffic has no rows below its columns {list(lengths)}: give one row "
                "an impression."
            )

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, name: str) -> bool:
        return name in self._table.columns

    def names(self, name: str) -> np.ndarray:
        """[n] a column of ids as strings, none of which may be missing."""
        found = as_text(self._column(name)).to_numpy()
        missing = np.array([not one for one in found], bool)
        self._refuse(name, missing, "a name that is not empty")
        return found

    def numbers(
        self, name: str, expected: str, low: float = -np.inf, high: float = np.inf
    ) -> np.ndarray:
        """[n] float64, a column of finite numbers from `low` to `high`."""
        column = self._column(name)
        if column.dtype == bool:
            column = column.astype(float)
        values = as_numbers(without_words(column)).to_numpy(np.float64)
        wrong = ~(np.isfinite(values) & (values >= low) & (values <= high))
        self._refuse(name, wrong, expected)
        return values

    def shares(self, name: str) -> np.ndarray:
        """[n] float64, a column of what happened (1, true) or did not (0, false)."""
        column = self._column(name)
        words = column.map(
            lambda one: (
                {"true": 1.0, "false": 0.0}.get(one.strip().lower(), one)
                if isinstance(one, str)
                else one
            )
        )
        values = as_numbers(without_words(words)).to_numpy(np.float64)
        self._refuse(name, ~np.isin(values, (0, 1)), "0 or 1")
        return values

    def times(self, name: str = "time") -> np.ndarray:
        """[n] int64 seconds since the epoch, from numbers, dates or text.

        Times are read in the light of each other: ask for them before `where`.
        """
        seconds, readable = seconds_since_epoch(
            self._column(name),
            unit=self._rules.time_unit,
            zone=self._rules.time_zone,
            day_first=self._rules.day_first,
        )
        self._refuse(name, ~readable, "a date or seconds since the epoch")
        return seconds

    def places(self, name: str = "position") -> np.ndarray:
        """[n] int64, places of a list, from 1 on."""
        values = self.numbers(name, "a place from 1 on", low=1)
        self._refuse(name, values % 1 != 0, "a whole number")
        return values.astype(np.int64)

    def repeated(self, names: Iterable[str], duplicates: str) -> np.ndarray:
        """Refuses or finds impressions that stand twice.

        Args:
            names: The columns that tell impressions apart, of those there are.
            duplicates: "refuse" or "drop".

        Returns:
            [n] bool, the rows that say the same as a row before them.

        Raises:
            ValueError: There are some, and they are to be refused.
        """
        import pandas as pd

        if duplicates not in ("refuse", "drop"):
            raise ValueError(
                f"duplicates={duplicates!r} must be 'refuse' or 'drop', which leaves "
                "all but the first out."
            )
        names = [name for name in names if name in self]
        same = pd.DataFrame(
            {
                name: as_text(self._table[name]) if name in IDS else self._table[name]
                for name in names
            }
        )
        again = same.duplicated().to_numpy()
        if again.any() and duplicates == "refuse":
            row = int(np.argmax(again))
            said = {name: str(same[name].iloc[row]) for name in names}
            raise ValueError(
                f"traffic has {again.sum():,} rows that stand twice, the first of them "
                f"row {row} (the first is 0): {said}. An impression that is logged "
                "twice counts twice: log each once, or leave the others out with "
                "duplicates='drop'."
            )
        return again

    def require(self, names: Iterable[str]) -> None:
        """Refuses a table that lacks one of some columns."""
        for name in names:
            self._column(name)

    def where(self, kept: np.ndarray) -> Traffic:
        """The rows that `kept`, [n] bool, is true for; errors name them as before."""
        some = copy(self)
        some._table = self._table[kept]
        return some

    def _column(self, name: str) -> pd.Series[Any]:
        if name not in self:
            raise ValueError(
                f"traffic has no column {name!r}; its columns are "
                f"{[*self._table.columns]}."
            )
        return self._table[name]

    def _refuse(self, name: str, wrong: np.ndarray, expected: str) -> None:
        if wrong.any():
            place = int(np.argmax(wrong))
            value = self._table[name].iloc[[place]].tolist()[0]
            raise ValueError(
                f"traffic[{name!r}] holds {value!r} in row {self._table.index[place]} "
                f"(the first is 0; {wrong.sum():,} of {len(wrong):,} rows are alike): "
                f"{expected} is expected."
            )


def coded(names: np.ndarray) -> np.ndarray:
    """[n] int64, a number for each distinct name."""
    import pandas as pd

    return np.asarray(pd.factorize(names)[0], np.int64)


METRICS = {
    "click": "click-through",
    "purchase": "conversion",
    "conversion": "conversion",
}
"""What the rate is called of what comes of an impression, or does not."""


def metrics_of(names: Iterable[str]) -> dict[str, str]:
    """What the rates of some actions or columns are called, no two of them alike.

    >>> metrics_of(["click", "purchase", "revenue"])
    {'click': 'click-through', 'purchase': 'conversion', 'revenue': 'revenue'}
    >>> metrics_of(["purchase", "conversion"])
    {'purchase': 'purchase', 'conversion': 'conversion'}
    """
    names = [*dict.fromkeys(names)]
    called = [METRICS.get(name, name) for name in names]
    return {
        name: metric if called.count(metric) == 1 else name
        for name, metric in zip(names, called, strict=True)
    }


def rewards_of(traffic: Traffic, names: Iterable[str] | None) -> dict[str, np.ndarray]:
    """What came of each impression, by metric.

    Args:
        traffic: The impressions.
        names: Columns; those of `METRICS` that are there when left out.

    Raises:
        ValueError: None is there, or one is not finite; those of `METRICS` are 0 or 1.
    """
    if names is None:
        names = [name for name in METRICS if name in traffic]
    if isinstance(names, str):
        raise ValueError(f"rewards={names!r}: give a list of columns.")
    found = {
        metric: traffic.shares(name)
        if name in METRICS
        else traffic.numbers(name, "a finite number")
        for name, metric in metrics_of(names).items()
    }
    if not found:
        raise ValueError(
            "traffic says nowhere what came of an impression: give it a column click, "
            "purchase or conversion, of 0 and 1, or name others as rewards=['revenue']."
        )
    return found


IMPRESSION = ("request", "user", "item", "position", "time")
"""Columns that tell one impression from another, of those that there are."""


def shown_by(
    traffic: Traffic,
    arms: Sequence[str],
    rewards: Iterable[str] | None,
    duplicates: str,
) -> tuple[Impressions, int]:
    """Impressions that one arm each was the cause of: the column `arm` says which.

    Args:
        traffic: Columns user, arm, item, time and what came of it; request, position
            and segment, where they are there.
        arms: The arms' names.
        rewards: As in `rewards_of`.
        duplicates: "refuse" or "drop", for impressions that stand twice.

    Returns:
        The impressions, and how many that stand twice were left out.

    Raises:
        ValueError: A column is missing or holds something else, an arm is unknown, or
            impressions stand twice and are to be refused.
    """
    traffic.require(("user", "arm", "item", "time"))
    time = traffic.times()
    again = traffic.repeated(IMPRESSION, duplicates)
    traffic = traffic.where(~again)
    arm = traffic.names("arm")
    unknown = sorted({*arm} - {*arms})
    if unknown:
        raise ValueError(
            f"traffic['arm'] holds {unknown[0]!r} in {(arm == unknown[0]).sum():,} of "
            f"{len(arm):,} rows, and the arms are {[*arms]}: name it among them, or "
            "leave such rows out."
        )
    traffic.names("item")
    if "position" in traffic:
        traffic.places()
    return Impressions(
        user=coded(traffic.names("user")),
        weight={one: (arm == one).astype(np.float64) for one in arms},
        reward=rewards_of(traffic, rewards),
        time=time[~again],
        segment=traffic.names("segment") if "segment" in traffic else None,
    ), int(again.sum())


def arm_names(
    arms: Mapping[str, Any] | Sequence[str], control: str | None
) -> list[str]:
    """The names of two arms or more; checked.

    Args:
        arms: By name, or the names alone.
        control: One of them, or None.

    Raises:
        ValueError: There are fewer than two, one stands twice, or `control` is none.
    """
    names = [arms] if isinstance(arms, str) else list(arms)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"arms={names}: give two arms or more, each once.")
    strange = [one for one in names if not isinstance(one, str)]
    if strange:
        raise ValueError(f"arms={names}: {strange[0]!r} is no name; give text.")
    if control is not None and control not in names:
        raise ValueError(f"control={control!r} is not among the arms {names}.")
    return names
