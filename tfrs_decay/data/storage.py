"""Clean events in one file, so that what comes after training reads no raw log."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from tfrs_decay.data.events import Events, Items

_COLUMNS = ("user", "time", "action", "item")


def save_events(events: Events, path: str | os.PathLike[str]) -> None:
    """Writes events as a compressed .npz, whole or not at all.

    Args:
        events: Clean events.
        path: The file, ending in .npz; replaced if it is there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.npz")
    np.savez_compressed(
        partial,
        **{name: getattr(events, name) for name in _COLUMNS},
        users=events.users.astype(str),
        actions=np.asarray(events.actions, dtype=str),
        ids=events.items.ids.astype(str),
        texts=events.items.texts.astype(str),
    )
    partial.replace(path)


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
                users=stored["users"].astype(object),
                actions=tuple(stored["actions"].tolist()),
                items=Items(stored["ids"].tolist(), stored["texts"].tolist()),
            )
    except (KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{os.fspath(path)} does not hold events ({error}): prepare it anew."
        ) from error
