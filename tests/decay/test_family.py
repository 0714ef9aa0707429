"""How the values of families are read, learned and told."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest

from tfrs_decay.decay import Elapsed, Exponential, Logistic, PowerLaw, Window

DAY = 86_400


@pytest.mark.parametrize(
    "week",
    [
        "7d",
        "1w",
        "168h",
        604_800,
        604_800.0,
        np.int64(604_800),
        np.float32(604_800),
        np.array(604_800.0),
        datetime.timedelta(weeks=1),
        np.timedelta64(7, "D"),
    ],
)
def test_durations_as_people_write_them(week: Any) -> None:
    assert Exponential(week) == Exponential("7d")
    assert Window([week, "1d"]) == Window(["7d", "1d"])
    assert Window({"buy": week, "*": "1d"}) == Window({"buy": "7d", "*": "1d"})


def test_lists_tuples_and_arrays_are_one_for_each_feature() -> None:
    three = Exponential(["1d", "2d", "3d"])
    assert three == Exponential(("1d", "2d", "3d"))
    assert three == Exponential(np.array([1, 2, 3]) * DAY)
    assert three.per_feature and three.half_life == [DAY, 2 * DAY, 3 * DAY]


def test_values_are_read_back() -> None:
    decay = PowerLaw({"buy": "2d", "*": "1d"}, 0.5)
    values = decay.values()
    assert values["scale"].tolist() == [2 * DAY, DAY]
    assert values["exponent"].tolist() == 0.5
    learned = decay.values({"log_scale": np.log([3.0, 4.0]), "log_exponent": [0, 0]})
    assert learned["scale"].tolist() == pytest.approx([3, 4])
    assert learned["exponent"].tolist() == [1, 1]


def test_one_value_is_learned_for_every_group() -> None:
    decay = PowerLaw({"buy": "2d", "*": "1d"}, 0.5, trainable=True)
    start = decay.initial_parameters(7)
    assert {name: value.shape for name, value in start.items()} == {
        "log_scale": (2,),
        "log_exponent": (2,),
    }
    moved = {**start, "log_exponent": np.log([1.0, 2.0])}
    fixed = decay.with_parameters(moved)
    weight = fixed.weight([2 * DAY, DAY], action=["buy", "?"])
    assert weight == pytest.approx([1 / 2, 1 / 4])


def test_the_order_of_names_is_no_matter() -> None:
    one = PowerLaw({"a": "1d", "b": "2d", "*": "3d"}, {"*": 1, "b": 2, "a": 3})
    age = [DAY, DAY, DAY]
    weight = one.weight(age, action=["a", "b", "c"])
    assert weight == pytest.approx([2**-3, 1.5**-2, 0.75])


def test_only_others_are_all() -> None:
    decay = Exponential({"*": "1d"})
    assert decay.groups == {"action": ()}
    assert decay.weight([DAY, DAY], action=["a", "b"]) == pytest.approx([0.5, 0.5])


def test_labels_of_a_wider_vocabulary_are_understood() -> None:
    # The layer's vocabulary is that of all its decays.
    from tfrs_decay.decay import Labels

    decay = Exponential({"buy": "2d", "*": "1d"})
    labels = Labels(("look", "buy", "sell"), np.array([0, 1, 2, 3]))
    elapsed = Elapsed(np.full(4, 2.0 * DAY), labels={"action": labels})
    weight = np.exp(decay.formula(elapsed))
    assert weight == pytest.approx([1 / 4, 1 / 2, 1 / 4, 1 / 4])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Exponential([]), ValueError, r"half_life=\[\] is empty: give one val"),
        (
            lambda: Exponential({"buy": "7d"}),
            ValueError,
            r"half_life=\{'buy': '7d'\} does not say .* every other action: add '\*'",
        ),
        (
            lambda: Exponential({"buy": "soon", "*": "7d"}),
            ValueError,
            r"half_life\['buy'\]='soon' is not a duration",
        ),
        (
            lambda: Exponential({1: "7d", "*": "7d"}, group="category"),
            TypeError,
            "a category is named by a string",
        ),
        (
            lambda: PowerLaw({"a": "1d", "*": "2d"}, {"b": 1, "*": 1}),
            ValueError,
            r"exponent names \['b'\], and another value \['a'\]: give both for the sa",
        ),
        (
            lambda: PowerLaw({"*": "2d"}, {"b": 1, "*": 1}),
            ValueError,
            r"exponent names \['b'\], and another value \[\]",
        ),
        (
            lambda: PowerLaw(["1d", "2d"], {"b": 1, "*": 1}),
            ValueError,
            "scale and exponent: give one for each feature .* not both",
        ),
        (
            lambda: PowerLaw({"b": "1d", "*": "2d"}, 1, per_feature=True),
            ValueError,
            "one for each action .a mapping., not both",
        ),
        (
            lambda: PowerLaw(["1d", "2d"], [1, 2, 3]),
            ValueError,
            "there are scale 2 and exponent 3: give one of each for every feature",
        ),
        (
            lambda: Exponential("7d", by="clock"),
            ValueError,
            r"by='clock' is not one of \('age', 'rank'\)",
        ),
        (
            lambda: Exponential("7d", group="user"),
            ValueError,
            r"group='user' is not one of \('action', 'category'\)",
        ),
        (
            lambda: Exponential("7d", by="rank"),
            ValueError,
            "half_life='7d' is a duration, and by='rank' counts later events: give a",
        ),
        (
            lambda: Exponential(datetime.timedelta(1), by="rank"),
            ValueError,
            "is a duration, and by='rank'",
        ),
        (
            lambda: Exponential(0, by="rank"),
            ValueError,
            "half_life=0 must be finite and above 0",
        ),
        (
            lambda: Exponential(math.inf),
            ValueError,
            "half_life=inf must be finite and longer than nothing",
        ),
        (
            lambda: Exponential(None),  # type: ignore[arg-type]
            TypeError,
            "half_life is a NoneType: give a string such as '7d'",
        ),
        (
            lambda: Exponential(None, by="rank"),  # type: ignore[arg-type]
            TypeError,
            "half_life is a NoneType: give a number",
        ),
        (
            lambda: Exponential([[1, 2]]),  # type: ignore[list-item]
            TypeError,
            "half_life is a list: give a string such as '7d'",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("trainable", [False, True])
def test_values_and_features_agree_in_number(trainable: bool) -> None:
    decay = Logistic("7d", ["1d", "2d"], trainable=trainable)
    with pytest.raises(ValueError, match=r"width has 2 values and .* have 3 features"):
        decay.initial_parameters(3)
    decay.initial_parameters(2)
