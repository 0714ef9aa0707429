"""Folders of versions, each of which appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

METADATA = "tfrs_decay.json"
"""In `assets.extra/`: the catalogue's texts and what the export was made with."""


def next_version(directory: str | os.PathLike[str], version: int | None) -> int:
    """The version to write: seconds since the epoch, or one above the highest.

    Args:
        directory: The model's folder, which holds a folder a version.
        version: One that is asked for.

    Raises:
        FileExistsError: The version is there already.
        ValueError: It is below 0.
    """
    base = Path(directory)
    there = [int(one.name) for one in base.glob("*") if one.name.isdecimal()]
    if version is None:
        version = max([int(time.time()), *(one + 1 for one in there)])
    if version < 0:
        raise ValueError(f"version={version} must be 0 or more.")
    if version in there:
        raise FileExistsError(
            f"{base / str(version)} is there already: choose a version above "
            f"{max(there)}."
        )
    return version


def write_version(
    served: tf.Module,
    signatures: Mapping[str, Any],
    directory: str | os.PathLike[str],
    version: int,
    metadata: Mapping[str, Any],
) -> Path:
    """Writes a SavedModel beside its place, and renames it.

    Args:
        served: What has the signatures; whatever they read is saved with it.
        signatures: Concrete functions by name.
        directory: The model's folder.
        version: From `next_version`.
        metadata: What the export says of itself.

    Returns:
        The version's folder.
    """
    # Whatever the query side reads is saved, and nothing of the model besides: not its
    # metrics, and not its encoder unless a signature runs it.
    served.captured = [
        variable for one in signatures.values() for variable in one.variables
    ]
    base = Path(directory)
    base.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=base))
    try:
        tf.saved_model.save(served, str(partial), signatures=signatures)
        extra = partial / "assets.extra"
        extra.mkdir()
        (extra / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
        partial.chmod(0o755)
        target = base / str(version)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target
