"""Impressions joined with what came of them: clicks, purchases and the like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import Cleaned, RawLog, clean, counted
from tfrs_decay.data.events import Events
from tfrs_decay.data.files import PathLike
from tfrs_decay.data.names import recoded
from tfrs_decay.data.weights import checked_weights
from tfrs_decay.durations import Duration, to_seconds, to_text
from tfrs_decay.feedback.served import Served
from tfrs_decay.writing import whole_file

if TYPE_CHECKING:
    import pandas as pd

WINDOWS: Mapping[str, Duration] = {"click": "30m", "purchase": "3d"}
"""How long after an impression an event may answer it, by action, unless told."""

ANSWERED = "answer an impression"
ORGANIC = (
    "of a user who was shown nothing",
    "of an item that was shown to nobody",
    "of an item that was not shown to its user",
    "before the item was first shown to its user",
    "after the window was over",
)
"""Why an event answers no impression: the first of these that applies."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Impressions, and what came of each.

    Attributes:
        served: The impressions.
        events: The events that were joined, of all actions.
        windows: Seconds after an impression in which an event answers it, by action.
        impression: [e] int64, the place in `served` of the impression that each of the
            events answers; -1 for an event that answers none, or is of another action.
        count: [n] int64 by action, how many events answer each impression.
        found: How many events there are, by action and by what they are: one of
            `ANSWERED` and `ORGANIC`.
        unfinished: By action, impressions whose window was not over when the newest
            impression or event until now happened: more may yet come of them.
        missed: By action, impressions whose window was over before the first event: the
            log may begin too late to have what came of them.
        rejected: Rows of the raw log that were left out by cleaning, by reason.
        unjoined: Events by action that are not joined, where nobody chose windows.
    """

    served: Served
    events: Events
    windows: Mapping[str, float]
    impression: np.ndarray
    count: Mapping[str, np.ndarray]
    found: Mapping[str, Mapping[str, int]]
    unfinished: Mapping[str, int]
    missed: Mapping[str, int]
    rejected: Mapping[str, int]
    unjoined: Mapping[str, int]

    def happened(self, action: str) -> np.ndarray:
        """[n] bool, the impressions that an event of an action answers.

        Raises:
            ValueError: The action was not joined.
        """
        if action not in self.count:
            raise ValueError(f"action={action!r} was not joined: {[*self.count]} were.")
        return self.count[action] > 0

    def item_rates(
        self, action: str = "click", weight: np.ndarray | None = None
    ) -> np.ndarray:
        """How often something comes of each item, per impression.

        Args:
            action: What comes of it.
            weight: [n] what an impression that is answered counts for, such as
                `position_weights` gives: the rate is then that of impressions which are
                all looked at. 1 when left out, the plain rate.

        Returns:
            [items] float64, in the order of `served.items`: the sum of the weights of
            the impressions that are answered over the number of impressions.

        Raises:
            ValueError: The action was not joined, or there is not a weight for each
                impression.
        """
        reward = self.happened(action).astype(np.float64)
        if weight is not None:
            reward *= self._checked(weight)
        items = len(self.served.items)
        return np.bincount(self.served.item, reward, minlength=items) / np.bincount(
            self.served.item, minlength=items
        )

    def event_weights(self, weight: np.ndarray, *, organic: float = 1.0) -> np.ndarray:
        """What each event weighs as a target of training.

        For `data.target_weights(by_event=...)` and `training.train(event_weights=...)`:
        an event that answers an impression weighs what that does, so that a click far
        down a list, where few look, stands for those that were not made there.

        Args:
            weight: [n] weights of impressions, such as `position_weights` gives.
            organic: Of events that answer no impression, above 0: nobody's list had to
                be looked at for them.

        Returns:
            [e] float64, in the order of `events`.

        Raises:
            ValueError: There is not a weight above 0 for each impression, or `organic`
                is not above 0.
        """
        weight = self._checked(weight)
        if not 0 < organic < np.inf:
            raise ValueError(f"organic={organic} must be finite and above 0.")
        return np.where(self.impression >= 0, weight[self.impression], organic)

    def table(self, weight: np.ndarray | None = None) -> pd.DataFrame:
        """The impressions with what came of them, one a row.

        Columns request (a number), user, item, time (seconds since the epoch),
        position; version, segment, arm, propensity and score where they are known; for
        each action NAME that was joined NAME, 0 or 1, and NAME_count; and weight, where
        it is given. `experiments.live` and `interleaved` read it where the arm is
        known, `experiments.replay` where the propensity is.

        Args:
            weight: [n] weights of impressions, such as `position_weights` gives.
        """
        import pandas as pd

        served = self.served
        columns: dict[str, Any] = {
            "request": served.request,
            "user": served.users[served.user],
            "item": served.items[served.item],
            "time": served.time,
            "position": served.position,
        }
        for name in ("version", "segment", "arm", "propensity", "score"):
            if getattr(served, name) is not None:
                columns[name] = getattr(served, name)
        for action, count in self.count.items():
            columns[action] = (count > 0).astype(np.int8)
            columns[f"{action}_count"] = count
        if weight is not None:
            columns["weight"] = self._checked(weight)
        return pd.DataFrame(columns)

    def write(self, path: PathLike, weight: np.ndarray | None = None) -> Path:
        """Writes `table` as Parquet, whole or not at all, and returns the path.

        Args:
            path: The file, ending in .parquet, which is overwritten; its folder is
                made.
            weight: As in `table`.

        Raises:
            ValueError: The name ends otherwise.
        """
        path = Path(path)
        if path.suffix.lower() != ".parquet":
            raise ValueError(f"{path}: joined impressions are written as .parquet.")
        table = self.table(weight)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            table.to_parquet(partial, index=False)
        return path

    def summary(self) -> str:
        """What was joined, left over and left out, for people."""
        served = self.served
        lines = [
            f"{counted(len(served), 'impression')} in "
            f"{counted(len(np.unique(served.request)), 'list')} shown to "
            f"{counted(len(served.users), 'user')}, of "
            f"{counted(len(served.items), 'item')}"
        ]
        for action, found in self.found.items():
            total, answers = sum(found.values()), found[ANSWERED]
            lines.append(
                f"{action}: {counted(total, 'event')}, of which {answers:,} answer "
                f"{counted(int(self.happened(action).sum()), 'impression')} within "
                f"{to_text(self.windows[action])} and {total - answers:,} are organic"
            )
            lines += [
                f"  {count:,} {why}"
                for why, count in found.items()
                if count and why != ANSWERED
            ]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)

    @property
    def notes(self) -> list[str]:
        """What was left out, and what may yet come."""
        said = []
        if self.served.repeated:
            said.append(
                f"{counted(self.served.repeated, 'row')} of what was shown left out: "
                "same request, user, item, position and time as another row."
            )
        said += [
            f"{counted(count, 'row')} of the log left out: {why}."
            for why, count in self.rejected.items()
            if count
        ]
        said += [
            f"{counted(count, f'{action} event')} not joined: say for how long after "
            f"an impression one answers it, as in {action}=30m."
            for action, count in self.unjoined.items()
        ]
        said += [
            f"{counted(count, 'impression')} in the last "
            f"{to_text(self.windows[action])} of the log: where a {action} may yet "
            "come, the rate is too low."
            for action, count in self.unfinished.items()
            if count
        ]
        said += [
            f"{counted(count, 'impression')} from more than "
            f"{to_text(self.windows[action])} before the log begins: what {action} "
            "came of them is not in it, and the rate is too low."
            for action, count in self.missed.items()
            if count
        ]
        return said

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain numbers, ready for `json.dump`."""
        return {
            "impressions": len(self.served),
            "requests": len(np.unique(self.served.request)),
            "users": len(self.served.users),
            "items": len(self.served.items),
            "repeated": self.served.repeated,
            "windows": dict(self.windows),
            "events": {action: dict(found) for action, found in self.found.items()},
            "answered": {
                action: int((count > 0).sum()) for action, count in self.count.items()
            },
            "unfinished": dict(self.unfinished),
            "missed": dict(self.missed),
            "rejected": dict(self.rejected),
            "unjoined": dict(self.unjoined),
        }

    def _checked(self, weight: np.ndarray) -> np.ndarray:
        return checked_weights(weight, len(self.served), "impression", "weight")


