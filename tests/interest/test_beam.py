"""`tfrs_decay.interest.beam`: every user's interest, whatever the order of events."""

from __future__ import annotations

import pickle

import apache_beam as beam
import numpy as np
import pytest
from beam_runs import run

from tfrs_decay.data.beam import CleanEvent
from tfrs_decay.decay import Exponential, PowerLaw, Window
from tfrs_decay.interest import InterestState
from tfrs_decay.interest.beam import CombineInterest, UpdateInterest, _Update

DAY = 86_400
WEIGHTS = {"browse": 0.25, "purchase": 1.0}
VECTORS = {f"i{n}": np.random.default_rng(n).normal(size=3) for n in range(9)}

EXPONENTIAL = InterestState(Exponential("3d"), dim=3, action_weights=WEIGHTS)
STATES = {
    "exponential": EXPONENTIAL,
    "power law": InterestState(PowerLaw("1d", 0.5), dim=3),
    "newest": InterestState(Window("20d"), dim=3, capacity=64),
}


def log(users=5, events=30, seed=0):
    """Distinct events in the order of time."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 30 * DAY, (users, events)))
    return [
        CleanEvent(
            f"u{user}",
            f"i{rng.integers(9)}",
            int(times[user, n]),
            str(rng.choice(list(WEIGHTS))),
        )
        for user in range(users)
        for n in range(events)
    ]


def interests(events, state=EXPONENTIAL, **options):
    """What comes out, and the counters."""
    made = UpdateInterest(state, options.pop("items", VECTORS), **options)
    return run(lambda p: (p | beam.Create(events) | made)._asdict())


def newest(found):
    """The interest of each user after all events."""
    last = {}
    for one in found["interest"]:
        if one.user not in last or one.events > last[one.user].events:
            last[one.user] = one
    return last


def whole(events, state):
    """By user: the whole log in one update."""
    updated = {}
    for user in sorted({one.user for one in events}):
        own = [one for one in events if one.user == user]
        updated[user] = state.update(
            state.empty(),
            np.stack([VECTORS[one.item] for one in own]),
            times=np.array([one.time for one in own]),
            actions=[one.action for one in own],
        )
    return updated


def assert_same(last, updated, state):
    assert sorted(last) == sorted(updated)
    for user, expected in updated.items():
        assert last[user].time == expected.time
        np.testing.assert_allclose(
            last[user].interest, state.read(expected, expected.time), atol=1e-5
        )


def shuffled(events, seed=0):
    order = np.random.default_rng(seed).permutation(len(events))
    return [events[n] for n in order]


@pytest.mark.parametrize("name", STATES)
def test_in_any_order_and_however_often_it_is_the_whole_log(name):
    state, events = STATES[name], log()
    # Shuffled, every event twice or more, and the whole replayed.
    found, counters = interests(shuffled([*events, *events, *events[::3]]), state)
    assert len(found["interest"]) == len(events)
    assert_same(newest(found), whole(events, state), state)
    assert found["unknown"] == found["late"] == []
    assert counters["events_counted"] == len(events)
    assert counters["events_repeated"] == len(events) + len(events[::3])


def test_each_event_gives_the_interest_after_it():
    events = [
        CleanEvent("u", "a", 0, "view"),
        CleanEvent("u", "b", 2 * DAY, "view"),
        CleanEvent("u", "c", DAY, "view"),  # a day late
    ]
    state = InterestState(Exponential("1d"), dim=1)
    # One bundle of one user keeps its order here.
    found, _ = interests(events, state, items={"a": [4.0], "b": [1.0], "c": [6.0]})
    by_count = sorted(found["interest"], key=lambda one: one.events)
    assert [(one.user, one.time, one.events) for one in by_count] == [
        ("u", 0, 1),
        ("u", 2 * DAY, 2),
        ("u", 2 * DAY, 3),
    ]
    read = [float(one.interest[0]) for one in by_count]
    assert read == pytest.approx([4, (1 + 1) / 1.25, (1 + 1 + 3) / 1.75], abs=1e-6)


def test_unknown_items_come_out_and_count_once_they_are_known():
    events = log(users=1, events=12)
    events[4] = events[4]._replace(item="new")
    found, counters = interests(events, items=VECTORS.get)
    assert found["unknown"] == [events[4]]
    assert counters["events_of_unknown_items"] == 1
    assert counters["events_counted"] == 11
    with_new = {**VECTORS, "new": VECTORS["i0"]}
    again, _ = interests([*events, events[4]], items=with_new.get)
    assert newest(again)["u0"].events == 12


def test_categories_are_looked_up_by_item():
    state = InterestState(
        Exponential({"food": "1d", "*": "100d"}, group="category"), dim=3
    )
    events = [CleanEvent("u", "i1", 0, "x"), CleanEvent("u", "i2", 10 * DAY, "x")]
    made = {}
    for kind in ("food", "tools"):
        categories = {"i1": kind, "i2": "tools"}
        made[kind] = newest(interests(events, state, categories=categories)[0])["u"]
    first, second = VECTORS["i1"], VECTORS["i2"]
    for kind, weight in (("food", 2**-10), ("tools", 2**-0.1)):
        np.testing.assert_allclose(
            made[kind].interest, (weight * first + second) / (weight + 1), atol=1e-5
        )


# --- what is remembered --------------------------------------------------------------


class Cell:
    """A state's cell, as Beam hands it to a function."""

    def __init__(self):
        self.value = None

    def read(self):
        return self.value

    def write(self, value):
        self.value = value


