"""A state read at a time is the whole history pooled at that time."""

from __future__ import annotations

import datetime
import functools
import itertools
import struct
import zlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from independent_weights import (
    ACTIONS,
    APPROXIMATE,
    BUFFERED,
    DAY,
    DIM,
    EXACT,
    FAMILIES,
    YEAR,
    History,
    mean_of,
    some_history,
    weights_of,
)
from pytest import approx

from tfrs_decay.decay import (
    Constant,
    Exponential,
    Gaussian,
    Linear,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.interest import InterestState, State

SMALLEST = float(np.finfo(np.float32).tiny)
"""Below it float32 has fewer digits, and then none."""


@functools.cache  # a fit takes a while
def interest_of(name, capacity=256):
    return InterestState(FAMILIES[name][0], DIM, capacity=capacity)


def max_error_of(name):
    return interest_of(name).formulas.heads[0].max_error


def fold(interest, events, state=None):
    """Adds (time, vector) pairs one after the other."""
    state = interest.empty() if state is None else state
    for time, vector in events:
        state = interest.update(state, [np.atleast_1d(vector)], [time])
    return state


def stream(interest, history, chunks, shards):
    """Adds a history in chunks, each to a shard of the user, and merges the shards."""
    states = {}
    for chunk, shard in zip(chunks, shards, strict=True):
        states[shard] = interest.update(
            states.get(shard, interest.empty()),
            history.vectors[chunk],
            history.times[chunk],
            history.actions[chunk],
        )
    return functools.reduce(interest.merge, states.values(), interest.empty())


def same(one, other):
    """Whether two states are equal to the last bit, dtypes included."""
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(one, other, strict=True)
    )


def alike(one, other, vectors):
    """Whether two states say the same, but for the order of sums and of equal times."""
    scale = np.abs(vectors).max(initial=0)
    return (
        np.allclose(one.mean, other.mean, rtol=0, atol=1e-5 * scale)
        and np.allclose(one.log_weight, other.log_weight, rtol=1e-9, atol=1e-9)
        and one.time == other.time
        and np.array_equal(one.recent_times, other.recent_times)
        and one.dropped == other.dropped
    )


def allowed(weights, vectors, max_error):
    """[DIM] how far a mean may be off.

    1e-5 of the weighted mean of |x|: where the x cancel, no sum of float32 numbers has
    more digits than that. And where each weight w is off by a share of `max_error`, the
    mean m may be by |sum (w' - w) (x - m)| / sum w'.
    """
    weights = weights * np.ones(vectors.shape[1])
    rounding = 1e-5 * mean_of(weights, np.abs(vectors))
    rounding = rounding + SMALLEST * np.abs(vectors).max()
    if not max_error:
        return rounding
    away = mean_of(weights, np.abs(vectors - mean_of(weights, vectors)))
    return rounding + max_error / (1 - max_error) * away


numbers = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
times = st.integers(0, 9 * YEAR) | st.integers(0, 3)
events = st.lists(
    st.tuples(st.tuples(*[numbers] * DIM), times, st.sampled_from(ACTIONS)),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(
    events=events,
    cuts=st.sets(st.integers(1, 11)),
    shards=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    lag=st.integers(0, YEAR),
)
def test_any_arrival_in_chunks_and_shards_is_the_whole_history(
    name, events, cuts, shards, lag
):
    vectors, times, actions = map(np.array, zip(*events, strict=True))
    history = History(vectors, times, actions)
    edges = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    chunks = [slice(*edge) for edge in itertools.pairwise(edges)]
    interest = interest_of(name)
    now = times.max() + lag
    if name == "log-bucketed":
        # Whose buckets end a hair early, lest rounding decide.
        steps = 2 * np.log2(np.maximum(now - times, 1))
        hair = np.abs(steps - np.round(steps))
        assume(((hair == 0) | (hair > 1e-3)).all())

    state = stream(interest, history, chunks, shards[: len(chunks)])

    weights = weights_of(name, history, now)
    off = np.abs(interest.read(state, now) - mean_of(weights, vectors))
    assert (max_error_of(name) > 0) == (name in APPROXIMATE)
    assert (off <= allowed(weights, vectors, max_error_of(name))).all()
    assert state.time == times.max()
    assert state.dropped == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_ten_thousand_events_over_ten_years(name):
    history = some_history(10_000, seed=3)
    random = np.random.default_rng(4)
    edges = np.unique([0, *random.integers(1, 10_000, 1_000), 10_000])
    chunks = [slice(*edge) for edge in itertools.pairwise(edges)]
    interest = interest_of(name, capacity=10_000)

    state = stream(interest, history, chunks, random.integers(0, 3, len(chunks)))

    now = 10 * YEAR
    weights = weights_of(name, history, now)
    off = np.abs(interest.read(state, now) - mean_of(weights, history.vectors))
    assert (off <= allowed(weights, history.vectors, max_error_of(name))).all()
    assert state.dropped == 0
    # The sum of weights, which a mean does not show.
    total = np.ravel(interest.weight(state, now))
    error = np.abs(total / weights.sum(axis=0) - 1)
    assert (error <= 1e-9 + max_error_of(name)).all()


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (PowerLaw("1h", 1), 2 / 3),
        (PowerLaw("1h", 2), 4 / 5),
        (PowerLaw("1s", 0.5), 2**0.5 / (1 + 2**0.5)),
    ],
)
@pytest.mark.parametrize("normalize", ["mean", "l2"])
def test_an_idle_users_mean_under_a_steep_tail(decay, expected, normalize):
    # Days after the last event every weight is nearly (age / scale)^-exponent: small,
    # and events 30 and 60 days old weigh 2^exponent to 1.
    interest = InterestState(decay, dim=2, normalize=normalize)
    state = interest.update(interest.empty(), [[0, 1], [1, 0]], [0, 30 * DAY])
    mean = np.array([expected, 1 - expected])
    if normalize == "l2":
        mean = mean / np.linalg.norm(mean)
    assert interest.read(state, 60 * DAY) == approx(mean, abs=2e-3)


