"""Gaussian and linear decay, beside Elasticsearch's own formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import Exponential, Gaussian, Linear

DAY = 86_400
ages = st.floats(0, 1e9)
scales = st.floats(1, 1e8)
decays = st.floats(0.01, 0.99)


def elasticsearch(
    kind: str, age: float, scale: float, offset: float, decay: float
) -> float:
    """As its reference writes them, |field - origin| being the age."""
    distance = max(0.0, abs(age) - offset)
    if kind == "exp":
        rate = math.log(decay) / scale
        return math.exp(rate * distance)
    if kind == "gauss":
        variance = -(scale**2) / (2 * math.log(decay))
        return math.exp(-(distance**2) / (2 * variance))
    reach = scale / (1 - decay)
    return max((reach - distance) / reach, 0.0)


@pytest.mark.parametrize(("kind", "family"), [("gauss", Gaussian), ("linear", Linear)])
@given(age=ages, scale=scales, offset=st.floats(0, 1e8), decay=decays)
def test_as_elasticsearch_has_it(
    kind: str, family: Any, age: float, scale: float, offset: float, decay: float
) -> None:
    ours = family(scale, offset=offset, decay=decay).weight(age)
    theirs = elasticsearch(kind, age, scale, offset, decay)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(ages, scales)
def test_its_exp_at_decay_one_half_is_the_exponential(age: float, scale: float) -> None:
    theirs = elasticsearch("exp", age, scale, 0.0, 0.5)
    assert Exponential(scale).weight(age) == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def test_a_bell_by_hand() -> None:
    # 1/2 at the offset and one scale, (1/2)^4 at two scales, (1/2)^9 at three.
    weight = Gaussian("10d", offset="5d").weight([0, 5 * DAY, 15 * DAY, 25 * DAY])
    assert weight == pytest.approx([1, 1, 1 / 2, 1 / 16])
    assert Gaussian("1d", decay=0.3).weight(DAY) == pytest.approx(0.3)


def test_a_line_by_hand() -> None:
    weight = Linear("10d", offset="5d").weight(
        [0, 5 * DAY, 10 * DAY, 15 * DAY, 25 * DAY, 26 * DAY]
    )
    assert weight == pytest.approx([1, 1, 3 / 4, 1 / 2, 0, 0])
    # From 1 to .2 in a day is .8 a day: nothing is left after a day and a quarter.
    steep = Linear("1d", decay=0.2)
    assert steep.weight([DAY, 1.125 * DAY, 1.25 * DAY]) == pytest.approx([0.2, 0.1, 0])
    assert steep.log_weight(2 * DAY) == -math.inf


def test_over_the_rank() -> None:
    line = Linear(2, offset=1, by="rank")
    assert line.weight([0, 1, 2, 3, 4, 5, 6]) == pytest.approx(
        [1, 1, 3 / 4, 1 / 2, 1 / 4, 0, 0]
    )


def test_each_action_has_its_scale_and_all_share_the_offset() -> None:
    decay = Gaussian({"buy": "2d", "*": "1d"}, offset="1d")
    weight = decay.weight([3 * DAY] * 2, action=["buy", "look"])
    assert weight == pytest.approx([1 / 2, 1 / 16])


@pytest.mark.parametrize("family", [Gaussian, Linear])
def test_no_positive_sum_of_exponentials_is_near(family: Any) -> None:
    assert family("7d").terms() is None
    with pytest.raises(
        ValueError, match=rf"{family.__name__}\('7d'\) is no sum .* bounded buffer"
    ):
        family("7d").as_mixture()


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, math.nan])
def test_decay_lies_between_nothing_and_all(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay={decay!r} must"):
        Gaussian("7d", decay=decay)


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match="decay is a str: give a number"):
        Linear("7d", decay="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"offset=-1 must be finite"):
        Linear("7d", offset=-1)
    with pytest.raises(ValueError, match=r"offset='1d' is a duration, .* by='rank'"):
        Linear(7, offset="1d", by="rank")


def test_they_show_what_is_not_usual() -> None:
    assert repr(Gaussian("7d")) == "Gaussian('7d')"
    assert repr(Gaussian("7d", offset=0, decay=0.5)) == "Gaussian('7d')"
    full = Linear("7d", offset="36h", decay=0.25, trainable=True)
    assert repr(full) == "Linear('7d', offset='1.5d', decay=0.25, trainable=True)"
    assert eval(repr(full), {"Linear": Linear}) == full
    assert repr(Linear(7, offset=2, by="rank")) == "Linear(7, offset=2, by='rank')"


def test_they_say_what_is_not_usual() -> None:
    assert Gaussian("7d").describe() == "gaussian, scale 7d"
    told = Linear(7, offset=2, decay=0.25, by="rank").describe()
    assert told == "linear, scale 7 events, offset 2 events, decay 0.25"
    learned = Linear("7d", offset="1d").describe({"log_scale": math.log(2 * DAY)})
    assert learned == "linear, learned scale 2d, offset 1d"
