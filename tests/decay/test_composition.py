"""Sums and products of decays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay import (
    Constant,
    Decay,
    Exponential,
    Gaussian,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.decay.family import Family

DAY, YEAR = 86_400, 365 * 86_400


def test_a_product_multiplies() -> None:
    decay = Product([Exponential("1d"), Window("3d")])
    assert decay.weight([0, 2 * DAY, 3 * DAY]) == pytest.approx([1, 1 / 4, 0])
    assert decay.log_weight(3 * DAY) == -np.inf


def test_a_clock_and_the_rank_together() -> None:
    decay = Product([Exponential("1d"), Exponential(5, by="rank")])
    assert decay.clocks == {"age", "rank"}
    weight = decay.weight([DAY, 2 * DAY], rank=[5, 0])
    assert weight == pytest.approx([1 / 4, 1 / 4])


def test_a_sum_is_a_weighted_mean_of_its_parts() -> None:
    decay = Sum([Exponential("1d"), Window("3d")], shares=[1, 3])
    expected = [1, 1 / 4 * 1 / 4 + 3 / 4, 1 / 4 * 1 / 8 + 0]
    assert decay.weight([0, 2 * DAY, 3 * DAY]) == pytest.approx(expected)
    assert Sum([Window("1d"), Window("3d")]).weight(2 * DAY) == pytest.approx(1 / 2)
    assert Sum([Window("1d"), Window("3d")]).log_weight(4 * DAY) == -np.inf


def test_features_and_shared_rates_go_together() -> None:
    parts = [Exponential(["1d", "2d"]), Exponential("1d")]
    product, total = Product(parts), Sum(parts)
    assert product.per_feature and total.per_feature
    age = [2 * DAY, 0]
    assert product.weight(age) == pytest.approx(np.array([[1 / 16, 1 / 8], [1, 1]]))
    assert total.weight(age) == pytest.approx(np.array([[1 / 4, 3 / 8], [1, 1]]))


def test_parts_know_names_of_their_own() -> None:
    decay = Product(
        [
            Exponential({"buy": "2d", "*": "1d"}),
            Exponential({"look": "2d", "buy": "4d", "*": "1d"}),
            Exponential({"milk": "1d", "*": "4d"}, group="category"),
        ]
    )
    assert decay.groups == {"action": ("buy", "look"), "category": ("milk",)}
    weight = decay.weight(
        [4 * DAY] * 4,
        action=["buy", "look", "else", "buy"],
        category=["milk", "milk", "wine", "wine"],
    )
    # 2^-(2 + 1 + 4), 2^-(4 + 2 + 4), 2^-(4 + 4 + 1), 2^-(2 + 1 + 1)
    assert weight == pytest.approx([2**-7, 2**-10, 2**-9, 2**-4])


def test_parts_learn_apart() -> None:
    decay = Sum(
        [
            Exponential("1d", trainable=True),
            Mixture(["1d", "2d"], trainable=True),
            Window("1d"),
        ],
        trainable=True,
    )
    start = decay.initial_parameters(4)
    assert set(start) == {"part_0_log_half_life", "part_1_share_logits", "share_logits"}
    learned = {
        **start,
        "part_0_log_half_life": np.log(2 * DAY),
        "share_logits": np.log([1, 1, 2]),
    }
    fixed = decay.with_parameters(learned)
    assert fixed.initial_parameters(4) == {}
    # A quarter of each of two, half a window that is over:
    # 1/4 2^-1 + 1/4 (2^-2 + 2^-1) / 2.
    assert fixed.weight(2 * DAY) == pytest.approx(1 / 8 + 3 / 32)


def test_compositions_nest() -> None:
    inner = Sum([Exponential("1d"), Constant()])
    outer = Product([inner, Product([Window("9d"), Exponential("2d")])])
    assert outer.weight(2 * DAY) == pytest.approx((1 / 4 + 1) / 2 * 1 / 2)
    assert Sum.from_config(inner.get_config()) == inner
    assert Product.from_config(outer.get_config()) == outer


class Halving(Family):
    """A family of somebody's own."""

    def __init__(self, length: Any, **options: Any) -> None:
        given = {"trainable": False, "per_feature": False, "by": "age"}
        super().__init__({"length": length}, **{**given, "group": "action", **options})

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        return -0.693147 * xp.floor(elapsed / values["length"])


def test_a_family_of_your_own_is_a_part_like_any() -> None:
    decay = Product([Halving("1d"), Exponential("1d")])
    assert Product.from_config(decay.get_config()) == decay
    assert decay.weight(2 * DAY) == pytest.approx(1 / 16, rel=1e-5)
    assert repr(decay) == "Product([Halving('1d'), Exponential('1d')])"
    assert decay.describe() == "(halving, length 1d) times (half-life 1d)"


def error_of(decay: Decay, mixture: Mixture, horizon: float) -> float:
    age = np.concatenate([[0], np.geomspace(1, horizon, 5_000)])
    return float(np.abs(decay.weight(age) - mixture.weight(age)).max())