def test_a_power_law_is_near_at_every_age_of_ten_years():
    decay = PowerLaw("1h", 2)
    interest = InterestState(decay, dim=1)
    state = interest.update(interest.empty(), [[1.0]], [0])
    for age in (0, 1, 60, 3_600, DAY, 30 * DAY, YEAR, 10 * YEAR):
        found = interest.weight(state, age).item()
        assert found == approx(decay.weight(age), rel=1e-3)


@pytest.mark.parametrize("name", ["constant", "exponential", "mixture per feature"])
@pytest.mark.parametrize("kind", ["any", "above 0", "few", "one and then another"])
def test_ten_thousand_events_one_by_one(name, kind):
    history = some_history(10_000, seed=5)
    if kind == "above 0":
        history = history._replace(vectors=np.abs(history.vectors))
    if kind == "few":  # a catalogue of five items
        history = history._replace(vectors=history.vectors[np.arange(10_000) % 5])
    if kind == "one and then another":
        # Steps of less than half of float32's last digit, for most of the time.
        history = history._replace(
            vectors=history.vectors[np.minimum(np.arange(10_000), 1)],
            times=np.sort(history.times),
        )
    interest = interest_of(name)

    state = interest.empty()
    for vector, time in zip(history.vectors, history.times, strict=True):
        state = interest.update(state, vector[None], time[None])

    weights = weights_of(name, history, 10 * YEAR)
    off = np.abs(interest.read(state, 10 * YEAR) - mean_of(weights, history.vectors))
    assert (off <= allowed(weights, history.vectors, 0)).all()


def test_a_late_event_counts_as_if_it_had_come_in_time():
    interest = InterestState(Exponential("1d"), dim=1)
    for arrival in itertools.permutations([(0, 4.0), (2 * DAY, 1.0), (DAY, 6.0)]):
        state = fold(interest, arrival)
        assert state.numerator == approx(5.0)  # 4/4 + 1 + 6/2
        assert state.denominator == approx(1.75)  # 1/4 + 1 + 1/2
        assert state.time == 2 * DAY  # a late event does not move the clock


def test_a_late_event_counts_among_recent_ones_as_well():
    # Events with a later one, and with two: 1 - 1/4 and 1 - 2/4 of a line of four.
    interest = InterestState(Linear(2, by="rank"), dim=1)
    for arrival in itertools.permutations([(0, 4.0), (2 * DAY, 1.0), (DAY, 8.0)]):
        state = fold(interest, arrival)
        assert interest.read(state, 9 * DAY) == approx(9 / 2.25)  # 4/2 + 1 + 8 3/4
        assert state.recent_times[-3:].tolist() == [0, DAY, 2 * DAY]
        assert state.time == 2 * DAY


