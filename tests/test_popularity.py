"""Counts by day against their definition, one event after the other."""

from __future__ import annotations

import dataclasses
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_popularity import DAY, count, events_of, features

from tfrs_decay.data import Items
from tfrs_decay.popularity import EARLIEST, NEVER, PopularityTable, key_of

NOON = DAY // 2

# Item 0 on days 0, 0 and 3; item 1 on day 3; item 2 never.
ROWS = [(5, 0), (DAY - 1, 0), (3 * DAY, 0), (3 * DAY + NOON, 1)]

LOGS = st.lists(
    st.tuples(st.integers(-3 * DAY, 9 * DAY), st.integers(0, 3)),
    min_size=1,
    max_size=30,
)


@pytest.fixture
def table():
    return table_of(ROWS, n_items=3)


def table_of(rows, n_items=4, half_lives=("1d", "3d", None), **options):
    return PopularityTable.of(
        events_of(rows, n_items), half_lives=half_lives, **options
    )


def same(one, other, rtol=0.0):
    np.testing.assert_allclose(one.sums, other.sums, rtol)
    for field in dataclasses.fields(PopularityTable):
        if field.name not in ("sums", "late", "unknown"):
            np.testing.assert_array_equal(
                getattr(one, field.name), getattr(other, field.name), field.name
            )


def test_counts_to_make_by_hand(table):
    counts = table.counts(np.array([4 * DAY + 7]))[0]
    # Four, four and one days back, from the middle of each day.
    assert counts[0] == pytest.approx(
        [2 * 2**-3.5 + 2**-0.5, 2 * 2 ** (-3.5 / 3) + 2 ** (-0.5 / 3), 3]
    )
    assert counts[1] == pytest.approx([2**-0.5, 2 ** (-0.5 / 3), 1])
    assert counts[2].tolist() == [0, 0, 0]


def test_a_row_is_an_item_and_a_day_with_the_sum_after_it(table):
    assert table.item.tolist() == [0, 0, 1]
    assert table.day.tolist() == [0, 3, 3]
    assert table.keys.tolist() == [key_of(0, 0), key_of(0, 3), key_of(1, 3)]
    expected = [[2, 2, 2], [2 / 8 + 1, 2 / 2 + 1, 3], [1, 1, 1]]
    assert table.sums == pytest.approx(np.array(expected, float))
    assert table.first_day.tolist() == [0, 3, NEVER]
    assert table.last_day.tolist() == [3, 3, NEVER]
    assert (len(table), table.n_items, table.start) == (3, 3, EARLIEST)
    assert repr(table) == (
        "PopularityTable(3 rows of 3 items, half-lives 1d, 3d, all, until "
        "1970-01-04 12:00:00 UTC)"
    )


@settings(deadline=None, max_examples=60)
@given(
    rows=LOGS,
    asked=st.lists(st.integers(-4 * DAY, 40 * DAY), min_size=1, max_size=6),
    period=st.sampled_from([DAY, 3_600, 1]),
)
def test_counts_against_plain_loops(rows, asked, period):
    half_lives = (2.0 * 3_600, 5.0 * DAY, None)
    table = table_of(rows, half_lives=half_lives, period=period)
    expected = [
        [
            [count(rows, now, item, one, period) for one in half_lives]
            for item in range(4)
        ]
        for now in asked
    ]
    got = table.counts(np.array(asked))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_counts_of_years_are_exact():
    rng = np.random.default_rng(0)
    times = rng.integers(0, 2_000 * DAY, 5_000)
    rows = [(int(time), 0) for time in times]
    table = table_of(rows, 1, half_lives=("5d", "365d"))
    now = 2_000 * DAY
    expected = [count(rows, now, 0, one * DAY) for one in (5, 365)]
    np.testing.assert_allclose(table.counts(np.array([now]))[0, 0], expected, 1e-9)


