"""A user's interest in NumPy, brought up to date event by event."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_decay.arithmetic import NUMPY
from tfrs_decay.data.times import LATEST_SECOND, refuse_dates
from tfrs_decay.decay import Decay
from tfrs_decay.decay.values import (
    MOST_FLOAT32,
    check_unknown_action,
    without_weight,
)
from tfrs_decay.durations import Duration
from tfrs_decay.interest import stored
from tfrs_decay.interest.formulas import COLUMNS, Events, Formulas
from tfrs_decay.interest.state import BEFORE, NEVER, State, need_state


class InterestState:
    """Keeps a user's interest up to date in constant time, in NumPy.

    Reading a state is pooling the whole history again, whatever the order in which
    events came: one that is late counts as if it had come in time. A user who has seen
    a hundred thousand events costs what one with ten does.

    An exponential, a mixture of them, and sums and products of these are exact: all
    that an event adds is one more weighted vector. A power law becomes a sum of
    exponentials first, with a bound on the relative error. A bell, a line, a step,
    buckets, and whatever runs over the number of later events are no such sums: for
    these the newest `capacity` events are kept as they are, exact while none had to
    leave, and counted in `State.dropped` when some had. Which of several at one time
    has to leave depends on the order in which they came.

    How exact: the mean is rounded to float32 once an update, by chance up or down, so
    that the roundings of a long stream do not add up. Over 10,000 events one by one
    they come to a few millionths of what the vectors weigh, whatever the vectors are.

    The decay is taken as it was made: what a layer has learned comes with
    `tfrs_decay.layers.InterestState.of`.

    Args:
        decay: A decay, or a list of them, one for each head.
        dim: Features of the vectors.
        action_weights: What an action weighs, such as {"browse": 0.2, "purchase": 1.0}.
            Without it every event weighs 1.
        unknown_action: "error" refuses an event that is not masked and whose action
            `action_weights` does not name; for "ignore" it does not count.
        normalize: "mean" divides by the sum of the weights, each feature by its own;
            "sum" does not; "l2" scales the sum to length 1.
        prior_mass: Under "mean", the weight of the prior: an idle user cools towards it
            and a new one starts from it, (sum w x + mass prior) / (sum w + mass).
        prior: [dim], such as what is popular; zeros when left out.
        combination: [heads, dim] shares that sum to 1 over the heads, for their
            average; heads are stacked when left out.
        capacity: How many recent events are kept, where a decay needs them.
        max_error: How far a weight may be from that of a decay that becomes a sum, as a
            share of that weight itself. A mean is then off by no more than about this
            share of the vectors' mean distance from it, and a sum by this share of what
            it adds up, however long the user has been idle.
        horizon: The greatest age that this holds for. Of older events a power law's
            weights fall too fast, as exponentials do.

    Raises:
        TypeError: `decay` is not a `Decay`.
        ValueError: A number is out of its range, or has the shape of another `dim`.

    References:
        G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu. Forward decay: a practical time
        decay model for streaming systems. ICDE 2009.

    A stream of three events, the last of which is a day late:

    >>> from tfrs_decay.decay import Exponential
    >>> interest = InterestState(Exponential("1d"), dim=1)
    >>> state = interest.empty()
    >>> for day, x in [(0, 4.0), (2, 1.0), (1, 6.0)]:
    ...     state = interest.update(state, [[x]], times=[day * 86_400])
    ...     print(state.time, state.numerator.round(6), state.denominator.round(6))
    0 [[4.]] [1.]
    172800 [[2.]] [1.25]
    172800 [[5.]] [1.75]
    >>> interest.read(state, time=172_800).round(3)  # 5 / 1.75
    array([2.857], dtype=float32)
    """

    def __init__(
        self,
        decay: Decay | Sequence[Decay],
        dim: int,
        *,
        action_weights: Mapping[str, float] | None = None,
        unknown_action: str = "error",
        normalize: str = "mean",
        prior_mass: float | None = None,
        prior: Any = None,
        combination: Any = None,
        capacity: int = 256,
        max_error: float = 1e-3,
        horizon: Duration = "10y",
    ) -> None:
        check_unknown_action(unknown_action)
        self.unknown_action = unknown_action
        self.formulas = Formulas(
            decay,
            dim,
            action_weights=action_weights,
            normalize=normalize,
            prior_mass=prior_mass,
            prior=prior,
            combination=combination,
            capacity=capacity,
            max_error=max_error,
            horizon=horizon,
        )

    @property
    def dim(self) -> int:
        """Features of the vectors."""
        return self.formulas.dim

    def empty(self, batch_shape: Sequence[int] = ()) -> State:
        """A state without events.

        Args:
            batch_shape: The leading dimensions, of users; none for a single one.
        """
        at_first = {
            "log_weight": NEVER,
            "recent_log_weights": NEVER,
            "time": BEFORE,
            "recent_times": BEFORE,
        }
        users = tuple(batch_shape)
        return State(
            **{
                field: np.full((*users, *shape), at_first.get(field, 0), dtype)
                for field, (dtype, shape) in self.formulas.fields.items()
            }
        )

    def update(
        self,
        state: State,
        vectors: Any,
        times: Any,
        actions: Any = None,
        categories: Any = None,
        mask: Any = None,
        event_weights: Any = None,
    ) -> State:
        """Adds events, in any order.

        Args:
            state: Of one user, or of many.
            vectors: [..., n, dim] numbers, finite where masked as well.
            times: [..., n] integer seconds since the epoch.
            actions: [..., n] strings; needed with `action_weights` and with rates for
                each action.
            categories: [..., n] strings; needed with rates for each category.
            mask: [..., n] bool, False for padding, whose time may be any integer, and
                whose names anything, such as None or NaN. Every event counts when left
                out.
            event_weights: [..., n] numbers, 0 or more: a weight of each event's own,
                such as the share of a video that was watched.

        Returns:
            A new state, whose clock is the latest time seen. The one handed in stays as
            it is.

        Raises:
            ValueError: An argument is missing, of another shape or dtype, or out of
                its range; or an action has no weight and `unknown_action` is "error".
            TypeError: `state` is no `State`.
        """
        users = self._users(state)
        with np.errstate(over="ignore"):  # said below, by name
            vectors = np.asarray(vectors, np.float32)
        fits = vectors.ndim == len(users) + 2 and vectors.shape[:-2] == users
        if not fits or vectors.shape[-1] != self.dim:
            raise ValueError(
                f"vectors have the shape {vectors.shape}: give [..., n, dim] with the "
                f"users of the state and its dim, here {(*users, 'n', self.dim)}."
            )
        if not np.isfinite(vectors).all():
            wrong = vectors[~np.isfinite(vectors)]
            raise ValueError(
                f"vectors hold {wrong.size} numbers that are not finite in float32, "
                f"such as {wrong[0]}: leave such events out. A masked event needs "
                "finite numbers too, such as 0."
            )
        shape = vectors.shape[:-1]
        if mask is None:
            counts = np.ones(shape, np.bool_)
        else:
            counts = np.asarray(mask, np.bool_)
            _check_shape(counts, "mask", shape)
        seconds = _integers(times, "times")
        _check_shape(seconds, "times", shape)
        _check_seconds(seconds[counts], "times")
        seconds = seconds.astype(np.int64, copy=False)
        weights = None
        if event_weights is not None:
            weights = np.asarray(event_weights, np.float64)
            _check_shape(weights, "event_weights", shape)
            wrong = counts & ~(np.isfinite(weights) & (weights >= 0))
            if wrong.any():
                raise ValueError(
                    f"event_weights={weights[wrong][0]} must be finite, 0 or more."
                )
        names = {"action": actions, "category": categories}
        places = {
            group: self._places(names[group], group, counts)
            for group in self.formulas.names
        }
        return self.formulas.update(
            state, Events(vectors, seconds, counts, places, weights), NUMPY
        )

    def decay_to(self, state: State, time: Any) -> State:
        """Moves the clock of a state on.

        Reading does it by itself; this is for states whose weights are looked at.

        Args:
            state: Of one user, or of many.
            time: [...] or a single number of integer seconds since the epoch, not
                earlier than the state's own.

        Returns:
            A new state.

        Raises:
            ValueError: The time is earlier than the state's, or no integer seconds.
            TypeError: `state` is no `State`.
        """
        return self.formulas.decay_to(state, self._moment(state, time), NUMPY)

    def read(self, state: State, time: Any) -> np.ndarray:
        """The interest at a time: what pooling the whole history then would give.

        Args:
            state: Of one user, or of many.
            time: [...] or a single number of integer seconds since the epoch, not
                earlier than the state's own: what has been added cannot be told apart.

        Returns:
            [..., dim] float32; [..., heads, dim] of a list of decays without a
            combination. Without any event it is the prior, or zeros.

        Raises:
            ValueError: The time is earlier than the state's, or no integer seconds; or
                the weights, and with `normalize="sum"` the vectors times them, come to
                more than a floating number holds.
            TypeError: `state` is no `State`.
        """
        moment = self._moment(state, time)
        with np.errstate(over="ignore", invalid="ignore"):  # said below, by name
            interest = self.formulas.read(state, moment, NUMPY)
        if not np.isfinite(interest).all():
            raise ValueError(
                f"the interest under normalize={self.formulas.normalize!r} comes to "
                f"more than float32 holds, {MOST_FLOAT32:.2g}: hand in shorter vectors "
                'or smaller weights, or normalize by "mean" or "l2".'
            )
        return interest

    def weight(self, state: State, time: Any) -> np.ndarray:
        """The sum of the weights of all events at a time, by head.

        It tells an idle user from an active one, which a mean cannot.

        Args:
            state: Of one user, or of many.
            time: As in `read`.

        Returns:
            [..., heads] float64; [..., heads, dim] where features have rates of their
            own. Infinite where they come to more than float64 holds, 1.8e308.

        Raises:
            ValueError: The time is earlier than the state's, or no integer seconds.
            TypeError: `state` is no `State`.
        """
        moment = self._moment(state, time)
        with np.errstate(over="ignore"):
            return self.formulas.weight(state, moment, NUMPY)

    def merge(self, one: State, other: State) -> State:
        """Puts together the states of two shards of the same users' events.

        An event that is in both counts twice.

        Args:
            one: Of one user, or of many.
            other: Of the same users.

        Returns:
            A new state, at the later of the two clocks.

        Raises:
            ValueError: A state is another's, or they hold other numbers of users.
            TypeError: One is no `State`.
        """
        users, others = self._users(one, "one"), self._users(other, "other")
        if users != others:
            raise ValueError(
                f"the states hold users of the shapes {users} and {others}: merge "
                "states of the same users."
            )
        return self.formulas.merge(one, other, NUMPY)

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of what the numbers in a state depend on.

        These are the rates, the weights of actions, `dim`, and what is kept of recent
        events and for which decays. How a state is read is not among them: `normalize`,
        the prior, the shares of a mixture and the combination may change under states
        that are kept.
        """
        return self.formulas.fingerprint

    @property
    def bytes_per_user(self) -> int:
        """The length of `to_bytes`; the greatest, where it holds recent events."""
        return stored.dimensions(self.formulas, self.formulas.capacity).length

    def to_bytes(self, state: State) -> bytes:
        """Writes a single user's state down, for a key-value store.

        Raises:
            ValueError: The state is another's, of many users, or holds numbers that no
                event leads to, such as NaN.
            TypeError: It is no `State`.
        """
        users = self._users(state)
        if users:
            raise ValueError(
                f"state holds users of the shape {users}: write one at a time, "
                "State(*(field[i] for field in state))."
            )
        return stored.write(state, self.formulas)

    def from_bytes(self, data: bytes) -> State:
        """Reads a single user's state.

        Args:
            data: What `to_bytes` wrote.

        Raises:
            ValueError: The bytes are something else, cut off, damaged, of another
                version, written under other rates, or hold numbers that no event leads
                to.
            TypeError: It is not bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data is a {type(data).__name__}: give bytes.")
        return stored.read(bytes(data), self.formulas, self.empty())

    def describe(self) -> str:
        """How each head is kept: exactly, with what bound, or as recent events."""
        lines = [one.describe(self.formulas.capacity) for one in self.formulas.heads]
        if self.formulas.several:
            lines = [f"head {number}: {line}" for number, line in enumerate(lines)]
        return "\n".join(lines)

    def _users(self, state: State, name: str = "state") -> tuple[int, ...]:
        """The leading dimensions of a state, if it is one of these."""
        need_state(state, name)
        users: tuple[int, ...] = np.shape(state.time)
        for (field, (dtype, shape)), values in zip(
            self.formulas.fields.items(), state, strict=True
        ):
            fits = getattr(values, "dtype", None) == dtype
            if not fits or values.shape != users + shape:
                found = f"a {type(values).__name__}"
                if isinstance(values, (np.ndarray, np.generic)):
                    found = f"{values.dtype.name} of shape {values.shape}"
                raise ValueError(
                    f"{name}.{field} is {found}, and here it is "
                    f"{dtype.name} of shape {users + shape}: hand in what `empty`, "
                    "`update` or `from_bytes` of this InterestState gave."
                )
        return users

    def _moment(self, state: State, time: Any) -> np.ndarray:
        """[...] int64, the time for every user."""
        users = self._users(state)
        moment = _integers(time, "time")
        if moment.shape not in ((), users):
            raise ValueError(
                f"time has the shape {moment.shape}: give a single one, or one for "
                f"each user, {users}."
            )
        _check_seconds(moment, "time")
        early = moment < state.time
        if early.any():
            clock = np.asarray(state.time)[early][0]
            raise ValueError(
                f"time={np.broadcast_to(moment, users)[early][0]} is earlier than the "
                f"state's own, {clock}: read it at that time or later. What was added "
                "since cannot be taken out again."
            )
        return np.array(np.broadcast_to(moment, users), np.int64)

    def _places(self, values: Any, group: str, counts: np.ndarray) -> np.ndarray:
        """[..., n] int32 places of strings among the names of a group."""
        column, names = COLUMNS[group], self._vocabularies[group]
        if values is None:
            raise ValueError(
                f"{column} are needed: weights or rates depend on {names.tolist()}."
            )
        # As they are: NumPy would write a number among strings, and NaN, as a string.
        strings = np.asarray(
            values, None if isinstance(values, np.ndarray) else np.object_
        )
        _check_shape(strings, column, counts.shape)
        if strings.dtype.kind != "U":
            strings = strings.astype(np.object_)
            is_text = np.reshape(
                [isinstance(one, str) for one in strings.flat], strings.shape
            ).astype(np.bool_)
            wrong = counts & ~is_text
            if wrong.any():
                one = strings[wrong][0]
                raise ValueError(
                    f"{column} hold {one!r}, a {type(one).__name__}: give strings. "
                    "Only where an event is masked may its name be missing."
                )
            strings = np.where(is_text, strings, "").astype(np.str_)
        if not len(names) or not strings.size:
            return np.full(counts.shape, len(names), np.int32)
        place = np.minimum(np.searchsorted(names, strings), len(names) - 1)
        known = names[place] == strings
        weights = self.formulas.action_weights
        if group == "action" and weights is not None and self.unknown_action == "error":
            strange = counts & ~(known & np.isin(strings, list(weights)))
            if strange.any():
                raise ValueError(
                    f"actions hold {str(strings[strange][0])!r}: "
                    f"{without_weight(weights)}"
                )
        return np.where(known, place, len(names)).astype(np.int32)

    @functools.cached_property
    def _vocabularies(self) -> dict[str, np.ndarray]:
        return {
            group: np.asarray(names, np.str_)
            for group, names in self.formulas.names.items()
        }


def _check_shape(values: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(
            f"{name} have the shape {values.shape}, and vectors {shape} events: give "
            "one for each event."
        )


def _integers(times: Any, name: str) -> np.ndarray:
    """Times as integers, of any width: what is beyond int64 is still to be refused."""
    given = np.asarray(times)
    refuse_dates(given, name)
    if given.dtype.kind not in "iu" and given.size:
        # The name of a string's dtype is how many bits it has.
        found = "str" if given.dtype.kind == "U" else given.dtype.name
        raise ValueError(
            f"{name} is {found}: give integer seconds since the epoch, such as "
            ".astype('int64') of float64 ones (float32 holds them to two minutes only)."
        )
    return given if given.size else given.astype(np.int64)


def _check_seconds(times: np.ndarray, name: str) -> None:
    far = (times >= LATEST_SECOND) | (times <= -LATEST_SECOND)
    if far.any():
        raise ValueError(
            f"{name}={times[far][0]} looks like milliseconds: give seconds since the "
            "epoch."
        )
