"""How interest fades: the age of an event in, the logarithm of its weight out.

A family is a plain object: it holds what it was given, can be written down
(`get_config`) and makes no variables. Where something is learned it names the start
(`initial_parameters`); the layer owns the variables and hands them back to
`log_weight`. The formula is written once, with names that NumPy and `tf.math` share, so
the same line serves a stream worker, the training graph and its gradients.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tfrs_decay.durations import Duration, to_seconds, to_text

Parameters = Mapping[str, Any]
"""Learned values by name: NumPy arrays, or the layer's variables."""


class Decay(abc.ABC):
    """A decay family: age in seconds -> weight in [0, 1], never rising with age."""

    per_feature: bool = False
    """Whether every feature of the pooled vectors fades at a rate of its own."""

    @abc.abstractmethod
    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """Names what is learned, with the values it starts from.

        Args:
            dim: Features of the pooled vectors.

        Returns:
            float32 arrays by name; empty when nothing is learned.
        """

    @abc.abstractmethod
    def log_weight(
        self, age: Any, parameters: Parameters | None = None, xp: ModuleType | Any = np
    ) -> Any:
        """The logarithm of the weight.

        Args:
            age: [...] floating seconds, 0 or more.
            parameters: Learned values under the names of `initial_parameters`; the
                values that the object was made with when left out.
            xp: `numpy`, or `tf.math` for tensors.

        Returns:
            [...] log weights, 0 or less; [..., dim] with a rate per feature.
        """

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, JSON-serialisable."""

    def describe(self, parameters: Parameters | None = None) -> str:
        """The decay in people's words, with what has been learned.

        Args:
            parameters: Learned values, as `TimeDecayPooling.learned` gives them.
        """
        return repr(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Decay:
        """Makes the object again from `get_config`."""
        return cls(**config)

    def weight(self, age: Any) -> Any:
        """The weight in NumPy, in [0, 1].

        Args:
            age: [...] seconds, 0 or more.

        Raises:
            ValueError: An age is negative or not finite.
        """
        age = np.asarray(age, np.float64)
        wrong = ~(np.isfinite(age) & (age >= 0))
        if wrong.any():
            raise ValueError(
                f"age={age[wrong].flat[0]} is not an age: an event has no weight "
                "before it happens; ages are finite seconds, 0 or more."
            )
        weight = np.exp(self.log_weight(age))
        return float(weight) if weight.ndim == 0 else weight

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), repr(self.get_config())))

    def __repr__(self) -> str:
        arguments = (f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({', '.join(arguments)})"


class Constant(Decay):
    """No decay: every event weighs 1 at every age, so that pooling is a plain mean.

    The peer that every decay is measured against.
    """

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """Nothing is learned."""
        return {}

    def log_weight(
        self, age: Any, parameters: Parameters | None = None, xp: ModuleType | Any = np
    ) -> Any:
        """Zero at every age."""
        return age * 0.0

    def describe(self, parameters: Parameters | None = None) -> str:
        """No numbers to tell."""
        return "no decay, a plain mean"

    def get_config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


class Exponential(Decay):
    """Interest halves every `half_life`: weight = 2^(-age / half_life).

    The same as e^(-lambda age) with lambda = ln 2 / half_life, the article's u_i(t),
    with one lambda for all features or a lambda_i for each (`per_feature`). What is
    learned is the logarithm of the half-life, which is positive by construction and
    moves as easily from seconds as from years.

    A normalised mean under a pure exponential does not change while nothing happens:
    moving "now" scales all weights alike. `normalize="sum"` in the pooling layer keeps
    the fading itself.

    Args:
        half_life: The age at which an event weighs half: "7d", "36h", a `timedelta`,
            or seconds; or a list of these, one for each feature.
        trainable: Learn it, starting from `half_life`.
        per_feature: One half-life for each feature of the pooled vectors; given with
            a list anyway.

    Raises:
        ValueError: `half_life` is not a positive duration, or as many as there are
            features.

    References:
        Y. Ding, X. Li. Time weight collaborative filtering. CIKM 2005.

    >>> Exponential("7d").weight([0, 604_800, 1_209_600]).round(9).tolist()
    [1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        half_life: Duration | Sequence[Duration] | np.ndarray,
        *,
        trainable: bool = False,
        per_feature: bool = False,
    ) -> None:
        self.half_life: float | list[float]
        if isinstance(half_life, np.ndarray):
            half_life = list(half_life)
        if isinstance(half_life, Sequence) and not isinstance(half_life, str):
            if not half_life:
                raise ValueError("half_life=[] names no half-life.")
            self.half_life = [to_seconds(one, "half_life") for one in half_life]
            per_feature = True
        else:
            self.half_life = to_seconds(half_life, "half_life")
        self.trainable = trainable
        self.per_feature = per_feature

    @classmethod
    def from_rate(cls, rate_per_second: float, **options: bool) -> Exponential:
        """The same family by its rate: weight = e^(-rate_per_second age).

        Args:
            rate_per_second: lambda, above 0.
            **options: `trainable` and `per_feature`.

        Raises:
            ValueError: The rate is not finite and positive.

        >>> round(Exponential.from_rate(0.1).weight(1.0), 4)
        0.9048
        """
        if not (math.isfinite(rate_per_second) and rate_per_second > 0):
            raise ValueError(
                f"rate_per_second={rate_per_second} must be finite and above 0."
            )
        return cls(math.log(2) / rate_per_second, **options)

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """`log_half_life`, [] or [dim], when it is learned."""
        half_life = np.asarray(self.half_life)
        if half_life.ndim and len(half_life) != dim:
            raise ValueError(
                f"half_life names {len(half_life)} half-lives and the pooled vectors "
                f"have {dim} features: give one for each, or a single one."
            )
        if not self.trainable:
            return {}
        shape = (dim,) if self.per_feature else ()
        return {
            "log_half_life": np.broadcast_to(np.log(half_life), shape).astype("float32")
        }

    def log_weight(
        self, age: Any, parameters: Parameters | None = None, xp: ModuleType | Any = np
    ) -> Any:
        """-ln 2 age / half_life; [..., dim] (or [..., 1]) with rates per feature."""
        if self.per_feature:
            age = age[..., None]
        if parameters:
            return -math.log(2) * age * xp.exp(-parameters["log_half_life"])
        return (-math.log(2) / np.asarray(self.half_life)) * age

    def describe(self, parameters: Parameters | None = None) -> str:
        """The half-life, or the range of the features'.

        >>> Exponential("7d").describe()
        'half-life 7d'
        """
        half_life = np.ravel(self.half_life)
        if parameters:
            half_life = np.ravel(np.exp(parameters["log_half_life"]))
        words = "learned half-life" if parameters else "half-life"
        if len(half_life) == 1:
            return f"{words} {to_text(float(half_life[0]))}"
        low, middle, high = np.quantile(half_life, [0, 0.5, 1]).tolist()
        return (
            f"{words} of {len(half_life)} features {to_text(low)} to {to_text(high)}, "
            f"median {to_text(middle)}"
        )

    def get_config(self) -> dict[str, Any]:
        """`half_life` in seconds, `trainable`, `per_feature`."""
        return {
            "half_life": self.half_life,
            "trainable": self.trainable,
            "per_feature": self.per_feature,
        }

    def __repr__(self) -> str:
        learned = ", trainable=True" if self.trainable else ""
        each = ", per_feature=True" if self.per_feature else ""
        written = (
            [to_text(one) for one in self.half_life]
            if isinstance(self.half_life, list)
            else to_text(self.half_life)
        )
        return f"Exponential({written!r}{learned}{each})"
