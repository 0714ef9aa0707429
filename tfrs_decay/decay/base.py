"""What every decay family has in common."""

from __future__ import annotations

import abc
import itertools
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay import plots
from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.durations import Duration, to_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfrs_decay.decay.mixture import Mixture

Parameters = Mapping[str, Any]
"""Learned values by name: NumPy arrays, or the layer's variables."""

NEVER = -1e30
"""Log weight of an event that weighs nothing: finite, so that gradients are numbers."""

CLOCKS = ("age", "rank")
GROUPS = ("action", "category")
OTHERS = "*"
"""Stands for every action or category that has no name of its own."""


_PICTURE = re.compile(r"\.(png|pdf|svg|jpe?g|webp)$", re.IGNORECASE)


class Labels(NamedTuple):
    """Each event's action or category.

    names: The vocabulary.
    place: [...] integers, each event's place in it; `len(names)` for no such name.
    """

    names: tuple[str, ...]
    place: Any


class Elapsed(NamedTuple):
    """What a decay is a function of, for each event of an array.

    age: [...] seconds since the event, 0 or more.
    rank: [...] how many events of the same history came later; None where not asked.
    labels: Actions and categories, where a rate depends on them.
    """

    age: Any
    rank: Any = None
    labels: Mapping[str, Labels] = {}


class Condition(NamedTuple):
    """A term that takes only events of one group: the one at `place` of `names`."""

    group: str
    names: tuple[str, ...]
    place: int


class Term(NamedTuple):
    """One exponential of a decay: weight = sum over terms of share e^(-rate age).

    rate: [] or [dim], per second, 0 or more.
    log_share: [] or [dim], the logarithm of its share; the shares sum to 1.
    conditions: The events that it takes; all when empty.
    """

    rate: np.ndarray
    log_share: np.ndarray
    conditions: tuple[Condition, ...] = ()


class Terms(NamedTuple):
    """A decay as a sum of exponentials.

    terms: The exponentials.
    max_error: The most that the sum of them differs from the weight at any age up to
        the horizon that it was made for, as a share of that weight where it was asked
        for so; 0 where it is the same.
    """

    terms: list[Term]
    max_error: float = 0.0


