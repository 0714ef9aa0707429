"""A shop of five users, whose segments can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import (
    Popularity,
    as_dict,
    by_segment,
    evaluate,
    segment_table,
    segments,
)

DAY = 86_400
CUT = 100 * DAY

# Up to the cut a has 12 events, b 4, c 2, d 2 and e 1, of 21 in all; f has none.
ROWS = [
    # heavy: 11 events up to the cut, one of them at it.
    *[("heavy", day * DAY, "a") for day in range(9)],
    ("heavy", 50 * DAY, "b"),
    ("heavy", CUT, "a"),
    ("heavy", CUT + DAY - 1, "a"),  # a last event at the cut: less than a day ago
    ("heavy", CUT + DAY - 1, "f"),
    # ten: 10 events up to the cut.
    *[("ten", day * DAY, "b") for day in range(3)],
    *[("ten", day * DAY, "c") for day in range(3, 5)],
    *[("ten", day * DAY, "d") for day in range(5, 7)],
    *[("ten", day * DAY, "a") for day in range(7, 9)],
    ("ten", 10 * DAY, "e"),
    ("ten", CUT + 1, "e"),  # 90 days and a second ago
    ("ten", CUT + 1, "d"),
    # fresh: nothing up to the cut.
    ("fresh", CUT + 1, "a"),
    ("fresh", CUT + 1 + DAY, "f"),  # exactly a day ago
    ("fresh", CUT + 1 + 8 * DAY, "f"),  # exactly seven days ago
]


@pytest.fixture
def events(make_events):
    return make_events(*ROWS)


@pytest.fixture
def queries(events):
    return basket_queries(events, after=CUT)


def chosen(events, queries, kept):
    """The targets of a segment as (user, item), sorted."""
    user = events.users[queries.user[queries.query_of_target[kept]]]
    item = events.items.ids[events.item[queries.target[kept]]]
    return sorted(zip(user.tolist(), item.tolist(), strict=True))


def test_every_segment_by_hand(events, queries):
    told = {
        name: chosen(events, queries, kept)
        for name, kept in segments(queries, events, until=CUT).items()
    }
    fresh, heavy = [("fresh", "f"), ("fresh", "f")], [("heavy", "a"), ("heavy", "f")]
    ten = [("ten", "d"), ("ten", "e")]
    assert told == {
        "new users": fresh,
        "light users": ten,
        "other users": heavy,
        # a and b make 16 of 21, which is less than 80%; with c it is 18.
        "head": [("heavy", "a")],
        "long tail": [*fresh, ("heavy", "f"), *ten],
        "new items": [*fresh, ("heavy", "f")],
        "last event < 1d": heavy,
        "last event 1d to 7d": [("fresh", "f")],
        "last event 7d to 30d": [("fresh", "f")],
        "last event 30d to 90d": [],
        "last event >= 90d": ten,
        "repeats": [("fresh", "f"), ("heavy", "a"), *ten],
        "new to the user": [("fresh", "f"), ("heavy", "f")],
    }


def test_the_head_ends_with_the_item_that_reaches_its_share(make_events):
    # Of 10 events a and b are 8, exactly 80%; c and d are the tail.
    items = "aaaaabbbcd"
    rows = [("u", time, item) for time, item in enumerate(items)]
    after = [("u", 20 + place, item) for place, item in enumerate("abcd")]
    events = make_events(*rows, *after)
    queries = basket_queries(events, after=10)
    head = segments(queries, events, until=10)["head"]
    assert chosen(events, queries, head) == [("u", "a"), ("u", "b")]


def test_what_comes_after_the_cut_changes_no_segment_of_users_and_items(
    make_events, events, queries
):
    before = segments(queries, events, until=CUT)
    # Ten more of everything, later than all queries.
    later = [
        (user, CUT + (50 + time) * DAY, item)
        for user in ("heavy", "ten", "fresh")
        for item in "abcdef"
        for time in range(10)
    ]
    more = make_events(*ROWS, *later)
    same = basket_queries(more, after=CUT, until=CUT + 40 * DAY)
    for name, kept in segments(same, more, until=CUT).items():
        assert chosen(more, same, kept) == chosen(events, queries, before[name])


def test_figures_of_segments_are_those_of_their_targets(events, queries):
    models = {"popularity": Popularity(events, until=CUT)}
    figures = evaluate(models, queries, events, k=(2, 4))
    of_each = by_segment(figures, segments(queries, events, until=CUT))
    # Everyone is shown a, b, c, d.
    repeats = of_each["repeats"]["popularity"]
    assert len(repeats) == 3
    assert sorted(repeats.recall().tolist()) == [0, 1 / 2, 1]
    new = of_each["new to the user"]["popularity"]
    assert new.recall().tolist() == [0, 0]
    told = as_dict(of_each)
    assert told["last event 30d to 90d"] == {"popularity": {"queries": 0}}
    assert told["repeats"]["popularity"]["recall@2"] == pytest.approx(1 / 3)


def test_the_table_as_it_is_printed(events, queries):
    models = {
        "popularity": Popularity(events, until=CUT),
        "backwards": lambda some: np.tile(np.arange(6.0), (len(some), 1)),
    }
    figures = evaluate(models, queries, events, k=(2, 4))
    told = segments(queries, events, until=CUT)
    some = {name: told[name] for name in ("repeats", "last event 30d to 90d")}
    # Lists a, b and f, e. Wanted: a and f; d and e, all of them repeats; f; f again.
    assert segment_table(figures, some, k=2).splitlines() == [
        "Recall@2               queries  targets  popularity   backwards",
        "all                          4        6      0.1250      0.7500*",
        "repeats                      3        4      0.3333      0.5000*",
        "last event 30d to 90d     none",
    ]
    one, other = figures.values()
    renamed = {"popularity, e^(-age/14d)": one, "decay": other}
    assert segment_table(renamed, some, k=2).splitlines()[:3] == [
        "                                          popularity,",
        "Recall@2               queries  targets  e^(-age/14d)    decay",
        "all                          4        6        0.1250   0.7500*",
    ]
    assert segment_table(figures, {}).startswith("Recall@4")
    with pytest.raises(ValueError, match=r"figures=\{\}: give what `evaluate`"):
        segment_table({}, some)


def test_no_queries_have_empty_segments(events, queries):
    nothing = queries.where(np.zeros(len(queries), bool))
    told = segments(nothing, events, until=CUT)
    assert all(kept.shape == (0,) for kept in told.values())


def test_queries_that_were_trained_on_are_refused(events):
    with pytest.raises(ValueError, match=r"a query is at 86400\. Give queries after"):
        segments(basket_queries(events), events, until=CUT)


def test_a_cut_before_everything_is_refused(events, queries):
    with pytest.raises(ValueError, match=r"until=-1: none of 28 events is before it"):
        segments(queries, events, until=-1)
