"""What a recommender answered, as columns: one row for each item that was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.files import PathLike
from tfrs_decay.data.names import coded
from tfrs_decay.data.rules import Rules
from tfrs_decay.data.tables import read_table, renamed
from tfrs_decay.experiments.traffic import IMPRESSION, Traffic

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Served:
    """Impressions: items that were shown to users, checked.

    Make it by `Served.of` or `Served.read`.

    Attributes:
        request: [n] int64, the number of the list that a row is of.
        user: [n] int64, places in `users`.
        item: [n] int64, places in `items`.
        time: [n] int64, seconds since the epoch.
        position: [n] int64, places of a list, from 1 on.
        users: The users' ids, as text.
        items: The items' ids, as text.
        version: [n] strings, which model's version answered; None where unknown.
        segment: [n] strings, such as "new users"; None where unknown.
        arm: [n] strings, the arm of an experiment; None where unknown.
        propensity: [n] float64, the chance that this item was shown at this place,
            above 0 and at most 1; None where unknown.
        score: [n] float64, what the model said of the item; None where unknown.
        repeated: How many rows were left out that say the same as one before them.
    """

    request: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    position: np.ndarray
    users: np.ndarray
    items: np.ndarray
    version: np.ndarray | None = None
    segment: np.ndarray | None = None
    arm: np.ndarray | None = None
    propensity: np.ndarray | None = None
    score: np.ndarray | None = None
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(
        cls,
        table: Mapping[str, Any] | pd.DataFrame,
        *,
        time_unit: str = "s",
        time_zone: str = "UTC",
        day_first: bool | None = None,
    ) -> Served:
        """Reads a table, whose rows may come in any order.

        A row that has the request, user, item, position and time of a row before it is
        the same impression, delivered twice: it is left out and counted.

        Args:
            table: Columns user, item, time (a date or seconds since the epoch) and
                position (from 1 on), one row an item that was shown; where they are
                known request (the list's id; user and time tell lists apart without
                it), version, segment, arm, propensity and score. Others are not read.
                A pandas frame, or arrays by name.
            time_unit: Of times that are numbers: "s", "ms", "us" or "ns".
            time_zone: Of dates that name none, as in "Europe/London".
            day_first: Whether dates such as 01/12/2010 have their day first; as the
                table's other dates show when left out.

        Raises:
            ValueError: There are no rows, or a column is missing or holds something
                else (the error has the row); or there is no such unit or zone.
            ImportError: pandas is not installed.
        """
        traffic = Traffic(
            table,
            Rules(time_unit=time_unit, time_zone=time_zone, day_first=day_first),
        )
        traffic.require(("user", "item", "time", "position"))
        time = traffic.times()
        again = traffic.repeated(IMPRESSION, "drop")
        if again.any():
            traffic, time = traffic.where(~again), time[~again]
        users, user = _codes(traffic, "user")
        items, item = _codes(traffic, "item")
        if "request" in traffic:
            _, request = _codes(traffic, "request")
        else:
            moments, moment = np.unique(time, return_inverse=True)
            request = np.unique(user * len(moments) + moment, return_inverse=True)[1]
        propensity = None
        if "propensity" in traffic:
            propensity = traffic.numbers(
                "propensity", "a chance above 0 and at most 1", np.nextafter(0, 1), 1
            )
        return cls(
            request=request,
            user=user,
            item=item,
            time=time,
            position=traffic.places(),
            users=users,
            items=items,
            **{
                name: traffic.names(name) if name in traffic else None
                for name in ("version", "segment", "arm")
            },
            propensity=propensity,
            score=(
                traffic.numbers("score", "a finite number")
                if "score" in traffic
                else None
            ),
            repeated=int(again.sum()),
        )

    @classmethod
    def read(
        cls,
        path: PathLike,
        *,
        columns: Mapping[str, str] | None = None,
        time_unit: str = "s",
        time_zone: str = "UTC",
        day_first: bool | None = None,
    ) -> Served:
        """Reads a file, as `of` reads a table.

        Args:
            path: A .csv, .parquet, .jsonl or .xlsx file.
            columns: The file's own names where they differ, by ours:
                `{"user": "customer_id"}`.
            time_unit: As in `of`.
            time_zone: As in `of`.
            day_first: As in `of`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file cannot be read or lacks a column, or as in `of`.
            ImportError: The format needs a package that is not installed.
        """
        return cls.of(
            renamed(read_table(path), columns or {}, path),
            time_unit=time_unit,
            time_zone=time_zone,
            day_first=day_first,
        )


def _codes(traffic: Traffic, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The names of a column, sorted, and [n] int64 places among them."""
    import pandas as pd

    names, code = coded(pd.Series(traffic.names(name), dtype=object))
    return np.array(names, dtype=object), code.astype(np.int64)
