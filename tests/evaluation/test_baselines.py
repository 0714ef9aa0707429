"""Counts a reader can make by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import basket_queries
from tfrs_decay.decay import Exponential
from tfrs_decay.evaluation import (
    OwnCounts,
    Popularity,
    RollingPopularity,
    blocks_of,
    top_items,
)

DAY = 86_400

# u bought a, then a and b, then c; v bought c twice, then a.
ROWS = [
    ("u", 0 * DAY, "a"),
    ("u", 1 * DAY, "a"),
    ("u", 1 * DAY, "b"),
    ("u", 2 * DAY, "c"),
    ("v", 0 * DAY, "c"),
    ("v", 2 * DAY, "c"),
    ("v", 3 * DAY, "a"),
]


@pytest.fixture
def events(make_events):
    return make_events(*ROWS)


def test_popularity_counts_events_at_or_before_the_cut(events):
    assert Popularity(events, until=2 * DAY).scores.tolist() == [2, 1, 3]
    assert Popularity(events, until=2 * DAY - 1).scores.tolist() == [2, 1, 1]
    assert Popularity(events, until=0).scores.tolist() == [1, 0, 1]


def test_popularity_weighs_events_by_their_age_at_the_cut(events):
    scores = Popularity(events, until=2 * DAY, decay=Exponential("1d")).scores
    # a: two days and one day old; b: one day; c: two days, and twice just now.
    assert scores.tolist() == [1 / 4 + 1 / 2, 1 / 2, 1 / 4 + 1 + 1]


def test_popularity_by_its_rate(events):
    scores = Popularity(
        events, until=2 * DAY, decay=Exponential.from_rate(1 / DAY)
    ).scores
    assert scores == pytest.approx(
        [np.exp(-2) + np.exp(-1), np.exp(-1), 2 + np.exp(-2)]
    )


def test_popularity_is_the_same_for_every_query_and_says_so(events):
    popularity = Popularity(events, until=2 * DAY)
    scores = popularity(basket_queries(events))
    assert scores.tolist() == [[2, 1, 3]] * 4
    assert popularity.personal is False


def test_popularity_does_not_know_what_comes_after_the_cut(events):
    until = 2 * DAY
    past = events.where(events.time <= until)
    for decay in (Exponential("1d"), Exponential("90d")):
        full = Popularity(events, until=until, decay=decay)
        frozen = Popularity(past, until=until, decay=decay)
        assert full.scores.tolist() == frozen.scores.tolist()


def test_rolling_popularity_is_of_the_days_before_the_query_s_own(events):
    queries = basket_queries(events)
    assert (queries.time // DAY).tolist() == [1, 2, 2, 3]
    assert RollingPopularity(events, None)(queries).tolist() == [
        [1, 0, 1],  # day 0 alone
        [2, 1, 1],  # of day 2 itself, nothing
        [2, 1, 1],
        [2, 1, 3],
    ]
    scores = RollingPopularity(events, "1d")(queries)
    # From the middle of a day: half a day and a day and a half back, at day 2.
    assert scores[1] == pytest.approx([2**-1.5 + 2**-0.5, 2**-0.5, 2**-1.5])
    assert RollingPopularity.personal is False


def test_rolling_popularity_of_hours_knows_the_hour_before(make_events):
    hour = 3_600
    events = make_events(
        ("u", 0, "a"), ("u", 2 * hour, "b"), ("v", hour, "a"), ("v", 2 * hour + 1, "c")
    )
    scores = RollingPopularity(events, "1h", period="1h")(basket_queries(events))
    assert scores == pytest.approx(np.array([[2**-1.5 + 2**-0.5, 0, 0]] * 2))
    assert RollingPopularity(events, "1h")(basket_queries(events)).sum() == 0


def test_rolling_popularity_in_blocks_is_the_same(events):
    queries = basket_queries(events)
    scorer = RollingPopularity(events, "14d")
    in_blocks = [scorer(block) for block in blocks_of(queries, 2)]
    assert np.concatenate(in_blocks).tolist() == scorer(queries).tolist()
    assert scorer(queries.between(0, 0)).shape == (0, 3)


def test_frozen_rolling_popularity_knows_nothing_after_the_cut(events):
    queries = basket_queries(events)
    frozen = RollingPopularity(events, None, frozen_after=DAY)(queries)
    assert frozen.tolist() == [[1, 0, 1], [2, 1, 1], [2, 1, 1], [2, 1, 1]]
    with pytest.raises(
        ValueError, match=r"frozen_after=-1: none of 7 events .* later cut"
    ):
        RollingPopularity(events, "1d", frozen_after=-1)


def test_own_counts_are_of_events_strictly_before(events):
    queries = basket_queries(events)
    assert queries.time.tolist() == [1 * DAY, 2 * DAY, 2 * DAY, 3 * DAY]
    assert OwnCounts(events)(queries).tolist() == [
        [1, 0, 0],  # u at day 1
        [2, 1, 0],  # u at day 2
        [0, 0, 1],  # v at day 2
        [0, 0, 2],  # v at day 3
    ]


def test_own_counts_weigh_events_by_their_age_at_the_query(events):
    scores = OwnCounts(events, decay=Exponential("1d"))(basket_queries(events))
    assert scores.tolist() == [
        [1 / 2, 0, 0],
        [1 / 4 + 1 / 2, 1 / 2, 0],
        [0, 0, 1 / 4],
        [0, 0, 1 / 8 + 1 / 2],
    ]


def test_own_counts_of_the_last_events_only(events):
    scores = OwnCounts(events, last=2)(basket_queries(events))
    # u at day 2 has three earlier events: the two latest are a and b of day 1.
    assert scores.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 2]]


def test_the_tie_break_adds_a_millionth_of_an_event_at_most(events):
    tie_break = np.array([0.0, 5.0, 20.0])
    queries = basket_queries(events)
    scores = OwnCounts(events, tie_break=tie_break)(queries)
    added = scores - OwnCounts(events)(queries)
    assert added == pytest.approx(np.tile([0, 0.25e-6, 1e-6], (4, 1)), abs=1e-15)
    # u at day 1 had only a; then come c and b by the tie-break.
    assert top_items(scores, 3)[0].tolist() == [0, 2, 1]
    assert tie_break.tolist() == [0.0, 5.0, 20.0]


def test_a_tie_break_of_nothing_but_zeros_breaks_no_tie(events):
    scores = OwnCounts(events, tie_break=np.zeros(3))(basket_queries(events))
    assert scores.tolist() == OwnCounts(events)(basket_queries(events)).tolist()


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("uv"), st.integers(0, 9), st.sampled_from(["a", "b", "c"])
        ),
        min_size=1,
        max_size=25,
    ),
    last=st.none() | st.integers(1, 6),
)
def test_own_counts_against_a_plain_loop(make_events, rows, last):
    events = make_events(*rows)
    queries = basket_queries(events)
    expected = np.zeros((len(queries), len(events.items)))
    for q in range(len(queries)):
        history = range(queries.history_start[q], queries.history_stop[q])
        for event in history if last is None else history[-last:]:
            age = queries.time[q] - events.time[event]
            expected[q, events.item[event]] += 0.5 ** (age / 4)
    scorer = OwnCounts(events, decay=Exponential(4), last=last)
    assert scorer(queries) == pytest.approx(expected)
    in_blocks = [scorer(block) for block in blocks_of(queries, 2)]
    assert [row for block in in_blocks for row in block.tolist()] == (
        scorer(queries).tolist()
    )


def test_a_cut_before_everything_is_refused(events):
    with pytest.raises(ValueError, match=r"until=-1: none of 7 events .* later cut"):
        Popularity(events, until=-1)


@pytest.mark.parametrize(
    "make", [OwnCounts, lambda e, **o: Popularity(e, until=0, **o)]
)
def test_a_rate_for_each_feature_is_refused(events, make):
    decay = Exponential(["7d", "30d"])
    with pytest.raises(
        ValueError, match=r"'7d', '30d'.*give a decay with a single rate"
    ):
        make(events, decay=decay)


def test_no_last_events_are_refused(events):
    with pytest.raises(ValueError, match=r"last=0 must be 1 or more: leave it out"):
        OwnCounts(events, last=0)


@pytest.mark.parametrize(
    ("tie_break", "message"),
    [
        (
            [1.0, 2.0],
            r"tie_break is of shape \(2,\): give one score for each of 3 items",
        ),
        ([1.0, -2.0, 0.0], r"tie_break holds -2\.0: its scores are finite, 0 or more"),
        ([1.0, np.inf, 0.0], r"tie_break holds inf: its scores are finite"),
        ([1.0, np.nan, 0.0], r"tie_break holds nan: its scores are finite"),
    ],
)
def test_a_wrong_tie_break_is_refused(events, tie_break, message):
    with pytest.raises(ValueError, match=message):
        OwnCounts(events, tie_break=np.array(tie_break))
