"""What a decay is asked with, and how it draws itself."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrs_decay.arithmetic import NUMPY
from tfrs_decay.decay import (
    Constant,
    Decay,
    Exponential,
    Labels,
    LogBucketed,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.decay.base import label, place_of

DAY = 86_400


@pytest.mark.parametrize(
    ("age", "shown"),
    [(-1.0, "-1.0"), ([0.0, -2.0], "-2.0"), (math.nan, "nan"), ([math.inf], "inf")],
)
def test_an_age_is_finite_and_not_negative(age: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=f"age={shown} .* finite seconds, 0 or more"):
        Exponential("7d").weight(age)


def test_a_rank_is_finite_and_not_negative() -> None:
    with pytest.raises(ValueError, match=r"rank=-1\.0 is not a number of later events"):
        Window(5, by="rank").weight([0, -1])
    both = Product([Exponential("7d"), Window(5, by="rank")])
    with pytest.raises(ValueError, match="rank=nan is not a number of later events"):
        both.weight([0], rank=[math.nan])


def test_what_is_missing_or_not_wanted_is_named() -> None:
    clock, rank = Exponential("7d"), Window(5, by="rank")
    grouped = Exponential({"buy": "7d", "*": "1d"})
    with pytest.raises(ValueError, match=r"Exponential\('7d'\) does not run over rank"):
        clock.weight(1, rank=1)
    with pytest.raises(ValueError, match="does not depend on action"):
        clock.weight(1, action="buy")
    with pytest.raises(ValueError, match="runs over the rank alone: give it once"):
        rank.weight(1, rank=1)
    with pytest.raises(ValueError, match=r"Product.* needs rank, the number of later"):
        Product([clock, rank]).weight(1)
    with pytest.raises(ValueError, match="needs action"):
        grouped.weight(1)
    with pytest.raises(ValueError, match="does not depend on category"):
        grouped.weight(1, action="buy", category="milk")


def test_shapes_that_do_not_agree_are_named() -> None:
    both = Product([Exponential("7d"), Window(5, by="rank")])
    with pytest.raises(
        ValueError, match=r"do not agree: age \(2,\), rank \(3,\); give"
    ):
        both.weight([1, 2], rank=[1, 2, 3])
    grouped = Exponential({"buy": "7d", "*": "1d"})
    with pytest.raises(ValueError, match=r"do not agree: age \(2,\), action \(3,\)"):
        grouped.weight([1, 2], action=["buy"] * 3)
    # One for all is no contradiction.
    assert grouped.weight([[1], [2]], action=["buy", "look"]).shape == (2, 2)


def test_one_age_gives_a_number_and_many_an_array() -> None:
    assert type(Exponential("7d").weight(DAY)) is float
    assert type(Exponential("7d").log_weight(DAY)) is float
    assert Exponential("7d").weight([[DAY] * 3] * 2).shape == (2, 3)
    assert Exponential("7d").weight([]).shape == (0,)


def test_weight_nothing_has_the_log_weight_of_nothing() -> None:
    assert Window("7d").log_weight([0, 8 * DAY]).tolist() == [0, -math.inf]


def test_labels_are_places_in_a_vocabulary() -> None:
    found = label([["buy", "look"], ["gaze", "buy"]], ("look", "buy"))
    assert found.place.tolist() == [[1, 0], [2, 1]]
    # Seen by a decay that knows but "buy": all else is one.
    assert place_of(found, ("buy",), NUMPY).tolist() == [[0, 1], [1, 0]]
    assert place_of(found, ("look", "buy"), NUMPY) is found.place
    unknown = Labels((), np.array([0, 0]))
    assert place_of(unknown, ("buy",), NUMPY).tolist() == [1, 1]


def test_decays_are_equal_by_what_they_hold() -> None:
    assert Exponential("7d") == Exponential(604_800) == Exponential("168h")
    assert Constant() == Constant()
    others: list[Any] = [
        Exponential("8d"),
        Exponential("7d", trainable=True),
        Exponential("7d", per_feature=True),
        Exponential(604_800, by="rank"),
        Exponential(["7d"]),
        PowerLaw("7d", 1),
        Constant(),
        "7d",
        None,
    ]
    assert [other for other in others if other == Exponential("7d")] == []
    assert len({Exponential("7d"), Exponential("168h"), Constant(), Constant()}) == 2


def test_equal_decays_have_one_hash_in_whatever_order_they_name() -> None:
    one = Exponential({"a": "1d", "b": "2d", "*": "3d"})
    other = Exponential({"*": "3d", "b": "2d", "a": "1d"})
    assert one == other and hash(one) == hash(other)


def lines_of(decay: Decay, **options: Any) -> dict[str, Any]:
    axes = decay.plot(**options).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    return dict(zip(names, axes.lines, strict=False))


def test_it_draws_itself_over_days() -> None:
    (line,) = lines_of(Exponential("7d"), until="14d").values()
    days, weight = line.get_data()
    assert np.interp([0, 7, 14], days, weight) == pytest.approx([1, 0.5, 0.25], 1e-3)
    assert list(lines_of(Exponential("7d"))) == ["half-life 7d"]
    figure = Exponential("7d").plot()
    assert figure.axes[0].get_xlabel() == "age (days)"
    assert figure.axes[0].lines[0].get_xdata()[-1] == 90


@pytest.mark.parametrize("path", ["x.png", "out/x.SVG", Path("a/x.pdf"), Path("x")])
def test_a_file_is_no_age_to_draw_until(path: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"is a file's name: .* plot\(\)\.savefig\('{path}'\) writes"
    ):
        Exponential("7d").plot(path)
    assert Exponential("7d").plot("7.d").axes


def test_it_draws_itself_over_later_events() -> None:
    figure = Window(5, by="rank").plot(until=9)
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == list(range(10))
    assert line.get_ydata().tolist() == [1] * 5 + [0] * 5
    assert figure.axes[0].get_xlabel() == "later events"
    assert len(Window(5, by="rank").plot().axes[0].lines[0].get_xdata()) == 51


def test_each_feature_is_a_line() -> None:
    figure = PowerLaw(["1h", "1d", "9d"], 0.5).plot()
    assert len(figure.axes[0].lines) == 3


def test_each_action_is_a_line() -> None:
    lines = lines_of(Exponential({"buy": "30d", "*": "7d"}), until="30d")
    assert list(lines) == ["buy", "*"]
    ends = [line.get_ydata()[-1] for line in lines.values()]
    assert ends == pytest.approx([1 / 2, 2 ** (-30 / 7)])
    both = Product(
        [
            Exponential({"buy": "30d", "*": "7d"}),
            Exponential({"milk": "1d", "*": "9d"}, group="category"),
        ]
    )
    assert list(lines_of(both)) == ["buy, milk", "buy, *", "*, milk", "*, *"]


@pytest.mark.parametrize(
    "decay",
    [
        Constant(),
        LogBucketed(),
        LogBucketed(by="rank"),
        Sum([Exponential(5, by="rank"), Constant()]),
    ],
    ids=repr,
)
def test_every_kind_draws_itself(decay: Decay) -> None:
    assert len(decay.plot().axes[0].lines) == 1


def test_two_clocks_have_no_common_axis() -> None:
    both = Product([Exponential("7d"), Window(5, by="rank")])
    with pytest.raises(
        ValueError, match=r"runs over both age and rank, .* plot its par"
    ):
        both.plot()
    with pytest.raises(ValueError, match="until='7d': over the rank it is a number"):
        Window(5, by="rank").plot(until="7d")
    with pytest.raises(ValueError, match="until='soon' is not a duration"):
        Window("7d").plot(until="soon")


@pytest.mark.parametrize(
    "age",
    [
        7 * DAY,
        "7d",
        datetime.timedelta(days=7),
        np.timedelta64(7, "D"),
        np.timedelta64(7 * 86_400 * 10**9, "ns"),
    ],
    ids=repr,
)
def test_an_age_is_a_duration_as_people_write_it(age: Any) -> None:
    assert Exponential("7d").weight(age) == pytest.approx(0.5)
    assert Exponential("7d").weight([age, age]) == pytest.approx([0.5, 0.5])
    if not isinstance(age, (int, str)):
        assert Exponential(age).half_life == 7 * DAY
        assert Exponential(np.asarray(age)).half_life == 7 * DAY


def test_dates_are_no_ages() -> None:
    with pytest.raises(
        TypeError, match=r"age is datetime64.*give seconds or durations"
    ):
        Exponential("7d").weight(np.datetime64("2024-01-01"))
    with pytest.raises(TypeError, match=r"rank is .*give numbers of events"):
        Exponential(5, by="rank").weight("7d")
    with pytest.raises(TypeError, match="half_life is a bytes"):
        Exponential(b"7d")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is a duration, and by='rank' counts"):
        Exponential(np.asarray(np.timedelta64(7, "D")), by="rank")


def test_a_mixture_is_a_sum_of_itself_and_bounds_are_asked_for_sensibly() -> None:
    mixture = PowerLaw("1d", 0.5).as_mixture(max_error=1e-3, horizon="1y")
    assert 0 < mixture.max_error <= 1e-3
    again = mixture.as_mixture(max_error=1e-6, horizon="50y")
    ages = np.linspace(0, 50 * 365 * DAY, 1000)
    np.testing.assert_allclose(again.weight(ages), mixture.weight(ages), atol=1e-6)
    with pytest.raises(ValueError, match="max_error=0 must be finite and above 0"):
        Exponential("7d").as_mixture(max_error=0)
    with pytest.raises(TypeError, match="max_error is a str: give a number"):
        Exponential("7d").as_mixture(max_error="x")  # type: ignore[arg-type]
