"""How the values of decays are read, and how they are shown."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_decay.decay.base import OTHERS, Decay
from tfrs_decay.durations import Duration, to_seconds

Extent = Duration | Sequence[Duration] | Mapping[str, Duration] | np.ndarray
"""How long: one for all events, one for each feature, or one for each group."""

Numbers = float | Sequence[float] | Mapping[str, float] | np.ndarray
"""A plain number in the same three ways."""

LEAST_FLOAT32 = float(np.finfo(np.float32).tiny)
MOST_FLOAT32 = float(np.finfo(np.float32).max)

UNKNOWN_ACTIONS = ("error", "ignore")
"""What becomes of an event whose action has no weight."""

MOST_NAMED = 6
"""Values that are told one by one; of more, how they spread."""


def read_decays(decay: Decay | Sequence[Decay]) -> tuple[Decay, ...]:
    """The decay of each head.

    Args:
        decay: One, or a list of them.

    Raises:
        ValueError: The list is empty.
        TypeError: There is something else in it, or instead.
    """
    heads: list[Any] = list(decay) if isinstance(decay, (list, tuple)) else [decay]
    for head in heads:
        if not isinstance(head, Decay):
            raise TypeError(
                f"decay is a {type(head).__name__}: give a decay object, such as "
                "tfrs_decay.decay.Exponential('7d'), or a list of them."
            )
    if not heads:
        raise ValueError(
            f"decay={decay!r} is empty: give one decay or more, one for each head."
        )
    return tuple(heads)


def read_flag(value: Any, name: str) -> bool:
    """A choice of yes or no.

    Raises:
        TypeError: It is something else, even what Python takes for true.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}: give a bool.")
    return bool(value)


def read_extent(value: Any, name: str, by: str) -> float:
    """Seconds, or a number of events.

    Raises:
        ValueError: It is not positive, or a duration where events are counted.
        TypeError: It is no number and no duration.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if by == "rank":
        if isinstance(value, (str, datetime.timedelta, np.timedelta64)):
            raise ValueError(
                f"{name}={value!r} is a duration, and by='rank' counts later events: "
                "give a number of events."
            )
        return read_number(value, name)
    return to_seconds(value, name)


def read_offset(value: Any, name: str, by: str) -> float:
    """As `read_extent`, with 0 for none."""
    if value == datetime.timedelta(0) and by == "age":
        return 0.0
    return 0.0 if _is_number(value) and value == 0 else read_extent(value, name, by)


def read_number(value: Any, name: str) -> float:
    """A plain number.

    Raises:
        ValueError: It is not finite and above 0.
        TypeError: It is no number.
    """
    if isinstance(value, bool) or not _is_number(value):
        raise TypeError(f"{name} is a {type(value).__name__}: give a number.")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be finite and above 0.")
    return float(value)


def read_action_weights(
    weights: Mapping[str, float] | None,
) -> dict[str, float] | None:
    """What each action weighs, as plain numbers; None for no weights.

    Raises:
        ValueError: There are none, or one is negative or no float32.
        TypeError: They are no mapping from names to numbers.
    """
    if weights is None:
        return None
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"action_weights is a {type(weights).__name__}: give a mapping, such as "
            '{"browse": 0.2, "purchase": 1.0}.'
        )
    if not weights:
        raise ValueError(
            "action_weights={} would let no event count: name the actions that do, or "
            "leave it out."
        )
    read = {}
    for action, weight in weights.items():
        if not isinstance(action, str):
            raise TypeError(
                f"action_weights has the key {action!r}, a {type(action).__name__}: "
                "actions are named by strings."
            )
        if action == OTHERS:
            raise ValueError(
                f"action_weights[{OTHERS!r}]={weight}: name each action; one that is "
                "not named weighs 0."
            )
        if isinstance(weight, bool) or not _is_number(weight):
            raise TypeError(
                f"action_weights[{action!r}] is a {type(weight).__name__}: give a "
                "number."
            )
        if not (weight == 0 or LEAST_FLOAT32 <= weight <= MOST_FLOAT32):
            raise ValueError(
                f"action_weights[{action!r}]={weight}: weights are finite, 0 or more."
            )
        read[action] = float(weight)
    return read


def check_unknown_action(choice: Any) -> None:
    """Refuses what does not say how actions without a weight are treated.

    Raises:
        ValueError: It is neither "error" nor "ignore".
    """
    if choice not in UNKNOWN_ACTIONS:
        raise ValueError(f"unknown_action={choice!r} is not one of {UNKNOWN_ACTIONS}.")


def without_weight(known: Iterable[str]) -> str:
    """What an error says of an action that `action_weights` does not name.

    Args:
        known: The actions that it names.
    """
    return (
        f"action_weights names {', '.join(sorted(known))}, and what it does not name "
        "would count for nothing: name every action there, with 0 for one that is not "
        "to count, or pass unknown_action='ignore' to leave such events out."
    )


def in_events(number: float) -> str:
    """A number of events in words.

    >>> in_events(5.0), in_events(1.0)
    ('5 events', '1 event')
    """
    said = f"{number:.4g}"
    return f"{said} event{'' if said == '1' else 's'}"


def plain(number: float) -> float:
    """As short as it can be written.

    >>> plain(5.0), plain(0.1234567)
    (5, 0.123457)
    """
    return int(number) if number == int(number) else float(f"{number:.6g}")


def listed(values: np.ndarray, shown: Callable[[float], Any]) -> str:
    """A few values as a list; of more, how many and how they spread.

    >>> listed(np.arange(1.0, 3.0), plain), listed(np.arange(1.0, 101.0), plain)
    ('[1, 2]', '<100 from 1 to 100>')
    """
    if len(values) <= MOST_NAMED:
        return repr([shown(one) for one in values.tolist()])
    return f"<{len(values)} from {shown(values.min())} to {shown(values.max())}>"


def common_names(given: Mapping[str, Any], group: str) -> tuple[str, ...] | None:
    """The names of the mappings among some values; None without a mapping.

    Args:
        given: The values by the names of their arguments.
        group: "action" or "category", for errors.

    Raises:
        ValueError: The mappings differ in their names, or one lacks "*".
        TypeError: A name is no string.
    """
    names: tuple[str, ...] | None = None
    for name, value in given.items():
        if not isinstance(value, Mapping):
            continue
        if not all(isinstance(one, str) for one in value):
            raise TypeError(f"{name}={dict(value)}: a {group} is named by a string.")
        if OTHERS not in value:
            raise ValueError(
                f"{name}={dict(value)} does not say what holds for every other "
                f"{group}: add {OTHERS!r}."
            )
        own = tuple(one for one in value if one != OTHERS)
        if names is not None and set(own) != set(names):
            raise ValueError(
                f"{name} names {sorted(own)}, and another value {sorted(names)}: give "
                f"both for the same names of {group}."
            )
        names = own if names is None else names
    return names


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))