class Decay(abc.ABC):
    """A decay: how long ago in, weight in [0, 1] out, never rising.

    A decay is a plain object: it holds what it was given, can be written down
    (`get_config`) and makes no variables. Where something is learned it names the start
    (`initial_parameters`); the layer owns the variables and hands them to `formula`.
    """

    per_feature: bool = False
    """Whether every feature of the pooled vectors fades at a rate of its own."""

    completely_monotone: bool = False
    """Whether a sum of positive exponentials can come as close to it as one likes."""

    @property
    @abc.abstractmethod
    def clocks(self) -> frozenset[str]:
        """What it runs over: "age", "rank", or both."""

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The actions and categories that it knows by name, where rates depend on them.

        By "action" and "category"; "*", which stands for all others, is not among them.
        """
        return {}

    @abc.abstractmethod
    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """Names what is learned, with the values it starts from.

        Args:
            dim: Features of the pooled vectors.

        Returns:
            float32 arrays by name; empty when nothing is learned.

        Raises:
            ValueError: It has rates for another number of features.
        """

    @abc.abstractmethod
    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same decay, fixed at what has been learned.

        Args:
            parameters: As `TimeDecayPooling.learned` gives them; none for a decay that
                learns nothing.
        """

    @abc.abstractmethod
    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """The logarithm of the weight, for layers: nothing is checked.

        Args:
            elapsed: Floating ages and ranks.
            parameters: Learned values under the names of `initial_parameters`; what the
                object was made with when left out.
            xp: The arithmetic of NumPy arrays or of tensors.

        Returns:
            [...] log weights, 0 or less, about `NEVER` for weight 0; [..., dim] or
            [..., 1] with a rate per feature.
        """

    def terms(
        self,
        *,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        relative: bool = False,
    ) -> Terms | None:
        """The exponentials that it is, or nearly is, a sum of.

        Args:
            max_error: How far the sum may be from the weight.
            horizon: The greatest age that this is asked for.
            relative: Whether `max_error` is a share of the weight at the same age, not
                of a new event's weight, 1. A mean of old events alone needs it.

        Returns:
            The sum: exact where there is such a sum, else of the fewest exponentials
            that are near enough, at most sixteen, or 32 with `relative`, for each
            action or category. None where there is none, as for a bell, a line or a
            step, and for what runs over the rank.

        Raises:
            ValueError: No sum of so few is near enough.
            ImportError: SciPy, which fits it, is needed and not installed.
        """
        return None

    def as_mixture(
        self,
        *,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        relative: bool = False,
    ) -> Mixture:
        """A mixture of exponentials that is nearly this decay, or the very same.

        A mixture can be kept up to date in constant time. Where it is fitted it has at
        most sixteen half-lives, or 32 with `relative`. `InterestState` takes the decay
        as it is, and does this by itself.

        Args:
            max_error: How far its weight may be from this one's, at any age up to the
                horizon.
            horizon: The greatest age that this is asked for: "2y".
            relative: Whether `max_error` is a share of the weight at the same age. If
                not it is one of a new event's weight, 1, and a *mean* of events so old
                that all weigh little may be far off.

        Returns:
            The mixture; its `max_error` is the bound that was reached.

        Raises:
            ValueError: No sum of positive exponentials is near enough; or rates depend
                on the action or category.
            ImportError: SciPy, which fits it, is needed and not installed.

        References:
            G. Beylkin, L. Monzon. On approximation of functions by exponential sums.
            Applied and Computational Harmonic Analysis 2005.
        """
        # Here, for a mixture is a decay itself.
        from tfrs_decay.decay.mixture import Mixture

        return Mixture.near(
            self, max_error=max_error, horizon=horizon, relative=relative
        )

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, JSON-serialisable."""

    @abc.abstractmethod
    def describe(self, parameters: Parameters | None = None) -> str:
        """The decay in people's words, with what has been learned.

        Args:
            parameters: Learned values, as `TimeDecayPooling.learned` gives them.
        """

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Decay:
        """Makes the object again from `get_config`."""
        return cls(**config)

    def log_weight(
        self,
        elapsed: Any,
        *,
        rank: Any = None,
        action: Any = None,
        category: Any = None,
    ) -> Any:
        """The logarithm of the weight, in NumPy.

        Args:
            elapsed: [...] what the decay runs over: seconds, 0 or more, or durations
                such as "36h" and timedeltas; or how many events came later, where it
                runs over the rank alone.
            rank: [...] how many events came later, where it runs over both.
            action: [...] strings, where rates depend on the action.
            category: [...] strings, where rates depend on the category.

        Returns:
            [...] float64, 0 or less, -inf for weight 0; [..., dim] or [..., 1] with a
            rate per feature; a float for a single number.

        Raises:
            ValueError: An age or rank is negative or not finite, or an argument is
                missing, not wanted, or of another shape.
            TypeError: They are dates, or anything else that is no such number.
        """
        elapsed = _not_negative(elapsed, "rank" if self._by_rank_alone else "age")
        if self._by_rank_alone:
            if rank is not None:
                raise ValueError(f"{self!r} runs over the rank alone: give it once.")
            found = Elapsed(elapsed, elapsed)
        else:
            if (rank is None) == ("rank" in self.clocks):
                wants = "needs" if rank is None else "does not run over"
                raise ValueError(f"{self!r} {wants} rank, the number of later events.")
            found = Elapsed(elapsed, None if rank is None else _not_negative(rank))
        labels = {}
        for group, names in (("action", action), ("category", category)):
            known = self.groups.get(group)
            if (names is None) != (known is None):
                wants = "needs" if names is None else "does not depend on"
                raise ValueError(f"{self!r} {wants} {group}.")
            if known is not None:
                labels[group] = label(names, known)
        _check_shapes(
            {
                "rank" if self._by_rank_alone else "age": elapsed,
                "rank": found.rank,
                **{group: one.place for group, one in labels.items()},
            }
        )
        log_weight = self.formula(found._replace(labels=labels))
        log_weight = np.where(log_weight <= NEVER / 2, -np.inf, log_weight)
        return float(log_weight) if log_weight.ndim == 0 else log_weight

    def weight(self, elapsed: Any, **others: Any) -> Any:
        """The weight in NumPy, in [0, 1]; see `log_weight`.

        Args:
            elapsed: [...] seconds, or later events for a decay over the rank.
            **others: `rank`, `action`, `category`, where the decay depends on them.

        Raises:
            ValueError: As in `log_weight`.
        """
        weight = np.exp(self.log_weight(elapsed, **others))
        return float(weight) if weight.ndim == 0 else weight

    def plot(self, until: Duration | None = None) -> Figure:
        """Draws the weight up to an age, or up to a number of later events.

        A line for each feature or each action and category, where they differ.

        Args:
            until: The right end; 90 days, or 50 events, when left out.

        Returns:
            A figure; `figure.savefig(path)` writes it.

        Raises:
            ValueError: It runs over both age and rank: draw its parts. Or `until` is no
                duration.
            ImportError: Matplotlib is not installed.
        """
        if isinstance(until, os.PathLike) or _PICTURE.search(str(until)):
            raise ValueError(
                f"until={str(until)!r} is a file's name: plot() returns a figure, and "
                f"plot().savefig({str(until)!r}) writes it."
            )
        if len(self.clocks) > 1:
            raise ValueError(
                f"{self!r} runs over both age and rank, and a curve has one axis: plot "
                "its parts."
            )
        if not self.groups:
            return plots.decay_curves({self.describe(): self}, until=until)
        names = [(*own, OTHERS) for own in self.groups.values()]
        curves = {
            ", ".join(named): _OfOneGroup(
                self, dict(zip(self.groups, named, strict=True))
            )
            for named in itertools.product(*names)
        }
        return plots.decay_curves(curves, until=until)

    @property
    def _by_rank_alone(self) -> bool:
        return self.clocks == {"rank"}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        # Sorted: mappings that are equal may name their groups in another order.
        return hash((type(self), json.dumps(self.get_config(), sort_keys=True)))

    def __repr__(self) -> str:
        arguments = (f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({', '.join(arguments)})"


def label(names: Any, vocabulary: tuple[str, ...]) -> Labels:
    """The places of strings in a vocabulary.

    Args:
        names: [...] strings.
        vocabulary: What has a place; anything else gets `len(vocabulary)`.
    """
    place = {name: number for number, name in enumerate(vocabulary)}
    flat = [place.get(_as_text(one), len(vocabulary)) for one in np.ravel(names)]
    return Labels(vocabulary, np.reshape(np.asarray(flat, np.int64), np.shape(names)))


def place_of(labels: Labels, names: tuple[str, ...], xp: Arithmetic) -> Any:
    """Each event's place in `names`, from its place in a wider vocabulary.

    Args:
        labels: The events' labels.
        names: The names that count; all others get `len(names)`.
        xp: The arithmetic of the labels.
    """
    if labels.names == names:
        return labels.place
    own = {name: number for number, name in enumerate(names)}
    places = [own.get(name, len(names)) for name in (*labels.names, OTHERS)]
    return xp.take(np.asarray(places, np.int32), labels.place)


def beside(value: np.ndarray, numbers: Any) -> np.ndarray:
    """A constant in the dtype of the numbers that it meets, where they are tensors.

    TensorFlow does not mix dtypes as NumPy does.

    Args:
        value: The constant.
        numbers: An array or a tensor.
    """
    dtype = getattr(getattr(numbers, "dtype", None), "as_numpy_dtype", None)
    return value if dtype is None else value.astype(dtype)


class _OfOneGroup:
    """A decay of events of one action or category, for pictures."""

    def __init__(self, decay: Decay, named: dict[str, str]) -> None:
        self.clocks = decay.clocks
        self._decay = decay
        self._named = named

    def weight(self, elapsed: Any) -> Any:
        each = {
            group: np.full(np.shape(elapsed), name)
            for group, name in self._named.items()
        }
        return self._decay.weight(elapsed, **each)


def _as_text(name: Any) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)


def _check_shapes(arguments: Mapping[str, Any]) -> None:
    shapes = {name: np.shape(one) for name, one in arguments.items() if one is not None}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        raise ValueError(
            "shapes do not agree: "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            + "; give one of each for every event."
        ) from None


def _not_negative(values: Any, name: str = "rank") -> np.ndarray:
    values = np.asarray(values)
    if name == "age" and values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    if name == "age" and values.dtype.kind in "OU":
        # Durations as people write them; numbers among them are seconds.
        seconds = [0.0 if one == 0 else to_seconds(one, name) for one in values.ravel()]
        values = np.reshape(seconds, values.shape)
    if values.size and values.dtype.kind not in "iuf":
        wanted = "seconds or durations" if name == "age" else "numbers of events"
        raise TypeError(f"{name} is {values.dtype}: give {wanted}.")
    values = values.astype(np.float64)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        what = (
            "not an age: an event has no weight before it happens; ages are finite "
            "seconds, 0 or more."
            if name == "age"
            else "not a number of later events: it is finite, 0 or more."
        )
        raise ValueError(f"{name}={values[wrong].flat[0]} is {what}")
    return values