def test_events_of_one_moment_share_their_rank():
    interest = InterestState(Window(2, by="rank"), dim=1)
    state = fold(interest, [(7, 3.0), (5, 1.0), (7, 5.0), (5, 1.0), (3, 100.0)])
    # Two events are later than both of time 5, four than that of time 3.
    assert interest.read(state, 7) == approx(4.0)
    assert interest.weight(state, 7) == approx(2.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_event_is_read_as_it_is(name):
    interest = interest_of(name)
    state = interest.update(interest.empty(), [[1, 2, 3]], [5], ["cart"])
    assert interest.read(state, 5).tolist() == approx([1, 2, 3])
    assert interest.read(state, 5).dtype == np.float32
    assert interest.weight(state, 5) == approx(1.0, abs=max_error_of(name))


# Users, clocks and empty states


@pytest.mark.parametrize("name", FAMILIES)
def test_many_users_are_as_many_single_ones(name):
    interest = interest_of(name, capacity=3)
    history = some_history(2 * 3 * 2 * 5, seed=6, span=100 * DAY)
    # [chunks, users, users, events]
    vectors = history.vectors.reshape(2, 3, 2, 5, DIM)
    times, actions = (one.reshape(2, 3, 2, 5) for one in history[1:])
    mask = np.random.default_rng(7).random((2, 3, 2, 5)) < 0.7

    together = interest.empty((3, 2))
    for chunk in range(2):
        together = interest.update(
            together,
            vectors[chunk],
            times[chunk],
            actions[chunk],
            mask=mask[chunk],
        )
    moments = together.time + np.arange(6).reshape(3, 2) * DAY
    read = interest.read(together, moments)
    weight = interest.weight(together, moments)

    for user in itertools.product(range(3), range(2)):
        single = interest.empty()
        for chunk in range(2):
            counts = mask[chunk][user]
            single = interest.update(
                single,
                vectors[chunk][user][counts],
                times[chunk][user][counts],
                actions[chunk][user][counts],
            )
        of_user = State(*(field[user] for field in together))
        assert alike(of_user, single, vectors)
        assert of_user.recent_vectors == approx(single.recent_vectors)
        assert read[user] == approx(interest.read(single, moments[user]), abs=1e-5)
        assert weight[user] == approx(interest.weight(single, moments[user]))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_state_is_zeros_and_merges_to_nothing(name):
    interest = interest_of(name)
    empty = interest.empty()
    assert interest.read(empty, 0).tolist() == [0, 0, 0]
    assert (interest.weight(empty, 0) == 0).all()
    assert same(interest.merge(empty, empty), empty)
    assert same(interest.update(empty, np.zeros((0, DIM)), [], []), empty)
    history = some_history(5, seed=8)
    state = interest.update(empty, *history)
    assert same(interest.merge(state, empty), state)
    assert same(interest.merge(empty, state), state)
    assert same(interest.update(state, np.zeros((0, DIM)), [], []), state)


def test_a_masked_event_leaves_no_trace_whatever_it_holds():
    interest = InterestState([Exponential("1d"), Gaussian("1d")], dim=1, capacity=4)
    state = interest.update(interest.empty(), [[2.0]], [DAY])
    padded = interest.update(
        interest.empty(), [[9.0], [2.0]], [2**62, DAY], mask=[False, True]
    )
    assert same(padded, state)
    empty = interest.empty()
    assert same(interest.update(empty, [[9.0]], [-(2**63)], mask=[False]), empty)


@pytest.mark.parametrize("missing", [None, np.nan, 3], ids=repr)
@pytest.mark.parametrize("as_array", [False, True], ids=["list", "array"])
def test_the_name_of_a_masked_event_may_be_missing(missing, as_array):
    by_both = Sum([Exponential({"buy": "1d", "*": "9d"}), Window("9d")])
    categories = Exponential({"mug": "1d", "*": "9d"}, group="category")
    interest = InterestState([by_both, categories], dim=1, capacity=4)
    names = {"actions": ["buy", missing], "categories": [missing, "mug"]}
    if as_array:
        names = {column: np.array(one, object) for column, one in names.items()}
    vectors, times = [[2.0], [9.0]], [DAY, DAY]
    with pytest.raises(ValueError, match=rf"actions hold {missing}, a \w+: give str"):
        interest.update(interest.empty(), vectors, times, **names)
    with pytest.raises(ValueError, match=rf"categories hold {missing}, a \w+: give "):
        interest.update(interest.empty(), vectors, times, **names, mask=[True, False])
    names["categories"] = ["mug", missing]
    padded = interest.update(
        interest.empty(), vectors, times, **names, mask=[True, False]
    )
    named = {"actions": ["buy", "?"], "categories": ["mug", "?"]}
    expected = interest.update(
        interest.empty(), vectors, times, **named, mask=[True, False]
    )
    assert same(padded, expected)
    assert interest.weight(padded, DAY) == approx([1.0, 1.0])


def test_an_event_that_weighs_nothing_for_two_reasons_leaves_no_trace():
    interest = InterestState(
        [Exponential("1d"), Gaussian("1d")],
        1,
        action_weights={"buy": 1.0, "ad": 0.0},
        capacity=2,
    )
    empty = interest.empty()
    state = interest.update(empty, [[9.0]], [5], ["ad"], event_weights=[0.0])
    assert same(state, empty)


def test_an_empty_state_stays_one_however_fast_it_would_fade():
    interest = InterestState(Exponential(1e-9), dim=1)
    later = interest.decay_to(interest.empty(), 99_000_000_000)
    assert later.log_weight == interest.empty().log_weight


def test_update_leaves_what_it_was_handed_alone():
    interest = InterestState([Exponential("1d"), Gaussian("1d")], dim=DIM, capacity=4)
    history = some_history(9, seed=9)
    before = interest.update(interest.empty(), *history[:2])
    copies = State(*map(np.copy, before)), History(*map(np.copy, history))
    interest.merge(interest.update(before, *history[:2]), before)
    interest.read(interest.decay_to(before, 11 * YEAR), 12 * YEAR)
    assert same(before, copies[0])
    assert all(map(np.array_equal, history, copies[1]))


@pytest.mark.parametrize("name", FAMILIES)
def test_decaying_first_reads_the_same(name):
    interest = interest_of(name)
    state = interest.update(interest.empty(), *some_history(20, seed=10, span=YEAR))
    later = interest.decay_to(state, YEAR + 5 * DAY)
    assert later.time == YEAR + 5 * DAY
    now = YEAR + 9 * DAY
    assert interest.read(later, now) == approx(interest.read(state, now), rel=1e-5)
    assert interest.weight(later, now) == approx(interest.weight(state, now))


def test_fifty_years_of_idling():
    events = [(0, [3.0, 0.0]), (DAY, [0.0, 4.0])]
    now = 50 * YEAR

    def read(**options):
        interest = InterestState(Exponential("1h"), dim=2, **options)
        return interest.read(fold(interest, events), now).tolist()

    # A day is 24 halvings: of the first event 2^-24 is left beside the second.
    assert read() == approx([3 * 2**-24, 4.0], rel=1e-6)
    assert read(normalize="l2") == approx([0.75 * 2**-24, 1.0], rel=1e-6)
    assert read(normalize="sum") == [0.0, 0.0]
    assert read(prior_mass=0.1, prior=[5.0, 6.0]) == [5.0, 6.0]


@given(
    events=events,
    factor=st.integers(2, 200),
    lag=st.integers(0, YEAR),
)
@settings(deadline=None)
def test_scaling_time_and_rate_together_changes_nothing(events, factor, lag):
    vectors, times, _ = map(np.array, zip(*events, strict=True))
    now = times.max() + lag
    slow = InterestState([Exponential(factor * DAY), Gaussian(factor * DAY)], DIM)
    quick = InterestState([Exponential(DAY), Gaussian(DAY)], DIM)
    one = slow.read(slow.update(slow.empty(), vectors, factor * times), factor * now)
    other = quick.read(quick.update(quick.empty(), vectors, times), now)
    assert one == approx(other, rel=1e-5, abs=1e-6 * np.abs(vectors).max())


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=20, deadline=None)
@given(shards=st.lists(events, min_size=3, max_size=3))
def test_merging_is_associative_and_commutative(name, shards):
    interest = interest_of(name)
    vectors = np.array([one for shard in shards for one, _, _ in shard])
    a, b, c = (
        interest.update(interest.empty(), *map(np.array, zip(*shard, strict=True)))
        for shard in shards
    )
    merge = interest.merge
    assert alike(merge(a, b), merge(b, a), vectors)
    assert alike(merge(merge(a, b), c), merge(a, merge(b, c)), vectors)
    now = 10 * YEAR
    one, other = (
        interest.read(merge(merge(a, b), c), now),
        interest.read(merge(c, merge(b, a)), now),
    )
    assert one == approx(other, rel=1e-5, abs=1e-5 * np.abs(vectors).max())


# Recent events


@pytest.mark.parametrize("name", BUFFERED)
def test_the_newest_events_stay_and_the_others_are_counted(name):
    history = some_history(100, seed=11, span=20 * DAY)
    interest = interest_of(name, capacity=10)
    chunks = [slice(at, at + 7) for at in range(0, 100, 7)]
    state = stream(interest, history, chunks, [at % 3 for at in range(15)])
    newest = np.sort(history.times)[-10:]
    assert state.recent_times.tolist() == newest.tolist()
    if name in ("window by rank", "window by action"):
        return  # counted by hand below
    # All ages are in reach of these decays, and all that left could have weighed.
    assert state.dropped == 90