def join(
    served: Served,
    events: Events | Cleaned | RawLog,
    *,
    window: Mapping[str, Duration] | None = None,
    now: int | None = None,
) -> Joined:
    """Joins events to the impressions that they answer.

    An event answers the latest impression of its item to its user that was not after
    it, if its action's window, counted from that impression, was not over: at the
    second of the impression, and at the last of the window, it still does. Of
    impressions at one second it answers that which stands highest, and of these the
    first. Each event answers one impression, and an impression has any number of
    answers. An event of an action in `window` that answers none is organic, and is
    counted by the reason. Nothing depends on the order of the rows.

    Args:
        served: What was shown.
        events: The log of what happened: clean, cleaned with its counts, or raw. A raw
            one is cleaned as it is (`data.clean`), which counts rows that stand twice
            or cannot be read.
        window: How long after an impression an event may come, by action; other
            actions are not joined. When left out 30 minutes for "click" and 3 days for
            "purchase", of those that the log has.
        now: Seconds since the epoch; the clock's when left out. A time after it is a
            mistake, which does not tell that windows are over; such rows of a raw log
            are left out.

    Raises:
        ValueError: No action is to be joined, the log lacks one, or a window is no
            duration above 0.
        TypeError: `events` is of another type.

    >>> from tfrs_decay.data import Items
    >>> served = Served.of({
    ...     "user": ["ann", "ann"], "item": ["mug", "mug"], "time": [100, 200],
    ...     "position": [2, 1],
    ... })
    >>> log = Events(
    ...     user=np.zeros(3, int), time=np.array([90, 150, 900]),
    ...     action=np.zeros(3, int), item=np.zeros(3, int),
    ...     users=np.array(["ann"]), actions=("click",), items=Items(["mug"]),
    ... )
    >>> joined = join(served, log, window={"click": "10m"})
    >>> joined.impression.tolist(), joined.count["click"].tolist()
    ([-1, 0, -1], [1, 0])
    """
    if now is None:
        now = int(time.time())
    if isinstance(events, RawLog):
        events = clean(events, now=now)
    rejected: dict[str, int] = {}
    if isinstance(events, Cleaned):
        rejected, events = dict(events.rejected), events.events
    if not isinstance(events, Events):
        raise TypeError(
            f"events is a {type(events).__name__}: give data.Events, what data.clean "
            "gives, or a table as data.RawLog(table, None, {})."
        )
    seconds = _windows(events, window)
    times = np.concatenate([served.time, events.time])
    last = int(times[times <= now].max(initial=served.time.min()))
    first = events.time.min(initial=np.iinfo(np.int64).max)
    impression, reason = answers(served, events, seconds)
    count, found = {}, {}
    for action in seconds:
        own = events.action == events.actions.index(action)
        which = impression[own]
        count[action] = np.bincount(which[which >= 0], minlength=len(served))
        of_reason = np.bincount(reason[own], minlength=len(ORGANIC) + 1).tolist()
        found[action] = dict(zip((ANSWERED, *ORGANIC), of_reason, strict=True))
    return Joined(
        served=served,
        events=events,
        windows=seconds,
        impression=impression,
        count=count,
        found=found,
        unfinished={
            action: int((served.time + limit > last).sum())
            for action, limit in seconds.items()
        },
        missed={
            action: int((served.time + limit < first).sum())
            for action, limit in seconds.items()
        },
        rejected=rejected,
        unjoined={} if window is not None else _others(events, seconds),
    )


