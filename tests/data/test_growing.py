"""A log that grows: what stays in its place, and what is left out and told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import Items, RawLog, basket_queries, clean, described_items, grow


def log_of(*rows, items=None, **further):
    """Clean events of (user, time, item, action) rows, which come in any order."""
    table = pd.DataFrame(rows, columns=["user", "time", "item", "action"])
    for name, column in further.items():
        table[name] = column
    table = table.sample(frac=1, random_state=1)
    if items is not None:
        items = pd.DataFrame(items, columns=["item", "text"])
    context = tuple(name for name in further if name != "value")
    return clean(RawLog(table, items, {}, context=context)).events


def rows_of(events):
    return [
        (events.users[user], time, events.items.ids[item], events.actions[action])
        for user, time, item, action in zip(
            events.user, events.time, events.item, events.action, strict=True
        )
    ]


OLD = (
    ("ann", 10, "mug", "buy"),
    ("ann", 30, "pot", "view"),
    ("cid", 20, "pot", "buy"),
)
TODAY = (
    ("ann", 30, "pot", "view"),  # the log has it
    ("ann", 30, "pot", "buy"),  # late, at the very end of the log; and no such row
    ("ann", 20, "axe", "buy"),  # late
    ("bob", 40, "mug", "buy"),
    ("cid", 50, "fan", "view"),
)


def test_what_was_there_keeps_its_place_and_what_is_new_comes_after():
    old, today = log_of(*OLD), log_of(*TODAY)
    before = rows_of(old), rows_of(today)
    grown = grow(old, today)
    both = grown.events
    assert both.users.tolist() == ["ann", "cid", "bob"]
    assert both.items.ids.tolist() == ["mug", "pot", "axe", "fan"]
    assert both.actions == old.actions
    assert rows_of(both) == [
        ("ann", 10, "mug", "buy"),
        ("ann", 20, "axe", "buy"),
        ("ann", 30, "pot", "buy"),
        ("ann", 30, "pot", "view"),
        ("cid", 20, "pot", "buy"),
        ("cid", 50, "fan", "view"),
        ("bob", 40, "mug", "buy"),
    ]
    assert (rows_of(old), rows_of(today)) == before
    assert grown.to_dict() == {
        "rows": 4,
        "repeated": 1,
        "late": 2,
        "users": 1,
        "items": 2,
        "items_without_text": 2,
        "items_described_otherwise": 0,
    }
    report = grown.report().splitlines()
    assert report[0] == "4 new events (1 new user, 2 new items)"
    assert report[1] == "1 row left out: the log has it already"
    assert report[2].startswith("2 rows are late, at or before the end of the log")
    assert report[3] == "2 new items have no text"
    # Sorted as queries need it: cid's basket at 50 has one earlier event.
    queries = basket_queries(both, after=30)
    assert both.users[queries.user].tolist() == ["cid"]


def test_the_same_log_again_adds_nothing():
    old = log_of(*OLD)
    grown = grow(old, old)
    assert (grown.rows, grown.repeated, grown.late) == (0, 3, 0)
    assert rows_of(grown.events) == rows_of(old)
    assert grown.events.items is old.items


def test_items_join_that_nobody_had_and_old_texts_stay():
    old = log_of(*OLD, items=[("mug", "blue mug"), ("pot", "iron pot")])
    described = [("mug", "green mug"), ("fan", "desk fan"), ("hat", "straw hat")]
    today = log_of(*TODAY, items=described)
    raw = RawLog(None, pd.DataFrame(described, columns=["item", "text"]), {})
    grown = grow(old, today, items=described_items(raw))
    assert dict(zip(grown.events.items.ids, grown.events.items.texts, strict=True)) == {
        "mug": "blue mug",
        "pot": "iron pot",
        "fan": "desk fan",
        "hat": "straw hat",
        "axe": "",
    }
    assert (grown.items, grown.items_without_text) == (3, 1)
    assert grown.items_described_otherwise == 1
    assert "1 item has another text now: the old one is kept" in grown.report()


def test_items_with_several_texts():
    old = dataclasses.replace(
        log_of(*OLD), items=Items(["mug", "pot"], [("mug", "blue"), ("pot", "")])
    )
    grown = grow(old, log_of(*TODAY), items=Items(["fan"], [("fan", "quiet")]))
    assert grown.events.items.texts.tolist() == [
        ["mug", "blue"],
        ["pot", ""],
        ["fan", "quiet"],
        ["", ""],
    ]
    with pytest.raises(ValueError, match=r"have 1 texts and those of the log 2"):
        grow(old, log_of(*TODAY, items=[("fan", "desk fan")]))


def test_values_and_further_columns_go_along():
    old = log_of(*OLD, value=[1.0, 2.0, 3.0], device=["a", "b", "c"])
    new = log_of(("bob", 40, "pot", "buy"), value=[9.0], device=["z"])
    both = grow(old, new).events
    assert both.value.tolist() == [1.0, 2.0, 3.0, 9.0]
    assert both.context["device"].tolist() == ["a", "b", "c", "z"]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            log_of(("bob", 40, "mug", "rent")),
            r"action 'rent', and the log that it is added to has \['buy', 'view'\]",
        ),
        (
            log_of(("bob", 40, "mug", "buy"), value=[1.0]),
            r"value: the log has False and the new log True",
        ),
        (
            log_of(("bob", 40, "mug", "buy"), device=["phone"]),
            r"context: the log has \[\] and the new log \['device'\]",
        ),
    ],
)
def test_a_log_of_another_kind_is_refused(new, message):
    with pytest.raises(ValueError, match=message):
        grow(log_of(*OLD), new)


def test_a_log_that_describes_nothing_has_no_described_items():
    empty = pd.DataFrame({"item": ["a"], "text": [None]})
    assert described_items(RawLog(None, None, {})) is None
    assert described_items(RawLog(None, empty, {})) is None
    two = pd.DataFrame({"item": ["b", "a"], "title": ["B", "A"], "more": ["", "x"]})
    items = described_items(RawLog(None, two, {}, texts=("title", "more")))
    assert items.ids.tolist() == ["a", "b"]
    assert items.texts.tolist() == [["A", "x"], ["B", ""]]
    assert np.array_equal(items.titles, ["A | x", "B"])
