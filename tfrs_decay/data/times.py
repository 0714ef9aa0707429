"""Times as logs write them: seconds since the epoch, or dates in any common way."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.tables import as_numbers, plain

if TYPE_CHECKING:
    import pandas as pd

LATEST_SECOND = 100_000_000_000
"""Seconds since the epoch in the year 5138: a larger "second" is a millisecond."""

_USUAL = (1e8, 4.2e9)
"""Seconds since the epoch of which logs are made: from 1973 to 2103."""

MOSTLY = 0.9
"""The share of numbers that must be dates for a column to be taken for dates."""

_NAMES = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}

_WITH_ZONE = (
    r"(?:[zZ]|\d:\d{2}(?::\d{2}(?:\.\d+)?)?\s*[+-]\d{2}:?\d{2}| [A-Z]{3,4})\s*$"
)
"""How a date ends that says in which time zone it is."""

_NO_DATE = re.compile(
    r"(?:\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*(?:[+-]\d{2}:?\d{2})?|\D)*"
)
"""Text such as 12:30, now or today, to which pandas adds the day on which it runs."""

_YEARS = (-62_104_060_800, 253_402_300_799)
"""Seconds since the epoch of the first of the year 2 and the last of the year 9999.

What has no year is read as of the year 1, which also stands for no date at all.
"""

_NUMERIC_DATE = re.compile(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-](?:\d{4}|\d{2})(?!\d)")


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


UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Units of times that are numbers: how many of them a second has."""