@settings(deadline=None, max_examples=30)
@given(rows=LOGS, now=st.integers(-4 * DAY, 40 * DAY))
def test_features_against_plain_loops(rows, now):
    table = table_of(rows, half_lives=("2d", "45d", None))
    expected = [features(rows, now, item) for item in range(4)]
    got = table.features(np.array([now]))
    np.testing.assert_allclose(got, [expected], rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(rows=LOGS, most=st.integers(1, 6), within=st.integers(-DAY, 12 * DAY))
def test_the_most_popular_of_every_day_by_sorting(rows, most, within):
    table = table_of(rows)
    for one in (table, table.since(within)):
        days, places = one.most_popular(most)
        assert places.shape == (len(days), 3, min(most, one.n_items))
        assert (np.diff(days) > 0).all()
        first = max(one.start, min(one.day) - 1)
        for day in range(first, max(one.day) + 3):
            counts = one.counts(np.array([day * DAY]))[0]
            listed = places[np.searchsorted(days, day, side="right") - 1]
            for column, found in zip(counts.T, listed, strict=True):
                # Rounded, or equal counts would differ by how they were reached.
                column = column.round(9)
                expected = np.lexsort([np.arange(len(column)), -column])[:most]
                np.testing.assert_array_equal(column[found], column[expected])
                assert len(set(found.tolist())) == len(found)


def test_of_equally_popular_items_the_lower_place_comes_first():
    days, places = table_of([(0, 2), (0, 1), (DAY, 3)]).most_popular(4)
    assert days[1:].tolist() == [1, 2]
    assert places[:, -1].tolist() == [[0, 1, 2, 3], [1, 2, 0, 3], [1, 2, 3, 0]]
    _, places = table_of([(0, 2), (DAY, 1)]).most_popular(1)
    assert places[:, -1].tolist() == [[0], [2], [1]]
    with pytest.raises(ValueError, match="most=0 must be 1 or more"):
        table_of([(0, 2)]).most_popular(0)


def test_features_are_named():
    assert PopularityTable.of(events_of(ROWS)).feature_names == (
        *("log_count_2d", "log_count_5d", "log_count_14d", "log_count_45d"),
        *("log_count_all", "trend_2d_45d", "trend_5d_45d", "trend_14d_45d"),
        *("log_age", "log_idle"),
    )
    for half_lives in ([None], ["7d"], ["7d", None]):
        table = table_of(ROWS, half_lives=half_lives)
        got = table.features(np.array([9 * DAY]))
        assert got.shape == (1, 4, len(table.feature_names))
        assert len(table.feature_names) == len(half_lives) + 2


def test_the_trend_is_level_for_what_sells_as_ever_and_rises_with_a_fashion():
    rows = [(day * DAY, 0) for day in range(400) for _ in range(30)]
    rows += [(day * DAY, 1) for day in range(390, 400) for _ in range(30)]
    table = table_of(rows, 3, half_lives=("5d", "45d"))
    level, rising, never = table.features(np.array([400 * DAY]))[0, :, 2]
    assert level == pytest.approx(0, abs=0.02)
    assert rising > 1.5
    assert never == 0


def test_ages_count_days_whatever_the_period():
    rows = [(2 * DAY, 0), (4 * DAY, 0)]
    for period in ("1d", "6h"):
        table = table_of(rows, half_lives=("2d", None), period=period)
        got = np.expm1(table.features(np.array([5 * DAY]))[0, 0, -2:])
        assert got == pytest.approx([3, 1])


@settings(deadline=None, max_examples=30)
@given(rows=LOGS, now=st.integers(0, 9 * DAY), within=st.integers(0, 4 * DAY))
def test_nothing_of_the_query_s_day_or_later_counts(rows, now, within):
    later = now // DAY * DAY + within
    with_it = table_of([*rows, (later, 2), (later, 3)])
    asked = np.array([now])
    for read in (PopularityTable.counts, PopularityTable.features):
        assert read(with_it, asked).tolist() == read(table_of(rows), asked).tolist()


def test_the_day_before_counts_to_its_last_second():
    table = table_of([(DAY - 1, 0), (DAY, 1)])
    assert table.counts(np.array([DAY, 2 * DAY - 1]))[:, :2, 2].tolist() == [[1, 0]] * 2


def test_shuffled_events_make_the_same_table():
    rows = [(now % (9 * DAY), now % 3) for now in range(0, 90 * DAY, 50_021)]
    expected = table_of(rows)
    for seed in range(3):
        mixed = events_of(random.Random(seed).sample(rows, len(rows)), 4)
        kept = mixed.time.copy(), mixed.item.copy()
        same(PopularityTable.of(mixed, half_lives=("1d", "3d", None)), expected)
        assert (mixed.time == kept[0]).all() and (mixed.item == kept[1]).all()


def test_cuts_say_what_is_in_the_table():
    rows = [(1, 0), (2, 1), (DAY, 2), (DAY + 1, 3)]
    table = table_of(rows, until=DAY, after=1)
    same(dataclasses.replace(table_of(rows[1:3]), after=1), table)
    assert (table.until, table.after) == (DAY, 1)
    assert table_of(rows).until == DAY + 1


def test_places_of_candidates_and_of_none(table):
    asked = np.array([4 * DAY, 5 * DAY, DAY])
    items = np.array([[1, 0], [2, -1], [0, -7]])
    full = table.counts(asked)
    got = table.counts(asked, items)
    assert got.shape == (3, 2, 3)
    for query, row in enumerate(items):
        for at, item in enumerate(row):
            expected = full[query, item] if item >= 0 else np.zeros(3)
            assert got[query, at].tolist() == expected.tolist()
    assert table.features(asked, items)[1, 1, -2:].tolist() == [0, 0]
    assert table.counts(np.zeros(0, int)).shape == (0, 3, 3)


def test_a_query_long_after_is_answered_with_what_is_left(table):
    year = np.array([3 * DAY + 365 * DAY])
    assert table.counts(year)[0, 1] == pytest.approx(
        [2**-364.5, 2 ** (-364.5 / 3), 1], rel=1e-9
    )
    log_age, log_idle = table.features(year)[0, 0, -2:]
    assert np.expm1([log_age, log_idle]) == pytest.approx([368, 365])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table.counts(np.array([10**10]))[0, 0].tolist() == [0, 0, 3]
        PopularityTable.of(events_of(ROWS), half_lives=[1]).features(np.array([10**10]))


@settings(deadline=None, max_examples=60)
@given(rows=LOGS, cuts=st.lists(st.integers(-3 * DAY, 9 * DAY), max_size=3))
def test_rolled_forward_is_as_made_anew(rows, cuts):
    rows = [(-3 * DAY, 0), *rows]
    events = events_of(rows, 4)
    table = table_of(rows, until=-3 * DAY)
    for until in [*sorted(cuts), 9 * DAY]:
        since = events.where(events.time > table.until)
        before = table.sums.copy()
        one, other = (
            table.updated(since, until=until),
            table.updated(events, until=until),
        )
        assert (one.late, other.late) == (0, (events.time <= table.until).sum())
        assert (table.sums == before).all()
        same(one, other)
        same(one, table_of(rows, until=until))
        latest = table.latest().updated(since, until=until).latest()
        same(latest, one.latest(), rtol=1e-14)  # a day cut in two is added up in two
        table = one


def test_a_year_rolled_day_by_day_is_as_made_anew():
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 365 * DAY, 3_000))
    events = events_of(list(zip(times, rng.integers(0, 4, 3_000), strict=True)), 4)
    table = PopularityTable.of(events, until=DAY - 1)
    latest = table.latest()
    for day in range(2, 366):
        some = events.where(events.time // DAY == day - 1)
        table = table.updated(some, until=day * DAY - 1)
        latest = latest.updated(some, until=day * DAY - 1).latest()
    same(table, PopularityTable.of(events, until=365 * DAY - 1))
    same(latest, table.latest())


def test_a_day_cut_in_two_is_one_row():
    rows = [(5, 0), (NOON, 0), (NOON + 1, 0), (DAY - 1, 0)]
    table = table_of(rows, until=NOON)
    for one in (table, table.latest()):
        rolled = one.updated(events_of(rows, 4))
        assert (len(rolled), rolled.sums.tolist()) == (1, [[4, 4, 4]])


def test_a_quiet_day_moves_the_cut(table):
    none = events_of([], 3)
    assert table.updated(none).until == table.until
    rolled = table.updated(none, until=9 * DAY)
    assert rolled.until == 9 * DAY and (rolled.sums == table.sums).all()


def test_late_events_are_counted_and_added_when_they_are_said_to_be_new():
    rows = [(0, 0), (2 * DAY, 1), (4 * DAY, 0), (6 * DAY, 1)]
    late = [(DAY, 0), (2 * DAY, 1), (-DAY, 2), (6 * DAY, 0)]
    new = [(7 * DAY, 1)]
    table = table_of(rows)
    given_both = events_of(late + new, 4)
    ignored = table.updated(given_both)
    assert ignored.late == 4
    same(ignored, table_of(rows + new))
    added = table.updated(given_both, late="add")
    assert added.late == 4
    same(added, table_of(rows + late + new))
    assert ignored.updated(events_of([], 4)).late == 0
    # A table of the latest rows has nowhere to put an early day but in a later sum.
    latest = table.latest().updated(given_both, late="add")
    asked = np.array([8 * DAY, 30 * DAY])
    np.testing.assert_allclose(latest.counts(asked), added.counts(asked), rtol=1e-12)
    np.testing.assert_allclose(latest.features(asked), added.features(asked), 1e-12)
    # And the sum stays what it is when more comes.
    more = events_of([(-2 * DAY, 0), (3 * DAY, 0), (8 * DAY, 2)], 4)
    latest, added = (one.updated(more, late="add") for one in (latest, added))
    asked = np.array([9 * DAY, 30 * DAY])
    np.testing.assert_allclose(latest.counts(asked), added.counts(asked), rtol=1e-12)
    np.testing.assert_allclose(latest.features(asked), added.features(asked), 1e-12)
    same(
        added, table_of(rows + late + new + [(-2 * DAY, 0), (3 * DAY, 0), (8 * DAY, 2)])
    )


def test_late_events_of_before_the_log_s_part_stay_out():
    rows = [(2 * DAY, 0), (4 * DAY, 0)]
    table = table_of(rows, after=DAY)
    rolled = table.updated(events_of([(0, 0), (3 * DAY, 0)], 4), late="add")
    same(rolled, table_of([*rows, (3 * DAY, 0)], after=DAY))
    assert rolled.late == 1


def test_items_are_matched_by_their_ids():
    table = PopularityTable.of(events_of([(0, 0), (0, 1)], ids=["a", "b"]))
    others = events_of([(DAY, 0), (DAY, 1), (DAY, 2)], ids=["new", "b", "a"])
    rolled = table.updated(others)
    assert rolled.unknown == 1
    assert rolled.counts(np.array([9 * DAY]))[0, :, -1].tolist() == [2, 2]
    assert table.updated(others, late="add").unknown == 1


def test_another_catalogue_keeps_what_it_knows_by_id():
    table = PopularityTable.of(
        events_of([(0, 0), (DAY, 0), (DAY, 1), (2 * DAY, 2)], ids=["a", "b", "gone"])
    )
    moved = table.for_items(Items(["new", "b", "a"]))
    asked = np.array([DAY, 3 * DAY])
    for read in (PopularityTable.counts, PopularityTable.features):
        expected = read(table, asked)
        assert read(moved, asked)[:, 1:].tolist() == expected[:, [1, 0]].tolist()
    assert moved.counts(asked)[:, 0].max() == 0
    assert moved.first_day.tolist() == [NEVER, 1, 0]
    assert moved.ids.tolist() == ["new", "b", "a"]
    empty = table.for_items(Items(["new"]))
    assert empty.counts(asked).shape == (2, 1, 5) and not empty.counts(asked).any()
    assert empty.updated(events_of([(9 * DAY, 0)], ids=["new"])).sums.tolist() == [
        [1] * 5
    ]


def test_the_latest_rows_answer_as_all_do_from_the_next_day_on(table):
    latest = table.latest()
    assert (len(latest), latest.start) == (2, 4)
    asked = np.array([4 * DAY, 5 * DAY, 99 * DAY])
    assert latest.counts(asked).tolist() == table.counts(asked).tolist()
    assert latest.features(asked).tolist() == table.features(asked).tolist()
    with pytest.raises(
        ValueError,
        match=r"query_time holds 1970-01-04 23:59:59 UTC, and this table answers from "
        r"1970-01-05 00:00:00 UTC on: give one with the days before it",
    ):
        latest.counts(np.array([4 * DAY - 1]))


@settings(deadline=None, max_examples=30)
@given(rows=LOGS, moment=st.integers(-4 * DAY, 12 * DAY))
def test_the_rows_since_a_moment_answer_as_all_do_from_its_day_on(rows, moment):
    table = table_of(rows)
    some = table.since(moment)
    asked = np.arange(moment // DAY, 14) * DAY
    assert some.features(asked).tolist() == table.features(asked).tolist()
    assert some.latest().start == max(some.start, table.latest().start)
    per_item = np.bincount(some.item[some.day < some.start], minlength=4)
    assert per_item.max() <= 1
    same(some.since(moment - DAY), some)


def test_saved_and_loaded(tmp_path):
    ids = ["a", "kühn", "三", "d\0"]
    events = events_of([(5, 0), (9 * DAY, 3)], ids=ids)
    table = PopularityTable.of(events, after=3, half_lives=("36h", None), period="2h")
    path = tmp_path / "popularity.npz"
    for one in (table, table.latest(), table.updated(events)):
        one.save(path)
        again = PopularityTable.load(path)
        same(again, one)
        assert (again.late, again.unknown) == (one.late, one.unknown)
    assert [each.name for each in tmp_path.iterdir()] == ["popularity.npz"]


def test_what_cannot_be_saved_leaves_the_file_as_it_was(table, tmp_path, monkeypatch):
    path = tmp_path / "popularity.npz"
    table.save(path)
    whole = path.read_bytes()

    def stop(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(OSError, match="no space left"):
        table.save(path)
    assert path.read_bytes() == whole
    with pytest.raises(ValueError, match=r"table\.txt ends in '\.txt'; expected \.npz"):
        table.save(tmp_path / "table.txt")


def test_damaged_and_foreign_files_are_named(table, tmp_path):
    path = tmp_path / "popularity.npz"
    with pytest.raises(FileNotFoundError, match=r"PopularityTable\.save wrote"):
        PopularityTable.load(path)
    message = (
        r"popularity\.npz does not hold a table of popularity \(.+\): make it anew"
    )
    table.save(path)
    whole = path.read_bytes()
    stored = dict(np.load(path))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=message):
        PopularityTable.load(path)
    for wrong in (
        {"version": np.int64(9)},
        {"keys": stored["keys"][::-1]},
        {"keys": stored["keys"] + key_of(5, 0)},
        {"sums": stored["sums"] * np.nan},
        {"sums": stored["sums"][:2]},
        {"first_day": stored["first_day"][:1]},
    ):
        np.savez(path, **{**stored, **wrong})
        with pytest.raises(ValueError, match=message):
            PopularityTable.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=message):
        PopularityTable.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"half_lives": []}, r"half_lives is empty: give one or more"),
        ({"half_lives": ["0d"]}, r"a half-life in half_lives='0d' must be finite"),
        ({"half_lives": [float("nan")]}, r"half_lives=nan must be finite"),
        ({"half_lives": [-3]}, r"half_lives=-3 must be finite and longer"),
        ({"half_lives": ["5d", "2d"]}, r"\['5d', '2d'\] must rise, each given once"),
        ({"half_lives": ["48h", "2d"]}, r"\['48h', '2d'\] must rise"),
        ({"half_lives": [None, "2d"]}, r"must rise, each given once and None last"),
        ({"half_lives": [None, None]}, r"must rise, each given once and None last"),
        ({"period": 0.5}, r"period=0\.5 must be a whole number of seconds"),
        ({"period": "-1d"}, r"period='-1d' is not a duration"),
        ({"until": 4}, r"until=4, after=None: none of 4 events is between them"),
        ({"after": 9 * DAY}, r"until=None, after=777600: none of 4 events"),
        ({"until": 10**12}, r"until=1000000000000 looks like milliseconds"),
    ],
)
def test_what_no_table_can_be_made_of_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        PopularityTable.of(events_of(ROWS), **options)


