"""Values as actions: bands, their bounds, and the order of what comes out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import RawLog, actions_by_value, clean

BANDS = {
    "watch": {"finished": 0.9, "left": 0.0},
    "rating": {"disliked": 0.5, "liked": 4.0},
}


@pytest.fixture(scope="module")
def events():
    rows = [
        ("u", "a", 10, "watch", 0.9),
        ("u", "b", 10, "watch", 0.2),
        ("u", "a", 11, "rating", 3.5),
        ("u", "b", 12, "share", 0.0),
        ("v", "c", 10, "watch", 0.0),
        ("v", "c", 11, "rating", 4.0),
    ]
    columns = ["user", "item", "time", "action", "value"]
    table = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)
    table["device"] = "tv"
    return clean(RawLog(table, None, {}, context=("device",))).events


def rows_of(events):
    return [
        (
            *(events.users[events.user[row]], events.items.ids[events.item[row]]),
            *(int(events.time[row]), events.actions[events.action[row]]),
            float(events.value[row]),
        )
        for row in range(len(events))
    ]


def test_an_action_is_named_by_its_value(events):
    before = rows_of(events)
    named = actions_by_value(events, BANDS)
    assert named.actions == ("disliked", "finished", "left", "liked", "share")
    assert rows_of(named) == [
        ("u", "a", 10, "finished", 0.9),  # a bound begins its band
        ("u", "b", 10, "left", 0.2),
        ("u", "a", 11, "disliked", 3.5),
        ("u", "b", 12, "share", 0.0),  # an action that is not named stays
        ("v", "c", 10, "left", 0.0),
        ("v", "c", 11, "liked", 4.0),
    ]
    assert named.context["device"].tolist() == ["tv"] * 6
    assert rows_of(events) == before


def test_events_stay_sorted_by_their_new_actions(events):
    bands = {"watch": {"a-part": 0.0, "z-whole": 0.9}}
    named = actions_by_value(events, bands)
    # Of u's two events at 10, that of item b comes first now.
    assert [row[:4] for row in rows_of(named)][:2] == [
        ("u", "b", 10, "a-part"),
        ("u", "a", 10, "z-whole"),
    ]
    order = np.lexsort([named.item, named.action, named.time, named.user])
    assert order.tolist() == [*range(6)]


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ({"play": {"all": 0}}, r"bands names \['play'\], not among .*'rating'"),
        ({"watch": {}}, r"bands\['watch'\]={} must give each name a finite bound"),
        ({"watch": {"a": 0, "b": 0}}, r"bands\['watch'\]=.* bound of its own"),
        ({"watch": {"a": float("nan")}}, r"bands\['watch'\]=.* finite bound"),
        ({"watch": {"share": 0}}, r"bands makes 'share' of several"),
        ({"watch": {"a": 0}, "rating": {"a": 0}}, r"bands makes 'a' of several"),
        (
            {"watch": {"a": 0.5}},
            r"begins at 0.5, and 2 of 3 values are below it, such as 0",
        ),
    ],
)
def test_bands_that_do_not_fit_are_named(events, bands, message):
    with pytest.raises(ValueError, match=message):
        actions_by_value(events, bands)


def test_a_log_without_values_has_nothing_to_go_by(events):
    with pytest.raises(ValueError, match=r"the events have no values"):
        actions_by_value(dataclasses.replace(events, value=None), BANDS)
