"""What is true of every family."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.arithmetic import NUMPY
from tfrs_decay.decay import (
    NEVER,
    Constant,
    Decay,
    Elapsed,
    Exponential,
    Gaussian,
    Labels,
    Linear,
    LogBucketed,
    Logistic,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.layers.tensors import TENSORS

DAY = 86_400
YEAR = 365 * DAY
DIM = 2

FLAGGED: list[Callable[..., Decay]] = [
    lambda **flags: Exponential("7d", **flags),
    lambda **flags: PowerLaw("1h", 0.25, **flags),
    lambda **flags: Gaussian("30d", **flags),
    lambda **flags: Linear("90d", **flags),
    lambda **flags: Window("90d", **flags),
    lambda **flags: Logistic("30d", "3d", **flags),
    lambda **flags: Mixture(["1h", "1d"], **flags),
    lambda **flags: LogBucketed(**flags),
    lambda **flags: Sum([Exponential("1d"), Constant()], **flags),
]


@pytest.mark.parametrize("make", FLAGGED)
@pytest.mark.parametrize("wrong", ["no", 1, 0.0, None])
def test_what_is_learned_is_a_yes_or_a_no(
    make: Callable[..., Decay], wrong: Any
) -> None:
    with pytest.raises(TypeError, match=f"trainable is {wrong!r}, a .*: give a bool"):
        make(trainable=wrong)
    assert make(trainable=np.True_) == make(trainable=True)
    if "per_feature" in make().get_config():
        with pytest.raises(TypeError, match=f"per_feature is {wrong!r}, a .*: give a"):
            make(per_feature=wrong)


FIXED: list[Decay] = [
    Constant(),
    Exponential("7d"),
    Exponential("1s"),
    Exponential(["1d", "90d"]),
    Exponential("36h", per_feature=True),
    Exponential(5, by="rank"),
    Exponential({"buy": "30d", "*": "1d"}),
    PowerLaw("1h", 0.25),
    PowerLaw(["1h", "1d"], [0.25, 2]),
    PowerLaw({"milk": "1d", "*": "1h"}, 0.5, group="category"),
    PowerLaw(1, 0.5, by="rank"),
    Gaussian("30d"),
    Gaussian("30d", offset="1d", decay=0.1),
    Gaussian(["1h", "50y"]),
    Linear("90d"),
    Linear(20, offset=3, by="rank"),
    Linear({"buy": "30d", "*": "1y"}, offset="1d"),
    Window("90d"),
    Window(5, by="rank"),
    Window(["1h", "50y"]),
    Logistic("30d", "3d"),
    Logistic("1s", "50y"),
    Logistic("50y", "1s"),
    Logistic(10, 2, by="rank"),
    Logistic(["1d", "30d"], "1d"),
    Mixture(["1h", "1d", "1y"], [0.5, 0.3, 0.2]),
    Mixture(["1h", "1y"], [[0.5, 0.5], [0.01, 0.99]]),
    Mixture([1, 20], by="rank"),
    LogBucketed(),
    LogBucketed([1, 1, 0.5, 0.25], by="rank"),
    Sum([Exponential("1d"), Constant()], [0.8, 0.2]),
    Sum([Window("1d"), Gaussian("30d"), Exponential(["1d", "2d"])]),
    Product([Exponential("7d"), PowerLaw("1h", 0.25)]),
    Product([Exponential("7d"), Window(5, by="rank")]),
    Product(
        [
            Exponential({"buy": "30d", "*": "1d"}),
            Sum([PowerLaw(["1h", "1d"], 0.5), Linear(20, by="rank")]),
        ]
    ),
]
LEARNED: list[Decay] = [
    Exponential("7d", trainable=True),
    Exponential("50y", trainable=True),
    Exponential(["1d", "90d"], trainable=True),
    Exponential("36h", trainable=True, per_feature=True),
    Exponential({"buy": "30d", "*": "1d"}, trainable=True),
    PowerLaw("1h", 0.25, trainable=True),
    PowerLaw(5, [0.25, 2], trainable=True, by="rank"),
    PowerLaw({"milk": "1d", "*": "1h"}, 0.5, trainable=True, group="category"),
    Gaussian("30d", offset="1d", trainable=True),
    Linear("90d", trainable=True, per_feature=True),
    Window("90d", trainable=True),
    Logistic("30d", "3d", trainable=True),
    Logistic({"buy": 9, "*": 3}, 2, by="rank", trainable=True),
    Mixture(["1h", "1d", "1y"], [0.5, 0.3, 0.2], trainable=True),
    Mixture(["1h", "1y"], trainable=True, per_feature=True),
    LogBucketed(trainable=True),
    LogBucketed([1, 0.9, 0.5, 0.25], by="rank", trainable=True),
    Sum([Exponential("1d", trainable=True), Constant()], [0.8, 0.2], trainable=True),
    Sum([Exponential("1d"), Mixture(["1h", "1y"], trainable=True)], trainable=True),
    Product(
        [
            Exponential("7d", trainable=True),
            Sum([PowerLaw(["1h", "1d"], 0.5, trainable=True), Constant()]),
            Window(5, by="rank"),
        ]
    ),
]
every_family = pytest.mark.parametrize("decay", FIXED + LEARNED, ids=repr)
every_learned = pytest.mark.parametrize("decay", LEARNED, ids=repr)
few = settings(max_examples=20, deadline=None)
# Whole seconds, as the layer sees them, and what lies between.
ages = st.lists(
    st.one_of(st.integers(0, 100 * YEAR), st.floats(0, 100 * YEAR)),
    min_size=1,
    max_size=20,
)


def names_of(decay: Decay, name: str = "buy") -> dict[str, str]:
    return {group: name for group in decay.groups}


def weight_of(decay: Decay, elapsed: Any, name: str = "buy") -> np.ndarray:
    """Weights where the age and the rank, if it runs over both, are one number."""
    elapsed = np.asarray(elapsed, np.float64)
    rank = {"rank": elapsed} if len(decay.clocks) > 1 else {}
    return np.asarray(decay.weight(elapsed, **rank, **names_of(decay, name)))


def elapsed_of(
    decay: Decay, elapsed: Any, xp: Any = NUMPY, dtype: Any = None
) -> Elapsed:
    """Ages and ranks that are one number, every other event a known name's."""
    elapsed = np.asarray(elapsed, np.float64)
    places = np.arange(elapsed.size).reshape(elapsed.shape) % 2
    labels = {
        group: Labels(names, places.astype(np.int32))
        for group, names in decay.groups.items()
    }
    if xp is NUMPY:
        return Elapsed(elapsed, elapsed, labels)
    tensor = tf.constant(elapsed, dtype)
    labels = {
        group: Labels(one.names, tf.constant(one.place))
        for group, one in labels.items()
    }
    return Elapsed(tensor, tensor, labels)


