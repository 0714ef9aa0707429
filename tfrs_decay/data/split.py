"""A global cut in time: what is learned comes from before it, what is measured after.

A random split, or each user's last event held out, lets a model see the future of
other users: ids that did not exist yet, and fashions that had not begun.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.times import days_of
from tfrs_decay.durations import Duration, to_seconds, to_text


class TimeSplit(NamedTuple):
    """Two cuts, in seconds since the epoch.

    Training is what happened at or before `validation`; choices (stopping, rates) are
    made on what came after it, at or before `test`; figures come from after `test`.
    A model that is refitted once everything is chosen trains at or before `test`.
    """

    validation: int
    test: int


def split_by_time(
    events: Events, *, test: Duration = "30d", validation: Duration = "30d"
) -> TimeSplit:
    """Cuts the last part of a log off for tests, and one before it for validation.

    Args:
        events: Clean events.
        test: How long before the last event the test period begins.
        validation: How long before that the validation period begins.

    Returns:
        The cuts: an event *at* a cut is still before it.

    Raises:
        ValueError: No event lies before the validation period, or there are none.
    """
    if not len(events):
        raise ValueError("there are no events to split.")
    first, last = int(events.time.min()), int(events.time.max())
    return split_of_span(first, last, test=test, validation=validation)


def split_of_span(
    first: int, last: int, *, test: Duration = "30d", validation: Duration = "30d"
) -> TimeSplit:
    """As `split_by_time`, of events of which only the first and last time are known.

    Args:
        first: Seconds since the epoch.
        last: Likewise.
        test: How long before the last event the test period begins.
        validation: How long before that the validation period begins.

    Raises:
        ValueError: No event lies before the validation period.
    """
    test_cut = last - int(to_seconds(test, "test"))
    validation_cut = test_cut - int(to_seconds(validation, "validation"))
    if first > validation_cut:
        days = days_of(np.array([first, last]))
        raise ValueError(
            f"the log spans {to_text(last - first)}, from {days}, "
            "which leaves nothing to train on before a validation period of "
            f"{validation} and a test period of {test}: shorten them."
        )
    return TimeSplit(validation_cut, test_cut)


def events_until(events: Events, until: int, name: str = "until") -> Events:
    """The events at or before a cut: what a statistic frozen there may know.

    Args:
        events: Clean events.
        until: The cut, seconds since the epoch.
        name: What it is called, for the error.

    Raises:
        ValueError: There is none.
    """
    past = events.time <= until
    if not past.any():
        raise ValueError(
            f"{name}={until}: none of {len(events):,} events is at or before it; "
            "give a later cut, in seconds since the epoch."
        )
    return events.where(past)


class Window(NamedTuple):
    """A split whose test period ends.

    split: The cuts of its validation and test periods.
    end: The last second of its test period.
    """

    split: TimeSplit
    end: int


def rolling_windows(
    events: Events,
    *,
    windows: int = 3,
    test: Duration = "30d",
    validation: Duration = "30d",
) -> list[Window]:
    """Cuts several test periods off a log, one after the other, each as in production.

    The model of a window trains on all that came before it. Figures of several windows
    say how much they vary from month to month.

    Args:
        events: Clean events.
        windows: How many; the last ends with the last event.
        test: How long each test period is.
        validation: How long before each its validation period begins.

    Returns:
        The windows, the earliest first; no second is in two test periods.

    Raises:
        ValueError: `windows` is below 1, or nothing is left to train the first on.
    """
    if windows < 1:
        raise ValueError(f"windows={windows} must be 1 or more.")
    length = int(to_seconds(test, "test"))
    split_by_time(events, test=windows * length, validation=validation)
    last, before = int(events.time.max()), int(to_seconds(validation, "validation"))
    ends = [last - number * length for number in reversed(range(windows))]
    return [Window(TimeSplit(end - length - before, end - length), end) for end in ends]


class LeakWarning(UserWarning):
    """A split lets a model learn from what happened after a test query."""


def leave_last_out(queries: Queries) -> tuple[Queries, Queries]:
    """Each user's last queries apart from the earlier ones, as many papers have it.

    Several are the last where they are of the same time.

    It leaks, and says so: other users' training queries lie after a test query, and
    tell of items and fashions that had not begun. Use `split_by_time` for figures that
    a launch will bear out.

    Args:
        queries: In the order of user and time, as they are made.

    Returns:
        The earlier queries, and each user's last.

    Raises:
        ValueError: There are no queries.
    """
    if not len(queries):
        raise ValueError("there are no queries to split.")
    ends = np.append(np.diff(queries.user) != 0, True)
    # All of a user's queries at one time know the same: none may be trained on.
    of_user = np.cumsum(np.concatenate([[False], ends[:-1]]))
    last = queries.time == queries.time[ends][of_user]
    earlier, held_out = queries.where(~last), queries.where(last)
    later = float((earlier.time > held_out.time.min()).mean()) if len(earlier) else 0.0
    warnings.warn(
        f"leave_last_out leaks: {later:.0%} of the training queries lie after the "
        "first test query. Figures will be too good; split_by_time has none of it.",
        LeakWarning,
        stacklevel=2,
    )
    return earlier, held_out
