"""Queries never see the future: the docstring's table, and random logs."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import (
    Events,
    Queries,
    RawLog,
    basket_queries,
    clean,
    event_queries,
    events_at,
    events_before,
    sessions,
    with_actions,
)
from tfrs_decay.data.histories import baskets

Row = tuple[str, int, str, str]  # user, time, item, action

# Few users, items and moments, so that nearly everything is tied with something.
ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.integers(0, 6),
        st.sampled_from("abcd"),
        st.sampled_from(["buy", "view"]),
    ),
    min_size=1,
    max_size=30,
)
MOMENT = st.none() | st.integers(-1, 7)


def cleaned(rows: Iterable[Row]) -> Events:
    columns = ["user", "time", "item", "action"]
    return clean(RawLog(pd.DataFrame(list(rows), columns=columns), None, {})).events


def shuffled(rows: Iterable[Row], seed: int = 5) -> list[Row]:
    return random.Random(seed).sample(list(rows), len(list(rows)))


def written(queries: Queries, events: Events) -> list[tuple]:
    """Each query as (user, time, items of its history, items of its targets)."""
    items = events.items.ids[events.item]
    return [
        (
            events.users[queries.user[q]],
            int(queries.time[q]),
            items[queries.history_start[q] : queries.history_stop[q]].tolist(),
            items[
                queries.target[queries.target_offset[q] : queries.target_offset[q + 1]]
            ].tolist(),
        )
        for q in range(len(queries))
    ]


def histories(queries: Queries, events: Events) -> Iterable[tuple[int, slice]]:
    for q in range(len(queries)):
        yield q, slice(queries.history_start[q], queries.history_stop[q])


def targets_of(queries: Queries, q: int) -> np.ndarray:
    return queries.target[queries.target_offset[q] : queries.target_offset[q + 1]]


# The table in the docstring of `basket_queries`.
TABLE = [
    ("u", 10, "a", "buy"),
    ("u", 20, "b", "buy"),
    ("u", 20, "c", "buy"),
    ("u", 30, "a", "buy"),
    ("u", 30, "d", "buy"),
]


@pytest.mark.parametrize("seed", range(5))
def test_the_table_of_the_docstring(seed):
    events = cleaned(shuffled(TABLE, seed))
    assert written(basket_queries(events), events) == [
        ("u", 20, ["a"], ["b", "c"]),
        ("u", 30, ["a", "b", "c"], ["a", "d"]),
    ]


def test_the_cuts_are_strictly_after_and_at_or_before():
    events = cleaned(shuffled(TABLE))

    def times(**cuts):
        return basket_queries(events, **cuts).time.tolist()

    assert times(after=19) == [20, 30]
    assert times(after=20) == [30]
    assert times(until=20) == [20]
    assert times(until=19) == []
    assert times(after=20, until=30) == [30]
    assert times(after=20, until=29) == []


def test_a_cut_at_time_zero_is_a_cut():
    events = cleaned(
        [("u", -5, "a", "buy"), ("u", 0, "b", "buy"), ("u", 5, "c", "buy")]
    )
    assert basket_queries(events, after=0).time.tolist() == [5]
    assert basket_queries(events, until=0).time.tolist() == [0]


def test_new_targets_of_the_table():
    events = cleaned(shuffled(TABLE))
    # At 30 the user already had a; d is new.
    assert written(basket_queries(events).with_new_targets(events), events) == [
        ("u", 20, ["a"], ["b", "c"]),
        ("u", 30, ["a", "b", "c"], ["d"]),
    ]


def test_targets_among_some_items():
    events = cleaned(shuffled(TABLE))
    some = np.isin(events.items.ids.astype(str), ["c", "d"])
    left = basket_queries(events).with_targets_among(events, some)
    assert written(left, events) == [
        ("u", 20, ["a"], ["c"]),
        ("u", 30, ["a", "b", "c"], ["d"]),
    ]
    none = np.zeros(len(events.items), bool)
    assert len(basket_queries(events).with_targets_among(events, none)) == 0


def test_a_query_of_nothing_new_is_dropped():
    events = cleaned([("u", 1, "a", "buy"), ("u", 2, "a", "buy"), ("u", 3, "b", "buy")])
    new = basket_queries(events).with_new_targets(events)
    assert written(new, events) == [("u", 3, ["a", "a"], ["b"])]


def test_other_actions_are_history_and_not_targets():
    rows = [
        ("u", 1, "a", "view"),
        ("u", 2, "b", "view"),
        ("u", 2, "c", "buy"),
        ("u", 3, "d", "view"),
        ("u", 4, "a", "buy"),
    ]
    events = cleaned(shuffled(rows))
    assert written(basket_queries(events, actions=["buy"]), events) == [
        ("u", 2, ["a"], ["c"]),
        ("u", 4, ["a", "c", "b", "d"], ["a"]),  # at one time, by action and item
    ]


def test_what_was_only_viewed_is_not_new():
    rows = [("u", 1, "a", "view"), ("u", 2, "a", "buy"), ("u", 2, "b", "buy")]
    events = cleaned(shuffled(rows))
    queries = basket_queries(events, actions=["buy"]).with_new_targets(events)
    assert written(queries, events) == [("u", 2, ["a"], ["b"])]


def test_an_unknown_action_is_named_with_those_that_exist():
    events = cleaned([("u", 1, "a", "buy"), ("u", 2, "a", "view")])
    with pytest.raises(ValueError, match=r"\['click'\] not among .*\['buy', 'view'\]"):
        basket_queries(events, actions=["buy", "click"])


def test_where_keeps_the_targets_of_the_queries_it_keeps():
    events = cleaned(shuffled(TABLE))
    queries = basket_queries(events).where(np.array([False, True]))
    assert written(queries, events) == [("u", 30, ["a", "b", "c"], ["a", "d"])]
    assert queries.target_offset.tolist() == [0, 2]
    assert queries.target_count.tolist() == [2]


def test_no_events_make_no_queries():
    events = cleaned(TABLE)
    nothing = events.where(np.zeros(len(events), bool))
    queries = basket_queries(nothing, after=0, until=1, actions=["buy"])
    assert len(queries) == 0
    assert queries.target_offset.tolist() == [0]
    assert len(queries.with_new_targets(nothing)) == 0
    assert len(basket_queries(events, after=30).with_new_targets(events)) == 0


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, after=MOMENT, until=MOMENT)
def test_no_query_sees_its_own_time_or_later_or_another_user(rows, after, until):
    events = cleaned(rows)
    queries = basket_queries(events, after=after, until=until)
    for q, history in histories(queries, events):
        assert len(events.time[history]) > 0
        assert (events.time[history] < queries.time[q]).all()
        assert (events.user[history] == queries.user[q]).all()


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, after=MOMENT, until=MOMENT)
def test_a_history_is_every_earlier_event_of_its_user(rows, after, until):
    events = cleaned(rows)
    queries = basket_queries(events, after=after, until=until)
    for q, history in histories(queries, events):
        user, time = events.users[queries.user[q]], queries.time[q]
        earlier = {row for row in rows if row[0] == user and row[1] < time}
        assert sorted(
            (
                user,
                events.time[event],
                events.items.ids[events.item[event]],
                events.actions[events.action[event]],
            )
            for event in range(history.start, history.stop)
        ) == sorted(earlier)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, after=MOMENT, until=MOMENT)
def test_queries_lie_between_the_cuts_and_targets_at_their_time(rows, after, until):
    events = cleaned(rows)
    queries = basket_queries(events, after=after, until=until)
    for q in range(len(queries)):
        assert after is None or queries.time[q] > after
        assert until is None or queries.time[q] <= until
        targets = targets_of(queries, q)
        assert len(targets) > 0
        assert (events.time[targets] == queries.time[q]).all()
        assert (events.user[targets] == queries.user[q]).all()


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, after=MOMENT, until=MOMENT)
def test_no_moment_with_a_past_is_forgotten(rows, after, until):
    events = cleaned(rows)
    queries = basket_queries(events, after=after, until=until)
    first = {user: min(t for u, t, _, _ in rows if u == user) for user, *_ in rows}
    assert [
        (events.users[user], time)
        for user, time in zip(queries.user, queries.time, strict=True)
    ] == sorted(
        {
            (user, time)
            for user, time, _, _ in rows
            if time > first[user]
            and (after is None or time > after)
            and (until is None or time <= until)
        }
    )
    assert queries.target_offset[0] == 0
    assert queries.target_offset[-1] == len(queries.target)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_new_targets_are_exactly_the_pairs_unseen_before(rows):
    events = cleaned(rows)
    queries = basket_queries(events)

    def unseen(queries: Queries) -> list[tuple]:
        return [
            (user, time, item)
            for user, time, _, items in written(queries, events)
            for item in items
            if not any((u, i) == (user, item) and t < time for u, t, i, _ in rows)
        ]

    new = queries.with_new_targets(events)
    assert [
        (user, time, item)
        for user, time, _, items in written(new, events)
        for item in items
    ] == unseen(queries)
    assert (new.target_count > 0).all()


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, wanted=st.sampled_from(["buy", "view"]))
def test_targets_are_the_wanted_action_and_histories_do_not_shrink(rows, wanted):
    events = cleaned([*rows, ("x", 0, "a", wanted)])  # so that the action exists
    everything = {
        (user, time): history
        for user, time, history, _ in written(basket_queries(events), events)
    }
    queries = basket_queries(events, actions=[wanted])
    assert {events.actions[one] for one in events.action[queries.target]} <= {wanted}
    for user, time, history, _ in written(queries, events):
        assert history == everything[user, time]
    assert {(user, time) for user, time, *_ in written(queries, events)} == {
        (user, time)
        for user, time, _, action in rows
        if action == wanted and (user, time) in everything
    }


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000))
def test_the_order_of_the_rows_changes_nothing(rows, seed):
    one, other = cleaned(rows), cleaned(shuffled(rows, seed))
    assert written(basket_queries(one), one) == written(basket_queries(other), other)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_nothing_that_is_given_is_written_to(rows):
    events = cleaned(rows)
    events_before = copy.deepcopy(events)
    queries = basket_queries(events)
    queries_before = copy.deepcopy(queries)
    queries.with_new_targets(events)
    queries.where(queries.time > 3)
    for name in ("user", "time", "action", "item"):
        assert np.array_equal(getattr(events, name), getattr(events_before, name))
    for name in vars(queries):
        assert np.array_equal(getattr(queries, name), getattr(queries_before, name))


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, cut=st.integers(-1, 7))
def test_the_future_can_be_rewritten_and_no_earlier_query_changes(rows, cut):
    # Users are named beforehand: events after the cut may not bring new ones.
    known = [(user, -1, "a", "buy") for user in "uvw"]
    past = [row for row in rows if row[1] <= cut]
    full, without = cleaned([*known, *rows]), cleaned([*known, *past])
    assert written(basket_queries(full, until=cut), full) == written(
        basket_queries(without), without
    )


# Events as queries, sessions, and feedback kept apart


def test_each_event_of_a_basket_is_a_query_with_the_same_history():
    events = cleaned(shuffled(TABLE))
    assert written(event_queries(events), events) == [
        ("u", 20, ["a"], ["b"]),
        ("u", 20, ["a"], ["c"]),
        ("u", 30, ["a", "b", "c"], ["a"]),
        ("u", 30, ["a", "b", "c"], ["d"]),
    ]
    late = event_queries(events, after=20, until=30, actions=["buy"])
    assert late.time.tolist() == [30, 30]


@settings(deadline=None)
@given(ROWS, MOMENT, MOMENT, st.sampled_from([None, ["buy"], ["view"]]))
def test_event_queries_are_the_baskets_taken_apart(rows, after, until, actions):
    events = cleaned(rows)
    known = (
        None if actions is None else [one for one in actions if one in events.actions]
    )
    cut = {"after": after, "until": until, "actions": known}
    apart = [
        (user, time, history, [one])
        for user, time, history, targets in written(
            basket_queries(events, **cut), events
        )
        for one in targets
    ]
    assert written(event_queries(events, **cut), events) == apart


def test_the_latest_of_a_history():
    events = cleaned(TABLE)
    queries = basket_queries(events).latest(2)
    assert written(queries, events)[-1] == ("u", 30, ["b", "c"], ["a", "d"])
    with pytest.raises(ValueError, match="events=0 must be 1 or more"):
        queries.latest(0)


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_sessions_are_parted_where_nothing_happened_for_longer(rows, gap):
    events = cleaned(rows)
    session = sessions(events, gap)
    assert session[0] == 0 and len(session) == len(events)
    for n in range(1, len(events)):
        parted = (
            events.user[n] != events.user[n - 1]
            or events.time[n] - events.time[n - 1] > gap
        )
        assert session[n] - session[n - 1] == parted
    queries = basket_queries(events)
    within = queries.within_sessions(events, gap)
    kept = []
    for q, history in histories(queries, events):
        own = session[targets_of(queries, q)[0]]
        same = [n for n in range(history.start, history.stop) if session[n] == own]
        if same:
            kept.append((queries.user[q], queries.time[q], same))
    found = [
        (
            within.user[q],
            within.time[q],
            list(range(history.start, history.stop)),
        )
        for q, history in histories(within, events)
    ]
    assert found == kept


@settings(deadline=None)
@given(rows=ROWS)
def test_baskets_are_numbered_in_order(rows):
    events = cleaned(rows)
    moments = list(zip(events.user, events.time, strict=True))
    assert baskets(events).tolist() == [
        sorted(set(moments)).index(moment) for moment in moments
    ]
    assert baskets(events.where(events.time < 0)).tolist() == []


def test_gaps_are_durations():
    events = cleaned([("u", 0, "a", "buy"), ("u", 1800, "b", "buy")])
    assert sessions(events, "30m").tolist() == [0, 0]
    assert sessions(events, "29m").tolist() == [0, 1]
    with pytest.raises(ValueError, match="gap=0 must be finite and longer"):
        sessions(events, 0)
    assert sessions(events.where(np.zeros(2, bool)), "1d").tolist() == []


@settings(deadline=None)
@given(ROWS)
def test_feedback_that_is_kept_apart_is_found_by_user_and_time(rows):
    events = cleaned(rows)
    apart = with_actions(events, [one for one in ["view"] if one in events.actions])
    views, others = events.where(apart), events.where(~apart)
    queries = basket_queries(others)
    first, at = events_before(views, queries.user, queries.time)
    start, stop = events_at(views, queries.user, queries.time)
    assert (start == at).all()
    for q in range(len(queries)):
        own = views.user == queries.user[q]
        before = np.flatnonzero(own & (views.time < queries.time[q]))
        now = np.flatnonzero(own & (views.time == queries.time[q]))
        assert list(range(first[q], at[q])) == before.tolist()
        assert list(range(start[q], stop[q])) == now.tolist()


def test_an_unknown_action_is_named_wherever_it_is_asked_for():
    events = cleaned(TABLE)
    for ask in (with_actions, lambda e, a: event_queries(e, actions=a)):
        with pytest.raises(ValueError, match=r"\['skip'\] not among the log's \['buy'"):
            ask(events, ["skip"])
