"""Families by name: what each name means, and what does not apply is refused."""

from __future__ import annotations

import json

import pytest

import tfrs_decay as td
from tfrs_decay.decay import (
    Constant,
    Exponential,
    Gaussian,
    Linear,
    LogBucketed,
    Logistic,
    Mixture,
    PowerLaw,
    Window,
)
from tfrs_decay.families import DEFAULT, NAMED, NAMES, as_dict, from_dict, named_decay


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (named_decay("exponential", scale="7d"), Exponential("7d")),
        (
            named_decay("power-law", scale="1d", exponent=0.5, trainable=True),
            PowerLaw("1d", 0.5, trainable=True),
        ),
        (named_decay("gaussian", scale=5, by="rank"), Gaussian(5, by="rank")),
        (
            named_decay("linear", scale="9d", per_feature=True),
            Linear("9d", per_feature=True),
        ),
        (named_decay("window", scale=3, by="rank"), Window(3, by="rank")),
        (named_decay("logistic", scale="8d", width=0.5), Logistic("8d", "4d")),
        (
            named_decay("mixture", scale="1d", ratio=10, share=0.75),
            Mixture(["1d", "10d"], [0.75, 0.25]),
        ),
        (named_decay("log-buckets", by="rank"), LogBucketed(by="rank")),
        (named_decay("none"), Constant()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_name_means_a_family(made, meant):
    assert made == meant


def test_the_default_is_that_of_the_pooling_layer():
    assert named_decay(DEFAULT, trainable=True) == td.layers.TimeDecayPooling().decay


@pytest.mark.parametrize("by", ["age", "rank"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_every_family_has_usual_numbers_for_both_clocks(name, by):
    decay = named_decay(name, by=by, trainable=True)
    assert decay.clocks == {by}
    assert decay.initial_parameters(4)
    # A new event weighs most, and an old one still weighs what can be learned from.
    some = 3 if by == "rank" else 6 * 3_600
    assert 0 < decay.weight(some) <= decay.weight(0) == 1


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_decay_survives_json(name, trainable):
    decay = named_decay(name, trainable=trainable)
    again = from_dict(json.loads(json.dumps(as_dict(decay))))
    assert again == decay
    assert again.initial_parameters(2).keys() == decay.initial_parameters(2).keys()
    # What is asked for goes before what is written.
    learned = from_dict(as_dict(decay), trainable=True)
    assert bool(learned.initial_parameters(2)) == (name != "none")
    assert not from_dict(as_dict(decay), trainable=False).initial_parameters(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"family": "cubic"},
            "family='cubic' is not one of exponential, power-law, .* none",
        ),
        (
            {"family": "none", "scale": "7d"},
            "scale='7d' does not apply to the family 'none', which has no numbers",
        ),
        ({"family": "none", "by": "rank"}, "by='rank' does not apply to .*'none'"),
        (
            {"family": "log-buckets", "per_feature": True},
            "per_feature=True does not apply to the family 'log-buckets'",
        ),
        (
            {"family": "window", "exponent": 0.0},
            "exponent=0.0 does not apply to the family 'window', which has scale",
        ),
        (
            {"family": "power-law", "foo": None},
            r"foo=None: no family has such a number\. There are exponent, width, ratio",
        ),
        (
            {"family": "window", "foo": 3},
            r"foo=3: no family has such a number\. There are exponent",
        ),
        (
            {"family": "mixture", "width": 1.0},
            "width=1.0 does not apply .* which has scale and ratio and share",
        ),
        ({"family": "power-law", "exponent": 0.0}, "exponent=0.0 must be .* above 0"),
        ({"family": "window", "scale": "7d", "by": "rank"}, "by='rank' counts later"),
        ({"family": "window", "scale": "soon"}, "scale='soon' is not a duration"),
        ({"family": "window", "by": "item"}, r"by='item' is not one of \('age', 'rank"),
    ],
)
def test_what_does_not_apply_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        named_decay(**arguments)


@pytest.mark.parametrize(
    "written",
    [
        3,
        {},
        {"class": "Exponential"},
        {"class": "Exponential", "arguments": None},
        {"class": "Decay", "arguments": {}},
        {"class": "NEVER", "arguments": {}},
        {"class": "os", "arguments": {}},
    ],
)
def test_what_is_no_decay_is_not_made(written):
    with pytest.raises(ValueError, match=r"is no decay: it has a class of tfrs_decay"):
        from_dict(written)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "Exponential",
            {"half_life": 3, "speed": 2},
            "Exponential has no argument speed=2: it has half_life, trainable, per_f",
        ),
        ("Constant", {"scale": 3}, "Constant has no argument scale=3: it has none"),
        ("PowerLaw", {"scale": 3}, r"PowerLaw needs exponent, .* given {'scale': 3}"),
        (
            "Exponential",
            {"half_life": None},
            r"Exponential cannot be made with {'half_life': None}: half_life.*NoneType",
        ),
        ("Mixture", {"half_lives": 3}, r"Mixture cannot be made with {'half_lives': 3"),
        ("Exponential", {"half_life": -1}, r"{'half_life': -1}: half_life=-1 must be"),
        (
            "Exponential",
            {"half_life": 3, "trainable": "no"},
            "trainable='no' must be true or false",
        ),
        (
            "Sum",
            {"parts": [{"family": "Constant", "config": 3}] * 2},
            r"Sum cannot be made with {'parts': \[{'family': 'Constant', 'config': 3}",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_dict({"class": name, "arguments": arguments})


def test_every_range_holds_its_usual_number():
    for named in NAMED.values():
        for number in named.numbers.values():
            assert number.low < number.usual < number.high