def moved(decay: Decay, seed: int) -> dict[str, np.ndarray]:
    """Learned values somewhere else than where they start, in float64."""
    chance = np.random.default_rng(seed)
    return {
        name: value + chance.uniform(-3, 3, value.shape)
        for name, value in decay.initial_parameters(DIM).items()
    }


@every_family
@few
@given(ages=ages, name=st.sampled_from(["buy", "milk", "?"]))
def test_never_above_one_below_nothing_or_rising(
    decay: Decay, ages: list[float], name: str
) -> None:
    weight = weight_of(decay, sorted(ages), name)
    assert (weight <= 1).all() and (weight >= 0).all()
    # Sums of several exponentials round.
    assert (np.diff(weight, axis=0) <= 1e-15).all()


@every_learned
@few
@given(ages=ages, seed=st.integers(0, 99))
def test_nor_with_anything_that_is_learned(
    decay: Decay, ages: list[float], seed: int
) -> None:
    ordered = np.repeat(np.sort(ages), 2)  # both names at each age
    log_weight = decay.formula(elapsed_of(decay, ordered), moved(decay, seed))
    weight = np.exp(log_weight)
    assert (weight <= 1).all() and (weight >= 0).all()
    for of_name in (weight[::2], weight[1::2]):
        assert (np.diff(of_name, axis=0) <= 1e-12).all()