def test_events_beyond_the_end_leave_without_being_counted():
    window = InterestState(Window("1d"), dim=1, capacity=2)
    two_days_apart = [(day * DAY, 1.0) for day in (0, 2, 4, 6)]
    assert fold(window, two_days_apart).dropped == 0
    hours = [(hour * 3_600, 1.0) for hour in (0, 1, 2, 3)]
    assert fold(window, hours).dropped == 2
    # The third comes when the first is a day old, which is the end.
    assert fold(window, [(0, 1.0), (DAY - 1, 1.0), (DAY, 1.0)]).dropped == 0
    assert fold(window, [(0, 1.0), (DAY - 2, 1.0), (DAY - 1, 1.0)]).dropped == 1
    # One that is late, and past the end by then.
    assert fold(window, [(9 * DAY, 1.0), (9 * DAY, 1.0), (0, 1.0)]).dropped == 0
    # A line ends as well.
    line = InterestState(Linear("1d"), dim=1, capacity=2)
    assert fold(line, two_days_apart).dropped == 0
    assert fold(line, hours).dropped == 2
    # Of two decays, the one that still looks at it counts.
    both = InterestState([Window("1d"), Gaussian("1d")], dim=1, capacity=2)
    assert fold(both, two_days_apart).dropped == 2
    # Of two features, the one that still looks at it.
    features = InterestState(Window(["1d", "9d"]), dim=2, capacity=2)
    assert fold(features, [(at, [1.0, 1.0]) for at, _ in two_days_apart]).dropped == 2


def test_the_last_events_by_rank_need_no_more_room_than_they_are():
    interest = InterestState(Window(2, by="rank"), dim=1, capacity=2)
    events = [(second, float(second)) for second in range(50)]
    state = fold(interest, events)
    assert interest.read(state, 99) == approx(48.5)
    assert state.dropped == 0
    # Three at one moment share their place: one too many.
    state = fold(interest, [(50, 1.0), (50, 1.0), (50, 1.0)], state)
    assert state.dropped == 1


def test_merging_counts_what_both_have_dropped_and_what_no_longer_fits():
    interest = InterestState(Gaussian("1d"), dim=1, capacity=2)
    one = fold(interest, [(hour, 1.0) for hour in range(3)])
    other = fold(interest, [(hour, 2.0) for hour in range(4, 9)])
    assert (one.dropped, other.dropped) == (1, 3)
    merged = interest.merge(one, other)
    assert merged.dropped == 1 + 3 + 2
    assert interest.read(merged, 8) == approx(2.0)


def test_exact_heads_and_buffered_ones_keep_to_themselves():
    interest = InterestState([Exponential("1d"), Window("1d")], dim=1, capacity=1)
    state = fold(interest, [(0, 2.0), (DAY - 1, 5.0)])
    assert state.dropped == 1
    # 2/2 + 5 over 1/2 + 1; and the window has the last one only.
    assert interest.read(state, DAY - 1)[:, 0].tolist() == approx([4.0, 5.0], rel=1e-4)
    assert interest.read(state, 2 * DAY)[1].tolist() == [0.0]
    assert interest.weight(state, 2 * DAY)[1] == 0.0


# Actions, categories and weights


def test_actions_weigh_and_those_without_a_name_do_not_count():
    interest = InterestState(
        Exponential("1d"),
        dim=1,
        action_weights={"purchase": 1.0, "browse": 0.25},
        unknown_action="ignore",
    )
    state = interest.update(
        interest.empty(),
        [[4.0], [2.0], [100.0], [8.0]],
        [0, DAY, 9 * DAY, DAY],
        ["purchase", "browse", "share", "purchase"],
    )
    assert state.time == DAY  # a share is no event
    assert state.denominator == approx(1.75)  # 1/2 + 1/4 + 1
    assert state.numerator == approx(10.5)  # 4/2 + 2/4 + 8


def test_an_action_without_a_weight_is_refused_by_name():
    # A rate of its own is no weight.
    interest = InterestState(
        Exponential({"share": "1d", "*": "2d"}),
        dim=1,
        action_weights={"purchase": 1.0, "ad": 0.0},
    )
    for strange in ("share", "gaze", "zoom"):
        with pytest.raises(
            ValueError,
            match=rf"actions hold '{strange}': .* names ad, purchase, .*ignore",
        ):
            interest.update(
                interest.empty(), [[4.0], [2.0]], [0, 1], ["purchase", strange]
            )
        state = interest.update(
            interest.empty(),
            [[4.0], [2.0]],
            [0, 1],
            ["purchase", strange],
            mask=[True, False],
        )
        assert interest.read(state, 1) == approx(4.0)
    with pytest.raises(ValueError, match="unknown_action='drop' is not one of"):
        InterestState(Exponential("1d"), 1, unknown_action="drop")


def test_rank_counts_events_that_count():
    interest = InterestState(
        Exponential(1, by="rank"), dim=1, action_weights={"buy": 1.0, "ad": 0.0}
    )
    state = interest.update(
        interest.empty(), [[8.0], [1.0], [2.0]], [0, 1, 2], ["buy", "ad", "buy"]
    )
    # One purchase is later than the first, and no matter how many ads.
    assert interest.read(state, 2) == approx(6 / 1.5)


def test_an_event_has_a_weight_of_its_own():
    interest = InterestState([Exponential("1d"), Gaussian("1d")], dim=1)
    state = interest.update(
        interest.empty(),
        [[4.0], [1.0], [9.0]],
        [0, DAY, 5 * DAY],
        event_weights=[0.5, 0.75, 0.0],
    )
    assert state.time == DAY  # without weight there is no event
    # 4/4 + 3/4 over 1/4 + 3/4, at a day's age half for both decays.
    assert interest.read(state, DAY)[:, 0] == approx([1.75, 1.75])


