"""The arithmetic of a state, written once for arrays and tensors."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay import Decay, Elapsed, Labels
from tfrs_decay.decay.base import GROUPS, OTHERS
from tfrs_decay.decay.values import read_action_weights, read_decays
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.interest.heads import compile_heads, takes, written
from tfrs_decay.interest.state import BEFORE, NEVER, NOTHING, State

NORMALIZATIONS = ("mean", "sum", "l2")

COLUMNS = {"action": "actions", "category": "categories"}
"""The argument that holds the names of each group."""


class Events(NamedTuple):
    """New events, checked.

    vectors: [..., n, dim] float32.
    times: [..., n] int64 seconds since the epoch.
    counts: [..., n] bool.
    places: By group, [..., n] int32 places in `Formulas.names`.
    weights: [..., n] float64, 0 or more, of each event's own; None for 1.
    """

    vectors: Any
    times: Any
    counts: Any
    places: Mapping[str, Any]
    weights: Any = None


class Formulas:
    """How a state of some decays is updated, merged and read.

    Written once for arrays and tensors, with the arithmetic `xp` that is handed in.
    What is handed in is not checked again. The arguments are those of `InterestState`.

    In here a log weight has the features as its last axis, or 1 where they share it.
    """

    def __init__(
        self,
        decay: Decay | Sequence[Decay],
        dim: int,
        *,
        action_weights: Mapping[str, float] | None,
        normalize: str,
        prior_mass: float | None,
        prior: Any,
        combination: Any,
        capacity: int,
        max_error: float,
        horizon: Duration,
    ) -> None:
        decays = list(read_decays(decay))
        _check_size(dim, "dim")
        _check_size(capacity, "capacity")
        if not 0 < max_error < 1:
            raise ValueError(f"max_error={max_error} must lie between 0 and 1.")
        self.several = not isinstance(decay, Decay)
        self.dim = int(dim)
        self.action_weights = read_action_weights(action_weights)
        self.heads, self.terms = compile_heads(
            decays,
            self.dim,
            max_error=max_error,
            horizon=to_seconds(horizon, "horizon"),
        )
        self.width = max((np.size(term.rate) for term in self.terms), default=1)
        self.rates = np.zeros((len(self.terms), self.width))
        for place, term in enumerate(self.terms):
            self.rates[place] = term.rate
        buffered = [one.decay for one in self.heads if one.log_shares is None]
        self.capacity = int(capacity) if buffered else 0
        self.by_rank = any("rank" in one.clocks for one in buffered)
        self.recent_groups = tuple(
            group for group in GROUPS if any(group in one.groups for one in buffered)
        )
        self.names = self._vocabularies()
        self.admits = self._admits()
        self.log_action_weights = None
        if self.action_weights is not None:
            weights = [
                self.action_weights.get(one, 0.0) for one in self.names["action"]
            ]
            self.log_action_weights = _log([*weights, 0.0])
        self.normalize = normalize
        self.prior_mass = prior_mass
        self.prior = None if prior is None else np.asarray(prior, np.float64)
        self.combination = (
            None if combination is None else np.asarray(combination, np.float64)
        )
        self._check_reading()

    def _vocabularies(self) -> dict[str, tuple[str, ...]]:
        """By group, the names that anything depends on.

        Sorted, so that a place means the same to whoever reads a state.
        """
        names: dict[str, set[str]] = {}
        if self.action_weights is not None:
            names["action"] = set(self.action_weights)
        for head in self.heads:
            for group, own in head.decay.groups.items():
                names.setdefault(group, set()).update(own)
        return {group: tuple(sorted(own)) for group, own in names.items()}

    def _admits(self) -> dict[str, np.ndarray]:
        """By group, [names + 1, terms]: 0 where a term takes events, else `NEVER`."""
        admits: dict[str, np.ndarray] = {}
        for place, term in enumerate(self.terms):
            for condition in term.conditions:
                names = (*self.names[condition.group], OTHERS)
                table = admits.setdefault(
                    condition.group, np.zeros((len(names), len(self.terms)))
                )
                table[[not takes(condition, one) for one in names], place] = NEVER
        return admits

    def _check_reading(self) -> None:
        """Checks the arguments that matter on reading."""
        if self.normalize not in NORMALIZATIONS:
            raise ValueError(
                f"normalize={self.normalize!r} is not one of {NORMALIZATIONS}."
            )
        mass = self.prior_mass
        if mass is not None and not (
            math.isfinite(mass) and mass > 0 and self.normalize == "mean"
        ):
            raise ValueError(
                f"prior_mass={mass} with normalize={self.normalize!r}: it is finite, "
                "above 0, and goes with 'mean'."
            )
        prior = self.prior
        if prior is not None and mass is None:
            raise ValueError("prior is given, and without prior_mass it has no weight.")
        if prior is not None and not (
            prior.shape == (self.dim,) and np.isfinite(prior).all()
        ):
            raise ValueError(
                f"prior has the shape {prior.shape}: give {self.dim} finite numbers, "
                "one for each feature."
            )
        shares = self.combination
        if shares is None:
            return
        if shares.shape != (len(self.heads), self.dim):
            raise ValueError(
                f"combination has the shape {shares.shape}: give [heads, dim], here "
                f"{(len(self.heads), self.dim)}."
            )
        # Learned shares sum to 1 in float32.
        total = shares.sum(axis=0)
        if not ((shares >= 0).all() and np.allclose(total, 1, rtol=0, atol=1e-3)):
            raise ValueError(
                "combination must be 0 or more and sum to 1 over the heads, for each "
                f"feature; its sums are {total.min():.4g} to {total.max():.4g}."
            )

    @functools.cached_property
    def fields(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Each field of a state: its dtype, and its dimensions after those of users."""
        terms, width = self.rates.shape
        places = {
            group: self.capacity if group in self.recent_groups else 0
            for group in GROUPS
        }
        dimensions: dict[str, tuple[str, tuple[int, ...]]] = {
            "mean": ("f4", (terms, self.dim)),
            "log_weight": ("f8", (terms,) if width == 1 else (terms, width)),
            "time": ("i8", ()),
            "recent_vectors": ("f4", (self.capacity, self.dim)),
            "recent_times": ("i8", (self.capacity,)),
            "recent_log_weights": ("f8", (self.capacity,)),
            "recent_actions": ("i4", (places["action"],)),
            "recent_categories": ("i4", (places["category"],)),
            "dropped": ("i8", ()),
        }
        return {
            name: (np.dtype(one), shape) for name, (one, shape) in dimensions.items()
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits; see `InterestState.fingerprint`."""
        content = {
            "dim": self.dim,
            # Nine digits: a fit may differ in its last ones from machine to machine,
            # and a state does not.
            "terms": [
                [[f"{rate:.9e}" for rate in rates], written(term.conditions)]
                for rates, term in zip(self.rates.tolist(), self.terms, strict=True)
            ],
            "action_weights": self.action_weights,
            "capacity": self.capacity,
            "buffered": sorted(
                _json([type(one.decay).__name__, _untrained(one.decay.get_config())])
                for one in self.heads
                if one.log_shares is None
            ),
            "names": {group: self.names[group] for group in self.recent_groups},
        }
        return hashlib.sha256(_json(content).encode("utf-8")).hexdigest()[:32]

    def update(self, state: State, events: Events, xp: Arithmetic) -> State:
        """The state with new events in it."""
        own = self._own_log_weights(events, xp)
        counts = own > NOTHING
        times = xp.where(counts, events.times, BEFORE)
        clock = xp.concat([state.time[..., None], times], -1)
        clock = xp.largest(clock, -1)[..., 0]
        decayed = self.decay_to(state, clock, xp)
        if self.terms:
            age = xp.cast(clock[..., None] - times, np.float64)
            # [..., terms, n, 1 or dim]
            log_weights = own[..., None, :, None] - (
                self.rates[:, None, :] * age[..., None, :, None]
            )
            for group, table in self.admits.items():
                admitted = xp.take(table, events.places[group])
                log_weights = log_weights + xp.swap(admitted)[..., None]
            if events.vectors.shape[-2] == 1:
                # The mean of one: what most streams are made of.
                new = events.vectors, xp.maximum(log_weights[..., 0, :], NEVER)
            else:
                new = _pool(log_weights, events.vectors, xp)
            decayed = self._combined(decayed, *new, xp)
        if not self.capacity:
            return decayed
        recent = {
            "recent_vectors": xp.where(counts[..., None], events.vectors, 0.0),
            "recent_times": times,
            "recent_log_weights": own,
        }
        for group in self.recent_groups:
            recent[f"recent_{COLUMNS[group]}"] = xp.whole(events.places[group])
        return self._with_recent(decayed, recent, xp)

    def merge(self, one: State, other: State, xp: Arithmetic) -> State:
        """The state of the events of both."""
        clock = xp.maximum(one.time, other.time)
        one, other = self.decay_to(one, clock, xp), self.decay_to(other, clock, xp)
        merged = one
        if self.terms:
            merged = self._combined(one, other.mean, self._wide(other.log_weight), xp)
        if not self.capacity:
            return merged
        recent = {field: getattr(other, field) for field in self.recent_fields}
        merged = merged._replace(dropped=one.dropped + other.dropped)
        return self._with_recent(merged, recent, xp)

    def decay_to(self, state: State, time: Any, xp: Arithmetic) -> State:
        """The state at `time` [...], not earlier than its own."""
        elapsed = xp.cast(time - state.time, np.float64)[..., None, None]
        log_weight = self._wide(state.log_weight) - self.rates * elapsed
        log_weight = xp.maximum(log_weight, NEVER)
        return state._replace(log_weight=self._narrow(log_weight), time=time)

    def read(self, state: State, time: Any, xp: Arithmetic) -> Any:
        """[..., dim] or [..., heads, dim] float32: the interest at `time` [...]."""
        means, log_weight = self._pooled(state, time, xp)
        means = self._normalized(xp.cast(means, np.float64), log_weight, xp)
        if self.combination is not None:
            means = xp.sum(self.combination * means, -2)
        means = xp.cast(means, np.float32)
        stacked = self.several and self.combination is None
        return means if stacked else means[..., 0, :]

    def weight(self, state: State, time: Any, xp: Arithmetic) -> Any:
        """[..., heads] or [..., heads, dim] float64: the sums of weights at `time`."""
        _, log_weight = self._pooled(state, time, xp)
        weight = xp.exp(log_weight)
        return weight if weight.shape[-1] > 1 else weight[..., 0]

    @functools.cached_property
    def recent_fields(self) -> tuple[str, ...]:
        """The fields that hold an entry for each recent event."""
        labels = (f"recent_{COLUMNS[group]}" for group in self.recent_groups)
        return ("recent_vectors", "recent_times", "recent_log_weights", *labels)

    def _wide(self, log_weight: Any) -> Any:
        return log_weight[..., None] if self.width == 1 else log_weight

    def _narrow(self, log_weight: Any) -> Any:
        return log_weight[..., 0] if self.width == 1 else log_weight

    def _own_log_weights(self, events: Events, xp: Arithmetic) -> Any:
        """[..., n] what each event weighs at age 0; `NEVER` where it does not count."""
        own = xp.cast(events.times * 0, np.float64)
        if events.weights is not None:
            above = events.weights > 0
            log_weight = xp.log(xp.where(above, events.weights, 1.0))
            own = xp.where(above, log_weight, NEVER)
        if self.log_action_weights is not None:
            own = own + xp.take(self.log_action_weights, events.places["action"])
        return xp.where(events.counts & (own > NOTHING), own, NEVER)

    def _combined(
        self, state: State, mean: Any, log_weight: Any, xp: Arithmetic
    ) -> State:
        """The state with one of the same time, [..., terms, dim], added to it."""
        own = self._wide(state.log_weight)
        largest = xp.maximum(own, log_weight)
        total = xp.exp(own - largest) + xp.exp(log_weight - largest)
        total = largest + xp.log(total)
        # Where neither has anything, so that no share is left of nothing.
        beside = xp.maximum(total, NOTHING)
        mean = xp.blend(
            xp.exp(own - beside), state.mean, xp.exp(log_weight - beside), mean
        )
        return state._replace(mean=mean, log_weight=self._narrow(total))

    def _with_recent(
        self, state: State, events: Mapping[str, Any], xp: Arithmetic
    ) -> State:
        """The state with the newest of its recent events and new ones.

        Args:
            state: At its new time.
            events: The fields of `recent_fields` of new events.
            xp: The arithmetic.
        """
        both = {
            field: xp.concat(
                [getattr(state, field), events[field]],
                -2 if field == "recent_vectors" else -1,
            )
            for field in self.recent_fields
        }
        # Free slots come first, for they are before every time.
        order = xp.argsort(both["recent_times"])
        vectors = xp.take_along(
            both.pop("recent_vectors"), order[..., -self.capacity :]
        )
        ordered = {field: xp.take_along(one, order) for field, one in both.items()}
        rank = self._rank(ordered["recent_times"], xp)
        leaving = {field: one[..., : -self.capacity] for field, one in ordered.items()}
        if rank is not None:
            rank = rank[..., : -self.capacity]
        weighs = None
        for head in self.heads:
            if head.log_shares is None:
                log_weight = self._log_weights(
                    head.decay, leaving, rank, state.time, xp
                )
                # The most that it weighs in any feature.
                one = xp.largest(log_weight, -1)[..., 0] > NOTHING
                weighs = one if weighs is None else weighs | one
        dropped = xp.sum(xp.cast(weighs, np.int64), -1)[..., 0]
        staying = {field: one[..., -self.capacity :] for field, one in ordered.items()}
        return state._replace(
            recent_vectors=vectors, dropped=state.dropped + dropped, **staying
        )

    def _rank(self, times: Any, xp: Arithmetic) -> Any:
        """[..., m] how many events, in the order of time, are later than each."""
        return xp.cast(xp.later(times), np.float64) if self.by_rank else None

    def _log_weights(
        self,
        decay: Decay,
        recent: Mapping[str, Any],
        rank: Any,
        time: Any,
        xp: Arithmetic,
    ) -> Any:
        """[..., m, 1 or dim] the log weights of recent events under a decay."""
        age = xp.cast(time[..., None] - recent["recent_times"], np.float64)
        labels = {
            group: Labels(self.names[group], recent[f"recent_{COLUMNS[group]}"])
            for group in self.recent_groups
        }
        log_weight = decay.formula(Elapsed(age, rank, labels), None, xp)
        if not decay.per_feature:
            log_weight = log_weight[..., None]
        return log_weight + recent["recent_log_weights"][..., None]

    def _pooled(self, state: State, time: Any, xp: Arithmetic) -> tuple[Any, Any]:
        """Each head's mean, and the logarithm of its sum of weights, at `time`.

        Returns:
            [..., heads, dim] float32, [..., heads, 1 or dim] float64.
        """
        log_weight = self._wide(self.decay_to(state, time, xp).log_weight)
        recent = {field: getattr(state, field) for field in self.recent_fields}
        rank = self._rank(state.recent_times, xp)
        means, totals = [], []
        for head in self.heads:
            if head.log_shares is not None:
                log_weights, vectors = log_weight + head.log_shares, state.mean
            else:
                log_weights = self._log_weights(head.decay, recent, rank, time, xp)
                vectors = state.recent_vectors
            mean, total = _pool(log_weights[..., None, :, :], vectors, xp)
            means.append(mean)
            totals.append(total)
        if len(self.heads) == 1:
            return means[0], totals[0]
        width = max(one.shape[-1] for one in totals)
        return xp.concat(means, -2), xp.concat(
            [one + np.zeros(width) for one in totals], -2
        )

    def _normalized(self, means: Any, log_weight: Any, xp: Arithmetic) -> Any:
        """[..., heads, dim] the means as sums, unit vectors, or with the prior."""
        if self.normalize == "sum":
            return xp.exp(log_weight) * means
        if self.normalize == "l2":
            # The length does not matter; what features weigh beside each other does.
            sums = xp.exp(log_weight - xp.largest(log_weight, -1)) * means
            square = xp.sum(sums * sums, -1)
            return sums / xp.where(square > 0, square, 1.0) ** 0.5
        if self.prior_mass is None:
            return means
        weight = xp.exp(log_weight)
        share = weight / (weight + self.prior_mass)
        pooled = share * means
        return pooled if self.prior is None else pooled + (1.0 - share) * self.prior


def _pool(log_weights: Any, vectors: Any, xp: Arithmetic) -> tuple[Any, Any]:
    """Means of vectors in log space, several with weights of their own at once.

    Args:
        log_weights: [..., k, m, 1 or dim] float64.
        vectors: [..., m, dim] float32.
        xp: The arithmetic.

    Returns:
        [..., k, dim] float32, the means, zeros where nothing weighs. [..., k, 1 or dim]
        float64, the logarithms of the sums of weights, `NEVER` for 0.
    """
    # Below NEVER where there is no event at all, or a log weight is a sum of two.
    largest = xp.maximum(xp.largest(log_weights, -2), NEVER)
    weights = xp.exp(log_weights - xp.maximum(largest, NOTHING))
    # The largest is e^0 = 1, unless nothing weighs.
    total = xp.maximum(xp.sum(weights, -2), 1.0)
    shares = xp.cast(weights / total, np.float32)
    log_total = (largest + xp.log(total))[..., 0, :]
    if log_weights.shape[-1] == 1:
        return xp.matmul(shares[..., 0], vectors), log_total
    return xp.sum(shares * vectors[..., None, :, :], -2)[..., 0, :], log_total


def _untrained(config: Any) -> Any:
    """A decay's arguments but for those that only say what is learned."""
    if isinstance(config, Mapping):
        return {
            name: _untrained(one) for name, one in config.items() if name != "trainable"
        }
    if isinstance(config, (list, tuple)):
        return [_untrained(one) for one in config]
    return config


def _json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _log(weights: Sequence[float]) -> np.ndarray:
    given = np.asarray(weights, np.float64)
    logs = np.full(given.shape, NEVER)
    np.log(given, out=logs, where=given > 0)
    return logs


def _check_size(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number, 1 or more.")
