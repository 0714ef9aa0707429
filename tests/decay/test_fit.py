"""Fitted sums of exponentials, beside the functions that they are fitted to."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.decay import PowerLaw
from tfrs_decay.decay.fit import Fit, fit_exponentials

YEAR = 365 * 86_400


def power(exponent: float) -> Any:
    return lambda age: (1 + age) ** -exponent


def sum_of(fit: Fit, age: np.ndarray) -> np.ndarray:
    return np.exp(-np.outer(age, fit.rates)) @ fit.shares.T


def many_ages(horizon: float, seed: int = 0) -> np.ndarray:
    """Ages that are no part of any grid, small and large."""
    chance = np.random.default_rng(seed)
    low = np.exp(chance.uniform(np.log(1e-9 * horizon), np.log(horizon), 60_000))
    return np.concatenate([[0, horizon], low, chance.uniform(0, horizon, 10_000)])


@pytest.mark.parametrize("horizon", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("exponent", [0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
def test_a_power_law_within_a_thousandth(exponent: float, horizon: float) -> None:
    fit = fit_exponentials(power(exponent), horizon=horizon, max_error=1e-3)
    age = many_ages(horizon)
    error = np.abs(sum_of(fit, age) - power(exponent)(age)).max()
    assert error <= fit.error <= 1e-3
    # The bound is no more than a tenth above what was met.
    assert fit.error <= 1.1 * error
    assert len(fit.rates) <= 9


def test_sixteen_terms_do_better_than_were_measured_elsewhere() -> None:
    # ../shared/science.md: twelve terms reach 6.4e-4, sixteen 4.2e-5.
    fit = fit_exponentials(power(0.5), horizon=1e5, max_error=4.2e-5)
    assert len(fit.rates) <= 12
    age = many_ages(1e5)
    assert np.abs(sum_of(fit, age) - power(0.5)(age)).max() <= fit.error <= 4.2e-5


@pytest.mark.parametrize("horizon", [1e3, 1e5, 10.0 * YEAR])
@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0, 2.0, 3.0])
def test_a_power_law_within_a_thousandth_of_itself(
    exponent: float, horizon: float
) -> None:
    fit = fit_exponentials(
        power(exponent), horizon=horizon, max_error=1e-3, relative=True
    )
    age = many_ages(horizon)
    error = np.abs(sum_of(fit, age) / power(exponent)(age) - 1).max()
    assert error <= fit.error <= 1e-3
    assert fit.error <= 1.1 * error + 1e-4
    assert len(fit.rates) <= 32
    assert fit.shares.sum() == pytest.approx(1, rel=1e-12)


def test_ten_years_of_seconds() -> None:
    fit = fit_exponentials(power(0.1), horizon=10 * YEAR, max_error=1e-3)
    age = many_ages(10 * YEAR)
    assert np.abs(sum_of(fit, age) - power(0.1)(age)).max() <= fit.error <= 1e-3
    assert len(fit.rates) <= 16


@settings(max_examples=25, deadline=None)
@given(
    exponent=st.floats(0.05, 2),
    horizon=st.floats(-3, 6).map(lambda power: 10**power),
    max_error=st.floats(-3.5, -1).map(lambda power: 10**power),
)
def test_the_bound_holds_at_any_age(
    exponent: float, horizon: float, max_error: float
) -> None:
    fit = fit_exponentials(power(exponent), horizon=horizon, max_error=max_error)
    assert fit.error <= max_error
    age = many_ages(horizon)
    assert np.abs(sum_of(fit, age) - power(exponent)(age)).max() <= fit.error
    assert (fit.rates > 0).all() and (np.diff(fit.rates) < 0).all()
    assert (fit.shares > 0).all() and fit.shares.sum() == pytest.approx(1, rel=1e-12)


def test_a_sum_of_two_is_found_again() -> None:
    # Rates 1 and 100 with shares of .3 and .7.
    fit = fit_exponentials(
        lambda age: 0.3 * np.exp(-age) + 0.7 * np.exp(-100 * age),
        horizon=10.0,
        max_error=1e-3,
    )
    assert fit.rates == pytest.approx([100, 1], rel=1e-2)
    assert fit.shares == pytest.approx([0.7, 0.3], rel=1e-2)


def test_a_floor_is_found_again() -> None:
    fit = fit_exponentials(
        lambda age: 0.4 + 0.6 * np.exp(-age), horizon=100.0, max_error=1e-3
    )
    assert fit.rates[0] == pytest.approx(1, rel=1e-2)
    assert fit.rates[1] * 100 < 1e-3
    assert fit.shares == pytest.approx([0.6, 0.4], rel=1e-2)


def test_one_exponential_needs_one() -> None:
    fit = fit_exponentials(lambda age: np.exp(-age / 7), horizon=100, max_error=1e-3)
    assert fit.rates == pytest.approx([1 / 7], rel=1e-3)
    assert fit.shares.tolist() == [1]


def test_where_nothing_has_faded_yet_one_is_enough() -> None:
    fit = fit_exponentials(power(0.5), horizon=1e-9, max_error=1e-3)
    # The slope of (1 + a)^-d at 0 is -d.
    assert fit.rates == pytest.approx([0.5], rel=1e-3)
    assert fit.error < 1e-11


def test_fewer_terms_do_not_do() -> None:
    fit = fit_exponentials(power(0.5), horizon=1e5, max_error=1e-3)
    fewer = len(fit.rates) - 1
    with pytest.raises(ValueError, match=f"no sum of {fewer} exponentials comes"):
        fit_exponentials(power(0.5), horizon=1e5, max_error=1e-3, most_terms=fewer)


def test_its_unit_of_time_is_nothing_to_a_fit() -> None:
    seconds = fit_exponentials(power(0.5), horizon=2.0**17, max_error=1e-3)
    slower = fit_exponentials(
        lambda age: power(0.5)(age / 1_024), horizon=2.0**27, max_error=1e-3
    )
    np.testing.assert_array_equal(slower.rates * 1_024, seconds.rates)
    np.testing.assert_array_equal(slower.shares, seconds.shares)
    assert slower.error == seconds.error


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("exponent", [0.1, 0.5, 2.0])
def test_the_last_digits_of_a_machine_change_no_rate(
    exponent: float, relative: bool
) -> None:
    def shaken(age: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(3).uniform(-1, 1, age.shape)
        return np.where(age > 0, power(exponent)(age) * (1 + 1e-15 * noise), 1.0)

    asked: Any = {"horizon": 1e6, "max_error": 1e-3, "relative": relative}
    clean = fit_exponentials(power(exponent), **asked)
    again = fit_exponentials(shaken, **asked)
    np.testing.assert_array_equal(again.rates, clean.rates)
    np.testing.assert_allclose(again.shares, clean.shares, rtol=1e-6)


def test_features_share_rates_and_have_shares_of_their_own() -> None:
    scale = np.geomspace(600, 10 * 86_400, 24)
    exponent = np.linspace(0.2, 0.6, 24)

    def weight(age: np.ndarray) -> np.ndarray:
        return (1 + age[:, None] / scale) ** -exponent

    fit = fit_exponentials(weight, horizon=2 * YEAR, max_error=1e-3)
    assert fit.shares.shape == (24, len(fit.rates)) and len(fit.rates) <= 16
    assert (fit.shares > 0).all()
    np.testing.assert_allclose(fit.shares.sum(axis=1), 1, rtol=1e-12)
    age = many_ages(2 * YEAR)
    assert np.abs(sum_of(fit, age) - weight(age)).max() <= fit.error <= 1e-3


def test_features_within_a_thousandth_of_themselves() -> None:
    scale = np.geomspace(600, 10 * 86_400, 24)
    exponent = np.linspace(0.2, 2.0, 24)

    def weight(age: np.ndarray) -> np.ndarray:
        return (1 + age[:, None] / scale) ** -exponent

    fit = fit_exponentials(weight, horizon=2 * YEAR, max_error=1e-3, relative=True)
    assert fit.shares.shape == (24, len(fit.rates)) and len(fit.rates) <= 32
    age = many_ages(2 * YEAR)
    assert np.abs(sum_of(fit, age) / weight(age) - 1).max() <= fit.error <= 1e-3


def test_a_relative_fit_ends_where_hardly_anything_is_left() -> None:
    # e^-10,000 is no float64; e^-69 is 1e-30.
    fit = fit_exponentials(
        lambda age: np.exp(-age / 7), horizon=7e4, max_error=1e-2, relative=True
    )
    assert len(fit.rates) == 1
    age = many_ages(7 * 68.5)
    assert np.abs(sum_of(fit, age) / np.exp(-age / 7) - 1).max() <= fit.error <= 1e-2


def test_features_that_fade_alike_are_one_fit() -> None:
    one = fit_exponentials(power(0.5), horizon=1e5, max_error=1e-3)
    same = fit_exponentials(
        lambda age: np.repeat(power(0.5)(age)[:, None], 3, axis=1),
        horizon=1e5,
        max_error=1e-3,
    )
    np.testing.assert_array_equal(same.rates, one.rates)
    np.testing.assert_array_equal(same.shares, np.tile(one.shares, (3, 1)))


def test_features_too_far_apart_are_refused_with_what_was_reached() -> None:
    with pytest.raises(
        ValueError,
        match=r"no sum of 16 .* max_error=0.001 up to horizon='10y': the best found is"
        r" 0\.00\d+ off. Allow more, or ask for a shorter horizon",
    ):
        fit_exponentials(
            lambda age: (1 + age[:, None] / np.geomspace(0.01, YEAR, 40)) ** -0.5,
            horizon=10 * YEAR,
            max_error=1e-3,
        )


def test_a_bell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"within max_error=0.01 .* the best found is"):
        fit_exponentials(lambda age: np.exp(-(age**2)), horizon=5, max_error=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_error": 0}, "max_error=0 must lie between 0 and 1"),
        ({"max_error": 1.0}, "max_error=1.0 must lie"),
        ({"max_error": float("nan")}, "max_error=nan must lie"),
        ({"horizon": 0.0}, "horizon=0.0 must be finite and above 0"),
        ({"horizon": float("inf")}, "horizon=inf must be finite"),
        ({"most_terms": 0}, "most_terms=0 must be 1 or more"),
    ],
)
def test_what_is_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_exponentials(power(0.5), **{"horizon": 1.0, "max_error": 0.1, **options})


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[fit\]'"):
        PowerLaw("1h", 0.5).as_mixture()
