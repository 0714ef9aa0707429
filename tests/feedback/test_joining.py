"""Which event answers which impression: by hand, and against a loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import Events, Items, RawLog, clean
from tfrs_decay.feedback import Served, join
from tfrs_decay.feedback.joining import ANSWERED, ORGANIC, _keys

# Rows in no order; ann sees the mug three times, twice in one second.
SHOWN = {
    "request": ["r3", "r1", "r1", "r2", "r3", "r4", "r3"],
    "user": ["ann", "ann", "ann", "bob", "ann", "ann", "ann"],
    "item": ["mug", "mug", "hat", "hat", "mug", "pen", "mug"],
    "time": [500, 100, 100, 200, 500, 900, 500],
    # The last row is the first, delivered twice.
    "position": [2, 1, 2, 1, 1, 1, 2],
    "version": [2, 1, 1, 1, 2, 2, 2],
}
MUG_AT_100, HAT, BOBS_HAT, MUG_AT_500, PEN = 1, 2, 3, 4, 5


def raw(*rows):
    names = ["user", "item", "time", "action"]
    return RawLog(pd.DataFrame(rows, columns=names, dtype=object), None, {})


def answered(*rows, window):
    """The impression of each of some events, in their own order."""
    cleaned = clean(raw(*rows))
    joined = join(Served.of(SHOWN), cleaned, window=window)
    found = np.empty(len(rows), np.int64)
    found[cleaned.row] = joined.impression
    return found.tolist(), joined


def test_an_event_answers_the_latest_impression_before_it():
    found, joined = answered(
        ("ann", "mug", 99, "click"),  # before it was first shown
        ("ann", "mug", 100, "click"),  # in the second of it
        ("ann", "mug", 499, "click"),  # answered already
        ("ann", "mug", 500, "click"),  # of two, the higher
        ("ann", "mug", 1100, "click"),  # in the last second
        ("ann", "mug", 1101, "click"),  # a second late
        ("ann", "hat", 9000, "buy"),  # bob saw it later, the window is long
        ("bob", "mug", 600, "click"),  # ann saw it
        ("cat", "hat", 600, "click"),  # who?
        ("ann", "cup", 600, "click"),  # what?
        ("ann", "mug", 600, "view"),  # no action to join
        window={"click": "10m", "buy": "1d"},
    )
    assert found == [
        *(-1, MUG_AT_100, MUG_AT_100, MUG_AT_500, MUG_AT_500, -1),
        *(HAT, -1, -1, -1, -1),
    ]
    assert joined.count["click"].tolist() == [0, 2, 0, 0, 2, 0]
    assert joined.happened("click").tolist() == [False, True, False, False, True, False]
    assert joined.count["buy"].tolist() == [0, 0, 1, 0, 0, 0]
    # One of each kind.
    assert joined.found["click"] == {ANSWERED: 4, **dict.fromkeys(ORGANIC, 1)}
    assert sum(joined.found["buy"].values()) == joined.found["buy"][ANSWERED] == 1
    # The newest event is at 9000: all clicks are in, and no day is over.
    assert joined.unfinished == {"click": 0, "buy": 6}


def test_what_was_left_out_is_told():
    twice = ("bob", "hat", 300, "click")
    log = clean(raw(twice, twice, ("ann", "pen", 950, "click"), (None, "pen", 1, "x")))
    joined = join(Served.of(SHOWN), log)
    assert joined.served.repeated == 1 and len(joined.served) == 6
    assert sum(joined.rejected.values()) == 2
    assert joined.summary() == (
        "6 impressions in 4 lists shown to 2 users, of 3 items\n"
        "click: 2 events, of which 2 answer 2 impressions within 30m and 0 are organic"
        "\nNote: 1 row of what was shown left out: same request, user, item, position "
        "and time as another row.\n"
        "Note: 1 row of the log left out: no user.\n"
        "Note: 1 row of the log left out: same user, item, time and action as another "
        "row.\n"
        "Note: 6 impressions in the last 30m of the log: where a click may yet come, "
        "the rate is too low."
    )
    told = joined.to_dict()
    assert told["requests"] == 4 and told["answered"] == {"click": 2}
    assert told["windows"] == {"click": 1800.0}
    # A raw log is cleaned in the same way.
    assert join(Served.of(SHOWN), raw(twice, twice)).count["click"].sum() == 1


def test_a_date_in_the_future_does_not_end_windows():
    now = 1_000
    rows = [("ann", "pen", 950, "click"), ("bob", "hat", now + 10**6, "click")]
    served = Served.of(SHOWN)
    # 500 and 900 are within ten minutes of the newest event that has happened.
    for log in (raw(*rows), clean(raw(*rows)), clean(raw(*rows)).events):
        joined = join(served, log, window={"click": "10m"}, now=now)
        assert joined.unfinished == {"click": 3}
    assert join(served, raw(*rows), now=now).rejected == {"time after now": 1}
    assert join(served, raw(*rows)).unfinished == {"click": 0}
    # An impression that is still to come has its window before it.
    late = Served.of(SHOWN | {"time": [*SHOWN["time"][:5], now + 10**6, 500]})
    joined = join(late, raw(*rows), window={"click": "10m"}, now=now)
    assert joined.unfinished == {"click": 3}


def test_impressions_from_before_the_log_are_told():
    # Those at 100 and 300 had ten minutes, and the log begins at 950.
    joined = join(
        Served.of(SHOWN),
        clean(raw(("ann", "pen", 950, "click"))),
        window={"click": "10m"},
    )
    long_ago = (joined.served.time + 600 < 950).sum()
    assert joined.missed == {"click": long_ago} and long_ago > 0
    assert (
        f"{long_ago} impressions from more than 10m before the log begins: what click "
        "came of them is not in it, and the rate is too low."
    ) in joined.notes
    assert joined.to_dict()["missed"] == joined.missed


def test_a_log_without_an_answer_is_organic_all_of_it():
    joined = join(Served.of(SHOWN), clean(raw(("cat", "cup", 1, "click"))))
    assert joined.impression.tolist() == [-1]
    assert not joined.happened("click").any()


def by_loop(shown, events, seconds):
    found, impressions = [], list(shown.itertuples())
    for user, item, time in zip(events.user, events.item, events.time, strict=True):
        best = None
        for row, one in enumerate(impressions):
            same = one.user == events.users[user]
            same &= one.item == events.items.ids[item]
            if same and 0 <= time - one.time <= seconds:
                rank = (one.time, -one.position, -row)
                best = max(best or (rank, row), (rank, row))
        found.append(-1 if best is None else best[1])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_any_log_is_joined_as_by_a_loop_whatever_the_order(seed):
    rng = np.random.default_rng(seed)
    shown = pd.DataFrame(
        {
            "user": rng.choice(["a", "b", "c", "d"], 120),
            "item": rng.choice(["x", "y", "z"], 120),
            "time": rng.integers(0, 300, 120),
            "position": rng.integers(1, 4, 120),
            "request": np.arange(120),
        }
    )
    rows = zip(
        rng.choice(["a", "b", "c", "e"], 150),
        rng.choice(["w", "x", "y"], 150),
        rng.integers(-20, 400, 150),
        ["click"] * 150,
        strict=True,
    )
    events = clean(raw(*rows)).events
    served = Served.of(shown)
    joined = join(served, events, window={"click": 25})
    assert joined.impression.tolist() == by_loop(shown, events, 25)
    assert 10 < (joined.impression >= 0).sum() < len(events) - 10
    # Whatever the order.
    order = rng.permutation(120)
    other = join(Served.of(shown.iloc[order]), events, window={"click": 25})
    there = joined.impression >= 0
    assert (order[other.impression[there]] == joined.impression[there]).all()


def test_ids_and_times_of_any_size_are_one_number():
    rng = np.random.default_rng(0)
    pair, time = rng.integers(0, 50, 400), rng.integers(-9, 9, 400)
    asked, moment = rng.integers(-1, 60, 500), rng.integers(-12, 12, 500)

    def latest(scale):
        """Of each event, how many impressions of its pair were not after it."""
        own, other = _keys(
            pair * scale, time * scale, np.maximum(asked * scale, -1), moment * scale
        )
        order = np.argsort(own, kind="stable")
        at = np.searchsorted(own[order], other, side="right") - 1
        known = (at >= 0) & (pair[order[at]] == asked)
        return np.where(known, time[order[at]], -99)

    few = latest(1)
    assert (few > -99).sum() > 300
    # In 2^33 times 2^33 there is no room for both as they are.
    np.testing.assert_array_equal(latest(2**33), few)


def test_lists_are_told_apart_by_user_and_time_without_a_request():
    table = {name: SHOWN[name] for name in ("user", "item", "time", "position")}
    served = Served.of(table)
    # r1, r2, r3 and r4.
    assert len(np.unique(served.request)) == 4
    assert served.request[1] == served.request[2] != served.request[0]


def test_a_request_and_an_arm_are_kept():
    # The pen on two pages in one second.
    table = {one: [*column, column[5]] for one, column in SHOWN.items()}
    table["request"][7] = "r5"
    served = Served.of(table | {"arm": ["new"] * 5 + ["old"] * 3})
    assert served.repeated == 1 and len(served) == 7
    joined = join(served, raw(("ann", "mug", 501, "click"))).table()
    assert joined["arm"].tolist() == ["new"] * 5 + ["old"] * 2
    assert joined["request"].iloc[-1] != joined["request"].iloc[-2]


@pytest.mark.parametrize(
    ("times", "how"),
    [
        ([time * 1_000 for time in SHOWN["time"]], {"time_unit": "ms"}),
        (
            [f"1970-01-01 09:{t // 60:02}:{t % 60:02}" for t in SHOWN["time"]],
            {"time_zone": "Asia/Tokyo"},
        ),
        (
            [f"01/02/1970 00:{t // 60:02}:{t % 60:02}" for t in SHOWN["time"]],
            {"day_first": False},
        ),
    ],
)
def test_times_are_read_as_they_are_said_to_be(tmp_path, times, how):
    path = tmp_path / "served.csv"
    pd.DataFrame(SHOWN | {"time": times}).to_csv(path, index=False)
    later = 86_400 if "day_first" in how else 0
    found = Served.read(path, **how).time - later
    assert found.tolist() == SHOWN["time"][:6]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"time_unit": "h"}, r"time_unit='h' is not one of"),
        ({"time_zone": "Mars"}, r"time_zone='Mars': there is no such time zone"),
    ],
)
def test_units_and_zones_that_are_none(how, said):
    with pytest.raises(ValueError, match=said):
        Served.of(SHOWN, **how)


def test_the_joined_table_is_written_whole(tmp_path):
    log = raw(("ann", "mug", 501, "click"), ("ann", "mug", 502, "click"))
    joined = join(Served.of(SHOWN), log)
    weight = np.arange(1.0, 7)
    path = joined.write(tmp_path / "new" / "joined.parquet", weight)
    assert [one.name for one in path.parent.iterdir()] == ["joined.parquet"]
    table = pd.read_parquet(path)
    assert table["click"].tolist() == [0, 0, 0, 0, 1, 0]
    assert table["click_count"].tolist() == [0, 0, 0, 0, 2, 0]
    assert table["weight"].tolist() == weight.tolist()
    assert table["item"].tolist() == ["mug", "mug", "hat", "hat", "mug", "pen"]
    assert table["version"].tolist() == ["2", "1", "1", "1", "2", "2"]
    with pytest.raises(ValueError, match=r"joined.csv: .* written as .parquet"):
        joined.write(tmp_path / "joined.csv")


def test_events_weigh_what_their_impressions_do():
    log = raw(("ann", "mug", 501, "click"), ("bob", "hat", 201, "click"))
    log.events.loc[2] = ["bob", "cup", 5, "click"]
    joined = join(Served.of(SHOWN), log)
    weight = np.arange(1.0, 7)
    of_event = joined.event_weights(weight, organic=0.5)
    # By user and time: ann's mug at 500, bob's cup, bob's hat.
    assert of_event.tolist() == [5.0, 0.5, 4.0]
    for bad, said in (
        (weight[:2], r"weight is of shape \(2,\): give one weight for each of 6 impr"),
        (weight * 0, r"weight holds 0.0 \(6 of 6 are alike\)"),
    ):
        with pytest.raises(ValueError, match=said):
            joined.event_weights(bad)
    with pytest.raises(ValueError, match=r"organic=0 must be finite and above 0"):
        joined.event_weights(weight, organic=0)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (None, r"actions are \['view'\], none of \['click', 'purchase'\]: say which"),
        ({}, r"window=\{\} names no action"),
        ({"click": "1d"}, r"window names 'click', and the log's actions are \['view"),
        ({"view": "soon"}, r"window\['view'\]='soon' is not a duration"),
    ],
)
def test_windows_that_cannot_be(window, said):
    with pytest.raises(ValueError, match=said):
        join(Served.of(SHOWN), raw(("ann", "mug", 1, "view")), window=window)


def test_a_bare_table_is_no_log():
    with pytest.raises(TypeError, match=r"events is a DataFrame: .* data.RawLog\("):
        join(Served.of(SHOWN), pd.DataFrame(SHOWN))
    joined = join(Served.of(SHOWN), raw(("ann", "mug", 100, "click")))
    with pytest.raises(ValueError, match=r"'buy' was not joined: \['click'\] were"):
        joined.happened("buy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position": None}, r"no column 'position'"),
        ({"position": [0, 1, 1, 1, 1, 1, 1]}, r"\['position'\] holds 0 in row 0"),
        ({"user": ["", *SHOWN["user"][1:]]}, r"\['user'\] holds '' in row 0"),
        ({"propensity": [0.0] + [0.5] * 6}, r"\['propensity'\] holds 0.0 in row 0"),
        ({"score": [np.inf] + [0.5] * 6}, r"\['score'\] holds inf in row 0"),
    ],
)
def test_what_was_served_is_checked(change, said):
    table = {name: one for name, one in (SHOWN | change).items() if one is not None}
    with pytest.raises(ValueError, match=said):
        Served.of(table)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("item", "", r"\['item'\] holds '' in row 7 "),
        ("position", 0, r"\['position'\] holds 0 in row 7 "),
        ("time", "soon", r"\['time'\] holds 'soon' in row 7 "),
        ("time", 1_700_000_000_000, r"row 7 of the log .* looks like milliseconds"),
    ],
)
def test_errors_name_the_row_of_the_file_whatever_stands_twice(name, wrong, said):
    # Row 6 is a row before it, delivered twice.
    table = {one: [*column, column[0]] for one, column in SHOWN.items()}
    table[name][7] = wrong
    with pytest.raises(ValueError, match=said):
        Served.of(table)


def test_a_file_is_read_by_its_own_names(tmp_path):
    path = tmp_path / "served.csv"
    # A column of that name that is meant by nobody, and two names that swap.
    table = pd.DataFrame(SHOWN).rename(columns={"user": "who", "item": "request"})
    table.columns = ["item", "who", "request", "time", "position", "version"]
    table.assign(user="nobody", score=0.5, propensity=0.25).to_csv(path, index=False)
    names = {"user": "who", "item": "request", "request": "item"}
    served = Served.read(path, columns=names)
    assert served.users.tolist() == ["ann", "bob"]
    assert served.items.tolist() == ["hat", "mug", "pen"]
    assert len(np.unique(served.request)) == 4
    assert served.score.tolist() == [0.5] * 6
    assert served.propensity.tolist() == [0.25] * 6
    with pytest.raises(ValueError, match=r"served.csv has no column whom"):
        Served.read(path, columns={"user": "whom"})


def test_what_nobody_chose_a_window_for_is_told():
    served = Served.of(
        {"user": ["ann"], "item": ["mug"], "time": [100], "position": [1]}
    )
    log = Events(
        user=np.zeros(3, int),
        time=np.array([110, 120, 130]),
        action=np.array([0, 1, 1]),
        item=np.zeros(3, int),
        users=np.array(["ann"], object),
        actions=("click", "browse"),
        items=Items(["mug"]),
    )
    joined = join(served, log)
    assert joined.to_dict()["unjoined"] == {"browse": 2}
    said = (
        "2 browse events not joined: say for how long after an impression one answers"
    )
    assert f"Note: {said}" in joined.summary()
    assert not join(served, log, window={"click": "30m"}).unjoined
