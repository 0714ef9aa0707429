"""Clean events in one file, so that what comes after training reads no raw log."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfrs_decay.data.events import Events, Items
from tfrs_decay.writing import write_arrays

_COLUMNS = ("user", "time", "action", "item")


def save_events(events: Events, path: str | os.PathLike[str]) -> None:
    """Writes events as a compressed .npz, whole or not at all.

    Args:
        events: Clean events.
        path: The file, ending in .npz; replaced if it is there.
    """
    columns: dict[str, Any] = {name: getattr(events, name) for name in _COLUMNS}
    for name, strings in (
        ("users", events.users),
        ("actions", events.actions),
        ("ids", events.items.ids),
        ("texts", events.items.texts.ravel()),
    ):
        columns |= packed(name, strings)
    columns["fields"] = np.int64(events.items.fields)
    if events.value is not None:
        columns["value"] = events.value
    columns |= packed("context", events.context)
    for number, values in enumerate(events.context.values()):
        columns |= packed(f"context_{number}", values)
    write_arrays(columns, path)


def load_events(path: str | os.PathLike[str]) -> Events:
    """Reads what `save_events` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, or something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return Events(
                **{name: stored[name] for name in _COLUMNS},
                users=np.array(unpacked("users", stored), dtype=object),
                actions=tuple(unpacked("actions", stored)),
                items=Items(unpacked("ids", stored), _texts(stored)),
                value=stored["value"] if "value" in stored else None,
                context=_context(stored),
            )
    except (
        KeyError,
        EOFError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{os.fspath(path)} does not hold events ({error}): prepare it anew."
        ) from error


def packed(name: str, strings: Iterable[str]) -> dict[str, np.ndarray]:
    """Strings as UTF-8 end to end, and where each ends.

    NumPy's own text arrays give every string the room of the longest.
    """
    encoded = [one.encode("utf-8") for one in strings]
    return {
        name: np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}_end": np.cumsum([len(one) for one in encoded], dtype=np.int64),
    }


def _texts(stored: Mapping[str, np.ndarray]) -> list[Any]:
    """The items' texts, several an item in lists."""
    flat = unpacked("texts", stored)
    # What was written before items could have several texts does not say how many.
    fields = int(stored["fields"]) if "fields" in stored else 1
    if fields == 1:
        return flat
    return [flat[at : at + fields] for at in range(0, len(flat), fields)]


def _context(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "context" not in stored:  # Nor was it, once.
        return {}
    return {
        name: np.array(unpacked(f"context_{number}", stored), dtype=object)
        for number, name in enumerate(unpacked("context", stored))
    }


def unpacked(name: str, stored: Mapping[str, np.ndarray]) -> list[str]:
    """Strings that `packed` wrote under a name."""
    whole, ends = stored[name].tobytes(), stored[f"{name}_end"].tolist()
    starts = [0, *ends[:-1]]
    return [
        whole[start:end].decode("utf-8")
        for start, end in zip(starts, ends, strict=False)
    ]
