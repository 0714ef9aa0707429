"""A global cut in time: what is learned comes from before it, what is measured after.

A random split, or each user's last event held out, lets a model see the future of
other users: ids that did not exist yet, and fashions that had not begun.
"""

from __future__ import annotations

from typing import NamedTuple

from tfrs_decay.data.events import Events
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
    last = int(events.time.max())
    test_cut = last - int(to_seconds(test, "test"))
    validation_cut = test_cut - int(to_seconds(validation, "validation"))
    first = int(events.time.min())
    if first > validation_cut:
        raise ValueError(
            f"the log spans {to_text(last - first)}, from {days_of(events.time)}, "
            "which leaves nothing to train on before a validation period of "
            f"{validation} and a test period of {test}: shorten them."
        )
    return TimeSplit(validation_cut, test_cut)
