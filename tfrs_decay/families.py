"""Families of decay by name, for those who choose one on a command line or by search.

In Python a decay is an object and needs none of this.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfrs_decay import decay
from tfrs_decay.decay import (
    Constant,
    Decay,
    Exponential,
    Gaussian,
    Linear,
    LogBucketed,
    Logistic,
    Mixture,
    PowerLaw,
    Window,
)
from tfrs_decay.decay.values import read_extent
from tfrs_decay.durations import Duration

DEFAULT = "power-law"
"""The heavy tail: it starts near the plain mean and is learned from there."""


class Number(NamedTuple):
    """A number that a family has besides its scale.

    usual: What it is where nobody says otherwise.
    low: Where a search begins.
    high: Where a search ends.
    even: Whether it is searched evenly; over its logarithm otherwise.
    """

    usual: float
    low: float
    high: float
    even: bool = False

    @property
    def middle(self) -> float:
        """The middle of its range."""
        if self.even:
            return (self.low + self.high) / 2
        return math.sqrt(self.low * self.high)


class Named(NamedTuple):
    """A family that has a scale.

    make: Scale in seconds or events, numbers, the class's own options -> the decay.
    usual: The scale where nobody gives one: a duration by "age", events by "rank".
    numbers: What else it has.
    """

    make: Callable[[float, Mapping[str, float], dict[str, Any]], Decay]
    usual: Mapping[str, Duration]
    numbers: Mapping[str, Number] = {}


NAMED: dict[str, Named] = {
    "exponential": Named(
        lambda scale, _, options: Exponential(scale, **options),
        {"age": "30d", "rank": 20},
    ),
    "power-law": Named(
        lambda scale, numbers, options: PowerLaw(scale, numbers["exponent"], **options),
        {"age": "1h", "rank": 1},
        {"exponent": Number(0.25, 0.1, 2.0)},
    ),
    "gaussian": Named(
        lambda scale, _, options: Gaussian(scale, **options),
        {"age": "30d", "rank": 20},
    ),
    # Long, for beyond its end nothing is learned.
    "linear": Named(
        lambda scale, _, options: Linear(scale, **options),
        {"age": "90d", "rank": 50},
    ),
    "window": Named(
        lambda scale, _, options: Window(scale, **options),
        {"age": "90d", "rank": 50},
    ),
    # The width as a share of the midpoint, so that the shape is the same at any scale.
    "logistic": Named(
        lambda scale, numbers, options: Logistic(
            scale, numbers["width"] * scale, **options
        ),
        {"age": "30d", "rank": 20},
        {"width": Number(0.25, 0.05, 1.0)},
    ),
    # What one wants now, and what one is like.
    "mixture": Named(
        lambda scale, numbers, options: Mixture(
            [scale, numbers["ratio"] * scale],
            [numbers["share"], 1 - numbers["share"]],
            **options,
        ),
        {"age": "1d", "rank": 2},
        {"ratio": Number(30.0, 4.0, 400.0), "share": Number(0.5, 0.1, 0.9, even=True)},
    ),
}
"""Every family that has a scale: the half-life of an exponential, the length of a
window, the midpoint of a logistic step, the shorter half-life of a mixture."""

NAMES = (*NAMED, "log-buckets", "none")

NUMBERS = tuple(dict.fromkeys(name for one in NAMED.values() for name in one.numbers))
"""What a family can have besides its scale, each name once."""


def named_decay(
    family: str,
    *,
    scale: Duration | None = None,
    by: str | None = None,
    trainable: bool = False,
    per_feature: bool = False,
    **numbers: float | None,
) -> Decay:
    """Makes a decay from the name of its family.

    Args:
        family: One of `NAMES`.
        scale: A duration by "age", a number of later events by "rank"; the family's
            usual one when left out.
        by: "age", which is usual, or "rank".
        trainable: Learn its values, starting from these.
        per_feature: Values of each feature's own.
        **numbers: What else the family has: `exponent` (power-law), `width` as a share
            of the scale (logistic), `ratio` of the longer half-life to the shorter and
            `share` of the shorter (mixture); usual ones when left out.

    Raises:
        ValueError: There is no such family, it has no such number, or a value is out
            of its range.

    >>> named_decay("power-law", scale="1d", exponent=0.5) == PowerLaw("1d", 0.5)
    True
    >>> named_decay("window", scale=5, by="rank").weight([4, 5]).tolist()
    [1.0, 0.0]
    """
    if family not in NAMES:
        raise ValueError(f"family={family!r} is not one of {', '.join(NAMES)}.")
    for name, value in numbers.items():
        if name not in NUMBERS:
            raise ValueError(
                f"{name}={value!r}: no family has such a number. There are "
                f"{', '.join(NUMBERS)}."
            )
    named = NAMED.get(family)
    given: dict[str, Any] = {"scale": scale, **numbers}
    if family == "none":
        given |= {"by": by, "per_feature": per_feature or None}
    if family == "log-buckets":
        given |= {"per_feature": per_feature or None}
    known = () if named is None else ("scale", *named.numbers)
    for name, value in given.items():
        if value is not None and name not in known:
            has = " and ".join(known) or "no numbers to give"
            raise ValueError(
                f"{name}={value!r} does not apply to the family {family!r}, which has "
                f"{has}: leave it out, or choose another family."
            )
    by = "age" if by is None else by
    if family == "none":
        return Constant()
    if named is None:
        return LogBucketed(trainable=trainable, by=by)
    if by not in named.usual:
        raise ValueError(f"by={by!r} is not one of {tuple(named.usual)}.")
    extent = read_extent(named.usual[by] if scale is None else scale, "scale", by)
    values = {name: number.usual for name, number in named.numbers.items()}
    values |= {name: one for name, one in numbers.items() if one is not None}
    options = {"trainable": trainable, "per_feature": per_feature, "by": by}
    return named.make(extent, values, options)


def as_dict(one: Decay) -> dict[str, Any]:
    """A decay for JSON: its class in `tfrs_decay.decay`, and its arguments."""
    return {"class": type(one).__name__, "arguments": one.get_config()}


def from_dict(written: Any, *, trainable: bool | None = None) -> Decay:
    """Makes a decay from what `as_dict` gave.

    Args:
        written: The class and its arguments.
        trainable: Whether to learn its values, starting from these, where it has any;
            as it is written when left out. What the parts of a sum or product learn is
            as it is written.

    Raises:
        ValueError: It is something else, or an argument is missing, not one of the
            class, or out of its range.

    >>> again = from_dict(as_dict(Exponential("7d")), trainable=True)
    >>> again == Exponential("7d", trainable=True)
    True
    """
    fields = written if isinstance(written, Mapping) else {}
    name, arguments = fields.get("class"), fields.get("arguments")
    made: Any = getattr(decay, name) if name in decay.__all__ else None
    is_decay = isinstance(made, type) and issubclass(made, Decay) and made is not Decay
    if not is_decay or not isinstance(arguments, Mapping):
        raise ValueError(
            f"{written!r} is no decay: it has a class of tfrs_decay.decay, and its "
            "arguments."
        )
    _check_arguments(made, arguments)
    if trainable is not None and "trainable" in arguments:
        arguments = {**arguments, "trainable": trainable}
    try:
        return made.from_config(arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be made with {dict(arguments)}: {error}"
        ) from error


def _check_arguments(made: type[Decay], arguments: Mapping[Any, Any]) -> None:
    own = inspect.signature(made).parameters
    for name, value in arguments.items():
        if name not in own:
            raise ValueError(
                f"{made.__name__} has no argument {name}={value!r}: it has "
                f"{', '.join(own) or 'none'}."
            )
    for name, one in own.items():
        if name not in arguments and one.default is one.empty:
            raise ValueError(
                f"{made.__name__} needs {name}, and is given {dict(arguments)}."
            )
    learned = arguments.get("trainable", False)
    if not isinstance(learned, bool):
        raise ValueError(f"trainable={learned!r} must be true or false.")
