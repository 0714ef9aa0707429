"""The layer is the NumPy class in a graph: the same states, the same answers."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from independent_weights import (
    ACTIONS,
    DAY,
    DIM,
    FAMILIES,
    YEAR,
    mean_of,
    some_history,
    weights_of,
)
from pytest import approx

from tfrs_decay.decay import Constant, Exponential, Gaussian, Mixture, Window
from tfrs_decay.interest import State
from tfrs_decay.layers import InterestState, TimeDecayPooling

USERS = 4


@functools.cache  # a fit takes a while
def layer_of(name):
    return InterestState(FAMILIES[name][0], DIM, capacity=12)


def some_events(seed, count):
    """[USERS, count] events over a hundred days, a third of them masked."""
    history = some_history(USERS * count, seed, span=100 * DAY)
    return {
        "vectors": history.vectors.reshape(USERS, count, DIM),
        "times": history.times.reshape(USERS, count),
        "actions": history.actions.reshape(USERS, count),
        "mask": np.random.default_rng(seed).random((USERS, count)) < 2 / 3,
    }


def assert_alike(tensors, arrays):
    for field, one, other in zip(State._fields, tensors, arrays, strict=True):
        assert one.dtype.as_numpy_dtype == other.dtype, field
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=field)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layer_is_the_numpy_class(name):
    layer = layer_of(name)
    arrays = layer.arrays
    tensors, expected = layer.empty(USERS), arrays.empty((USERS,))
    assert_alike(tensors, expected)
    # Nothing, one event, several, and more than the capacity.
    for seed, count in enumerate([0, 1, 5, 20]):
        events = some_events(seed, count)
        tensors = layer.update(tensors, **events)
        expected = arrays.update(expected, **events)
        assert_alike(tensors, expected)
    other = some_events(9, 3)
    tensors = layer.merge(tensors, layer.update(layer.empty(USERS), **other))
    expected = arrays.merge(expected, arrays.update(arrays.empty((USERS,)), **other))
    assert_alike(tensors, expected)
    now = 200 * DAY + np.arange(USERS)
    assert_alike(layer.decay_to(tensors, now), arrays.decay_to(expected, now))
    read = layer.read(tensors, now)
    assert read.dtype == tf.float32
    assert read.numpy() == approx(arrays.read(expected, now), abs=1e-6)
    weight = layer.weight(tensors, now)
    assert weight.dtype == tf.float64
    assert weight.numpy() == approx(arrays.weight(expected, now))
    # A state goes from one to the other as it is.
    kept = State(*(field.numpy() for field in tensors))
    assert arrays.read(kept, now) == approx(read.numpy(), abs=1e-6)


@pytest.mark.parametrize("options", ["sum", "l2", "prior", "combination", "stack"])
def test_the_layer_reads_as_the_numpy_class(options):
    several = [Exponential(["1d", "9d", "90d"]), Constant(), Gaussian("50d")]
    arguments = {
        "sum": {"normalize": "sum"},
        "l2": {"normalize": "l2"},
        "prior": {"prior_mass": 0.7, "prior": [1.0, 2.0, 3.0]},
        "combination": {"combination": np.full((3, DIM), 1 / 3)},
        "stack": {
            "action_weights": {"cart": 2.0, "browse": 0.5},
            "unknown_action": "ignore",
        },
    }[options]
    layer = InterestState(several, DIM, capacity=40, **arguments)
    events = some_events(1, 30)
    state = layer.update(layer.empty(USERS), **events)
    expected = layer.arrays.update(layer.arrays.empty((USERS,)), **events)
    assert_alike(state, expected)
    read = layer.read(state, 101 * DAY).numpy()
    assert read.shape == ((USERS, DIM) if options == "combination" else (USERS, 3, DIM))
    assert read == approx(layer.arrays.read(expected, 101 * DAY), abs=1e-6)


def test_event_weights_reach_the_graph():
    layer = InterestState(Exponential("1d"), dim=1)
    state = layer.update(
        layer.empty(1),
        [[[4.0], [1.0], [9.0]]],
        [[0, DAY, 5 * DAY]],
        event_weights=[[0.5, 0.75, 0.0]],
    )
    # 4/4 + 3/4 over 1/4 + 3/4, and no event without weight.
    assert state.time.numpy() == [DAY]
    assert layer.read(state, DAY).numpy() == approx(1.75)


def test_one_graph_for_any_number_of_users_and_events():
    layer = InterestState(
        [Exponential({"browse": "1d", "*": "7d"}), Window(2, by="rank")], dim=2
    )
    traces = []

    @tf.function(
        input_signature=[
            layer.spec,
            tf.TensorSpec([None, None, 2], tf.float32),
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([None, None], tf.string),
        ]
    )
    def step(state, vectors, times, actions):
        traces.append(1)
        state = layer.update(state, vectors, times, actions)
        return state, layer.read(layer.merge(state, state), state.time + 5)

    for users, count in [(1, 1), (3, 1), (3, 7), (2, 0), (0, 4)]:
        actions = np.full((users, count), "browse", object)
        vectors = np.ones((users, count, 2), np.float32)
        times = np.full((users, count), 5)
        state, read = step(layer.empty(users), vectors, times, actions)
        expected = layer.arrays.update(
            layer.arrays.empty((users,)), vectors, times, actions
        )
        assert_alike(state, expected)
        assert read.shape == (users, 2, 2)
        assert read.numpy() == approx(1.0 if count else 0.0)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "decay",
    [
        Exponential("7d"),
        Exponential(["1d", "7d", "30d"]),
        Gaussian("30d"),
        [Mixture(["1d", "9d"]), Exponential({"cart": "2d", "*": "1d"}), Window("9d")],
        Window({"cart": "2d", "*": "1d"}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_exported_signatures_answer_as_the_layer(decay, tmp_path):
    layer = InterestState(decay, DIM, capacity=6)
    tf.saved_model.save(layer, str(tmp_path), signatures=layer.signatures())
    served = tf.saved_model.load(str(tmp_path)).signatures

    fields = set(served["update"].structured_outputs)
    assert {"time"} <= fields <= set(State._fields)
    inputs = set(served["update"].structured_input_signature[1])
    columns = {"vectors", "times", "mask", "event_weights"}
    assert inputs - fields - {"actions"} == columns

    expected = layer.empty(USERS)
    state = {field: getattr(expected, field) for field in fields}
    for seed, count in enumerate([3, 1, 8]):
        events = {
            name: tf.constant(one) for name, one in some_events(seed, count).items()
        }
        own = np.random.default_rng(seed).integers(0, 3, (USERS, count)) / 2
        events["event_weights"] = tf.constant(own, tf.float32)
        expected = layer.update(expected, **events)
        given = {name: one for name, one in events.items() if name in inputs}
        state = served["update"](**state, **given)
        assert set(state) == fields
    for field in fields:
        np.testing.assert_allclose(state[field], getattr(expected, field), rtol=1e-6)

    now = tf.constant([200 * DAY] * USERS, tf.int64)
    read = served["read"](**state, now=now)
    assert read["interest"].numpy() == approx(layer.read(expected, now).numpy())
    assert read["weight"].numpy() == approx(layer.weight(expected, now).numpy())
    later = served["decay_to"](**state, now=now)
    assert (later["time"].numpy() == 200 * DAY).all()
    others = {f"other_{field}": one for field, one in later.items()}
    merged = served["merge"](**state, **others)
    twice = layer.merge(expected, layer.decay_to(expected, now))
    for field in fields:
        np.testing.assert_allclose(
            merged[field], getattr(twice, field), rtol=1e-6, atol=1e-6
        )


def test_a_signature_with_event_weights_of_one_is_without_them():
    layer = InterestState([Exponential("1d"), Gaussian("9d")], DIM, capacity=6)
    events = some_events(1, 8)
    del events["actions"]
    ones = tf.ones((USERS, 8), tf.float32)
    empty = layer.empty(USERS)
    found = layer.signatures()["update"](
        **{name: one for name, one in empty._asdict().items() if 0 not in one.shape},
        **{name: tf.constant(one) for name, one in events.items()},
        event_weights=ones,
    )
    expected = layer.update(empty, **events)
    for field, one in found.items():
        np.testing.assert_array_equal(one, getattr(expected, field), err_msg=field)


@pytest.mark.parametrize("name", FAMILIES)
def test_config_makes_the_same_layer(name):
    layer = InterestState(
        FAMILIES[name][0],
        DIM,
        action_weights={"buy": 2.0},
        unknown_action="ignore",
        prior_mass=0.5,
        prior=[1.0, 2.0, 3.0],
        capacity=7,
        max_error=0.01,
        horizon="2y",
        name="interest",
    )
    copy = InterestState.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert copy.arrays.fingerprint == layer.arrays.fingerprint
    assert copy.arrays.describe() == layer.arrays.describe()
    heads = InterestState(
        [FAMILIES[name][0]] * 2, DIM, combination=np.full((2, 3), 0.5)
    )
    copy = InterestState.from_config(heads.get_config())
    assert copy.arrays.fingerprint == heads.arrays.fingerprint
    assert copy.arrays.formulas.combination.tolist() == [[0.5] * 3] * 2


def test_it_reads_states_inside_a_keras_model(tmp_path):
    layer = InterestState(Exponential("1d"), dim=2)
    spec = layer.spec
    inputs = State(
        *(tf_keras.Input(one.shape[1:], dtype=one.dtype, name=one.name) for one in spec)
    )
    time = tf_keras.Input([], dtype=tf.int64, name="now")
    model = tf_keras.Model([*inputs, time], layer(inputs, time=time))
    state = layer.update(layer.empty(1), [[[1.0, 2.0]]], [[0]])
    now = tf.constant([DAY], tf.int64)
    assert model([*state, now]).numpy().tolist() == [[1.0, 2.0]]
    assert not model.weights
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    assert loaded([*state, now]).numpy().tolist() == [[1.0, 2.0]]


def test_mixed_precision_keeps_states_exact():
    layer = InterestState(Exponential("1d"), dim=2, dtype="mixed_float16")
    vectors = tf.constant([[[1.0, 2.0], [3.0, 5.0]]], tf.float16)
    state = layer.update(layer.empty(1), vectors, [[0, DAY]])
    assert (state.mean.dtype, state.log_weight.dtype) == (tf.float32, tf.float64)
    read = layer(state, time=tf.constant([DAY], tf.int64))
    assert read.dtype == tf.float16
    assert read.numpy() == approx(np.array([[7 / 3, 4.0]]), rel=1e-3)


# From a pooling layer


@pytest.mark.parametrize(
    ("decay", "options"),
    [
        (Exponential("7d", trainable=True), {}),
        (Exponential("7d", per_feature=True, trainable=True), {"normalize": "l2"}),
        (Mixture(["1d", "30d"], trainable=True), {"normalize": "sum"}),
        (Gaussian("30d", trainable=True), {"prior_mass": 0.5, "prior": "learned"}),
        ([Exponential("7d", trainable=True), Constant(), Window("9d")], {}),
        ([Exponential("7d", trainable=True)], {"combine": "stack"}),
        (
            Exponential({"cart": "1d", "*": "9d"}, trainable=True),
            {
                "action_weights": {"cart": 1.0, "browse": 0.3, "ad": 0.0},
                "unknown_action": "ignore",
                "learn_action_weights": True,
            },
        ),
    ],
    ids=str,
)
def test_the_state_of_a_pooling_layer_reads_what_it_pools(decay, options):
    pooling = TimeDecayPooling(decay, **options)
    pooling.build([None, None, DIM])
    random = np.random.default_rng(2)
    pooling.set_weights(
        [one + random.normal(size=one.shape) for one in pooling.get_weights()]
    )
    events = some_events(3, 9)
    now = np.full(USERS, 101 * DAY)
    expected = pooling(
        events["vectors"],
        timestamps=events["times"],
        query_time=now,
        actions=events["actions"],
        mask=events["mask"],
    )

    layer = InterestState.of(pooling, name="state")
    state = layer.empty(USERS)
    for part in (slice(0, 5), slice(5, None)):
        state = layer.update(
            state, **{key: one[:, part] for key, one in events.items()}
        )
    assert layer.name == "state"
    assert layer.read(state, now).numpy() == approx(
        expected.numpy(), rel=1e-4, abs=1e-5
    )


def test_what_a_pooling_layer_offers_is_handed_on():
    pooling = SimpleNamespace(
        built=True,
        decay=[Exponential("7d", trainable=True), Constant()],
        learned_decays=lambda: [Exponential("3d"), Constant()],
        dim=2,
        action_weights={"buy": 2.0},
        unknown_action="ignore",
        normalize="mean",
        prior_mass=0.5,
        prior_vector=lambda: np.array([1.0, 2.0]),
        combination=lambda: np.array([[0.5, 1.0], [0.5, 0.0]]),
    )
    layer = InterestState.of(pooling, capacity=9, horizon="1y")
    config = layer.get_config()
    assert [
        one.decay for one in layer.arrays.formulas.heads
    ] == pooling.learned_decays()
    assert config["action_weights"] == {"buy": 2.0}
    assert config["unknown_action"] == "ignore"
    assert (config["dim"], config["capacity"], config["horizon"]) == (2, 9, YEAR)
    assert (config["prior_mass"], config["prior"]) == (0.5, [1.0, 2.0])
    assert config["combination"] == [[0.5, 1.0], [0.5, 0.0]]


def test_a_pooling_layer_without_variables_is_refused():
    with pytest.raises(ValueError, match="pooling has no variables yet: call it"):
        InterestState.of(TimeDecayPooling(Exponential("7d")))


def test_a_history_in_the_graph_is_the_history_pooled():
    layer = layer_of("exponential per feature")
    history = some_history(1_000, seed=4)
    state = layer.empty(1)
    for part in np.array_split(np.arange(1_000), 40):
        state = layer.update(
            state, history.vectors[None, part], history.times[None, part]
        )
    weights = weights_of("exponential per feature", history, 10 * YEAR)
    read = layer.read(state, 10 * YEAR).numpy()[0]
    bound = 1e-5 * mean_of(weights, np.abs(history.vectors))
    assert (np.abs(read - mean_of(weights, history.vectors)) <= bound).all()


# What is refused


EVENT = {"vectors": np.ones((1, 1, 2), "f"), "times": [[5]], "actions": [["buy"]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": np.ones((1, 2), "f")}, r"shape \(1, 2\): .* \[batch, n, 2\]"),
        (
            {"vectors": np.ones((1, 1, 3), "f")},
            r"shape \(1, 1, 3\): .* \[batch, n, 2\]",
        ),
        ({"times": [[1.5]]}, "times is float64"),
        (
            {"times": np.zeros((1, 1), "datetime64[s]")},
            r"times is datetime64\[s\]: give",
        ),
        ({"times": [5]}, r"times has the shape \(1,\)"),
        ({"mask": [True]}, r"mask has the shape \(1,\): give \[batch, n\]"),
        ({"actions": None}, r"actions are needed: .* on \['browse', 'buy'\]"),
        ({"actions": [[1]]}, "actions are int64: give strings"),
    ],
)
def test_events_that_cannot_fit_are_refused(arguments, message):
    layer = InterestState(
        Exponential("1d"), dim=2, action_weights={"buy": 1.0, "browse": 0.5}
    )
    with pytest.raises(ValueError, match=message):
        layer.update(layer.empty(1), **{**EVENT, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [[1_700_000_000_000]]}, "times looks like milliseconds"),
        ({"times": [[-(2**63)]]}, "times looks like milliseconds"),
        ({"times": [[5, 6]]}, "times must agree with the others in shape"),
        ({"mask": [[True, True]]}, "mask must agree with the others in shape"),
        ({"actions": [["buy"] * 2]}, "actions must agree with the others in shape"),
        (
            {"actions": [["gaze"]]},
            "(?s)one without a weight.* browse, buy,.* It is:.*gaze",
        ),
        ({"vectors": np.full((1, 1, 2), np.nan, "f")}, "numbers that are not finite"),
        ({"vectors": np.ones((2, 1, 2), "f")}, "state.time must agree"),
        ({"event_weights": [[-1.0]]}, "event_weights must be finite, 0 or more"),
        ({"event_weights": [[1.0, 2.0]]}, "event_weights must agree with the others"),
    ],
)
@pytest.mark.parametrize("graph", [False, True])
def test_events_that_do_not_fit_are_refused_at_run_time(arguments, message, graph):
    layer = InterestState(
        Exponential("1d"), dim=2, action_weights={"buy": 1.0, "browse": 0.5}
    )
    given = {name: tf.constant(one) for name, one in {**EVENT, **arguments}.items()}
    given["times"] = tf.constant({**EVENT, **arguments}["times"], tf.int64)

    def update(state, events):
        return layer.update(state, **events)

    if graph:
        loose = {
            name: tf.TensorSpec([None] * len(one.shape), one.dtype)
            for name, one in given.items()
        }
        update = tf.function(update, input_signature=[layer.spec, loose])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        update(layer.empty(1), given)


@pytest.mark.parametrize("graph", [False, True])
def test_times_beyond_int64_are_refused(graph):
    layer = InterestState(Exponential("1d"), dim=1)
    # As int64 it would be -5, five seconds before the epoch.
    times = tf.constant([[2**64 - 5]], tf.uint64)

    def update(mask):
        return layer.update(layer.empty(1), [[[1.0]]], times, mask=mask)

    update = tf.function(update) if graph else update
    with pytest.raises(tf.errors.InvalidArgumentError, match="times looks like milli"):
        update([[True]])
    # Padding's time may be anything.
    assert_alike(update([[False]]), layer.arrays.empty((1,)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="time looks like millis"):
        layer.read(layer.empty(1), times[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "NoneType"), ({}, "dict"), ((1, 2), "tuple"), (np.zeros(3), "ndarray")],
)
def test_what_is_no_state_is_refused(given, said):
    layer = InterestState(Exponential("1d"), dim=1)
    for name, method in [
        ("state", lambda: layer.update(given, [[[1.0]]], [[0]])),
        ("state", lambda: layer.decay_to(given, 0)),
        ("state", lambda: layer.read(given, 0)),
        ("state", lambda: layer.weight(given, 0)),
        ("state", lambda: layer.call(given, 0)),
        ("one", lambda: layer.merge(given, layer.empty(1))),
        ("other", lambda: layer.merge(layer.empty(1), given)),
    ]:
        with pytest.raises(
            TypeError, match=rf"^{name} is a {said}: hand in a State, .* of 9 fields"
        ):
            method()


def test_a_sum_that_float32_cannot_hold_is_infinite():
    layer = InterestState(Exponential("1d"), dim=1, normalize="sum")
    most = float(np.finfo(np.float32).max)
    state = layer.update(layer.empty(1), [[[most], [most]]], [[0, 0]])
    assert layer.read(state, [0]).numpy().tolist() == [[np.inf]]
    assert layer.read(state, [2 * DAY]).numpy() == approx(most / 2)


def test_a_time_before_the_clock_is_refused():
    layer = InterestState(Exponential("1d"), dim=1)
    state = layer.update(layer.empty(2), np.ones((2, 1, 1), "f"), [[5], [9]])
    for method in (layer.read, layer.weight, layer.decay_to):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="earlier than the clock of its state"
        ):
            method(state, [9, 8])
        in_graph = tf.function(
            method, input_signature=[layer.spec, tf.TensorSpec([None], tf.int64)]
        )
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="earlier than the clock of its state"
        ):
            in_graph(state, tf.constant([9, 8], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="time must agree"):
        layer.read(state, [9, 9, 9])
    with pytest.raises(tf.errors.InvalidArgumentError, match="looks like milliseconds"):
        layer.read(state, 1_700_000_000_000)
    with pytest.raises(ValueError, match="time is float64"):
        layer.read(state, [9.0, 9.0])


def test_a_state_of_something_else_is_refused():
    layer = InterestState(Exponential("1d"), dim=1)
    other = InterestState(Exponential("1d"), dim=2).empty(1)
    with pytest.raises(
        ValueError,
        match=r"state.mean is float32 of shape \(1, 1, 2\), and here it is float32 of "
        r"shape \(None, 1, 1\): hand in what",
    ):
        layer.read(other, 0)
    state = layer.empty(1)
    wrong = state._replace(log_weight=tf.cast(state.log_weight, tf.float32))
    with pytest.raises(ValueError, match=r"other\.log_weight is float32"):
        layer.merge(state, wrong)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"other\.time must agree"):
        layer.merge(state, layer.empty(2))
    mixed = state._replace(mean=layer.empty(2).mean)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must hold as many users"):
        layer.read(mixed, 0)


def test_actions_of_these_tests_are_known():
    assert set(some_events(0, 50)["actions"].ravel()) == set(ACTIONS)
