"""`tfrs_decay.data.beam`: what one machine makes of a log, row for row."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import apache_beam as beam
import numpy as np
import pandas as pd
import pytest
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from beam_runs import run
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import RawLog, Rules, basket_queries, clean, example_table
from tfrs_decay.data.beam import CleanEvent, CleanEvents, MakeExamples, Rejected

AGAIN = "same user, item, time and action as another row"


def prepared(rows, examples=None, **options):
    """What the transforms make of rows."""

    def build(pipeline):
        log = pipeline | beam.Create(rows) | CleanEvents(**options)
        made = log.events | (examples or MakeExamples())
        return {**log._asdict(), "examples": made}

    return run(build)[0]


def on_one_machine(rows, *, examples=None, context=(), **options):
    log = RawLog(pd.DataFrame(rows), None, {}, context=context)
    cleaned = clean(log, **options)
    examples = dict(examples or {})
    most = examples.pop("max_history", 100)
    queries = basket_queries(cleaned.events, **examples)
    table = example_table(queries, cleaned.events, max_history=most)
    return cleaned, table.to_pylist()


def named(events):
    """Clean events by their names, sorted."""
    value = [None] * len(events) if events.value is None else events.value.tolist()
    return sorted(
        CleanEvent(
            events.users[events.user[n]],
            events.items.ids[events.item[n]],
            int(events.time[n]),
            events.actions[events.action[n]],
            value[n],
            {name: column[n] for name, column in events.context.items()} or None,
        )
        for n in range(len(events))
    )


def in_order(examples):
    return sorted(examples, key=lambda row: (row["user"], row["query_time"]))


def counted(rejected):
    total = Counter()
    for one in rejected:
        total[one.reason] += one.rows
    return dict(total)


def assert_same(found, cleaned, examples):
    assert sorted(found["events"]) == named(cleaned.events)
    assert in_order(found["examples"]) == examples
    assert counted(found["rejected"]) == cleaned.rejected
    filled = Counter()
    for why, count in found["filled"]:
        filled[why] += count
    assert dict(filled) == cleaned.filled


@pytest.fixture(scope="module")
def shop_rows():
    from tfrs_decay.data import simulated_shop

    table = simulated_shop(users=40, days=40).log.events
    dirty = pd.concat([table, table.iloc[::50]]).astype(object)
    dirty.iloc[3, dirty.columns.get_loc("user")] = None
    dirty.iloc[5, dirty.columns.get_loc("time")] = "soon"
    dirty.iloc[7, dirty.columns.get_loc("action")] = " "
    return dirty.sample(frac=1, random_state=0).to_dict("records")


# --- the same as on one machine ------------------------------------------------------


def test_a_shop_is_cleaned_and_made_into_examples_as_on_one_machine(shop_rows):
    made = {"max_history": 7, "actions": ["purchase"]}
    cleaned, examples = on_one_machine(shop_rows, examples=made)
    assert set(cleaned.rejected) == {
        *("no user", "time cannot be read", "no action", AGAIN)
    }
    assert_same(prepared(shop_rows, MakeExamples(**made)), cleaned, examples)


def test_small_batches_change_nothing(shop_rows, monkeypatch):
    # A batch's rows are then too few to hold a user, or a repetition.
    monkeypatch.setattr("tfrs_decay.data.beam._ROWS", 13)
    monkeypatch.setattr("tfrs_decay.data.beam._QUERIES", 3)
    assert_same(prepared(shop_rows), *on_one_machine(shop_rows))


def test_periods_known_actions_and_rules_are_those_of_one_machine():
    rng = np.random.default_rng(0)
    rows = [
        {
            "user": f"u{rng.integers(5)}",
            "item": int(rng.integers(4)),
            "time": int(rng.integers(40)) * 1_000,
            "action": ["sell", "buy", "return", "x", None][rng.integers(5)],
            "value": [1.0, 2.5, "3", None, "many"][rng.integers(5)],
            "row": n,
        }
        for n in range(400)
    ]
    rules = Rules(
        missing_action="sell",
        missing_value=0.5,
        time_unit="ms",
        most_per_minute=45,
        taken_back={"return": "buy"},
    )
    known = ["sell", "buy", "return"]
    options = {"actions": known, "now": 38, "rules": rules}
    period = {"after": 5, "until": 30, "actions": ["buy"], "max_history": 9}
    made = MakeExamples(**period, known_actions=known)
    cleaned, examples = on_one_machine(rows, examples=period, **options)
    assert {"taken back, and the return of it", "value is no number"} < set(
        cleaned.rejected
    )
    assert "user with more than 45 events in a minute" in cleaned.rejected
    assert len(cleaned.filled) == 2 and examples
    found = prepared(rows, made, **options)
    assert_same(found, cleaned, examples)
    # Every row is an event or rejected, and says which it was.
    numbers = [one.row["row"] for one in found["rejected"]]
    assert len(set(numbers)) == len(numbers) == len(rows) - len(cleaned.events)
    reason_of = dict(cleaned.rejected_rows().to_numpy().tolist())
    for one in found["rejected"]:
        if one.reason != AGAIN:  # any of those that are alike
            assert reason_of[one.row["row"]] == one.reason


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u", "v", " u", None]),
            st.sampled_from([1, 2, "2", 3.0, ""]),
            st.sampled_from([5, 5.5, "6", 7, "1970-01-01 00:00:08", None]),
            st.sampled_from(["a", "b"]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_tied_logs_are_the_same(rows):
    rows = [
        dict(zip(("user", "item", "time", "action"), row, strict=True)) for row in rows
    ]
    assert_same(prepared(rows), *on_one_machine(rows))


FURTHER = st.tuples(
    st.sampled_from(["u", "v"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([5, 6, "7"]),
    st.sampled_from(["buy", "return"]),
    st.sampled_from([1.1, "2", None]),
    st.sampled_from(["x", " y", None]),
    st.sampled_from([1, 2.0, True]),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(FURTHER, min_size=1, max_size=40), st.randoms())
def test_values_and_context_are_those_of_one_machine_in_any_order(rows, random):
    names = ("user", "item", "time", "action", "value", "shop", "till")
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    told = {
        "context": ("shop", "till"),
        "rules": Rules(missing_value=0.5, taken_back={"return": "buy"}),
    }
    cleaned, examples = on_one_machine(rows, **told)
    random.shuffle(rows)
    assert_same(prepared(rows, **told), cleaned, examples)


def test_values_and_context_of_a_shop(shop_rows, monkeypatch):
    # Small batches: what is alike is in several of them.
    monkeypatch.setattr("tfrs_decay.data.beam._ROWS", 101)
    rng = np.random.default_rng(2)
    rows = [
        {
            **row,
            "value": float(rng.normal()),
            "shop": ["x", "y", None][rng.integers(3)],
            "row": n,
        }
        for n, row in enumerate(shop_rows)
    ]
    cleaned, examples = on_one_machine(rows, context=("shop",))
    found = prepared(rows, context=["shop"])
    assert_same(found, cleaned, examples)
    assert all(row["history_value"] and row["target_shop"] for row in found["examples"])
    # A row that only the whole user shows to be one too many has its names as well.
    again = [one for one in found["rejected"] if one.reason == AGAIN]
    assert again and all("shop" in one.row for one in again)
    assert all("context" not in one.row for one in again)
    hot = prepared(rows, context=["shop"], most_per_user=5)
    assert len(hot["events"]) <= 5 * 40
    assert set(map(repr, hot["events"])) < set(map(repr, found["events"]))


def test_windows_are_logs_of_their_own():
    rows = [
        {"user": "u", "item": item, "time": time}
        for item, time in [("a", 1), ("b", 2), ("a", 101), ("c", 102), ("c", 102)]
    ]

    def build(pipeline):
        log = (
            pipeline
            | beam.Create(rows)
            | beam.Map(lambda row: TimestampedValue(row, row["time"]))
            | beam.WindowInto(FixedWindows(100))
            | CleanEvents()
        )
        made = log.events | MakeExamples()
        return {"examples": made, "rejected": log.rejected}

    found = run(build)[0]
    histories = [row["history_item"] for row in in_order(found["examples"])]
    assert histories == [["a"], ["a"]]
    assert counted(found["rejected"]) == {AGAIN: 1}


# --- what a part of a log cannot tell ------------------------------------------------


def dated(*times):
    return [{"user": "u", "item": n, "time": time} for n, time in enumerate(times)]


def test_dates_are_read_as_the_rules_say_or_refused():
    rows = dated("01/12/2010 08:00", "13/12/2010 08:00", "12/13/2010", "05/05/2010")
    with pytest.raises(
        ValueError, match=r"'01/12/2010 08:00' may have its day first .*day_first=True"
    ):
        prepared(rows)
    rules = Rules(day_first=True)
    cleaned, examples = on_one_machine(rows, rules=rules)
    assert cleaned.rejected == {"time cannot be read": 1}
    assert_same(prepared(rows, rules=rules), cleaned, examples)


DATE = 20_231_201
NO_DATES = [20_231_299 - n for n in range(40)]  # eight digits, and no day of a month


@pytest.mark.parametrize("kind", [int, str, float], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("times", "dates"),
    [
        ([*range(DATE, DATE + 30), 0], 30),
        # One second of August 1970 may look like a date.
        ([DATE, *range(1_000, 1_020)], None),
        # Rows are counted: one date in most of the rows, and one in a few.
        ([DATE] * 60 + NO_DATES, None),
        ([DATE] * 95 + NO_DATES[:5], 95),
        ([NO_DATES[0]] * 60 + list(range(DATE, DATE + 30)), None),
        # Nine in ten of the numbers, and one fewer; what is no number counts for none.
        ([DATE] * 90 + [7] * 10, 90),
        ([DATE] * 89 + [7] * 11, None),
        ([DATE] * 90 + [None] * 50 + [7] * 10, 90),
    ],
)
def test_numbers_that_are_dates_are_told_by_one_rule(monkeypatch, kind, times, dates):
    monkeypatch.setattr("tfrs_decay.data.beam._ROWS", 7)
    rows = dated(*(None if one is None else kind(one) for one in times))
    if dates is None:
        assert_same(prepared(rows), *on_one_machine(rows))
        return
    numbers = sum(one is not None for one in times)
    for made in (on_one_machine, prepared):
        with pytest.raises(
            ValueError, match=rf"such as {DATE} \({dates} of {numbers} numbers\)"
        ):
            made(rows)


# --- hot users -----------------------------------------------------------------------


def test_of_a_hot_user_the_latest_events_are_kept():
    rng = np.random.default_rng(1)
    rows = [
        {"user": user, "item": int(rng.integers(50)), "time": int(rng.integers(900))}
        for user in ["hot"] * 700 + ["cool"] * 15
    ]
    found = prepared(rows, most_per_user=20)
    events = named(clean(RawLog(pd.DataFrame(rows), None, {})).events)
    hot = sorted(one for one in events if one.user == "hot")
    latest = sorted(hot, key=lambda one: (one.time, one.action, one.item))[-20:]
    cool = [one for one in events if one.user == "cool"]
    assert sorted(found["events"]) == sorted([*latest, *cool])
    left = counted(found["rejected"])
    assert set(left) <= {AGAIN, "beyond the latest 20 of a user"}
    assert sum(left.values()) == len(rows) - len(found["events"])
    beyond = [one for one in found["rejected"] if one.reason.startswith("beyond")]
    assert beyond == [
        Rejected("beyond the latest 20 of a user", {"user": "hot"}, beyond[0].rows)
    ]


def test_no_more_than_twice_the_most_is_ever_held():
    from tfrs_decay.data.beam import _Latest

    latest = _Latest(10, None)
    parts = []
    for part in range(4):
        held = latest.create_accumulator()
        for n in range(100):
            held = latest.add_input(
                held, (f"i{n}", n * 4 + part, "buy", None, None, None)
            )
            assert len(held[0]) <= 20
        parts.append(held)
    merged = latest.merge_accumulators(parts)
    assert len(merged[0]) <= 20
    events, left_out = latest.extract_output(merged)
    assert [event[1] for event in events] == list(range(390, 400))
    assert left_out == {"beyond the latest 10 of a user": 390}


# --- refusals and serialisation ------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CleanEvents(most_per_user=0), r"most_per_user=0 must be 1 or more"),
        (lambda: CleanEvents(["a", "a"]), r"actions=\['a', 'a'\] must be a list of"),
        (lambda: CleanEvents(context=["row"]), r"context=\['row'\]: 'row' is one of"),
        (lambda: CleanEvents(context="shop"), r"context='shop' must be a list of"),
        (lambda: MakeExamples(max_history=0), r"max_history=0 must be 1 or more"),
        (
            lambda: MakeExamples(actions=["buy"], known_actions=["sell"]),
            r"actions=\['buy'\]: \['buy'\] not among known_actions=\['sell'\]",
        ),
    ],
)
def test_bad_arguments_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([("u", "i", 1)], TypeError, r"a row is a tuple: give dicts with user"),
        ([{"user": "u", "item": "i"}], ValueError, r"no column time; they have user"),
        (
            [
                {"user": "u", "item": "i", "time": 1, "action": "buy"},
                {"user": "u", "item": "i", "time": 2},
            ],
            ValueError,
            r"1 of 2 rows have the key 'action': give it to each",
        ),
        (dated(1_700_000_000_000), ValueError, r"looks like milliseconds"),
    ],
)
def test_rows_that_are_none_are_refused_by_name(rows, error, message):
    with pytest.raises(error, match=message):
        prepared(rows)


def test_a_context_that_rows_lack_is_named():
    rows = dated(1, 2)
    with pytest.raises(ValueError, match=r"no column shop; they have user, item, time"):
        prepared(rows, context=["shop"])
    rows[0]["shop"] = "x"
    with pytest.raises(ValueError, match=r"1 of 2 rows have the key 'shop'"):
        prepared(rows, context=["shop"])
    event = CleanEvent("u", "a", 1, "buy", None, {"shop": "x"})
    others = [event, event._replace(time=2, context=None)]
    with pytest.raises(ValueError, match=r"give each the same further columns"):
        run(lambda p: {"made": p | beam.Create(others) | MakeExamples()})


def test_an_action_that_a_batch_lacks_is_no_mistake():
    rows = [
        {"user": user, "item": n, "time": n, "action": "view"}
        for user in "uv"
        for n in range(3)
    ]
    assert prepared(rows, MakeExamples(actions=["buy"]))["examples"] == []


def test_workers_load_no_tensorflow():
    code = (
        "import sys, pickle\n"
        "from tfrs_decay.data.beam import CleanEvents, MakeExamples\n"
        "import tfrs_decay.interest.beam\n"
        "for one in CleanEvents(['buy']), MakeExamples(after=3):\n"
        "    assert type(pickle.loads(pickle.dumps(one))) is type(one)\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["tfrs_decay.data.beam", "tfrs_decay.interest.beam"])
def test_without_apache_beam_the_extra_is_named(module):
    code = f"import sys; sys.modules['apache_beam'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "needs apache-beam: pip install 'tfrs-decay[beam]'" in done.stderr