@every_family
def test_an_event_of_this_moment_weighs_one(decay: Decay) -> None:
    for name in ("buy", "milk", "?"):
        weight = weight_of(decay, [0.0], name)
        np.testing.assert_allclose(weight, 1, rtol=1e-15)


@every_family
def test_weights_have_the_shape_of_ages_and_features(decay: Decay) -> None:
    for shape in [(), (3,), (2, 3), (0,)]:
        found = weight_of(decay, np.ones(shape)).shape
        assert found[: len(shape)] == shape
        assert found[len(shape) :] in ([(1,), (DIM,)] if decay.per_feature else [()])


@every_family
def test_what_it_is_can_be_written_down_and_read_again(decay: Decay) -> None:
    config = json.loads(json.dumps(decay.get_config()))
    again = type(decay).from_config(config)
    assert again == decay and hash(again) == hash(decay) and repr(again) == repr(decay)
    assert json.loads(json.dumps(again.get_config())) == config
    age = [0.0, 1.0, DAY, 9.0 * DAY]
    np.testing.assert_array_equal(weight_of(again, age), weight_of(decay, age))


def test_all_are_different() -> None:
    everything = FIXED + LEARNED
    assert len(set(everything)) == len(everything)
    assert [one for one in everything for other in everything if one == other] == (
        everything
    )


@every_family
def test_it_describes_itself(decay: Decay) -> None:
    assert "learned" not in decay.describe()
    start = decay.initial_parameters(DIM)
    assert ("learned" in decay.describe(start)) == bool(start)


@pytest.mark.parametrize("decay", FIXED, ids=repr)
def test_nothing_is_learned_unless_asked_for(decay: Decay) -> None:
    assert decay.initial_parameters(DIM) == {}
    np.testing.assert_array_equal(
        weight_of(decay.with_parameters({}), [0, DAY]), weight_of(decay, [0, DAY])
    )


@every_learned
def test_learning_starts_where_the_plain_object_is(decay: Decay) -> None:
    start = decay.initial_parameters(DIM)
    assert start and all(value.dtype == np.float32 for value in start.values())
    elapsed = elapsed_of(decay, [0, 0, 1, 2, 3_600, DAY, 30 * DAY, 3 * YEAR])
    started = np.exp(decay.formula(elapsed, start))
    plain = np.broadcast_to(np.exp(decay.formula(elapsed)), started.shape)
    # A bucket starts a ten thousandth below the one before it.
    spread = 63e-4 if isinstance(decay, LogBucketed) else 1e-5
    np.testing.assert_allclose(started, plain, rtol=spread, atol=1e-6)


@every_learned
@few
@given(seed=st.integers(0, 999))
def test_what_was_learned_can_be_fixed(decay: Decay, seed: int) -> None:
    learned = moved(decay, seed)
    fixed = decay.with_parameters(learned)
    assert type(fixed) is type(decay) and fixed.initial_parameters(DIM) == {}
    json.dumps(fixed.get_config())
    elapsed = elapsed_of(decay, [0, 0, 1, 2, 3_600, DAY, 30 * DAY, 3 * YEAR])
    np.testing.assert_allclose(
        np.exp(fixed.formula(elapsed)),
        np.exp(decay.formula(elapsed, learned)),
        rtol=1e-9,
        atol=1e-15,
    )


AGES = np.array([0, 0, 1, 1, 2, 3, 7, 59, 3_600, 5_000, DAY, 8 * DAY, YEAR, 50 * YEAR])


