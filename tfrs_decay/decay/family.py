"""Decays by a formula: what their values can be, and how they are learned."""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.decay.base import (
    CLOCKS,
    GROUPS,
    OTHERS,
    Condition,
    Decay,
    Elapsed,
    Parameters,
    Terms,
    beside,
    place_of,
)
from tfrs_decay.decay.fit import fit_terms
from tfrs_decay.decay.values import (
    MOST_NAMED,
    Extent,
    Numbers,
    common_names,
    in_events,
    listed,
    plain,
    read_extent,
    read_flag,
    read_number,
)
from tfrs_decay.durations import Duration, to_seconds, to_text

PLURALS = {"action": "actions", "category": "categories"}


class Family(Decay):
    """A decay by one formula, whose values are above 0 and learned as logarithms.

    A logarithm is positive by construction and moves as easily from seconds as from
    years. Each value is one for all events; a list, one for each feature; or a mapping
    from names of actions (or categories) with "*" for all others.

    A family of your own gives `log_weight_of`, and hands its arguments on here under
    their own names.

    Args:
        extents: Values that are durations, or numbers of events `by="rank"`.
        numbers: Values that are plain numbers.
        trainable: Learn them all, starting from what is given.
        per_feature: One of each for every feature of the pooled vectors; given with a
            list anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: A value is not positive, does not fit the clock, or has other names
            or another length than the others.
        TypeError: A value is no number, or `trainable` or `per_feature` no bool.
    """

    relative: ClassVar[Mapping[str, str]] = {}
    """Values that are learned as a share of another: their names, and that one's."""

    def __init__(
        self,
        extents: Mapping[str, Extent],
        numbers: Mapping[str, Numbers] | None = None,
        *,
        trainable: bool,
        per_feature: bool,
        by: str,
        group: str,
    ) -> None:
        if by not in CLOCKS:
            raise ValueError(f"by={by!r} is not one of {CLOCKS}.")
        if group not in GROUPS:
            raise ValueError(f"group={group!r} is not one of {GROUPS}.")
        self.by = by
        self.group = group
        self.trainable = read_flag(trainable, "trainable")
        given = {**extents, **(numbers or {})}
        self._extents = tuple(extents)
        self._names = common_names(given, group)
        self._values: dict[str, np.ndarray] = {}
        for name, value in given.items():
            if isinstance(value, np.ndarray) and value.ndim == 0:
                value = value[()]
            read = self._reader(name)
            if isinstance(value, Mapping):
                names = (*(self._names or ()), OTHERS)
                each = [read(value[one], f"{name}[{one!r}]") for one in names]
            elif isinstance(value, (Sequence, np.ndarray)) and not isinstance(
                value, (str, bytes)
            ):
                each = [read(one, name) for one in value]
                per_feature = True
                if not each:
                    raise ValueError(
                        f"{name}={value!r} is empty: give one value for each feature, "
                        "or a single one."
                    )
            else:
                self._values[name] = np.asarray(read(value, name))
                continue
            self._values[name] = np.asarray(each, np.float64)
        self.per_feature = read_flag(per_feature, "per_feature")
        if per_feature and self._names is not None:
            raise ValueError(
                f"{' and '.join(given)}: give one for each feature (a list, or "
                f"per_feature=True) or one for each {group} (a mapping), not both."
            )
        lengths = {name: one.size for name, one in self._values.items() if one.ndim}
        if len(set(lengths.values())) > 1:
            counts = " and ".join(f"{name} {size}" for name, size in lengths.items())
            raise ValueError(
                f"there are {counts}: give one of each for every feature, or a single "
                "one."
            )

    @abc.abstractmethod
    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """The formula: elapsed time or events, and the values, in; log weight out."""

    @property
    def clocks(self) -> frozenset[str]:
        """The one of `by`."""
        return frozenset({self.by})

    @property
    def extents(self) -> tuple[str, ...]:
        """The names of the values that are durations, or numbers of events."""
        return self._extents

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The names of a mapping that was given."""
        return {} if self._names is None else {self.group: self._names}

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """`log_` before each value's name: [], [dim], or [groups] with "*" last.

        A value that is learned as a share of another is `log_width_of_midpoint`.
        """
        for name, value in self._values.items():
            if self.per_feature and value.ndim and len(value) != dim:
                raise ValueError(
                    f"{name} has {len(value)} values and the pooled vectors have {dim} "
                    "features: give one for each, or a single one."
                )
        if not self.trainable:
            return {}
        shape: tuple[int, ...] = (dim,) if self.per_feature else ()
        if self._names is not None:
            shape = (len(self._names) + 1,)
        logs = {name: np.log(value) for name, value in self._values.items()}
        for name, other in self.relative.items():
            logs[name] = logs[name] - np.log(self._values[other])
        return {
            self._learned_name(name): np.broadcast_to(log, shape).astype(np.float32)
            for name, log in logs.items()
        }

    def _learned_name(self, name: str) -> str:
        other = self.relative.get(name)
        return f"log_{name}" if other is None else f"log_{name}_of_{other}"

    def _learned_log(self, name: str, parameters: Parameters) -> Any:
        """The logarithm of a value, of learned ones."""
        log = parameters[self._learned_name(name)]
        if name in self.relative:
            log = log + parameters[self._learned_name(self.relative[name])]
        return log

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """`log_weight_of`, with each event's values."""
        number = elapsed.age if self.by == "age" else elapsed.rank
        values: dict[str, Any]
        if parameters:
            values = {
                name: xp.exp(self._learned_log(name, parameters))
                for name in self._values
            }
        else:
            values = {name: beside(one, number) for name, one in self._values.items()}
        if self._names is not None:
            place = place_of(elapsed.labels[self.group], self._names, xp)
            values = {
                name: xp.take(value, place) if len(value.shape) else value
                for name, value in values.items()
            }
        if self.per_feature:
            number = number[..., None]
        return self.log_weight_of(number, values, xp)

    def terms(
        self,
        *,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        relative: bool = False,
    ) -> Terms | None:
        """Fitted, where the family is completely monotone and runs over the clock.

        With one of each for every feature, the features share the rates. For every
        group, terms of its own.
        """
        if self.by == "rank" or not self.completely_monotone:
            return None
        seconds = to_seconds(horizon, "horizon")
        curves: list[tuple[dict[str, np.ndarray], tuple[Condition, ...]]]
        if self._names is None:
            curves = [(self._values, ())]
        else:
            curves = [
                (
                    {
                        name: one[place] if one.ndim else one
                        for name, one in self._values.items()
                    },
                    (Condition(self.group, self._names, place),),
                )
                for place in range(len(self._names) + 1)
            ]
        found = []
        for values, conditions in curves:
            try:
                found.append(
                    fit_terms(
                        functools.partial(self._curve, values),
                        max_error=max_error,
                        horizon=seconds,
                        relative=relative,
                        conditions=conditions,
                    )
                )
            except ValueError as error:
                raise ValueError(f"{self!r}: {error}") from None
        return Terms(
            [term for one in found for term in one.terms],
            max(one.max_error for one in found),
        )

    def _curve(self, values: Mapping[str, np.ndarray], age: np.ndarray) -> np.ndarray:
        """[n] ages -> [n] weights; [n, dim] where a value is one for each feature."""
        if any(one.ndim for one in values.values()):
            age = age[:, None]
        return np.exp(self.log_weight_of(age, values, NUMPY))

    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same family, fixed at what has been learned."""
        config = {**self.get_config(), "trainable": False}
        for name, value in self.values(parameters).items():
            config[name] = self._written(value)
        return type(self)(**config)

    def values(self, parameters: Parameters | None = None) -> dict[str, np.ndarray]:
        """The values by name, in seconds where they are durations.

        Args:
            parameters: Learned values; what the object was made with when left out.

        Returns:
            float64 arrays: [], [dim], or [groups] with "*" last.
        """
        if not parameters:
            return dict(self._values)
        doubles = {
            name: np.asarray(one, np.float64) for name, one in parameters.items()
        }
        return {name: np.exp(self._learned_log(name, doubles)) for name in self._values}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; durations in seconds."""
        return {
            **{name: self._written(value) for name, value in self._values.items()},
            "trainable": self.trainable,
            "per_feature": self.per_feature,
            "by": self.by,
            "group": self.group,
        }

    def _written(self, value: np.ndarray) -> Any:
        if value.ndim and self._names is not None:
            return dict(zip((*self._names, OTHERS), value.tolist(), strict=True))
        return value.tolist()

    def describe(self, parameters: Parameters | None = None) -> str:
        """The values, or the range of the features' or groups'."""
        learned = "learned " if parameters else ""
        said = []
        for name, value in self.values(parameters).items():
            title = name.replace("_", "-" if name == "half_life" else " ")
            said.append(f"{title} {self._spread(name, value)}")
        title = f"{self._title}, " if self._title else ""
        return f"{title}{learned}{', '.join(said)}"

    @property
    def _title(self) -> str:
        return re.sub("(?<!^)(?=[A-Z])", " ", type(self).__name__).lower()

    def extent_in_words(self, value: float) -> str:
        """As people say it: "7d", or "5 events"."""
        return to_text(value) if self.by == "age" else in_events(value)

    def _spread(self, name: str, value: np.ndarray) -> str:
        words = self.extent_in_words if name in self._extents else "{:.3g}".format
        if self._names is not None and 1 < value.size <= MOST_NAMED:
            names = (*self._names, "others")
            return " / ".join(
                f"{group} {words(one)}"
                for group, one in zip(names, value.tolist(), strict=True)
            )
        low, middle, high = map(words, np.quantile(value, [0, 0.5, 1]).tolist())
        if value.size == 1:
            return middle
        what = "features" if self.per_feature else PLURALS[self.group]
        return f"of {value.size} {what} {low} to {high}, median {middle}"

    def _reader(self, name: str) -> Callable[[Any, str], float]:
        if name in self._extents:
            return functools.partial(read_extent, by=self.by)
        return read_number

    def _shown_extent(self, value: float) -> Any:
        return to_text(value) if self.by == "age" else plain(value)

    def _shown_options(self) -> dict[str, Any]:
        """What else was said than the values, by the names of arguments."""
        given = {
            "trainable": self.trainable,
            "per_feature": self.per_feature,
            "by": self.by,
            "group": self.group,
        }
        usual = {"trainable": False, "per_feature": False, "by": "age"}
        usual["group"] = self.group if self._names is None else "action"
        return {name: one for name, one in given.items() if one != usual[name]}

    def __repr__(self) -> str:
        values: list[str] = []
        for name, value in self._values.items():
            shown = self._shown_extent if name in self._extents else plain
            if value.ndim == 0:
                said = repr(shown(value.item()))
            elif self._names is None or value.size > MOST_NAMED:
                said = listed(value, shown)
            else:
                each = (shown(one) for one in value.tolist())
                said = repr(dict(zip((*self._names, OTHERS), each, strict=True)))
            values.append(f"{name}={said}" if values else said)
        options = (f"{name}={one!r}" for name, one in self._shown_options().items())
        return f"{type(self).__name__}({', '.join([*values, *options])})"