class User:
    """One user's states, outside of a pipeline."""

    def __init__(self):
        self.interest, self.counted = Cell(), Cell()

    def hands_in(self, event, state=EXPONENTIAL, remember=1_000):
        update = _Update(UpdateInterest(state, VECTORS).adding, remember)
        user, *others = event
        return list(update.process((user, tuple(others)), self.interest, self.counted))


def test_a_replay_of_more_than_is_remembered_changes_nothing():
    events, user = log(users=1, events=50), User()
    for event in events:
        assert len(user.hands_in(event, remember=10)) == 1
        assert len(user.counted.value) <= 8 + 16 + 10 * 16
    before = user.interest.value
    tags = [
        [getattr(one, "tag", "interest") for one in user.hands_in(event, remember=10)]
        for event in events
    ]
    assert tags == [["late"]] * 40 + [[]] * 10
    assert user.interest.value == before
    updated = whole(events, EXPONENTIAL)["u0"]
    np.testing.assert_allclose(
        EXPONENTIAL.read(EXPONENTIAL.from_bytes(before), 30 * DAY),
        EXPONENTIAL.read(updated, 30 * DAY),
        atol=1e-5,
    )


def test_late_is_what_comes_before_all_that_are_remembered():
    user = User()
    for time in (10, 20, 30):
        user.hands_in(CleanEvent("u", "i1", time, "browse"), remember=2)
    (late,) = user.hands_in(CleanEvent("u", "i2", 9, "browse"), remember=2)
    assert (late.tag, late.value.time) == ("late", 9)
    (counted,) = user.hands_in(CleanEvent("u", "i2", 21, "browse"), remember=2)
    assert counted.events == 4
    # Fewer are remembered from now on: those beyond are forgotten at the next event.
    user.hands_in(CleanEvent("u", "i2", 40, "browse"), remember=1)
    assert len(user.counted.value) == 8 + 16 + 16


@pytest.mark.parametrize("seed", range(3))
def test_events_at_one_second_are_told_apart(seed):
    events = [
        CleanEvent("u", item, 5, action) for item in VECTORS for action in WEIGHTS
    ]
    user = User()
    for event in shuffled([*events, *events], seed):
        user.hands_in(event)
    assert int.from_bytes(user.counted.value[:8], "big") == len(events)


def test_a_state_of_other_rates_is_refused_with_the_users_name():
    user = User()
    user.hands_in(CleanEvent("ann", "i1", 5, "browse"))
    other = InterestState(Exponential("4d"), dim=3, action_weights=WEIGHTS)
    with pytest.raises(
        ValueError, match=r"user 'ann', item 'i2': data was written under other rates"
    ):
        user.hands_in(CleanEvent("ann", "i2", 6, "browse"), other)


def test_a_vector_of_another_shape_is_refused_with_the_items_name():
    with pytest.raises(ValueError, match=r"item 'i1': vectors have the shape \(1, 2\)"):
        interests([CleanEvent("u", "i1", 5, "browse")], items={"i1": [1.0, 2.0]})


# --- a log that ends -----------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_combined_states_are_those_of_the_whole_log(name, monkeypatch):
    monkeypatch.setattr("tfrs_decay.interest.beam._EVENTS", 7)
    state, events = STATES[name], log()
    unknown = CleanEvent("u0", "unheard of", 3, "browse")
    combined = CombineInterest(state, VECTORS)

    def build(pipeline):
        keyed = (
            pipeline
            | beam.Create(shuffled([*events, unknown]))
            | beam.Map(lambda one: (one.user, one))
        )
        return {"states": keyed | beam.CombinePerKey(combined)}

    found, counters = run(build)
    assert counters["events_of_unknown_items"] == 1
    for user, expected in whole(events, state).items():
        data = dict(found["states"])[user]
        np.testing.assert_allclose(
            state.read(state.from_bytes(data), 40 * DAY),
            state.read(expected, 40 * DAY),
            atol=1e-5,
        )


def test_bad_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match=r"remember=0 must be 1 or more"):
        UpdateInterest(EXPONENTIAL, VECTORS, remember=0)
    with pytest.raises(TypeError, match=r"items is a list: give a mapping, or a"):
        UpdateInterest(EXPONENTIAL, [[1.0]])
    with pytest.raises(TypeError, match=r"items is a NoneType"):
        CombineInterest(EXPONENTIAL, None)
    with pytest.raises(TypeError, match=r"categories is a str: give a mapping"):
        UpdateInterest(EXPONENTIAL, VECTORS, categories="food")


def test_transforms_are_serialised():
    for one in (
        UpdateInterest(EXPONENTIAL, VECTORS),
        CombineInterest(EXPONENTIAL, VECTORS),
    ):
        assert type(pickle.loads(pickle.dumps(one))) is type(one)
