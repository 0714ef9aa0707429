"""`tfrs_decay.data.cleaning`: a dirty log becomes events, and every row is counted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import Cleaned, Events, RawLog, Rules, clean
from tfrs_decay.data.cleaning import as_text
from tfrs_decay.data.times import CompactDates, seconds_since_epoch

UTC = datetime.timezone.utc
NOON = 1_704_110_400  # 2024-01-01 12:00:00 UTC
AGAIN = "same user, item, time and action as another row"

# Eight rows: five events, and three that are left out.
ROWS = [
    ("ann", "lantern", NOON, "browse"),
    ("ann", "lantern", NOON + 60, "purchase"),
    ("ann", "mug", NOON + 60, "purchase"),
    ("bob", "mug", 0, "browse"),
    ("bob", "lantern", -3_600, "browse"),
    ("ann", "mug", NOON + 60, "purchase"),  # twice
    (None, "mug", NOON, "browse"),  # by nobody
    ("bob", "mug", None, "browse"),  # at no time
]


def log_of(
    rows: Sequence[Sequence[Any]],
    names: Sequence[str] = ("user", "item", "time", "action"),
    *,
    seed: int = 0,
    items: pd.DataFrame | None = None,
    rejected: dict[str, int] | None = None,
) -> RawLog:
    """The rows in a random order, under a random index."""
    order = np.random.default_rng(seed).permutation(len(rows))
    columns = {
        name: pd.Series([rows[n][place] for n in order], index=order, dtype=object)
        for place, name in enumerate(names)
    }
    return RawLog(pd.DataFrame(columns), items, rejected or {})


def named(events: Events) -> list[tuple[str, str, int, str]]:
    """Events by their names, in their own order."""
    return [
        (
            str(events.users[events.user[n]]),
            str(events.items.ids[events.item[n]]),
            int(events.time[n]),
            events.actions[events.action[n]],
        )
        for n in range(len(events))
    ]


def cleaned_times(times: Sequence[Any]) -> Cleaned:
    return clean(log_of([("u", f"i{n}", t) for n, t in enumerate(times)], NAMES))


NAMES = ("user", "item", "time")


# --- cleaning ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_events_come_sorted_by_user_time_action_and_item(seed: int) -> None:
    result = clean(log_of(ROWS, seed=seed))
    events, rejected = result.events, result.rejected
    assert named(events) == [
        ("ann", "lantern", NOON, "browse"),
        ("ann", "lantern", NOON + 60, "purchase"),
        ("ann", "mug", NOON + 60, "purchase"),
        ("bob", "lantern", -3_600, "browse"),
        ("bob", "mug", 0, "browse"),
    ]
    assert rejected == {"no user": 1, "no time": 1, AGAIN: 1}
    for column in (events.user, events.time, events.action, events.item):
        assert column.dtype == np.int64


def test_actions_sort_before_items() -> None:
    rows = [("u", "a", 5, "z"), ("u", "b", 5, "y"), ("u", "c", 4, "z")]
    assert [row[1] for row in named(clean(log_of(rows)).events)] == ["c", "b", "a"]


def test_known_actions_keep_their_order_and_others_are_left_out() -> None:
    rows = [("u", "a", 1, "view"), ("u", "a", 2, "buy"), ("u", "a", 3, "crawl")]
    result = clean(log_of(rows), actions=["view", "buy", "share"])
    events, rejected = result.events, result.rejected
    assert events.actions == ("view", "buy", "share")
    assert events.action.tolist() == [0, 1]
    assert rejected == {"action not one of ['view', 'buy', 'share']": 1}


def test_a_missing_action_is_counted() -> None:
    rows = [("u", "a", 1, None), ("u", "a", 2, "buy"), ("u", "a", 3, " ")]
    result = clean(log_of(rows))
    events, rejected = result.events, result.rejected
    assert events.actions == ("buy",)
    assert events.time.tolist() == [2]
    assert rejected == {"no action": 2}


def test_a_log_without_actions_is_of_purchases() -> None:
    events = clean(log_of([("u", "a", 1)], NAMES)).events
    assert events.actions == ("purchase",)


def test_each_row_is_left_out_under_its_first_reason() -> None:
    rows = [
        (None, None, None, "x"),
        ("u", None, None, "x"),
        ("u", "i", None, "x"),
        ("u", "i", "soon", "x"),
        ("u", "i", 11, "x"),
        ("u", "i", 11, "buy"),
        ("u", "i", 10, "buy"),
        ("u", "i", 10, "buy"),
    ]
    result = clean(log_of(rows), actions=["buy"], now=10)
    events, rejected = result.events, result.rejected
    assert list(rejected.items()) == [
        ("no user", 1),
        ("no item", 1),
        ("no time", 1),
        ("time cannot be read", 1),
        ("action not one of ['buy']", 1),
        ("time after now", 1),
        (AGAIN, 1),
    ]
    assert len(events) == 1


def test_now_itself_is_not_the_future() -> None:
    rows = [("u", "i", NOON), ("u", "i", NOON + 1)]
    result = clean(log_of(rows, NAMES), now=NOON)
    events, rejected = result.events, result.rejected
    assert events.time.tolist() == [NOON]
    assert rejected == {"time after now": 1}


def test_the_same_item_again_later_or_by_another_action_is_no_duplicate() -> None:
    rows = [("u", "i", 1, "a"), ("u", "i", 2, "a"), ("u", "i", 1, "b")]
    assert len(clean(log_of(rows)).events) == 3
    assert len(clean(log_of([*rows, ("v", "i", 1, "a")])).events) == 4


def test_fractions_of_one_second_are_one_time() -> None:
    rows = [("u", "i", 1.25), ("u", "i", 1.75), ("u", "i", 2.0)]
    result = clean(log_of(rows, NAMES))
    events, rejected = result.events, result.rejected
    assert events.time.tolist() == [1, 2]
    assert rejected == {AGAIN: 1}


def test_what_the_source_left_out_is_counted_on() -> None:
    log = log_of(ROWS, rejected={"a return": 7, "no user": 2, AGAIN: 4})
    rejected = clean(log).rejected
    assert rejected == {"a return": 7, "no user": 3, "no time": 1, AGAIN: 5}
    assert log.rejected == {"a return": 7, "no user": 2, AGAIN: 4}


def test_users_and_items_without_an_event_that_is_kept_are_gone() -> None:
    events = clean(log_of([("u", "i", 1), ("v", "j", None)], NAMES)).events
    assert events.users.tolist() == ["u"]
    assert events.items.ids.tolist() == ["i"]


def test_an_empty_log_is_no_events() -> None:
    empty = pd.DataFrame({"user": [], "item": [], "time": []})
    cleaned = clean(RawLog(empty, None, {}))
    assert len(cleaned.events) == 0 and len(cleaned.events.items) == 0
    assert cleaned.events.users.tolist() == []
    assert cleaned.rejected == {}
    assert cleaned.report() == "0 events kept (0 users, 0 items)"


def test_a_log_of_which_nothing_is_kept() -> None:
    cleaned = clean(log_of([("u", "i", None)], NAMES), actions=["buy"])
    assert len(cleaned.events) == 0
    assert cleaned.events.actions == ("buy",)


def test_the_report_says_what_was_kept_and_what_was_not() -> None:
    rows = [(f"u{n}", "i", n * 86_400) for n in range(1_500)]
    cleaned = clean(log_of([*rows, (None, "i", 1)], NAMES))
    assert cleaned.report().splitlines() == [
        "1,500 events kept (1,500 users, 1 item, 1970-01-01 to 1974-02-08)",
        "1 row left out: no user",
        "1 item has no text",
    ]


def test_each_row_that_was_left_out_has_its_reason() -> None:
    log = log_of(ROWS)
    cleaned = clean(log)
    rows = cleaned.rejected_rows()
    assert rows.columns.tolist() == ["row", "reason"]
    assert rows["reason"].value_counts().to_dict() == cleaned.rejected
    for _, one in rows.iterrows():
        row = log.events.iloc[one["row"]]
        assert one["reason"] != "no user" or row["user"] is None
        assert one["reason"] != "no time" or row["time"] is None
    assert len(rows) + len(cleaned.events) == len(log.events)
    assert cleaned.to_dict() == {
        "events": 5,
        "users": 2,
        "items": 2,
        "first_time": -3_600,
        "last_time": NOON + 60,
        "rejected": cleaned.rejected,
        "filled": {},
        "items_without_text": 2,
        "items_described_twice": 0,
        "items_without_event": 0,
    }


def test_items_that_are_described_twice_are_counted() -> None:
    items = pd.DataFrame(
        {"item": ["a", "a", "b", "b", "z", "z"], "text": ["x", "y", "x", "x", "1", "2"]}
    )
    log = log_of([("u", "a", 1), ("u", "b", 2)], NAMES)._replace(items=items)
    cleaned = clean(log)
    assert cleaned.items_described_twice == 1
    assert (
        "1 item is described more than once: the first by alphabet is kept"
        in cleaned.report()
    )


# --- rules -------------------------------------------------------------------------


def test_a_missing_action_or_value_is_filled_in_by_rule() -> None:
    names = ("user", "item", "time", "action", "value")
    rows = [
        ("u", "a", 1, "buy", 2),
        ("u", "a", 2, None, "3.5"),
        ("u", "a", 3, "buy", None),
        ("u", "a", 4, "buy", "many"),
        ("u", "a", 5, "buy", "inf"),
    ]
    cleaned = clean(log_of(rows, names))
    assert cleaned.events.time.tolist() == [1]
    assert cleaned.rejected == {
        "no action": 1,
        "no value": 1,
        "value is no number": 2,
    }
    rules = Rules(missing_action="look", missing_value=1)
    cleaned = clean(log_of(rows, names), rules=rules)
    assert cleaned.events.time.tolist() == [1, 2, 3]
    assert cleaned.events.value is not None
    assert cleaned.events.value.tolist() == [2.0, 3.5, 1.0]
    assert [row[3] for row in named(cleaned.events)] == ["buy", "look", "buy"]
    assert cleaned.filled == {
        "no action, read as 'look'": 1,
        "no value, read as 1": 1,
    }
    assert "1 row filled in: no value, read as 1" in cleaned.report()


@pytest.mark.parametrize("seed", range(4))
def test_of_rows_that_are_alike_the_largest_value_is_kept(seed: int) -> None:
    names = ("user", "item", "time", "value", "shop")
    rows = [
        ("u", "a", 1, 2.0, "x"),
        ("u", "a", 1, 3.0, "z"),
        ("u", "a", 1, 3.0, "y"),
        ("u", "b", 1, 1.0, None),
    ]
    log = log_of(rows, names, seed=seed)._replace(context=("shop",))
    cleaned = clean(log)
    assert cleaned.events.value is not None
    assert cleaned.events.value.tolist() == [3.0, 1.0]
    assert cleaned.events.context["shop"].tolist() == ["y", ""]
    assert cleaned.rejected == {AGAIN: 2}


def test_a_context_that_is_not_there_is_named() -> None:
    log = log_of(ROWS)._replace(context=("device",))
    with pytest.raises(ValueError, match="the events have no column device; they have"):
        clean(log)


@pytest.mark.parametrize(
    ("unit", "factor"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
@pytest.mark.parametrize("kind", [int, str, float])
def test_times_in_another_unit(unit: str, factor: int, kind: type) -> None:
    times = [kind(NOON * factor), kind((NOON + 1) * factor - 1)]
    log = log_of([("u", f"i{n}", time) for n, time in enumerate(times)], NAMES)
    rules = Rules(time_unit=unit)
    # A float holds nanoseconds of today to a few hundred of them.
    expected = [NOON, NOON + (kind is float and unit == "ns")]
    assert clean(log, rules=rules).events.time.tolist() == expected
    with pytest.raises(ValueError, match=r"too large to be seconds since the epoch"):
        clean(log)


@pytest.mark.parametrize(
    "times",
    [
        [NOON, 2**64 - 1],
        [NOON, "18446744073709551615"],
        [NOON, -(2**63)],
        [float(NOON), 1e300],
        np.array([NOON, 2**64 - 1], np.uint64),
    ],
)
def test_a_number_that_is_no_time_in_any_unit_is_one_that_cannot_be_read(
    times: Any,
) -> None:
    cleaned = cleaned_times(list(times))
    assert cleaned.events.time.tolist() == [NOON]
    assert cleaned.rejected == {"time cannot be read": 1}


def test_two_digit_years_and_times_of_day_follow_the_same_rule() -> None:
    december = 1_291_161_600  # 2010-12-01
    written = ["01/12/10", "13/12/10", "01/12/2010T00:00:00", "01.12.2010"]
    read, readable = seconds_since_epoch(pd.Series(written))
    assert readable.all()
    assert read.tolist() == [december, december + 12 * 86_400, december, december]


def test_a_year_at_the_end_is_no_time_zone() -> None:
    rules = Rules(time_zone="Asia/Tokyo")
    rows = [("u", "a", "13-12-2010"), ("u", "b", "13/12/2010")]
    times = clean(log_of(rows, NAMES), rules=rules).events.time
    assert times.tolist() == [1_292_166_000, 1_292_166_000]


@pytest.mark.parametrize("seed", range(3))
def test_names_of_mixed_kinds_do_not_run_into_each_other(seed: int) -> None:
    rows = [
        (True, "a", 1),
        (1, "a", 2),
        ("1", "a", 3),
        (b"u", "a", 4),
        (["u"], "a", 5),
        (float("inf"), "a", 6),
        ("\ud800", "a", 7),
        (b"\xff", "a", 8),
    ]
    cleaned = clean(log_of(rows, NAMES, seed=seed))
    assert [row[:3:2] for row in named(cleaned.events)] == [
        ("1", 2),
        ("1", 3),
        ("True", 1),
        ("u", 4),
    ]
    assert cleaned.rejected == {"no user": 4}


@pytest.mark.parametrize("dtype", [object, "Int64"])
def test_a_gap_costs_other_times_nothing(dtype: Any) -> None:
    times = pd.Series([(NOON + 1) * 10**9 - 1, None, NOON * 10**9], dtype=dtype)
    read, readable = seconds_since_epoch(times, unit="ns")
    assert read.tolist() == [NOON, 0, NOON]
    assert readable.tolist() == [True, False, True]


def test_of_rows_that_are_alike_the_first_is_kept() -> None:
    rows = [("u", f"i{n % 50}", n % 7) for n in range(2_000)]
    table = pd.DataFrame(rows, columns=list(NAMES))
    cleaned = clean(RawLog(table, None, {}))
    expected = np.flatnonzero(table.duplicated())
    assert cleaned.rejected_rows()["row"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2024-01-01 12:00", NOON),  # winter
        ("2024-07-01 12:00", 1_719_831_600),  # an hour before noon in UTC
        ("2024-07-01 12:00Z", 1_719_835_200),
        ("2024-07-01T12:00:00+02:00", 1_719_828_000),
        ("2024-10-27 01:30", 1_729_989_000),  # shown twice: the first, in summer time
        ("2024-03-31 01:30", 1_711_846_800),  # never shown: the next that is
        (NOON, NOON),
    ],
)
def test_dates_of_a_time_zone(written: Any, seconds: int) -> None:
    log = log_of([("u", "a", written)], NAMES)
    cleaned = clean(log, rules=Rules(time_zone="Europe/London"))
    assert cleaned.events.time.tolist() == [seconds]


def test_bots_are_left_out_altogether() -> None:
    person = [("person", f"i{n}", n * 20) for n in range(9)]
    bot = [("bot", f"i{n}", 1_000 + n * 19) for n in range(4)]
    log = log_of([*person, *bot, ("bot", "later", 99_999)], NAMES)
    cleaned = clean(log, rules=Rules(most_per_minute=3))
    assert cleaned.events.users.tolist() == ["person"] and len(cleaned.events) == 9
    assert cleaned.rejected == {"user with more than 3 events in a minute": 5}
    assert len(clean(log, rules=Rules(most_per_minute=4)).events) == 14
    # A row that stands there twice is no event more.
    twice = log_of([*person, *person], NAMES)
    assert len(clean(twice, rules=Rules(most_per_minute=3)).events) == 9


def test_what_was_taken_back_is_no_interest() -> None:
    rows = [
        ("u", "a", 1, "purchase"),
        ("u", "a", 2, "purchase"),
        ("u", "a", 3, "return"),  # of the second
        ("u", "b", 4, "purchase"),
        ("u", "b", 4, "return"),
        ("u", "c", 5, "return"),  # of nothing
        ("u", "c", 6, "purchase"),
        ("v", "a", 7, "return"),  # somebody else's
        ("u", "a", 8, "browse"),
    ]
    cleaned = clean(log_of(rows), rules=Rules(taken_back={"return": "purchase"}))
    assert named(cleaned.events) == [
        ("u", "a", 1, "purchase"),
        ("u", "c", 6, "purchase"),
        ("u", "a", 8, "browse"),
    ]
    assert cleaned.events.actions == ("browse", "purchase")
    assert cleaned.rejected == {
        "taken back, and the return of it": 4,
        "return of what was not there": 2,
    }


def test_a_rule_that_finds_nothing_to_take_back_says_so() -> None:
    log = log_of([("u", "a", 1, "purchase"), ("u", "a", 2, "return")])
    cleaned = clean(log, rules=Rules(taken_back={"retrun": "purchase"}))
    assert len(cleaned.events) == 2
    note = "no row has the action 'retrun': nothing was taken back"
    assert cleaned.report().splitlines()[-1] == note
    told = clean(log, rules=Rules(taken_back={"return": "purchase"}))
    assert told.notes == ()


STEPS = st.lists(
    st.tuples(
        st.sampled_from("uv"),
        st.sampled_from("ab"),
        st.integers(0, 12),
        st.sampled_from(["purchase", "return", "browse"]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_the_latest_purchase_is_taken_back_first(rows: list[Any]) -> None:
    left, stacks = [], {}  # type: ignore[var-annotated]
    for user, item, time, action in sorted(set(rows), key=lambda row: (row[2], row[3])):
        stack = stacks.setdefault((user, item), [])
        if action == "purchase":
            stack.append((user, item, time, action))
        elif action == "browse":
            left.append((user, item, time, action))
        elif stack:
            stack.pop()
    for stack in stacks.values():
        left += stack
    log = log_of(rows)
    rules = Rules(taken_back={"return": "purchase"})
    cleaned = clean(log, rules=rules)
    assert sorted(named(cleaned.events)) == sorted(left)
    assert sum(cleaned.rejected.values()) + len(left) == len(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_unit": "m"}, r"time_unit='m' is not one of \('s', 'ms', 'us', 'ns'\)"),
        ({"most_per_minute": 0}, "most_per_minute=0 must be 1 or more, or None"),
        ({"missing_value": np.nan}, "missing_value=nan must be finite"),
        ({"taken_back": {"a": "b", "b": "c"}}, "'b' takes back and is taken back"),
    ],
)
def test_what_is_no_rule_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rules(**options)


def test_a_time_zone_that_is_none_is_named() -> None:
    log = log_of([("u", "a", "2024-01-01")], NAMES)
    with pytest.raises(ValueError, match="time_zone='Mars': there is no such time zon"):
        clean(log, rules=Rules(time_zone="Mars"))


def test_a_column_that_is_there_twice_is_named() -> None:
    table = pd.DataFrame([["u", "v", "a", 1]], columns=["user", "user", "item", "time"])
    with pytest.raises(ValueError, match="the events have two columns named 'user': k"):
        clean(RawLog(table, None, {}))


def test_many_columns_are_sorted_as_by_their_values() -> None:
    rng = np.random.default_rng(0)
    # Too wide for one key of 63 bits.
    table = pd.DataFrame(
        {
            "user": rng.integers(0, 2**30, 4_000),
            "item": rng.integers(0, 2**30, 4_000),
            "time": rng.integers(-(2**36), 2**36, 4_000),
        }
    )
    events = clean(RawLog(table, None, {})).events
    rows = sorted(
        zip(
            table["user"].astype(str),
            table["time"],
            table["item"].astype(str),
            strict=True,
        )
    )
    assert [(row[0], row[2], row[1]) for row in named(events)] == rows


# --- cleaning, again ---------------------------------------------------------------


def test_the_input_is_not_written_to() -> None:
    items = pd.DataFrame({"item": ["mug", "lantern"], "text": [" blue ", None]})
    log = log_of(ROWS, items=items, rejected={"a return": 1})
    before, items_before = log.events.copy(deep=True), items.copy(deep=True)
    clean(log, actions=["purchase"], now=NOON)
    pd.testing.assert_frame_equal(log.events, before)
    pd.testing.assert_frame_equal(items, items_before)
    assert log.rejected == {"a return": 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("user", "item"), "no column time; they have user, item. Needed: user, item"),
        (("time", "sku"), "no column item, user; they have time, sku. Needed: user"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(
    names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clean(log_of([(1, 2)], names))


def test_a_missing_column_of_the_items_is_named() -> None:
    items = pd.DataFrame({"item": ["i"], "title": ["a mug"]})
    with pytest.raises(
        ValueError, match=r"items have no column text; they have item, t"
    ):
        clean(log_of([("u", "i", 1)], NAMES, items=items))


@pytest.mark.parametrize("actions", ["buy", ["buy", "view", "buy"]])
def test_actions_are_a_list_of_distinct_names(actions: Any) -> None:
    with pytest.raises(ValueError, match=r"actions=.*buy.* list of distinct names"):
        clean(log_of(ROWS), actions=actions)


# --- properties --------------------------------------------------------------------

cells = st.tuples(
    st.sampled_from(["u", "v", " u", "", None]),
    st.sampled_from(["i", "j", None]),
    st.sampled_from([0, 1, 5, "1970-01-01 00:00:05", "5", "soon", None, 99]),
    st.sampled_from(["buy", "view", "crawl", None]),
)
tables = st.lists(cells, max_size=25)


@settings(deadline=None)
@given(tables)
def test_every_row_is_either_kept_or_counted(rows: list[tuple[Any, ...]]) -> None:
    result = clean(log_of(rows), actions=["buy", "view"], now=50)
    events, rejected = result.events, result.rejected
    assert len(events) + sum(rejected.values()) == len(rows)
    assert 0 not in rejected.values()
    # By hand, which are kept: 5 is written in three ways.
    second = {0: 0, 1: 1, 5: 5, "1970-01-01 00:00:05": 5, "5": 5}
    kept = {
        (user.strip(), item, second[time], action)
        for user, item, time, action in rows
        if user and item and time in second and action in ("buy", "view")
    }
    assert set(named(events)) == kept and len(events) == len(kept)


@settings(deadline=None)
@given(tables, st.integers(1, 9))
def test_the_order_of_rows_changes_nothing(
    rows: list[tuple[Any, ...]], seed: int
) -> None:
    one, other = clean(log_of(rows)), clean(log_of(rows, seed=seed))
    assert named(one.events) == named(other.events)
    assert one.events.users.tolist() == other.events.users.tolist()
    assert one.rejected == other.rejected


further = st.lists(
    st.tuples(
        st.sampled_from(["u", "v"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from([1, 2]),
        st.sampled_from([1.0, 2.0, None]),
        st.sampled_from(["x", "y", None]),
        st.sampled_from([1, 2.0, " "]),
    ),
    max_size=30,
)
FURTHER = (*NAMES, "value", "shop", "till")


def with_further(events: Events) -> list[tuple[Any, ...]]:
    """Events of one action by their names, with value and context."""
    assert events.value is not None
    columns = (events.value.tolist(), *events.context.values())
    return [
        (*event[:3], *more)
        for event, *more in zip(named(events), *columns, strict=True)
    ]


@settings(deadline=None)
@given(further, st.integers(1, 9))
def test_values_and_context_come_along_in_any_order_of_rows(
    rows: list[tuple[Any, ...]], seed: int
) -> None:
    def of(rows: Sequence[Any], seed: int) -> Cleaned:
        log = log_of(rows, FURTHER, seed=seed)
        return clean(log._replace(context=("shop", "till")))

    one, other = of(rows, 0), of(rows, seed)
    events = with_further(one.events)
    assert events == with_further(other.events)
    assert one.rejected == other.rejected
    # By hand: of what is alike the largest value, then the first of the alphabet.
    best: dict[Any, Any] = {}
    for user, item, time, value, shop, till in rows:
        if value is not None:
            its = (-value, shop or "", {1: "1", 2.0: "2", " ": ""}[till])
            best[user, item, time] = min(its, best.get((user, item, time), its))
    assert sorted(events) == sorted(
        (*key, -less, *context) for key, (less, *context) in best.items()
    )
    again = of(events, seed)
    assert with_further(again.events) == events and again.rejected == {}


@settings(deadline=None)
@given(tables)
def test_what_is_clean_stays_as_it_is(rows: list[tuple[Any, ...]]) -> None:
    once = clean(log_of(rows)).events
    twice = clean(log_of(named(once), seed=1))
    assert twice.rejected == {}
    assert named(twice.events) == named(once)
    assert twice.events.users.tolist() == once.users.tolist()
    assert twice.events.items.ids.tolist() == once.items.ids.tolist()


# --- times -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([0, NOON, -5], [0, NOON, -5]),
        ([1.9, np.nan, -0.5], [1, None, -1]),
        ([np.inf, 1.0], [None, 1]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (["1704110400", "1704110400.7", None], [NOON, NOON, None]),
        (["2024-01-01 12:00", "2024-01-01T12:00:00.999"], [NOON, NOON]),
        (["2024-01-01T12:00:00Z", "2024-01-01T13:00:00+01:00"], [NOON, NOON]),
        (["2024-01-01 12:00", "2024-01-01T07:00:00-05:00"], [NOON, NOON]),
        (["2024-01-01 12:00", "1 January 2024 12:00", "1704110400"], [NOON] * 3),
        ([NOON, "2024-01-01 12:00"], [NOON, NOON]),
        (["1704110400", "soon"], [NOON, None]),
        (["soon", "", "2024-02-30"], [None, None, None]),
        ([datetime.datetime(2024, 1, 1, 12), None], [NOON, None]),
        (
            [
                datetime.datetime(2024, 1, 1, 12, tzinfo=UTC),
                datetime.datetime(2024, 1, 1, 12),
                pd.Timestamp("2024-01-01 21:00", tz="Asia/Tokyo"),
            ],
            [NOON] * 3,
        ),
        (pd.DatetimeIndex(["2024-01-01 12:00"]).tz_localize("UTC"), [NOON]),
        (
            pd.DatetimeIndex(["2024-07-01 12:00"]).tz_localize("Europe/Berlin"),
            [NOON + 182 * 86_400 - 7_200],  # 182 days later, two hours from UTC
        ),
        (np.array(["2024-01-01T12", "NaT"], "datetime64[s]"), [NOON, None]),
        (np.array(["2024-01-01T12:00:00.9"], "datetime64[ms]"), [NOON]),
        (np.array(["1969-12-31T23:59:59.5"], "datetime64[ns]"), [-1]),
        ([datetime.date(2024, 1, 1)], [NOON - 43_200]),
        (["1900-01-01"], [-2_208_988_800]),  # 25,567 days before 1970
        (["2262-01-01"], [9_214_646_400]),  # 106,651 days after
        ([datetime.datetime(2262, 12, 31)], [9_246_096_000]),  # past int64 nanoseconds
        (pd.Categorical(["2024-01-01 12:00"]), [NOON]),
        ([True, False], [None, None]),
        (pd.to_timedelta([1, 2], unit="s"), [None, None]),
        ([None, None], [None, None]),
        ([], []),
    ],
)
def test_times_are_read_as_seconds(times: Any, seconds: list[int | None]) -> None:
    column = pd.Series(times, index=range(7, 7 + len(times)))
    read, readable = seconds_since_epoch(column)
    assert read.dtype == np.int64
    found = zip(read.tolist(), readable, strict=True)
    assert [one if there else None for one, there in found] == seconds


def test_times_that_repeat_are_read_alike_wherever_they_stand() -> None:
    written = ["2024-01-01 12:00", None, "soon", "1704110400"] * 3
    read, readable = seconds_since_epoch(pd.Series(written))
    assert readable.tolist() == [True, False, False, True] * 3
    assert set(read[readable]) == {NOON}


def test_items_without_a_text_or_an_event_are_counted() -> None:
    described = pd.DataFrame(
        {"item": ["a", "z", "y"], "text": ["lantern", "mug", "cup"]}
    )
    log = log_of([("u", "a", 1), ("u", "b", 2)], NAMES)._replace(items=described)
    cleaned = clean(log)
    assert cleaned.items_without_event == 2
    assert cleaned.report().splitlines()[1:] == [
        "1 item has no text",
        "2 described items have no event: they are not in the catalogue",
    ]


@pytest.mark.parametrize("written", [20231201, "20231201", 20231201.0])
def test_compact_dates_are_not_taken_for_seconds(written: object) -> None:
    with pytest.raises(
        ValueError, match=r"YYYYMMDD, such as 20231201 \(1 of 1 numbers\): write 2023-"
    ):
        clean(log_of([("u", "a", written)], NAMES))
    # A typing error does not hide it.
    rows = [("u", "a", 20231230 - day) for day in range(30)]
    with pytest.raises(ValueError, match=r"such as 20231201 \(30 of 32 numbers\)"):
        clean(log_of([*rows, ("u", "a", 20230230), ("u", "a", 0)], NAMES))
    # Half of them no such dates, and they are what they look like: seconds.
    assert len(clean(log_of([("u", "a", 20231201), ("u", "a", 5)], NAMES)).events) == 2


@pytest.mark.parametrize("kind", [object, "str", "category"])
@pytest.mark.parametrize(
    ("times", "row", "message"),
    [
        (["5", None, "5", "9", "1704110400000"], 4, "1704110400000 is too large"),
        (["5", None, "5", "13/12/2010", "12/13/2010"], 4, "'13/12/2010' has its day"),
        (["7", None, "7", *["20231205", "20231201"] * 20], 4, "such as 20231201"),
    ],
)
def test_a_wrong_time_is_named_by_the_row_where_it_stands(
    times: list[Any], row: int, message: str, kind: Any
) -> None:
    column = pd.Series(times, dtype=kind)
    with pytest.raises(ValueError, match=rf"^row {row} of the log .*{message}"):
        seconds_since_epoch(column)
    # A part's rows are not the log's.
    parts = [column.iloc[:3], column.iloc[3:]]
    if "20231201" in message:
        with pytest.raises(ValueError, match=rf"^the times look .*{message}"):
            CompactDates.together(map(CompactDates.of, parts)).refuse()
    else:
        with pytest.raises(ValueError, match=r"^(a time of 1704|'1./1./2010' may)"):
            seconds_since_epoch(parts[1], part=True)


def test_what_is_no_number_is_counted_for_none() -> None:
    cells = [True, None, 20231201, 10**400, "20231202", pd.Timestamp("2023-12-01")]
    counted = CompactDates(2, 2, 20231201)
    assert CompactDates.of(pd.Series(cells, dtype=object)) == counted
    for none in (pd.Series([True, False]), pd.Series(pd.to_timedelta([20231201, 1]))):
        assert CompactDates.of(none) == CompactDates()
        assert not seconds_since_epoch(none)[1].any()


def test_times_in_categories_may_have_gaps() -> None:
    column = pd.Series(pd.Categorical([3, None, 1, 3], categories=[1, 3, 10**12]))
    read, readable = seconds_since_epoch(column)
    assert read.tolist() == [3, 0, 1, 3]
    assert readable.tolist() == [True, False, True, True]


def test_a_bare_table_is_named() -> None:
    with pytest.raises(TypeError, match=r"log is a DataFrame: wrap .*RawLog\(events"):
        clean(pd.DataFrame({"user": ["u"]}))  # type: ignore[arg-type]


def test_one_unreadable_time_spoils_no_other() -> None:
    result = cleaned_times([NOON, "soon", f"{NOON + 1}", "2024-01-01 12:00:02"])
    events, rejected = result.events, result.rejected
    assert events.time.tolist() == [NOON, NOON + 1, NOON + 2]
    assert rejected == {"time cannot be read": 1}


@pytest.mark.parametrize(
    "times",
    [
        [1_704_110_400_000],
        ["1704110400000"],
        [1.7041104e12],
        [NOON, "1704110400000", "2024-01-01"],
        [-1_704_110_400_000],
    ],
)
def test_milliseconds_are_named(times: list[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"1704110400000 .* milliseconds: say so \(time_unit='ms'\)"
    ):
        cleaned_times(times)


def test_the_year_5138_is_the_last_that_is_seconds() -> None:
    assert cleaned_times([99_999_999_999]).events.time.tolist() == [99_999_999_999]
    with pytest.raises(ValueError, match="100000000000 is too large to be seconds"):
        cleaned_times([100_000_000_000])


def test_one_date_with_its_day_first_decides_for_its_column() -> None:
    december, january = 1_291_161_600, 1_263_254_400  # 2010-12-01 and 2010-01-12
    alone, _ = seconds_since_epoch(pd.Series(["01/12/2010"]))
    assert alone.tolist() == [january]
    beside, _ = seconds_since_epoch(
        pd.Series(["01/12/2010", "13/12/2010", "2010-01-12", "01.12.2010 00:00"])
    )
    assert beside.tolist() == [december, december + 12 * 86_400, january, december]
    # 31/31/2010 can be neither, and decides nothing.
    american, readable = seconds_since_epoch(
        pd.Series(["01/12/2010", "12/13/2010", "31/31/2010"])
    )
    assert american[:2].tolist() == [january, december + 12 * 86_400]
    assert readable.tolist() == [True, True, False]


def test_dates_with_the_day_first_and_the_month_first_do_not_mix() -> None:
    with pytest.raises(
        ValueError, match=r"'13/12/2010' has its day .* '12/14/2010' its month: write"
    ):
        cleaned_times(["13/12/2010", "12/14/2010"])


# --- ids ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([17850, 17850.0, " 17850", "17850 "], ["17850"] * 4),
        ([17850.0, None], ["17850", None]),
        (np.array([17850.0, np.nan, 1.5]), ["17850", None, "1.5"]),
        (pd.array([3, None], dtype="Int64"), ["3", None]),
        (pd.Categorical(["a", None]), ["a", None]),
        (["", " ", "\t", pd.NA, pd.NaT, np.nan], [None] * 6),
        (["00123", "85123A", "85123a"], ["00123", "85123A", "85123a"]),
        ([0, -1], ["0", "-1"]),
        ([1e20, np.inf], ["100000000000000000000", None]),
        (["中文", "É"], ["中文", "É"]),
        ([], []),
    ],
)
def test_ids_are_text(ids: Any, text: list[str | None]) -> None:
    read = as_text(pd.Series(ids))
    assert [one if one is not None else None for one in read] == text


def test_ids_of_any_type_name_the_same_user_and_item() -> None:
    rows = [(17850, 1.0, 1), (17850.0, "1", 2), ("17850", 1, 3), (0, 1, 4)]
    events = clean(log_of(rows, NAMES)).events
    assert events.users.tolist() == ["0", "17850"]
    assert events.items.ids.tolist() == ["1"]
    assert events.time.tolist() == [4, 1, 2, 3]


# --- the catalogue -----------------------------------------------------------------


def test_items_bring_their_texts_from_the_items_table() -> None:
    table = pd.DataFrame(
        {
            "item": [2, 1, 3, 9, None],
            "text": [" blue mug ", "lantern", None, "never bought", "nameless"],
        }
    )
    rows = [("u", n, n) for n in (1, 2, 3, 4)]
    items = clean(log_of(rows, NAMES, items=table)).events.items
    assert items.ids.tolist() == ["1", "2", "3", "4"]
    assert items.texts.tolist() == ["lantern", "blue mug", "", ""]


def test_several_columns_of_texts() -> None:
    items = pd.DataFrame(
        {
            "item": ["a", "b", "a", "c", "d", None],
            "title": ["Mug", "Pot", "Jug", None, None, "Pan"],
            "more": [None, "blue", "old", "red", None, None],
        }
    )
    events = pd.DataFrame({"user": "u", "item": list("abcd"), "time": range(4)})
    log = RawLog(events, items, {}, ("title", "more"))
    got = clean(log)
    # Of two rows of "a" the first by alphabet; "d" is described by nothing.
    assert got.events.items.texts.tolist() == [
        ["Jug", "old"],
        ["Pot", "blue"],
        ["", "red"],
        ["", ""],
    ]
    assert "1 item has no text" in got.report()
    with pytest.raises(ValueError, match=r"no column other; .* Needed: item, other"):
        clean(log._replace(texts=("other",)))


def test_of_two_texts_the_first_by_alphabet_whatever_their_order() -> None:
    texts = ["red mug", "a mug", None, "blue mug"]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 1, 3, 0]):
        table = pd.DataFrame({"item": "i", "text": [texts[n] for n in order]})
        items = clean(log_of([("u", "i", 1)], NAMES, items=table)).events.items
        assert items.texts.tolist() == ["a mug"]


# --- what the log cannot tell by itself ----------------------------------------------


def test_the_rules_say_whether_the_day_comes_first() -> None:
    rows = [
        ("u", "a", "01/12/2010"),
        ("u", "b", "13/01/2010"),
        ("u", "c", "01/13/2010"),
    ]
    for day_first, dates in (
        (True, {"a": "2010-12-01", "b": "2010-01-13"}),
        (False, {"a": "2010-01-12", "c": "2010-01-13"}),
    ):
        result = clean(log_of(rows, NAMES), rules=Rules(day_first=day_first))
        assert result.rejected == {"time cannot be read": 1}
        assert {
            item: str(np.datetime64(time, "s").astype("datetime64[D]"))
            for _, item, time, _ in named(result.events)
        } == dates


def test_a_part_of_a_log_guesses_nothing() -> None:
    part = Rules(part=True)
    with pytest.raises(ValueError, match=r"'1/12/2010' may have its day first"):
        clean(log_of([("u", "a", "1/12/2010")], NAMES), rules=part)
    assert len(clean(log_of([("u", "a", "5/5/2010")], NAMES), rules=part).events) == 1
    compact = clean(log_of([("u", "a", 20231201)], NAMES), rules=part)
    assert compact.events.time.tolist() == [20231201]


@pytest.mark.parametrize("seed", range(3))
def test_each_event_says_which_row_it_was(seed: int) -> None:
    log = log_of(ROWS, seed=seed)
    result = clean(log)
    rows = log.events.iloc[result.row]
    assert [
        (user, item, time, action)
        for user, item, time, action in rows.itertuples(index=False)
    ] == named(result.events)
    assert (result.reason[result.row] == 0).all()