@every_family
def test_arrays_and_tensors_have_one_formula(decay: Decay) -> None:
    for parameters in (None, moved(decay, 1) or None):
        in_numpy = decay.formula(elapsed_of(decay, AGES), parameters)
        tensors = {
            name: tf.constant(value, tf.float64)
            for name, value in (parameters or {}).items()
        }
        elapsed = elapsed_of(decay, AGES, TENSORS, tf.float64)
        in_tensors = decay.formula(elapsed, tensors, TENSORS)
        assert in_tensors.dtype == tf.float64
        # What is far below any weight is no weight in both.
        np.testing.assert_allclose(
            np.maximum(in_tensors, NEVER / 2),
            np.maximum(in_numpy, NEVER / 2),
            rtol=1e-11,
            atol=1e-14,
        )


@every_family
def test_float32_is_near_and_finite(decay: Decay) -> None:
    for parameters in (None, decay.initial_parameters(DIM) or None):
        exact = np.exp(decay.formula(elapsed_of(decay, AGES), parameters))
        tensors = {
            name: tf.constant(value) for name, value in (parameters or {}).items()
        }
        elapsed = elapsed_of(decay, AGES, TENSORS, tf.float32)
        log_weight = decay.formula(elapsed, tensors, TENSORS)
        assert log_weight.dtype == tf.float32
        assert np.isfinite(log_weight).all() and (log_weight.numpy() <= 0).all()
        np.testing.assert_allclose(np.exp(log_weight), exact, rtol=0, atol=1e-5)


def scaled_families(unit: float) -> list[Decay]:
    """The same shapes, their extents all so many times a unit."""
    return [
        Exponential(unit),
        Exponential([unit, 5 * unit]),
        PowerLaw(unit, 0.3),
        Gaussian(unit, offset=unit / 3, decay=0.2),
        Linear(7 * unit, offset=unit),
        Window(unit),
        Logistic(unit, unit / 5),
        Mixture([unit, 30 * unit], [0.9, 0.1]),
        Sum([Exponential(unit), PowerLaw(3 * unit, 2)], [0.2, 0.8]),
        Product([Gaussian(unit), Exponential(unit)]),
    ]


@few
@given(
    ages=st.lists(st.floats(0, 100 * YEAR), min_size=1, max_size=20),
    unit=st.floats(1, YEAR),
    times=st.integers(-9, 9).map(lambda power: 2.0**power),
)
def test_time_has_no_unit_of_its_own(
    ages: list[float], unit: float, times: float
) -> None:
    # Powers of two, so that scaling rounds nothing and the two are the same number.
    age = np.array(ages)
    both = zip(scaled_families(unit), scaled_families(unit * times), strict=True)
    for decay, scaled in both:
        # But for what is too small for a full mantissa.
        np.testing.assert_allclose(
            scaled.log_weight(age * times), decay.log_weight(age), rtol=0, atol=1e-300
        )


EXTENTS = {"1 s": 1, "1 h": 3_600, "1 y": YEAR, "50 y": 50 * YEAR}


@pytest.mark.parametrize("family", sorted({type(one) for one in FIXED}, key=str))
def test_a_family_tells_its_source(family: type[Decay]) -> None:
    # What a plain mean is needs no source.
    told = inspect.getdoc(family) or ""
    assert ("\nReferences:\n" in told) == (family is not Constant)