def test_rates_by_category_and_by_action_at_once():
    decay = Product(
        [
            Exponential({"news": "1d", "*": "4d"}, group="category"),
            Exponential({"browse": "1d", "*": "2d"}),
        ]
    )
    interest = InterestState(decay, dim=1)
    assert len(interest.formulas.terms) == 4
    state = interest.update(
        interest.empty(),
        [[16.0], [16.0], [16.0], [0.0]],
        [0, 0, 0, 4 * DAY],
        actions=["browse", "buy", "browse", "buy"],
        categories=["news", "news", "shoes", "shoes"],
    )
    # 4 + 4, 4 + 2, and 1 + 4 halvings; and a new event.
    assert interest.weight(state, 4 * DAY) == approx(2**-8 + 2**-6 + 2**-5 + 1)


def test_impossible_terms_of_a_product_are_not_kept():
    by_action = Exponential({"a": "1d", "b": "2d", "*": "3d"})
    assert len(InterestState(Product([by_action] * 2), dim=1).formulas.terms) == 3


@pytest.mark.parametrize("decay", [Exponential, Window])
def test_names_are_found_in_any_number_and_order(decay):
    lengths = {f"shelf {at}": (1 + at) * DAY for at in (5, 3, 11, 0, 7)}
    interest = InterestState(decay({**lengths, "*": 2 * DAY}, group="category"), dim=1)
    for name in ["shelf 5", "shelf 0", "shelf 11", "unknown", "", "zebra"]:
        state = interest.update(interest.empty(), [[1.0]], [0], categories=[name])
        weight = interest.weight(state, 5 * DAY)
        days = lengths.get(name, 2 * DAY) / DAY
        expected = 0.5 ** (5 / days) if decay is Exponential else float(days > 5)
        assert weight == approx(expected)


# Heads, and how they are read


def test_heads_are_stacked_or_combined():
    decays = [Exponential("1d"), Constant(), Window("1d")]
    events = [(0, [8.0, 2.0]), (DAY, [2.0, 5.0])]
    stacked = InterestState(decays, dim=2)
    means = [[4.0, 4.0], [5.0, 3.5], [2.0, 5.0]]  # weights 1/2 and 1; 1 and 1; 1
    state = fold(stacked, events)
    assert stacked.read(state, DAY) == approx(np.array(means))
    assert stacked.weight(state, DAY) == approx([1.5, 2.0, 1.0])
    shares = [[0.5, 0.0], [0.25, 1.0], [0.25, 0.0]]
    combined = InterestState(decays, dim=2, combination=shares)
    assert combined.read(state, DAY) == approx([3.75, 3.5])
    # One decay has no axis of heads, a list of one has.
    assert InterestState(decays[0], dim=2).empty().mean.shape == (1, 2)
    alone = InterestState(decays[:1], dim=2)
    assert alone.read(fold(alone, events), DAY).tolist() == [approx([4.0, 4.0])]


def test_an_exponential_that_heads_have_in_common_is_kept_once():
    interest = InterestState(
        [Mixture(["1d", "30d"]), Mixture(["30d", "1d"], [0.9, 0.1]), Exponential("1d")],
        dim=2,
    )
    assert interest.empty().mean.shape == (2, 2)
    state = fold(interest, [(0, [1.0, 2.0])])
    weights = [(2**-30 + 0.5) / 2, 0.1 * 2**-30 + 0.9 * 0.5, 2**-30]
    assert interest.weight(state, 30 * DAY) == approx(weights)


def test_the_same_exponential_twice_in_a_decay_is_one():
    interest = InterestState(Sum([Exponential("1d")] * 2, shares=[0.25, 0.75]), dim=1)
    assert interest.empty().mean.shape == (1, 1)
    assert interest.weight(fold(interest, [(0, 1.0)]), DAY) == approx([0.5])


def test_heads_with_rates_of_their_own_beside_shared_ones():
    decays = [Exponential(["1d", "2d"]), Exponential("2d"), Gaussian("2d")]
    interest = InterestState(decays, dim=2)
    state = fold(interest, [(0, [1.0, 1.0])])
    assert interest.weight(state, 2 * DAY) == approx(
        np.array([[0.25, 0.5], [0.5, 0.5], [0.5, 0.5]])
    )


def test_normalizations():
    events = [(0, [8.0, 0.0]), (DAY, [0.0, 3.0])]
    now = 2 * DAY  # weights 1/4 and 1/2

    def read(decay=None, **options):
        interest = InterestState(decay or Exponential("1d"), dim=2, **options)
        return interest.read(fold(interest, events), now).tolist()

    assert read() == approx([8 / 3, 2.0])
    assert read(normalize="sum") == approx([2.0, 1.5])
    assert read(normalize="l2") == approx([0.8, 0.6])
    # (2 + 1/4 4) / (3/4 + 1/4), (3/2 + 1/4 2) / 1
    assert read(prior_mass=0.25, prior=[4.0, 2.0]) == approx([3.0, 2.0])
    assert read(prior_mass=0.25) == approx([2.0, 1.5])
    # The second feature halves every two days: 1/4 8, and 2^-1/2 3.
    slow = read(Exponential(["1d", "2d"]), normalize="l2")
    assert slow == approx([2 / 2.9155, 2.1213 / 2.9155], rel=1e-4)


def test_a_sum_that_float32_cannot_hold_is_named():
    most = float(np.finfo(np.float32).max)
    events = [(0, [most, 1.0])] * 3
    total = InterestState(Exponential("1d"), dim=2, normalize="sum")
    state = fold(total, events)
    with pytest.raises(
        ValueError, match=r"normalize='sum' comes to more than float32 holds, 3.4e\+38"
    ):
        total.read(state, 0)
    # Half of it in a day, a quarter in two: 3/4 of the most fits again.
    assert total.read(state, 2 * DAY) == approx(np.array([0.75 * most, 0.75]))
    mean = InterestState(Exponential("1d"), dim=2)
    assert mean.read(fold(mean, events), 0) == approx(np.array([most, 1.0]))
    heavy = mean.update(
        mean.empty(), np.ones((2, 2)), [0, 0], event_weights=[1e308, 1e308]
    )
    assert mean.read(heavy, 0).tolist() == [1.0, 1.0]
    assert mean.weight(heavy, 0).tolist() == [np.inf]


