"""The power law, and the mixtures near it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfrs_decay.decay import Exponential, Mixture, PowerLaw

HOUR, DAY, YEAR = 3_600, 86_400, 365 * 86_400


def test_a_tail_by_hand() -> None:
    # Ages of 0, 3 and 15 days are 1, 4 and 16 scales: to the power of -1/2, and of -1.
    assert PowerLaw("1d", 0.5).weight([0, 3 * DAY, 15 * DAY]).tolist() == [1, 0.5, 0.25]
    assert PowerLaw("1d", 1).weight([3 * DAY]).tolist() == [0.25]


def test_far_out_it_is_the_base_level_of_memory() -> None:
    # ACT-R: age^-0.5, whatever the unit, but for a constant factor.
    decay = PowerLaw("1s", 0.5)
    old = np.array([1, 4, 100]) * YEAR
    np.testing.assert_allclose(decay.weight(old) * YEAR**0.5, [1, 1 / 2, 1 / 10], 1e-6)


def test_over_the_rank() -> None:
    assert PowerLaw(1, 1, by="rank").weight([0, 1, 3]).tolist() == [1, 1 / 2, 1 / 4]


def test_each_feature_has_its_scale_and_its_exponent() -> None:
    decay = PowerLaw(["1d", "3d"], [1, 0.5])
    assert decay.weight(3 * DAY) == pytest.approx([1 / 4, 2**-0.5])
    shared = PowerLaw(["1d", "3d"], 1)
    assert shared.weight(3 * DAY) == pytest.approx([1 / 4, 1 / 2])


def test_each_action_has_its_scale_and_its_exponent() -> None:
    decay = PowerLaw({"buy": "3d", "*": "1d"}, {"*": 1, "buy": 0.5})
    weight = decay.weight([3 * DAY] * 2, action=["buy", "look"])
    assert weight == pytest.approx([2**-0.5, 1 / 4])
    shared = PowerLaw({"buy": "3d", "*": "1d"}, 1)
    weight = shared.weight([3 * DAY] * 2, action=["buy", "look"])
    assert weight == pytest.approx([1 / 2, 1 / 4])


def test_near_it_is_a_mixture_with_its_bound() -> None:
    decay = PowerLaw("1h", 0.25)
    mixture = decay.as_mixture(max_error=1e-3, horizon="2y")
    assert isinstance(mixture, Mixture)
    assert 0 < mixture.max_error <= 1e-3 and len(mixture.half_lives) <= 16
    age = np.concatenate([[0], np.geomspace(1, 2 * YEAR, 9_999)])
    error = np.abs(mixture.weight(age) - decay.weight(age)).max()
    assert error <= mixture.max_error <= 1.1 * error
    assert mixture.weight(0) == pytest.approx(1)


@pytest.mark.parametrize("scale", ["1s", "1m", "1h", "7d", "1y"])
@pytest.mark.parametrize("exponent", [0.05, 0.25, 1, 2])
def test_near_it_at_every_scale(scale: str, exponent: float) -> None:
    decay = PowerLaw(scale, exponent)
    mixture = decay.as_mixture(max_error=1e-3, horizon="10y")
    age = np.concatenate([[0], np.geomspace(0.1, 10 * YEAR, 999)])
    assert np.abs(mixture.weight(age) - decay.weight(age)).max() <= mixture.max_error
    assert mixture.max_error <= 1e-3 and len(mixture.half_lives) <= 16


def test_near_it_with_features_is_a_mixture_with_theirs() -> None:
    decay = PowerLaw(["1h", "1d", "1h"], [0.25, 0.5, 0.25])
    mixture = decay.as_mixture(horizon="2y")
    assert mixture.per_feature and mixture.shares.shape == (3, len(mixture.half_lives))
    np.testing.assert_array_equal(mixture.shares[0], mixture.shares[2])
    age = np.geomspace(1, 2 * YEAR, 999)
    error = np.abs(mixture.weight(age) - decay.weight(age)).max()
    assert error <= mixture.max_error <= 1e-3


def test_near_it_with_one_value_for_each_feature() -> None:
    decay = PowerLaw("1h", 0.25, per_feature=True)
    mixture = decay.as_mixture(horizon="2y")
    assert mixture.per_feature and mixture.shares.ndim == 1
    assert (
        mixture.weight([HOUR, DAY]).shape == decay.weight([HOUR, DAY]).shape == (2, 1)
    )


def test_each_group_is_terms_of_its_own() -> None:
    decay = PowerLaw({"buy": "1d", "*": "1h"}, 0.5)
    found = decay.terms(horizon="1y")
    assert found is not None
    age = np.geomspace(1, YEAR, 999)
    for place, action in enumerate(["buy", "look"]):
        own = [one for one in found.terms if one.conditions[0].place == place]
        assert all(one.conditions[0][:2] == ("action", ("buy",)) for one in own)
        total = sum(np.exp(one.log_share - one.rate * age) for one in own)
        exact = decay.weight(age, action=np.full(999, action))
        assert np.abs(total - exact).max() <= found.max_error <= 1e-3
    with pytest.raises(ValueError, match="depends on action: a mixture is one for all"):
        decay.as_mixture()


def test_over_the_rank_it_is_no_mixture() -> None:
    assert PowerLaw(5, 0.5, by="rank").terms() is None
    with pytest.raises(ValueError, match="it runs over the number of later events"):
        PowerLaw(5, 0.5, by="rank").as_mixture()


def test_what_cannot_be_reached_names_the_decay() -> None:
    with pytest.raises(
        ValueError, match=r"PowerLaw\('1s', exponent=0.1\): no sum of 16 .*='50y'"
    ):
        PowerLaw("1s", 0.1).as_mixture(max_error=1e-7, horizon="50y")
    with pytest.raises(ValueError, match="horizon='soon' is not a duration"):
        PowerLaw("1s", 0.1).as_mixture(horizon="soon")


def test_features_with_rates_of_their_own_are_no_mixture() -> None:
    with pytest.raises(ValueError, match="has rates for each feature: a mixture has"):
        Exponential(["1d", "2d"]).as_mixture()


def test_it_shows_and_tells_itself() -> None:
    decay = PowerLaw("1h", 0.25, trainable=True)
    assert repr(decay) == "PowerLaw('1h', exponent=0.25, trainable=True)"
    assert eval(repr(decay), {"PowerLaw": PowerLaw}) == decay
    assert decay.describe() == "power law, scale 1h, exponent 0.25"
    learned = {"log_scale": math.log(2 * HOUR), "log_exponent": math.log(0.5)}
    said = decay.describe(learned)
    assert said == "power law, learned scale 2h, exponent 0.5"


@pytest.mark.parametrize("exponent", [0, -1, math.inf, math.nan])
def test_an_exponent_is_above_nothing(exponent: float) -> None:
    with pytest.raises(ValueError, match=f"exponent={exponent!r} must be finite"):
        PowerLaw("1h", exponent)


def test_an_exponent_is_a_number() -> None:
    with pytest.raises(TypeError, match="exponent is a str: give a number"):
        PowerLaw("1h", "0.5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"exponent\['\*'\] is a bool: give a number"):
        PowerLaw("1h", {"*": True})
