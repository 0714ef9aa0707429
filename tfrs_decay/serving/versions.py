"""Folders of versions, each of which appears whole or not at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_decay.serving.names import EXTRA, METADATA, WARMUP
from tfrs_decay.serving.native import numbered_directories
from tfrs_decay.serving.ops import check_ops, ops_of
from tfrs_decay.serving.server_files import model_name, write_server_files
from tfrs_decay.serving.signatures import described
from tfrs_decay.serving.warmup import requests
from tfrs_decay.serving.warmup import write as write_warmup
from tfrs_decay.writing import whole_folder


def next_version(directory: str | os.PathLike[str], version: int | None) -> int:
    """The version to write: seconds since the epoch, or one above the highest.

    Args:
        directory: The model's folder, which holds a folder a version.
        version: One that is asked for.

    Raises:
        FileExistsError: The version is there already.
        ValueError: It is below 0, or the folder has a name that no server's files can
            hold.
    """
    base = Path(directory)
    model_name(base)
    # Also those without a model in them: nothing can be put in their places.
    there = numbered_directories(base) if base.is_dir() else {}
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
    *,
    example: Mapping[str, np.ndarray],
    server: str | None,
    warmup: bool | None,
    arrays: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Writes a SavedModel beside its place, and renames it.

    Args:
        served: What has the signatures; whatever they read is saved with it.
        signatures: Concrete functions by name.
        directory: The model's folder.
        version: From `next_version`.
        metadata: What the export says of itself; the signatures, ops and warm-up are
            added.
        example: From `warmup.example`.
        server: The TensorFlow Serving that has to have all ops; any for None.
        warmup: Whether to write warm-up requests; where that can be done for None.
        arrays: Further files of `assets.extra/`: NPZ by name, of arrays by name.

    Returns:
        The version's folder.

    Raises:
        ImportError: Warm-up requests are asked for, and cannot be written.
        ValueError: The server does not have an op.
    """
    # Whatever the query side reads is saved, and nothing of the model besides: not its
    # metrics, and not its encoder unless a signature runs it.
    served.captured = [
        variable for one in signatures.values() for variable in one.variables
    ]
    base = Path(directory)
    target = base / str(version)
    with whole_folder(target) as partial:
        tf.saved_model.save(served, str(partial), signatures=signatures)
        ops = ops_of(partial)
        if server is not None:
            check_ops(ops, server)
        extra = partial / EXTRA
        extra.mkdir()
        for name, several in (arrays or {}).items():
            np.savez(extra / f"{name}.npz", **several)
        warmed = write_warmup(
            partial / WARMUP,
            base.resolve().name,
            requests(signatures, example),
            needed=warmup,
        )
        described_as = {
            **metadata,
            "signatures": described(signatures),
            "variables": _largest(served.captured),
            "ops": {"core": len(ops.core), "other": [*ops.text, *ops.other]},
            "server": server,
            "warmup": warmed,
        }
        (partial / METADATA).write_text(json.dumps(described_as), encoding="utf-8")
    write_server_files(base)
    return target


def _largest(variables: Iterable[tf.Variable], most: int = 5) -> dict[str, int]:
    """Bytes of the largest variables by name, and of all others together."""
    # The shape of a table that can be refreshed is not known of its variable.
    size = {one.ref(): one.dtype.size * int(tf.size(one)) for one in variables}
    order = sorted(size, key=lambda ref: -size[ref])
    found: dict[str, int] = {}
    for place, ref in enumerate(order):
        name = ref.deref().name.split(":")[0] if place < most else "others"
        found[name] = found.get(name, 0) + size[ref]
    return found
