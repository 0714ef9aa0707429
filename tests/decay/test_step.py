"""The window and the logistic step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import Elapsed, Logistic, Window
from tfrs_decay.layers import TimeDecayPooling
from tfrs_decay.layers.tensors import TENSORS

DAY = 86_400


def test_a_window_ends_at_its_length() -> None:
    weight = Window("7d").weight([0, 7 * DAY - 1, 7 * DAY, 8 * DAY])
    assert weight.tolist() == [1, 1, 0, 0]


def test_the_last_five_events() -> None:
    assert Window(5, by="rank").weight([0, 4, 5, 6]).tolist() == [1, 1, 0, 0]


def test_each_feature_and_each_action_has_its_window() -> None:
    assert Window(["1d", "2d"]).weight([1.5 * DAY]).tolist() == [[0, 1]]
    of_action = Window({"buy": "2d", "*": "1d"})
    weight = of_action.weight([1.5 * DAY] * 2, action=["buy", "look"])
    assert weight.tolist() == [1, 0]


@pytest.mark.parametrize(("wanted", "longer"), [("old", True), ("new", False)])
def test_a_window_learns_from_what_is_inside(wanted: str, longer: bool) -> None:
    # Two events inside, one outside. Who wants the older to count more, lengthens it.
    age = tf.constant([1.0 * DAY, 6.5 * DAY, 30.0 * DAY], tf.float64)
    log_length = tf.Variable(math.log(7 * DAY), dtype=tf.float64)
    with tf.GradientTape() as tape:
        parameters = {"log_length": log_length}
        log_weight = Window("7d").formula(Elapsed(age), parameters, TENSORS)
        share = tf.nn.softmax(log_weight)
        gain = share[1] if wanted == "old" else share[0]
    np.testing.assert_array_equal(share, [0.5, 0.5, 0])
    assert (float(tape.gradient(gain, log_length)) > 0) == longer


@pytest.mark.parametrize(
    "one",
    [
        Window(1, by="rank", trainable=True),
        Window(1, by="rank", trainable=True, per_feature=True),
        Window({"buy": 0.5, "*": 1}, by="rank", trainable=True),
    ],
    ids=repr,
)
def test_a_window_of_one_event_has_nothing_to_learn(one: Window) -> None:
    # Only rank 0 is inside, whatever becomes of the length.
    assert one.initial_parameters(2) == {}
    assert "learned" not in one.describe({})
    pool = TimeDecayPooling(one)
    pool.build([None, None, 2])
    assert not pool.trainable_variables and "learned" not in pool.describe()
    assert pool.learned_decays()[0].weight(0, **dict.fromkeys(one.groups, "buy")) == (
        pytest.approx(1)
    )
    longer = Window([1, 2], by="rank", trainable=True)
    assert list(longer.initial_parameters(2)) == ["log_length"]
    # Ages need not be whole.
    assert Window("1s", trainable=True).initial_parameters(2)


def test_a_logistic_step_by_hand() -> None:
    # (1 + e^-2) / (1 + e^((age - m) / s)) with m = 2 s: at m + s, (1 + e^-2)/(1 + e).
    weight = Logistic("2d", "1d").weight([0, 2 * DAY, 3 * DAY])
    top = 1 + math.exp(-2)
    assert weight == pytest.approx([1, top / 2, top / (1 + math.e)])


def test_a_narrow_logistic_step_is_nearly_a_window() -> None:
    age = np.array([0, 6.9, 7.1, 20]) * DAY
    step = Logistic("7d", "1m").weight(age)
    assert step == pytest.approx(Window("7d").weight(age), abs=1e-12)


@given(st.floats(1, 1e8), st.floats(0.05, 0.5))
def test_far_out_a_logistic_step_fades_like_an_exponential(
    midpoint: float, narrow: float
) -> None:
    decay = Logistic(midpoint, narrow * midpoint)
    far = np.array([20.0, 21.0]) * narrow * midpoint + midpoint
    before, after = decay.log_weight(far)
    assert after - before == pytest.approx(-1, rel=1e-6)


def test_a_step_is_no_sum_of_exponentials() -> None:
    assert Window("7d").terms() is None and Logistic("7d", "1d").terms() is None


def test_they_show_themselves() -> None:
    assert repr(Window(5, by="rank")) == "Window(5, by='rank')"
    assert repr(Logistic("30d", "36h")) == "Logistic('30d', width='1.5d')"
    assert Window(1, by="rank").describe() == "window, length 1 event"
    assert Logistic("30d", "3d").describe() == "logistic, midpoint 30d, width 3d"


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="length=0 must be finite and longer"):
        Window(0)
    with pytest.raises(ValueError, match=r"midpoint='7d' is a duration, and by='rank'"):
        Logistic("7d", 3, by="rank")
    with pytest.raises(ValueError, match="there are midpoint 2 and width 3: give one"):
        Logistic(["1d", "2d"], ["1d", "2d", "3d"])