def test_without_events_there_is_the_prior():
    interest = InterestState(Constant(), dim=2, prior_mass=3.0, prior=[1.0, 2.0])
    assert interest.read(interest.empty((2,)), 0).tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_weight_tells_an_idle_user_from_an_active_one():
    interest = InterestState(Exponential("1d"), dim=1)
    state = fold(interest, [(0, 1.0), (0, 1.0)])
    assert interest.weight(state, 0) == approx([2.0])
    assert interest.weight(state, 3 * DAY) == approx([0.25])


def test_describe_says_what_is_exact():
    decays = [Exponential("7d"), PowerLaw("1d", 0.5), Gaussian("7d")]
    interest = InterestState(decays, dim=1, capacity=9)
    error = interest.formulas.heads[1].max_error
    assert 0 < error <= 1e-3
    named = [decay.describe() for decay in decays]
    first, second, third = interest.describe().splitlines()
    assert first == f"head 0: {named[0]}: 1 exponential, exact"
    assert second.startswith(f"head 1: {named[1]}: ")
    assert second.endswith(
        f" exponentials, each weight within {error:.2g} of itself up to the horizon"
    )
    assert third.startswith(f"head 2: {named[2]}: the newest 9 events, exact while ")
    alone = InterestState(decays[0], dim=1)
    assert alone.describe() == f"{named[0]}: 1 exponential, exact"


# Bytes


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [0, 3, 30])
def test_bytes_give_the_state_back(name, count):
    interest = interest_of(name, capacity=20)
    state = interest.update(interest.empty(), *some_history(count, seed=12, span=DAY))
    data = interest.to_bytes(state)
    assert same(interest.from_bytes(data), state)
    assert same(interest.from_bytes(memoryview(data)), state)
    assert len(data) <= interest.bytes_per_user
    assert (len(data) == interest.bytes_per_user) == (
        count == 30 or name not in BUFFERED
    )


def test_users_are_written_one_by_one_and_put_together_again():
    interest = InterestState([Exponential("1d"), Gaussian("1d")], dim=2, capacity=3)
    history = some_history(4 * 5, seed=13, span=DAY, dim=2)
    users = interest.update(
        interest.empty((4,)),
        history.vectors.reshape(4, 5, 2),
        history.times.reshape(4, 5),
    )
    written = [
        interest.to_bytes(State(*(field[user] for field in users))) for user in range(4)
    ]
    read = map(interest.from_bytes, written)
    assert same(State(*map(np.stack, zip(*read, strict=True))), users)


def small_states():
    exact = InterestState(Exponential("1d"), dim=1)
    buffered = InterestState(Window(BY_ACTION), dim=1, capacity=2)
    return [
        (exact, exact.update(exact.empty(), [[2.0]], [DAY])),
        (buffered, buffered.update(buffered.empty(), [[2.0]], [DAY], ["browse"])),
    ]


BY_ACTION = {"browse": "1d", "*": "2d"}


def test_every_byte_that_is_changed_or_missing_is_noticed():
    for interest, state in small_states():
        data = interest.to_bytes(state)
        for place, change in itertools.product(range(len(data)), range(1, 256)):
            wrong = bytearray(data)
            wrong[place] ^= change
            with pytest.raises(ValueError, match=r"^data "):
                interest.from_bytes(wrong)
        for length in range(len(data)):
            with pytest.raises(ValueError, match="cut off"):
                interest.from_bytes(data[:length])
        with pytest.raises(ValueError, match="says that it has"):
            interest.from_bytes(data + b"\0")


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data):
    interest = InterestState(Exponential("1d"), dim=1)
    for start in (b"", b"tdIS", b"tdIS\1"):
        with pytest.raises(ValueError, match=r"^data "):
            interest.from_bytes(start + data)


def test_what_is_wrong_with_bytes_is_said():
    interest = InterestState(Exponential("1d"), dim=1)
    data = interest.to_bytes(fold(interest, [(DAY, 2.0)]))
    with pytest.raises(ValueError, match=r"begins with b'\\x80\\x04\\x95K'.* b'tdIS'"):
        interest.from_bytes(b"\x80\x04\x95K, a pickle")
    with pytest.raises(ValueError, match=r"version 2, and this .* reads version 1"):
        interest.from_bytes(data[:4] + b"\2" + data[5:])
    with pytest.raises(ValueError, match=r"checksum does not fit\. Fetch it again"):
        interest.from_bytes(data[:-5] + b"?" + data[-4:])
    with pytest.raises(ValueError, match="has 20 bytes only: it was cut off"):
        interest.from_bytes(data[:20])
    with pytest.raises(TypeError, match="data is a str: give bytes"):
        interest.from_bytes("tdIS")


IMPOSSIBLE = [
    ("mean", np.nan, "nan"),
    ("mean", np.inf, "inf"),
    ("log_weight", np.nan, "nan"),
    ("time", 100_000_000_000, "100000000000"),
    ("time", -100_000_000_001, "-100000000001"),
    ("recent_vectors", np.nan, "nan"),
    ("recent_times", 100_000_000_000, "100000000000"),
    ("recent_log_weights", np.inf, "inf"),
    ("recent_actions", 2, "2"),
    ("recent_actions", -1, "-1"),
    ("dropped", -1, "-1"),
]


@pytest.mark.parametrize(("field", "value", "said"), IMPOSSIBLE)
def test_numbers_that_no_event_leads_to_are_not_written_down(field, value, said):
    decays = [Exponential("1d"), Window(BY_ACTION)]
    interest = InterestState(decays, dim=2, capacity=1)
    state = interest.update(interest.empty(), [[2.0, 3.0]], [DAY], ["browse"])
    assert same(interest.from_bytes(interest.to_bytes(state)), state)
    values = np.array(getattr(state, field))
    values.flat[-1] = value
    with pytest.raises(
        ValueError, match=rf"state\.{field} holds {said}, which no even"
    ):
        interest.to_bytes(state._replace(**{field: values}))