def test_exact_parts_stay_exact_however_many() -> None:
    total = Sum([Exponential("1d"), Mixture(["2d", "4d"]), Constant()])
    assert total.as_mixture().max_error == 0
    assert error_of(total, total.as_mixture(), YEAR) < 1e-12
    assert len(total.as_mixture().half_lives) == 4
    many = [Mixture(np.geomspace(DAY, YEAR, count)) for count in (5, 6)]
    product = Product(many)
    found = product.terms()
    assert found is not None and len(found.terms) == 30 and found.max_error == 0
    assert error_of(product, product.as_mixture(), YEAR) < 1e-12


@pytest.mark.parametrize(
    "decay",
    [
        Sum([Exponential("7d"), PowerLaw("1h", 0.25)], [0.9, 0.1]),
        Product([Exponential("90d"), PowerLaw("1h", 0.25)]),
        Product([PowerLaw("1h", 0.25), PowerLaw("1d", 0.5)]),
        Product([Mixture(["1d", "30d", "1y"]), PowerLaw("1h", 0.25)]),
        Sum([PowerLaw("1m", 0.1), PowerLaw("1h", 0.2), PowerLaw("1d", 0.3)]),
        Product([Sum([Exponential("1d"), PowerLaw("1h", 0.5)]), PowerLaw("1d", 0.1)]),
        Product([PowerLaw(["1h", "1d"], 0.25), PowerLaw("1d", 0.5)]),
    ],
    ids=repr,
)
def test_fitted_parts_are_near_and_few(decay: Decay) -> None:
    mixture = decay.as_mixture(max_error=1e-3, horizon="2y")
    assert len(mixture.half_lives) <= 16
    assert error_of(decay, mixture, 2 * YEAR) <= mixture.max_error <= 1e-3
    mixture = decay.as_mixture(max_error=1e-3, horizon="2y", relative=True)
    assert len(mixture.half_lives) <= 33
    age = np.concatenate([[0.0], np.geomspace(1, 2 * YEAR, 2_000)])
    error = np.abs(mixture.weight(age) / decay.weight(age) - 1).max()
    assert error <= mixture.max_error <= 1e-3


def test_a_product_of_groups_has_the_terms_of_each_pair() -> None:
    decay = Product(
        [
            Exponential({"buy": "30d", "*": "7d"}),
            Mixture(["1d", "1y"]),
            Exponential({"milk": "1d", "*": "1y"}, group="category"),
        ]
    )
    found = decay.terms()
    assert found is not None and len(found.terms) == 2 * 2 * 2
    age = 3.0 * DAY
    for action, category in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        own = [
            term
            for term in found.terms
            if [one.place for one in term.conditions] == [action, category]
        ]
        total = sum(np.exp(one.log_share - one.rate * age) for one in own)
        names = {"action": ["buy", "?"][action], "category": ["milk", "?"][category]}
        assert total == pytest.approx(decay.weight(age, **names))


@pytest.mark.parametrize("family", [Sum, Product])
def test_one_part_that_is_no_sum_spoils_it(family: Any) -> None:
    for part in (Gaussian("7d"), Exponential(5, by="rank")):
        decay = family([Exponential("7d"), part])
        assert decay.terms() is None
        with pytest.raises(ValueError, match="is no sum of positive exponentials"):
            decay.as_mixture()
    assert family([Exponential("7d"), PowerLaw("1h", 1)]).completely_monotone
    assert not family([Exponential("7d"), Gaussian("7d")]).completely_monotone


def test_they_show_and_tell_themselves() -> None:
    total = Sum([Exponential("1d"), Constant()], [0.8, 0.2], trainable=True)
    shown = "Sum([Exponential('1d'), Constant()], [0.8, 0.2], trainable=True)"
    assert repr(total) == shown
    names = {"Sum": Sum, "Exponential": Exponential, "Constant": Constant}
    assert eval(shown, names) == total
    assert total.describe() == (
        "80% of (half-life 1d) plus 20% of (no decay, a plain mean)"
    )
    assert total.describe({"share_logits": np.zeros(2)}) == (
        "50% of (half-life 1d) plus 50% of (no decay, a plain mean), learned shares"
    )
    product = Product([Exponential("1d"), Window(5, by="rank")])
    assert repr(product) == "Product([Exponential('1d'), Window(5, by='rank')])"
    assert product.describe() == "(half-life 1d) times (window, length 5 events)"


@pytest.mark.parametrize("family", [Sum, Product])
@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([Constant()], ValueError, r"parts=\[Constant\(\)\]: give a list of two"),
        (Constant(), ValueError, r"parts=Constant\(\): give a list of two"),
        ([Constant(), "7d"], TypeError, r"parts\[1\] is a str: give a decay object"),
        (
            [{"family": "None"}, Constant()],
            ValueError,
            r"parts\[0\]=.* is no decay: .*",
        ),
    ],
)
def test_parts_that_are_no_decays_are_named(
    family: Any, parts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        family(parts)


@pytest.mark.parametrize("shares", [[1], [1, 0], [1, -1], [1, float("nan")]])
def test_shares_are_one_for_each_part(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="give one for each of 2 parts, finite and ab"):
        Sum([Constant(), Constant()], shares)
