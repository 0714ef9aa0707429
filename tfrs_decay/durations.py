"""The one place that reads a duration as people write it."""

from __future__ import annotations

import datetime
import math
import re

import numpy as np

Duration = str | int | float | datetime.timedelta | np.timedelta64

_SECONDS = {
    "s": 1,
    "m": 60,
    "h": 3_600,
    "d": 86_400,
    "w": 7 * 86_400,
    "y": 365 * 86_400,
}
_CALLED = {
    called: unit
    for unit, names in {
        "s": ("s", "sec", "secs", "second", "seconds"),
        "m": ("m", "min", "mins", "minute", "minutes"),
        "h": ("h", "hr", "hrs", "hour", "hours"),
        "d": ("d", "day", "days"),
        "w": ("w", "wk", "wks", "week", "weeks"),
        "y": ("y", "yr", "yrs", "year", "years"),
    }.items()
    for called in names
}
"""Units as people call them."""

_NEARLY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhdwy])\s*")


def to_seconds(duration: Duration, name: str = "duration") -> float:
    """Reads a positive duration.

    Args:
        duration: "90s", "30m", "36h", "7d", "2w" or "1y" (365 days), a `timedelta`,
            or a number of seconds.
        name: The argument to name in an error.

    Returns:
        Seconds, finite and above 0.

    Raises:
        ValueError: The duration is not written in one of these ways, or is not
            finite and positive.
        TypeError: It is none of these types.

    >>> to_seconds("36h")
    129600.0
    """
    if isinstance(duration, str):
        written = _WRITTEN.fullmatch(duration)
        if written is None:
            raise ValueError(
                f"{name}={duration!r} is not a duration: write a number and one of "
                f"{', '.join(_SECONDS)}, as in '7d' or '36h'.{_meant(duration)}"
            )
        seconds = float(written[1]) * _SECONDS[written[2]]
    elif isinstance(duration, datetime.timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, np.timedelta64):
        seconds = float(duration / np.timedelta64(1, "s"))
    elif isinstance(duration, (int, float, np.integer, np.floating)) and not isinstance(
        duration, bool
    ):
        seconds = float(duration)
    else:
        raise TypeError(
            f"{name} is a {type(duration).__name__}: give a string such as '7d', a "
            "timedelta, or seconds."
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{name}={duration!r} must be finite and longer than nothing.")
    return seconds


def _meant(written: str) -> str:
    """What may have been meant by a duration that is not written as one is."""
    found = _NEARLY.fullmatch(written)
    unit = "" if found is None else found[2].lower()
    # A capital M is as often a month.
    if found is None or found[2] == "M" or (unit and unit not in _CALLED):
        return ""
    return f" Did you mean '{found[1]}{_CALLED.get(unit, 's')}'?"


def to_text(seconds: float) -> str:
    """Writes seconds in years, days, hours or minutes, the largest that are 1 or more.

    >>> to_text(604_800.0), to_text(5_400.0), to_text(0.5)
    ('7d', '1.5h', '0.5s')
    """
    seconds = float(f"{seconds:.6g}")  # learned values are 1d but for rounding
    for unit in ("y", "d", "h", "m"):
        if abs(seconds) >= _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.4g}{unit}"
    return f"{seconds:.4g}s"
