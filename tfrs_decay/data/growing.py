"""A clean log that grows: new rows, new users and new items, old places kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.events import Events, Items


@dataclass(frozen=True, eq=False)
class Grown:
    """A log and what was added to it.

    Attributes:
        events: Old and new events together. Users and items that were there keep their
            places; new ones come after them.
        rows: New rows that were added.
        repeated: New rows left out, for the log had them: the same user, item, time and
            action.
        late: Of the rows that were added, those at or before the last event of the old
            log.
        users: New users.
        items: New items.
        items_without_text: New items without a text.
        items_described_otherwise: Items that were there and now have another text; the
            old one is kept.
        row: [new] int64, where each row of the new log stands among the events; of one
            that was left out, where the same row of the old log does.
    """

    events: Events
    rows: int
    repeated: int
    late: int
    users: int
    items: int
    items_without_text: int
    items_described_otherwise: int
    row: np.ndarray

    def to_dict(self) -> dict[str, int]:
        """The counts, for JSON."""
        return {
            name: getattr(self, name)
            for name in (
                *("rows", "repeated", "late", "users", "items"),
                *("items_without_text", "items_described_otherwise"),
            )
        }

    def report(self) -> str:
        """What was added, then one line for each thing to be told."""
        lines = [
            f"{counted(self.rows, 'new event')} "
            f"({counted(self.users, 'new user')}, {counted(self.items, 'new item')})"
        ]
        for count, one, many in (
            (
                self.repeated,
                "row left out: the log has it already",
                "rows left out: the log has them already",
            ),
            (
                self.late,
                "row is late, at or before the end of the log that it was added to",
                "rows are late, at or before the end of the log that they were added "
                "to",
            ),
            (
                self.items_without_text,
                "new item has no text",
                "new items have no text",
            ),
            (
                self.items_described_otherwise,
                "item has another text now: the old one is kept",
                "items have other texts now: the old ones are kept",
            ),
        ):
            if count:
                lines.append(counted(count, one, many))
        return "\n".join(lines)


def grow(events: Events, new: Events, *, items: Items | None = None) -> Grown:
    """Adds a newer log to a log; the two may overlap.

    Args:
        events: Clean events.
        new: Clean events of the same kind, such as those of today.
        items: Further items for the catalogue, of which nobody need have had any. Their
            texts go before those of `new`.

    Returns:
        Both together, and what was added.

    Raises:
        ValueError: The new log has an action that the old one lacks; or one of them has
            values, a further column or a number of texts that the other has not.
    """
    _refuse_other_kind(events, new)
    catalogue, otherwise = _with_items(
        events.items, [one for one in (items, new.items) if one is not None]
    )
    users = _union(events.users, new.users[np.unique(new.user)])
    both = Events(
        user=_joined(events.user, _codes(users, new.users)[new.user]),
        time=_joined(events.time, new.time),
        action=_joined(events.action, _actions(events, new)[new.action]),
        item=_joined(events.item, catalogue.codes(new.items.ids.tolist())[new.item]),
        users=users,
        actions=events.actions,
        items=catalogue,
        value=(
            None
            if events.value is None or new.value is None
            else np.concatenate([events.value, new.value])
        ),
        context={
            name: np.concatenate([column, new.context[name]])
            for name, column in events.context.items()
        },
    )
    is_new = np.arange(len(both)) >= len(events)
    order = np.lexsort([is_new, both.item, both.action, both.time, both.user])
    again = np.zeros(len(both), bool)
    if len(both):
        same = np.ones(len(both) - 1, bool)
        for column in (both.user, both.time, both.action, both.item):
            same &= np.diff(column[order]) == 0
        again[order[1:]] = same
    added = is_new & ~again
    last = events.time.max(initial=np.iinfo(np.int64).min)
    row = np.empty(len(both), np.int64)
    row[order] = np.cumsum(~again[order]) - 1
    more = catalogue.titles[len(events.items) :]
    return Grown(
        events=both.where(order[~again[order]]),
        rows=int(added.sum()),
        repeated=int(again.sum()),
        late=int((both.time[added] <= last).sum()),
        users=len(users) - len(events.users),
        items=len(more),
        items_without_text=int((more == "").sum()),
        items_described_otherwise=otherwise,
        row=row[len(events) :],
    )


def _refuse_other_kind(events: Events, new: Events) -> None:
    strange = sorted(
        {new.actions[code] for code in np.unique(new.action)} - set(events.actions)
    )
    if strange:
        raise ValueError(
            f"the new log has the action {strange[0]!r}, and the log that it is added "
            f"to has {list(events.actions)}: leave such rows out, or train anew."
        )
    kinds: tuple[dict[str, Any], ...] = tuple(
        {"value": one.value is not None, "context": sorted(one.context)}
        for one in (events, new)
    )
    for name, old in kinds[0].items():
        if kinds[1][name] != old:
            raise ValueError(
                f"{name}: the log has {old} and the new log {kinds[1][name]}: give a "
                "new log with the same columns."
            )


def _with_items(old: Items, several: list[Items]) -> tuple[Items, int]:
    """The catalogue with those that it lacks at its end; how many texts differ."""
    nothing: Any = "" if old.fields == 1 else ("",) * old.fields
    texts: dict[str, Any] = {}
    otherwise = set()
    for items in several:
        described = items.titles != ""
        if items.fields != old.fields and described.any():
            raise ValueError(
                f"items of the new log have {items.fields} texts and those of the log "
                f"{old.fields}: give as many."
            )
        place = old.codes(items.ids.tolist())
        for one, at, is_described, text in zip(
            items.ids, place, described, items.texts, strict=True
        ):
            text = _as_given(text) if is_described else nothing
            if at < 0:
                if texts.get(one, nothing) == nothing:
                    texts[one] = text
            elif is_described and text != _as_given(old.texts[at]):
                otherwise.add(one)
    if not texts:
        return old, len(otherwise)
    return (
        Items(
            [*old.ids, *texts],
            [*map(_as_given, old.texts), *texts.values()],
        ),
        len(otherwise),
    )


def _as_given(text: Any) -> Any:
    """A text, or the texts of an item as a tuple."""
    return text if isinstance(text, str) else tuple(text)


def _union(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    known = set(old)
    more = [one for one in new if one not in known]
    return np.array([*old, *more], dtype=object)


def _codes(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[n] int64, where each is among the names; -1 for what occurs nowhere."""
    place = {one: code for code, one in enumerate(names)}
    return np.array([place.get(one, -1) for one in wanted], np.int64)


def _actions(events: Events, new: Events) -> np.ndarray:
    return _codes(np.array(events.actions, object), np.array(new.actions, object))


def _joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([old, new]).astype(np.int64)
