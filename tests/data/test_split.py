"""A cut in time: what stands exactly at it is before it."""

from __future__ import annotations

import datetime
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import (
    Events,
    LeakWarning,
    RawLog,
    TimeSplit,
    basket_queries,
    clean,
    event_queries,
    leave_last_out,
    rolling_windows,
    split_by_time,
)

DAY = 86_400


def events_at(*times: int, user: str = "u") -> Events:
    rows = [(user, time, f"item {time}") for time in times]
    random.Random(7).shuffle(rows)
    table = pd.DataFrame(rows, columns=["user", "time", "item"])
    return clean(RawLog(table, None, {})).events


def test_the_cuts_are_counted_back_from_the_last_event():
    events = events_at(0, 50 * DAY, 100 * DAY)
    assert split_by_time(events) == TimeSplit(validation=40 * DAY, test=70 * DAY)
    assert split_by_time(events, test="1w", validation="36h") == TimeSplit(
        validation=93 * DAY - 36 * 3_600, test=93 * DAY
    )


def test_durations_are_read_as_everywhere_else():
    events = events_at(0, 100 * DAY)
    week = datetime.timedelta(days=7)
    assert split_by_time(events, test=week, validation=7 * DAY) == TimeSplit(
        validation=86 * DAY, test=93 * DAY
    )


def test_an_event_at_a_cut_is_before_it():
    validation, test, last = 40 * DAY, 70 * DAY, 100 * DAY
    events = events_at(0, validation, validation + 1, test, test + 1, last)
    cuts = split_by_time(events)
    assert cuts == (validation, test)

    def times(**cut):
        return basket_queries(events, **cut).time.tolist()

    assert times(until=cuts.validation) == [validation]
    assert times(after=cuts.validation, until=cuts.test) == [validation + 1, test]
    assert times(after=cuts.test) == [test + 1, last]


def test_one_event_at_the_validation_cut_is_enough_to_train_on():
    events = events_at(40 * DAY, 100 * DAY)
    assert split_by_time(events).validation == 40 * DAY


def test_a_log_too_short_for_its_periods_says_how_long_it_is():
    events = events_at(40 * DAY + 1, 100 * DAY)
    with pytest.raises(
        ValueError,
        match=r"spans 60d, from 1970-02-10 to 1970-04-11, .* of 30d .* 30d: shorten",
    ):
        split_by_time(events)
    with pytest.raises(ValueError, match=r"validation period of 50d and .* of 15d"):
        split_by_time(events, test="15d", validation="50d")


def test_no_events_cannot_be_split():
    events = events_at(0)
    with pytest.raises(ValueError, match="no events to split"):
        split_by_time(events.where(np.zeros(1, bool)))


@pytest.mark.parametrize("name", ["test", "validation"])
def test_a_wrong_duration_is_named(name):
    with pytest.raises(ValueError, match=rf"{name}='a month' .* as in '7d'"):
        split_by_time(events_at(0, 100 * DAY), **{name: "a month"})


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 40), min_size=2, max_size=20),
    test=st.integers(1, 10),
    validation=st.integers(1, 10),
)
def test_each_query_is_in_exactly_one_period(times, test, validation):
    events = events_at(-100, *times)
    cuts = split_by_time(events, test=test, validation=validation)
    periods = [
        basket_queries(events, until=cuts.validation),
        basket_queries(events, after=cuts.validation, until=cuts.test),
        basket_queries(events, after=cuts.test),
    ]
    together = np.concatenate([period.time for period in periods])
    assert together.tolist() == basket_queries(events).time.tolist()
    assert cuts.validation < cuts.test < events.time.max()


def test_rolling_windows_follow_each_other_without_overlap():
    events = events_at(*range(0, 101 * DAY, DAY))
    windows = rolling_windows(events, windows=2, test="20d", validation="10d")
    assert windows == [
        (TimeSplit(50 * DAY, 60 * DAY), 80 * DAY),
        (TimeSplit(70 * DAY, 80 * DAY), 100 * DAY),
    ]
    times = [
        basket_queries(events, after=one.split.test, until=one.end).time
        for one in windows
    ]
    assert np.concatenate(times).tolist() == list(range(61 * DAY, 101 * DAY, DAY))
    (last,) = rolling_windows(events, windows=1)
    assert last.split == split_by_time(events)


def test_windows_that_leave_nothing_to_train_on_are_refused():
    events = events_at(0, 100 * DAY)
    with pytest.raises(ValueError, match="leaves nothing to train on before"):
        rolling_windows(events, windows=4, test="30d")
    with pytest.raises(ValueError, match="windows=0 must be 1 or more"):
        rolling_windows(events, windows=0)


def test_the_last_query_of_each_user_with_a_warning_that_it_leaks():
    rows = [
        *[("u", time, f"i{time}") for time in (0, 10, 20, 30)],
        *[("v", time, f"i{time}") for time in (0, 12)],
    ]
    table = pd.DataFrame(rows, columns=["user", "time", "item"])
    events = clean(RawLog(table, None, {})).events
    queries = basket_queries(events)
    with pytest.warns(LeakWarning, match=r"50% of the training queries lie after"):
        earlier, last = leave_last_out(queries)
    assert earlier.time.tolist() == [10, 20]
    assert list(zip(events.users[last.user], last.time, strict=True)) == [
        ("u", 30),
        ("v", 12),
    ]
    with pytest.raises(ValueError, match="there are no queries to split"):
        leave_last_out(queries.where(np.zeros(4, bool)))


def test_queries_of_one_time_are_held_out_together():
    rows = [("u", "a", 1), *(("u", one, 2) for one in "bcd")]
    table = pd.DataFrame(rows, columns=["user", "item", "time"])
    events = clean(RawLog(table, None, {})).events
    with pytest.warns(LeakWarning):
        earlier, last = leave_last_out(event_queries(events))
    assert len(earlier) == 0 and last.time.tolist() == [2, 2, 2]
