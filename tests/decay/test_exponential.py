"""The exponential, by hand; what is true of every family is in test_families.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import Constant, Decay, Elapsed, Exponential

DAY = 86_400
YEARS = 365 * DAY


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


def test_by_rank_it_halves_every_so_many_events() -> None:
    decay = Exponential(5, by="rank")
    assert decay.clocks == {"rank"}
    assert decay.weight([0, 5, 10]).tolist() == pytest.approx([1, 1 / 2, 1 / 4])


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


def test_each_action_has_its_half_life() -> None:
    decay = Exponential({"browse": "1d", "purchase": "4d", "*": "2d"})
    assert decay.groups == {"action": ("browse", "purchase")}
    actions = ["browse", "purchase", "gaze", "*"]
    weight = decay.weight([4 * DAY] * 4, action=actions)
    assert weight == pytest.approx([1 / 16, 1 / 2, 1 / 4, 1 / 4])
    assert decay.weight(DAY, action="browse") == pytest.approx(1 / 2)


def test_each_category_has_its_half_life() -> None:
    decay = Exponential({"milk": "1d", "*": "4d"}, group="category")
    assert decay.groups == {"category": ("milk",)}
    weight = decay.weight([4 * DAY] * 2, category=np.array(["milk", "wine"]))
    assert weight == pytest.approx([1 / 16, 1 / 2])


def test_bytes_name_what_strings_name() -> None:
    # As TensorFlow gives strings back.
    decay = Exponential({"café": "1d", "*": "4d"})
    named = np.array(["café".encode(), b"x"])
    assert decay.weight([4 * DAY] * 2, action=named) == pytest.approx([1 / 16, 1 / 2])


def test_it_is_one_term_whatever_is_asked() -> None:
    found = Exponential("1d").terms(max_error=1e-9, horizon="50y")
    assert found is not None and found.max_error == 0
    (term,) = found.terms
    assert float(term.rate) == pytest.approx(math.log(2) / DAY)
    assert float(term.log_share) == 0 and term.conditions == ()


def test_each_group_is_a_term_that_takes_its_events() -> None:
    found = Exponential({"buy": "1d", "*": "2d"}).terms()
    assert found is not None
    assert [float(one.rate) * DAY for one in found.terms] == pytest.approx(
        [math.log(2), math.log(2) / 2]
    )
    conditions = [one.conditions for one in found.terms]
    assert conditions == [(("action", ("buy",), 0),), (("action", ("buy",), 1),)]


def test_each_feature_is_a_rate_of_the_term() -> None:
    found = Exponential(["1d", "2d"]).terms()
    assert found is not None
    (term,) = found.terms
    assert term.rate * DAY == pytest.approx(np.array([math.log(2), math.log(2) / 2]))


def test_over_the_rank_it_is_no_sum_over_time() -> None:
    assert Exponential(5, by="rank").terms() is None


@given(st.floats(0, YEARS), st.floats(0, YEARS), st.floats(60, YEARS))
def test_an_exponential_forgets_in_steps_as_at_once(
    first: float, second: float, half_life: float
) -> None:
    # What the state updated event by event rests on; of this family alone.
    decay = Exponential(half_life)
    in_steps = decay.weight(first) * decay.weight(second)
    assert in_steps == pytest.approx(decay.weight(first + second), rel=1e-9, abs=1e-300)


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
        (
            Exponential({"*": "1d", "buy": "2d"}, trainable=True),
            [math.log(2 * DAY), math.log(DAY)],  # "*" is last
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
        ValueError, match=r"half_life has 2 values .* have 3 features: give one for"
    ):
        Exponential(["1d", "2d"], trainable=trainable).initial_parameters(3)


def test_learned_values_replace_those_it_was_made_with() -> None:
    decay = Exponential("7d", trainable=True)
    learned = {"log_half_life": np.float64(math.log(2 * DAY))}
    log_weight = decay.formula(Elapsed(np.array([DAY * 4.0])), learned)
    assert np.exp(log_weight) == pytest.approx([1 / 4])
    assert decay.with_parameters(learned).weight(DAY * 4) == pytest.approx(1 / 4)


@pytest.mark.parametrize("half_life", [0, -1.0, "soon", "0d", ["7d", "soon"], [0]])
def test_a_half_life_is_a_positive_duration(half_life: Any) -> None:
    wrong = half_life[-1] if isinstance(half_life, list) else half_life
    with pytest.raises(ValueError, match=f"half_life={wrong!r} .*(finite|as in '7d')"):
        Exponential(half_life)


@pytest.mark.parametrize(
    ("decay", "shown"),
    [
        (Constant(), "Constant()"),
        (Exponential(604_800), "Exponential('7d')"),
        (Exponential(5, by="rank"), "Exponential(5, by='rank')"),
        (Exponential("90m", trainable=True), "Exponential('1.5h', trainable=True)"),
        (Exponential(["1d", "2w"]), "Exponential(['1d', '14d'], per_feature=True)"),
        (
            Exponential({"a": "1d", "*": "2d"}, group="category"),
            "Exponential({'a': '1d', '*': '2d'}, group='category')",
        ),
    ],
)
def test_it_shows_itself_in_peoples_units(decay: Decay, shown: str) -> None:
    assert repr(decay) == shown
    made_again = eval(shown, {"Constant": Constant, "Exponential": Exponential})
    assert made_again == decay


def test_many_half_lives_show_themselves_briefly() -> None:
    many = Exponential(np.geomspace(DAY, 64 * DAY, 64))
    assert repr(many) == "Exponential(<64 from 1d to 64d>, per_feature=True)"


def test_a_decay_describes_what_was_learned() -> None:
    each = {"log_half_life": np.log([86_400.0, 3 * 86_400.0, 9 * 86_400.0])}
    learned = Exponential("7d", trainable=True, per_feature=True).describe(each)
    assert learned == "learned half-life of 3 features 1d to 9d, median 3d"
    one = {"log_half_life": np.log(43_200.0)}
    assert Exponential("7d", trainable=True).describe(one) == "learned half-life 12h"
    assert Exponential("7d").describe() == "half-life 7d"
    assert Exponential(1, by="rank").describe() == "half-life 1 event"
    actions = Exponential({"buy": "30d", "*": "7d"})
    assert actions.describe() == "half-life buy 30d / others 7d"
    many = Exponential({**{f"c{n}": DAY for n in range(9)}, "*": DAY}, group="category")
    assert many.describe() == "half-life of 10 categories 1d to 1d, median 1d"