def learnable(extent: float) -> list[Decay]:
    return [
        Exponential(extent, trainable=True),
        Exponential(extent, trainable=True, per_feature=True),
        PowerLaw(extent, 0.25, trainable=True),
        Gaussian(extent, trainable=True),
        Gaussian(extent, offset=extent, decay=0.1, trainable=True),
        Linear(extent, trainable=True),
        Linear(extent, trainable=True, per_feature=True),
        Window(extent, trainable=True),
        Logistic(extent, extent / 10, trainable=True),
        Logistic(extent, 50 * YEAR, trainable=True),
        Mixture([extent, 50 * YEAR], trainable=True),
        Mixture([1, extent], trainable=True, per_feature=True),
        LogBucketed.like(Exponential(max(extent, DAY)), buckets=30, trainable=True),
        Sum([Window(extent, trainable=True), Exponential("1s")], trainable=True),
        Product([Linear(extent, trainable=True), Exponential("1s", trainable=True)]),
        Exponential({"buy": extent, "*": "1d"}, trainable=True),
    ]


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("extent", EXTENTS.values(), ids=EXTENTS)
def test_gradients_are_finite_at_every_age_and_scale(
    extent: float, dtype: tf.DType
) -> None:
    age = [0, 0, 1, 1, 50 * YEAR, 50 * YEAR]
    for decay in learnable(extent):
        variables = {
            name: tf.Variable(tf.constant(value, dtype))
            for name, value in decay.initial_parameters(DIM).items()
        }
        with tf.GradientTape() as tape:
            elapsed = elapsed_of(decay, age, TENSORS, dtype)
            log_weight = decay.formula(elapsed, variables, TENSORS)
            log_weight = tf.reshape(log_weight, [len(age), -1])
            share = tf.nn.softmax(log_weight, axis=0)
            value = tf.cast(tf.range(len(age))[:, None], dtype)
            loss = tf.reduce_sum(share * value) + tf.reduce_sum(tf.exp(log_weight))
        gradients = tape.gradient(loss, variables)
        assert np.isfinite(loss), decay
        for name, gradient in gradients.items():
            assert np.isfinite(gradient).all(), (decay, name)


def shape_of(family: str, extent: float) -> Decay:
    made: dict[str, Callable[[], Decay]] = {
        "exponential": lambda: Exponential(extent, trainable=True),
        "power law": lambda: PowerLaw(extent, 1, trainable=True),
        "gaussian": lambda: Gaussian(extent, trainable=True),
        "linear": lambda: Linear(extent, trainable=True),
        "window": lambda: Window(extent, trainable=True),
        "logistic": lambda: Logistic(extent, extent / 3, trainable=True),
        "by action": lambda: Exponential({"buy": extent, "*": extent}, trainable=True),
        "sum": lambda: Sum(
            [Exponential(extent, trainable=True), Window("1m")], [0.9, 0.1]
        ),
    }
    return made[family]()


@pytest.mark.parametrize(("start", "end"), [(1, YEAR), (YEAR, 1)], ids=["up", "down"])
@pytest.mark.parametrize(
    "family",
    [
        "exponential",
        "power law",
        "gaussian",
        "linear",
        "window",
        "logistic",
        "by action",
        "sum",
    ],
)
def test_learning_does_not_stall_between_a_second_and_a_year(
    family: str, start: float, end: float
) -> None:
    # The mean logarithm of the age, weighted by a decay of the one scale, is to become
    # that of the other: what a pooling layer has to learn from.
    decay = shape_of(family, start)
    age = np.geomspace(0.1, 50 * YEAR, 120)
    where = np.linspace(-1, 1, 120)
    wanted = np.exp(shape_of(family, end).formula(elapsed_of(decay, age)))
    aim = float(wanted @ where / wanted.sum())
    variables = {
        name: tf.Variable(value) for name, value in decay.initial_parameters(1).items()
    }
    optimizer = tf_keras.optimizers.Adam(0.1)
    optimizer.build(list(variables.values()))
    elapsed = elapsed_of(decay, age, TENSORS, tf.float64)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            doubles = {
                name: tf.cast(one, tf.float64) for name, one in variables.items()
            }
            share = tf.nn.softmax(decay.formula(elapsed, doubles, TENSORS))
            loss = (tf.reduce_sum(share * where) - aim) ** 2
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients((gradients[one], variables[one]) for one in variables)
        return loss

    losses = [float(step()) for _ in range(500)]
    # Two hundredths of the way from the least age to the greatest are a factor of 1.5.
    assert math.sqrt(min(losses[-50:])) < 0.02
    assert math.sqrt(losses[0]) > 0.5
    if family == "exponential":
        learned = float(np.exp(variables["log_half_life"]))
        assert end / 1.5 < learned < 1.5 * end


def test_never_is_finite_in_float32() -> None:
    assert np.isfinite(np.float32(NEVER)) and np.exp(np.float32(NEVER)) == 0
