"""Times as logs write them: seconds since the epoch, or dates in any common way."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LATEST_SECOND = 100_000_000_000
"""Seconds since the epoch in the year 5138: a larger "second" is a millisecond."""

MOSTLY = 0.9
"""The share of numbers that must be dates for a column to be taken for dates."""

_NUMERIC_DATE = re.compile(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}\b")


def refuse_dates(times: np.ndarray, name: str) -> None:
    """Refuses dates where integer seconds are read.

    Args:
        times: An array of anything.
        name: The argument's, for the error.

    Raises:
        ValueError: It holds dates.
    """
    found = times.dtype.name
    if times.dtype.kind == "O":
        dates = [type(one) for one in times.flat if isinstance(one, datetime.date)]
        found = f"an array of {dates[0].__name__}" if dates else ""
    if times.dtype.kind == "M" or (times.dtype.kind == "O" and found):
        raise ValueError(
            f"{name} is {found}: give integer seconds since the epoch, as "
            ".astype('datetime64[s]').astype('int64') makes them of an array of dates."
        )


def day_of(seconds: int) -> str:
    """A moment's day in UTC.

    >>> day_of(1_700_000_000)
    '2023-11-14'
    """
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def moment_of(seconds: int) -> str:
    """A moment to the second in UTC.

    >>> moment_of(1_700_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    return f"{np.datetime64(int(seconds), 's')!s} UTC".replace("T", " ", 1)


def days_of(times: np.ndarray) -> str:
    """The first and the last day of one time or more, for people.

    >>> days_of(np.asarray([1_700_000_000, 0]))
    '1970-01-01 to 2023-11-14'
    """
    return f"{day_of(times.min())} to {day_of(times.max())}"


def seconds_since_epoch(times: pd.Series[Any]) -> pd.Series[Any]:
    """Reads times as nullable int64 seconds since the epoch; unreadable ones are NA.

    Each time is read by itself, with one exception. "01/12/2010" is the twelfth of
    January, unless a time of the same column, such as "13/12/2010", can only have its
    day first: then they all have.

    Raises:
        ValueError: Numbers are too large to be seconds, or most are dates written as
            YYYYMMDD; or some dates can only have their day first, and others their
            month.
    """
    import pandas as pd

    types = pd.api.types
    if types.is_string_dtype(times) and not times.is_unique:
        # A log repeats its times, and text is slow to read: each is read once.
        code, distinct = pd.factorize(times)
        read = seconds_since_epoch(pd.Series(distinct)).to_numpy(
            "float64", na_value=np.nan
        )
        seconds = np.append(read, np.nan)[code]  # a gap has the code -1
        return pd.Series(seconds, index=times.index).astype("Int64")
    seconds = np.full(len(times), np.nan)  # exact: far below 2^53
    left = times.notna().to_numpy()
    if types.is_bool_dtype(times) or types.is_timedelta64_dtype(times):
        left = np.zeros(len(times), bool)  # numbers to pandas, but no times
    elif not types.is_datetime64_any_dtype(times):
        numbers = pd.to_numeric(times, errors="coerce").to_numpy(
            "float64", na_value=np.nan
        )
        numeric = np.isfinite(numbers)
        seconds[numeric] = np.floor(numbers[numeric])
        largest = np.abs(numbers[numeric]).max(initial=0)
        if largest >= LATEST_SECOND:
            raise ValueError(
                f"a time of {largest:.0f} is too large to be seconds since the epoch; "
                "it looks like milliseconds: divide by 1000."
            )
        _refuse_compact_dates(numbers[numeric])
        left = left & ~numeric & (not types.is_numeric_dtype(times))
    if left.any():
        seconds[left] = _read_dates(times[left])
    return pd.Series(seconds, index=times.index).astype("Int64")


def _refuse_compact_dates(numbers: np.ndarray) -> None:
    """Refuses numbers that are dates such as 20231201: as seconds, days of 1970."""
    import pandas as pd

    possible = (numbers >= 19000101) & (numbers <= 21001231)
    if not len(numbers) or possible.mean() < MOSTLY:
        return
    written = pd.Series(np.unique(numbers[possible])).astype("int64").astype(str)
    dates = pd.to_datetime(written, format="%Y%m%d", errors="coerce").notna()
    # Most of them, for a log of dates has a typing error or a 0 in it, too.
    if dates.mean() >= MOSTLY:
        raise ValueError(
            "the times look like dates written as YYYYMMDD, such as "
            f"{written[dates].iloc[0]}: write 2023-12-01, or seconds since the epoch."
        )


def _read_dates(dates: pd.Series[Any]) -> np.ndarray:
    """[n] float64 seconds since the epoch of datetimes and text; NaN if unreadable."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(dates):
        parts = [(np.ones(len(dates), bool), False)]
    else:
        fields = [
            _NUMERIC_DATE.match(one) if isinstance(one, str) else None for one in dates
        ]
        numeric = np.array([one is not None for one in fields])
        # Apart, for pandas would read 2010-01-12 with its day first as well.
        parts = [
            (numeric, _day_comes_first(filter(None, fields))),
            (~numeric, False),
        ]
    seconds = np.full(len(dates), np.nan)
    for rows, day_first in parts:
        moments = pd.to_datetime(
            dates[rows],
            utc=True,
            errors="coerce",
            format="mixed",
            dayfirst=day_first,
        )
        whole = moments.dt.tz_localize(None).to_numpy("datetime64[s]")
        seconds[rows] = np.where(np.isnat(whole), np.nan, whole.astype(np.int64))
    return seconds


def _day_comes_first(dates: Iterable[re.Match[str]]) -> bool:
    """Whether a date such as 13/12/2010 shows that all have the day first."""
    day_first = month_first = None
    for date in dates:
        first, second = int(date[1]), int(date[2])
        if first > 12 >= second:
            day_first = date.string
        elif second > 12 >= first:
            month_first = date.string
    if day_first is not None and month_first is not None:
        raise ValueError(
            f"{day_first!r} has its day first and {month_first!r} its month: write "
            "times as 2010-12-31 08:26."
        )
    return day_first is not None
