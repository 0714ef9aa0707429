"""Curves that are known, found again from clicks."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.evaluation import (
    Isotonic,
    Logistic,
    expected_calibration_error,
    reliability,
)


def shown(count, slope=1.5, intercept=-3.0, seed=0):
    """Scores, and clicks of the probability 1 / (1 + e^-(slope score + intercept))."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, count)
    probability = 1 / (1 + np.exp(-(slope * scores + intercept)))
    return scores, rng.random(count) < probability, probability


def test_the_logistic_curve_comes_back():
    read = Logistic(*shown(200_000)[:2])
    assert read.slope == pytest.approx(1.5, abs=0.03)
    assert read.intercept == pytest.approx(-3.0, abs=0.05)
    scores, _, probability = shown(1000, seed=1)
    assert read(scores) == pytest.approx(probability, abs=0.01)


def test_scores_of_another_scale_and_place_change_nothing():
    scores, clicked, _ = shown(500)
    read = Logistic(scores, clicked)
    moved = Logistic(1000 * scores + 1e6, clicked)
    assert moved(1000 * scores + 1e6) == pytest.approx(read(scores), abs=1e-6)


def test_the_logistic_curve_is_the_likeliest():
    from scipy.optimize import minimize

    scores, clicked, _ = shown(300)
    yes, no = clicked.sum(), (~clicked).sum()
    wanted = np.where(clicked, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(weight):
        x = weight[0] * scores + weight[1]
        return (np.logaddexp(0, x) - wanted * x).sum()

    found = minimize(loss, [0.0, 0.0], method="BFGS").x
    read = Logistic(scores, clicked)
    assert [read.slope, read.intercept] == pytest.approx(found, abs=1e-4)


def test_scores_that_part_clicks_without_fault_make_no_step():
    read = Logistic(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]))
    # Clicks count as 3/4, their absence as 1/4.
    assert read(np.array([2.5])) == pytest.approx([0.5])
    low, high = read(np.array([1.5, 3.5]))
    assert 0.2 < low < 0.3 and high == pytest.approx(1 - low)
    all_clicked = Logistic(np.array([1.0, 2.0]), np.array([1, 1]))
    assert all_clicked(np.array([1.0, 9.0])) == pytest.approx([3 / 4, 3 / 4])


def test_the_isotonic_curve_by_hand():
    # Scores of 2 are clicked once in two; 3 and 4 would fall, and share their mean.
    scores = np.array([1, 2, 2, 3, 3, 4, 5])
    clicked = np.array([0, 0, 1, 1, 1, 0, 1])
    order = np.random.default_rng(0).permutation(7)
    read = Isotonic(scores[order], clicked[order])
    assert read.scores.tolist() == [1, 2, 3, 4, 5]
    assert read.probability == pytest.approx([0, 1 / 2, 2 / 3, 2 / 3, 1])
    asked = np.array([-9, 1.5, 3.5, 4.5, 99])
    assert read(asked) == pytest.approx([0, 1 / 4, 2 / 3, 5 / 6, 1])


@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=30),
)
def test_the_isotonic_curve_never_falls_and_keeps_the_clicks(examples):
    scores, clicked = (np.array(column) for column in zip(*examples, strict=True))
    read = Isotonic(scores, clicked)
    assert (np.diff(read.probability) >= 0).all()
    predicted = read(scores)
    assert ((predicted >= 0) & (predicted <= 1)).all()
    assert predicted.sum() == pytest.approx(clicked.sum())


def test_a_curve_of_another_shape_is_found_by_isotonic_alone():
    rng = np.random.default_rng(3)
    scores = rng.random(100_000)
    probability = np.where(scores < 0.5, 0.01, 0.2)
    clicked = rng.random(100_000) < probability
    held_out = rng.random(1000) < np.where(scores[:1000] < 0.5, 0.01, 0.2)
    isotonic, logistic = Isotonic(scores, clicked), Logistic(scores, clicked)
    asked = np.array([0.2, 0.4, 0.6, 0.8])
    assert isotonic(asked) == pytest.approx([0.01, 0.01, 0.2, 0.2], abs=0.02)
    assert np.abs(logistic(asked) - [0.01, 0.01, 0.2, 0.2]).max() > 0.05
    some = scores[:1000]
    assert expected_calibration_error(isotonic(some), held_out) < 0.03


def test_reliability_by_hand():
    probability = np.array([0.9, 0.1, 0.1, 0.1, 0.3, 0.5])
    clicked = np.array([1, 0, 1, 0, 0, 1])
    # Three bins would begin at the 1st, 3rd and 5th: the 3rd is one of three equals.
    first, last = reliability(probability, clicked, bins=3)
    assert first == (0.1, 0.3, 4, pytest.approx(0.15), 0.25)
    assert last == (0.5, 0.9, 2, pytest.approx(0.7), 1.0)
    error = expected_calibration_error(probability, clicked, bins=3)
    assert error == pytest.approx((4 * 0.1 + 2 * 0.3) / 6)
    (one,) = reliability(probability, clicked, bins=1)
    assert one == (0.1, 0.9, 6, pytest.approx(2 / 6), 0.5)
    assert len(reliability(probability, clicked, bins=100)) == 4


@given(
    st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_bins_hold_everything_once_and_in_order(examples, bins):
    tenths, clicked = (np.array(column) for column in zip(*examples, strict=True))
    table = reliability(tenths / 10, clicked, bins=bins)
    assert 1 <= len(table) <= bins
    assert sum(one.examples for one in table) == len(tenths)
    for before, after in pairwise(table):
        assert before.high < after.low
    total = sum(one.examples * one.clicked for one in table)
    assert total == pytest.approx(clicked.sum())


def test_true_probabilities_are_calibrated_and_twice_them_are_not():
    _, clicked, probability = shown(50_000)
    assert expected_calibration_error(probability, clicked) < 0.01
    doubled = np.minimum(2 * probability, 1)
    gap = doubled.mean() - probability.mean()
    assert expected_calibration_error(doubled, clicked) == pytest.approx(gap, abs=0.01)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"Isotonic needs scipy: pip install"):
        Isotonic(np.array([1.0]), np.array([1]))


ONE = np.array([0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Isotonic(np.zeros(2), np.zeros(3)),
            r"scores is of shape \(2,\) and clicked of \(3,\): give one of each",
        ),
        (lambda: Logistic(np.zeros(0), np.zeros(0)), r"one example at least"),
        (lambda: Logistic(np.array([np.inf]), ONE), r"scores holds inf: give finite"),
        (lambda: Isotonic(ONE, ONE), r"clicked holds 0\.5: give 0 or 1"),
        (
            lambda: Logistic(np.array([2.0, 2.0]), np.array([0, 1])),
            r"scores holds 2 alone: a slope takes two different scores",
        ),
        (
            lambda: reliability(np.array([0.5, 1.5]), np.array([0, 1])),
            r"probability holds 1\.5: give predictions in 0 to 1",
        ),
        (
            lambda: expected_calibration_error(ONE, np.array([1]), bins=0),
            r"bins=0 must be 1 or more",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
