"""Decays made of decays."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.decay.base import Decay, Elapsed, Parameters, Term, Terms
from tfrs_decay.decay.constant import Constant
from tfrs_decay.decay.exponential import Exponential
from tfrs_decay.decay.fit import MOST_RELATIVE_TERMS, MOST_TERMS, fit_terms
from tfrs_decay.decay.mixture import Mixture
from tfrs_decay.decay.values import listed, plain, read_flag
from tfrs_decay.durations import Duration, to_seconds


class _Composition(Decay):
    """What sums and products have in common: their parts, and whose values are whose.

    Args:
        parts: Two decays or more, or what `get_config` wrote of them.
    """

    def __init__(self, parts: Sequence[Decay | Mapping[str, Any]]) -> None:
        if not isinstance(parts, Sequence) or isinstance(parts, str) or len(parts) < 2:
            raise ValueError(
                f"parts={parts!r}: give a list of two decays or more, such as "
                f"{type(self).__name__}([Exponential('7d'), Window(5, by='rank')])."
            )
        self.parts = [
            part if isinstance(part, Decay) else _read(part, place)
            for place, part in enumerate(parts)
        ]
        self.per_feature = any(part.per_feature for part in self.parts)

    @property
    def completely_monotone(self) -> bool:  # type: ignore[override]
        """As sums and products of completely monotone functions are."""
        return all(part.completely_monotone for part in self.parts)

    @property
    def clocks(self) -> frozenset[str]:
        """Those of all parts; a constant goes with any."""
        clocks = frozenset[str]().union(
            *(part.clocks for part in self.parts if not isinstance(part, Constant))
        )
        return clocks or self.parts[0].clocks

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The names of all parts."""
        names: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            for group, own in part.groups.items():
                # In the order of mention, each once.
                names[group] = tuple(dict.fromkeys((*names.get(group, ()), *own)))
        return names

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """Each part's, under `part_` and its number."""
        return {
            f"part_{number}_{name}": value
            for number, part in enumerate(self.parts)
            for name, value in part.initial_parameters(dim).items()
        }

    def parameters_of(
        self, number: int, parameters: Parameters | None
    ) -> dict[str, Any]:
        """One part's learned values, under the names that it gave them."""
        prefix = f"part_{number}_"
        return {
            name.removeprefix(prefix): value
            for name, value in (parameters or {}).items()
            if name.startswith(prefix)
        }

    def log_weights(
        self, elapsed: Elapsed, parameters: Parameters | None, xp: Arithmetic
    ) -> list[Any]:
        """Each part's log weight, with the axis of features where any part has it."""
        found = []
        for number, part in enumerate(self.parts):
            one = part.formula(elapsed, self.parameters_of(number, parameters), xp)
            narrow = self.per_feature and not part.per_feature
            found.append(one[..., None] if narrow else one)
        return found

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; each part as its family and arguments."""
        return {
            "parts": [
                {"family": type(part).__name__, "config": part.get_config()}
                for part in self.parts
            ]
        }

    def _few(
        self, terms: Terms, max_error: float, horizon: Duration, relative: bool
    ) -> Terms:
        """The same terms; or fewer, fitted to the whole, where a fit is too many.

        What is exact stays so. With groups the parts' terms stay as they are: each
        group has its own weight. So they do where no few come near the whole.
        """
        most = MOST_RELATIVE_TERMS if relative else MOST_TERMS
        if not terms.max_error or len(terms.terms) <= most or self.groups:
            return terms
        try:
            return fit_terms(
                lambda age: np.exp(self.formula(Elapsed(age))),
                max_error=max_error,
                horizon=to_seconds(horizon, "horizon"),
                relative=relative,
            )
        except ValueError:
            return terms

    def _fixed_parts(self, parameters: Parameters) -> list[Decay]:
        return [
            part.with_parameters(self.parameters_of(number, parameters))
            for number, part in enumerate(self.parts)
        ]

    def _parts_in_words(self, parameters: Parameters | None) -> list[str]:
        return [
            part.describe(self.parameters_of(number, parameters))
            for number, part in enumerate(self.parts)
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.parts!r})"


class Product(_Composition):
    """All at once: weight = the product of the parts' weights.

    A clock and the rank together, for instance: an event fades as time passes, and as
    other events come after it.

    Args:
        parts: Two decays or more.

    Raises:
        ValueError: There are fewer than two.

    References:
        Elementary: log weights add up, and so do the rates of exponentials. That
        products of completely monotone functions are such functions: R. L. Schilling,
        R. Song, Z. Vondracek. Bernstein functions. De Gruyter 2012.

    >>> from tfrs_decay.decay import Exponential
    >>> both = Product([Exponential("1d"), Exponential(5, by="rank")])
    >>> both.weight([0, 86_400], rank=[5, 10]).round(9).tolist()
    [0.5, 0.125]
    """

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """The sum of the parts' log weights."""
        first, *others = self.log_weights(elapsed, parameters, xp)
        for one in others:
            first = first + one
        return first

    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same product, fixed at what has been learned."""
        return Product(self._fixed_parts(parameters))

    def terms(
        self,
        *,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        relative: bool = False,
    ) -> Terms | None:
        """Every product of one term of each part: rates add up, shares multiply.

        Two sums of exact exponentials have as many as their numbers' product. Where a
        part is fitted and that makes more than sixteen (32 with `relative`), the whole
        is fitted instead, but for rates that depend on groups.
        """
        # Neither a weight nor a sum of shares is above 1: the errors of the parts add
        # up at most, and relative ones come to a little more.
        allowed = (1 + max_error) ** (1 / max(1, _fitted(self))) - 1
        found = [
            part.terms(max_error=allowed, horizon=horizon, relative=relative)
            for part in self.parts
        ]
        if any(one is None for one in found):
            return None
        exact = [one for one in found if one is not None]
        terms = [
            Term(
                np.asarray(sum(one.rate for one in factors)),
                np.asarray(sum(one.log_share for one in factors)),
                tuple(dict.fromkeys(sum((one.conditions for one in factors), ()))),
            )
            for factors in itertools.product(*(one.terms for one in exact))
        ]
        product = Terms(terms, math.prod(1 + one.max_error for one in exact) - 1)
        return self._few(product, max_error, horizon, relative)

    def describe(self, parameters: Parameters | None = None) -> str:
        """The parts in words."""
        words = self._parts_in_words(parameters)
        return " times ".join(f"({one})" for one in words)


class Sum(_Composition):
    """One or the other: weight = sum over parts of share weight.

    Something fast on a floor that hardly fades, for instance. The shares are positive
    and sum to 1, so that no event weighs more than 1.

    Args:
        parts: Two decays or more.
        shares: [parts] above 0, scaled to sum to 1; equal when left out.
        trainable: Learn the shares. What the parts learn is their own affair.

    Raises:
        ValueError: There are fewer than two parts, or another number of shares.

    References:
        Elementary: a weighted mean of weights, in log space. That sums of completely
        monotone functions are such functions: R. L. Schilling, R. Song, Z. Vondracek.
        Bernstein functions. De Gruyter 2012.

    >>> from tfrs_decay.decay import Constant, Exponential
    >>> floor = Sum([Exponential("1d"), Constant()], shares=[0.8, 0.2])
    >>> floor.weight([0, 86_400, 1e9]).round(9).tolist()
    [1.0, 0.6, 0.2]
    """

    def __init__(
        self,
        parts: Sequence[Decay | Mapping[str, Any]],
        shares: Sequence[float] | np.ndarray | None = None,
        *,
        trainable: bool = False,
    ) -> None:
        super().__init__(parts)
        count = len(self.parts)
        given = np.asarray(np.ones(count) if shares is None else shares, np.float64)
        if given.shape != (count,) or not (np.isfinite(given) & (given > 0)).all():
            raise ValueError(
                f"shares={given.tolist()}: give one for each of {count} parts, finite "
                "and above 0."
            )
        self._shares = given / given.sum()
        self.trainable = read_flag(trainable, "trainable")

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """The parts', and `share_logits`, [parts], when they are learned."""
        start = super().initial_parameters(dim)
        if self.trainable:
            start["share_logits"] = np.log(self._shares).astype(np.float32)
        return start

    def _log_shares(self, parameters: Parameters | None, xp: Arithmetic) -> Any:
        if not parameters or "share_logits" not in parameters:
            return np.log(self._shares)
        logits = parameters["share_logits"]
        return logits - xp.logsumexp(logits)[..., None]

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """The logarithm of sum_j share_j weight_j."""
        parts = xp.stack(self.log_weights(elapsed, parameters, xp))
        log_weight = xp.logsumexp(parts + self._log_shares(parameters, xp))
        # Rounding alone would make it a hair more than 0.
        return -xp.maximum(-log_weight, 0.0)

    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same sum, fixed at what has been learned."""
        doubles = {name: np.asarray(one, float) for name, one in parameters.items()}
        shares = np.exp(self._log_shares(doubles, NUMPY))
        return Sum(self._fixed_parts(parameters), shares)

    def terms(
        self,
        *,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
        relative: bool = False,
    ) -> Terms | None:
        """The parts' terms, each with its part's share.

        Where a part is fitted and that makes more than sixteen (32 with `relative`),
        the whole is fitted instead, but for rates that depend on groups.
        """
        found = [
            part.terms(max_error=max_error, horizon=horizon, relative=relative)
            for part in self.parts
        ]
        if any(one is None for one in found):
            return None
        exact = [one for one in found if one is not None]
        terms = [
            term._replace(log_share=term.log_share + np.log(share))
            for share, one in zip(self._shares, exact, strict=True)
            for term in one.terms
        ]
        errors = [one.max_error for one in exact]
        error = max(errors) if relative else float(self._shares @ errors)
        return self._few(Terms(terms, error), max_error, horizon, relative)

    def describe(self, parameters: Parameters | None = None) -> str:
        """The parts in words, each with its share."""
        doubles = {name: np.asarray(one) for name, one in (parameters or {}).items()}
        shares = np.exp(self._log_shares(doubles, NUMPY))
        words = self._parts_in_words(parameters)
        said = " plus ".join(
            f"{100 * share:.3g}% of ({one})"
            for share, one in zip(shares, words, strict=True)
        )
        return f"{said}, learned shares" if "share_logits" in doubles else said

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "shares": self._shares.tolist(),
            "trainable": self.trainable,
        }

    def __repr__(self) -> str:
        said = [repr(self.parts)]
        if not np.allclose(self._shares, self._shares[0], rtol=1e-12):
            said.append(listed(self._shares, plain))
        said += ["trainable=True"] if self.trainable else []
        return f"Sum({', '.join(said)})"


def _read(part: Any, place: int) -> Decay:
    """A part as `get_config` writes it."""
    # Families of your own can be parts as well.
    families = {
        one.__name__: one for one in _children(Decay) if not inspect.isabstract(one)
    }
    if not isinstance(part, Mapping):
        raise TypeError(
            f"parts[{place}] is a {type(part).__name__}: give a decay object, such as "
            "tfrs_decay.decay.Exponential('7d')."
        )
    if part.get("family") not in families or "config" not in part:
        raise ValueError(
            f"parts[{place}]={dict(part)} is no decay: it has a config, and a family "
            f"that is one of {', '.join(sorted(families))}."
        )
    return families[part["family"]].from_config(part["config"])


def _children(parent: type) -> list[Any]:
    """Every class below another."""
    children: list[Any] = parent.__subclasses__()
    return [*children, *(one for child in children for one in _children(child))]


def _fitted(decay: Decay) -> int:
    """How many fits there are in a decay."""
    if isinstance(decay, _Composition):
        return sum(_fitted(part) for part in decay.parts)
    return 0 if isinstance(decay, (Constant, Exponential, Mixture)) else 1
