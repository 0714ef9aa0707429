"""`tfrs_decay.decay`: hand arithmetic, and what is true of every family."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import Constant, Decay, Exponential

DAY = 86_400
YEARS = 365 * DAY
FAMILIES: list[Decay] = [
    Constant(),
    Exponential("7d"),
    Exponential("1s"),
    Exponential("50y", trainable=True),
    Exponential(["1d", "90d"]),
    Exponential("36h", trainable=True, per_feature=True),
]
ages = st.lists(st.floats(0, 100 * YEARS), min_size=1, max_size=20)
every_family = pytest.mark.parametrize("decay", FAMILIES, ids=repr)


def test_an_exponential_halves_every_half_life() -> None:
    weight = Exponential("7d").weight([0, 7 * DAY, 14 * DAY, 3.5 * DAY])
    assert weight == pytest.approx([1, 1 / 2, 1 / 4, 1 / math.sqrt(2)])


def test_the_articles_example() -> None:
    # u(0) = [.8, .6, .4] at lambda = .1: what follows from the formula, which is not
    # what the article prints.
    u = np.array([0.8, 0.6, 0.4])
    decay = Exponential.from_rate(0.1)
    assert u * decay.weight(1) == pytest.approx([0.7239, 0.5429, 0.3619], abs=5e-5)
    assert u * decay.weight(2) == pytest.approx([0.6550, 0.4912, 0.3275], abs=5e-5)


def test_a_rate_is_per_second() -> None:
    assert Exponential.from_rate(2.0).weight(3.0) == pytest.approx(math.exp(-6.0))
    assert Exponential.from_rate(math.log(2) / DAY).half_life == pytest.approx(DAY)


def test_a_rate_takes_the_same_options() -> None:
    decay = Exponential.from_rate(0.1, trainable=True, per_feature=True)
    assert decay.trainable and decay.per_feature


@pytest.mark.parametrize("rate", [0.0, -0.1, math.inf, math.nan])
def test_a_rate_is_finite_and_positive(rate: float) -> None:
    with pytest.raises(ValueError, match=f"rate_per_second={rate} must be .* above 0"):
        Exponential.from_rate(rate)


def test_a_constant_never_fades() -> None:
    assert Constant().weight([0, 1, 50 * YEARS]).tolist() == [1, 1, 1]


def test_each_feature_has_its_half_life() -> None:
    decay = Exponential(["1d", "2d"])
    assert decay.per_feature
    weight = decay.weight([[0, 2 * DAY]])
    assert weight.shape == (1, 2, 2)
    assert weight.tolist() == [[[1, 1], [pytest.approx(1 / 4), pytest.approx(1 / 2)]]]


def test_a_single_half_life_per_feature_broadcasts() -> None:
    weight = Exponential("1d", per_feature=True).weight([0, DAY, 2 * DAY])
    assert weight.shape == (3, 1)
    assert weight[:, 0] == pytest.approx([1, 1 / 2, 1 / 4])


@every_family
def test_one_age_gives_a_number_and_many_an_array(decay: Decay) -> None:
    if not decay.per_feature:
        assert type(decay.weight(DAY)) is float
    assert decay.weight([DAY] * 3).shape[0] == 3


@pytest.mark.parametrize(
    ("age", "shown"),
    [(-1.0, "-1.0"), ([0.0, -2.0], "-2.0"), (math.nan, "nan"), ([math.inf], "inf")],
)
def test_an_age_is_finite_and_not_negative(age: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=f"age={shown} .* finite seconds, 0 or more"):
        Exponential("7d").weight(age)


@every_family
@given(ages)
def test_never_above_one_and_never_rising_with_age(
    decay: Decay, ages: list[float]
) -> None:
    weight = np.asarray(decay.weight(sorted(ages)))
    assert (weight <= 1).all() and (weight >= 0).all()
    assert (np.diff(weight, axis=0) <= 0).all()


@every_family
def test_an_event_of_this_moment_weighs_one(decay: Decay) -> None:
    assert (np.asarray(decay.weight([0.0])) == 1).all()


@given(
    st.lists(st.floats(0, 10 * YEARS), min_size=1, max_size=9),
    st.floats(1, YEARS),
    st.floats(0.001, 1_000),
)
def test_time_has_no_unit_of_its_own(
    ages: list[float], half_life: float, scale: float
) -> None:
    age = np.array(ages)
    scaled = Exponential(half_life * scale).log_weight(age * scale)
    assert scaled == pytest.approx(Exponential(half_life).log_weight(age), rel=1e-12)


@given(st.floats(0, YEARS), st.floats(0, YEARS), st.floats(60, YEARS))
def test_an_exponential_forgets_in_steps_as_at_once(
    first: float, second: float, half_life: float
) -> None:
    # What the state updated event by event rests on; of this family alone.
    decay = Exponential(half_life)
    in_steps = decay.weight(first) * decay.weight(second)
    assert in_steps == pytest.approx(decay.weight(first + second), rel=1e-9, abs=1e-300)


@every_family
@pytest.mark.parametrize("given_parameters", [False, True])
def test_float32_stays_finite_from_now_to_fifty_years(
    decay: Decay, given_parameters: bool
) -> None:
    age = np.array([0, 1, DAY, 50 * YEARS], np.float32)
    parameters = decay.initial_parameters(2) if given_parameters else None
    log_weight = np.asarray(decay.log_weight(age, parameters))
    assert np.isfinite(log_weight).all()
    assert (log_weight[0] == 0).all() and (log_weight <= 0).all()
    assert np.isfinite(log_weight.astype(np.float32)).all()


def test_nothing_is_learned_unless_asked_for() -> None:
    assert Constant().initial_parameters(3) == {}
    assert Exponential("7d").initial_parameters(3) == {}
    assert Exponential(["1d", "2d", "3d"]).initial_parameters(3) == {}


@pytest.mark.parametrize(
    ("decay", "start"),
    [
        (Exponential("7d", trainable=True), math.log(7 * DAY)),
        (
            Exponential("7d", trainable=True, per_feature=True),
            [math.log(7 * DAY), math.log(7 * DAY)],
        ),
        (
            Exponential(["1d", "2d"], trainable=True),
            [math.log(DAY), math.log(2 * DAY)],
        ),
    ],
)
def test_learning_starts_from_the_half_life(decay: Exponential, start: Any) -> None:
    parameters = decay.initial_parameters(2)
    assert list(parameters) == ["log_half_life"]
    assert parameters["log_half_life"].dtype == np.float32
    assert parameters["log_half_life"].shape == np.shape(start)
    assert parameters["log_half_life"] == pytest.approx(np.array(start), rel=1e-6)


@pytest.mark.parametrize("trainable", [False, True])
def test_half_lives_and_features_agree_in_number(trainable: bool) -> None:
    with pytest.raises(
        ValueError, match=r"names 2 half-lives .* have 3 features: give"
    ):
        Exponential(["1d", "2d"], trainable=trainable).initial_parameters(3)


@pytest.mark.parametrize(
    "decay",
    [Exponential("7d", trainable=True), Exponential(["1d", "9d"], trainable=True)],
    ids=repr,
)
def test_learning_starts_where_the_plain_object_is(decay: Exponential) -> None:
    age = np.array([0.0, DAY, 30 * DAY])
    started = decay.log_weight(age, decay.initial_parameters(2))
    assert started == pytest.approx(decay.log_weight(age), rel=1e-5)


def test_learned_values_replace_those_it_was_made_with() -> None:
    decay = Exponential("7d", trainable=True)
    learned = {"log_half_life": np.float64(math.log(2 * DAY))}
    assert np.exp(decay.log_weight(np.array([DAY * 4.0]), learned)) == pytest.approx(
        [1 / 4]
    )


@every_family
def test_a_family_can_be_written_down_and_made_again(decay: Decay) -> None:
    config = json.loads(json.dumps(decay.get_config()))
    again = type(decay).from_config(config)
    assert again == decay and hash(again) == hash(decay)
    assert again.get_config() == decay.get_config()
    age = [0.0, DAY, 9.0 * DAY]
    assert np.array_equal(again.weight(age), decay.weight(age))


def test_families_are_equal_by_what_they_hold() -> None:
    assert Exponential("7d") == Exponential(604_800) == Exponential("168h")
    assert Constant() == Constant()
    others = [
        Exponential("8d"),
        Exponential("7d", trainable=True),
        Exponential("7d", per_feature=True),
        Exponential(["7d"]),
        Constant(),
        "7d",
        None,
    ]
    assert [other for other in others if other == Exponential("7d")] == []
    assert len({Exponential("7d"), Exponential("168h"), Constant(), Constant()}) == 2


@pytest.mark.parametrize("half_life", [0, -1.0, "soon", "0d", ["7d", "soon"], [0]])
def test_a_half_life_is_a_positive_duration(half_life: Any) -> None:
    wrong = half_life[-1] if isinstance(half_life, list) else half_life
    with pytest.raises(ValueError, match=f"half_life={wrong!r} .*(finite|as in '7d')"):
        Exponential(half_life)


def test_no_half_lives_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"half_life=\[\] names no half-life"):
        Exponential([])


@pytest.mark.parametrize(
    ("decay", "shown"),
    [
        (Constant(), "Constant()"),
        (Exponential(604_800), "Exponential('7d')"),
        (Exponential("90m", trainable=True), "Exponential('1.5h', trainable=True)"),
        (Exponential(["1d", "2w"]), "Exponential(['1d', '14d'], per_feature=True)"),
    ],
)
def test_it_shows_itself_in_peoples_units(decay: Decay, shown: str) -> None:
    assert repr(decay) == shown
    made_again = eval(shown, {"Constant": Constant, "Exponential": Exponential})
    assert made_again == decay


def test_a_decay_describes_what_was_learned() -> None:
    each = {"log_half_life": np.log([86_400.0, 3 * 86_400.0, 9 * 86_400.0])}
    learned = Exponential("7d", trainable=True, per_feature=True).describe(each)
    assert learned == "learned half-life of 3 features 1d to 9d, median 3d"
    one = {"log_half_life": np.log(43_200.0)}
    assert Exponential("7d", trainable=True).describe(one) == "learned half-life 12h"
    assert Exponential("7d").describe() == "half-life 7d"
    assert Constant().describe() == "no decay, a plain mean"