def test_what_is_of_another_type_is_named(table):
    with pytest.raises(TypeError, match=r"until=nan is a float: give integer seconds"):
        PopularityTable.of(events_of(ROWS), until=float("nan"))
    with pytest.raises(TypeError, match=r"half_lives='2d' is one string: give a list"):
        PopularityTable.of(events_of(ROWS), half_lives="2d")
    with pytest.raises(TypeError, match=r"moment=1\.5 is a float"):
        table.since(1.5)
    floats = dataclasses.replace(events_of(ROWS), time=np.array([0.0, np.nan, 1, 2]))
    with pytest.raises(ValueError, match=r"events\.time is float64 of shape \(4,\)"):
        PopularityTable.of(floats)


@pytest.mark.parametrize(
    ("query_time", "items", "message"),
    [
        ([1.0], None, r"query_time is float64 of shape \(1,\): give \[n\] integer"),
        ([[1]], None, r"query_time is int64 of shape \(1, 1\)"),
        (["2020-01-01"], None, r"query_time is <U10"),
        ([10**12], None, r"query_time holds 1000000000000, which looks like milli"),
        ([1], [[3]], r"items holds 3: places are below 3, the number of items"),
        ([1], [[1.0]], r"items is float64 of shape \(1, 1\): .*\[1, c\], negative"),
        ([1], [0], r"items is int64 of shape \(1,\): give integer places"),
        ([1], [[0], [1]], r"items is int64 of shape \(2, 1\)"),
    ],
)
def test_what_no_query_is_is_named(table, query_time, items, message):
    with pytest.raises(ValueError, match=message):
        table.counts(np.array(query_time), None if items is None else np.array(items))


def test_what_does_not_roll_forward_is_named(table):
    with pytest.raises(
        ValueError, match=r"until=5 is before that of this table, 302400"
    ):
        table.updated(events_of(ROWS), until=5)
    with pytest.raises(ValueError, match=r"late='keep' is neither 'ignore' nor 'add'"):
        table.updated(events_of(ROWS), late="keep")
