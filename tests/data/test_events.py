"""`tfrs_decay.data.events`: a dirty log becomes events, and every row is counted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data.events import (
    Cleaned,
    Events,
    Items,
    RawLog,
    as_text,
    clean,
)
from tfrs_decay.data.times import seconds_since_epoch

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
    events, rejected, _ = clean(log_of(ROWS, seed=seed))
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
    events, rejected, _ = clean(log_of(rows), actions=["view", "buy", "share"])
    assert events.actions == ("view", "buy", "share")
    assert events.action.tolist() == [0, 1]
    assert rejected == {"action not one of ['view', 'buy', 'share']": 1}


def test_a_missing_action_is_counted() -> None:
    rows = [("u", "a", 1, None), ("u", "a", 2, "buy"), ("u", "a", 3, " ")]
    events, rejected, _ = clean(log_of(rows))
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
    events, rejected, _ = clean(log_of(rows), actions=["buy"], now=10)
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
    events, rejected, _ = clean(log_of(rows, NAMES), now=NOON)
    assert events.time.tolist() == [NOON]
    assert rejected == {"time after now": 1}


def test_the_same_item_again_later_or_by_another_action_is_no_duplicate() -> None:
    rows = [("u", "i", 1, "a"), ("u", "i", 2, "a"), ("u", "i", 1, "b")]
    assert len(clean(log_of(rows)).events) == 3
    assert len(clean(log_of([*rows, ("v", "i", 1, "a")])).events) == 4


def test_fractions_of_one_second_are_one_time() -> None:
    rows = [("u", "i", 1.25), ("u", "i", 1.75), ("u", "i", 2.0)]
    events, rejected, _ = clean(log_of(rows, NAMES))
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
    events, rejected, _ = clean(log_of(rows), actions=["buy", "view"], now=50)
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
    read = seconds_since_epoch(pd.Series(times, index=range(7, 7 + len(times))))
    assert read.dtype == "Int64"
    assert [None if pd.isna(one) else int(one) for one in read] == seconds
    assert read.index.tolist() == list(range(7, 7 + len(times)))


def test_times_that_repeat_are_read_alike_wherever_they_stand() -> None:
    written = ["2024-01-01 12:00", None, "soon", "1704110400"] * 3
    read = seconds_since_epoch(pd.Series(written))
    assert read.isna().tolist() == [False, True, True, False] * 3
    assert set(read.dropna()) == {NOON}


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
        ValueError, match="YYYYMMDD, such as 20231201: write 2023-12-01"
    ):
        clean(log_of([("u", "a", written)], NAMES))
    # A typing error does not hide it.
    rows = [("u", "a", 20231200 + day) for day in range(1, 31)]
    with pytest.raises(ValueError, match="YYYYMMDD, such as 20231201"):
        clean(log_of([*rows, ("u", "a", 20230230), ("u", "a", 0)], NAMES))
    # Half of them no such dates, and they are what they look like: seconds.
    assert len(clean(log_of([("u", "a", 20231201), ("u", "a", 5)], NAMES)).events) == 2


def test_a_bare_table_is_named() -> None:
    with pytest.raises(TypeError, match=r"log is a DataFrame: wrap .*RawLog\(events"):
        clean(pd.DataFrame({"user": ["u"]}))  # type: ignore[arg-type]


def test_one_unreadable_time_spoils_no_other() -> None:
    events, rejected, _ = cleaned_times(
        [NOON, "soon", f"{NOON + 1}", "2024-01-01 12:00:02"]
    )
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
        ValueError, match=r"1704110400000 .* milliseconds: divide by 1000"
    ):
        cleaned_times(times)


def test_the_year_5138_is_the_last_that_is_seconds() -> None:
    assert cleaned_times([99_999_999_999]).events.time.tolist() == [99_999_999_999]
    with pytest.raises(ValueError, match="100000000000 is too large to be seconds"):
        cleaned_times([100_000_000_000])


def test_one_date_with_its_day_first_decides_for_its_column() -> None:
    december, january = 1_291_161_600, 1_263_254_400  # 2010-12-01 and 2010-01-12
    alone = seconds_since_epoch(pd.Series(["01/12/2010"]))
    assert alone.tolist() == [january]
    beside = seconds_since_epoch(
        pd.Series(["01/12/2010", "13/12/2010", "2010-01-12", "01.12.2010 00:00"])
    )
    assert beside.tolist() == [december, december + 12 * 86_400, january, december]
    # 31/31/2010 can be neither, and decides nothing.
    american = seconds_since_epoch(
        pd.Series(["01/12/2010", "12/13/2010", "31/31/2010"])
    )
    assert american[:2].tolist() == [january, december + 12 * 86_400]
    assert american.isna().tolist() == [False, False, True]


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
        ([1e20, np.inf], ["100000000000000000000", "inf"]),
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
    assert got.items_described_twice == 1
    with pytest.raises(ValueError, match=r"no column other; .* Needed: item, other"):
        clean(log._replace(texts=("other",)))


def test_items_of_several_texts_are_counted() -> None:
    described = pd.DataFrame(
        {
            # "a" and "b" have two texts, "c" the same twice, "d" and "z" a gap beside;
            # "z" has two, and does not occur.
            "item": ["a", "a", "b", "b", "b", "c", "c", "d", "d", "z", "z"],
            "text": [*"xyxyy", "x", " x", "x", None, "x", "y"],
        }
    )
    rows = [("u", one, 1) for one in "abcd"]
    cleaned = clean(log_of(rows, NAMES, items=described))
    assert cleaned.items_described_twice == 2
    assert cleaned.report().splitlines()[1:] == [
        "2 items are described more than once: the first by alphabet is kept",
        "1 described item has no event: it is not in the catalogue",
    ]
    # It unpacks, and is made, as before there was this count.
    events, rejected, without_event = cleaned
    again = Cleaned(events, rejected, without_event)
    assert (again, again.items_described_twice) == (cleaned, 0)
    one = clean(log_of([("u", "a", 1)], NAMES, items=described[:2]))
    assert "1 item is described more than once" in one.report()


def test_of_two_texts_the_first_by_alphabet_whatever_their_order() -> None:
    texts = ["red mug", "a mug", None, "blue mug"]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 1, 3, 0]):
        table = pd.DataFrame({"item": "i", "text": [texts[n] for n in order]})
        items = clean(log_of([("u", "i", 1)], NAMES, items=table)).events.items
        assert items.texts.tolist() == ["a mug"]


def test_items_know_their_codes() -> None:
    items = Items(["b", "a"], ["second", "first"])
    assert len(items) == 2
    codes = items.codes(["a", "b", "c", "", "a"])
    assert codes.tolist() == [1, 0, -1, -1, 1] and codes.dtype == np.int64
    assert items.codes([]).tolist() == []
    assert repr(items) == "Items(2 items)"


def test_items_without_texts_have_empty_ones() -> None:
    assert Items(["a", "b"]).texts.tolist() == ["", ""]
    assert len(Items([])) == 0


def test_items_can_be_written_down_and_made_again() -> None:
    items = Items(["b", "a"], ["second", ""])
    config = items.get_config()
    assert config == {"ids": ["b", "a"], "texts": ["second", ""]}
    assert Items.from_config(config).get_config() == config
    assert Items.from_config(config).codes(["a"]).tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["a", "b"], ["x"]), ValueError, "2 ids and 1 texts: give one text for each"),
        ((["a", ""],), ValueError, "ids holds '': the empty id stands for no item"),
        ((["a", "b", "a"],), ValueError, "ids holds 'a' 2 times: ids are unique"),
        ((["a", 7],), TypeError, "ids holds 7, a int: .* by strings"),
        ((["a"], [None]), TypeError, "texts holds None, a NoneType: .* by strings"),
    ],
)
def test_items_refuse_what_is_no_catalogue(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Items(*arguments)


def test_a_part_of_the_events_keeps_their_vocabularies() -> None:
    events = clean(log_of(ROWS)).events
    part = events.where(events.time < 0)
    assert named(part) == [("bob", "lantern", -3_600, "browse")]
    assert part.users is events.users and part.items is events.items
    assert part.actions == events.actions
    assert len(events) == 5


def test_items_of_several_texts() -> None:
    items = Items(["a", "b"], [("red", "lamp"), ["", "mug"]])
    assert items.texts.tolist() == [["red", "lamp"], ["", "mug"]]
    assert items.fields == 2 and Items(["a"], ["red"]).fields == 1
    assert items.titles.tolist() == ["red | lamp", "mug"]
    again = Items.from_config(items.get_config())
    assert again.get_config() == items.get_config()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            [["red", "lamp"], ["mug"]],
            r"texts holds \['mug'\] at 1 and \['red', 'lamp'\]",
        ),
        ([["red", "lamp"], "mug"], "texts holds 'mug' at 1"),
        ([[], []], r"texts holds \[\] at 0"),
    ],
)
def test_items_of_other_numbers_of_texts_are_named(texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Items(["a", "b"], texts)
    with pytest.raises(TypeError, match="texts holds None, a NoneType"):
        Items(["a", "b"], [["red", None], ["mug", ""]])  # type: ignore[list-item]
