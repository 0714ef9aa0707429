"""A clean behaviour log as columns, and the catalogue that it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

_TAKEN = (
    *("user", "item", "time", "action", "value"),
    *("length", "weight", "vector", "row"),
)
"""Names that a column has already, in a log, an example, a model or a report."""


def refuse_context(context: Sequence[str]) -> None:
    """Refuses columns that cannot be kept beside those that every event has.

    Args:
        context: Their names.

    Raises:
        ValueError: They are no list of distinct names, or one of them means something
            else already, as "length" does in `history_length`.
    """
    if isinstance(context, str) or len(set(context)) != len(context):
        raise ValueError(f"context={context!r} must be a list of distinct columns.")
    taken = [one for one in context if one in _TAKEN]
    if taken:
        raise ValueError(
            f"context={list(context)}: {taken[0]!r} is one of the names that mean "
            f"something already, {', '.join(_TAKEN)}: rename the column in the log."
        )


def _table_of_texts(texts: Sequence[Any]) -> np.ndarray:
    """[n] or [n, fields] objects."""
    rows = [isinstance(one, (list, tuple, np.ndarray)) for one in texts]
    if not any(rows):
        table = np.empty(len(texts), dtype=object)
        table[:] = list(texts)
        return table
    counts = [len(one) if row else 1 for one, row in zip(texts, rows, strict=True)]
    other = next(
        (at for at, row in enumerate(rows) if not row or counts[at] != counts[0]), None
    )
    if other is not None or not counts[0]:
        at = other or 0
        raise ValueError(
            f"texts holds {texts[at]!r} at {at} and {texts[0]!r} at 0: give each item "
            "as many texts, '' where it lacks one."
        )
    table = np.empty((len(texts), counts[0]), dtype=object)
    for at, row in enumerate(texts):
        table[at] = list(row)
    return table


class Items:
    """The catalogue: the items that can be recommended, each with its text.

    Args:
        ids: [n] strings, unique and not empty.
        texts: [n] strings; "" where an item has none. Or [n, fields] of them, such as
            title and description, as lists or tuples.

    Raises:
        ValueError: The two differ in length, an id is empty or stands twice, or items
            have other numbers of texts.
        TypeError: An id or a text is not a string.

    >>> items = Items(["a", "b"], ["red lantern", "blue mug"])
    >>> items.codes(["b", "unheard of"]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        ids: Sequence[str],
        texts: Sequence[str] | Sequence[Sequence[str]] | None = None,
    ) -> None:
        if texts is None:
            texts = [""] * len(ids)
        if len(ids) != len(texts):
            raise ValueError(
                f"{len(ids)} ids and {len(texts)} texts: give one text for each id, "
                "'' where an item has none."
            )
        table = _table_of_texts(texts)
        for name, column in (("ids", ids), ("texts", table.flat)):
            strange = [one for one in column if not isinstance(one, str)]
            if strange:
                raise TypeError(
                    f"{name} holds {strange[0]!r}, a {type(strange[0]).__name__}: "
                    "items are named and described by strings."
                )
        self.ids = np.asarray(list(ids), dtype=object)
        self.texts = table
        self._code = {one: code for code, one in enumerate(self.ids)}
        if "" in self._code:
            raise ValueError("ids holds '': the empty id stands for no item.")
        if len(self._code) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0]
            raise ValueError(
                f"ids holds {twice[0]!r} {twice[1]} times: ids are unique."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, ids: Sequence[str]) -> np.ndarray:
        """Positions in the catalogue, int64; -1 for an id that is not in it."""
        return np.fromiter((self._code.get(one, -1) for one in ids), np.int64, len(ids))

    @property
    def fields(self) -> int:
        """How many texts each item has."""
        return 1 if self.texts.ndim == 1 else self.texts.shape[1]

    @property
    def titles(self) -> np.ndarray:
        """[n] strings for people: the texts, several of an item in one line."""
        if self.texts.ndim == 1:
            return self.texts
        lines = [" | ".join(filter(None, row)) for row in self.texts]
        return np.asarray(lines, dtype=object)

    def get_config(self) -> dict[str, list[Any]]:
        """Ids and texts as lists."""
        return {"ids": self.ids.tolist(), "texts": self.texts.tolist()}

    @classmethod
    def from_config(cls, config: Mapping[str, list[Any]]) -> Items:
        """Makes the catalogue again from `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"Items({len(self)} items)"


@dataclass(frozen=True, eq=False)
class Events:
    """Clean events, sorted by user, time, action and item.

    Attributes:
        user: [n] int64, positions in `users`.
        time: [n] int64, seconds since the epoch.
        action: [n] int64, positions in `actions`.
        item: [n] int64, positions in `items`.
        users: The users' ids.
        actions: The actions' names.
        items: The catalogue.
        value: [n] float64, such as a quantity or a rating; None for a log without.
        context: Further columns by name, [n] strings, "" where a row has none.

    Raises:
        ValueError: A further column has a name that means something else already:
            user, item, time, action, value, length, weight, vector or row.
    """

    user: np.ndarray
    time: np.ndarray
    action: np.ndarray
    item: np.ndarray
    users: np.ndarray
    actions: tuple[str, ...]
    items: Items
    value: np.ndarray | None = None
    context: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses names that would be taken for other columns."""
        refuse_context(tuple(self.context))

    def __len__(self) -> int:
        return len(self.time)

    def where(self, kept: np.ndarray) -> Events:
        """The events that `kept`, [n] bool, is true for; the same vocabularies."""
        return Events(
            user=self.user[kept],
            time=self.time[kept],
            action=self.action[kept],
            item=self.item[kept],
            users=self.users,
            actions=self.actions,
            items=self.items,
            value=None if self.value is None else self.value[kept],
            context={name: column[kept] for name, column in self.context.items()},
        )

    def without_user(self, user: str) -> Events:
        """The events of all others, and their ids; the catalogue stays as it is.

        Args:
            user: Whose id is not to be there; it need not be now.
        """
        others = self.users != user
        kept = self.where(others[self.user])
        # Each other user's place is lower by one for whoever stood before it.
        place = np.cumsum(others) - 1
        return replace(kept, user=place[kept.user], users=self.users[others])