@pytest.mark.parametrize(
    ("place", "number", "said"),
    [
        (0, struct.pack("<f", np.nan), "nan in mean"),
        (4, struct.pack("<d", np.inf), "inf in log_weight"),
        (12, struct.pack("<q", 100_000_000_000), "100000000000 in time"),
        (20, struct.pack("<q", -1), "-1 in dropped"),
    ],
)
def test_numbers_that_no_event_leads_to_are_not_read(place, number, said):
    interest = InterestState(Exponential("1d"), dim=1)
    data = bytearray(interest.to_bytes(fold(interest, [(DAY, 2.0)])))
    # After the 38 bytes of the header: a mean, a log weight, the time, the dropped.
    data[38 + place : 38 + place + len(number)] = number
    with pytest.raises(ValueError, match="checksum does not fit"):
        interest.from_bytes(data)
    data[-4:] = struct.pack("<I", zlib.crc32(data[:-4]))
    with pytest.raises(ValueError, match=rf"data holds {said}, which no event leads t"):
        interest.from_bytes(data)


def test_a_state_of_other_rates_is_refused_by_name():
    week, day = (InterestState(Exponential(one), dim=1) for one in ("7d", "1d"))
    data = week.to_bytes(fold(week, [(0, 1.0)]))
    expected = (
        f"other rates: its fingerprint is {week.fingerprint}, and this InterestState's "
        f"is {day.fingerprint}. Replay the user's events"
    )
    with pytest.raises(ValueError, match=expected):
        day.from_bytes(data)


def test_the_fingerprint_is_that_of_what_the_numbers_depend_on():
    weights = {"browse": 0.2, "buy": 1.0}
    made = InterestState(Exponential("7d"), 2, action_weights=weights)
    # From another process, on another machine.
    assert made.fingerprint == "e465ad2602599c40f90f130fd865ac10"
    read_otherwise = InterestState(
        [Exponential("1w", trainable=True)],
        2,
        action_weights=dict(reversed(weights.items())),
        prior_mass=2.0,
        prior=[1, 2],
        combination=[[1, 1]],
        capacity=9,  # nothing is buffered
        horizon="1y",
    )
    assert read_otherwise.fingerprint == made.fingerprint
    others = [
        InterestState(Exponential("8d"), 2, action_weights=weights),
        InterestState(Exponential("7d"), 2, action_weights={**weights, "buy": 2.0}),
        InterestState(Exponential("7d"), 2),
        InterestState(Exponential("7d"), 3, action_weights=weights),
        InterestState(Exponential(["7d", "7d"]), 2, action_weights=weights),
        InterestState(Exponential({"buy": "7d", "*": "7d"}), 2, action_weights=weights),
        InterestState([Exponential("7d"), Gaussian("7d")], 2, action_weights=weights),
        InterestState([Exponential("7d"), Gaussian("8d")], 2, action_weights=weights),
        InterestState(
            [Exponential("7d"), Gaussian("8d")], 2, action_weights=weights, capacity=9
        ),
    ]
    assert len({one.fingerprint for one in [made, *others]}) == 1 + len(others)


def test_the_order_of_heads_and_names_is_not_in_the_fingerprint():
    by_action = {"buy": "9d", "browse": "1d", "*": "3d"}
    sorted_by_name = dict(sorted(by_action.items()))
    one = InterestState(
        [Exponential(by_action), Window(by_action), Gaussian("1d"), Constant()], 2
    )
    other = InterestState(
        [
            Constant(),
            Gaussian("1d", trainable=True),
            Exponential(sorted_by_name),
            Window(sorted_by_name),
        ],
        2,
    )
    assert other.fingerprint == one.fingerprint
    event = ([[1.0, 2.0]], [DAY], ["browse"])
    state = other.from_bytes(one.to_bytes(one.update(one.empty(), *event)))
    assert same(state, other.update(other.empty(), *event))
    assert other.weight(state, 2 * DAY) == approx([1.0, 0.5, 0.5, 0.0])


def test_shares_may_be_learned_on_under_states_that_are_kept():
    before = InterestState(Mixture(["1d", "30d"]), dim=1)
    after = InterestState(Mixture(["1d", "30d"], [0.25, 0.75]), dim=1)
    data = before.to_bytes(fold(before, [(0, 1.0)]))
    assert after.weight(after.from_bytes(data), 30 * DAY) == approx(0.375)


