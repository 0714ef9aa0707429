"""No decay."""

from __future__ import annotations

import pytest

from tfrs_decay.decay import Constant, Exponential, Sum

YEARS = 365 * 86_400


def test_a_constant_never_fades() -> None:
    assert Constant().weight([0, 1, 50 * YEARS]).tolist() == [1, 1, 1]


def test_it_is_one_term_that_never_fades() -> None:
    (term,) = Constant().terms().terms
    assert (float(term.rate), float(term.log_share)) == (0, 0)


def test_there_is_nothing_to_learn_or_to_tell() -> None:
    constant = Constant()
    assert constant.initial_parameters(3) == {}
    assert constant.with_parameters({}) is constant
    assert constant.describe() == "no decay, a plain mean"


def test_a_floor_goes_with_any_clock() -> None:
    floor = Sum([Exponential(5, by="rank"), Constant()], [0.8, 0.2])
    assert floor.clocks == {"rank"}
    assert floor.weight([0, 5, 1e9]) == pytest.approx([1, 0.6, 0.2])
    assert Sum([Constant(), Constant()]).clocks == {"age"}


def test_as_a_mixture_it_stays_for_ever() -> None:
    mixture = Constant().as_mixture(horizon="10y")
    assert mixture.max_error == 0
    assert mixture.weight([0, 10 * YEARS]).tolist() == [1, 1]
    assert mixture.describe() == "mixture of half-lives forever 100%"
