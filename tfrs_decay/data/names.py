"""Names of users, items and actions: as text, and as codes, which are fast to sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def coded(column: pd.Series[Any]) -> tuple[list[str], np.ndarray]:
    """The names that occur, sorted, and each row's place among them; -1 for a gap."""
    code, distinct = _factorized(column)
    written = [_written(one) for one in np.asarray(distinct, dtype=object)]
    names = sorted({one for one in written if one is not None})
    place = {name: number for number, name in enumerate(names)}
    places = [-1 if one is None else place[one] for one in written]
    return names, np.array([*places, -1], np.int32)[code]


def recoded(
    code: np.ndarray, names: Sequence[str], others: Sequence[str]
) -> np.ndarray:
    """Places among other names; -1 for a name that is not among them."""
    place = {name: number for number, name in enumerate(others)}
    return np.array([*(place.get(one, -1) for one in names), -1], np.int32)[code]


def occurring(names: Sequence[str], code: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The names that occur, and int64 places among them."""
    occurs = np.bincount(code, minlength=len(names)) > 0
    place = np.cumsum(occurs) - 1
    left = [name for name, kept in zip(names, occurs, strict=True) if kept]
    return left, place[code]


def as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as stripped text: 17850, 17850.0 and " 17850" are "17850"; a gap is None."""
    import pandas as pd

    code, distinct = _factorized(column)
    written = np.array([*map(_written, distinct), None], dtype=object)
    return pd.Series(written[code], index=column.index, dtype=object)


def are_written_as_floats(ids: pd.Series[Any]) -> bool:
    """Whether each is text such as 17850.0, as a gap once made of all integers."""
    return bool(ids.str.fullmatch(r"[0-9]+\.0").all())


def _factorized(column: pd.Series[Any]) -> tuple[np.ndarray, Any]:
    """Codes and the distinct values; -1 for a gap."""
    import pandas as pd

    if column.dtype == object:
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind in ("mixed", "mixed-integer", "boolean", "bytes"):
            # True is 1 to a hash table, and a list has no hash.
            column = column.map(_written, na_action="ignore")
    return pd.factorize(column)


def _written(value: object) -> str | None:
    """A name, or None for what can be none: a gap, a list, infinity, bad bytes."""
    if isinstance(value, (list, tuple, dict, set, np.ndarray)):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, (float, np.floating)):
        if not np.isfinite(value):
            return None
        # A gap among integers makes a column float in pandas: ids are still integers.
        if float(value).is_integer():
            value = int(value)
    written = "" if value is None else str(value).strip()
    try:
        written.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return written or None