def test_a_state_is_a_few_hundred_bytes():
    interest = InterestState(Exponential("7d"), dim=64)
    assert interest.bytes_per_user == 38 + (64 * 4 + 8) + 16 + 4


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": "7d"}, "decay is a str: give a decay object"),
        ({"decay": [None]}, "decay is a NoneType: give a decay object"),
    ],
)
def test_what_is_no_decay_is_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        InterestState(**{"dim": 1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": []}, r"decay=\[\] is empty: give one decay or more"),
        ({"dim": 0}, "dim=0 must be a whole number, 1 or more"),
        ({"dim": 2.5}, "dim=2.5 must be a whole number, 1 or more"),
        ({"capacity": 0}, "capacity=0 must be a whole number, 1 or more"),
        ({"max_error": 0}, "max_error=0 must lie between 0 and 1"),
        ({"horizon": "soon"}, "horizon='soon' is not a duration"),
        ({"normalize": "max"}, r"normalize='max' is not one of \('mean'"),
        ({"action_weights": {"buy": -1}}, r"action_weights\['buy'\]=-1: .* 0 or more"),
        ({"prior": [1, 2]}, "prior is given, and without prior_mass"),
        ({"prior_mass": 0.0}, "prior_mass=0.0 with normalize='mean': .* above 0"),
        ({"prior_mass": 1.0, "normalize": "sum"}, "normalize='sum': .* with 'mean'"),
        ({"prior_mass": 1.0, "prior": [1.0]}, r"shape \(1,\): give 2 finite numbers"),
        ({"prior_mass": 1.0, "prior": [1, np.nan]}, "give 2 finite numbers"),
        (
            {"combination": [[1, 1, 1]]},
            r"shape \(1, 3\): give \[heads, dim\].*\(1, 2\)",
        ),
        ({"combination": [[1, 0.5]]}, "sum to 1 .* its sums are 0.5 to 1"),
        ({"decay": Exponential(["1d"] * 3)}, "3 values and the pooled vectors have 2"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InterestState(**{"decay": Exponential("1d"), "dim": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": [1.0, 2.0]}, r"vectors have the shape \(2,\): .* \('n', 2\)"),
        ({"vectors": [[1.0]]}, r"vectors have the shape \(1, 1\): .* \('n', 2\)"),
        ({"vectors": [[[1.0, 2.0]]]}, r"vectors have the shape \(1, 1, 2\)"),
        ({"vectors": [[1.0, np.nan]]}, "1 numbers that are not finite .* such as nan"),
        ({"vectors": [[1e300, 1.0]]}, "1 numbers that are not finite .* such as inf"),
        (
            {"times": [1.5]},
            r"times is float64: give integer seconds.*astype\('int64'\)",
        ),
        (
            {"times": np.asarray(["2024-01-01"], "datetime64[s]")},
            r"times is datetime64\[s\]: give integer seconds .* "
            r"\.astype\('datetime64\[s\]'\)\.astype\('int64'\)",
        ),
        (
            {"times": [datetime.datetime(2024, 1, 1)]},
            "times is an array of datetime: give integer seconds",
        ),
        ({"times": [1, 2]}, r"times have the shape \(2,\), and vectors \(1,\)"),
        ({"times": [1_700_000_000_000]}, "times=1700000000000 looks like milliseconds"),
        ({"times": [-(2**63)]}, "times=-9223372036854775808 looks like milliseconds"),
        ({"mask": [[True]]}, r"mask have the shape \(1, 1\), and vectors \(1,\)"),
        ({"actions": None}, r"actions are needed: .* depend on \['browse', 'buy'\]"),
        ({"times": [2**63]}, "times=9223372036854775808 looks like milliseconds"),
        ({"times": np.array([2**64 - 5], "u8")}, "times=18446744073709551611 looks"),
        ({"actions": [1]}, "actions hold 1, a int: give strings"),
        ({"actions": [b"buy"]}, "actions hold b'buy', a bytes: give strings"),
        ({"actions": np.array([None])}, "actions hold None, a NoneType: give strings"),
        ({"actions": np.array([np.nan])}, "actions hold nan, a float: give strings"),
        ({"actions": ["buy", "buy"]}, r"actions have the shape \(2,\)"),
        ({"event_weights": [-1.0]}, "event_weights=-1.0 must be finite, 0 or more"),
        ({"event_weights": [np.nan]}, "event_weights=nan must be finite, 0 or more"),
    ],
)
def test_events_that_do_not_fit_are_refused(arguments, message):
    interest = InterestState(
        Exponential("1d"), dim=2, action_weights={"buy": 1.0, "browse": 0.5}
    )
    event = {"vectors": [[1.0, 2.0]], "times": [5], "actions": ["buy"]}
    with pytest.raises(ValueError, match=message):
        interest.update(interest.empty(), **{**event, **arguments})


def test_a_time_before_the_clock_is_refused():
    interest = InterestState(Exponential("1d"), dim=1)
    state = fold(interest, [(500, 1.0)])
    for method in (interest.read, interest.weight, interest.decay_to):
        with pytest.raises(ValueError, match=r"time=499 is earlier than .* own, 500"):
            method(state, 499)
    users = interest.update(interest.empty((2,)), [[[1.0]], [[1.0]]], [[5], [9]])
    with pytest.raises(ValueError, match="time=8 is earlier than the state's own, 9"):
        interest.read(users, 8)
    with pytest.raises(ValueError, match=r"time has the shape \(3,\): .* user, \(2,\)"):
        interest.read(users, [9, 9, 9])
    for time, found in (
        ("2020-01-01", "str"),
        (np.datetime64("2020-01-01"), r"datetime64\[D\]"),
    ):
        with pytest.raises(ValueError, match=f"time is {found}: give integer seconds"):
            interest.read(state, time)
    with pytest.raises(ValueError, match="time is float64: give integer seconds"):
        interest.read(state, 1e9)
    with pytest.raises(ValueError, match="time=1700000000000 looks like milliseconds"):
        interest.read(state, 1_700_000_000_000)
    with pytest.raises(ValueError, match="time=18446744073709551615 looks like milli"):
        interest.read(state, np.uint64(2**64 - 1))


def test_a_state_of_something_else_is_refused():
    one, two = (InterestState(Exponential("1d"), dim=dim) for dim in (1, 2))
    state = two.empty((3,))
    with pytest.raises(
        ValueError,
        match=r"state.mean is float32 of shape \(3, 1, 2\), and here it is float32 of "
        r"shape \(3, 1, 1\): hand in what",
    ):
        one.read(state, 0)
    with pytest.raises(ValueError, match=r"state\.mean is float64 of shape"):
        two.read(state._replace(mean=state.mean.astype(float)), 0)
    with pytest.raises(ValueError, match=r"state\.mean is a list, and here"):
        two.read(state._replace(mean=state.mean.tolist()), 0)
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\): merge states"):
        two.merge(state, two.empty((4,)))
    with pytest.raises(ValueError, match=r"users of the shape \(3,\): write one at a"):
        two.to_bytes(state)


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "NoneType"), ({}, "dict"), ((1, 2), "tuple"), (np.zeros(3), "ndarray")],
)
def test_what_is_no_state_is_refused(given, said):
    interest = InterestState(Exponential("1d"), dim=1)
    for name, method in [
        ("state", lambda: interest.update(given, [[1.0]], [0])),
        ("state", lambda: interest.decay_to(given, 0)),
        ("state", lambda: interest.read(given, 0)),
        ("state", lambda: interest.weight(given, 0)),
        ("state", lambda: interest.to_bytes(given)),
        ("one", lambda: interest.merge(given, interest.empty())),
        ("other", lambda: interest.merge(interest.empty(), given)),
    ]:
        with pytest.raises(
            TypeError, match=rf"^{name} is a {said}: hand in a State, .* of 9 fields"
        ):
            method()


def test_exact_families_keep_no_events():
    for name in EXACT:
        assert interest_of(name).empty().recent_vectors.shape == (0, DIM)
    for name in BUFFERED:
        assert interest_of(name).empty().mean.shape == (0, DIM)