def _others(events: Events, windows: Mapping[str, float]) -> dict[str, int]:
    """How many events there are of actions without a window."""
    counts = np.bincount(events.action, minlength=len(events.actions)).tolist()
    return {
        action: count
        for action, count in zip(events.actions, counts, strict=True)
        if count and action not in windows
    }


def _windows(events: Events, window: Mapping[str, Duration] | None) -> dict[str, float]:
    """Seconds by action."""
    if window is None:
        window = {
            action: limit
            for action, limit in WINDOWS.items()
            if action in events.actions
        }
        if not window:
            raise ValueError(
                f"the log's actions are {list(events.actions)}, none of "
                f"{[*WINDOWS]}: say which are to be joined, and for how long after an "
                "impression, as in window={'buy': '3d'}."
            )
    if not window:
        raise ValueError("window={} names no action: give one, as in {'click': '30m'}.")
    unknown = [action for action in window if action not in events.actions]
    if unknown:
        raise ValueError(
            f"window names {unknown[0]!r}, and the log's actions are "
            f"{list(events.actions)}: leave it out, or read a log that has it."
        )
    return {
        action: to_seconds(limit, f"window[{action!r}]")
        for action, limit in window.items()
    }


def answers(
    served: Served, events: Events, windows: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Two [e] int64: the impression answered, or -1; and 0 or 1 + the reason why not.

    The reason of an event of another action means nothing.
    """
    user = recoded(events.user, events.users.tolist(), served.users.tolist())
    item = recoded(events.item, events.items.ids.tolist(), served.items.tolist())
    pair = served.user * len(served.items) + served.item
    asked = user.astype(np.int64) * len(served.items) + item
    asked[(user < 0) | (item < 0)] = -1
    key, asked_key = _keys(pair, served.time, asked, events.time)
    # The last of those with one key is the highest place's, and its first row.
    order = np.arange(len(key))[::-1]
    # Small integers are sorted by their bytes, which is fast.
    small = np.min_scalar_type(-int(served.position.max()))
    below = -served.position[order].astype(small)
    order = order[np.argsort(below, kind="stable")]
    order = order[np.argsort(key[order], kind="stable")]
    at = np.searchsorted(key[order], asked_key, side="right")
    # One more at each end, of a pair that nothing asks for.
    around = np.concatenate([[-2], pair[order], [-2]])
    before, later = around[at] == asked, around[at + 1] == asked
    candidate = order[np.maximum(at - 1, 0)]
    limit = np.array([windows.get(action, -1.0) for action in events.actions])
    age = events.time - served.time[candidate]
    answers = before & (age <= limit[events.action])
    reason = np.select([answers, before, later, user < 0, item < 0], [0, 5, 4, 1, 2], 3)
    return np.where(answers, candidate, -1), reason


def _keys(
    pair: np.ndarray, time: np.ndarray, asked: np.ndarray, moment: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pair and time in one number, of impressions and of events, that sorts as both.

    The key of an event is that of the latest impression of its pair, where there is
    one, or less than any; an event whose pair is -1 comes before all.
    """
    first, last = int(time.min()), int(time.max())
    width = last - first + 2
    if (int(pair.max()) + 2) * width < 2**63:
        # 0 is before the first impression.
        since = np.clip(moment, first - 1, last) - first + 1
        return pair * width + time - first + 1, asked * width + since
    # Too many pairs over too long a time: their places among those that there are.
    pairs, pair = np.unique(pair, return_inverse=True)
    moments, rank = np.unique(time, return_inverse=True)
    width = len(moments) + 1
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    place = np.where(pairs[place] == asked, place, -1)
    since = np.searchsorted(moments, moment, side="right")
    return pair * width + rank + 1, place * width + since
