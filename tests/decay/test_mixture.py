"""Mixtures of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import Elapsed, Exponential, Mixture

DAY = 86_400


def test_a_mixture_by_hand() -> None:
    # After two days, .75 / 4 of the fast half and .25 / 2 of the slow one.
    mixture = Mixture(["1d", "2d"], [0.75, 0.25])
    assert mixture.weight([0, 2 * DAY]) == pytest.approx([1, 0.75 / 4 + 0.25 / 2])


def test_shares_are_scaled_and_equal_when_left_out() -> None:
    assert Mixture(["1d", "2d"], [6, 2]).shares.tolist() == [0.75, 0.25]
    assert Mixture(["1d", "2d"]) == Mixture([DAY, 2 * DAY], [1, 1])


def test_one_half_life_is_an_exponential() -> None:
    age = [0, DAY, 30 * DAY]
    assert Mixture(["7d"]).weight(age) == pytest.approx(Exponential("7d").weight(age))


def test_each_feature_has_its_shares() -> None:
    mixture = Mixture(["1d", "2d"], [[1, 3], [3, 1]])
    assert mixture.per_feature
    weight = mixture.weight([0, 2 * DAY])
    expected = [[1, 1], [1 / 4 * 1 / 4 + 3 / 4 * 1 / 2, 3 / 4 * 1 / 4 + 1 / 4 * 1 / 2]]
    assert weight == pytest.approx(np.array(expected))


def test_over_the_rank() -> None:
    mixture = Mixture([1, 2], by="rank")
    assert mixture.weight([0, 2]) == pytest.approx([1, (1 / 4 + 1 / 2) / 2])
    assert mixture.terms() is None


@given(st.lists(st.floats(1, 1e8), min_size=1, max_size=5), st.floats(0, 1e9))
def test_its_terms_are_what_it_is(half_lives: list[float], age: float) -> None:
    mixture = Mixture(half_lives)
    found = mixture.terms()
    assert found is not None and found.max_error == 0
    total = sum(np.exp(one.log_share - one.rate * age) for one in found.terms)
    assert total == pytest.approx(mixture.weight(age), rel=1e-9, abs=1e-300)


def test_a_mixture_near_a_mixture_is_itself() -> None:
    mixture = Mixture(["1d", "30d"], [0.75, 0.25], max_error=1e-4)
    again = mixture.as_mixture(max_error=1e-9, horizon="50y")
    assert again.half_lives == pytest.approx(mixture.half_lives)
    assert again.shares == pytest.approx(mixture.shares)
    # Of the first one, which is what was asked; not of what that one stood in for.
    assert again.max_error == 0.0


def test_an_exponential_is_a_mixture_of_one() -> None:
    mixture = Exponential("7d").as_mixture()
    assert mixture.half_lives == pytest.approx([7 * DAY]) and mixture.max_error == 0


def test_what_is_learned_are_logits_of_the_shares() -> None:
    mixture = Mixture(["1d", "2d"], [0.75, 0.25], trainable=True)
    start = mixture.initial_parameters(5)["share_logits"]
    assert start == pytest.approx(np.log([0.75, 0.25]))
    # A constant more on all of them changes no share: e^9 cancels.
    age = Elapsed(np.array([0.0, 2.0 * DAY]))
    learned = {"share_logits": np.log([0.5, 0.5]) + 9}
    weight = np.exp(mixture.formula(age, learned))
    assert weight == pytest.approx([1, (1 / 4 + 1 / 2) / 2])
    fixed = mixture.with_parameters(learned)
    assert isinstance(fixed, Mixture) and not fixed.trainable
    assert fixed.shares == pytest.approx([0.5, 0.5])


def test_a_share_learned_away_is_still_a_share() -> None:
    mixture = Mixture(["1d", "2d"], trainable=True)
    fixed = mixture.with_parameters({"share_logits": np.array([0.0, -2_000.0])})
    assert fixed.weight(DAY) == pytest.approx(1 / 2)


def test_learned_shares_stand_in_for_nothing_else() -> None:
    mixture = Mixture(["1d", "2d"], trainable=True, max_error=1e-3)
    kept = mixture.with_parameters({})
    moved = mixture.with_parameters({"share_logits": np.zeros(2)})
    assert isinstance(kept, Mixture) and isinstance(moved, Mixture)
    assert (kept.max_error, moved.max_error) == (1e-3, 0)


def test_features_learn_their_own_shares() -> None:
    start = Mixture(["1d", "2d"], trainable=True, per_feature=True)
    assert start.initial_parameters(3)["share_logits"].shape == (3, 2)
    given = Mixture(["1d", "2d"], [[1, 1], [1, 3]], trainable=True)
    assert given.initial_parameters(2)["share_logits"].shape == (2, 2)
    with pytest.raises(ValueError, match=r"given for 2 features and the pooled .* 3"):
        given.initial_parameters(3)


def test_it_shows_and_tells_itself() -> None:
    mixture = Mixture(["1d", "30d"], [0.75, 0.25], trainable=True)
    assert repr(mixture) == "Mixture(['1d', '30d'], [0.75, 0.25], trainable=True)"
    assert eval(repr(mixture), {"Mixture": Mixture}) == mixture
    assert repr(Mixture([1, 5], by="rank")) == "Mixture([1, 5], by='rank')"
    assert repr(Mixture(["1d"], max_error=1.23456e-4)) == (
        "Mixture(['1d'], max_error=0.000123)"
    )
    rows = Mixture(["1d", "30d"], [[1, 1], [1, 3], [1, 1]])
    assert repr(rows) == "Mixture(['1d', '30d'], <shares 3 x 2>)"
    many = Mixture(np.geomspace(DAY, 64 * DAY, 7))
    assert repr(many) == "Mixture(<7 from 1d to 64d>)"
    assert mixture.describe() == "mixture of half-lives 1d 75%, 30d 25%"
    assert mixture.describe({"share_logits": np.zeros(2)}) == (
        "mixture of half-lives 1d 50%, 30d 50% (learned shares)"
    )
    assert rows.describe() == (
        "mixture of half-lives 1d 41.7%, 30d 58.3% (means over 3 features)"
    )
    by_rank = Mixture([1, 5], by="rank").describe()
    assert by_rank == "mixture of half-lives 1 event 50%, 5 events 50%"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([[]], ValueError, "half_lives is empty: give one or more"),
        (["7d"], TypeError, r"half_lives='7d': give a list of them"),
        ([7], TypeError, r"half_lives=7: give a list of them"),
        ([["1d", 0]], ValueError, "half_lives=0 must be finite and longer"),
        ([["1d"], [0]], ValueError, "a share is 0.0: shares are finite and above 0"),
        ([["1d"], [math.nan]], ValueError, "a share is nan: shares are finite"),
        (
            [["1d", "2d"], [1, 2, 3]],
            ValueError,
            r"shares have the shape \(3,\), and there are 2 half-lives: give 2 shares",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Mixture(*arguments)


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="by='time' is not one of"):
        Mixture(["1d"], by="time")
    with pytest.raises(ValueError, match="max_error=-1 must be finite and above 0"):
        Mixture(["1d"], max_error=-1)
    with pytest.raises(
        ValueError, match="half_lives='1d' is a duration, and by='rank'"
    ):
        Mixture(["1d"], by="rank")