def seconds_since_epoch(
    times: pd.Series[Any],
    *,
    unit: str = "s",
    zone: str = "UTC",
    day_first: bool | None = None,
    part: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads times as seconds since the epoch.

    Each time is read by itself, with one exception. "01/12/2010" is the twelfth of
    January, unless a time of the same column, such as "13/12/2010", can only have its
    day first: then they all have. `day_first` says it instead, and what does not fit
    it cannot be read.

    The years 2 to 9999 can be: the year 1 stands for no date in many programs. Nor can
    text without a date, such as 12:30 or now.

    Args:
        times: [n] numbers, datetimes, or text.
        unit: Of numbers, one of `UNITS`.
        zone: The time zone of dates that name none.
        day_first: Whether dates such as 01/12/2010 have their day first.
        part: These are some of a column's times, and tell nothing of the others: such
            dates are refused without `day_first`, and numbers are not taken for
            YYYYMMDD (`CompactDates` adds up what each part tells of that).

    Returns:
        [n] int64 seconds, 0 where a time is missing or cannot be read; and [n] bool,
        where it can.

    Raises:
        ValueError: Numbers are too large to be seconds, or most are dates written as
            YYYYMMDD; some dates can only have their day first, and others their month:
            with the row of one. Or there is no such time zone.
    """
    each, code = _each_once(times)
    try:
        if unit == "s" and not part:
            _refuse_compact_dates(each, code)
        seconds, readable = _seconds(each, unit, zone, day_first, part)
    except _WrongTime as error:
        if part:  # Its rows are not those of the log.
            raise ValueError(str(error)) from error
        row = error.row if code is None else int(np.argmax(code == error.row))
        raise ValueError(f"row {row} of the log (the first is 0): {error}") from error
    if code is None:
        return seconds, readable
    # A gap has the code -1.
    return np.append(seconds, 0)[code], np.append(readable, False)[code]


def _each_once(times: pd.Series[Any]) -> tuple[pd.Series[Any], np.ndarray | None]:
    """Distinct times and each row's place among them; or the times as they are.

    A log repeats its times, and text is slow to read. What is no time although pandas
    takes it for a number, such as True, is a gap.
    """
    import pandas as pd

    types = pd.api.types
    code = None
    categories = isinstance(times.dtype, pd.CategoricalDtype)
    if categories or (types.is_string_dtype(times) and not times.is_unique):
        code, distinct = pd.factorize(times)
        times = pd.Series(distinct)
    if categories:
        times = times.astype(times.cat.categories.dtype)
    if types.is_bool_dtype(times) or types.is_timedelta64_dtype(times):
        return pd.Series(np.nan, index=times.index), code
    times = plain(times)
    if times.dtype == object and types.infer_dtype(times) != "integer":
        flags = [isinstance(one, (bool, np.bool_)) for one in times]
        times = times.mask(np.array(flags, bool))
    return times, code


class _WrongTime(ValueError):
    """What shows that a column is read in another way than it was written."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = int(row)


def _seconds(
    times: pd.Series[Any], unit: str, zone: str, day_first: bool | None, part: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`seconds_since_epoch` of what `_each_once` leaves."""
    import pandas as pd

    types = pd.api.types
    seconds = np.full(len(times), np.nan)  # exact: far below 2^53
    left = times.notna().to_numpy()
    if not types.is_datetime64_any_dtype(times):
        read = pd.to_numeric(times[left], errors="coerce")
        if types.is_integer_dtype(read) and read.notna().all():
            # Whole numbers throughout stay so: nanoseconds are beyond a float.
            given = read.to_numpy(
                "uint64" if types.is_unsigned_integer_dtype(read) else "int64"
            )
            fits = _that_fit(
                given.astype(np.float64) / UNITS[unit], np.flatnonzero(left), unit
            )
            whole = np.zeros(len(times), np.int64)
            left = left.copy()
            left[left] = fits
            whole[left] = given[fits].astype(np.int64) // UNITS[unit]
            return whole, left
        numbers = np.full(len(times), np.nan)
        numbers[left] = read.to_numpy("float64", na_value=np.nan)
        numeric = np.isfinite(numbers)
        found = np.floor(numbers[numeric] / UNITS[unit])
        fits = _that_fit(found, np.flatnonzero(numeric), unit)
        seconds[numeric] = np.where(fits, found, np.nan)
        left = left & ~numeric & (not types.is_numeric_dtype(times))
    if left.any():
        rows = np.flatnonzero(left)
        seconds[left] = _read_dates(times[left], rows, zone, day_first, part)
    readable = np.isfinite(seconds)
    return np.where(readable, seconds, 0).astype(np.int64), readable


class CompactDates(NamedTuple):
    """How many of a column's numbers are dates such as 20231201, and no seconds.

    numbers: [] int, the numbers, row by row.
    dates: [] int, those of them that are dates written as YYYYMMDD.
    earliest: [] int, of the dates; None where there is none.
    """

    numbers: int = 0
    dates: int = 0
    earliest: int | None = None

    @classmethod
    def of(cls, times: pd.Series[Any]) -> CompactDates:
        """Counts in a column, or in a part of one, which `together` adds up."""
        return _count_compact_dates(*_each_once(times))

    @classmethod
    def together(cls, parts: Iterable[CompactDates]) -> CompactDates:
        """Of a column, from its parts."""
        parts = list(parts)
        return cls(
            sum(part.numbers for part in parts),
            sum(part.dates for part in parts),
            min(
                (part.earliest for part in parts if part.earliest is not None),
                default=None,
            ),
        )

    def refuse(self) -> None:
        """Refuses a column whose numbers are dates: as seconds, days of 1970.

        Raises:
            ValueError: Most of them are, for a log of dates has a typing error or a 0
                in it, too.
        """
        if self.dates and self.dates >= MOSTLY * self.numbers:
            raise ValueError(
                "the times look like dates written as YYYYMMDD, such as "
                f"{self.earliest} ({self.dates} of {self.numbers} numbers): write "
                "2023-12-01, or seconds since the epoch."
            )


def _count_compact_dates(
    times: pd.Series[Any], code: np.ndarray | None
) -> CompactDates:
    """Of what `_each_once` gives."""
    import pandas as pd

    numbers = as_numbers(times).to_numpy("float64", na_value=np.nan)
    rows = np.ones(len(numbers), np.int64)
    if code is not None:
        rows = np.bincount(code[code >= 0], minlength=len(numbers))
    counted = int(rows[np.isfinite(numbers)].sum())
    possible = (numbers >= 19000101) & (numbers <= 21001231)
    written, place = np.unique(numbers[possible].astype(np.int64), return_inverse=True)
    read = pd.to_datetime(
        pd.Series(written).astype(str), format="%Y%m%d", errors="coerce"
    )
    are = read.notna().to_numpy()
    if not are.any():
        return CompactDates(counted)
    dates = int(rows[possible][are[place]].sum())
    return CompactDates(counted, dates, int(written[are].min()))


def _refuse_compact_dates(times: pd.Series[Any], code: np.ndarray | None) -> None:
    """Refuses what `_each_once` gives, with a row of the dates."""
    found = _count_compact_dates(times, code)
    try:
        found.refuse()
    except ValueError as error:
        numbers = as_numbers(times).to_numpy("float64", na_value=np.nan)
        row = int(np.argmax(np.floor(numbers) == found.earliest))
        raise _WrongTime(row, str(error)) from None


def _that_fit(seconds: np.ndarray, rows: np.ndarray, unit: str) -> np.ndarray:
    """[n] bool, the numbers that are times; those of another unit raise.

    What would be no time in any unit is one cell that went wrong. `rows` are where the
    numbers stand.
    """
    size = np.abs(seconds)
    fits = size < LATEST_SECOND
    for finer, parts in UNITS.items():
        scaled = size[~fits] * UNITS[unit] / parts
        usual = (scaled >= _USUAL[0]) & (scaled <= _USUAL[1])
        if parts > UNITS[unit] and usual.any():
            number = size[~fits][usual][0] * UNITS[unit]
            raise _WrongTime(
                rows[~fits][usual][0],
                f"a time of {number:.0f} is too large to be {_NAMES[unit]} since the "
                f"epoch; it looks like {_NAMES[finer]}: say so (time_unit={finer!r}).",
            )
    return fits


def _read_dates(
    dates: pd.Series[Any],
    rows_of: np.ndarray,
    zone: str,
    day_first: bool | None,
    part: bool,
) -> np.ndarray:
    """[n] float64 seconds since the epoch of datetimes and text; NaN if unreadable.

    `rows_of` are where the dates stand.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(dates):
        naive = np.full(len(dates), dates.dt.tz is None)
        parts = [(np.ones(len(dates), bool), False)]
    else:
        naive = ~dates.astype(str).str.contains(_WITH_ZONE, regex=True).to_numpy(bool)
        fields = [
            _NUMERIC_DATE.match(one) if isinstance(one, str) else None for one in dates
        ]
        numeric = np.array([one is not None for one in fields])
        # Apart, for pandas would read 2010-01-12 with its day first as well.
        found = [one for one in fields if one is not None]
        if day_first is None:
            order = _day_comes_first(found, rows_of[numeric], part)
        else:
            order = day_first
            impossible = _cannot_be(found, day_first)
            numeric[np.flatnonzero(numeric)[impossible]] = False
        # What does not fit what was said of the dates is in neither part.
        others = [
            field is None and _may_be_date(one)
            for field, one in zip(fields, dates, strict=True)
        ]
        parts = [(numeric, order), (np.array(others), False)]
    seconds = np.full(len(dates), np.nan)
    for rows, first in parts:
        moments = pd.to_datetime(
            dates[rows],
            utc=True,
            errors="coerce",
            format="mixed",
            dayfirst=first,
        )
        whole = moments.dt.tz_localize(None).to_numpy("datetime64[s]")
        seconds[rows] = np.where(np.isnat(whole), np.nan, whole.astype(np.int64))
    seconds[(seconds < _YEARS[0]) | (seconds > _YEARS[1])] = np.nan
    if zone != "UTC":
        # Next to the end no zone can be asked how it differs.
        seconds[naive & (seconds > _YEARS[1] - 2 * 86_400)] = np.nan
        naive = naive & np.isfinite(seconds)
        seconds[naive] = _in_zone(seconds[naive], zone)
    return seconds


def _may_be_date(value: object) -> bool:
    """Whether pandas is to read it; infinity would cost the year 2262 its reading."""
    if isinstance(value, str):
        return not _NO_DATE.fullmatch(value)
    return isinstance(value, (datetime.date, np.datetime64))


def _in_zone(seconds: np.ndarray, zone: str) -> np.ndarray:
    """What a zone's clock showed as if it were UTC, read as that zone's."""
    import pandas as pd

    shown = pd.to_datetime(pd.Series(seconds.astype(np.int64)), unit="s")
    try:
        moments = shown.dt.tz_localize(
            zone, ambiguous=np.ones(len(shown), bool), nonexistent="shift_forward"
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"time_zone={zone!r}: there is no such time zone.") from error
    utc = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    return utc.to_numpy("datetime64[s]").astype(np.float64)


def _cannot_be(dates: Iterable[re.Match[str]], day_first: bool) -> list[bool]:
    """Which of some dates have a month above 12 in this order."""
    return [int(date[2 if day_first else 1]) > 12 for date in dates]


def _day_comes_first(
    dates: Iterable[re.Match[str]], rows: np.ndarray, part: bool
) -> bool:
    """Whether a date such as 13/12/2010 shows that all have the day first."""
    day_first = month_first = None
    for date, row in zip(dates, rows, strict=True):
        first, second = int(date[1]), int(date[2])
        if part and first != second:
            raise _WrongTime(
                row,
                f"{date.string!r} may have its day first or its month, which a part of "
                "a log cannot tell: say so (day_first=True or False).",
            )
        if first > 12 >= second:
            day_first = date.string
        elif second > 12 >= first:
            month_first = date.string
        if day_first is not None and month_first is not None:
            raise _WrongTime(
                row,
                f"{day_first!r} has its day first and {month_first!r} its month: write "
                "times as 2010-12-31 08:26.",
            )
    return day_first is not None
